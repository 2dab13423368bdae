//! A pod on the wire, pruned while it is received.
//!
//! Of an object of up to 1.5 MB that anybody may have filled up, what is used is kept, and the rest
//! is never made into values: neither its managed fields, nor annotations that nobody reads.

use std::{borrow::Cow, sync::Arc};

use kube::{Resource, api::ObjectMeta, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    pods::object::Object,
    target::{Pod, PodRef},
};

/// A `Pod` of the API server, or why it is none.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Name, namespace and resource version, and nothing else.
    meta: ObjectMeta,
    uid: Option<String>,
    pod: Result<Arc<Pod>, String>,
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

impl Item {
    /// Its name, its uid, and what it is.
    pub(super) fn into_parts(self) -> (PodRef, Option<String>, Result<Arc<Pod>, String>) {
        let Self { meta, uid, pod } = self;
        let ObjectMeta { name, namespace, .. } = meta;
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        (PodRef { namespace, name: name.unwrap_or_default() }, uid, pod)
    }
}

impl<'de> Deserialize<'de> for Item {
    /// Fails only where there is no name: an object that has one costs itself alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed from the page or the line that it stands in: not one byte is copied. In a watch that
        // takes the type before the object, as in `WatchEvent` of
        // `staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/watch.go` of kubernetes/kubernetes.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let Head { metadata } = serde_json::from_str(text).map_err(serde::de::Error::custom)?;
        let Metadata { name, namespace, uid, resource_version } = metadata;
        let pod = serde_json::from_str::<Object>(text).map_err(|error| error.to_string());
        let pod = pod.and_then(|object| object.into_pod().map_err(|error| error.to_string()));
        let meta =
            ObjectMeta { name: Some(name), namespace, resource_version, ..ObjectMeta::default() };
        Ok(Self { meta, uid, pod: pod.map(Arc::new) })
    }
}

impl Resource for Item {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
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
        let pod = pod.unwrap();
        assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/port"]);
        assert!(pod.containers[0].env.is_empty());
    }

    #[test]
    fn an_object_that_is_no_pod_costs_itself_by_its_name() {
        let text = r#"{"metadata":{"name":"odd","namespace":"shop","uid":"u"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":70000}]}]}}"#;
        let (name, _, pod) = item(text).into_parts();
        assert_eq!(name.to_string(), "shop/odd");
        assert!(pod.unwrap_err().contains("70000"));
        let (_, _, pod) = item(r#"{"metadata":{"name":"odd"}}"#).into_parts();
        assert!(pod.unwrap_err().starts_with("metadata.uid is missing"));
        assert!(serde_json::from_str::<Item>(r#"{"metadata":{}}"#).is_err());
    }

    #[test]
    fn the_pods_of_all_namespaces_are_at_one_path() {
        assert_eq!(Item::url_path(&(), None), "/api/v1/pods");
    }
}
