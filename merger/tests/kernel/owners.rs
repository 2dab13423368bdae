//! Whose a listener is, whatever a pod does with its cgroups.

use std::{
    collections::HashMap,
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
};

use merger::{
    identity::{self, PodUid, Unclear, cgroup_path},
    inventory,
    node::{Connect, ConnectError, Options, Refusal, Rungs},
    pods::Known,
    target::{
        self, Doubt, Listener, PodRef, State,
        plan::{Probed, Rules},
    },
};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{
    cgroup::Root, find, hostile, namespace::look, offered::rungs, pids, pod::Pod, start,
    start_with, world,
};

const UID: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

#[tokio::test]
async fn whatever_a_pod_names_below_its_cgroup_its_listeners_are_its_own() {
    let _alone = world::alone().await;
    let root = Root::new(usize::MAX);
    let (mut pod, other) = (Pod::new(), Pod::new());
    let container = root.container(UID, ID);
    container.join(pod.pid());
    root.container(hostile::OTHER, ID).join(other.pid());
    let names = hostile::cgroups();
    assert!(names.len() >= 100);
    let netns = pod.netns();
    let held: Vec<_> = names
        .iter()
        .map(|name| {
            let (listener, bound) = pod.listen("127.0.0.1:0");
            let holder = netns.within(|| Ok(pod.hand_over(listener))).unwrap();
            container.child(name).join(holder);
            (name.escape_ascii().to_string(), bound, holder)
        })
        .collect();
    drop(netns);

    let (node, _changes) = start();
    let snapshot = look(&node).await;
    let mut found = identity::namespaces(&snapshot.processes, snapshot.host);
    found.retain(|uid, _| [UID, hostile::OTHER].contains(&uid.as_str()));
    let expected = [(UID, pod.cookie), (hostile::OTHER, other.cookie)];
    assert_eq!(found, HashMap::from(expected.map(|(uid, netns)| (uid.to_owned(), Ok(netns)))));
    let mut n_untold = 0;
    for (name, bound, holder) in held {
        let listener = find(&snapshot, pod.cookie, bound).expect(&name);
        assert_eq!(pids(listener), [holder].into(), "{name}");
        let cgroup = &listener.holders[0].cgroup;
        let uid = cgroup_path::owner(cgroup).map(|owner| owner.pod_uid);
        // Of a path that is too long some kernels tell the beginning, and others nothing of the process.
        // Then it is nobody's, and not asked.
        n_untold += usize::from(uid.is_none() && cgroup.is_empty());
        assert!(uid.as_deref() == Some(UID) || cgroup.is_empty(), "{name}: {cgroup}");
    }
    assert!(n_untold <= 1, "one path is longer than 4095 bytes, not {n_untold}");
}

#[tokio::test]
async fn of_two_pods_that_claim_one_namespace_neither_is_scraped() {
    let _alone = world::alone().await;
    let root = Root::new(usize::MAX);
    let mut pod = Pod::new();
    let (listener, _) = pod.listen("127.0.0.1:9100");
    let netns = pod.netns();
    let second = netns.within(|| Ok(pod.hand_over(listener))).unwrap();
    drop(netns);
    root.container(UID, ID).join(pod.pid());
    root.container(hostile::OTHER, ID).join(second);
    let (node, _changes) = start();
    let snapshot = node.snapshot().await.unwrap();
    let pods = [UID, hostile::OTHER].map(mk_pod);
    let targets = inventory::targets(
        &Known { pods: pods.into(), problems: vec![], ..Known::default() },
        &snapshot,
        "node",
        false,
        &Rules::default(),
        &Probed::default(),
    );
    let other = |uid: &str| if uid == UID { hostile::OTHER } else { UID }.to_owned();
    for target in targets.values() {
        let contested = Unclear::Contested { other_uid: other(&target.pod.uid) };
        assert_eq!(target.netns, Err(contested));
        assert_eq!(target.plan.sources[0].state, State::Pending);
    }
    assert_eq!(targets.len(), 2);
}

