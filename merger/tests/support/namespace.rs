//! What tells a namespace from others on every kernel: its cookie, and where no socket tells that, its
//! inode number. Tests hold their namespaces by processes, so no number is used again meanwhile.
//!
//! A node that has no cookies makes its own. What it tells is translated by the processes it tells of.
#![allow(dead_code, reason = "not every program of tests needs all of it")]
#![expect(unsafe_code, reason = "SIOCGSKNS has no wrapper")]

use std::{
    collections::HashMap,
    env, io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use merger::{
    identity::{Cookie, Process},
    netns::{Identity, Netns, cookie_of},
    node::{Node, Snapshot},
};

/// What tells namespaces apart here.
pub(crate) fn identity(netns: &Netns) -> io::Result<Cookie> {
    match netns.cookie() {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => netns.inode().map(Cookie),
        told => told,
    }
}

/// The namespace of the calling thread.
#[track_caller]
pub(crate) fn own() -> Cookie {
    Netns::own().and_then(|own| identity(&own)).expect("a thread may enter its own namespace")
}

/// The namespace that a socket was born in, as the kernel opens it for whoever has `CAP_NET_ADMIN`.
#[track_caller]
pub(crate) fn of_socket(socket: &impl AsFd) -> Cookie {
    /// In <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/sockios.h>.
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: the call takes no pointer.
    let netns = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    assert!(netns >= 0, "SIOCGSKNS: {}", io::Error::last_os_error());
    // SAFETY: it answers with a new descriptor, which nobody else owns.
    let netns = unsafe { OwnedFd::from_raw_fd(netns) };
    let opened = Netns::open(format!("/proc/self/fd/{}", netns.as_raw_fd()));
    let found = opened.and_then(|opened| identity(&opened)).expect("it is open");
    if identities().contains(&Identity::Cookie) {
        assert_eq!(cookie_of(socket).expect("this kernel has cookies"), found);
    }
    found
}

/// What a node can tell namespaces apart by on this kernel. In a guest, of which one has no cookies, only
/// what it does by itself: this machine does both.
pub(crate) fn identities() -> Vec<Identity> {
    match Identity::here().expect("a namespace may be entered (CAP_SYS_ADMIN)") {
        Identity::Cookie if !is_guest() => {
            vec![Identity::Cookie, Identity::Inode]
        }
        own => vec![own],
    }
}

/// Whether this is another kernel's guest, some twenty times slower than the machine: what takes long and is
/// no matter of kernels is done once there, and by each way here.
pub(crate) fn is_guest() -> bool {
    env::var_os("MERGER_TEST_GUEST").is_some()
}

/// What a snapshot calls the namespace of a process.
#[track_caller]
pub(crate) fn called(snapshot: &Snapshot, pid: u32) -> Cookie {
    let process = snapshot.processes.iter().find(|process| process.pid == pid);
    process.unwrap_or_else(|| panic!("process {pid} is not known")).netns
}

/// Looks at the node, by the identities of namespaces that tests have.
pub(crate) async fn look(node: &Node) -> Snapshot {
    translated(node.snapshot().await.unwrap_or_else(|error| panic!("{error}")))
}

/// The same snapshot without cookies that the node made.
fn translated(mut snapshot: Snapshot) -> Snapshot {
    let mut processes: Vec<&Process> = snapshot.processes.iter().collect();
    // The youngest first, whose place is taken by the oldest: it is the last to move or to end.
    processes.sort_by_key(|process| (process.started, process.pid));
    let of_process = |pid| Netns::of_pid(pid).and_then(|netns| identity(&netns)).ok();
    let made = processes.into_iter().rev().filter(|process| process.netns.is_made());
    let names: HashMap<Cookie, Cookie> =
        made.filter_map(|process| Some((process.netns, of_process(process.pid)?))).collect();
    let Snapshot { host, processes, listeners } = &mut snapshot;
    let of_processes = processes.iter_mut().map(|process| &mut process.netns);
    let of_listeners = listeners.iter_mut().map(|listener| &mut listener.netns);
    for netns in of_processes.chain(of_listeners).chain([host]) {
        *netns = *names.get(netns).unwrap_or(netns);
    }
    snapshot.listeners.sort_by_key(|listener| (listener.netns, listener.address, listener.port));
    snapshot
}
