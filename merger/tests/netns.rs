//! Entering namespaces, and what the privileged side does there, without the kernel part.
//!
//! Needs `CAP_SYS_ADMIN`, of root or of a user namespace that the tests make for themselves.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its world does")]

use std::{
    env, fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt as _,
    panic,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use merger::{
    config::LogFormat,
    identity::Cookie,
    listeners::{Held, Rung, proc},
    netns::{Identity, Netns},
    node::{
        self, Changes, Connect, ConnectError, Node, Options, Refusal, Rungs,
        privileges::{Capability, Rights},
        processes::{self, Processes},
    },
    telemetry,
};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};

use self::{
    namespace::{look, of_socket, own},
    pod::Pod,
};

#[path = "support/message.rs"]
mod message;

#[path = "support/namespace.rs"]
mod namespace;

#[path = "support/offered.rs"]
mod offered;

#[path = "support/pod.rs"]
mod pod;

#[path = "support/refuse.rs"]
mod refuse;

#[path = "support/world.rs"]
mod world;

#[path = "netns/flight.rs"]
mod flight;

#[path = "netns/inodes.rs"]
mod inodes;

#[path = "netns/ladder.rs"]
mod ladder;

#[path = "netns/pace.rs"]
mod pace;

#[path = "netns/probe.rs"]
mod probe;

#[path = "netns/rungs.rs"]
mod rungs;

#[path = "netns/toll.rs"]
mod toll;

const NEEDS: &str =
    "root, or user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces)";

/// Runs a test's body where namespaces may be entered: here as root, else in a user namespace.
#[track_caller]
fn check(test: &str, body: impl AsyncFnOnce()) {
    if is_able() { world::here(body) } else { world::inside(test, &USER_NAMESPACE, NEEDS, body) }
}

const USER_NAMESPACE: [&str; 5] = ["unshare", "--user", "--map-root-user", "--net", "--"];

fn is_able() -> bool {
    Rights::own().unwrap().has(Capability::SysAdmin)
}

