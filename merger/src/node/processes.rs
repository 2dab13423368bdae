//! The processes of this node, in one sweep over `/proc`, or some of them one by one.
//!
//! A sweep is no snapshot: processes come and go while it runs. One that goes is left out. What is
//! read of one is never partly a later one's of the same id: its directory is opened once, and stays
//! that of the process.

use std::{
    collections::HashMap,
    ffi::{CStr, OsString},
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{Dir, Mode, OFlags, open, openat, readlink, readlinkat, readlinkat_raw};

use crate::{
    identity::{Cookie, Process},
    listeners::Held,
    netns::Netns,
    node::stat,
};

/// Bytes read of a file about a process. A cgroup path has at most 4096, and a node a dozen of them.
const FILE: usize = 64 * 1024;

/// Bytes of a `stat`: a name of at most 64, and some fifty numbers.
const STAT: usize = 2048;

/// Bytes of a link to a socket: `socket:[…]` with up to 20 digits, and one to spare.
const SOCKET: usize = 32;

/// Namespaces held open during one sweep; those beyond are opened again for each of their processes.
const HELD_OPEN: usize = 256;

/// The processes of one sweep.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    by_pid: HashMap<u32, Seen>,
    /// Processes that this one may not look into.
    n_hidden: usize,
}

/// A process, and the inode number of its namespace. That says only whether it may have moved: the
/// number is used again when a namespace is gone.
#[derive(Clone, Debug)]
struct Seen {
    process: Process,
    inode: u64,
}

/// What looks at one process after the other.
struct Reader {
    /// The cookies of the namespaces met. An inode number means a namespace only while that is open,
    /// so each is kept open until all have been looked at.
    by_inode: HashMap<u64, (Cookie, Netns)>,
    /// Processes whose namespace may not be looked at.
    n_refused: usize,
    /// Of the file that is read: one buffer, since a sweep reads thousands.
    buffer: Vec<u8>,
}

// === impl Processes ===

impl Processes {
    /// Reads every process that is no thread of the kernel.
    ///
    /// A process that cannot be looked into (another user's, without `CAP_SYS_PTRACE`) is left out,
    /// like one that has just ended.
    pub fn sweep() -> io::Result<Self> {
        let mut reader = Reader::new()?;
        let mut by_pid = HashMap::new();
        for pid in pids()? {
            by_pid.extend(reader.look(pid).map(|seen| (pid, seen)));
        }
        Ok(Self { by_pid, n_hidden: reader.n_refused })
    }

    /// The same at a fraction of the cost: a process that is in the namespace it was in is taken for
    /// what it was, unless it is in `doubt`. Missed is one that only changed its cgroup, and one
    /// that left its id to another in the same namespace.
    pub(crate) fn refresh(&self, doubt: impl Fn(&Process) -> bool) -> io::Result<Self> {
        let mut reader = Reader::new()?;
        let mut by_pid = HashMap::new();
        for pid in pids()? {
            let known = self.by_pid.get(&pid).filter(|known| !doubt(&known.process));
            let same = known.filter(|known| inode_of(pid) == Some(known.inode)).cloned();
            by_pid.extend(same.or_else(|| reader.look(pid)).map(|seen| (pid, seen)));
        }
        Ok(Self { by_pid, n_hidden: self.n_hidden })
    }

    /// Reads these only.
    pub fn some(pids: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let mut reader = Reader::new()?;
        let by_pid = pids.into_iter().filter_map(|pid| Some((pid, reader.look(pid)?))).collect();
        Ok(Self { by_pid, n_hidden: reader.n_refused })
    }

    /// Puts what others know of a process in the place of what was known here.
    pub(crate) fn take(&mut self, held: Held, others: &Self) {
        let now = others.by_pid.get(&held.pid).filter(|_| others.get(held).is_some());
        match now {
            Some(seen) => self.by_pid.insert(held.pid, seen.clone()),
            None => self.by_pid.remove(&held.pid),
        };
    }

    /// The process that was meant, and not a later one of the same id.
    #[must_use]
    pub fn get(&self, held: Held) -> Option<&Process> {
        let process = &self.by_pid.get(&held.pid)?.process;
        (process.started == held.started).then_some(process)
    }

