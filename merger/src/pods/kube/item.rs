//! An object on the wire, pruned while it is received.
//!
//! Of an object of up to 1.5 MB that anybody may have filled up, what is used is kept, and the rest
//! is never made into values: neither its managed fields, nor annotations that nobody reads.

use std::{borrow::Cow, fmt, sync::Arc};

use kube::{Resource, api::ObjectMeta, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    pods::{
        monitor::{self, Labels, Monitor},
        object::{self, Object},
    },
    target::{Pod, PodRef, monitor::Monitored},
};

/// There are fewer pods than this that have not ended. Kubernetes promises 110 on a node.
const MOST_PODS: usize = 2000;

/// What is kept of an object of one kind. It is cheap to clone.
pub(super) trait Content: Clone + fmt::Debug + Send + Sync + 'static {
    /// Where the API server has such objects.
    const PLACE: Place;

    /// The bytes of all of them that are kept, where anybody may make as many as he likes.
    const MOST_BYTES: usize;

    /// The bytes of those of one namespace, so that whoever may make them in one takes no room of others.
    const MOST_BYTES_OF_NAMESPACE: usize;

    /// Whether, where all of them are too many, those of the namespace that has most give way to whatever
    /// comes; else what comes last is left out.
    const LARGEST_GIVES_WAY: bool;

    /// The objects of one page of a list, as long as no page was too large: `limits.rs` says when one is.
    const PAGE: u32;

    /// Reads the JSON of an object; else what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;

    /// Whether an object that was read is what this was read from.
    fn is_of(&self, read: &Self) -> bool;

    /// The bytes that it counts for.
    fn n_bytes(&self) -> usize;
}

/// A pod, and what `PodMonitor`s select it by.
#[derive(Clone, Debug)]
pub(super) struct Labelled {
    /// What monitors ask of it is put in by whoever knows them.
    pub(super) pod: Arc<Pod>,
    /// None where they are too many to be kept.
    pub(super) labels: Option<Arc<Labels>>,
    /// Whether its uid is what an annotation claims, and not its own.
    pub(super) is_mirror: bool,
    /// When it was matched with monitors: by how often all pods had been until then.
    pub(super) matched: Option<u64>,
}

/// A resource of the API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Whether it is there by somebody's decision, and may be read by another's.
    pub(super) is_optional: bool,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

/// Namespace and name of an object, whatever its kind.
pub(super) type Name = PodRef;

/// An object of the API server, or why it is none.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    /// Name, namespace and resource version, and nothing else.
    meta: ObjectMeta,
    uid: Option<String>,
    content: Result<T, String>,
}

/// What an object is found by.
#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

// === impl Item ===

impl<T> Item<T> {
    /// Its name, its uid, and what it is.
    pub(super) fn into_parts(self) -> (Name, Option<String>, Result<T, String>) {
        let Self { meta, uid, content } = self;
        let ObjectMeta { name, namespace, .. } = meta;
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        (Name { namespace, name: name.unwrap_or_default() }, uid, content)
    }
}

impl<'de, T: Content> Deserialize<'de> for Item<T> {
    /// Fails only where there is no name: an object that has one costs itself alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed from the page or the line that it stands in: not one byte is copied. In a watch that
        // takes the type before the object, as in `WatchEvent` of
        // `staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/watch.go` of kubernetes/kubernetes.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let Head { metadata } = serde_json::from_str(text).map_err(serde::de::Error::custom)?;
        let Metadata { name, namespace, uid, resource_version } = metadata;
        let meta =
            ObjectMeta { name: Some(name), namespace, resource_version, ..ObjectMeta::default() };
        Ok(Self { meta, uid, content: T::read(text) })
    }
}

impl<T: Content> Resource for Item<T> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        T::PLACE.kind.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        T::PLACE.group.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        T::PLACE.version.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::PLACE.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

// === impl Labelled ===

