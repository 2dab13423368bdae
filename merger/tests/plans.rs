//! Pod in, listeners in; sources and reasons out: the rows of `testdata/plan/*.txt`.
//!
//! A row is a title, a pod as short as it can be said, and behind `=>` what is planned. It goes
//! through a manifest, as a pod does. After a change on purpose: `UPDATE_GOLDEN=1 cargo test --test
//! plans`, and read the diff; a new row begins without its last lines.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    collections::BTreeMap,
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
    let mut lines = Vec::new();
    if pod.ended {
        lines.push("ended".to_owned());
    }
    let listeners: Vec<&Listener> = listeners.iter().collect();
    lines.extend(shown(&rules.plan(&pod, &listeners, owner, &Probed::default())));
    Ok(lines)
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
