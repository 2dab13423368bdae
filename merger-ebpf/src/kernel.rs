//! The kernel's structures, without their layout.
//!
//! An offset is a constant of the running kernel, found by the agent in its BTF and written here
//! before loading. The section is frozen then, so the verifier treats each as a literal: a branch
//! on one that is 0 is pruned, and with it what an older kernel lacks.
//!
//! Pointers that start at the argument of a tp_btf program or an iterator may be followed without
//! `bpf_probe_read`: the verifier knows their type, and an address that is gone reads as zero.
//! See `check_ptr_to_btf_access` in
//! <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/verifier.c>.

use core::ptr;

use aya_ebpf::Global;

/// `TCP_LISTEN` and `TCP_CLOSE` in <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>.
pub(crate) const TCP_LISTEN: u8 = 10;
pub(crate) const TCP_CLOSE: u8 = 7;

/// `IPPROTO_TCP` and `IPPROTO_MPTCP`; SCTP has a state of the same number as `TCP_LISTEN`.
const TCP: u16 = 6;
const MPTCP: u16 = 262;

/// Declares the offsets, which the agent sets by these names: `merger/src/node/offsets.rs`.
macro_rules! offsets {
    ($($name:ident),* $(,)?) => { $(#[unsafe(no_mangle)] static $name: Global<u32> = Global::new(0);)* };
}

offsets! {
    SOCK_NET, SOCK_NUM, SOCK_FAMILY, SOCK_STATE, SOCK_PROTOCOL, SOCK_ADDRESS_V4, SOCK_ADDRESS_V6,
    // 0 where the kernel has no cookies: below 5.12.
    NET_COOKIE,
    NET_INUM, SOCKET_SK,
    TASK_TGID, TASK_LEADER, TASK_STARTED,
    FILE_INODE, INODE_NUMBER,
}

/// A `struct sock`.
#[derive(Clone, Copy)]
pub(crate) struct Sock(*const u8);

/// A `struct net`: a network namespace.
#[derive(Clone, Copy)]
pub(crate) struct Net(*const u8);

/// A `struct task_struct`: a thread.
#[derive(Clone, Copy)]
pub(crate) struct Task(*const u8);

/// A `struct file`: what a descriptor refers to.
#[derive(Clone, Copy)]
pub(crate) struct File(*const u8);

// === impl Sock ===

impl Sock {
    /// Nothing for a null pointer. The pointer is one that the verifier knows to be a `sock`.
    pub(crate) fn new(pointer: *const u8) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer))
    }

    /// Of a `struct socket`: what a file descriptor refers to.
    pub(crate) fn of_socket(socket: *const u8) -> Option<Self> {
        if socket.is_null() { None } else { follow(socket, &SOCKET_SK).map(Self) }
    }

    pub(crate) fn is_tcp(self) -> bool {
        let protocol: u16 = read(self.0, &SOCK_PROTOCOL);
        protocol == TCP || protocol == MPTCP
    }

    pub(crate) fn state(self) -> u8 {
        read(self.0, &SOCK_STATE)
    }

    pub(crate) fn family(self) -> u16 {
        read(self.0, &SOCK_FAMILY)
    }

    /// The local port. `skc_num` is in host order, unlike `skc_dport`.
    pub(crate) fn port(self) -> u16 {
        read(self.0, &SOCK_NUM)
    }

    pub(crate) fn address_v4(self) -> [u8; 16] {
        as_bytes([read(self.0, &SOCK_ADDRESS_V4), 0, 0, 0])
    }

    /// Word by word: the verifier refuses an access wider than the member's own type.
    pub(crate) fn address_v6(self) -> [u8; 16] {
        let word = |n: u32| read_at(self.0, SOCK_ADDRESS_V6.load() + 4 * n);
        as_bytes([word(0), word(1), word(2), word(3)])
    }

    /// The namespace of the socket, which need not be that of the task that uses it.
    pub(crate) fn net(self) -> Option<Net> {
        follow(self.0, &SOCK_NET).map(Net)
    }
}

// === impl Net ===

impl Net {
    /// 0 where the kernel has no cookies.
    pub(crate) fn cookie(self) -> u64 {
        if NET_COOKIE.load() == 0 { 0 } else { read(self.0, &NET_COOKIE) }
    }

    pub(crate) fn inum(self) -> u32 {
        read(self.0, &NET_INUM)
    }

    /// What tells this namespace from all others that live now.
    pub(crate) fn key(self) -> u64 {
        match self.cookie() {
            0 => u64::from(self.inum()),
            cookie => cookie,
        }
    }
}

// === impl Task ===

impl Task {
    /// Nothing for a null pointer. The pointer is one that the verifier knows to be a task.
    pub(crate) fn new(pointer: *const u8) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer))
    }

    pub(crate) fn tgid(self) -> u32 {
        read(self.0, &TASK_TGID)
    }

    /// When its process did, in nanoseconds since boot; 0 where that is not known.
    pub(crate) fn started(self) -> u64 {
        follow(self.0, &TASK_LEADER).map_or(0, |leader| read(leader, &TASK_STARTED))
    }
}

// === impl File ===

impl File {
    /// Nothing for a null pointer. The pointer is one that the verifier knows to be a file.
    pub(crate) fn new(pointer: *const u8) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer))
    }

    /// The number of its inode; 0 where it has none. The kernel keeps 64 bits, of which those of a socket
    /// fill the lower half.
    pub(crate) fn inode(self) -> u32 {
        follow(self.0, &FILE_INODE).map_or(0, |inode| read::<u64>(inode, &INODE_NUMBER) as u32)
    }
}

#[inline(always)]
fn follow(base: *const u8, offset: &Global<u32>) -> Option<*const u8> {
    let pointer: *const u8 = read(base, offset);
    (!pointer.is_null()).then_some(pointer)
}

#[inline(always)]
fn read<T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    read_at(base, offset.load())
}

#[inline(always)]
fn read_at<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier accepts the load only where `base` is a kernel structure with a member
    // of this width at this offset. Volatile keeps the compiler from widening or splitting it.
    unsafe { ptr::read_volatile(base.add(offset as usize).cast()) }
}

#[inline(always)]
fn as_bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen plain bytes. The words are in network order already.
    unsafe { core::mem::transmute(words) }
}