impl Labelled {
    /// Puts in what these monitors ask of it, where it was not matched since all were.
    pub(super) fn ask(&mut self, namespace: &str, monitors: &[&Monitor], n_matched: u64) {
        if self.matched.replace(n_matched) == Some(n_matched) {
            return;
        }
        let monitored = match &self.labels {
            Some(labels) if !self.pod.ended => {
                monitor::monitored(monitors.iter().copied(), namespace, labels)
            }
            _ => Monitored::default(),
        };
        if self.pod.monitored != monitored {
            Arc::make_mut(&mut self.pod).monitored = monitored;
        }
    }
}

// === impl Content ===

impl Content for Labelled {
    const PLACE: Place =
        Place { is_optional: false, group: "", version: "v1", kind: "Pod", plural: "pods" };

    /// A kubelet takes 110 pods, or the few hundred that it is told to. But whoever may make pods may bind
    /// them to this node himself, and those that the kubelet refuses stay, as failed.
    const MOST_BYTES: usize = 32 << 20;
    /// A node may be one namespace's alone.
    const MOST_BYTES_OF_NAMESPACE: usize = usize::MAX;
    const LARGEST_GIVES_WAY: bool = true;

    /// Few of them are on one node, and some are large.
    const PAGE: u32 = 16;

    fn read(text: &str) -> Result<Self, String> {
        let mut object = serde_json::from_str::<Object>(text).map_err(|error| error.to_string())?;
        let labels = object.take_labels();
        let is_mirror = object.is_mirror();
        let pod = object.into_pod().map_err(|error| error.to_string())?;
        let labels = if pod.ended { Some(Labels::new()) } else { labels };
        Ok(Self { pod: Arc::new(pod), labels: labels.map(Arc::new), is_mirror, matched: None })
    }

    fn is_of(&self, read: &Self) -> bool {
        let Self { pod, labels, is_mirror, matched: _ } = read;
        let Pod { name, uid, node, annotations, containers, monitored: _, ended } = &**pod;
        let old = &self.pod;
        (&old.name, &old.uid, &old.node, &old.annotations) == (name, uid, node, annotations)
            && (&old.containers, &old.ended, &self.labels) == (containers, ended, labels)
            && self.is_mirror == *is_mirror
    }

    /// One that may run is planned and scraped as well: such count for so much that there
    /// are fewer than [`MOST_PODS`].
    fn n_bytes(&self) -> usize {
        let Self { pod, labels, is_mirror: _, matched: _ } = self;
        let labels = labels.as_ref().map_or(0, |labels| object::n_bytes_of(labels));
        let n_bytes = size_of::<Self>() + object::n_bytes(pod) + labels;
        if pod.ended { n_bytes } else { n_bytes.max(Self::MOST_BYTES / MOST_PODS) }
    }
}

impl Content for Arc<Monitor> {
    const PLACE: Place = Place {
        is_optional: true,
        group: "monitoring.coreos.com",
        version: "v1",
        kind: "PodMonitor",
        plural: "podmonitors",
    };

    const MOST_BYTES: usize = 16 << 20;
    const MOST_BYTES_OF_NAMESPACE: usize = 2 << 20;
    const LARGEST_GIVES_WAY: bool = false;

    /// They are of the whole cluster and mostly small, and the pages of a list are asked for one by one.
    const PAGE: u32 = 64;

    fn read(text: &str) -> Result<Self, String> {
        Monitor::read(text).map(Self::new).map_err(|error| error.to_string())
    }

    fn is_of(&self, read: &Self) -> bool {
        self == read
    }

