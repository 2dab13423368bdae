//! What is looked at of each process: when it started, its cgroup, and its namespace.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags, openat, readlinkat},
    io::Errno,
};

use super::{Seen, alive, directory, open_netns, parse_inode, present, unless_ended};
use crate::{
    identity::{Cookie, Process},
    netns::Netns,
    node::{numbers::Numbers, stat},
};

/// Bytes read of a file about a process. A cgroup path has at most 4096, and a node a dozen of them.
const FILE: usize = 64 * 1024;

/// Namespaces held open during one sweep. Those beyond are opened again for each of their processes, and
/// where their numbers are all that tells them apart, their processes are looked at once more.
const HELD_OPEN: usize = 256;

/// What looks at one process after the other.
pub(super) struct Reader {
    /// Whether the kernel has cookies. Else inode numbers are all that is read.
    has_cookies: bool,
    /// How many namespaces are held open.
    most: usize,
    /// The cookies of the namespaces met. An inode number means a namespace only while that is open,
    /// so each is kept open until all have been looked at.
    by_inode: HashMap<u64, (Cookie, Netns)>,
    /// The numbers of those that are not, where there are no cookies.
    beyond: HashSet<u64>,
    /// Processes that are there and cannot be looked at.
    hidden: HashSet<u32>,
    /// The cgroups met, each once.
    cgroups: HashSet<Arc<str>>,
    /// Of the file that is read: one buffer, since a sweep reads thousands.
    buffer: Vec<u8>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(has_cookies: bool) -> io::Result<Self> {
        let mut reader = Self::holding(HELD_OPEN, has_cookies);
        let own = Netns::own()?;
        let (inode, cookie) = (own.inode()?, reader.cookie(&own)?);
        reader.by_inode.insert(inode, (cookie, own));
        Ok(reader)
    }

    fn holding(most: usize, has_cookies: bool) -> Self {
        let (by_inode, beyond, hidden, cgroups) = Default::default();
        Self { has_cookies, most, by_inode, beyond, hidden, cgroups, buffer: vec![0; FILE] }
    }

    /// Those that are there and cannot be looked at.
    pub(super) fn hidden(self) -> HashSet<u32> {
        self.hidden
    }

    /// Of what was looked at, by process id, that which is sure. To be asked once, in the end.
    ///
    /// Two may have been found in namespaces of one number, one after the other, if that was not held
    /// open. Whoever is in it still has been there when the last of them was found, all at the same
    /// time, and then the number was one namespace's. Whoever is not has ended since, or moved, and is
    /// left out until the next time.
    pub(super) fn vouched(&self, mut by_pid: HashMap<u32, Seen>) -> HashMap<u32, Seen> {
        by_pid.retain(|_, seen| !self.beyond.contains(&seen.inode) || is_there(seen));
        by_pid
    }

    /// What is not known yet where the kernel has none.
    fn cookie(&self, netns: &Netns) -> io::Result<Cookie> {
        if self.has_cookies { netns.cookie() } else { Ok(Numbers::UNKNOWN) }
    }

    /// Looks at one process. One that has ended is none, and one that has not and cannot be looked at
    /// is hidden.
    pub(super) fn look(&mut self, pid: u32) -> Option<Seen> {
        self.seen(pid).unwrap_or_else(|_| {
            self.hidden.insert(pid);
            None
        })
    }

    fn seen(&mut self, pid: u32) -> Result<Option<Seen>, Errno> {
        let Some(process) = directory(pid)? else { return Ok(None) };
        // First, as it tells the threads of the kernel, which are half of many a node.
        let Some(lines) = present(self.read(&process, "stat"))? else { return Ok(None) };
        let stat = stat::parse(lines).ok_or(Errno::INVAL)?;
        if stat.is_kernel {
            return Ok(None);
        }
        let Some(process) = alive(process, stat)? else { return Ok(None) };
        let netns = self.netns_of(&process).map_err(|error| errno(&error));
        let Some((inode, netns)) = unless_ended(&process, netns)? else { return Ok(None) };
        let cgroup = match self.read(&process, "cgroup") {
            Ok(lines) => stat::cgroup(lines),
            // Where one path has more than 4095 bytes, a kernel may tell none of the process. It is
            // nobody's then, and not to be overlooked.
            Err(_) => present(self.read(&process, "stat"))?.map(|_| String::new()),
        };
        let Some(cgroup) = cgroup.map(|cgroup| self.shared(cgroup)) else { return Ok(None) };
        let process = Process { pid, started: stat.started, netns, cgroup };
        Ok(Some(Seen { process, inode }))
    }

