//! The sockets that a process has open, in all tables of files of its threads.
//!
//! Threads share a table, unless one has told the kernel that it wants its own (`unshare(CLONE_FILES)`);
//! and what is shared outlives the first thread, whose own is then gone. So one thread of each table
//! is looked at, and which those are the kernel is asked.
//!
//! Where they cannot be seen, that process may hold any listener. It is told apart from one that has
//! ended, which holds none.

#![expect(unsafe_code, reason = "kcmp(2) has no wrapper")]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, openat, readlinkat_raw, statat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{directory, present, stat_of, unless_ended};
use crate::{listeners::Held, node::privileges::Capability};

/// Bytes of a link to a socket: `socket:[…]` with up to 20 digits, and one to spare.
const SOCKET: usize = 32;

/// Tables that are told apart. The threads of those beyond are looked at one by one.
const TABLES: usize = 16;

/// What a process has open cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the files of process {pid} cannot be seen: {why}")]
pub struct Hidden {
    /// The process.
    pub pid: u32,
    /// Why not.
    pub why: Unseen,
}

/// Why something of a process that has not ended cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unseen {
    /// The right that would show it. A security module may refuse it to whoever has that.
    #[error("missing {0}")]
    Missing(Capability),
    /// The number of the kernel's error: it lacks memory, or this process descriptors.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Failed(i32),
}

/// The sockets that a process has open, by inode, and when it started. Nothing where it has ended, or
/// is a thread of the kernel.
///
/// The table of another user's process is opened with `CAP_DAC_READ_SEARCH`, and read with
/// `CAP_SYS_PTRACE`. No more files are looked at than there is room for, the lowest descriptors first,
/// and each takes one: where no room is left, there may be more of them.
pub fn open_sockets(pid: u32, room: &mut usize) -> Result<Option<(Held, Vec<u64>)>, Hidden> {
    sockets(pid, room).map_err(|why| Hidden { pid, why })
}

fn sockets(pid: u32, room: &mut usize) -> Result<Option<(Held, Vec<u64>)>, Unseen> {
    let Some(process) = directory(pid)? else { return Ok(None) };
    let stat = stat_of(&process)?;
    let Some(stat) = stat.filter(|stat| !stat.is_kernel) else { return Ok(None) };
    let mut inodes = vec![];
    table(&process, &mut inodes, room)?;
    if stat.n_threads > 1 {
        tables_of_threads(&process, pid, &mut inodes, room)?;
    }
    Ok(Some((Held { started: stat.started, pid }, inodes)))
}

/// Adds the sockets of the threads whose table is not that of the first one.
fn tables_of_threads(
    process: &OwnedFd,
    pid: u32,
    inodes: &mut Vec<u64>,
    room: &mut usize,
) -> Result<(), Unseen> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(threads) = present(openat(process, "task", flags, Mode::empty()))? else {
        return Ok(());
    };
    let mut looked_at: Vec<(u32, OwnedFd)> = vec![];
    for thread in Dir::read_from(&threads)? {
        let Some(thread) = present(thread)? else { break };
        let name = thread.file_name();
        let Some(tid) = name.to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        let is_known = share_table(pid, process, tid)
            || looked_at.iter().any(|(one, directory)| share_table(*one, directory, tid));
        if is_known {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(thread) = present(openat(&threads, name, flags, Mode::empty()))? else { continue };
        table(&thread, inodes, room)?;
        if looked_at.len() < TABLES {
            looked_at.push((tid, thread));
        }
    }
    Ok(())
}

/// Whether a thread shares its table of files with another that was looked at, as far as the kernel says.
/// The id of one that has ended may be another's by now, so its directory has to be that of a thread still.
fn share_table(one: u32, directory: &OwnedFd, other: u32) -> bool {
    let is_there = || statat(directory, "stat", AtFlags::empty()).is_ok();
    one == other || (compare_tables(one, other).is_ok_and(|same| same) && is_there())
}

/// Whether two threads share a table of files. Fails where the kernel was built without `CONFIG_KCMP`, or
/// they cannot be looked into.
pub fn compare_tables(one: u32, other: u32) -> io::Result<bool> {
    /// In <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/kcmp.h>.
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: the call takes numbers, and no pointer to anything of this process.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        order => Ok(order == 0),
    }
}

/// Adds the sockets of the table in the directory of a process or a thread, unless that ends.
fn table(directory: &impl AsFd, inodes: &mut Vec<u64>, room: &mut usize) -> Result<(), Unseen> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = unless_ended(directory, openat(directory, "fd", flags, Mode::empty()));
    let opened = opened.map_err(|error| Unseen::with(error, Capability::DacReadSearch))?;
    let Some(table) = opened else { return Ok(()) };
    for file in Dir::read_from(&table)? {
        let Some(file) = unless_ended(directory, file)? else { break };
        let name = file.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Some(left) = room.checked_sub(1) else { break };
        *room = left;
        let mut target = [0; SOCKET];
        match unless_ended(directory, readlinkat_raw(&table, name, &mut target[..])) {
            // What does not fit is no socket, and what is closed by now is none any more.
            Ok(n) => inodes.extend(n.and_then(|n| parse(&target[..n]))),
            // A file of so long a path that the kernel does not tell it, which a pod may well have.
            Err(Errno::NAMETOOLONG) => {}
            Err(error) => return Err(Unseen::with(error, Capability::SysPtrace)),
        }
    }
    Ok(())
}

// === impl Unseen ===

impl Unseen {
    /// The right would help where it was refused.
    fn with(error: Errno, right: Capability) -> Self {
        match error {
            Errno::ACCESS | Errno::PERM => Self::Missing(right),
            error => error.into(),
        }
    }
}

impl From<Errno> for Unseen {
    fn from(error: Errno) -> Self {
        Self::Failed(error.raw_os_error())
    }
}

fn parse(link: &[u8]) -> Option<u64> {
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    /// Whether that process is hidden, the kernel having said this, and why.
    #[track_caller]
    fn check(pid: u32, error: Errno, expected: Result<Option<()>, Unseen>) {
        let process = directory(pid).unwrap().unwrap();
        let found = unless_ended(&process, Err(error));
        assert_eq!(found.map_err(|error| Unseen::with(error, Capability::SysPtrace)), expected);
    }

    #[test]
    fn only_what_has_ended_holds_nothing() {
        let own = process::id();
        check(own, Errno::NOENT, Ok(None));
        check(own, Errno::SRCH, Ok(None));
        check(own, Errno::ACCESS, Err(Unseen::Missing(Capability::SysPtrace)));
        for error in [Errno::MFILE, Errno::NOMEM] {
            check(own, error, Err(Unseen::Failed(error.raw_os_error())));
        }
    }

    #[test]
    fn what_is_refused_of_one_that_was_reaped_is_not_hidden() {
        let mut child = process::Command::new("sleep").arg("600").spawn().unwrap();
        let directory = directory(child.id()).unwrap().unwrap();
        let refused = || unless_ended(&directory, Err::<(), _>(Errno::ACCESS));
        assert_eq!(refused(), Err(Errno::ACCESS));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused(), Ok(None));
    }

    #[test]
    fn a_thread_that_has_ended_shares_its_table_with_none() {
        let mut child = process::Command::new("sleep").arg("600").spawn().unwrap();
        let ended = directory(child.id()).unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // By its id now another would be found.
        let own = directory(process::id()).unwrap().unwrap();
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let is_told = compare_tables(process::id(), tid).is_ok();
        assert_eq!(share_table(process::id(), &own, tid), is_told);
        assert!(!share_table(process::id(), &ended, tid));
    }
}
