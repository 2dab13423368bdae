//! Pod in, listeners in; sources and reasons out: the rows of `testdata/plan/*.txt`.
//!
//! A row is a title, a pod as short as it can be said, and behind `=>` what is planned. It goes
//! through a manifest, as a pod does. After a change on purpose: `UPDATE_GOLDEN=1 cargo test --test
//! plans`, and read the diff; a new row begins without its last lines.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use merger::{
    identity::Cookie,
    pods::{
        manifests,
        monitor::{self, Monitor},
    },
    target::{
        Holder, Listener, Pod, Source, State,
        mesh::{Meshes, Profile},
        plan::{Plan, Probed, Rules},
        secret::Rule,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

const UID: &str = "11111111-2222-3333-4444-555555555555";

/// A pod. Containers are `name[:port[=name]]…`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Row {
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// `PodMonitor`s: the spec of each by its namespace and name.
    monitors: BTreeMap<String, Value>,
    containers: Vec<String>,
    /// Init containers that restart always.
    sidecars: Vec<String>,
    /// Init containers that run now.
    init: Vec<String>,
    /// Init containers that have ended.
    done: Vec<String>,
    /// Ephemeral containers that run now.
    ephemeral: Vec<String>,
    /// The environment of containers.
    env: BTreeMap<String, BTreeMap<String, String>>,
    /// `address:port@container+container`, `!` for a holder in another pod, `@` alone for none.
    listen: String,
    /// Whether it is being deleted.
    deleting: bool,
    phase: Option<String>,
    /// Whether it is in the host's network namespace.
    host: bool,
    /// Profiles of the settings.
    meshes: Vec<Profile>,
    /// Queries of the settings.
    mesh_queries: BTreeMap<String, String>,
    /// Meshes of the settings whose agents are asked for what is their own.
    mesh_agents: Vec<String>,
    /// The namespaces of which a pod may name a Secret, by the settings; where that is `none`, pods come
    /// from where there are no Secrets.
    secrets: Vec<String>,
}

/// What pods say to be scraped, by every mesh and convention that is known, and what says how a mesh is to be
/// read. Behind a `*` stands what differs from pod to pod.
const ANNOTATIONS: [&str; 46] = [
    "prometheus.io/scrape",
    "prometheus.io/scrape-slow",
    "prometheus.io/scheme",
    "prometheus.io/path",
    "prometheus.io/port",
    "prometheus.io/param_*",
    "prometheus.io/probe",
    "prometheus-io/port",
    "prometheus.istio.io/merge-metrics",
    "prometheus.istio.io/scrape-targets",
    "prometheus.istio.io/secure-port",
    "prometheus.istio.io/secure-envoy-port",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "consul.hashicorp.com/enable-metrics",
    "consul.hashicorp.com/enable-metrics-merging",
    "consul.hashicorp.com/merged-metrics-port",
    "consul.hashicorp.com/prometheus-scrape-port",
    "consul.hashicorp.com/prometheus-scrape-path",
    "consul.hashicorp.com/service-metrics-port",
    "consul.hashicorp.com/service-metrics-path",
    "consul.hashicorp.com/prometheus-ca-file",
    "consul.hashicorp.com/prometheus-ca-path",
    "consul.hashicorp.com/prometheus-cert-file",
    "consul.hashicorp.com/prometheus-key-file",
    "consul.hashicorp.com/transparent-proxy",
    "consul.hashicorp.com/transparent-proxy-status",
    "prometheus.metrics.kuma.io/port",
    "prometheus.metrics.kuma.io/path",
    "prometheus.metrics.kuma.io/aggregate-*-port",
    "prometheus.metrics.kuma.io/aggregate-*-path",
    "prometheus.metrics.kuma.io/aggregate-*-address",
    "prometheus.metrics.kuma.io/aggregate-*-enabled",
    "dapr.io/enabled",
    "dapr.io/enable-metrics",
    "dapr.io/metrics-port",
    "io.opentelemetry.discovery.metrics/enabled",
    "io.opentelemetry.discovery.metrics.*/scraper",
    "io.opentelemetry.discovery.metrics.*/config",
    "coroot.com/scrape-metrics",
    "coroot.com/metrics-port",
    "coroot.com/metrics-path",
    "coroot.com/metrics-scheme",
    "merger.io/endpoints",
];

const LABELS: [&str; 2] = ["istio-prometheus-ignore", "linkerd.io/control-plane-ns"];

/// The containers of meshes: sidecars, what goes before them, and their own pods.
const CONTAINERS: [&str; 18] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "discovery",
    "install-cni",
    "linkerd-proxy",
    "linkerd-init",
    "consul-dataplane",
    "kuma-sidecar",
    "kuma-init",
    "daprd",
    "envoy",
    "proxyinit",
    "osm-init",
    "cilium-agent",
    "cilium-envoy",
    "cilium-operator",
    "nginx-mesh-sidecar",
];

/// The ports that these have metrics at.
const PORTS: [u16; 18] = [
    15020, 15090, 15014, 4191, 20100, 20101, 20200, 19000, 5670, 9901, 9090, 15010, 9962, 9963,
    9964, 9965, 20300, 20400,
];

