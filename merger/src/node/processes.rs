//! The processes of this node, in one sweep over `/proc`.
//!
//! A sweep is no snapshot: processes come and go while it runs. One that goes is left out. One
//! whose id went to another meanwhile is noticed, because its start is read before and after.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
};

use crate::{
    identity::{Cookie, Process},
    listeners::Held,
    netns::Netns,
    node::stat,
};

/// Bytes read of a file about a process. A cgroup path has at most 4096.
const FILE: u64 = 64 * 1024;

/// Namespaces held open during one sweep; those beyond are opened again for each of their processes.
const HELD_OPEN: usize = 256;

/// The processes of one sweep.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    by_pid: HashMap<u32, Process>,
    /// Processes that this one may not look into.
    n_hidden: usize,
}

/// The cookies of the namespaces met in one sweep.
///
/// An inode number means a namespace only while that is open, so each is kept open for the sweep.
struct Namespaces {
    by_inode: HashMap<u64, (Cookie, Netns)>,
    /// Processes whose namespace may not be looked at.
    n_refused: usize,
}

// === impl Processes ===

impl Processes {
    /// Reads every process that is no thread of the kernel.
    ///
    /// A process that cannot be looked into (another user's, without `CAP_SYS_PTRACE`) is left out,
    /// like one that has just ended.
    pub fn sweep() -> io::Result<Self> {
        let mut namespaces = Namespaces::new()?;
        let mut by_pid = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            by_pid.extend(look(pid, &mut namespaces).map(|process| (pid, process)));
        }
        Ok(Self { by_pid, n_hidden: namespaces.n_refused })
    }

    /// The process that was meant, and not a later one of the same id.
    #[must_use]
    pub fn get(&self, held: Held) -> Option<&Process> {
        self.by_pid.get(&held.pid).filter(|process| process.started == held.started)
    }

    /// Processes that were left out because a right is missing.
    #[must_use]
    pub fn n_hidden(&self) -> usize {
        self.n_hidden
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
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

// === impl Namespaces ===

impl Namespaces {
    fn new() -> io::Result<Self> {
        let own = Netns::own()?;
        let by_inode = HashMap::from([(own.inode()?, (own.cookie()?, own))]);
        Ok(Self { by_inode, n_refused: 0 })
    }

    fn cookie_of(&mut self, pid: u32) -> io::Result<Cookie> {
        let inode = fs::metadata(format!("/proc/{pid}/ns/net"))
            .inspect_err(|error| {
                self.n_refused += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
            })?
            .ino();
        if let Some((cookie, _)) = self.by_inode.get(&inode) {
            return Ok(*cookie);
        }
        let netns = Netns::of_pid(pid)?;
        let cookie = netns.cookie()?;
        if self.by_inode.len() < HELD_OPEN {
            self.by_inode.insert(netns.inode()?, (cookie, netns));
        }
        Ok(cookie)
    }
}

/// When a process started, if there is one of that id.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    stat::parse(&read(pid, "stat")?).map(|stat| stat.started)
}

fn look(pid: u32, namespaces: &mut Namespaces) -> Option<Process> {
    let stat = stat::parse(&read(pid, "stat")?).filter(|stat| !stat.is_kernel)?;
    let netns = namespaces.cookie_of(pid).ok()?;
    let lines = read(pid, "cgroup")?;
    let cgroup = stat::cgroup(str::from_utf8(&lines).ok()?)?.to_owned();
    // The id may have gone to another process between the reads.
    let same = started(pid) == Some(stat.started);
    same.then_some(Process { pid, started: stat.started, netns, cgroup })
}

fn read(pid: u32, file: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    File::open(format!("/proc/{pid}/{file}")).ok()?.take(FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
