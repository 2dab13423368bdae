//! Pod and listeners in, sources and notes out, each as one line.

use std::collections::BTreeMap;

mod laws;

use super::*;
use crate::{
    hostile,
    identity::Cookie,
    target::{Doubt, Holder, PodRef, Port},
};

const UID: &str = "11111111-2222-3333-4444-555555555555";

/// A pod with `annotations` after `prometheus.io/`, and containers as `name[:port[=name]]…`.
fn mk_pod(annotations: &[(&str, &str)], containers: &[&str]) -> Pod {
    let annotation =
        |(name, value): &(&str, &str)| (format!("prometheus.io/{name}"), (*value).to_owned());
    Pod {
        name: PodRef { namespace: "shop".to_owned(), name: "cart".to_owned() },
        uid: UID.to_owned(),
        node: None,
        annotations: annotations.iter().map(annotation).collect(),
        containers: containers.iter().map(|text| mk_container(text)).collect(),
        monitored: crate::target::monitor::Monitored::default(),
        ended: false,
    }
}

fn mk_container(text: &str) -> Container {
    let mut words = text.split(':');
    let name = words.next().unwrap().to_owned();
    let ports = words
        .map(|port| match port.split_once('=') {
            Some((number, name)) => (number, Some(name.to_owned())),
            None => (port, None),
        })
        .map(|(number, name)| Port { name, number: number.parse().unwrap() })
        .collect();
    Container { id: Some(container_id(&name)), name, ports, ..Container::default() }
}

/// Hex digits that are the container's alone.
fn container_id(name: &str) -> String {
    let hex = name.bytes().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
    format!("{hex:0<24.24}")
}

/// A listener as `address:port@container+container`, with `!` for a holder in another pod, `?` for one
/// in none, and `@` alone where nobody holds it.
fn mk_listener(text: &str) -> Listener {
    let (socket, holders) = text.split_once('@').unwrap();
    let socket: SocketAddr = socket.parse().unwrap();
    let cgroup = |holder: &str| match holder {
        "!" => "/kubepods/burstable/podother/0123456789ab".into(),
        "?" => "/system.slice/x.service".into(),
        name => format!("/kubepods/burstable/pod{UID}/{}", container_id(name)).into(),
    };
    let holders = holders.split('+').filter(|holder| !holder.is_empty());
    let holders = holders.map(|holder| Holder { pid: 77, cgroup: cgroup(holder) }).collect();
    Listener {
        netns: Cookie(7),
        address: socket.ip(),
        port: NonZeroU16::new(socket.port()).unwrap(),
        holders,
        doubt: None,
    }
}

fn shown(plan: &Plan) -> Vec<String> {
    let source = |source: &Source| {
        let Source { container, endpoint, port, scheme, path, reason, state, .. } = source;
        let state = match state {
            State::Ready(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                addresses.join(" ")
            }
            State::Pending => "pending".to_owned(),
            State::Refused(refusal) => refusal.to_string(),
        };
        format!("{container}/{endpoint} {}://:{port}{path} by {reason}: {state}", scheme.as_str())
    };
    plan.sources.iter().map(source).chain(plan.notes.iter().map(ToString::to_string)).collect()
}

#[track_caller]
fn check(pod: &Pod, listeners: &[&str], expected: &[&str]) {
    let listeners: Vec<Listener> = listeners.iter().map(|text| mk_listener(text)).collect();
    let listeners: Vec<&Listener> = listeners.iter().collect();
    assert_eq!(shown(&plan(pod, &listeners)), expected);
}

const SCRAPE: (&str, &str) = ("scrape", "true");
const BY_PORT: &str = "by the annotation prometheus.io/port";
const BY_NAME: &str = "by the name of the port";
const ENVOY: &str =
    "istio-proxy/15090 http://:15090/stats/prometheus by the sidecar of istio: 127.0.0.1:15090";

#[test]
fn the_annotated_port_and_the_sidecar_are_sources() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart", "istio-proxy"]),
        &["0.0.0.0:9100@cart", "0.0.0.0:15090@istio-proxy", "0.0.0.0:15006@istio-proxy"],
        &[&format!("cart/9100 http://:9100/metrics {BY_PORT}: 127.0.0.1:9100"), ENVOY],
    );
}

#[test]
fn path_and_scheme_are_the_applications_alone() {
    let asked = [SCRAPE, ("port", "8443"), ("path", "/m"), ("scheme", "https")];
    check(
        &mk_pod(&asked, &["cart", "istio-proxy"]),
        &["0.0.0.0:8443@cart", "0.0.0.0:15090@istio-proxy"],
        &[&format!("cart/8443 https://:8443/m {BY_PORT}: 127.0.0.1:8443"), ENVOY],
    );
}

