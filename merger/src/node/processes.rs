//! The processes of this node, in one sweep over `/proc`, or some of them one by one.
//!
//! A sweep is no snapshot: processes come and go while it runs. One that goes is left out. What is
//! read of one is never partly a later one's of the same id: its directory is opened once, and stays
//! that of the process.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, OsString},
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Dir, Mode, OFlags, open, openat, readlink, readlinkat},
    io::Errno,
};

pub use self::files::{Hidden, Unseen, compare_tables, open_sockets};
use self::reader::Reader;
use crate::{
    identity::{Cookie, Process},
    listeners::Held,
    netns::{Identity, Netns},
    node::{
        numbers::Numbers,
        stat::{self, Stat},
    },
};

mod files;
mod reader;

/// Bytes of a `stat`: a name of at most 64, and some fifty numbers.
const STAT: usize = 2048;

/// The processes of one sweep.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    by_pid: HashMap<u32, Seen>,
    /// The ids of processes that are there and cannot be looked into.
    hidden: HashSet<u32>,
    /// Where the kernel has no cookies, those that are made here.
    numbers: Option<Numbers>,
}

/// A process, and the inode number of its namespace. That says only whether it may have moved: the
/// number is used again when a namespace is gone, so it takes [`Numbers`] to make an identity of it.
#[derive(Clone, Debug)]
struct Seen {
    process: Process,
    inode: u64,
}

// === impl Processes ===

impl Processes {
    /// Reads every process that is no thread of the kernel.
    ///
    /// One that has just ended is left out. Of one that cannot be looked into (another user's, without
    /// `CAP_SYS_PTRACE`) is known that it is there.
    pub fn sweep() -> io::Result<Self> {
        let has_cookies = Identity::here()? == Identity::Cookie;
        Self::sweep_for((!has_cookies).then(Numbers::default))
    }

    /// The same where the kernel may have no cookies: with those of the sweep before.
    pub(crate) fn sweep_for(numbers: Option<Numbers>) -> io::Result<Self> {
        let mut reader = Reader::new(numbers.is_none())?;
        let mut by_pid = HashMap::new();
        for pid in pids()? {
            by_pid.extend(reader.look(pid).map(|seen| (pid, seen)));
        }
        let mut swept = Self { by_pid: reader.vouched(by_pid), hidden: reader.hidden(), numbers };
        if let Some(numbers) = &mut swept.numbers {
            numbers.settle(swept.by_pid.values().map(|seen| (seen.held(), seen.inode)));
            for seen in swept.by_pid.values_mut() {
                seen.process.netns = numbers.cookie(seen.inode).unwrap_or(Numbers::UNKNOWN);
            }
        }
        Ok(swept)
    }

    /// The same at a fraction of the cost: a process that is in the namespace it was in is taken for
    /// what it was, unless it is in `doubt`. Missed is one that only changed its cgroup, and one
    /// that left its id to another in the same namespace.
    pub(crate) fn refresh(&self, doubt: impl Fn(&Process) -> bool) -> io::Result<Self> {
        if self.numbers.is_some() {
            // An id and an inode number that are both used again would pass for what they were.
            return Self::sweep_for(self.numbers.clone());
        }
        let mut reader = Reader::new(true)?;
        let mut by_pid = HashMap::new();
        for pid in pids()? {
            let known = self.by_pid.get(&pid).filter(|known| !doubt(&known.process));
            let same = known.filter(|known| inode_of(pid) == Some(known.inode)).cloned();
            by_pid.extend(same.or_else(|| reader.look(pid)).map(|seen| (pid, seen)));
        }
        Ok(Self { by_pid, hidden: reader.hidden(), numbers: None })
    }

