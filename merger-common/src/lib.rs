//! The records that merger's kernel part and its agent share, and the numbers both must agree on.
//!
//! A record is copied byte for byte, so it is `repr(C)`, of fixed width, without padding (a hole
//! would carry stale kernel memory) and without `bool` (most bytes are no `bool`). Nothing here is
//! code, so neither side can disagree with the other about more than these lines.
#![no_std]

/// Namespaces that may be marked dirty at once. At this limit a mark is refused and counted in
/// `LOST`; that heals itself, because each of the marks has a record that the agent still reads. It is
/// twice the pods that nodes are made for, and the ring that follows from it counts twice as the broker's
/// memory.
pub const N_MARKS: u32 = 512;

/// Bytes of the ring `CHANGES`: twice what [`N_MARKS`] records take, so the marks fill up first.
pub const RING_BYTES: u32 = N_MARKS * 2 * RECORD_BYTES;

/// A record in the ring: the kernel's header of 8 bytes, and a [`Change`].
const RECORD_BYTES: u32 = 32;

/// `AF_INET`, as the kernel has it in [`Row::family`].
pub const FAMILY_V4: u16 = 2;

/// `AF_INET6`, as the kernel has it in [`Row::family`].
pub const FAMILY_V6: u16 = 10;

/// A namespace became dirty: some socket in it began or ceased to listen.
///
/// It does not say which, or how often: the reader clears the mark and looks at the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Change {
    /// The key of the mark in `DIRTY`: the namespace's cookie, or its inode number on kernels
    /// below 5.12, which have none.
    pub netns: u64,
    /// The port of the socket that made it dirty, for people.
    pub port: u16,
    /// 1 where that socket began to listen, 0 where it ceased, for people.
    pub opened: u16,
    /// Zero.
    pub reserved: u32,
}

/// One listening socket in one table of files, as the iterator found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// The cookie of the socket's namespace; 0 on kernels that have none.
    pub netns: u64,
    /// When the process that holds it started, in nanoseconds since boot.
    pub started: u64,
    /// The inode number of the socket's namespace. Reused by the kernel at once.
    pub inum: u32,
    /// The process that holds it, in the first PID namespace.
    pub tgid: u32,
    /// In network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// In host order.
    pub port: u16,
    /// [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u16,
    /// The number of the socket's inode, as in `socket:[…]`: the kernel gives no more than 32 bits,
    /// `get_next_ino` in <https://github.com/torvalds/linux/blob/v6.12/fs/inode.c>. 0 is none's.
    pub inode: u32,
}

const _: () = assert!(size_of::<Change>() == 16);
const _: () = assert!(size_of::<Row>() == 48);
const _: () = assert!(RING_BYTES.is_power_of_two() && size_of::<Change>() < RECORD_BYTES as usize);
