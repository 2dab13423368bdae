//! A socket begins or ceases to listen: mark its namespace dirty.
//!
//! Level, not edge: the first change since the agent looked sends one record, and further ones
//! cost a lookup. A pod that loops over listen and close takes nothing from its neighbours.
//! Nor may changes be counted: an MPTCP listener opens thrice and closes twice.
//!
//! The arguments are `(const struct sock *, const int oldstate, const int newstate)`, see
//! `TRACE_EVENT(inet_sock_set_state)` in
//! <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sock.h>.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use merger_common::Change;

use crate::{
    CHANGES, DIRTY, LOST,
    kernel::{Sock, TCP_CLOSE, TCP_LISTEN},
};

/// `-EEXIST`: the namespace is dirty already, and the agent will look at it.
const EXISTS: i32 = -17;

/// The event comes before the state is stored in the socket, so the reader must not look at once.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let opened = new == i32::from(TCP_LISTEN);
    // Every accepted connection goes from LISTEN to SYN_RECV on the child; that closes nothing.
    let closed = old == i32::from(TCP_LISTEN) && new == i32::from(TCP_CLOSE);
    if opened || closed {
        if let Some(sock) = Sock::new(ctx.arg(0)) {
            mark(&ctx, sock, opened);
        }
    }
    0
}

#[inline(always)]
fn mark(ctx: &BtfTracePointContext, sock: Sock, opened: bool) {
    let Some(net) = sock.net() else { return };
    let (netns, port) = (net.key(), sock.port());
    match DIRTY.insert(&netns, &1, u64::from(BPF_NOEXIST)) {
        Ok(()) if send(Change { netns, port, opened: u16::from(opened), reserved: 0 }) => {
            debug!(ctx, "network namespace {} is dirty: port {}", netns, port);
        }
        Ok(()) => {
            // Without its record the mark would stay, and hide every later change.
            let _ = DIRTY.remove(&netns);
            lose();
        }
        Err(EXISTS) => {}
        Err(_) => lose(),
    }
}

#[inline(always)]
fn send(change: Change) -> bool {
    let Some(mut record) = CHANGES.reserve::<Change>(0) else { return false };
    record.write(change);
    record.submit(0);
    true
}

#[inline(always)]
fn lose() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the pointer is into this CPU's own value, and a program is not moved while it runs.
        unsafe { *lost += 1 };
    }
}
