//! Every listening TCP socket in every table of files, each with the process that holds it.
//!
//! Writes one [`Row`] for each; the same socket comes once for each descriptor that refers to it.
//! The kernel leaves out the threads that share the table of their process' first one, and no others:
//! `task_seq_get_next` in <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c>. One
//! that has a table of its own, or whose first one has ended, may hold a socket that no other does.
//!
//! In a PID namespace that is not the first it yields nothing: the kernel walks the reader's
//! namespace, so the agent must run in the host's.

use core::{mem::size_of, ptr};

use aya_ebpf::{
    bindings::{file, seq_file},
    helpers::{bpf_seq_write, bpf_sock_from_file},
};
use merger_common::{FAMILY_V4, FAMILY_V6, Row};

use crate::kernel::{File, Sock, TCP_LISTEN, Task};

/// `struct bpf_iter__task_file` in
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c>.
#[repr(C)]
struct Context {
    meta: *const Meta,
    /// Null at the end of the walk.
    task: *const u8,
    /// The kernel aligns it, and what follows, to eight bytes.
    fd: u32,
    /// Null at the end of the walk.
    file: *mut file,
}

/// `struct bpf_iter_meta` in <https://github.com/torvalds/linux/blob/v6.12/include/linux/bpf.h>.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
    session_id: u64,
    seq_num: u64,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn task_file(ctx: *const Context) -> i32 {
    // SAFETY: the kernel calls an iterator with a valid context of this type. Volatile, because
    // the verifier knows the pointers only as loads of eight bytes at their own offsets.
    let (meta, task, file) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx).meta),
            ptr::read_volatile(&raw const (*ctx).task),
            ptr::read_volatile(&raw const (*ctx).file),
        )
    };
    let Some(task) = Task::new(task) else { return 0 };
    let Some(opened) = File::new(file.cast()) else { return 0 };
    // SAFETY: a file pointer of the context, checked above, is what the helper takes.
    let socket = unsafe { bpf_sock_from_file(file) };
    let Some(row) = Sock::of_socket(socket.cast()).and_then(|sock| row(sock, opened, task)) else {
        return 0;
    };
    // SAFETY: the row is initialised, without padding, and as long as it says.
    // A full buffer is the kernel's to handle: it hands over what was there before this row, and
    // calls again for the same file.
    unsafe {
        let seq = ptr::read_volatile(&raw const (*meta).seq);
        bpf_seq_write(seq, (&raw const row).cast(), size_of::<Row>() as u32);
    }
    0
}

#[inline(always)]
fn row(sock: Sock, opened: File, task: Task) -> Option<Row> {
    let family = sock.family();
    if (family != FAMILY_V4 && family != FAMILY_V6) || sock.state() != TCP_LISTEN || !sock.is_tcp()
    {
        return None;
    }
    let address = if family == FAMILY_V6 { sock.address_v6() } else { sock.address_v4() };
    let net = sock.net()?;
    Some(Row {
        netns: net.cookie(),
        started: task.started(),
        inum: net.inum(),
        tgid: task.tgid(),
        address,
        port: sock.port(),
        family,
        inode: opened.inode(),
    })
}
