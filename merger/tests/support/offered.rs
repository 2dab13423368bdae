//! What the running kernel must offer, so that what is missing where it must be is a failure and no
//! smaller run of tests. merger itself goes by no version, but tries.
#![allow(dead_code, reason = "not every program of tests needs all of it")]

use std::fs;

use merger::listeners::Rung;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with},
};

/// The rungs of this kernel, the best first.
pub(crate) fn rungs() -> Vec<Rung> {
    Rung::ALL.into_iter().filter(|rung| *rung != Rung::Ebpf || has_walk()).collect()
}

/// Whether there is the walk over open files: `bpf_sock_from_file` came with Linux 5.11.
pub(crate) fn has_walk() -> bool {
    release() >= (5, 11)
}

/// Whether there is Landlock, which Debian's kernels are told to use: it came with Linux 5.13.
pub(crate) fn has_landlock() -> bool {
    release() >= (5, 13)
}

/// Whether maps are locked memory, of which a process may have little: until Linux 5.11 they were.
pub(crate) fn locks_maps() -> bool {
    release() < (5, 11)
}

/// Whether there are MPTCP sockets. Where there are none, the kernel is 5.10 or older: Debian switched
/// `CONFIG_MPTCP` on later than that.
#[track_caller]
pub(crate) fn has_mptcp() -> bool {
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    match socket_with(family, SocketType::STREAM, flags, Some(ipproto::MPTCP)) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, Errno::PROTONOSUPPORT);
            assert!(release() <= (5, 10), "no MPTCP on {:?}", release());
            false
        }
    }
}

/// Such as `(6, 12)`.
fn release() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("a release begins with two numbers: {release}"),
    }
}
