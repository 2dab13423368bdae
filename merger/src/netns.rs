//! Entering the network namespace of a pod, and telling one namespace from another.
//!
//! A socket belongs to the namespace it was created in, wherever it is used later. So a thread
//! enters a namespace only to create a socket, never across an `.await`, and leaves at once.
//!
//! A namespace that is held open outlives its pod. Nobody keeps a [`Netns`] longer than one
//! request or one sweep.
#![expect(
    unsafe_code,
    reason = "SO_NETNS_COOKIE and SO_BINDTOIFINDEX have no safe wrapper in rustix"
)]

use std::{
    fs::File,
    io,
    marker::PhantomData,
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::Path,
    process,
};

use rustix::{
    fs::{Mode, OFlags, openat},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde::{Deserialize, Serialize};

use crate::identity::Cookie;

mod route;

/// `SO_NETNS_COOKIE` in <https://github.com/torvalds/linux/blob/v6.12/include/uapi/asm-generic/socket.h>,
/// since 5.14. The number is the same on every machine that Kubernetes runs on.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What tells one namespace from another on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// The kernel's cookie, which every socket tells.
    Cookie,
    /// Below 5.14: the inode number, while a process is known to be in it.
    Inode,
}

/// A network namespace, held open by its file descriptor.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

/// While this lives, the calling thread is in a foreign namespace.
struct Entered {
    home: OwnedFd,
    /// Namespaces belong to threads: the guard is dropped on the thread that made it.
    _not_send: PhantomData<*mut ()>,
}

// === impl Identity ===

impl Identity {
    /// Asks the kernel for a cookie. Needs `CAP_SYS_ADMIN`.
    pub fn here() -> io::Result<Self> {
        match Netns::own()?.cookie() {
            Ok(_) => Ok(Self::Cookie),
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(Self::Inode),
            Err(error) => Err(error),
        }
    }
}

// === impl Netns ===

impl Netns {
    /// Opens the namespace that a file such as `/run/netns/x` or `/proc/1/ns/net` refers to.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { fd: File::open(path)?.into() })
    }

    /// Opens the namespace that a process is in. Of another user's process: needs `CAP_SYS_PTRACE`.
    pub fn of_pid(pid: u32) -> io::Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Opens the namespace of the process whose directory in `/proc` is open as `process`. Where
    /// that has ended it fails, and does not open that of a later process of the same id.
    pub fn of_process(process: &impl AsFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { fd: openat(process, "ns/net", flags, Mode::empty())? })
    }

    /// Opens the namespace that the calling thread is in.
    pub fn own() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Runs what creates a socket inside this namespace. The thread returns home even on a panic,
    /// and where it cannot, the process ends by `SIGABRT`, without a word. Needs `CAP_SYS_ADMIN`.
    pub fn within<T>(&self, create_socket: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _entered = self.enter()?;
        create_socket()
    }

    /// The namespace's identity, read from a socket made inside it. Needs `CAP_SYS_ADMIN`.
    pub fn cookie(&self) -> io::Result<Cookie> {
        // A Unix socket costs least, and no namespace is without.
        self.within(|| cookie_of(&UnixDatagram::unbound()?))
    }

    /// What tells this namespace from all others while it is held open: the cookie, or where the kernel
    /// has none that a socket tells, one that is made of the inode number.
    pub fn name(&self) -> io::Result<Cookie> {
        match self.cookie() {
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                self.inode().map(Cookie::made)
            }
            told => told,
        }
    }

    /// Whether an address is the namespace's own. Needs `CAP_SYS_ADMIN`.
    pub fn owns(&self, address: IpAddr) -> io::Result<bool> {
        let socket = self.within(route::create)?;
        route::is_local(&socket, address)
    }

    /// The inode number: an identity only while the namespace is held open.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(File::from(self.fd.try_clone()?).metadata()?.ino())
    }

    fn enter(&self) -> io::Result<Entered> {
        let home = Self::own()?.fd;
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(Entered { home, _not_send: PhantomData })
    }
}

// === impl Entered ===

impl Drop for Entered {
    fn drop(&mut self) {
        let home = self.home.as_fd();
        if move_into_link_name_space(home, Some(LinkNameSpaceType::Network)).is_err() {
            // A thread lost in one pod's namespace would scrape it in the name of another. It says
            // nothing before: a log that is full would keep it there.
            process::abort();
        }
    }
}

/// The namespace that a socket was created in, wherever the caller is. Needs no right.
///
/// `ENOPROTOOPT` on kernels below 5.14.
pub fn cookie_of(socket: &impl AsFd) -> io::Result<Cookie> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or_default();
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes at most `length`
    // bytes, which is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(Cookie(cookie)) } else { Err(io::Error::last_os_error()) }
}

/// Whether a socket was created in this namespace, as far as it can tell.
///
/// Where the kernel has no cookies it cannot. Then whoever made the cookie vouches for the socket:
/// it was created through a process that was in the namespace before, and still was.
pub fn is_born_in(socket: &impl AsFd, netns: Cookie) -> io::Result<bool> {
    Ok(netns.is_made() || cookie_of(socket)? == netns)
}

/// Lets a socket send and receive by the loopback interface alone, whatever its namespace's rules say:
/// where they would send its packets elsewhere, these are dropped.
///
/// By number, as it is the first of every namespace (`LOOPBACK_IFINDEX`); its name can be another's.
pub fn bind_to_loopback(socket: &impl AsFd) -> io::Result<()> {
    let loopback: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads an integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const loopback).cast(),
            libc::socklen_t::try_from(size_of_val(&loopback)).unwrap_or_default(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
