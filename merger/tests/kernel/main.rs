//! Rung 1 on the running kernel. Needs `CAP_BPF`, `CAP_PERFMON`, `CAP_SYS_ADMIN`, `CAP_SYS_PTRACE`.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its world does")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::FileExt},
    process,
    sync::Arc,
    thread,
    time::Duration,
};

use merger::{
    identity::Cookie,
    listeners,
    netns::Netns,
    node::{self, Changes, Node, Options, Rungs, Snapshot, loader},
    target::Listener,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::dup,
    net::{
        AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with,
        sockopt,
    },
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
};
use tokio::time::timeout;

use self::{offer::rungs, pod::Pod};

#[path = "../support/cgroup.rs"]
mod cgroup;

#[path = "../support/hostile.rs"]
mod hostile;

#[path = "../support/reincarnation.rs"]
mod lives;

mod leaks;

mod owners;

#[path = "../support/pod.rs"]
mod pod;

mod comparison;
mod confinement;
mod offer;
mod reincarnation;

#[path = "../support/running.rs"]
mod running;

mod split;
mod start_up;

mod traps;

#[path = "../support/world.rs"]
mod world;

#[path = "../support/zygote.rs"]
mod zygote;

/// Below the resync of 30 s: what is seen by then was told by the kernel part.
const DEADLINE: Duration = Duration::from_secs(10);

/// A socket that no program inherits which another test starts meanwhile.
fn mk_socket(protocol: Option<Protocol>) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, protocol)
}

#[track_caller]
fn start() -> (Node, Changes) {
    start_with(Options { rung: Rungs::Only(rungs()[0]), ..Options::default() })
}

#[track_caller]
fn start_with(options: Options) -> (Node, Changes) {
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
            let snapshot = node.snapshot().await.unwrap();
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
    let snapshot = node.snapshot().await.unwrap();
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
    assert!(node.snapshot().await.unwrap().listeners.iter().all(|seen| seen.netns != pod.cookie));
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
    let snapshot = node.snapshot().await.unwrap();
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
    let snapshot = node.snapshot().await.unwrap();
    let found = find(&snapshot, pod.cookie, address).unwrap();
    assert_eq!(pids(found), BTreeSet::from([process::id(), child]));
}

#[tokio::test]
async fn an_mptcp_listener_is_one_listener() {
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
    let snapshot = node.snapshot().await.unwrap();
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
    assert!(is_in(&node.snapshot().await.unwrap(), left.cookie));
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
    let options = Options { rung: Rungs::Only(rungs()[0]), n_marks: 1, ..Options::default() };
    let (node, mut changes) = start_with(options);
    node.snapshot().await.unwrap();
    let pods: Vec<Pod> = (0..8).map(|_| Pod::new()).collect();
    let open: Vec<_> = pods.iter().map(|pod| pod.listen("127.0.0.1:0")).collect();
    // Without waiting first: the look that is called for by the one mark finds them all.
    timeout(DEADLINE, changes.changed()).await.expect("one mark was set");
    let snapshot = node.snapshot().await.unwrap();
    for (pod, (_, bound)) in pods.iter().zip(&open) {
        assert!(find(&snapshot, pod.cookie, *bound).is_some(), "{bound}");
    }
    assert!(node.counters().changes_lost > 0, "{:?}", node.counters());
}

/// The kernel part alone, without a thread.
fn load() -> (listeners::ebpf::Sockets, listeners::ebpf::Changes) {
    let kernel = loader::load(merger_common::N_MARKS).unwrap_or_else(|error| panic!("{error}"));
    let parts = listeners::ebpf::Parts::attach(kernel).unwrap();
    listeners::ebpf::open(parts).unwrap()
}

#[tokio::test]
async fn a_namespace_is_marked_by_an_open_and_by_a_close_and_by_nothing_else() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    let pod = Pod::new();
    let mut marks = || changes.clear().iter().filter(|&&netns| netns == pod.cookie).count();
    let (listener, bound) = pod.listen("127.0.0.1:0");
    assert_eq!(marks(), 1);
    let connected = pod.netns().within(|| TcpStream::connect(bound)).unwrap();
    let accepted = listener.accept().unwrap();
    drop((connected, accepted));
    assert_eq!(marks(), 0);
    drop(listener);
    assert_eq!(marks(), 1);
}

