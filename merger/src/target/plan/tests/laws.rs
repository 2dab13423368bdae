//! What holds of every plan, shown on many pods that are put together by chance.

use std::{collections::HashSet, sync::LazyLock};

use super::*;
use crate::target::{
    annotations::istio,
    monitor::{self, Monitored, Port, Unmet},
};

/// Annotations that ask for applications' endpoints, well and badly.
const ASKING: [(&str, &str); 26] = [
    ("prometheus.io/scrape", "true"),
    ("prometheus.io/port", "8080"),
    ("prometheus-io/port", "9100"),
    ("prometheus.io.port", "15090"),
    ("prometheus.io/path", "/stats/prometheus"),
    ("prometheus.io/path", "/a b"),
    ("prometheus.io/scheme", "https"),
    ("prometheus.io/scheme", "ftp"),
    ("prometheus.io/param_x", "1"),
    ("prometheus.io/scrape-slow", "true"),
    ("prometheus.istio.io/scrape-targets", "8080,9100:/b,15020,x,4191,9090:/"),
    ("consul.hashicorp.com/service-metrics-port", "8080"),
    ("consul.hashicorp.com/service-metrics-port", "20200"),
    ("prometheus.metrics.kuma.io/aggregate-a-port", "9100"),
    ("prometheus.metrics.kuma.io/aggregate-b-port", "5670"),
    ("prometheus.metrics.kuma.io/aggregate-b-path", "//"),
    ("io.opentelemetry.discovery.metrics/enabled", "true"),
    ("io.opentelemetry.discovery.metrics/scraper", "prometheus_simple"),
    ("io.opentelemetry.discovery.metrics.9901/enabled", "true"),
    ("io.opentelemetry.discovery.metrics.19000/enabled", "yes"),
    ("coroot.com/scrape-metrics", "true"),
    ("coroot.com/metrics-port", "9100"),
    ("merger.io/endpoints", "https://:8080/x, :9100, :1, :2, :3, :4, :5, :6, :7, :8, :15000"),
    ("istio-proxy.merger.io/endpoints", ":15021"),
    ("nobody.merger.io/endpoints", ":1"),
    ("merger.io/probe", "true"),
];

const APPLICATIONS: [&str; 3] = ["cart:8080=http:9100=metrics", "exporter:9100=metrics", "other"];

const PROXIES: [&str; 6] = [
    "istio-proxy:15020:15090=http-envoy-prom",
    "linkerd-proxy:4191=linkerd-admin",
    "consul-dataplane",
    "kuma-sidecar",
    "daprd",
    "envoy",
];

const PORTS: [u16; 14] =
    [1, 8080, 9100, 9090, 4191, 4143, 5670, 9901, 15000, 15020, 15090, 19000, 20101, 20200];

/// What `PodMonitor`s ask for, well and badly: ports and paths.
fn mk_monitored(chance: &mut Chance) -> Monitored {
    let ports = [
        Port::Each,
        Port::Name("metrics".to_owned()),
        Port::Name("a|b".to_owned()),
        Port::Number(8080),
        Port::Number(9100),
        Port::Number(15020),
        Port::Number(15090),
        Port::Number(4191),
        Port::Number(70000),
    ];
    let paths = ["", "/stats/prometheus", "/b", "/a b"];
    let ports = ports.into_iter().filter(|_| chance.below(5) == 0).collect::<Vec<_>>();
    let endpoint = |port| {
        let unmet = (chance.below(5) == 0).then_some(Unmet::BasicAuth);
        let (path, chooses) = (paths[chance.below(4)].to_owned(), chance.below(5) == 0);
        let monitor = "shop/monitor".to_owned();
        let rest = monitor::Endpoint::default();
        monitor::Endpoint { monitor, port, path, unmet, chooses, ..rest }.into()
    };
    Monitored { endpoints: ports.into_iter().map(endpoint).collect(), left_out: 0 }
}

/// A generator of numbers, the same in each run.
struct Chance(u64);

// === impl Chance ===

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn some<T: Copy>(&mut self, of: &[T], one_in: usize) -> Vec<T> {
        of.iter().copied().filter(|_| self.below(one_in) == 0).collect()
    }
}

