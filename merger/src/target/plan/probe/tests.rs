//! What would be asked of a pod's listeners, and what is remembered.

use std::net::SocketAddr;

use super::*;
use crate::target::{
    Container, Holder, Pod, PodRef, Port, monitor,
    plan::{MAX_SOURCES, Plan, Rules},
};

const UID: &str = "11111111-2222-3333-4444-555555555555";

fn mk_pod(annotations: &[(&str, &str)]) -> Pod {
    let container = |(name, id): (&str, &str)| Container {
        name: name.to_owned(),
        id: Some(id.to_owned()),
        ..Container::default()
    };
    Pod {
        name: PodRef { namespace: "shop".to_owned(), name: "cart".to_owned() },
        uid: UID.to_owned(),
        node: None,
        annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        containers: [("cart", "aaaaaaaaaaaa"), ("istio-proxy", "bbbbbbbbbbbb")]
            .map(container)
            .into(),
        monitored: monitor::Monitored::default(),
        ended: false,
    }
}

fn mk_listener(socket: &str, id: &str, pid: u32) -> Listener {
    let socket: SocketAddr = socket.parse().unwrap();
    Listener {
        netns: Cookie(7),
        address: socket.ip(),
        port: NonZeroU16::new(socket.port()).unwrap(),
        holders: vec![Holder { pid, cgroup: format!("/kubepods/pod{UID}/{id}").into() }],
        doubt: None,
    }
}

fn mk_listeners() -> Vec<Listener> {
    vec![
        mk_listener("0.0.0.0:8080", "aaaaaaaaaaaa", 10),
        mk_listener("127.0.0.1:9100", "aaaaaaaaaaaa", 10),
        mk_listener("0.0.0.0:15006", "bbbbbbbbbbbb", 11),
        mk_listener("0.0.0.0:15090", "bbbbbbbbbbbb", 11),
        // The sidecar's, on a port that no table has.
        mk_listener("0.0.0.0:40000", "bbbbbbbbbbbb", 11),
        // Nobody's that is known.
        mk_listener("0.0.0.0:7000", "cccccccccccc", 12),
    ]
}

fn plan(rules: &Rules, pod: &Pod, listeners: &[Listener], probed: &Probed) -> Plan {
    rules.plan(pod, &listeners.iter().collect::<Vec<_>>(), None, probed)
}

fn asked(plan: &Plan) -> Vec<u16> {
    plan.probes.iter().map(|probe| probe.port.get()).collect()
}

const OPTED: &[(&str, &str)] = &[("merger.io/probe", "true")];

#[test]
fn only_who_opts_in_is_probed() {
    let (rules, listeners, none) = (Rules::default(), mk_listeners(), Probed::default());
    let of = |annotations: &[(&str, &str)], rules: &Rules| {
        asked(&plan(rules, &mk_pod(annotations), &listeners, &none))
    };
    assert!(of(&[], &rules).is_empty());
    assert_eq!(of(OPTED, &rules), [8080, 9100]);
    let probed_namespaces = ["shop".to_owned()].into();
    let rules = Rules { probed_namespaces, ..rules };
    assert_eq!(of(&[], &rules), [8080, 9100]);
    assert!(of(&[("merger.io/probe", "false")], &rules).is_empty());
    assert!(of(&[("prometheus.io/scrape", "false")], &rules).is_empty());
}

#[test]
fn a_port_that_is_a_source_already_is_not_probed() {
    let asks = ("prometheus.io/scrape", "true");
    let pod = mk_pod(&[OPTED[0], asks, ("prometheus.io/port", "9100")]);
    let plan = plan(&Rules::default(), &pod, &mk_listeners(), &Probed::default());
    assert_eq!(asked(&plan), [8080]);
    assert_eq!(plan.sources.len(), 2);
}

