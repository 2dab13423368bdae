//! Whatever a pod asks for, no packet leaves its namespace: counted by nftables, in there, on its wire and
//! outside.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use merger::{
    exposition::Format,
    inventory,
    node::Snapshot,
    pods::Known,
    scrape::{Limits, Scraper},
    target,
    target::{
        Container, PodRef, Source, State,
        plan::{Probed, Rules},
    },
};
use rustix::net::sockopt::set_socket_linger;

use super::{
    cgroup::Root,
    hostile,
    namespace::{called, is_guest},
    pod::Pod,
    start, world,
};

const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

/// Packets of TCP and UDP that are not of loopback; what else there is, the kernel says by itself.
const COUNT: &str = "table inet merger { \
    counter leaves { }; \
    chain out { type filter hook output priority 0; \
        oifname != \"lo\" meta l4proto { tcp, udp } counter name leaves; }; \
    chain through { type filter hook forward priority 0; counter name leaves; }; \
    chain in { type filter hook input priority 0; \
        iifname != \"lo\" meta l4proto { tcp, udp } counter name leaves; }; }";

/// Packets that a router takes further: for one that passes them on, those that it would.
const ROUTED: &str = "table inet routed { \
    counter leaves { }; \
    chain through { type filter hook forward priority 0; counter name leaves; }; }";

/// Packets as they come off the wire, be they for anybody or not.
const ARRIVING: &str = "table netdev merger { \
    counter leaves { }; \
    chain arrives { type filter hook ingress device outside priority -500; \
        meta l4proto { tcp, udp } counter name leaves; }; }";

/// Set in the copy of this program that is the pod's application: where it listens.
const APPLICATION: &str = "MERGER_TEST_APPLICATION";

