//! The part of merger that runs in the kernel: its programs and its maps.
//!
//! It reads sockets and processes, and changes nothing. Its programs do bounded work on rare
//! events: a socket that begins or ceases to listen, and one walk over the tables of files when
//! the agent asks for it. What a packet or a connection does costs one comparison.
//!
//! One object serves every kernel: nothing of a kernel's layout is compiled in, see `kernel.rs`.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "kernel memory is read by pointer; the verifier checks each access"
)]

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};
use merger_common::{N_MARKS, RING_BYTES};

mod inet_sock_set_state;
mod kernel;
mod task_file;

/// The namespaces with a change that the agent has not looked at yet. The agent takes marks away.
#[map]
static DIRTY: HashMap<u64, u8> = HashMap::with_max_entries(N_MARKS, 0);

/// One record for each mark that was set.
#[map]
static CHANGES: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// How many changes found no room in `DIRTY` or `CHANGES`.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The kernel lends GPL-only helpers, `bpf_seq_write` among them, only to a program that says this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // No program holds a panicking path: the verifier refuses the loop, and that is the proof.
    loop {}
}