    /// Processes that were left out because a right is missing.
    #[must_use]
    pub fn n_hidden(&self) -> usize {
        self.n_hidden
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
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
        Self { by_pid, n_hidden: 0 }
    }
}

// === impl Reader ===

impl Reader {
    fn new() -> io::Result<Self> {
        let own = Netns::own()?;
        let by_inode = HashMap::from([(own.inode()?, (own.cookie()?, own))]);
        Ok(Self { by_inode, n_refused: 0, buffer: vec![0; FILE] })
    }

    fn look(&mut self, pid: u32) -> Option<Seen> {
        let process = directory(pid)?;
        // First, as it tells the threads of the kernel, which are half of many a node.
        let stat = stat::parse(self.read(&process, "stat")?).filter(|stat| !stat.is_kernel)?;
        let (inode, netns) = self.netns_of(&process).ok()?;
        let cgroup = match self.read(&process, "cgroup") {
            Some(lines) => stat::cgroup(lines)?,
            // Where one path has more than 4095 bytes, a kernel may tell none of the process. It is
            // nobody's then, and not to be overlooked.
            None => self.read(&process, "stat").map(|_| String::new())?,
        };
        Some(Seen { process: Process { pid, started: stat.started, netns, cgroup }, inode })
    }

    fn netns_of(&mut self, process: &OwnedFd) -> io::Result<(u64, Cookie)> {
        let link = readlinkat(process, "ns/net", vec![]).map_err(io::Error::from).inspect_err(
            |error| {
                self.n_refused += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
            },
        )?;
        let inode = parse_inode(&link).ok_or(io::ErrorKind::InvalidData)?;
        if let Some((cookie, _)) = self.by_inode.get(&inode) {
            return Ok((inode, *cookie));
        }
        let netns = Netns::of_process(process)?;
        let (inode, cookie) = (netns.inode()?, netns.cookie()?);
        if self.by_inode.len() < HELD_OPEN {
            self.by_inode.insert(inode, (cookie, netns));
        }
        Ok((inode, cookie))
    }

    /// A file about a process, up to [`FILE`]. It fails where the process has ended.
    fn read(&mut self, process: &impl AsFd, file: &str) -> Option<&[u8]> {
        let file = openat(process, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut filled = 0;
        while filled < self.buffer.len() {
            match rustix::io::read(&file, &mut self.buffer[filled..]).ok()? {
                0 => break,
                n => filled += n,
            }
        }
        Some(&self.buffer[..filled])
    }
}

/// The sockets that a process has open, by inode, and when it started. Nothing where it has ended, is
/// a thread of the kernel, or may not be looked into.
#[must_use]
pub fn open_sockets(pid: u32) -> Option<(Held, Vec<u64>)> {
    let process = directory(pid)?;
    let mut stat = [0; STAT];
    let file = openat(&process, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let n = rustix::io::read(&file, &mut stat).ok()?;
    let stat = stat::parse(&stat[..n]).filter(|stat| !stat.is_kernel)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let files = openat(&process, "fd", flags, Mode::empty()).ok()?;
    let mut inodes = vec![];
    for file in Dir::read_from(&files).ok()?.flatten() {
        let mut target = [0; SOCKET];
        // What does not fit is no socket.
        let n = readlinkat_raw(&files, file.file_name(), &mut target[..]).unwrap_or_default();
        inodes.extend(parse_socket(&target[..n]));
    }
    Some((Held { started: stat.started, pid }, inodes))
}

/// When a process started, if there is one of that id.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?).map(|stat| stat.started)
}

fn parse_socket(link: &[u8]) -> Option<u64> {
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The ids of all processes that there are now.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.map(|entry| Ok(entry?.file_name()));
    let pid = |name: OsString| name.to_str().and_then(|name| name.parse().ok());
    names.filter_map(|name| name.map(pid).transpose()).collect()
}

/// The inode number of a process' namespace, read from the link, which costs less than the inode.
fn inode_of(pid: u32) -> Option<u64> {
    parse_inode(&readlink(format!("/proc/{pid}/ns/net"), vec![]).ok()?)
}

fn parse_inode(link: &CStr) -> Option<u64> {
    link.to_str().ok()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// What `/proc` has about one process, and never about a later one of the same id.
fn directory(pid: u32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(format!("/proc/{pid}"), flags, Mode::empty()).ok()
}
