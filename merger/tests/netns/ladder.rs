//! Which rung is taken where a better one is missing, and that a node tells the same by each.

use merger::{
    listeners::Rung,
    node::{self, Options, Rungs},
};

use super::{NEEDS, check, is_able, namespace::look, pod::Pod, world};
use crate::refuse::{Call, refuse};

/// `socket(AF_NETLINK, …, NETLINK_SOCK_DIAG)` and `bpf`, of which the second also stands for the
/// rights that it takes.
const SOCK_DIAG: Call =
    Call { number: libc::SYS_socket, arguments: &[(0, libc::AF_NETLINK), (2, 4)] };
/// `setsockopt(…, SOL_SOCKET, SO_BINDTOIFINDEX)`, which takes a right below Linux 5.7.
const BIND: Call = Call {
    number: libc::SYS_setsockopt,
    arguments: &[(1, libc::SOL_SOCKET), (2, libc::SO_BINDTOIFINDEX)],
};
const BPF: Call = Call { number: libc::SYS_bpf, arguments: &[] };

/// Runs a test's body in a program of its own whose kernel refuses these calls.
#[track_caller]
fn check_without(test: &str, calls: &'static [Call], body: impl AsyncFnOnce()) {
    let command: &[&str] = if is_able() { &[] } else { &super::USER_NAMESPACE };
    world::inside(test, command, NEEDS, async || {
        refuse(calls);
        body().await;
    });
}

fn only(rung: Rung) -> Options {
    Options { rung: Rungs::Only(rung), strangers: true, ..Options::default() }
}

#[test]
fn without_the_kernel_part_sock_diag_is_asked() {
    check_without("ladder::without_the_kernel_part_sock_diag_is_asked", &[BPF], async || {
        let (node, _changes) = node::start(Options::default()).unwrap();
        let reason = node.fallback().unwrap();
        assert_eq!(node.rung(), Rung::SockDiag, "{reason}");
        assert!(reason.starts_with("ebpf, ebpf_sock_diag: "), "{reason}");
    });
}

#[test]
fn without_both_proc_is_read_and_each_is_told() {
    let test = "ladder::without_both_proc_is_read_and_each_is_told";
    check_without(test, &[BPF, SOCK_DIAG], async || {
        let pod = Pod::new();
        let (_listener, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) =
            node::start(Options { strangers: true, ..Options::default() }).unwrap();
        let reason = node.fallback().unwrap();
        assert_eq!(node.rung(), Rung::Proc, "{reason}");
        assert!(
            reason.starts_with("ebpf, ebpf_sock_diag: ") && reason.contains("; sock_diag: "),
            "{reason}"
        );
        assert!(reason.ends_with("modprobe tcp_diag"), "{reason}");
        let listeners = look(&node).await.listeners;
        let of_pod: Vec<_> = listeners.iter().filter(|one| one.netns == pod.cookie).collect();
        assert_eq!(of_pod.iter().map(|one| one.port.get()).collect::<Vec<_>>(), [bound.port()]);
    });
}

#[test]
fn a_rung_that_is_asked_for_and_missing_is_an_error() {
    let test = "ladder::a_rung_that_is_asked_for_and_missing_is_an_error";
    check_without(test, &[BPF, SOCK_DIAG], async || {
        for rung in [Rung::Ebpf, Rung::EbpfSockDiag, Rung::SockDiag] {
            let error = node::start(only(rung)).err().unwrap().to_string();
            let beginning = format!("listeners cannot be known by {rung}: ");
            assert!(error.starts_with(&beginning), "{error}");
        }
    });
}

#[test]
fn a_node_tells_the_same_by_sock_diag_and_by_proc() {
    check("ladder::a_node_tells_the_same_by_sock_diag_and_by_proc", async || {
        let mut pods = [Pod::new(), Pod::new()];
        let bound = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        let open = pods.each_ref().map(|pod| bound.map(|address| pod.listen(address)));
        pods[0].hand_over(open[0][0].0.try_clone().unwrap());
        let mut found = vec![];
        for rung in [Rung::SockDiag, Rung::Proc] {
            let (node, _changes) = node::start(only(rung)).unwrap();
            assert_eq!((node.rung(), node.fallback().as_deref()), (rung, Some("asked for")));
            let mut listeners = look(&node).await.listeners;
            listeners.retain(|one| pods.iter().any(|pod| pod.cookie == one.netns));
            let n_holders: usize = listeners.iter().map(|one| one.holders.len()).sum();
            assert_eq!((listeners.len(), n_holders), (8, 9), "{rung}: {listeners:?}");
            found.push(listeners);
        }
        assert_eq!(found[0], found[1]);
    });
}

#[test]
fn a_kernel_on_which_every_connection_would_fail_is_told_at_the_start() {
    let test = "ladder::a_kernel_on_which_every_connection_would_fail_is_told_at_the_start";
    check_without(test, &[BIND], async || {
        let error = node::start(Options::default()).err().unwrap().to_string();
        assert!(error.contains("Linux 5.7"), "{error}");
    });
}