#[test]
fn a_listener_that_somebody_may_hold_who_is_not_seen_is_not_asked() {
    let pod = mk_pod(&[SCRAPE, ("port", "9100")], &["cart"]);
    let why = "missing CAP_X (to see)".into();
    let doubt = Some(Doubt::HolderHidden { pid: 4, why });
    let listener = Listener { doubt, ..mk_listener("0.0.0.0:9100@cart") };
    let reason = "whose the socket is cannot be known: the files of process 4 cannot be seen: missing \
                  CAP_X (to see)";
    let expected = format!("cart/9100 http://:9100/metrics {BY_PORT}: {reason}");
    assert_eq!(shown(&plan(&pod, &[&listener])), [expected]);
}

#[test]
fn a_port_that_does_not_listen_yet_is_pending() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart"]),
        &["0.0.0.0:9101@cart"],
        &[&format!("cart/9100 http://:9100/metrics {BY_PORT}: pending")],
    );
}

#[test]
fn the_endpoint_has_the_name_of_the_port_where_it_has_one() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart:9100=stats"]),
        &["0.0.0.0:9100@cart"],
        &[&format!("cart/stats http://:9100/metrics {BY_PORT}: 127.0.0.1:9100")],
    );
}

#[test]
fn the_container_is_the_one_that_holds_the_socket() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart:9100", "exporter"]),
        &["0.0.0.0:9100@exporter"],
        &[&format!("exporter/9100 http://:9100/metrics {BY_PORT}: 127.0.0.1:9100")],
    );
}

#[test]
fn before_it_listens_the_container_is_the_one_that_declares_the_port() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart", "exporter:9100"]),
        &[],
        &[&format!("exporter/9100 http://:9100/metrics {BY_PORT}: pending")],
    );
}

#[test]
fn among_several_containers_none_is_guessed() {
    check(
        &mk_pod(&[SCRAPE, ("port", "9100")], &["cart", "exporter"]),
        &[],
        &[&format!("/9100 http://:9100/metrics {BY_PORT}: pending")],
    );
}

#[test]
fn named_metric_ports_are_sources_where_no_port_is_asked_for() {
    check(
        &mk_pod(
            &[SCRAPE],
            &[
                "web:8080=http:9100=metrics",
                "worker:9101=http-metrics",
                "x:1=prometheus:2=jvm-metrics:3=metricsx",
            ],
        ),
        &["0.0.0.0:9100@web", "127.0.0.1:9101@worker"],
        &[
            &format!("web/metrics http://:9100/metrics {BY_NAME}: 127.0.0.1:9100"),
            &format!("worker/http-metrics http://:9101/metrics {BY_NAME}: 127.0.0.1:9101"),
            &format!("x/prometheus http://:1/metrics {BY_NAME}: pending"),
            &format!("x/jvm-metrics http://:2/metrics {BY_NAME}: pending"),
        ],
    );
}

#[test]
fn named_ports_alone_ask_for_nothing() {
    check(
        &mk_pod(&[], &["web:9100=metrics"]),
        &["0.0.0.0:9100@web"],
        &["does not ask to be scraped: set prometheus.io/scrape to \"true\""],
    );
}

#[test]
fn a_sidecar_is_read_unless_the_pod_declines() {
    let listeners = ["0.0.0.0:15090@istio-proxy"];
    check(&mk_pod(&[], &["cart", "istio-proxy"]), &listeners, &[ENVOY]);
    check(
        &mk_pod(&[("scrape", "false"), ("port", "80")], &["cart", "istio-proxy"]),
        &listeners,
        &["declines to be scraped by prometheus.io/scrape"],
    );
}

#[test]
fn a_pod_that_asks_without_a_port_is_told_how() {
    let how = "asks to be scraped, but names no port: set prometheus.io/port, or name a container port \"metrics\"";
    check(&mk_pod(&[SCRAPE], &["cart:8080=http"]), &["0.0.0.0:80@cart"], &[how]);
}

#[test]
fn a_malformed_annotation_costs_the_application_and_not_the_sidecar() {
    check(
        &mk_pod(&[SCRAPE, ("port", "80@10.0.0.1:80")], &["cart", "istio-proxy"]),
        &["0.0.0.0:80@cart", "0.0.0.0:15090@istio-proxy"],
        &[
            ENVOY,
            "annotation prometheus.io/port: \"80@10.0.0.1:80\" is not a port from 1 to 65535, in digits",
        ],
    );
}

#[test]
fn a_port_of_the_proxy_is_not_the_applications() {
    for port in ["15000", "15020", "15090"] {
        check(
            &mk_pod(&[SCRAPE, ("port", port)], &["cart", "istio-proxy"]),
            &["0.0.0.0:15090@istio-proxy"],
            &[
                ENVOY,
                &format!(
                    "annotation prometheus.io/port: {port} is a port of istio's proxy, which is no application's: set the application's port"
                ),
            ],
        );
    }
    check(
        &mk_pod(&[SCRAPE, ("port", "15020")], &["cart"]),
        &["0.0.0.0:15020@cart"],
        &[&format!("cart/15020 http://:15020/metrics {BY_PORT}: 127.0.0.1:15020")],
    );
}