    /// The same path for all who are in one cgroup.
    fn shared(&mut self, cgroup: String) -> Arc<str> {
        if let Some(known) = self.cgroups.get(&*cgroup) {
            return Arc::clone(known);
        }
        let cgroup: Arc<str> = cgroup.into();
        self.cgroups.insert(Arc::clone(&cgroup));
        cgroup
    }

    fn netns_of(&mut self, process: &OwnedFd) -> io::Result<(u64, Cookie)> {
        let link = match readlinkat(process, "ns/net", vec![])? {
            // Where newer kernels refuse, 5.10 gives an empty link.
            link if link.is_empty() => return Err(Errno::ACCESS.into()),
            link => link,
        };
        let inode = parse_inode(&link).ok_or(io::ErrorKind::InvalidData)?;
        if let Some((cookie, _)) = self.by_inode.get(&inode) {
            return Ok((inode, *cookie));
        }
        let netns = Netns::of_process(process)?;
        let (inode, cookie) = (netns.inode()?, self.cookie(&netns)?);
        if self.by_inode.len() < self.most {
            self.by_inode.insert(inode, (cookie, netns));
        } else if !self.has_cookies {
            self.beyond.insert(inode);
        }
        Ok((inode, cookie))
    }

    /// A file about a process, up to [`FILE`]. It fails where the process has ended.
    fn read(&mut self, process: &impl AsFd, file: &str) -> Result<&[u8], Errno> {
        let file = openat(process, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut filled = 0;
        while filled < self.buffer.len() {
            match rustix::io::read(&file, &mut self.buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(&self.buffer[..filled])
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}

/// Whether a process is in the namespace of the number that it was found in.
fn is_there(seen: &Seen) -> bool {
    open_netns(seen.held(), Some(seen.inode)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{
        process::{self, Command},
        thread,
    };

    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

    use super::*;
    use crate::node::host::FIRST;

    #[test]
    fn who_cannot_be_looked_into_is_hidden_and_who_has_ended_is_not() {
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let looks = thread::spawn(move || {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            set_capabilities(None, sets).unwrap();
            let mut reader = Reader::holding(HELD_OPEN, false);
            let pids = [process::id(), FIRST, ended.id()];
            let seen = pids.map(|pid| reader.look(pid).is_some());
            (seen, pids.map(|pid| reader.hidden.contains(&pid)))
        });
        // The first process has rights, so who has none may not look into it.
        assert_eq!(looks.join().unwrap(), ([true, false, false], [false, true, false]));
    }

    /// Of this process and of one that ends after it was looked at, those that are sure where so many
    /// namespaces are held open.
    #[track_caller]
    fn check(most: usize, is_ended_sure: bool) {
        let mut reader = Reader::holding(most, false);
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pids = [process::id(), child.id()];
        let seen = pids.map(|pid| (pid, reader.look(pid).unwrap()));
        assert_eq!(seen[0].1.inode, seen[1].1.inode);
        child.kill().unwrap();
        child.wait().unwrap();
        let sure = reader.vouched(seen.into());
        assert_eq!(pids.map(|pid| sure.contains_key(&pid)), [true, is_ended_sure]);
    }

    #[test]
    fn a_number_that_is_held_open_is_one_namespaces() {
        check(HELD_OPEN, true);
    }

    #[test]
    fn in_one_that_is_not_whoever_has_ended_may_have_been_in_another() {
        check(0, false);
    }

    #[test]
    fn a_process_of_the_same_id_vouches_for_nobody() {
        let mut reader = Reader::holding(0, false);
        let mut seen = reader.look(process::id()).unwrap();
        seen.process.started -= 1;
        assert!(reader.vouched(HashMap::from([(process::id(), seen)])).is_empty());
    }
}
