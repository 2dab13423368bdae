//! What the runtime says of sandboxes and containers, to pods.
//!
//! A sandbox that is ready is a pod: the kubelet stops that of a pod that has succeeded or failed, and
//! that of one that terminates when its last container has ended. Of containers the runtime does not say
//! which are init, sidecars or ephemeral, so those count that run or are about to. Nor does it hear of
//! annotations that are changed later: a sandbox keeps those that it was made with. It has labels as well,
//! which are not read: only `PodMonitor`s choose by them, and those are of another source.
//!
//! Sources in kubernetes/kubernetes: `pkg/kubelet/kuberuntime/labels.go` (annotations of containers),
//! `kuberuntime_sandbox.go` (what of a pod goes into its sandbox). What the runtimes say beyond the
//! interface: `ContainerInfo` in `pkg/cri/store` and `sbserver` of containerd, `server/container_status.go`
//! of CRI-O; both have the specification of OCI under `runtimeSpec`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, btree_map::Entry},
    num::NonZeroU16,
    sync::Arc,
};

use serde::Deserialize;

use super::api;
use crate::{
    pods::{
        Known, Problem,
        object::{self, MAX_KEPT},
    },
    target::{Container, Pod, PodRef, Port, annotations, mesh, monitor::Monitored},
};

/// The kubelet's annotation of a container with its ports, as JSON.
const PORTS: &str = "io.kubernetes.container.ports";

/// What is kept of a sandbox. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sandbox {
    name: PodRef,
    uid: String,
    /// In nanoseconds since 1970.
    created_at: i64,
    annotations: BTreeMap<String, String>,
}

/// What is kept of a container. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    container: Container,
    /// The bytes that it took when it was read.
    n_bytes: usize,
    /// Whether its ports and its environment were dropped, as its pod declares too much.
    is_cut: bool,
}

/// A container that runs or is about to, as the newest list has it.
pub(super) struct Listed<'a> {
    pub(super) sandbox: &'a str,
    pub(super) created_at: i64,
    pub(super) kept: &'a Kept,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PortSpec {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info<'a> {
    #[serde(borrow)]
    runtime_spec: Option<Spec<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow)]
    process: Option<Process<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process<'a> {
    /// Each as `NAME=value`. The values of secrets are among them: what is not asked for is dropped.
    #[serde(borrow)]
    env: Vec<Variable<'a>>,
}

/// Borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Variable<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a container runs, or is about to.
pub(super) fn is_live(container: &api::Container) -> bool {
    matches!(container.state, api::CONTAINER_CREATED | api::CONTAINER_RUNNING)
}

/// What is kept of a sandbox's status, or why it is no pod.
pub(super) fn sandbox(response: api::PodSandboxStatusResponse) -> Result<Sandbox, String> {
    let status = response.status.ok_or("the runtime says nothing of it")?;
    let api::PodSandboxStatus { metadata, created_at, annotations } = status;
    let api::PodSandboxMetadata { name, uid, namespace } = metadata.unwrap_or_default();
    if name.is_empty() || namespace.is_empty() || uid.is_empty() {
        return Err("has no name, namespace or uid: no kubelet has made it".to_owned());
    }
    let name = PodRef { namespace, name };
    Ok(Sandbox { name, uid, created_at, annotations: annotations::pruned(annotations) })
}

/// What is kept of a container's status, or why there is nothing to keep. The other containers of its pod
/// take `n_others` bytes already; beyond [`MAX_KEPT`] only that it is there is kept.
pub(super) fn container(
    id: &str,
    response: api::ContainerStatusResponse,
    n_others: usize,
) -> Result<Kept, String> {
    let api::ContainerStatusResponse { status, info } = response;
    let status = status.ok_or("the runtime says nothing of it")?;
    let name = status.metadata.unwrap_or_default().name;
    let ports = status.annotations.get(PORTS).map(|json| ports(json)).unwrap_or_default();
    let env = info.get("info").map(|json| environment(json)).unwrap_or_default();
    let container = Container { name, id: Some(id.to_owned()), ports, env };
    let n_bytes = object::kept(&container);
    if n_bytes.saturating_add(n_others) <= MAX_KEPT {
        return Ok(Kept { container, n_bytes, is_cut: false });
    }
    let container = Container { ports: Vec::new(), env: BTreeMap::new(), ..container };
    Ok(Kept { container, n_bytes, is_cut: true })
}

