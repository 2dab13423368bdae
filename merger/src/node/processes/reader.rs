//! What is looked at of each process: when it started, its cgroup, and its namespace.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, openat, readlinkat},
    io::Errno,
};

use super::{Seen, alive, directory, open_netns, parse_inode};
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
    /// Processes whose namespace may not be looked at.
    n_refused: usize,
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
        let (by_inode, beyond, n_refused) = Default::default();
        Self { has_cookies, most, by_inode, beyond, n_refused, buffer: vec![0; FILE] }
    }

    /// How many processes have a namespace that may not be looked at.
    pub(super) fn n_refused(&self) -> usize {
        self.n_refused
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

    pub(super) fn look(&mut self, pid: u32) -> Option<Seen> {
        let process = directory(pid)?;
        // First, as it tells the threads of the kernel, which are half of many a node.
        let stat = stat::parse(self.read(&process, "stat")?).filter(|stat| !stat.is_kernel)?;
        let process = alive(process, stat)?;
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
        let link = match readlinkat(process, "ns/net", vec![]) {
            // Where newer kernels refuse, 5.10 gives an empty link.
            Ok(link) if link.is_empty() => Err(Errno::ACCESS),
            link => link,
        };
        let link = link.map_err(io::Error::from).inspect_err(|error| {
            self.n_refused += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
        })?;
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

/// Whether a process is in the namespace of the number that it was found in.
fn is_there(seen: &Seen) -> bool {
    open_netns(seen.held(), Some(seen.inode)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

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