fn mk_any(chance: &mut Chance) -> (Pod, Vec<Listener>) {
    let mut names = chance.some(&APPLICATIONS, 2);
    names.extend(chance.some(&PROXIES, 3));
    let mut pod = mk_pod(&[], &names);
    let asking = chance.some(&ASKING, 3).into_iter();
    pod.annotations.extend(asking.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for container in &mut pod.containers {
        if chance.below(2) == 0 {
            let originals =
                r#"{"port":"9100","targets":[{"port":8080,"path":"/metrics"},{"port":15020}]}"#;
            container.env.insert(istio::ORIGINALS.to_owned(), originals.to_owned());
        }
    }
    pod.monitored = mk_monitored(chance);
    let mut listeners = Vec::new();
    for port in chance.some(&PORTS, 2) {
        let address = ["0.0.0.0", "127.0.0.1", "[::]", "10.0.0.7", "127.0.0.2"][chance.below(5)];
        let holder = names.get(chance.below(names.len() + 2)).copied().unwrap_or("!");
        let holder = holder.split(':').next().unwrap();
        listeners.push(mk_listener(&format!("{address}:{port}@{holder}")));
    }
    (pod, listeners)
}

fn planned(pod: &Pod, listeners: &[Listener]) -> Plan {
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::default);
    RULES.plan(pod, &listeners.iter().collect::<Vec<_>>(), None, &Probed::default())
}

fn check_each(law: impl Fn(&Pod, &[Listener], &Plan)) {
    let mut chance = Chance(5);
    for _ in 0..1000 {
        let (pod, listeners) = mk_any(&mut chance);
        law(&pod, &listeners, &planned(&pod, &listeners));
    }
}

#[test]
fn no_page_is_read_twice_and_no_two_sources_have_one_name() {
    check_each(|pod, _, plan| {
        let pages: HashSet<_> = plan.sources.iter().map(|s| (s.port, &s.path)).collect();
        assert_eq!(pages.len(), plan.sources.len(), "{pod:#?}");
        let names: HashSet<_> = plan.sources.iter().map(|s| (&s.container, &s.endpoint)).collect();
        assert_eq!(names.len(), plan.sources.len(), "{pod:#?}");
    });
}

#[test]
fn a_proxys_port_is_only_ever_read_as_the_sidecars() {
    let meshes = Meshes::default();
    check_each(|pod, _, plan| {
        for source in &plan.sources {
            let is_its = |c: &Container| {
                meshes.profile(c).is_some_and(|p| p.reserved.contains(&source.port.get()))
            };
            let is_sidecars = matches!(source.reason, Reason::Sidecar(_));
            assert!(is_sidecars || !pod.containers.iter().any(is_its), "{source:?} of {pod:#?}");
        }
    });
}

#[test]
fn nothing_that_is_asked_of_an_application_costs_a_sidecar() {
    check_each(|pod, listeners, plan| {
        let sidecars = |plan: &Plan| -> Vec<Source> {
            let is_its = |source: &&Source| matches!(source.reason, Reason::Sidecar(_));
            plan.sources.iter().filter(is_its).cloned().collect()
        };
        let (annotations, monitored) = (BTreeMap::new(), Monitored::default());
        let silent = Pod { annotations, monitored, ..pod.clone() };
        assert_eq!(sidecars(plan), sidecars(&planned(&silent, listeners)), "{pod:#?}");
    });
}

#[test]
fn a_plan_has_its_limits_and_the_order_of_listeners_is_none_of_its_reasons() {
    check_each(|pod, listeners, plan| {
        assert!(plan.sources.len() <= MAX_SOURCES);
        assert!(plan.notes.len() <= MAX_NOTES + 1);
        assert!(!plan.sources.is_empty() || !plan.notes.is_empty(), "{pod:#?}");
        let reversed: Vec<Listener> = listeners.iter().rev().cloned().collect();
        assert_eq!(*plan, planned(pod, &reversed));
    });
}

#[test]
fn what_monitors_ask_of_a_pod_with_many_ports_has_its_limit() {
    let ports: Vec<String> = (1..=2000).map(|port| port.to_string()).collect();
    let mut pod = mk_pod(&[], &[&format!("cart:{}", ports.join(":"))]);
    let endpoint = |n| monitor::Endpoint { path: format!("/{n}"), ..monitor::Endpoint::default() };
    let endpoints = (0..monitor::MAX_ENDPOINTS).map(|n| endpoint(n).into()).collect();
    pod.monitored = Monitored { endpoints, left_out: 3 };
    let plan = planned(&pod, &[]);
    assert_eq!(plan.sources.len(), MAX_SOURCES);
    let left_out = 3 + (2000 - 64) + (monitor::MAX_ENDPOINTS - 1);
    assert_eq!(plan.notes, [Note::MonitorsLeftOut(left_out), Note::TooMany { left_out: 64 - 8 }]);
}