fn mk_pod(uid: &str) -> Arc<target::Pod> {
    let annotations = [("prometheus.io/scrape", "true"), ("prometheus.io/port", "9100")];
    Arc::new(target::Pod {
        name: PodRef { namespace: "ns".to_owned(), name: uid.to_owned() },
        uid: uid.to_owned(),
        node: None,
        annotations: annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        containers: vec![],
        monitored: target::monitor::Monitored::default(),
        ended: false,
    })
}

#[tokio::test]
async fn a_listener_of_the_host_is_connected_to_while_one_pod_alone_holds_it() {
    let _alone = world::alone().await;
    let root = Root::new(usize::MAX);
    // What they hold is the host's: they are in no namespace but their cgroups'.
    let (mut pod, mut other) = (Pod::new(), Pod::new());
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, unheld) = (listen(), listen());
    let bound = listener.local_addr().unwrap();
    let copy = listener.try_clone().unwrap();
    root.container(UID, ID).join(pod.hand_over(listener));
    let owner: PodUid = UID.parse().unwrap();

    let rung = Rungs::Only(rungs()[0]);
    let (node, _changes) = start_with(Options { rung, host_network: true, ..Options::default() });
    let (closed, _changes) = start_with(Options { rung, ..Options::default() });
    let netns = node.snapshot().await.unwrap().host;
    let at = |address: SocketAddr, owner| Connect { netns, address, owner };
    let refused = |error: ConnectError| match error {
        ConnectError::Refused(refusal) => refusal,
        error => panic!("{error:?}"),
    };
    // This program holds it as well, and is of no pod.
    let foreign = refused(node.connect(at(bound, Some(owner))).await.unwrap_err());
    assert_eq!(foreign, Refusal::ForeignHolder { pid: std::process::id() });
    drop(copy);
    let connect = at(bound, Some(owner));
    node.connect(connect).await.unwrap();
    node.confirm(connect).await.unwrap();
    // Not without the option, not without an owner, and not for another pod.
    let host = closed.snapshot().await.unwrap().host;
    let unasked = Connect { netns: host, ..connect };
    assert_eq!(refused(closed.connect(unasked).await.unwrap_err()), Refusal::Host);
    assert_eq!(refused(node.connect(at(bound, None)).await.unwrap_err()), Refusal::Host);
    let others = at(bound, hostile::OTHER.parse().ok());
    let Refusal::ForeignHolder { pid } = refused(node.connect(others).await.unwrap_err()) else {
        panic!("it is held")
    };

    // It changes hands: the other pod gets it while the first holds it still.
    let fd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    );
    let stolen =
        rustix::process::pidfd_getfd(fd.unwrap(), 0, rustix::process::PidfdGetfdFlags::empty());
    let thief = other.hand_over(stolen.unwrap());
    root.container(hostile::OTHER, ID).join(thief);
    let sold = refused(node.confirm(connect).await.unwrap_err());
    assert_eq!(sold, Refusal::ForeignHolder { pid: thief });

    let address = unheld.local_addr().unwrap();
    drop(unheld);
    let gone = refused(node.connect(at(address, Some(owner))).await.unwrap_err());
    assert_eq!(gone, Refusal::NoListener);
}

/// A socket for one of the workers of a server. It is not closed where a program begins.
fn share(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::empty(), None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 1)?;
    Ok(socket)
}

fn open_many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn a_server_with_a_socket_for_each_of_many_workers_has_them_to_itself() {
    const N_WORKERS: usize = 32;
    let test = "owners::a_server_with_a_socket_for_each_of_many_workers_has_them_to_itself";
    world::inside(test, &[], "root", async || {
        open_many_files();
        let mut server = Pod::new();
        let (_metrics, metrics) = server.listen("127.0.0.1:10254");
        let netns = server.netns();
        let bound: Vec<SocketAddr> =
            (8000..8006).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let of_each = bound.iter().flat_map(|&address| vec![address; N_WORKERS]);
        let _sockets: Vec<OwnedFd> =
            of_each.map(|address| netns.within(|| share(address)).unwrap()).collect();
        drop(netns);
        for _ in 0..N_WORKERS {
            server.hand_over(File::open("/dev/null").unwrap());
        }
        for rung in rungs() {
            let (node, _changes) =
                start_with(Options { rung: Rungs::Only(rung), ..Options::default() });
            let snapshot = look(&node).await;
            for (&bound, n_holders) in
                bound.iter().map(|bound| (bound, N_WORKERS + 1)).chain([(&metrics, 1)])
            {
                let found = find(&snapshot, server.cookie, bound).unwrap();
                assert_eq!((found.holders.len(), &found.doubt), (n_holders, &None), "{rung}");
            }
            assert_eq!(node.counters().rows_left_out, 0, "{rung}");
        }
    });
}

