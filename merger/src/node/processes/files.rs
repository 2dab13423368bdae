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
    fs::{Dir, Mode, OFlags, openat, readlinkat_raw},
    io::Errno,
};

use super::{directory, stat_of};
use crate::{listeners::Held, node::privileges::Capability};

/// Bytes of a link to a socket: `socket:[…]` with up to 20 digits, and one to spare.
const SOCKET: usize = 32;

/// Tables that are told apart. The threads of those beyond are looked at one by one.
const TABLES: usize = 16;

/// What a process has open cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the files of process {pid} cannot be seen: missing {missing}")]
pub struct Hidden {
    /// The process.
    pub pid: u32,
    /// The right that would show them. A security module may refuse them to whoever has it.
    pub missing: Capability,
}

/// The sockets that a process has open, by inode, and when it started. Nothing where it has ended, or
/// is a thread of the kernel.
///
/// The table of another user's process is opened with `CAP_DAC_READ_SEARCH`, and read with
/// `CAP_SYS_PTRACE`. No more files are looked at than there is room for, the lowest descriptors first,
/// and each takes one: where no room is left, there may be more of them.
pub fn open_sockets(pid: u32, room: &mut usize) -> Result<Option<(Held, Vec<u64>)>, Hidden> {
    let Ok(Some(process)) = directory(pid) else { return Ok(None) };
    let stat = stat_of(&process).ok().flatten();
    let Some(stat) = stat.filter(|stat| !stat.is_kernel) else { return Ok(None) };
    let mut inodes = vec![];
    let mut read = table(&process, &mut inodes, room);
    if stat.n_threads > 1 {
        read = read.and_then(|()| tables_of_threads(&process, pid, &mut inodes, room));
    }
    read.map_err(|missing| Hidden { pid, missing })?;
    Ok(Some((Held { started: stat.started, pid }, inodes)))
}

/// Adds the sockets of the threads whose table is not that of the first one.
fn tables_of_threads(
    process: &OwnedFd,
    pid: u32,
    inodes: &mut Vec<u64>,
    room: &mut usize,
) -> Result<(), Capability> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(threads) = openat(process, "task", flags, Mode::empty()) else { return Ok(()) };
    let mut looked_at = vec![pid];
    for thread in Dir::read_from(&threads).into_iter().flatten().flatten() {
        let name = thread.file_name();
        let tid = name.to_str().ok().and_then(|name| name.parse().ok());
        let Some(tid) = tid.filter(|tid| !looked_at.iter().any(|&one| share_table(one, *tid)))
        else {
            continue;
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(thread) = openat(&threads, name, flags, Mode::empty()) else { continue };
        table(&thread, inodes, room)?;
        if looked_at.len() < TABLES {
            looked_at.push(tid);
        }
    }
    Ok(())
}

/// Whether two threads share a table of files, as far as the kernel says.
fn share_table(one: u32, other: u32) -> bool {
    /// In <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/kcmp.h>.
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: the call takes numbers, and no pointer to anything of this process.
    one == other || unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) } == 0
}

/// Adds the sockets of the table in the directory of a process or a thread. The error is the right that is missing.
fn table(directory: &impl AsFd, inodes: &mut Vec<u64>, room: &mut usize) -> Result<(), Capability> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let table = match openat(directory, "fd", flags, Mode::empty()) {
        Ok(table) => table,
        Err(error) if is_refused(error) => return Err(Capability::DacReadSearch),
        Err(_) => return Ok(()),
    };
    for file in Dir::read_from(&table).into_iter().flatten().flatten() {
        let Some(left) = room.checked_sub(1) else { break };
        *room = left;
        let mut target = [0; SOCKET];
        match readlinkat_raw(&table, file.file_name(), &mut target[..]) {
            // What does not fit is no socket.
            Ok(n) => inodes.extend(parse(&target[..n])),
            Err(error) if is_refused(error) => return Err(Capability::SysPtrace),
            Err(_) => {}
        }
    }
    Ok(())
}

fn is_refused(error: Errno) -> bool {
    io::Error::from(error).kind() == io::ErrorKind::PermissionDenied
}

fn parse(link: &[u8]) -> Option<u64> {
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