    /// Reads these only, as they are now. Where the kernel has no cookies, the namespace of one is
    /// known only if one of them was in it at the sweep.
    pub(crate) fn some(&self, pids: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let mut reader = Reader::new(self.numbers.is_none())?;
        let by_pid = pids.into_iter().filter_map(|pid| Some((pid, reader.look(pid)?))).collect();
        let by_pid = reader.vouched(by_pid);
        let mut some = Self { by_pid, hidden: reader.hidden(), numbers: None };
        if let Some(numbers) = &self.numbers {
            let now: HashMap<Held, u64> =
                some.by_pid.values().map(|seen| (seen.held(), seen.inode)).collect();
            for seen in some.by_pid.values_mut() {
                let inode = seen.inode;
                let cookie = numbers.cookie_with(inode, |held| now.get(held) == Some(&inode));
                seen.process.netns = cookie.unwrap_or(Numbers::UNKNOWN);
            }
        }
        Ok(some)
    }

    /// The cookie of the namespace that the kernel part has given a key: the same, or an inode number.
    /// Such a number stays as it is where it is not known.
    pub(crate) fn cookie_of_key(&self, key: Cookie) -> Cookie {
        match &self.numbers {
            Some(numbers) if !key.is_made() => numbers.cookie(key.0).unwrap_or(key),
            _ => key,
        }
    }

    /// In the namespaces of these keys something happened. Where their inode numbers may be used
    /// again, those that nobody is in any more are forgotten.
    pub(crate) fn doubt(&mut self, keys: impl IntoIterator<Item = Cookie>) {
        if let Some(numbers) = &mut self.numbers {
            for inode in keys.into_iter().filter(|key| !key.is_made()).map(|key| key.0) {
                numbers.doubt(inode, |held| open_netns(held, Some(inode)).is_ok());
            }
        }
    }

    pub(crate) fn numbers(&self) -> Option<&Numbers> {
        self.numbers.as_ref()
    }

    /// Opens the namespace that a process was in, if the process is still there and, where that tells
    /// anything, in it.
    pub(crate) fn open_netns(&self, held: Held) -> io::Result<Netns> {
        let seen = self.by_pid.get(&held.pid).filter(|_| self.numbers.is_some());
        open_netns(held, seen.map(|seen| seen.inode))
    }

    /// Puts what others know of a process in the place of what was known here.
    pub(crate) fn take(&mut self, held: Held, others: &Self) {
        let now = others.by_pid.get(&held.pid).filter(|_| others.get(held).is_some());
        match now {
            Some(seen) => self.by_pid.insert(held.pid, seen.clone()),
            None => self.by_pid.remove(&held.pid),
        };
        if others.is_hidden(held.pid) {
            self.hidden.insert(held.pid);
        } else {
            self.hidden.remove(&held.pid);
        }
    }

    /// The process that was meant, and not a later one of the same id.
    #[must_use]
    pub fn get(&self, held: Held) -> Option<&Process> {
        let process = &self.by_pid.get(&held.pid)?.process;
        (process.started == held.started).then_some(process)
    }

    /// The ids of those that cannot be looked into, in no order.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = u32> {
        self.hidden.iter().copied()
    }

    /// Whether it cannot be looked into. It has not ended: nothing but that is known of it.
    pub(crate) fn is_hidden(&self, pid: u32) -> bool {
        self.hidden.contains(&pid)
    }

    /// The same processes beside one that cannot be looked into.
    #[cfg(test)]
    pub(crate) fn hiding(mut self, pid: u32) -> Self {
        self.hidden.insert(pid);
        self
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> + Clone {
        self.by_pid.values().map(|seen| &seen.process)
    }

    /// All, without what they are.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.iter().map(|&Process { pid, started, .. }| Held { started, pid }).collect()
    }

    /// The processes in a namespace, oldest first: in a pod's, the sandbox's own is the first.
    #[must_use]
    pub fn within(&self, netns: Cookie) -> Vec<&Process> {
        let mut within: Vec<_> = self.iter().filter(|process| process.netns == netns).collect();
        within.sort_by_key(|process| (process.started, process.pid));
        within
    }
}

