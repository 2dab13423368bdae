//! A `Pod` as the Kubernetes API writes it, to what is used of it.
//!
//! Only the fields that are used are read, so an object of any version of the API will do. Source:
//! `Pod` in `staging/src/k8s.io/api/core/v1/types.go` of kubernetes/kubernetes.

use std::{collections::BTreeMap, num::NonZeroU16};

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::monitor::Labels;
use crate::target::{Container, Pod, PodRef, Port, annotations, mesh, monitor::Monitored};

/// The bytes that are kept of a pod's containers: names, ports and what is used of the environment. It
/// has room for two thousand ports. Of annotations [`annotations::pruned`] says how much is kept.
pub(super) const MAX_KEPT: usize = 64 << 10;

/// The bytes of labels that are kept of a pod. They are all kept, or none: with less, more would select it.
const MAX_LABELS: usize = 16 << 10;

/// The annotation of a static pod's mirror with the uid of the pod itself: `ConfigMirrorAnnotationKey` in
/// `pkg/kubelet/types/pod_update.go` of kubernetes/kubernetes, written by `CreateMirrorPod` in
/// `pkg/kubelet/pod/mirror_client.go` beside a reference to the node as the owner.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The length of such a uid: the MD5 of the static pod's manifest in hexadecimal (`applyDefaults` in
/// `pkg/kubelet/config/common.go`). The API server gives none that looks like it.
const HASH: usize = 32;

/// Why an object is no pod to us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The field, and what it is for.
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
    /// Whoever may make a pod may fill it up, and this process reads all pods of the node.
    #[error(
        "its containers declare so much that {0} bytes of it would be kept, more than {MAX_KEPT}: \
         have it declare fewer TCP ports and containers"
    )]
    TooMuch(usize),
}

/// The object, without its kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    #[serde(deserialize_with = "null_is_unset")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "null_is_unset")]
    pub(super) spec: Spec,
    #[serde(deserialize_with = "null_is_unset")]
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    namespace: Option<String>,
    name: String,
    uid: String,
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<Labels>,
    #[serde(deserialize_with = "null_is_unset")]
    owner_references: Vec<Owner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    node_name: Option<String>,
    #[serde(deserialize_with = "null_is_unset")]
    containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "null_is_unset")]
    init_containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "null_is_unset")]
    ephemeral_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    #[serde(deserialize_with = "null_is_unset")]
    ports: Vec<PortSpec>,
    #[serde(deserialize_with = "null_is_unset")]
    env: Vec<Variable>,
    restart_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PortSpec {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    phase: String,
    #[serde(deserialize_with = "null_is_unset")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_unset")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_unset")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    #[serde(deserialize_with = "null_is_unset")]
    state: ContainerState,
}

/// At most one of its fields is set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    terminated: Option<IgnoredAny>,
}

/// As the Kubernetes API takes it.
pub(super) fn null_is_unset<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

// === impl Object ===

impl Object {
    /// Takes out its labels, by which it is selected. None where they are too many to be kept.
    pub(super) fn take_labels(&mut self) -> Option<Labels> {
        let labels = self.metadata.labels.take().unwrap_or_default();
        (n_bytes_of(&labels) <= MAX_LABELS).then_some(labels)
    }

    /// Its namespace, where it says one, and its name.
    pub(super) fn name(&self) -> (Option<&str>, &str) {
        (self.metadata.namespace.as_deref(), &self.metadata.name)
    }

    /// Whether its uid is that of a static pod as an annotation says it, which anybody may have written:
    /// [`super::claim`] decides whether it is believed.
    pub(super) fn is_mirror(&self) -> bool {
        !self.status.has_ended() && self.metadata.mirrored().is_some()
    }

