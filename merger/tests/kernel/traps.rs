//! Sockets and processes that do what few do, told the same by every rung. Each trap is laid while
//! the rung watches, and before it starts.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use merger::{
    identity::{Cookie, Unclear, namespaces},
    listeners::Rung,
    node::{Changes, Connect, Node, Options, Rungs, Snapshot},
    target::Doubt,
};
use rustix::{
    net::{Shutdown, bind, ipproto, listen, shutdown, sockopt},
    process::{Pid, Signal, kill_process},
    thread::{UnshareFlags, unshare_unsafe},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    cgroup::Root,
    find,
    message::Message,
    mk_socket,
    namespace::{identities, look},
    offered::{has_mptcp, rungs},
    pids,
    pod::Pod,
    start_with, world,
};

const PORT: u16 = 4711;

/// Longer than any table of processes is believed.
const DEADLINE: Duration = Duration::from_secs(20);

/// The kernel tells the start of a process in hundredths of a second.
const TICK: Duration = Duration::from_millis(20);

/// A node that knows its listeners by one rung.
struct Watch {
    rung: Rung,
    node: Node,
    changes: Changes,
}

// === impl Watch ===

impl Watch {
    async fn start(options: Options) -> Self {
        let (node, changes) = start_with(options);
        let watch = Self { rung: node.rung(), node, changes };
        watch.node.snapshot().await.unwrap();
        watch
    }