#[test]
fn a_pod_with_more_holders_than_are_looked_at_is_unsure_of_its_own_listeners_alone() {
    const N_LISTENERS: usize = 60;
    const ROWS: usize = 2000;
    let test =
        "owners::a_pod_with_more_holders_than_are_looked_at_is_unsure_of_its_own_listeners_alone";
    world::inside(test, &[], "root", async || {
        open_many_files();
        let root = Root::new(usize::MAX);
        let (mut crowded, modest) = (Pod::new(), Pod::new());
        let container = root.container(UID, ID);
        let netns = crowded.netns();
        let _sockets: Vec<OwnedFd> = (0..N_LISTENERS)
            .map(|n| ([127, 0, 0, 1], 8000 + u16::try_from(n).unwrap()).into())
            .map(|address| netns.within(|| share(address)).unwrap())
            .collect();
        drop(netns);
        let n_children = ROWS / N_LISTENERS + 1;
        for _ in 0..n_children {
            container.join(crowded.hand_over(File::open("/dev/null").unwrap()));
        }
        // Beside them there is one in the same namespace, and one in another.
        let (_alone, alone) = crowded.listen("127.0.0.1:4711");
        let (_listener, bound) = modest.listen("127.0.0.1:4711");
        for rung in rungs() {
            let options = Options { rung: Rungs::Only(rung), rows: ROWS, ..Options::default() };
            let (node, _changes) = start_with(options);
            let snapshot = look(&node).await;
            let doubt =
                |pod: &Pod, bound| find(&snapshot, pod.cookie, bound).unwrap().doubt.clone();
            assert_eq!((doubt(&crowded, alone), doubt(&modest, bound)), (None, None), "{rung}");
            let of_crowded = snapshot.listeners.iter().filter(|one| one.netns == crowded.cookie);
            let (unsure, sure): (Vec<_>, Vec<_>) =
                of_crowded.partition(|one| one.doubt == Some(Doubt::Crowded));
            assert!(!unsure.is_empty(), "{rung}");
            assert_eq!(unsure.len() + sure.len(), N_LISTENERS + 1, "{rung}");
            let n_holders = |one: &&Listener| one.holders.len();
            let all = sure.iter().filter(|one| one.port.get() != alone.port());
            assert!(all.map(n_holders).all(|n| n == n_children + 1), "{rung}");
        }
    });
}

#[test]
fn of_a_namespace_with_more_sockets_than_are_told_nothing_is_sure() {
    const SOCKETS: usize = 200;
    world::here(async || {
        let (crowded, modest) = (Pod::new(), Pod::new());
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        let netns = crowded.netns();
        // Each may be somebody else's, and the last are not told.
        let _sockets: Vec<OwnedFd> =
            (0..SOCKETS + 4).map(|_| netns.within(|| share(address)).unwrap()).collect();
        drop(netns);
        let (_listener, bound) = modest.listen("127.0.0.1:4711");
        for rung in rungs() {
            let options =
                Options { rung: Rungs::Only(rung), sockets: SOCKETS, ..Options::default() };
            let (node, _changes) = start_with(options);
            let snapshot = look(&node).await;
            let doubt = |pod: &Pod| find(&snapshot, pod.cookie, bound).unwrap().doubt.clone();
            let expected = (Some(Doubt::Crowded), None);
            assert_eq!((doubt(&crowded), doubt(&modest)), expected, "{rung}");
        }
    });
}