    fn n_bytes(&self) -> usize {
        size_of::<Monitor>() + Monitor::n_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item<Labelled> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_used_is_kept_and_nothing_else() {
        let hostile = "x".repeat(1 << 18);
        let text = format!(
            r#"{{"metadata":{{"name":"cart","namespace":"shop","uid":"u","resourceVersion":"7","managedFields":[{{"manager":"m"}}],"labels":{{"a":"b"}},"annotations":{{"x/y":"{hostile}","prometheus.io/port":"80"}}}},"spec":{{"nodeName":"n","containers":[{{"name":"c","env":[{{"name":"SECRET","value":"s"}}]}}]}},"status":{{"phase":"Running"}}}}"#
        );
        let item = item(&text);
        assert_eq!(item.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(item.meta().managed_fields, None);
        assert_eq!(item.meta().annotations, None);
        let (name, uid, pod) = item.into_parts();
        assert_eq!((name.to_string().as_str(), uid.as_deref()), ("shop/cart", Some("u")));
        let Labelled { pod, labels, .. } = pod.unwrap();
        assert_eq!(labels.unwrap()["a"], "b");
        assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/port"]);
        assert!(pod.containers[0].env.is_empty());
    }

    #[test]
    fn of_a_pod_that_has_ended_hardly_more_than_its_name_is_kept() {
        let port = r#"{"containerPort":80},"#.repeat(5000);
        let label = "x".repeat(32 << 10);
        let text = format!(
            r#"{{"metadata":{{"name":"job","namespace":"shop","uid":"u","labels":{{"a":"{label}"}},"annotations":{{"prometheus.io/port":"80"}}}},"spec":{{"nodeName":"n","containers":[{{"name":"c","ports":[{port}{{}}]}}]}},"status":{{"phase":"PHASE"}}}}"#
        );
        for phase in ["Succeeded", "Failed"] {
            let (_, uid, pod) = item(&text.replace("PHASE", phase)).into_parts();
            let pod = pod.unwrap();
            assert_eq!(
                (pod.pod.uid.as_str(), pod.pod.ended, uid.as_deref()),
                ("u", true, Some("u"))
            );
            assert_eq!((pod.pod.containers.len(), pod.pod.annotations.len()), (0, 0));
            assert!(
                pod.labels.as_ref().unwrap().is_empty() && pod.n_bytes() < 400,
                "{}",
                pod.n_bytes()
            );
        }
        let (_, _, pod) = item(&text.replace("PHASE", "Running")).into_parts();
        assert!(pod.unwrap_err().starts_with("its containers declare so much"));
    }

    #[test]
    fn the_mirror_of_a_static_pod_has_the_uid_that_its_cgroup_has() {
        const HASH: &str = "0d5f1c3a6c8a4f2b9e7d6c5b4a392817";
        let read = |kind: &str, annotation: &str, hash: &str, phase: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"etcd-n1","namespace":"kube-system","uid":"6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81","annotations":{{"{annotation}":"{hash}"}},"ownerReferences":[{{"apiVersion":"v1","kind":"{kind}","name":"n1","uid":"n","controller":true}}]}},"status":{{"phase":"{phase}"}}}}"#
            );
            let (_, uid, pod) = item(&text).into_parts();
            assert_eq!(uid.as_deref(), Some("6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81"));
            let pod = pod.unwrap();
            assert_eq!(pod.pod.uid == hash, pod.is_mirror);
            pod.is_mirror
        };
        let mirror = "kubernetes.io/config.mirror";
        assert!(read("Node", mirror, HASH, "Running"));
        assert!(!read("ReplicaSet", mirror, HASH, "Running"));
        assert!(!read("Node", "kubernetes.io/config.hash", HASH, "Running"));
        assert!(!read("Node", mirror, HASH, "Failed"));
        // What the API server gives to pods is claimed by nobody.
        assert!(!read("Node", mirror, "7d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81", "Running"));
    }

    #[test]
    fn an_object_that_is_no_pod_costs_itself_by_its_name() {
        let text = r#"{"metadata":{"name":"odd","namespace":"shop","uid":"u"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":70000}]}]}}"#;
        let (name, _, pod) = item(text).into_parts();
        assert_eq!(name.to_string(), "shop/odd");
        assert!(pod.unwrap_err().contains("70000"));
        let (_, _, pod) = item(r#"{"metadata":{"name":"odd"}}"#).into_parts();
        assert!(pod.unwrap_err().starts_with("metadata.uid is missing"));
        assert!(serde_json::from_str::<Item<Labelled>>(r#"{"metadata":{}}"#).is_err());
    }

    #[test]
    fn the_objects_of_all_namespaces_are_at_one_path() {
        assert_eq!(Item::<Labelled>::url_path(&(), None), "/api/v1/pods");
        let monitors = "/apis/monitoring.coreos.com/v1/podmonitors";
        assert_eq!(Item::<Arc<Monitor>>::url_path(&(), None), monitors);
    }
}