    /// What is used of it, or what is missing. Of one that has ended that is hardly more than its name.
    pub(super) fn into_pod(self) -> Result<Pod, Error> {
        let Self { metadata, spec, status } = self;
        let mirrored = metadata.mirrored().map(str::to_owned);
        let Metadata { namespace, name, uid, annotations, labels: _, owner_references: _ } =
            metadata;
        if name.is_empty() {
            return Err(Error::Missing("metadata.name", "the pod's pages are found by it"));
        }
        if uid.is_empty() {
            let why = "it ties the pod to its cgroup; `kubectl get pods -o yaml` has it";
            return Err(Error::Missing("metadata.uid", why));
        }
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let has_ended = status.has_ended();
        let Status {
            phase: _,
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
        } = status;
        if has_ended {
            // Nothing of it runs, and of such pods anybody may leave thousands behind.
            return Ok(Pod {
                name: PodRef { namespace, name },
                uid,
                node: spec.node_name,
                annotations: BTreeMap::new(),
                containers: Vec::new(),
                monitored: Monitored::default(),
                ended: true,
            });
        }
        let statuses = container_statuses
            .into_iter()
            .chain(init_container_statuses)
            .chain(ephemeral_container_statuses);
        let statuses: BTreeMap<String, ContainerStatus> =
            statuses.map(|status| (status.name.clone(), status)).collect();
        let Spec { node_name, containers, init_containers, ephemeral_containers } = spec;
        // An init container that restarts always is a sidecar; the others end before the pod serves.
        let (sidecars, init): (Vec<_>, Vec<_>) = init_containers
            .into_iter()
            .partition(|container| container.restart_policy.as_deref() == Some("Always"));
        let passing = init.into_iter().chain(ephemeral_containers);
        let running = passing.filter(|container| {
            let status = statuses.get(&container.name);
            status.is_some_and(|s| s.container_id.is_some() && s.state.terminated.is_none())
        });
        let containers: Vec<Container> = containers
            .into_iter()
            .chain(sidecars)
            .chain(running)
            .map(|container| container.into_container(&statuses))
            .collect();
        let n_kept = containers.iter().map(kept).sum();
        if n_kept > MAX_KEPT {
            return Err(Error::TooMuch(n_kept));
        }
        Ok(Pod {
            name: PodRef { namespace, name },
            uid: mirrored.unwrap_or(uid),
            node: node_name,
            annotations: annotations::pruned(annotations.unwrap_or_default()),
            containers,
            monitored: Monitored::default(),
            ended: false,
        })
    }
}

// === impl Metadata ===

impl Metadata {
    /// The uid of the static pod whose mirror it says to be.
    fn mirrored(&self) -> Option<&str> {
        let hash = self.annotations.as_ref()?.get(MIRROR)?;
        let is_hash = hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_of_node = self.owner_references.iter().any(|owner| owner.kind == "Node");
        (is_hash && is_of_node).then_some(hash)
    }
}

// === impl Status ===

impl Status {
    fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

// === impl ContainerSpec ===

impl ContainerSpec {
    fn into_container(self, statuses: &BTreeMap<String, ContainerStatus>) -> Container {
        let Self { name, ports, env, restart_policy: _ } = self;
        let id = statuses.get(&name).and_then(|status| status.container_id.as_deref());
        let id = id.map(without_runtime);
        let env = env.into_iter().filter(|v| mesh::ENVIRONMENT.contains(&v.name.as_str()));
        let env = annotations::cut(env.filter_map(|v| Some((v.name, v.value?))).collect());
        let ports = ports
            .into_iter()
            .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
            .filter_map(|PortSpec { name, container_port, protocol: _ }| {
                let name = name.filter(|name| !name.is_empty());
                Some(Port { name, number: NonZeroU16::new(container_port)? })
            })
            .collect();
        Container { name, id, ports, env }
    }
}

/// The bytes that a pod takes in memory, without what monitors ask of it.
pub(super) fn n_bytes(pod: &Pod) -> usize {
    let Pod { name, uid, node, annotations, containers, monitored: _, ended: _ } = pod;
    let PodRef { namespace, name } = name;
    let texts = [Some(namespace), Some(name), Some(uid), node.as_ref()].into_iter().flatten();
    size_of::<Pod>()
        + texts.map(String::len).sum::<usize>()
        + n_bytes_of(annotations)
        + containers.iter().map(kept).sum::<usize>()
}

/// The bytes that labels or annotations take in memory.
pub(super) fn n_bytes_of(texts: &BTreeMap<String, String>) -> usize {
    let of = |(key, value): (&String, &String)| 2 * size_of::<String>() + key.len() + value.len();
    texts.iter().map(of).sum()
}

/// The bytes that a container takes in memory.
pub(super) fn kept(container: &Container) -> usize {
    let Container { name, id, ports, env } = container;
    let texts =
        [Some(name), id.as_ref()].into_iter().flatten().chain(env.iter().flat_map(|(k, v)| [k, v]));
    let ports: usize = ports
        .iter()
        .map(|port| size_of::<Port>() + port.name.as_ref().map_or(0, String::len))
        .sum();
    size_of::<Container>() + texts.map(String::len).sum::<usize>() + ports
}

/// `containerd://<id>` without the runtime.
fn without_runtime(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}
