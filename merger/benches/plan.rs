//! What it takes to plan a node: the targets of 500 pods that were applied at once, and what pods take that
//! write as much as the API server lets them.
//!
//! `cargo bench --bench plan`. It prints a line for each and judges it, and always succeeds: speed is not
//! tested.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use merger::{
    identity::{Cookie, Process},
    inventory,
    node::Snapshot,
    pods::Known,
    target::{
        Container, Holder, Listener, Pod, PodRef, Port, annotations,
        plan::{Probed, Rules},
    },
};

const N_PODS: u64 = 500;
const N_ROUNDS: usize = 21;

/// What the project promises of both.
const TIME: Duration = Duration::from_millis(50);
const MEMORY: usize = 64 << 20;

/// The bytes of all annotations of a pod that the API server takes.
const LARGEST: usize = 256 << 10;

/// Where the application of a pod listens, and where its sidecar does.
const PORTS: [(u16, &str); 5] =
    [(8080, APP), (9100, APP), (15006, SIDECAR), (15020, SIDECAR), (15090, SIDECAR)];
const APP: &str = "0123456789ab";
const SIDECAR: &str = "ba9876543210";

fn main() {
    let snapshot = mk_snapshot();
    let before = resident();
    let hostile = mk_known(mk_hostile);
    let kept = resident().saturating_sub(before);
    let targets = plan("pods with 256 KiB of annotations", &snapshot, &hostile);
    let held = resident().saturating_sub(before);
    judge(&format!("{N_PODS} pods with 256 KiB of annotations, kept"), kept);
    judge("the same with their targets", held);
    drop((hostile, targets));
    plan("meshed pods", &snapshot, &mk_known(mk_annotations));
}

/// Plans the node as often as it takes for a median, and gives the targets.
fn plan(what: &str, snapshot: &Snapshot, known: &Known) -> inventory::Targets {
    let (rules, probed) = (Rules::default(), Probed::default());
    let targets = || inventory::targets(known, snapshot, "node", false, &rules, &probed);
    let mut rounds: Vec<Duration> = (0..N_ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(targets());
            start.elapsed()
        })
        .collect();
    rounds.sort();
    let targets = targets();
    let n_sources: usize = targets.values().map(|target| target.plan.sources.len()).sum();
    let (median, longest) = (rounds[N_ROUNDS / 2], rounds[N_ROUNDS - 1]);
    let holds = if median <= TIME { "holds" } else { "DOES NOT HOLD" };
    println!(
        "{N_PODS} {what}, {n_sources} sources: median {median:.1?}, longest {longest:.1?}, promise \
         {TIME:?}: {holds}"
    );
    targets
}

fn judge(what: &str, n_bytes: usize) {
    let holds = if n_bytes <= MEMORY { "holds" } else { "DOES NOT HOLD" };
    println!("{what}: {:.1} MiB, promise {} MiB: {holds}", mib(n_bytes), MEMORY >> 20);
}

#[expect(clippy::cast_precision_loss, reason = "no process has so much that it mattered")]
fn mib(n_bytes: usize) -> f64 {
    n_bytes as f64 / f64::from(1 << 20)
}

/// The resident memory of this process, in bytes. Zero where the kernel does not say it.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    kib.unwrap_or_default() << 10
}

fn uid(pod: u64) -> String {
    format!("6d657267-6572-4000-a000-{pod:012}")
}

fn mk_known(annotations: impl Fn(u64) -> BTreeMap<String, String>) -> Known {
    let pods = (0..N_PODS).map(|n| Arc::new(mk_pod(n, annotations(n)))).collect();
    Known { pods, ..Known::default() }
}

/// As a source of pods keeps it.
fn mk_pod(n: u64, annotations: BTreeMap<String, String>) -> Pod {
    let container = |(name, id, ports, env): (&str, &str, &[(&str, u16)], _)| Container {
        name: name.to_owned(),
        id: Some(id.to_owned()),
        ports: ports.iter().filter_map(mk_port).collect(),
        env,
    };
    let original = r#"{"scrape":"true","path":"/manage/prometheus","port":"8080"}"#;
    let env = BTreeMap::from([("ISTIO_PROMETHEUS_ANNOTATIONS".to_owned(), original.to_owned())]);
    let containers = [
        ("app", APP, &[("http", 8080), ("metrics", 9100)][..], BTreeMap::new()),
        ("istio-proxy", SIDECAR, &[("http-envoy-prom", 15090)], env),
    ];
    Pod {
        name: PodRef { namespace: format!("ns{}", n % 20), name: format!("pod-{n}") },
        uid: uid(n),
        node: Some("node".to_owned()),
        annotations: annotations::pruned(annotations),
        containers: containers.map(container).into(),
        monitored: merger::target::monitor::Monitored::default(),
        ended: false,
    }
}

fn mk_port(&(name, number): &(&str, u16)) -> Option<Port> {
    Some(Port { name: Some(name.to_owned()), number: number.try_into().ok()? })
}

fn mk_annotations(_: u64) -> BTreeMap<String, String> {
    let said = [
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "15020"),
        ("prometheus.io/path", "/stats/prometheus"),
        ("prometheus.istio.io/scrape-targets", "9100:/metrics"),
        ("sidecar.istio.io/status", "{}"),
        ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
    ];
    said.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// A quarter in one value that is read, a quarter in values that are not, and half in many small ones, each
/// wrong in its own way.
fn mk_hostile(n: u64) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        ("prometheus.io/scrape".to_owned(), "true".to_owned()),
        ("prometheus.istio.io/scrape-targets".to_owned(), "8080,".repeat(LARGEST / 20)),
        ("example.com/padding".to_owned(), "x".repeat(LARGEST / 4)),
    ]);
    let mut n_bytes = LARGEST / 2;
    for at in 0.. {
        let (name, value) = (format!("merger.io/{at}"), format!("http://:{n}{at}//host"));
        n_bytes = n_bytes.saturating_sub(name.len() + value.len());
        if n_bytes == 0 {
            break;
        }
        annotations.insert(name, value);
    }
    annotations
}

fn mk_snapshot() -> Snapshot {
    let cgroup = |pod: u64, id: &str| -> Arc<str> {
        format!("/kubepods/burstable/pod{}/{id}", uid(pod)).into()
    };
    let pid = |pod: u64, at: u32| u32::try_from(pod).unwrap_or_default() * 10 + 100 + at;
    let netns = |pod: u64| Cookie(pod + 2);
    let process = |pod: u64| {
        let pid = pid(pod, 0);
        Process { pid, started: u64::from(pid), netns: netns(pod), cgroup: cgroup(pod, APP) }
    };
    let listener = |pod: u64, (port, id): (u16, &str)| Listener {
        netns: netns(pod),
        address: [0, 0, 0, 0].into(),
        port: port.try_into().ok().unwrap_or(std::num::NonZeroU16::MIN),
        holders: vec![Holder { pid: pid(pod, 1), cgroup: cgroup(pod, id) }],
        doubt: None,
    };
    let listeners = (0..N_PODS).flat_map(|pod| PORTS.map(|port| listener(pod, port))).collect();
    Snapshot { host: Cookie(1), processes: (0..N_PODS).map(process).collect(), listeners }
}