#[test]
fn a_monitor_of_all_ports_of_a_pod_leaves_their_turns_to_others() {
    let ports: Vec<String> = (1..=100).map(|port| port.to_string()).collect();
    let mut pod = mk_pod(&[], &[&format!("cart:{}", ports.join(":"))]);
    let endpoint = |monitor: &str, path: &str| {
        let (monitor, path) = (monitor.to_owned(), path.to_owned());
        monitor::Endpoint { monitor, path, ..monitor::Endpoint::default() }.into()
    };
    let endpoints =
        [("shop/own", "/own"), ("aaa/x", "/1"), ("monitoring/y", "/2"), ("aaa/x", "/3")];
    let endpoints = endpoints.map(|(monitor, path)| endpoint(monitor, path));
    let by = |endpoints: &[_], pod: &mut Pod| -> Vec<String> {
        pod.monitored = Monitored { endpoints: endpoints.to_vec(), left_out: 0 };
        let sources = planned(pod, &[]).sources;
        sources.iter().map(|s| format!("{} {}", s.reason, s.path)).collect()
    };
    // All of the ports are asked for by its own namespace, and by others there is nothing more.
    assert_eq!(by(&endpoints, &mut pod), ["the PodMonitor shop/own /own"; MAX_SOURCES]);
    let turns = ["the PodMonitor aaa/x /1", "the PodMonitor monitoring/y /2"];
    assert_eq!(by(&endpoints[1..], &mut pod), turns.repeat(MAX_SOURCES / 2));
}

#[test]
fn a_hostile_value_asks_for_the_pods_own_ports_in_every_set_or_is_refused_by_name() {
    let own = ["127.0.0.1:8080", "127.0.0.1:15090", "10.0.0.7:8081"].map(|a| a.parse().unwrap());
    let listeners = ["0.0.0.0:8080@cart", "0.0.0.0:15090@istio-proxy", "10.0.0.7:8081@cart"];
    let listeners = listeners.map(mk_listener);
    for (_, name, value) in &hostile::annotations() {
        let sets = match *name {
            "port" => vec![
                ("prometheus.istio.io/scrape-targets", value.clone()),
                ("consul.hashicorp.com/service-metrics-port", value.clone()),
                ("prometheus.metrics.kuma.io/aggregate-a-port", value.clone()),
                ("merger.io/endpoints", format!("http://:{value}/metrics")),
                ("merger.io/endpoints", value.clone()),
            ],
            "path" => vec![
                ("prometheus.istio.io/scrape-targets", format!("8080:{value}")),
                ("merger.io/endpoints", format!("http://:8080{value}")),
            ],
            _ => vec![],
        };
        for (annotation, value) in sets {
            let mut pod = mk_pod(&[], &["cart", "istio-proxy"]);
            pod.annotations.insert(annotation.to_owned(), value.clone());
            let plan = planned(&pod, &listeners);
            let case = format!("{annotation}: {}: {:?}", value.escape_default(), shown(&plan));
            assert!(plan.sources.iter().any(|s| matches!(s.reason, Reason::Sidecar(_))), "{case}");
            for source in &plan.sources {
                let State::Ready(addresses) = &source.state else { continue };
                assert!(addresses.iter().all(|address| own.contains(address)), "{case}");
                let is_sound = source.path.bytes().all(|byte| byte.is_ascii_graphic());
                assert!(is_sound && source.path.starts_with('/'), "{case}");
                let mut segments = source.path.split(['/', '?', ';']);
                assert!(!segments.any(|s| s.eq_ignore_ascii_case("quitquitquit")), "{case}");
            }
            for note in plan.notes.iter().map(ToString::to_string) {
                assert!(note.starts_with(&format!("annotation {annotation}: ")), "{case}");
                assert!(note.len() < 600 && !note.contains(char::is_control), "{case}");
            }
        }
    }
}