/// Listens at these addresses and says in each answer how many connections there were until then.
fn serve(addresses: &str) {
    let n_connections = AtomicU64::new(0);
    let answer = |mut stream: TcpStream| -> io::Result<()> {
        let n = n_connections.fetch_add(1, Ordering::Relaxed) + 1;
        let n_read = stream.read(&mut [0; 4096])?;
        assert_ne!(n_read, 0, "a request comes");
        let page = format!("connections {n}\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len())
    };
    thread::scope(|scope| {
        for address in addresses.split(' ') {
            let listener = TcpListener::bind(address).unwrap();
            scope.spawn(move || {
                for stream in listener.incoming() {
                    // A client that goes away early is no reason to end.
                    let _ = stream.and_then(answer);
                }
            });
        }
    });
}

/// Runs a test in a network namespace of its own, or is the application of its pod.
fn check(test: &str, body: impl AsyncFnOnce()) {
    match env::var_os(APPLICATION) {
        Some(addresses) => serve(addresses.to_str().unwrap()),
        None => world::inside(test, &["unshare", "--net", "--"], "root, nft, ip", body),
    }
}

/// Of each copy of this program its own: two of them may run at one time.
fn uid() -> String {
    format!("6d2d0ed8-5ca4-4d3a-9b3e-{:012x}", std::process::id())
}

fn nft(pod: Option<&Pod>, ruleset: &str) -> String {
    let run = || Command::new("nft").arg(ruleset).output();
    let output = match pod {
        Some(pod) => pod.netns().within(run),
        None => run(),
    };
    let output = output.expect("nft: run `cargo xtask setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How many packets a namespace has seen that left the pod's.
fn n_packets(pod: Option<&Pod>) -> u64 {
    let n_arrived = if pod.is_none() { n_counted(None, "netdev merger") } else { 0 };
    n_counted(pod, "inet merger") + n_arrived
}

fn n_counted(place: Option<&Pod>, table: &str) -> u64 {
    let listed = nft(place, &format!("list counter {table} leaves"));
    let (_, after) = listed.split_once("packets ").expect(&listed);
    after.split_whitespace().next().unwrap().parse().unwrap()
}

fn mk_pod(annotations: &[(&str, &str)]) -> Arc<target::Pod> {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let annotation =
        |(name, value): (&str, &str)| (format!("prometheus.io/{name}"), value.to_owned());
    Arc::new(target::Pod {
        name: PodRef { namespace: "ns".to_owned(), name: "pod".to_owned() },
        uid: uid(),
        node: None,
        annotations: annotations.into_iter().map(annotation).collect(),
        containers: ["app", "istio-proxy"].map(mk_container).into(),
        monitored: target::monitor::Monitored::default(),
        ended: false,
    })
}

fn mk_container(name: &str) -> Container {
    Container { name: name.to_owned(), ..Container::default() }
}

/// A pod with an address of its own and a way out, in whose neighbourhood everybody listens.
fn mk_world(root: &Root, test: &str) -> (Pod, impl Sized + use<>) {
    let mut pod = Pod::new();
    let pid = pod.pid().to_string();
    let outside = |arguments: &[&str]| {
        assert!(Command::new("ip").args(arguments).status().unwrap().success(), "{arguments:?}");
    };
    outside(&["link", "set", "lo", "up"]);
    outside(&["link", "add", "outside", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    outside(&["address", "add", "198.18.0.1/24", "dev", "outside"]);
    outside(&["address", "add", "10.0.0.1/24", "dev", "outside"]);
    outside(&["address", "add", "169.254.169.254/32", "dev", "outside"]);
    outside(&["link", "set", "outside", "up"]);
    pod.run("ip", &["address", "add", "198.18.0.2/24", "dev", "eth0"]);
    pod.run("ip", &["link", "set", "eth0", "up"]);
    pod.run("ip", &["route", "add", "default", "via", "198.18.0.1"]);
    nft(None, COUNT);
    nft(None, ARRIVING);
    nft(Some(&pod), COUNT);
    let around: Vec<TcpListener> = [80, 443, 8080, 8081, 15090]
        .iter()
        .map(|port| TcpListener::bind(("0.0.0.0", *port)).unwrap())
        .collect();
    let addresses =
        "0.0.0.0:8080 198.18.0.2:8081 127.0.0.1:80 0.0.0.0:15090 127.0.0.1:1 [::1]:65535";
    let becomes =
        format!("export {APPLICATION}='{addresses}'; exec \"$0\" --exact {test} --nocapture");
    let program = env::current_exe().unwrap();
    let stdin = pod.become_process("sh", &["-c", &becomes, program.to_str().unwrap()]);
    root.container(&uid(), ID).join(pod.pid());
    while fs::read_to_string(format!("/proc/{}/net/tcp", pod.pid())).unwrap().lines().count() < 6 {
        thread::sleep(Duration::from_millis(5));
    }
    (pod, (around, stdin))
}

#[test]
fn no_packet_leaves_for_any_address_but_the_pods_own() {
    let test = "leaks::no_packet_leaves_for_any_address_but_the_pods_own";
    check(test, async || {
        let root = Root::new(usize::MAX);
        let (pod, _around) = mk_world(&root, test);
        let (node, _changes) = start();
        let snapshot = node.snapshot().await.unwrap();
        let netns = called(&snapshot, pod.pid());
        let scraper = Scraper::new(Arc::new(node), Limits::default()).unwrap();
        let (mut n_bodies, mut n_refused, mut unanswered) = (0, 0, vec![]);
        let annotations = hostile::annotations();
        let last = (false, "port", "8080".to_owned());
        // What is read of them is no matter of kernels: in a guest a part of them shows where packets go.
        let step = if is_guest() { 5 } else { 1 };
        for (_, name, value) in annotations.iter().step_by(step).chain([&last]) {
            let pods = vec![mk_pod(&[("scrape", "true"), ("port", "8080"), (name, value)])];
            let known = Known { pods, problems: vec![], ..Known::default() };
            let targets = inventory::targets(
                &known,
                &snapshot,
                "node",
                false,
                &Rules::default(),
                &Probed::default(),
            );
            let target = targets.values().next().unwrap();
            assert_eq!(target.netns, Ok(netns));
            n_refused += target.plan.notes.len();
            for source in &target.plan.sources {
                let patience = Duration::from_secs(2);
                let scraped = scraper.scrape(netns, source, Format::Text, patience).await;
                // Each connection that was made has arrived at the pod's own listener, and no other.
                match scraped.page {
                    Ok(page) => {
                        n_bodies += 1;
                        let body = String::from_utf8_lossy(&page.body.bytes).into_owned();
                        assert_eq!(body, format!("connections {n_bodies}\n"), "{name}: {value:?}");
                    }
                    Err(problem) if matches!(source.state, State::Ready(_)) => {
                        unanswered.push(format!("{name}: {value:?}: {problem:?}"));
                    }
                    Err(_) => {}
                }
            }
        }
        assert!(annotations.len() >= 200 && n_refused * step >= 200, "{n_refused}");
        assert!(n_bodies * step >= 200, "{n_bodies}");
        assert!(unanswered.is_empty(), "whatever was asked has answered: {unanswered:#?}");
        assert_eq!((n_packets(Some(&pod)), n_packets(None)), (0, 0));
        // The counters count.
        pod.netns().within(|| TcpStream::connect("10.0.0.1:80")).unwrap();
        assert!(n_packets(Some(&pod)) > 0 && n_packets(None) > 0);
    });
}

/// What a pod with `CAP_NET_ADMIN` can do to its own namespace so that its port is somebody else's.
const REDIRECTS: [&str; 2] = [
    "table ip turned { \
        chain out { type nat hook output priority -100; tcp dport 8080 dnat to 10.0.0.1; }; \
        chain post { type nat hook postrouting priority 100; oifname != \"lo\" masquerade; }; }",
    "table ip turned { \
        chain out { type route hook output priority 0; tcp dport 8080 ip daddr set 10.0.0.1; }; \
        chain post { type nat hook postrouting priority 100; oifname != \"lo\" masquerade; }; }",
];

/// And what else it takes: to send from 127.0.0.1 to others, and to pass on what comes in by loopback.
const PASS_ON: &str = "cd /proc/sys/net/ipv4; echo 1 > ip_forward; cd conf; \
    for each in all lo eth0; do echo 1 > $each/route_localnet; echo 1 > $each/accept_local; \
    echo 0 > $each/rp_filter; done";

/// What a pod that asks for this port is asked for.
fn mk_source(snapshot: &Snapshot, port: &str) -> Source {
    let known = Known {
        pods: vec![mk_pod(&[("scrape", "true"), ("port", port)])],
        problems: vec![],
        ..Known::default()
    };
    let targets =
        inventory::targets(&known, snapshot, "node", false, &Rules::default(), &Probed::default());
    targets.values().next().unwrap().plan.sources[0].clone()
}

#[test]
fn a_pod_that_redirects_its_own_loopback_leads_nowhere() {
    let test = "leaks::a_pod_that_redirects_its_own_loopback_leads_nowhere";
    check(test, async || {
        let root = Root::new(usize::MAX);
        let (pod, _around) = mk_world(&root, test);
        pod.run("sh", &["-c", PASS_ON]);
        let (node, _changes) = start();
        let snapshot = node.snapshot().await.unwrap();
        let netns = called(&snapshot, pod.pid());
        let patience = Duration::from_millis(500);
        let source = &mk_source(&snapshot, "8080");
        let limits = Limits { timeout: patience, ..Limits::default() };
        let scraper = Scraper::new(Arc::new(node), limits).unwrap();
        for redirect in REDIRECTS {
            nft(Some(&pod), redirect);
            let scraped = scraper.scrape(netns, source, Format::Text, patience).await;
            assert!(scraped.page.is_err(), "{redirect}");
            assert_eq!((n_packets(Some(&pod)), n_packets(None)), (0, 0), "{redirect}");
            // Another client is led away by it. It breaks off, or the answer to its end could come when
            // the counters are at their beginning again.
            let connect = || TcpStream::connect_timeout(&([127, 0, 0, 1], 8080).into(), patience);
            let led_away = pod.netns().within(connect);
            if let Ok(led_away) = led_away {
                set_socket_linger(&led_away, Some(Duration::ZERO)).unwrap();
            }
            assert!(n_packets(Some(&pod)) > 0 && n_packets(None) > 0, "{redirect}");
            for place in [Some(&pod), None] {
                nft(place, "reset counter inet merger leaves");
            }
            nft(None, "reset counter netdev merger leaves");
            nft(Some(&pod), "delete table ip turned");
        }
    });
}

#[test]
fn a_pod_that_redirects_its_own_address_leads_no_further_than_its_neighbour() {
    let test = "leaks::a_pod_that_redirects_its_own_address_leads_no_further_than_its_neighbour";
    check(test, async || {
        const BEYOND: &str = "203.0.113.9";
        let root = Root::new(usize::MAX);
        let (pod, _around) = mk_world(&root, test);
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let route = ["route", "add", "203.0.113.0/24", "dev", "outside"];
        assert!(Command::new("ip").args(route).status().unwrap().success());
        nft(None, ROUTED);
        let (node, _changes) = start();
        let snapshot = node.snapshot().await.unwrap();
        let netns = called(&snapshot, pod.pid());
        let patience = Duration::from_millis(500);
        let source = &mk_source(&snapshot, "8081");
        let limits = Limits { timeout: patience, ..Limits::default() };
        let scraper = Scraper::new(Arc::new(node), limits).unwrap();
        let address = ([198, 18, 0, 2], 8081).into();
        assert_eq!(source.state, State::Ready(vec![address]));
        // As it is, it is asked at its own address.
        let scraped = scraper.scrape(netns, source, Format::Text, patience).await;
        assert_eq!(scraped.page.unwrap().body.bytes, b"connections 1\n");
        let redirect = format!(
            "table ip turned {{ chain out {{ type nat hook output priority -100; \
                tcp dport 8081 dnat to {BEYOND}; }}; }}"
        );
        nft(Some(&pod), &redirect);
        let scraped = scraper.scrape(netns, source, Format::Text, patience).await;
        assert!(scraped.page.is_err());
        assert!(n_packets(None) > 0, "its neighbour has it");
        assert_eq!(n_counted(None, "inet routed"), 0, "and hands it on to nobody");
        let another = || TcpStream::connect_timeout(&address, patience);
        pod.netns().within(another).unwrap_err();
        assert!(n_counted(None, "inet routed") > 0, "another client's is handed on");
    });
}
