//! Real servers on loopback, as the listeners of a pod that wants to be probed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::*;
use crate::{
    identity::{PodUid, Process},
    inventory::targets,
    netns,
    node::ConnectError,
    pods::Known,
    scrape::{
        Limits,
        connect::{Confirming, Dial, Dialling},
    },
    target::{Container, Holder, Pod, State, plan::Rules},
};

const UID: &str = "11111111-2222-3333-4444-555555555555";
const ID: &str = "0123456789ab";

/// Connects without entering any namespace, unless it is broken.
#[derive(Default)]
struct Plain {
    is_broken: AtomicBool,
}

/// A listener that answers each request with this, and counts them.
struct Server {
    address: SocketAddr,
    n_requests: Arc<AtomicUsize>,
}

// === impl Plain ===

impl Dial for Plain {
    fn dial(&self, _: Cookie, address: SocketAddr, _: Option<PodUid>) -> Dialling<'_> {
        let connected = || {
            if self.is_broken.load(Ordering::Relaxed) {
                return Err(ConnectError::Ended);
            }
            let stream = TcpStream::connect(address).map_err(ConnectError::Connect)?;
            stream.set_nonblocking(true).map_err(ConnectError::Connect)?;
            Ok(stream)
        };
        Box::pin(future::ready(connected()))
    }

    fn confirm(&self, _: Cookie, _: SocketAddr, _: Option<PodUid>) -> Confirming<'_> {
        Box::pin(future::ready(Ok(())))
    }
}

// === impl Server ===

impl Server {
    fn start(kind: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let n_requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_requests);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 1024]);
                let length = body.len();
                let head = format!("HTTP/1.1 {kind}\r\nContent-Length: {length}\r\n\r\n");
                let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
            }
        });
        Self { address, n_requests }
    }

    fn n_requests(&self) -> usize {
        self.n_requests.load(Ordering::Relaxed)
    }

    fn listener(&self, netns: Cookie, pid: u32) -> Listener {
        let holders = vec![Holder { pid, cgroup: cgroup() }];
        let (address, port) = (self.address.ip(), self.address.port().try_into().unwrap());
        Listener { netns, address, port, holders, doubt: None }
    }
}

fn cgroup() -> Arc<str> {
    format!("/kubepods/pod{UID}/{ID}").into()
}

fn mk_known() -> Known {
    let container = Container { name: "app".into(), id: Some(ID.into()), ..Container::default() };
    let pod = Pod {
        name: PodRef { namespace: "ns".into(), name: "pod".into() },
        uid: UID.into(),
        node: None,
        annotations: [("merger.io/probe".to_owned(), "true".to_owned())].into(),
        containers: vec![container],
        monitored: crate::target::monitor::Monitored::default(),
        ended: false,
    };
    Known { pods: vec![Arc::new(pod)], problems: vec![], ..Known::default() }
}

fn mk_snapshot(listeners: Vec<Listener>, netns: Cookie) -> Snapshot {
    let processes = vec![Process { pid: 10, started: 10, netns, cgroup: cgroup() }];
    Snapshot { host: Cookie(1), processes, listeners }
}

/// What is planned by what is known.
fn look(prober: &mut Prober, snapshot: &Snapshot) -> Targets {
    prober.keep_to(snapshot);
    let probed = prober.probed();
    targets(&mk_known(), snapshot, "node", false, &Rules::default(), probed)
}

/// Looks, and asks, as often as it is answered.
async fn probe(prober: &mut Prober, snapshot: &Snapshot, n_answers: usize) -> Targets {
    for _ in 0..n_answers {
        let targets = look(prober, snapshot);
        prober.ask(&targets, snapshot);
        prober.answered().await;
    }
    look(prober, snapshot)
}

fn ports(targets: &Targets) -> Vec<u16> {
    let target = targets.values().next().unwrap();
    let ready = target.plan.sources.iter().filter(|one| matches!(one.state, State::Ready(_)));
    ready.map(|source| source.port.get()).collect()
}

fn mk_prober(dial: &Arc<Plain>) -> Prober {
    let scraper = Scraper::new(Arc::clone(dial) as Arc<dyn Dial>, Limits::default()).unwrap();
    Prober::new(scraper, merge::Limits::default())
}

