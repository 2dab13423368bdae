//! Three commands of bpf(2) that aya makes for objects it holds itself, and not for descriptors that
//! came from another process.
#![expect(unsafe_code, reason = "bpf(2) has no wrapper in the C library")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// The commands and the attach type, in
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>.
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// Attaches a program to the tracepoint that it was loaded for, while the link is open.
pub(super) fn attach(program: &impl AsFd) -> io::Result<OwnedFd> {
    // No name: the program knows its hook by its BTF.
    command(BPF_RAW_TRACEPOINT_OPEN, [0, 0, number(program), 0])
}

/// A link from which iterators of a program are made.
pub(super) fn link(program: &impl AsFd) -> io::Result<OwnedFd> {
    command(BPF_LINK_CREATE, [number(program), 0, BPF_TRACE_ITER, 0])
}

/// One walk, by the program of a link.
pub(super) fn walk(link: &impl AsFd) -> io::Result<OwnedFd> {
    command(BPF_ITER_CREATE, [number(link), 0, 0, 0])
}

fn number(descriptor: &impl AsFd) -> u32 {
    // A descriptor that is open is not negative.
    descriptor.as_fd().as_raw_fd().cast_unsigned()
}

/// A command whose attributes are these words, and that answers with a descriptor.
fn command(command: libc::c_long, attributes: [u32; 4]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told, which are those of the array; among them
    // is no pointer but null.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes))
    };
    match i32::try_from(result) {
        // SAFETY: these commands answer with a new descriptor, which nobody else owns.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