    /// Looks when it is told to, and where nobody tells, every now and then.
    async fn until(&mut self, what: &str, expected: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let Self { rung, node, changes } = self;
        let start = Instant::now();
        loop {
            let snapshot = look(node).await;
            if expected(&snapshot) {
                return snapshot;
            }
            let listeners = snapshot.listeners.iter().filter(|one| one.netns != snapshot.host);
            let listeners: Vec<_> = listeners.collect();
            assert!(start.elapsed() < DEADLINE, "{rung}: {what}: {listeners:?}");
            if *rung <= Rung::EbpfSockDiag {
                // What changes hands nobody tells, and the next look sees.
                let _ = timeout(Duration::from_millis(500), changes.changed()).await;
            } else {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn until_open(&mut self, netns: Cookie, address: SocketAddr) -> Vec<u32> {
        let is_open = |snapshot: &Snapshot| find(snapshot, netns, address).is_some();
        let snapshot = self.until("it listens", is_open).await;
        let of_netns = snapshot.listeners.iter().filter(|one| one.netns == netns);
        assert_eq!(of_netns.count(), 1, "{}: {:?}", self.rung, snapshot.listeners);
        pids(find(&snapshot, netns, address).unwrap()).into_iter().collect()
    }

    async fn until_closed(&mut self, netns: Cookie) {
        let is_closed =
            |snapshot: &Snapshot| snapshot.listeners.iter().all(|one| one.netns != netns);
        self.until("nothing listens", is_closed).await;
    }

    async fn until_held_by(&mut self, netns: Cookie, address: SocketAddr, expected: &[u32]) {
        let expected: BTreeSet<u32> = expected.iter().copied().collect();
        let is_held = |snapshot: &Snapshot| {
            find(snapshot, netns, address).is_some_and(|one| pids(one) == expected)
        };
        self.until(&format!("it is held by {expected:?}"), is_held).await;
    }
}

/// Lays a trap for each rung, by cookies for namespaces where the kernel has them, and without.
#[track_caller]
fn on_each_rung(body: impl AsyncFn(Watch)) {
    on_each_rung_with(Options::default(), body);
}

fn on_each_rung_with(options: Options, body: impl AsyncFn(Watch)) {
    for identity in identities() {
        for rung in rungs() {
            let (rung, identity) = (Rungs::Only(rung), Some(identity));
            let options = Options { rung, identity, ..options };
            world::here(async || body(Watch::start(options).await).await);
        }
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

/// A socket that is bound inside, and does not listen.
fn bound(pod: &Pod, prepare: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>) -> OwnedFd {
    let made = pod.netns().within(|| {
        let socket = mk_socket(None)?;
        prepare(&socket)?;
        bind(&socket, &address())?;
        Ok(socket)
    });
    made.unwrap()
}

#[test]
fn an_mptcp_listener_is_one() {
    if !has_mptcp() {
        return;
    }
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let listener = pod.netns().within(|| {
            let socket = mk_socket(Some(ipproto::MPTCP))?;
            bind(&socket, &address())?;
            listen(&socket, 1)?;
            Ok(socket)
        });
        assert_eq!(watch.until_open(pod.cookie, address()).await, [process::id()]);
        drop(listener.unwrap());
        watch.until_closed(pod.cookie).await;
    });
}

#[test]
fn sockets_that_share_a_port_are_one_until_the_last_is_closed() {
    on_each_rung(async |mut watch| {
        let mut pod = Pod::new();
        let share = |socket: &OwnedFd| sockopt::set_socket_reuseport(socket, true);
        let [first, second] = [bound(&pod, share), bound(&pod, share)];
        listen(&first, 1).unwrap();
        listen(&second, 1).unwrap();
        let holder = pod.hand_over(first);
        watch.until_held_by(pod.cookie, address(), &[holder, process::id()]).await;
        drop(second);
        watch.until_held_by(pod.cookie, address(), &[holder]).await;
        end(holder);
        watch.until_closed(pod.cookie).await;
    });
}

/// Ends a process that somebody else waits for.
fn end(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_listener_that_a_child_inherits_outlives_its_parent() {
    on_each_rung(async |mut watch| {
        let mut pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        // A shell gives what it starts in the background another input than its own.
        let forks = "exec 3<&0 </dev/null; sleep 600 <&3 3<&- & echo $! >\"$0\"; wait";
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("child");
        let netns = pod.netns();
        let parent = netns
            .within(|| Ok(pod.hold(&["sh", "-c", forks, told.to_str().unwrap()], listener)))
            .unwrap();
        let child: u32 = loop {
            match fs::read_to_string(&told).unwrap_or_default().trim().parse() {
                Ok(child) => break child,
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        watch.until_held_by(pod.cookie, bound, &[parent, child]).await;
        end(parent);
        watch.until_held_by(pod.cookie, bound, &[child]).await;
        end(child);
        watch.until_closed(pod.cookie).await;
    });
}

#[test]
fn a_listener_that_is_passed_to_another_namespace_stays_where_it_was_born() {
    on_each_rung(async |mut watch| {
        let (mut other, pod) = (Pod::new(), Pod::new());
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let netns = other.netns();
        let holder = netns.within(|| Ok(other.hand_over(listener))).unwrap();
        assert_eq!(watch.until_open(pod.cookie, bound).await, [holder]);
        drop(other);
        watch.until_closed(pod.cookie).await;
    });
}

#[test]
fn a_listener_that_was_shut_down_listens_again() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let socket = bound(&pod, |_| Ok(()));
        for _ in 0..2 {
            listen(&socket, 1).unwrap();
            watch.until_open(pod.cookie, address()).await;
            shutdown(&socket, Shutdown::Both).unwrap();
            watch.until_closed(pod.cookie).await;
        }
    });
}

#[test]
fn a_socket_that_is_listened_on_from_another_namespace_is_where_it_was_born() {
    on_each_rung(async |mut watch| {
        let (other, pod) = (Pod::new(), Pod::new());
        let socket = bound(&pod, |_| Ok(()));
        other.netns().within(|| Ok(listen(&socket, 1)?)).unwrap();
        assert_eq!(watch.until_open(pod.cookie, address()).await, [process::id()]);
        watch.until_closed(other.cookie).await;
    });
}

#[test]
fn a_listener_that_no_table_of_files_holds_is_told_without_a_holder() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let message = Message::with(&listener);
        drop(listener);
        assert!(watch.until_open(pod.cookie, bound).await.is_empty());
        drop(message);
        watch.until_closed(pod.cookie).await;
    });
}