/// The bytes of these containers of one pod, where they are too many to be kept.
fn too_many_bytes<'a>(containers: impl Iterator<Item = &'a Kept>) -> Option<object::Error> {
    let (n_bytes, is_cut) = containers.fold((0, false), |(n_bytes, is_cut), kept| {
        (kept.n_bytes.saturating_add(n_bytes), is_cut || kept.is_cut)
    });
    (is_cut || n_bytes > MAX_KEPT).then_some(object::Error::TooMuch(n_bytes))
}

/// What cannot be read has no ports: the kubelet writes what the API server has checked.
fn ports(json: &str) -> Vec<Port> {
    let specs: Vec<PortSpec> = serde_json::from_str(json).unwrap_or_default();
    specs
        .into_iter()
        .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|PortSpec { name, container_port, protocol: _ }| {
            let name = name.filter(|name| !name.is_empty());
            Some(Port { name, number: NonZeroU16::new(container_port)? })
        })
        .collect()
}

/// Of a container's environment what is read. Some runtimes do not tell it.
fn environment(json: &str) -> BTreeMap<String, String> {
    let info: Info<'_> = serde_json::from_str(json).unwrap_or_default();
    let process = info.runtime_spec.and_then(|spec| spec.process).unwrap_or_default();
    let variables = process.env.iter().filter_map(|variable| variable.0.split_once('='));
    let read = variables.filter(|(name, _)| mesh::ENVIRONMENT.contains(name));
    annotations::cut(read.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The pods of these sandboxes, which are all ready. Of two of one pod, or of one name, the newer counts;
/// of two containers of one name as well.
pub(super) fn known<'a>(
    sandboxes: impl Iterator<Item = (&'a str, &'a Sandbox)>,
    listed: impl Iterator<Item = Listed<'a>>,
    mut problems: Vec<Problem>,
) -> Known {
    let mut sandboxes: Vec<_> = sandboxes.collect();
    sandboxes.sort_by_key(|(id, sandbox)| (std::cmp::Reverse(sandbox.created_at), *id));
    let mut containers: HashMap<&str, BTreeMap<&str, Listed<'_>>> = HashMap::new();
    for one in listed {
        match containers.entry(one.sandbox).or_default().entry(&one.kept.container.name) {
            Entry::Occupied(known) if known.get().created_at > one.created_at => {}
            Entry::Occupied(mut known) => drop(known.insert(one)),
            Entry::Vacant(free) => drop(free.insert(one)),
        }
    }
    // None where the pod is skipped.
    let mut pods: BTreeMap<&PodRef, (&str, Option<Arc<Pod>>)> = BTreeMap::new();
    for (id, sandbox) in sandboxes {
        let Sandbox { name, uid, created_at: _, annotations } = sandbox;
        if let Some((newer, _)) = pods.get(name) {
            // A pod whose sandbox has died has a second one until the first is cleared away.
            if newer != uid {
                let what =
                    format!("pod {name} of uid {uid} runs still beside the one that is read");
                problems.push(Problem { place: place(id), what });
            }
            continue;
        }
        let containers = containers.remove(id).unwrap_or_default();
        if let Some(error) = too_many_bytes(containers.values().map(|one| one.kept)) {
            problems.push(Problem { place: place(id), what: format!("pod {name}: {error}") });
            pods.insert(name, (uid, None));
            continue;
        }
        let pod = Pod {
            name: name.clone(),
            uid: uid.clone(),
            // It runs here, whatever this node is called.
            node: None,
            annotations: annotations.clone(),
            containers: containers.into_values().map(|one| one.kept.container.clone()).collect(),
            monitored: Monitored::default(),
            ended: false,
        };
        pods.insert(name, (uid, Some(Arc::new(pod))));
    }
    problems.sort_by(|a, b| (&a.place, &a.what).cmp(&(&b.place, &b.what)));
    let pods = pods.into_values().filter_map(|(_, pod)| pod).collect();
    Known { pods, problems, ..Known::default() }
}

// === impl Kept ===

impl Kept {
    /// The bytes that it takes of those that its pod's containers may.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// Where something is wrong with a sandbox.
pub(super) fn place(id: &str) -> String {
    format!("pod sandbox {}", shown(id))
}

/// As much of an id as people say.
pub(super) fn shown(id: &str) -> String {
    id.chars().take(13).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