fn start() -> (Node, Changes) {
    let (rung, strangers) = (Rungs::Only(Rung::Proc), true);
    node::start(Options { rung, strangers, ..Options::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What the node calls the namespace of a pod.
async fn called(node: &Node, pod: &Pod) -> Cookie {
    namespace::called(&node.snapshot().await.unwrap(), pod.pid())
}

async fn connect(
    node: &Node,
    netns: Cookie,
    address: SocketAddr,
) -> Result<TcpStream, ConnectError> {
    node.connect(Connect { netns, address, owner: None }).await
}

#[test]
fn a_socket_made_within_belongs_there_and_the_thread_is_home() {
    check("a_socket_made_within_belongs_there_and_the_thread_is_home", async || {
        let (pod, home) = (Pod::new(), own());
        let socket = pod.netns().within(|| TcpListener::bind("127.0.0.1:0")).unwrap();
        assert_ne!(pod.cookie, home);
        assert_eq!(of_socket(&socket), pod.cookie);
        assert_eq!(own(), home);
    });
}

#[test]
fn the_thread_is_home_after_a_failure_and_after_a_panic() {
    check("the_thread_is_home_after_a_failure_and_after_a_panic", async || {
        let (pod, home) = (Pod::new(), own());
        let failed = pod.netns().within(|| Err::<(), _>(io::Error::from(ErrorKind::Other)));
        assert!(failed.is_err());
        assert_eq!(own(), home);
        let netns = pod.netns();
        let panicked = panic::catch_unwind(|| netns.within::<()>(|| panic!("in the pod")));
        assert!(panicked.is_err());
        assert_eq!(own(), home);
    });
}

#[test]
fn a_thread_that_cannot_return_ends_its_process_without_a_word() {
    const INSIDE: &str = "MERGER_TEST_LOST";
    let test = "a_thread_that_cannot_return_ends_its_process_without_a_word";
    if env::var_os(INSIDE).is_some() {
        telemetry::start("info", LogFormat::Text).unwrap();
        let pod = Pod::new();
        let sets = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        pod.netns().within(|| Ok(set_capabilities(None, sets)?)).unwrap();
    }
    check(test, async || {
        // A log that nobody reads would keep whoever writes to it, in the pod.
        let (_reader, mut log) = io::pipe().unwrap();
        fcntl_setfl(&log, OFlags::NONBLOCK).unwrap();
        while log.write(b"x").is_ok() {}
        fcntl_setfl(&log, OFlags::empty()).unwrap();
        let mut copy = Command::new(env::current_exe().unwrap());
        copy.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
        let mut copy = copy.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let start = Instant::now();
        let status = loop {
            match copy.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if start.elapsed() > Duration::from_secs(30) => break None,
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        // Where it has ended this does nothing.
        copy.kill().unwrap();
        copy.wait().unwrap();
        let signal = status.and_then(|status| status.signal());
        assert_eq!(signal, Some(libc::SIGABRT), "{status:?}");
    });
}

#[test]
fn what_is_no_namespace_cannot_be_entered() {
    check("what_is_no_namespace_cannot_be_entered", async || {
        let home = own();
        let other = Netns::open("/proc/thread-self/ns/uts").unwrap();
        assert_eq!(other.cookie().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Netns::of_pid(u32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(own(), home);
    });
}

#[test]
fn listeners_are_read_inside_a_namespace() {
    check("listeners_are_read_inside_a_namespace", async || {
        let pod = Pod::new();
        let open = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"].map(|address| pod.listen(address));
        let mut expected: Vec<_> = open.iter().map(|(_, address)| *address).collect();
        let found = proc::listeners_of(&pod.netns()).unwrap();
        assert_eq!(proc::listeners_of_pid(pod.pid()).unwrap(), found);
        let mut found: Vec<_> =
            found.iter().map(|socket| SocketAddr::new(socket.address, socket.port.get())).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_holder_is_found_by_its_descriptors() {
    check("a_holder_is_found_by_its_descriptors", async || {
        let mut pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let pid = pod.hand_over(listener);
        let [socket] = proc::listeners_of(&pod.netns()).unwrap()[..] else { panic!("one") };
        assert_eq!(socket.port.get(), bound.port());
        let held = Held { started: processes::started(pid).unwrap(), pid };
        let (found, open) = processes::open_sockets(pid, &mut { usize::MAX }).unwrap().unwrap();
        assert_eq!((found, &open[..]), (held, &[socket.inode][..]));
    });
}

#[test]
fn a_sweep_knows_the_processes_of_a_pod() {
    check("a_sweep_knows_the_processes_of_a_pod", async || {
        let mut pod = Pod::new();
        let second = pod.hand_over(fs::File::open("/dev/null").unwrap());
        let processes = Processes::sweep().unwrap();
        let known = |pid| processes.get(Held { started: processes::started(pid).unwrap(), pid });
        let [first, second, this] =
            [pod.pid(), second, process::id()].map(|pid| known(pid).unwrap());
        let within: Vec<u32> = processes.within(first.netns).iter().map(|one| one.pid).collect();
        assert_eq!(within, [pod.pid()]);
        // The second process was started from here, so it is in the namespace of this one.
        assert_eq!(second.netns, this.netns);
        assert!(this.cgroup.starts_with('/'));
    });
}

#[test]
fn a_process_that_reuses_an_id_is_another() {
    check("a_process_that_reuses_an_id_is_another", async || {
        let pid = process::id();
        let started = processes::started(pid).unwrap();
        let processes = Processes::sweep().unwrap();
        assert!(processes.get(Held { started, pid }).is_some());
        assert!(processes.get(Held { started: started - 1, pid }).is_none());
    });
}

#[test]
fn a_snapshot_shows_listeners_with_their_holders() {
    check("a_snapshot_shows_listeners_with_their_holders", async || {
        let pod = Pod::new();
        let (_listener, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) = start();
        let snapshot = look(&node).await;
        let found = snapshot.listeners.iter().find(|listener| listener.netns == pod.cookie);
        let found = found.unwrap();
        assert_eq!((found.address, found.port.get()), (bound.ip(), bound.port()));
        assert_eq!(found.holders.iter().map(|h| h.pid).collect::<Vec<_>>(), [process::id()]);
        assert_ne!(snapshot.host, pod.cookie);
    });
}

#[test]
fn a_connection_is_born_inside_and_carries_bytes() {
    check("a_connection_is_born_inside_and_carries_bytes", async || {
        let pod = Pod::new();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, bound) = pod.listen(address);
            let (node, _changes) = start();
            let mut stream = connect(&node, called(&node, &pod).await, bound).await.unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.write_all(b"pong").unwrap();
            stream.set_nonblocking(false).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"pong");
            assert_eq!(of_socket(&stream), pod.cookie);
            assert_eq!(node.counters().connects, 1);
        }
    });
}

#[test]
fn a_port_that_nobody_listens_on_refuses() {
    check("a_port_that_nobody_listens_on_refuses", async || {
        let pod = Pod::new();
        let (node, _changes) = start();
        let nobodys = SocketAddr::from(([127, 0, 0, 1], 1));
        let stream = connect(&node, called(&node, &pod).await, nobodys).await.unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.writable().await.unwrap();
        let error = stream.take_error().unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_address_of_the_pod_is_connected_to_and_another_refused() {
    check("an_address_of_the_pod_is_connected_to_and_another_refused", async || {
        let pod = Pod::new();
        pod.run("ip", &["address", "add", "198.18.77.1/32", "dev", "lo"]);
        let (_listener, bound) = pod.listen("198.18.77.1:0");
        let (node, _changes) = start();
        let netns = called(&node, &pod).await;
        connect(&node, netns, bound).await.unwrap();
        let foreign = SocketAddr::from(([198, 18, 77, 2], bound.port()));
        // The pod may allow itself to bind to any address; that makes none its own.
        pod.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"]);
        let error = connect(&node, netns, foreign).await.unwrap_err();
        let refused = Refusal::Foreign(foreign.ip());
        assert!(matches!(error, ConnectError::Refused(why) if why == refused), "{error:?}");
        assert_eq!(node.counters().connects_refused, 1);
    });
}

#[test]
fn the_host_is_not_connected_to() {
    check("the_host_is_not_connected_to", async || {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (node, _changes) = start();
        let host = node.snapshot().await.unwrap().host;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let error = node.connect(Connect { netns: host, address, owner: None }).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused(Refusal::Host)), "{error:?}");
    });
}

#[test]
fn a_namespace_that_is_no_pods_is_not_entered() {
    check("a_namespace_that_is_no_pods_is_not_entered", async || {
        let container = Pod::new();
        let (_listener, bound) = container.listen("127.0.0.1:0");
        // Of cookies that a node makes itself, nobody knows one that it does not tell.
        if Identity::here().unwrap() == Identity::Inode {
            return;
        }
        let netns = container.cookie;
        let options = Options { rung: Rungs::Only(Rung::Proc), ..Options::default() };
        let (node, _changes) = node::start(options).unwrap();
        let told = node.snapshot().await.unwrap().processes;
        assert!(told.iter().all(|process| process.pid != container.pid()), "{told:?}");
        let error = connect(&node, netns, bound).await.unwrap_err();
        let refused = Refusal::Stranger(netns);
        assert!(matches!(error, ConnectError::Refused(why) if why == refused), "{error:?}");
    });
}

#[test]
fn a_pod_that_has_gone_is_gone() {
    check("a_pod_that_has_gone_is_gone", async || {
        let pod = Pod::new();
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) = start();
        let netns = called(&node, &pod).await;
        drop((pod, listener));
        let error = connect(&node, netns, bound).await.unwrap_err();
        assert!(matches!(error, ConnectError::Gone(cookie) if cookie == netns), "{error:?}");
    });
}

#[test]
fn a_process_that_has_moved_leads_nowhere() {
    check("a_process_that_has_moved_leads_nowhere", async || {
        leads_nowhere_once_moved(start).await;
    });
}

/// The only process of a namespace moves to another after the node has looked, and is not followed.
async fn leads_nowhere_once_moved(start: fn() -> (Node, Changes)) {
    let (mut left, entered) = (Pod::new(), Pod::new());
    let path = format!("/proc/{}/ns/net", entered.pid());
    let moves = format!("read go; exec nsenter --net={path} sleep 600");
    let mut stdin = left.become_process("sh", &["-c", &moves]);
    let (node, _changes) = start();
    let netns = called(&node, &left).await;
    let (_listener, bound) = entered.listen("127.0.0.1:0");
    stdin.write_all(b"go\n").unwrap();
    let inode = entered.netns().inode().unwrap();
    while left.netns().inode().unwrap() != inode {
        thread::yield_now();
    }
    let error = connect(&node, netns, bound).await.unwrap_err();
    assert!(matches!(error, ConnectError::Gone(gone) if gone == netns), "{error:?}");
    let again = Connect { netns, address: bound, owner: None };
    let error = node.confirm(again).await.unwrap_err();
    assert!(matches!(error, ConnectError::Gone(gone) if gone == netns), "{error:?}");
}

#[test]
fn a_namespace_made_after_the_last_snapshot_is_not_entered_before_the_next() {
    let name = "a_namespace_made_after_the_last_snapshot_is_not_entered_before_the_next";
    check(name, async || {
        let (node, _changes) = start();
        let pod = Pod::new();
        let (_listener, bound) = pod.listen("127.0.0.1:0");
        let error = connect(&node, pod.cookie, bound).await.unwrap_err();
        let refused = Refusal::Unknown(pod.cookie);
        assert!(matches!(error, ConnectError::Refused(why) if why == refused), "{error:?}");
        connect(&node, called(&node, &pod).await, bound).await.unwrap();
    });
}

#[test]
fn no_namespace_is_held_open_between_requests() {
    check("no_namespace_is_held_open_between_requests", async || {
        let pod = Pod::new();
        let inode = pod.netns().inode().unwrap();
        let (_listener, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) = start();
        connect(&node, called(&node, &pod).await, bound).await.unwrap();
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        let held = format!("net:[{inode}]");
        assert_eq!(links.filter(|link| link.to_str() == Some(&held)).count(), 0);
    });
}