#[test]
fn a_socket_that_nobody_holds_beside_one_that_somebody_does_is_in_doubt() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let share = |socket: &OwnedFd| sockopt::set_socket_reuseport(socket, true);
        let [held, sent] = [bound(&pod, share), bound(&pod, share)];
        listen(&held, 1).unwrap();
        listen(&sent, 1).unwrap();
        let message = Message::with(&sent);
        drop(sent);
        let is_told = |snapshot: &Snapshot| {
            let found = find(snapshot, pod.cookie, address());
            found.is_some_and(|one| one.doubt == Some(Doubt::Unheld))
        };
        let snapshot = watch.until("one of two is nobody's", is_told).await;
        let found = find(&snapshot, pod.cookie, address()).unwrap();
        assert_eq!(pids(found), [process::id()].into(), "{}", watch.rung);
        // It is somebody's again, or closed, and nobody tells.
        drop(message);
        let is_sure = |snapshot: &Snapshot| {
            find(snapshot, pod.cookie, address()).is_some_and(|one| one.doubt.is_none())
        };
        watch.until("the other is closed", is_sure).await;
        drop(held);
        watch.until_closed(pod.cookie).await;
    });
}

#[test]
fn a_listener_that_leaves_all_tables_of_files_stays() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        watch.until_open(pod.cookie, bound).await;
        let message = Message::with(&listener);
        drop(listener);
        // The table of processes says that this one still holds it, until it is read again.
        for _ in 0..3 {
            watch.until_open(pod.cookie, bound).await;
            sleep(Duration::from_millis(100)).await;
        }
        drop(message);
        watch.until_closed(pod.cookie).await;
    });
}

/// Runs a thread with a table of files of its own, which holds what this one held, until it is told.
#[expect(unsafe_code, reason = "rustix asks for a promise about threads that share a file table")]
fn with_own_table() -> (thread::JoinHandle<()>, mpsc::Sender<()>) {
    let (end, is_over) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: the thread uses no descriptor afterwards, of whichever table.
        unsafe { unshare_unsafe(UnshareFlags::FILES) }.unwrap();
        tell.send(()).unwrap();
        // It ends with the sender, at the latest.
        let _ = is_over.recv();
    });
    told.recv().unwrap();
    (thread, end)
}

#[test]
fn a_listener_that_a_thread_alone_holds_is_its_process() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let socket = bound(&pod, |_| Ok(()));
        let (thread, end) = with_own_table();
        listen(&socket, 1).unwrap();
        drop(socket);
        watch.until_held_by(pod.cookie, address(), &[process::id()]).await;
        drop(end);
        thread.join().unwrap();
        watch.until_closed(pod.cookie).await;
    });
}

// Only tests look at those: `nested.rs`.
#[test]
fn a_namespace_nested_inside_a_pod_has_listeners_of_its_own() {
    on_each_rung(async |mut watch| {
        let pod = Pod::new();
        let nested = pod.netns().within(|| Ok(Pod::new())).unwrap();
        let [(outer, _), (inner, _)] = [&pod, &nested].map(|one| one.listen("127.0.0.1:4711"));
        watch.until_open(pod.cookie, address()).await;
        watch.until_open(nested.cookie, address()).await;
        drop(outer);
        watch.until_closed(pod.cookie).await;
        watch.until_open(nested.cookie, address()).await;
        drop(inner);
        watch.until_closed(nested.cookie).await;
    });
}

#[test]
fn a_pod_whose_pause_container_is_gone_listens_on() {
    on_each_rung(async |mut watch| {
        let mut pod = Pod::new();
        let netns = pod.netns();
        let null = || fs::File::open("/dev/null").unwrap();
        netns.within(|| Ok(pod.hand_over(null()))).unwrap();
        let (first, _) = pod.listen("127.0.0.1:4711");
        watch.until_open(pod.cookie, address()).await;
        end(pod.pid());
        drop(first);
        watch.until_closed(pod.cookie).await;
        let again = netns.within(|| TcpListener::bind(address())).unwrap();
        drop(netns);
        watch.until_open(pod.cookie, address()).await;
        drop(again);
        watch.until_closed(pod.cookie).await;
    });
}

