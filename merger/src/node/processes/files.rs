//! The sockets that a process has open.
//!
//! Where they cannot be seen, that process may hold any listener. It is told apart from one that has
//! ended, which holds none.

use std::{io, os::fd::AsFd};

use rustix::{
    fs::{Dir, Mode, OFlags, openat, readlinkat_raw},
    io::Errno,
};

use super::{directory, stat_of};
use crate::{listeners::Held, node::privileges::Capability};

/// Bytes of a link to a socket: `socket:[…]` with up to 20 digits, and one to spare.
const SOCKET: usize = 32;

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
/// `CAP_SYS_PTRACE`.
pub fn open_sockets(pid: u32) -> Result<Option<(Held, Vec<u64>)>, Hidden> {
    let Some(process) = directory(pid) else { return Ok(None) };
    let Some(stat) = stat_of(&process).filter(|stat| !stat.is_kernel) else { return Ok(None) };
    let mut inodes = vec![];
    table(&process, &mut inodes).map_err(|missing| Hidden { pid, missing })?;
    Ok(Some((Held { started: stat.started, pid }, inodes)))
}

/// Adds the sockets of the table in the directory of a process. The error is the right that is missing.
fn table(directory: &impl AsFd, inodes: &mut Vec<u64>) -> Result<(), Capability> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let table = match openat(directory, "fd", flags, Mode::empty()) {
        Ok(table) => table,
        Err(error) if is_refused(error) => return Err(Capability::DacReadSearch),
        Err(_) => return Ok(()),
    };
    for file in Dir::read_from(&table).into_iter().flatten().flatten() {
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