#[tokio::test]
async fn a_loop_of_changes_is_one_mark_until_it_is_taken_away() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    let pod = Pod::new();
    let mut marks = || changes.clear().iter().filter(|&&netns| netns == pod.cookie).count();
    for _ in 0..2 {
        for _ in 0..100 {
            drop(pod.listen("127.0.0.1:0"));
        }
        assert_eq!(marks(), 1);
    }
}

#[tokio::test]
async fn a_change_wakes_whoever_waits() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    changes.clear();
    let pod = Pod::new();
    let _open = pod.listen("127.0.0.1:0");
    let deadline = Timespec::try_from(DEADLINE).unwrap();
    let mut polled = [PollFd::new(&changes, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&deadline)).unwrap(), 1, "a record is in the ring");
    assert!(changes.clear().contains(&pod.cookie));
}

/// What is logged while `body` runs.
fn logged(body: impl FnOnce()) -> String {
    let log = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
    let log = Arc::new(File::from(log));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(Arc::clone(&log))
        .finish();
    tracing::subscriber::with_default(subscriber, body);
    let mut text = [0; 4096];
    let n = log.read_at(&mut text, 0).unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

#[test]
fn what_the_kernel_part_says_is_logged() {
    world::inside("what_the_kernel_part_says_is_logged", &[], "root", async || {
        let pod = Pod::new();
        let mut bound = None;
        let text = logged(|| {
            let (_sockets, mut changes) = load();
            bound = Some(pod.listen("127.0.0.1:0").1);
            changes.clear();
        });
        let bound = bound.unwrap();
        let port = bound.port();
        let said = format!("network namespace {} is dirty: port {port}", pod.cookie);
        assert!(text.contains(&said), "{text}");
    });
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
    let snapshot = node.snapshot().await.unwrap();
    assert!(find(&snapshot, modest.cookie, bound).is_some());
    let of_greedy = snapshot.listeners.iter().filter(|seen| seen.netns == greedy.cookie);
    assert_eq!(of_greedy.map(|seen| seen.holders.len()).collect::<Vec<_>>(), [1]);
    drop(copies);
}

#[test]
fn millions_of_files_that_are_no_sockets_hide_no_listener() {
    let test = "millions_of_files_that_are_no_sockets_hide_no_listener";
    world::inside(test, &[], "root", async || {
        // The kernel pauses after a million; the first of them may come after a row, and then do not.
        const N: u64 = 2_200_000;
        let (mut greedy, modest) = (Pod::new(), Pod::new());
        let (_listener, bound) = modest.listen("127.0.0.1:0");
        let (mut sockets, _changes) = load();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let each = maximum.unwrap_or(1 << 16).min(1 << 16) - 200;
        // Without `CLOEXEC`, so that each child has them all.
        let _copies: Vec<_> = (0..each).map(|_| dup(io::stdin()).unwrap()).collect();
        for _ in 0..=(N / each) {
            greedy.hand_over(File::open("/dev/null").unwrap());
        }
        let rows = sockets.snapshot().unwrap().rows;
        let of_modest: Vec<_> = rows.iter().filter(|row| row.netns == modest.cookie).collect();
        assert_eq!(of_modest.iter().map(|row| row.port.get()).collect::<Vec<_>>(), [bound.port()]);
    });
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
        let snapshot = node.snapshot().await.unwrap();
        let mut of_pod = snapshot.listeners;
        of_pod.retain(|listener| listener.netns == pod.cookie);
        assert_eq!(of_pod.len(), open.len(), "{rung}: {of_pod:?}");
        found.push(of_pod);
    }
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
}

#[tokio::test]
async fn nothing_of_ours_stays_in_the_kernel() {
    let _alone = world::alone().await;
    let (node, changes) = start();
    node.snapshot().await.unwrap();
    let kernel_ids: BTreeSet<u32> = program_ids();
    assert!(kernel_ids.len() >= 2, "{kernel_ids:?}");
    drop((node, changes));
    // A program leaves after a grace period of the kernel's.
    let gone = async {
        while aya::programs::loaded_programs().flatten().any(|program| {
            kernel_ids.contains(&program.id()) && !program_ids().contains(&program.id())
        }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the programs of a node that was dropped are gone");
}

/// The programs that this process has a descriptor of.
fn program_ids() -> BTreeSet<u32> {
    let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let id = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    texts.filter_map(id).collect()
}