#[test]
fn every_row_is_planned_as_it_says() {
    let mut n_rows = 0;
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let (head, rows) = text.split_once("\n## ").unwrap();
        let mut found = head.to_owned();
        for row in rows.split("\n## ") {
            n_rows += 1;
            let (title, row) = row.split_once('\n').unwrap();
            let is_expected = |line: &&str| line.starts_with("=>");
            let lines = row.trim_end().lines().filter(|line| !is_expected(line));
            let pod = lines.collect::<Vec<_>>().join("\n");
            write!(found, "\n## {title}\n{pod}\n").unwrap();
            for line in planned(&pod).unwrap_or_else(|error| panic!("{title}: {error}")) {
                writeln!(found, "=> {line}").unwrap();
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &found).unwrap();
        } else {
            let differs = text.lines().zip(found.lines()).find(|(text, found)| text != found);
            assert!(text == found, "{}: {differs:?}", file.display());
        }
    }
    assert!(n_rows >= 120, "{n_rows} rows");
}

#[test]
fn every_annotation_and_every_mesh_is_among_the_rows() {
    let rows = rows();
    let all = |names: fn(&Row) -> Vec<&String>| -> Vec<&str> {
        rows.iter().flat_map(names).map(String::as_str).collect()
    };
    let is_like = |name: &str, pattern: &str| match pattern.split_once('*') {
        Some((begin, end)) => {
            name.len() > begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
        None => name == pattern,
    };
    let annotations = all(|row| row.annotations.keys().collect());
    let labels = all(|row| row.labels.keys().collect());
    let listed = |of: &[&'static str], said: &[&str]| -> Vec<&'static str> {
        of.iter().copied().filter(|one| !said.iter().any(|name| is_like(name, one))).collect()
    };
    assert_eq!(listed(&ANNOTATIONS, &annotations), [""; 0]);
    assert_eq!(listed(&LABELS, &labels), [""; 0]);
    let containers = all(|row| {
        let Row { containers, sidecars, init, done, ephemeral, .. } = row;
        [containers, sidecars, init, done, ephemeral].into_iter().flatten().collect()
    });
    let containers: Vec<&str> =
        containers.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(listed(&CONTAINERS, &containers), [""; 0]);
    let listeners = all(|row| vec![&row.listen]);
    let listeners = listeners.iter().flat_map(|text| text.split_whitespace()).map(listener);
    let listening: BTreeSet<u16> = listeners.map(|listener| listener.port.get()).collect();
    assert_eq!(
        PORTS.into_iter().filter(|port| !listening.contains(port)).collect::<Vec<_>>(),
        [0; 0]
    );

    let texts: Vec<String> = files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for profile in Meshes::default().profiles() {
        let read = format!("by the sidecar of {}: ", profile.mesh);
        assert!(texts.iter().any(|text| text.contains(&read)), "{read}");
    }
}

#[test]
fn no_reserved_port_is_an_applications() {
    for profile in Meshes::default().profiles() {
        let Profile { mesh, container, declares, reserved, .. } = profile;
        for port in reserved {
            let declared = declares.as_ref().map(|name| format!(":1={name}")).unwrap_or_default();
            let row = format!(
                "annotations: {{prometheus.io/scrape: \"true\", prometheus.io/port: \"{port}\", \
                 prometheus.io/path: /page}}\n\
                 containers: [cart, \"{container}{declared}\"]\n\
                 listen: 0.0.0.0:{port}@{container}"
            );
            let lines = planned(&row).unwrap();
            let refused = format!("{port} is a port of {mesh}'s proxy");
            assert!(lines.iter().any(|line| line.contains(&refused)), "{refused}: {lines:?}");
            assert!(!lines.iter().any(|line| line.contains("/page")), "{lines:?}");
        }
    }
}

/// All rows, without what is expected of them.
fn rows() -> Vec<Row> {
    let texts: Vec<String> = files().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let rows = texts.iter().flat_map(|text| text.split("\n## ").skip(1));
    let pod = |row: &str| {
        let lines = row.lines().skip(1).filter(|line| !line.starts_with("=>"));
        serde_saphyr::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
    };
    rows.map(pod).collect()
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plan");
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn planned(row: &str) -> Result<Vec<String>, String> {
    let row: Row = serde_saphyr::from_str(row).map_err(|error| error.to_string())?;
    let pod = pod(&row);
    let listeners: Vec<Listener> = row.listen.split_whitespace().map(listener).collect();
    let meshes = Meshes::with(row.meshes, &row.mesh_queries, &row.mesh_agents)
        .map_err(|error| error.to_string())?;
    let secrets = match row.secrets.as_slice() {
        [one] if one == "none" => Rule::Nowhere,
        namespaces => Rule::Of(namespaces.iter().cloned().collect()),
    };
    let rules = Rules { meshes, secrets, ..Rules::default() };
    let owner = row.host.then(|| UID.parse().unwrap());
    if pod.ended {
        // Nobody plans it, and of what it asked for nothing is kept.
        return Ok(vec!["ended".to_owned()]);
    }
    let listeners: Vec<&Listener> = listeners.iter().collect();
    Ok(shown(&rules.plan(&pod, &listeners, owner, &Probed::default())))
}

/// By way of a manifest, and of the JSON of each monitor.
fn pod(row: &Row) -> Pod {
    let spec = |text: &String| {
        let mut words = text.split(':');
        let name = words.next().unwrap();
        let ports = words.map(|word| match word.split_once('=') {
            Some((port, name)) => json!({"containerPort": number(port), "name": name}),
            None => json!({"containerPort": number(word)}),
        });
        let env = row.env.get(name).into_iter().flatten();
        let env = env.map(|(name, value)| json!({"name": name, "value": value}));
        json!({"name": name, "ports": ports.collect::<Vec<_>>(), "env": env.collect::<Vec<_>>()})
    };
    let all = |texts: &[String]| texts.iter().map(spec).collect::<Vec<_>>();
    let status = |state: Value| {
        move |spec: Value| {
            let name = spec["name"].as_str().unwrap().to_owned();
            let id = format!("containerd://{}", container_id(&name));
            json!({"name": name, "containerID": id, "state": state})
        }
    };
    let running = |texts: &[String]| {
        all(texts).into_iter().map(status(json!({"running": {}}))).collect::<Vec<_>>()
    };
    let sidecars = all(&row.sidecars).into_iter().map(|mut spec| {
        spec["restartPolicy"] = json!("Always");
        spec
    });
    let init: Vec<_> = sidecars.chain(all(&row.init)).chain(all(&row.done)).collect();
    let ended = all(&row.done).into_iter().map(status(json!({"terminated": {"exitCode": 0}})));
    let init_statuses: Vec<_> =
        running(&row.sidecars).into_iter().chain(running(&row.init)).chain(ended).collect();
    let manifest = json!({
        "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": "cart", "uid": UID, "annotations": row.annotations,
            "deletionTimestamp": row.deleting.then_some("2026-11-28T00:00:00Z"),
        },
        "spec": {
            "containers": all(&row.containers),
            "initContainers": init,
            "ephemeralContainers": all(&row.ephemeral),
        },
        "status": {
            "phase": row.phase.as_deref().unwrap_or("Running"),
            "containerStatuses": running(&row.containers),
            "initContainerStatuses": init_statuses,
            "ephemeralContainerStatuses": running(&row.ephemeral),
        },
    });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pod.json"), manifest.to_string()).unwrap();
    let known = manifests::read(directory.path()).unwrap();
    assert!(known.problems.is_empty(), "{:?}", known.problems);
    let monitors = row.monitors.iter().map(|(name, spec)| {
        let (namespace, name) = name.split_once('/').unwrap();
        let metadata = json!({"namespace": namespace, "name": name});
        Monitor::read(&json!({"metadata": metadata, "spec": spec}).to_string()).unwrap()
    });
    let monitors: Vec<Monitor> = monitors.collect();
    let monitored = monitor::monitored(&monitors, "shop", &row.labels);
    Pod { monitored, ..(*known.pods[0]).clone() }
}

fn number(port: &str) -> u16 {
    port.parse().unwrap()
}

/// Hex digits that are the container's alone.
fn container_id(name: &str) -> String {
    let hex = name.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    format!("{hex:0<64.64}")
}

fn listener(text: &str) -> Listener {
    let (socket, holders) = text.split_once('@').unwrap();
    let socket: SocketAddr = socket.parse().unwrap();
    let cgroup = |name: &str| match name {
        "!" => format!("/kubepods/burstable/podother/{}", container_id("other")).into(),
        name => format!("/kubepods/burstable/pod{UID}/{}", container_id(name)).into(),
    };
    let holders = holders.split('+').filter(|holder| !holder.is_empty());
    let holders = holders.map(|holder| Holder { pid: 77, cgroup: cgroup(holder) }).collect();
    Listener {
        netns: Cookie(7),
        address: socket.ip(),
        port: socket.port().try_into().unwrap(),
        holders,
        doubt: None,
    }
}

/// Sources, then notes behind `!`, then what is to be probed behind `?`.
fn shown(plan: &Plan) -> Vec<String> {
    let source = |source: &Source| {
        let Source {
            container,
            endpoint,
            port,
            scheme,
            path,
            reason,
            state,
            owner: _,
            secret,
            only,
        } = source;
        let state = match state {
            State::Ready(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                addresses.join(" ")
            }
            State::Pending => "pending".to_owned(),
            State::Refused(refusal) => format!("refused, {refusal}"),
        };
        let secret =
            secret.as_ref().map(|secret| format!(" with Secret {secret}")).unwrap_or_default();
        let only = only.as_ref().map(|only| format!(" only {only}")).unwrap_or_default();
        format!(
            "{container}/{endpoint} {}://:{port}{path}{only} by {reason}{secret}: {state}",
            scheme.as_str()
        )
    };
    let Plan { sources, notes, probes } = plan;
    let notes = notes.iter().map(|note| format!("! {note}"));
    let probes = probes.iter().map(|probe| format!("? {}", source(probe)));
    sources.iter().map(source).chain(notes).chain(probes).collect()
}
