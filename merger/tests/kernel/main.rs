//! The best rung of the running kernel. Needs `CAP_BPF`, `CAP_PERFMON`, `CAP_SYS_ADMIN`, `CAP_SYS_PTRACE`,
//! `CAP_DAC_READ_SEARCH`.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its world does")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process, thread,
    time::Duration,
};

use merger::{
    identity::Cookie,
    listeners::Rung,
    netns::Netns,
    node::{self, Changes, Node, Options, Rungs, Snapshot},
    target::Listener,
};
use rustix::{
    net::{
        AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with,
        sockopt,
    },
    process::{Pid, Signal, kill_process},
};
use tokio::time::timeout;

use self::{
    namespace::look,
    offered::{has_mptcp, rungs},
    pod::Pod,
};

#[path = "../support/cgroup.rs"]
mod cgroup;

#[path = "../support/hostile.rs"]
mod hostile;

#[path = "../support/reincarnation.rs"]
mod lives;

mod leaks;

#[path = "../support/message.rs"]
mod message;

#[path = "../support/namespace.rs"]
mod namespace;

#[path = "../support/offered.rs"]
mod offered;

mod owners;
mod part;

#[path = "../support/pod.rs"]
mod pod;

mod asking;
mod clock;
mod comparison;
mod confinement;
mod descent;
mod heavy;
mod nested;
mod offer;
mod reincarnation;
mod secret;

#[path = "../support/running.rs"]
mod running;

#[path = "../support/silent.rs"]
mod silence;

mod silent;
mod split;
mod start_up;
mod strangers;

mod traps;
mod watcher;

#[path = "../support/world.rs"]
mod world;

#[path = "../support/zygote.rs"]
mod zygote;

/// What is seen by then, of a node that nobody else tells when to look, was told by the kernel part.
const DEADLINE: Duration = Duration::from_secs(10);

/// A socket that no program inherits which another test starts meanwhile.
fn mk_socket(protocol: Option<Protocol>) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, protocol)
}

#[track_caller]
fn start() -> (Node, Changes) {
    let (rung, look_every) = (Rungs::Only(rungs()[0]), Duration::from_hours(1));
    start_with(Options { rung, look_every, ..Options::default() })
}

#[track_caller]
fn start_with(options: Options) -> (Node, Changes) {
    // Most pods here are no more than a namespace.
    let options = Options { strangers: true, ..options };
    node::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// Looks whenever the kernel part says so, until a snapshot is as expected.
async fn until(
    node: &Node,
    changes: &mut Changes,
    what: &str,
    expected: impl Fn(&Snapshot) -> bool,
) -> Snapshot {
    let looks = async {
        loop {
            let snapshot = look(node).await;
            if expected(&snapshot) {
                return snapshot;
            }
            changes.changed().await;
        }
    };
    timeout(DEADLINE, looks).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

fn find(snapshot: &Snapshot, netns: Cookie, address: SocketAddr) -> Option<&Listener> {
    snapshot.listeners.iter().find(|listener| {
        let bound = (listener.netns, listener.address, listener.port.get());
        bound == (netns, address.ip().to_canonical(), address.port())
    })
}

fn pids(listener: &Listener) -> BTreeSet<u32> {
    listener.holders.iter().map(|holder| holder.pid).collect()
}

/// Opens a listener in a fresh namespace, and expects to see it, and then to see it no more.
#[track_caller]
fn check(address: &str) {
    world::here(async || {
        let (node, mut changes) = start();
        node.snapshot().await.unwrap();
        let pod = Pod::new();
        let (listener, bound) = pod.listen(address);
        let seen = |snapshot: &Snapshot| find(snapshot, pod.cookie, bound).is_some();
        let snapshot = until(&node, &mut changes, address, seen).await;
        let found = find(&snapshot, pod.cookie, bound).unwrap();
        assert_eq!(pids(found), BTreeSet::from([process::id()]), "{address}");
        assert!(found.holders[0].cgroup.starts_with('/'), "{address}: {found:?}");
        drop(listener);
        until(&node, &mut changes, "the close", |snapshot| !seen(snapshot)).await;
    });
}

#[test]
fn a_listener_on_ipv4_loopback_is_seen() {
    check("127.0.0.1:0");
}

#[test]
fn a_listener_on_every_ipv4_address_is_seen() {
    check("0.0.0.0:0");
}

#[test]
fn a_listener_on_ipv6_loopback_is_seen() {
    check("[::1]:0");
}

#[test]
fn a_listener_on_every_address_is_seen() {
    check("[::]:0");
}

#[test]
fn a_listener_on_ipv4_mapped_into_ipv6_is_seen_as_ipv4() {
    check("[::ffff:127.0.0.1]:0");
}

#[tokio::test]
async fn a_listener_from_before_the_start_is_seen() {
    let _alone = world::alone().await;
    let pod = Pod::new();
    let (_listener, bound) = pod.listen("127.0.0.1:0");
    let (node, _changes) = start();
    let snapshot = look(&node).await;
    assert!(find(&snapshot, pod.cookie, bound).is_some());
}

#[tokio::test]
async fn a_socket_that_is_bound_and_does_not_listen_is_not_seen() {
    let _alone = world::alone().await;
    let pod = Pod::new();
    let bound = pod.netns().within(|| {
        let bound = mk_socket(None)?;
        bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 4711)))?;
        Ok(bound)
    });
    let (node, mut changes) = start();
    assert!(look(&node).await.listeners.iter().all(|seen| seen.netns != pod.cookie));
    listen(bound.as_ref().unwrap(), 1).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 4711));
    until(&node, &mut changes, "now it listens", |seen| find(seen, pod.cookie, address).is_some())
        .await;
}