#[track_caller]
fn check_state(listeners: &[&str], expected: &str) {
    let expected = format!("cart/9100 http://:9100/metrics {BY_PORT}: {expected}");
    check(&mk_pod(&[SCRAPE, ("port", "9100")], &["cart"]), listeners, &[&expected]);
}

#[test]
fn the_address_follows_from_what_the_socket_is_bound_to() {
    check_state(&["0.0.0.0:9100@cart"], "127.0.0.1:9100");
    check_state(&["127.0.0.1:9100@cart"], "127.0.0.1:9100");
    check_state(&["[::]:9100@cart"], "127.0.0.1:9100 [::1]:9100");
    check_state(&["[::1]:9100@cart"], "[::1]:9100");
    check_state(&["[::ffff:127.0.0.1]:9100@cart"], "127.0.0.1:9100");
    check_state(&["198.18.0.7:9100@cart"], "198.18.0.7:9100");
}

#[test]
fn loopback_goes_before_the_pods_own_address() {
    check_state(
        &["198.18.0.7:9100@cart", "[::1]:9100@cart", "127.0.0.1:9100@cart"],
        "127.0.0.1:9100 [::1]:9100 198.18.0.7:9100",
    );
}

#[test]
fn a_loopback_address_that_meshes_intercept_is_not_dialled() {
    check_state(&["127.0.0.2:9100@cart", "198.18.0.7:9100@cart"], "198.18.0.7:9100");
    check_state(
        &["127.0.0.2:9100@cart"],
        "bound to 127.0.0.2, a loopback address that meshes intercept: bind it to 127.0.0.1",
    );
}

const FOREIGN: &str = "the socket is held by process 77 of pod uid other, which is not of this pod: \
                       ask for a port that its own containers alone hold";

/// Nor is it any container's: the label is empty.
#[track_caller]
fn check_foreign(listener: &str, refused: &str) {
    let expected = format!("/9100 http://:9100/metrics {BY_PORT}: {refused}");
    let pod = mk_pod(&[SCRAPE, ("port", "9100")], &["cart:9100"]);
    check(&pod, &["127.0.0.1:9100@cart", listener], &[&expected]);
}

#[test]
fn a_socket_held_from_outside_the_pod_is_not_asked() {
    check_foreign("0.0.0.0:9100@!", FOREIGN);
    check_foreign("0.0.0.0:9100@?", &FOREIGN.replace(" of pod uid other", ""));
}

#[test]
fn a_socket_that_is_held_from_outside_as_well_is_not_asked() {
    check_state(&["0.0.0.0:9100@cart+cart"], "127.0.0.1:9100");
    for listener in ["0.0.0.0:9100@cart+!", "0.0.0.0:9100@!+cart"] {
        check_foreign(listener, FOREIGN);
    }
}

#[test]
fn an_ambient_proxy_in_the_namespace_is_not_the_pods() {
    // ztunnel, of its own pod, makes and holds these sockets in the namespace of every pod.
    let ztunnel = ["0.0.0.0:15001@!", "[::]:15006@!", "[::]:15008@!", "0.0.0.0:9100@cart"];
    for port in ["15001", "15006", "15008"] {
        let expected = format!("/{port} http://:{port}/metrics {BY_PORT}: {FOREIGN}");
        check(&mk_pod(&[SCRAPE, ("port", port)], &["cart"]), &ztunnel, &[&expected]);
    }
    let expected = format!("cart/9100 http://:9100/metrics {BY_PORT}: 127.0.0.1:9100");
    check(&mk_pod(&[SCRAPE, ("port", "9100")], &["cart"]), &ztunnel, &[&expected]);
}

#[test]
fn on_the_host_only_what_the_pod_alone_holds_is_its_own() {
    let pod = mk_pod(&[SCRAPE, ("port", "9100")], &["cart"]);
    let owner: PodUid = UID.parse().unwrap();
    for (listeners, expected) in [
        (&["0.0.0.0:9100@cart"][..], "127.0.0.1:9100"),
        (&["0.0.0.0:9100@cart+cart", "127.0.0.1:9101@!"], "127.0.0.1:9100"),
        (&["0.0.0.0:9100@?"], "the socket is held by process 77"),
        (&["0.0.0.0:9100@cart+!"], "the socket is held by process 77"),
        (&["0.0.0.0:9100@cart", "[::1]:9100@!"], "the socket is held by process 77"),
        (&["0.0.0.0:9100@"], "no process is seen to hold the socket"),
        (&["0.0.0.0:9100@cart", "[::1]:9100@"], "no process is seen to hold the socket"),
        (&[], "pending"),
    ] {
        let listeners: Vec<Listener> = listeners.iter().map(|text| mk_listener(text)).collect();
        let listeners: Vec<&Listener> = listeners.iter().collect();
        let plan = plan_on_host(&pod, &listeners, owner);
        assert_eq!(plan.sources[0].owner, Some(owner));
        let [shown] = &shown(&plan)[..] else { panic!("one source") };
        assert!(shown.contains(&format!(": {expected}")), "{shown}");
    }
}