/// What every rung says of a pod whose first process ends: the namespace is its own still, and no more if
/// the next oldest in there is another pod's.
#[test]
fn a_pod_whose_pause_container_is_gone_is_attributed_by_the_next_oldest() {
    // That a process ends nobody tells, so it is seen by the next look that nothing calls for.
    let look_every = Duration::from_millis(200);
    on_each_rung_with(Options { look_every, ..Options::default() }, async |mut watch| {
        let root = Root::new(usize::MAX);
        let uid = |n: u32| format!("6d657267-6572-4000-8200-{n:012}");
        for (number, next_is_own) in [(1, true), (2, false)] {
            let (own, other) = (uid(number), uid(number + 10));
            let (neighbour, mut pod) = (Pod::new(), Pod::new());
            let join = |uid: &str, pid| root.container(uid, "0123456789ab").join(pid);
            join(&own, pod.pid());
            join(&other, neighbour.pid());
            // A process that has entered the pod, from which its next one is told by the time of its start.
            let null = || fs::File::open("/dev/null").unwrap();
            let netns = pod.netns();
            let mut enter = || netns.within(|| Ok(pod.hand_over(null()))).unwrap();
            let [second, third] = [enter(), {
                sleep(TICK).await;
                enter()
            }];
            let (is_own, is_other) = if next_is_own { (second, third) } else { (third, second) };
            join(&own, is_own);
            join(&other, is_other);
            let (listener, bound) = pod.listen("127.0.0.1:4711");
            join(&own, pod.hand_over(listener));
            let told = |snapshot: &Snapshot, uid: &str| {
                namespaces(&snapshot.processes, snapshot.host).remove(uid)
            };
            let is_known = |snapshot: &Snapshot| {
                find(snapshot, pod.cookie, bound).is_some_and(|one| one.holders.len() == 1)
                    && told(snapshot, &own) == Some(Ok(pod.cookie))
            };
            watch.until("the pod's namespace is known", is_known).await;
            end(pod.pid());
            let expected = if next_is_own {
                Ok(pod.cookie)
            } else {
                Err(Unclear::OldestIsForeign { pid: second })
            };
            let is_told = |snapshot: &Snapshot| {
                let is_gone = snapshot.processes.iter().all(|process| process.pid != pod.pid());
                is_gone && told(snapshot, &own) == Some(expected.clone())
            };
            watch.until("the next oldest says whose it is", is_told).await;
            if next_is_own {
                // Into the namespace the broker goes by the next oldest as well.
                let snapshot = watch.node.snapshot().await.unwrap();
                let netns = told(&snapshot, &own).unwrap().unwrap();
                let request = Connect { netns, address: bound, owner: None };
                watch.node.connect(request).await.unwrap();
                watch.node.confirm(request).await.unwrap();
            }
        }
    });
}

/// A cgroup of a pod, in whichever hierarchy this machine has. It is taken away when this is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
        let root = roots.iter().map(Path::new).find(|root| root.join("cgroup.procs").exists());
        let pod = format!("kubepods/pod{:08}-0000-0000-0000-000000000000/c", process::id());
        let cgroup = root.expect("a hierarchy of cgroups is mounted").join(pod);
        fs::create_dir_all(&cgroup).unwrap();
        Self(cgroup)
    }

    fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Not while a process of it is still being taken down; then it stays, and is empty.
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

#[test]
fn a_holder_that_moves_to_another_cgroup_is_known_by_that_with_the_next_sweep() {
    let look_every = Duration::from_secs(1);
    on_each_rung_with(Options { look_every, ..Options::default() }, async |mut watch| {
        let cgroup = Cgroup::new();
        let mut pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let holder = pod.hand_over(listener);
        watch.until_held_by(pod.cookie, bound, &[holder]).await;
        cgroup.take(holder).unwrap();
        let has_moved = |snapshot: &Snapshot| {
            let found = find(snapshot, pod.cookie, bound);
            found.is_some_and(|one| one.holders[0].cgroup.contains("/kubepods/pod"))
        };
        watch.until("it has moved", has_moved).await;
    });
}