impl FromIterator<Process> for Processes {
    fn from_iter<I: IntoIterator<Item = Process>>(processes: I) -> Self {
        // No namespace has the number 0, so none of these is taken for what it was.
        let seen = |process: Process| (process.pid, Seen { process, inode: 0 });
        let by_pid = processes.into_iter().map(seen).collect();
        Self { by_pid, hidden: HashSet::new(), numbers: None }
    }
}

// === impl Seen ===

impl Seen {
    fn held(&self) -> Held {
        Held { started: self.process.started, pid: self.process.pid }
    }
}

/// Opens the namespace of a process through its own directory, if it is the one that was meant, and
/// in the namespace of this inode number. What is open cannot give its number to another.
fn open_netns(held: Held, inode: Option<u64>) -> io::Result<Netns> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let process = directory(held.pid)?.ok_or_else(gone)?;
    let stat = stat_of(&process)?.ok_or_else(gone)?;
    let netns = Netns::of_process(&alive(process, stat)?.ok_or_else(gone)?)?;
    let is_there = inode.is_none_or(|inode| netns.inode().is_ok_and(|found| found == inode));
    if stat.started == held.started && is_there { Ok(netns) } else { Err(gone()) }
}

/// Nothing where the process has ended.
fn stat_of(process: &impl AsFd) -> Result<Option<Stat>, Errno> {
    let mut stat = [0; STAT];
    let file = openat(process, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let n = file.and_then(|file| rustix::io::read(&file, &mut stat));
    let Some(n) = present(n)? else { return Ok(None) };
    stat::parse(&stat[..n]).ok_or(Errno::INVAL).map(Some)
}

/// What `/proc` has of a process, or nothing where that has ended. Every other error says that it is not
/// known, and not that there is none.
fn present<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        found => found.map(Some),
    }
}

/// The same of the links of a process: where it ends after one was found and before that is read, the
/// kernel refuses it as if it were hidden.
fn unless_ended<T>(process: &impl AsFd, found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match present(found) {
        Err(_) if stat_of(process) == Ok(None) => Ok(None),
        found => found,
    }
}

/// When a process started, if there is one of that id.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?).map(|stat| stat.started)
}

/// The ids of all processes that there are now.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.map(|entry| Ok(entry?.file_name()));
    let pid = |name: OsString| name.to_str().and_then(|name| name.parse().ok());
    names.filter_map(|name| name.map(pid).transpose()).collect()
}

/// The namespace of the kernel's own threads, which is the first that there was. Nothing where they are
/// not seen.
pub(crate) fn netns_of_kernel() -> Option<Netns> {
    /// `kthreadd`, which all others descend from.
    const KTHREADD: u32 = 2;
    let thread = directory(KTHREADD).ok()??;
    stat_of(&thread).ok()?.filter(|stat| stat.is_kernel)?;
    Netns::of_process(&thread).ok()
}

/// The inode number of a process' namespace, read from the link, which costs less than the inode.
fn inode_of(pid: u32) -> Option<u64> {
    parse_inode(&readlink(format!("/proc/{pid}/ns/net"), vec![]).ok()?)
}

fn parse_inode(link: &CStr) -> Option<u64> {
    link.to_str().ok()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// A thread of a process that has a namespace and a cgroup still: the first one, unless it has ended
/// before others. Nothing where all have.
fn alive(process: OwnedFd, stat: Stat) -> Result<Option<OwnedFd>, Errno> {
    if !stat.is_headless {
        return Ok(Some(process));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(threads) = present(openat(&process, "task", flags, Mode::empty()))? else {
        return Ok(None);
    };
    for entry in Dir::read_from(&threads)? {
        let Some(entry) = present(entry)? else { break };
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&threads, entry.file_name(), flags, Mode::empty());
        let Some(thread) = present(opened)? else { continue };
        let link = readlinkat(&thread, "ns/net", vec![]);
        if unless_ended(&thread, link)?.is_some() {
            return Ok(Some(thread));
        }
    }
    Ok(None)
}

/// What `/proc` has about one process, and never about a later one of the same id. Nothing where there is
/// none.
fn directory(pid: u32) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    present(open(format!("/proc/{pid}"), flags, Mode::empty()))
}