#[tokio::test]
async fn a_listener_that_a_child_inherits_has_two_holders() {
    let _alone = world::alone().await;
    let mut pod = Pod::new();
    let (listener, bound) = pod.listen("127.0.0.1:0");
    let child = pod.hand_over(listener.try_clone().unwrap());
    let (node, _changes) = start();
    let snapshot = look(&node).await;
    let found = find(&snapshot, pod.cookie, bound).unwrap();
    assert_eq!(
        found.holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(),
        [process::id(), child]
    );
}

#[tokio::test]
async fn two_sockets_that_share_a_port_are_one_listener() {
    let _alone = world::alone().await;
    let mut pod = Pod::new();
    let address = SocketAddr::from(([0, 0, 0, 0], 4711));
    let sharing = || -> OwnedFd {
        let sharing = pod.netns().within(|| {
            let sharing = mk_socket(None)?;
            sockopt::set_socket_reuseport(&sharing, true)?;
            bind(&sharing, &address)?;
            listen(&sharing, 1)?;
            Ok(sharing)
        });
        sharing.unwrap()
    };
    let (first, _second) = (sharing(), sharing());
    let child = pod.hand_over(first);
    let (node, _changes) = start();
    let snapshot = look(&node).await;
    let found = find(&snapshot, pod.cookie, address).unwrap();
    assert_eq!(pids(found), BTreeSet::from([process::id(), child]));
}

#[tokio::test]
async fn an_mptcp_listener_is_one_listener() {
    if !has_mptcp() {
        return;
    }
    let _alone = world::alone().await;
    let (node, mut changes) = start();
    let pod = Pod::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 4711));
    let listener = pod.netns().within(|| {
        let socket = mk_socket(Some(ipproto::MPTCP))?;
        bind(&socket, &address)?;
        listen(&socket, 1)?;
        Ok(socket)
    });
    let seen = |snapshot: &Snapshot| find(snapshot, pod.cookie, address).is_some();
    let snapshot = until(&node, &mut changes, "MPTCP", seen).await;
    assert_eq!(snapshot.listeners.iter().filter(|seen| seen.netns == pod.cookie).count(), 1);
    drop(listener.unwrap());
    until(&node, &mut changes, "the close", |snapshot| !seen(snapshot)).await;
}

#[tokio::test]
async fn a_holder_of_another_namespace_is_told_from_the_sockets_namespace() {
    let _alone = world::alone().await;
    let (mut ztunnel, pod) = (Pod::new(), Pod::new());
    let (listener, bound) = pod.listen("0.0.0.0:0");
    let netns = ztunnel.netns();
    let holder = netns.within(|| Ok(ztunnel.hand_over(listener))).unwrap();
    let (node, _changes) = start();
    let snapshot = look(&node).await;
    assert_eq!(pids(find(&snapshot, pod.cookie, bound).unwrap()), BTreeSet::from([holder]));
}

#[tokio::test]
async fn a_process_that_moves_and_then_listens_is_seen_where_it_is() {
    let _alone = world::alone().await;
    let (left, mut entered) = (Pod::new(), Pod::new());
    let address = SocketAddr::from(([127, 0, 0, 1], 4711));
    let socket = entered.netns().within(|| {
        let socket = mk_socket(None)?;
        bind(&socket, &address)?;
        Ok(socket)
    });
    let socket = socket.unwrap();
    let path = format!("/proc/{}/ns/net", entered.pid());
    let moves =
        format!("trap 'exec nsenter --net={path} sleep 600' USR1; while :; do sleep 0.01; done");
    let netns = left.netns();
    let pid =
        netns.within(|| Ok(entered.hold(&["sh", "-c", &moves], socket.try_clone()?))).unwrap();
    while !is_caught(pid, Signal::USR1) {
        thread::yield_now();
    }
    let (node, mut changes) = start();
    let is_in = |snapshot: &Snapshot, netns| {
        snapshot.processes.iter().any(|process| process.pid == pid && process.netns == netns)
    };
    assert!(is_in(&look(&node).await, left.cookie));
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::USR1).unwrap();
    let inode = entered.netns().inode().unwrap();
    while Netns::of_pid(pid).unwrap().inode().unwrap() != inode {
        thread::yield_now();
    }
    listen(&socket, 1).unwrap();
    let seen = |snapshot: &Snapshot| find(snapshot, entered.cookie, address).is_some();
    let snapshot = until(&node, &mut changes, "now it listens", seen).await;
    assert!(is_in(&snapshot, entered.cookie));
}

