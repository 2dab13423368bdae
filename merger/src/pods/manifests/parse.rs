//! The text of a manifest to pods.
//!
//! Only the fields that are used are read, so a manifest of any version of the API will do. Source:
//! `Pod` in `staging/src/k8s.io/api/core/v1/types.go` of kubernetes/kubernetes.

use std::{collections::BTreeMap, num::NonZeroU16};

use serde::{Deserialize, Deserializer};

use crate::target::{Container, Pod, PodRef, Port};

/// Why a document of a manifest is no pod.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("is neither YAML nor JSON of a Pod: {0}")]
    Syntax(String),
    #[error("{0} is no Pod: a manifest holds a Pod, or a List of Pods")]
    Kind(String),
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
}

/// A `Pod`, or a `List` of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    kind: String,
    #[serde(deserialize_with = "null_is_unset")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_is_unset")]
    spec: Spec,
    #[serde(deserialize_with = "null_is_unset")]
    status: Status,
    #[serde(deserialize_with = "null_is_unset")]
    items: Vec<Document>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    name: String,
    uid: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    #[serde(deserialize_with = "null_is_unset")]
    containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "null_is_unset")]
    init_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    #[serde(deserialize_with = "null_is_unset")]
    ports: Vec<PortSpec>,
    restart_policy: Option<String>,
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
struct Status {
    phase: String,
    #[serde(deserialize_with = "null_is_unset")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_is_unset")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// As the Kubernetes API takes it.
fn null_is_unset<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Every document of `text`, each a pod or the reason why not.
pub(super) fn pods(text: &str) -> Vec<Result<Pod, Error>> {
    // The first line of the message has line and column; what follows is a drawing.
    let first_line = |message: String| {
        let line = message.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    };
    match serde_saphyr::from_multiple::<Document>(text) {
        Ok(documents) => documents.into_iter().flat_map(Document::into_pods).collect(),
        Err(error) => vec![Err(Error::Syntax(first_line(error.to_string())))],
    }
}

// === impl Document ===

impl Document {
    fn into_pods(self) -> Vec<Result<Pod, Error>> {
        match self.kind.as_str() {
            "Pod" => vec![self.into_pod()],
            // The items of a `PodList` do not repeat their kind.
            "PodList" => self.items.into_iter().map(Self::into_pod).collect(),
            "List" => self.items.into_iter().flat_map(Self::into_pods).collect(),
            "" => vec![Err(Error::Missing("kind", "a manifest holds a Pod, or a List of Pods"))],
            other => vec![Err(Error::Kind(format!("kind {}", other.escape_default())))],
        }
    }

    fn into_pod(self) -> Result<Pod, Error> {
        let Self { kind: _, metadata, spec, status, items: _ } = self;
        let Metadata { namespace, name, uid, annotations } = metadata;
        if name.is_empty() {
            return Err(Error::Missing("metadata.name", "the pod's pages are found by it"));
        }
        if uid.is_empty() {
            let why = "it ties the pod to its cgroup; `kubectl get pods -o yaml` has it";
            return Err(Error::Missing("metadata.uid", why));
        }
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let Status { phase, container_statuses, init_container_statuses } = status;
        let ids: BTreeMap<String, String> = container_statuses
            .into_iter()
            .chain(init_container_statuses)
            .filter_map(|status| Some((status.name, without_runtime(&status.container_id?))))
            .collect();
        // An init container that restarts always is a sidecar; the others end before the pod serves.
        let sidecars = spec
            .init_containers
            .into_iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = spec
            .containers
            .into_iter()
            .chain(sidecars)
            .map(|container| container.into_container(&ids))
            .collect();
        Ok(Pod {
            name: PodRef { namespace, name },
            uid,
            node: spec.node_name,
            annotations: annotations.unwrap_or_default(),
            containers,
            ended: matches!(phase.as_str(), "Succeeded" | "Failed"),
        })
    }
}

// === impl ContainerSpec ===

impl ContainerSpec {
    fn into_container(self, ids: &BTreeMap<String, String>) -> Container {
        let Self { name, ports, restart_policy: _ } = self;
        let id = ids.get(&name).cloned();
        let ports = ports
            .into_iter()
            .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
            .filter_map(|PortSpec { name, container_port, protocol: _ }| {
                let name = name.filter(|name| !name.is_empty());
                Some(Port { name, number: NonZeroU16::new(container_port)? })
            })
            .collect();
        Container { name, id, ports }
    }
}

/// `containerd://<id>` without the runtime.
fn without_runtime(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}