#[test]
fn a_monitor_of_another_namespace_takes_no_place_of_a_page_that_was_found() {
    let (rules, listeners, mut pod) = (Rules::default(), mk_listeners(), mk_pod(OPTED));
    for container in &mut pod.containers[..1] {
        container.ports = [8080, 9100]
            .map(|number| Port { name: None, number: NonZeroU16::new(number).unwrap() })
            .into();
    }
    let mut probed = Probed::default();
    probed.record(&listeners[..1], Verdict::Other);
    probed.record(&listeners[1..2], Verdict::Metrics);
    let reasons = |monitor: &str, pod: &Pod| -> Vec<(u16, String)> {
        let endpoint = |n: u16| monitor::Endpoint {
            monitor: monitor.to_owned(),
            port: monitor::Port::Number(9100),
            path: format!("/{n}"),
            ..monitor::Endpoint::default()
        };
        let endpoints = (0..10).map(|n| endpoint(n).into()).collect();
        let monitored = monitor::Monitored { endpoints, left_out: 0 };
        let plan = plan(&rules, &Pod { monitored, ..pod.clone() }, &listeners, &probed);
        plan.sources.iter().map(|s| (s.port.get(), s.reason.to_string())).collect()
    };
    let foreign = reasons("aaa/x", &pod);
    assert_eq!(foreign[0], (9100, Reason::Probe.to_string()));
    assert_eq!(foreign[1], (9100, "the PodMonitor aaa/x".to_owned()));
    assert_eq!(foreign.len(), MAX_SOURCES);
    // One of its own says what page there is.
    let own = reasons("shop/x", &pod);
    assert!(own[..MAX_SOURCES - 1].iter().all(|(_, reason)| reason == "the PodMonitor shop/x"));
}

#[test]
fn each_listener_is_asked_once_until_it_listens_anew() {
    let (rules, pod, mut listeners) = (Rules::default(), mk_pod(OPTED), mk_listeners());
    let mut probed = Probed::default();
    probed.record(&listeners[..1], Verdict::Other);
    probed.record(&listeners[1..2], Verdict::Metrics);
    let first = plan(&rules, &pod, &listeners, &probed);
    assert!(first.probes.is_empty());
    let found = &first.sources[0];
    assert_eq!(
        (&*found.container, found.port.get(), &found.reason),
        ("cart", 9100, &Reason::Probe)
    );
    assert!(matches!(first.sources[1].reason, Reason::Sidecar(_)));

    // A look that has the same listeners forgets nothing, one without them everything.
    probed.retain(&listeners);
    assert!(plan(&rules, &pod, &listeners, &probed).probes.is_empty());
    listeners[0] = mk_listener("0.0.0.0:8080", "aaaaaaaaaaaa", 20);
    probed.retain(&listeners);
    assert_eq!(asked(&plan(&rules, &pod, &listeners, &probed)), [8080]);
    probed.retain(&[]);
    assert_eq!(probed, Probed::default());
}

#[test]
fn a_listener_is_the_same_while_any_of_its_holders_stays() {
    let holding = |pids: &[u32]| {
        let mut listener = mk_listener("0.0.0.0:8080", "aaaaaaaaaaaa", 10);
        let cgroup = listener.holders[0].cgroup.clone();
        listener.holders = pids.iter().map(|&pid| Holder { pid, cgroup: cgroup.clone() }).collect();
        vec![listener]
    };
    let (rules, pod) = (Rules::default(), mk_pod(OPTED));
    for verdict in [Verdict::Metrics, Verdict::Other] {
        let mut probed = Probed::default();
        probed.record(&holding(&[10, 11]), verdict);
        // Its workers are replaced one by one, and at last who began it ends.
        for pids in [&[10, 11][..], &[10, 12], &[12], &[12, 13], &[13]] {
            let listeners = holding(pids);
            probed.retain(&listeners);
            let plan = plan(&rules, &pod, &listeners, &probed);
            assert_eq!(asked(&plan), [0; 0], "{pids:?}");
            let n_found = plan.sources.iter().filter(|s| s.reason == Reason::Probe).count();
            assert_eq!(n_found == 1, verdict == Verdict::Metrics, "{pids:?}");
        }
        // One that held it long ago says nothing of who listens now.
        for pids in [&[20][..], &[10, 11]] {
            let (mut probed, listeners) = (probed.clone(), holding(pids));
            probed.retain(&listeners);
            let plan = plan(&rules, &pod, &listeners, &probed);
            assert_eq!(asked(&plan), [8080], "{pids:?}");
            assert!(plan.sources.iter().all(|s| s.reason != Reason::Probe), "{pids:?}");
        }
    }
}