fn own() -> Cookie {
    netns::cookie_of(&TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

#[tokio::test]
async fn who_answers_with_samples_is_a_source_and_each_is_asked_once() {
    let servers = [
        Server::start("200 OK", "up 1\n"),
        Server::start("200 OK", "# nothing\n"),
        Server::start("200 OK\r\nContent-Type: text/html", "<html>up 1</html>"),
        Server::start("404 Not Found", "up 1\n"),
        Server::start("no HTTP", "up 1\n"),
    ];
    let netns = own();
    let listeners: Vec<_> = servers.iter().map(|one| one.listener(netns, 10)).collect();
    let mut prober = mk_prober(&Arc::default());
    let snapshot = mk_snapshot(listeners.clone(), netns);
    let found = probe(&mut prober, &snapshot, servers.len()).await;
    assert_eq!(ports(&found), [servers[0].address.port()]);
    assert_eq!(servers.each_ref().map(Server::n_requests), [1; 5]);
    // Nobody is left to be asked.
    assert!(found.values().all(|target| target.plan.probes.is_empty()));

    // One that another process has by now is another listener, and one that is gone is no source.
    let moved = servers[1].listener(netns, 11);
    let snapshot = mk_snapshot(vec![moved], netns);
    let found = probe(&mut prober, &snapshot, 1).await;
    assert!(ports(&found).is_empty());
    assert_eq!(servers.each_ref().map(Server::n_requests), [1, 2, 1, 1, 1]);
}

#[tokio::test]
async fn a_server_whose_workers_come_and_go_is_asked_once() {
    let server = Server::start("200 OK", "up 1\n");
    let netns = own();
    let held_by = |pids: [u32; 2]| {
        let holders = pids.map(|pid| Holder { pid, cgroup: cgroup() }).into();
        mk_snapshot(vec![Listener { holders, ..server.listener(netns, 10) }], netns)
    };
    let mut prober = mk_prober(&Arc::default());
    let first = held_by([10, 11]);
    let targets = look(&mut prober, &first);
    prober.ask(&targets, &first);
    // One worker is another already when the answer is there.
    look(&mut prober, &held_by([10, 12]));
    prober.answered().await;
    for pids in [[10, 12], [12, 13], [13, 14]] {
        let snapshot = held_by(pids);
        let found = look(&mut prober, &snapshot);
        prober.ask(&found, &snapshot);
        assert_eq!(ports(&found), [server.address.port()], "{pids:?}");
        assert!(prober.asking.is_empty(), "{pids:?}");
    }
    assert_eq!(server.n_requests(), 1);
}

#[tokio::test]
async fn what_fails_on_this_side_is_no_answer() {
    let server = Server::start("200 OK", "up 1\n");
    let netns = own();
    let snapshot = mk_snapshot(vec![server.listener(netns, 10)], netns);
    let dial = Arc::new(Plain { is_broken: true.into() });
    let mut prober = mk_prober(&dial);
    let found = probe(&mut prober, &snapshot, 1).await;
    assert_eq!((ports(&found), server.n_requests()), (vec![], 0));
    dial.is_broken.store(false, Ordering::Relaxed);
    let found = probe(&mut prober, &snapshot, 1).await;
    assert_eq!((ports(&found), server.n_requests()), (vec![server.address.port()], 1));
}

#[tokio::test]
async fn one_request_is_under_way_to_a_pod_at_one_time() {
    let servers = [Server::start("200 OK", "up 1\n"), Server::start("200 OK", "up 1\n")];
    let netns = own();
    let listeners = servers.iter().map(|one| one.listener(netns, 10)).collect();
    let snapshot = mk_snapshot(listeners, netns);
    let mut prober = mk_prober(&Arc::default());
    for _ in 0..3 {
        let targets = look(&mut prober, &snapshot);
        prober.ask(&targets, &snapshot);
        assert_eq!(prober.asking.len(), 1);
    }
    let found = probe(&mut prober, &snapshot, 2).await;
    assert_eq!(ports(&found).len(), 2);
}