#[test]
fn a_socket_that_nobody_is_seen_to_hold_is_nobodys() {
    let refused = "no process is seen to hold the socket, so it may be anybody's";
    check_state(&["0.0.0.0:9100@"], refused);
    check_state(&["0.0.0.0:9100@cart", "[::1]:9100@"], refused);
}

#[test]
fn no_pod_has_more_than_eight_sources() {
    let ports: String =
        (1..=10).fold(String::from("cart"), |all, port| format!("{all}:{port}=a{port}-metrics"));
    let plan = plan(&mk_pod(&[SCRAPE], &[&ports, "istio-proxy"]), &[]);
    assert_eq!(plan.sources.len(), MAX_SOURCES);
    assert_eq!(plan.notes, [Note::TooMany { left_out: 3 }]);
}

#[test]
fn a_hostile_annotation_is_refused_by_name_or_asks_for_the_pods_own_port() {
    let hostile = hostile::annotations();
    assert!(hostile.len() >= 200);
    let listeners = ["0.0.0.0:8080@cart", "0.0.0.0:15090@istio-proxy", "10.0.0.7:8081@cart"];
    let listeners = listeners.map(mk_listener);
    let listeners = listeners.each_ref();
    let own = ["127.0.0.1:8080", "127.0.0.1:15090", "10.0.0.7:8081"].map(|a| a.parse().unwrap());
    for (is_refused, name, value) in &hostile {
        let asked = BTreeMap::from([("scrape", "true"), ("port", "8080"), (name, value)]);
        let asked: Vec<_> = asked.into_iter().collect();
        let plan = plan(&mk_pod(&asked, &["cart", "istio-proxy"]), &listeners);
        let case = format!("{name}: {}: {:?}", value.escape_default(), shown(&plan));
        let (proxys, asked): (Vec<_>, Vec<_>) =
            plan.sources.iter().partition(|source| matches!(source.reason, Reason::Sidecar(_)));
        assert_eq!(proxys.len(), 1, "{case}");
        for source in proxys.iter().chain(&asked) {
            let State::Ready(addresses) = &source.state else { continue };
            assert!(addresses.iter().all(|address| own.contains(address)), "{case}");
            let is_sound = source.path.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(is_sound && source.path.starts_with('/'), "{case}");
        }
        // Whatever is not asked has its reason, in one line that names annotation and value.
        assert_eq!(asked.is_empty(), !plan.notes.is_empty(), "{case}");
        assert!(asked.is_empty() || !is_refused, "{case}");
        let begin: String = value.chars().take(40).flat_map(char::escape_default).collect();
        for note in &plan.notes {
            let note = note.to_string();
            assert!(note.starts_with(&format!("annotation prometheus.io/{name}: ")), "{case}");
            assert!(note.contains(&begin) && note.len() < 600, "{case}");
            assert!(!note.contains(char::is_control), "{case}");
        }
    }
}

#[test]
fn a_port_of_any_meshs_proxy_is_refused_by_name_where_that_proxy_is() {
    let reserved = [
        ("istio-proxy", &[15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090][..]),
        ("linkerd-proxy", &[4140, 4143, 4190]),
        ("consul-dataplane", &[15001, 19000, 20000, 20100, 20101]),
        ("kuma-sidecar", &[9901, 9902, 15001, 15006, 15053]),
        ("daprd", &[3500, 50001]),
        ("envoy", &[15000, 15001, 15003]),
    ];
    for (proxy, ports) in reserved {
        for port in ports {
            let port = port.to_string();
            let listener = format!("0.0.0.0:{port}@{proxy}");
            let plan = plan(
                &mk_pod(&[SCRAPE, ("port", &port)], &["cart", proxy]),
                &[&mk_listener(&listener)],
            );
            let note = format!("annotation prometheus.io/port: {port} is a port of ");
            let notes = plan.notes.iter().filter(|found| found.to_string().starts_with(&note));
            assert_eq!(notes.count(), 1, "{port} of {proxy}");
            let is_asked = |source: &Source| matches!(source.reason, Reason::Annotation(_));
            assert!(!plan.sources.iter().any(is_asked), "{port} of {proxy}");
        }
    }
}