/// Whether a process has a handler for a signal.
fn is_caught(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
}

#[tokio::test]
async fn changes_that_find_no_room_are_counted_and_seen_nevertheless() {
    let _alone = world::alone().await;
    for rung in rungs().into_iter().filter(|rung| *rung <= Rung::EbpfSockDiag) {
        let options = Options { rung: Rungs::Only(rung), n_marks: 1, ..Options::default() };
        let (node, mut changes) = start_with(options);
        node.snapshot().await.unwrap();
        let pods: Vec<Pod> = (0..8).map(|_| Pod::new()).collect();
        let open: Vec<_> = pods.iter().map(|pod| pod.listen("127.0.0.1:0")).collect();
        let are_open = |snapshot: &Snapshot| {
            let mut open = pods.iter().zip(&open);
            open.all(|(pod, (_, bound))| find(snapshot, pod.cookie, *bound).is_some())
        };
        // Those that one mark calls for find them all: the sweep that is needed has a pace of its own.
        until(&node, &mut changes, "all listen", are_open).await;
        // And of those that are known by then, whatever changes.
        drop(open);
        let are_closed = |snapshot: &Snapshot| {
            snapshot.listeners.iter().all(|one| pods.iter().all(|pod| pod.cookie != one.netns))
        };
        until(&node, &mut changes, "none does", are_closed).await;
        assert!(node.counters().changes_lost > 0, "{rung}: {:?}", node.counters());
    }
}

#[tokio::test]
async fn a_pod_that_loops_hides_no_other() {
    let _alone = world::alone().await;
    let (node, mut changes) = start();
    let (noisy, quiet) = (Pod::new(), Pod::new());
    for _ in 0..2000 {
        drop(noisy.listen("127.0.0.1:0"));
    }
    let (_listener, bound) = quiet.listen("127.0.0.1:0");
    let seen = |snapshot: &Snapshot| find(snapshot, quiet.cookie, bound).is_some();
    until(&node, &mut changes, "the quiet one", seen).await;
    assert_eq!(node.counters().changes_lost, 0);
}

#[tokio::test]
async fn one_pod_cannot_fill_the_snapshot() {
    let _alone = world::alone().await;
    let (greedy, modest) = (Pod::new(), Pod::new());
    let (one, _) = greedy.listen("127.0.0.1:0");
    let copies: Vec<TcpListener> = (0..900).map(|_| one.try_clone().unwrap()).collect();
    let (_listener, bound) = modest.listen("127.0.0.1:0");
    let (node, _changes) = start();
    let snapshot = look(&node).await;
    assert!(find(&snapshot, modest.cookie, bound).is_some());
    let of_greedy = snapshot.listeners.iter().filter(|seen| seen.netns == greedy.cookie);
    assert_eq!(of_greedy.map(|seen| seen.holders.len()).collect::<Vec<_>>(), [1]);
    drop(copies);
}

#[tokio::test]
async fn the_processes_of_one_pod_cannot_fill_it_either() {
    let _alone = world::alone().await;
    let (mut greedy, root) = (Pod::new(), cgroup::Root::new(1));
    let cgroup = root.container("6d657267-6572-4000-a000-000000000000", "0123456789ab");
    cgroup.join(greedy.pid());
    for _ in 0..50 {
        let pid = greedy.hand_over(File::open("/dev/null").unwrap());
        cgroup.join(pid);
    }
    let options = Options { rung: Rungs::Only(rungs()[0]), ..Options::default() };
    let (node, _changes) = node::start(options).unwrap();
    let snapshot = node.snapshot().await.unwrap();
    let of_greedy = snapshot.processes.iter().filter(|one| one.cgroup.contains("-a000-"));
    // The children that hold the place of its listeners are of the host's namespace.
    assert_eq!(of_greedy.map(|one| one.pid).collect::<Vec<_>>(), [greedy.pid()]);
    drop(greedy);
}

#[tokio::test]
async fn every_rung_tells_the_same() {
    let _alone = world::alone().await;
    let mut pod = Pod::new();
    let open = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"].map(|bound| pod.listen(bound));
    pod.hand_over(open[0].0.try_clone().unwrap());
    let mut found = vec![];
    for rung in rungs() {
        let (node, _changes) =
            start_with(Options { rung: Rungs::Only(rung), ..Options::default() });
        assert_eq!(node.rung(), rung);
        let snapshot = look(&node).await;
        let mut of_pod = snapshot.listeners;
        of_pod.retain(|listener| listener.netns == pod.cookie);
        assert_eq!(of_pod.len(), open.len(), "{rung}: {of_pod:?}");
        found.push(of_pod);
    }
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
}
