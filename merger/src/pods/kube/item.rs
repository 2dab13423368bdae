//! An object on the wire, pruned while it is received.
//!
//! Of an object of up to 1.5 MB that anybody may have filled up, what is used is kept, and the rest
//! is never made into values: neither its managed fields, nor annotations that nobody reads.

use std::{borrow::Cow, fmt, sync::Arc};

use kube::{Resource, api::ObjectMeta, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    pods::object::Object,
    target::{Pod, PodRef},
};

/// What is kept of an object of one kind. It is cheap to clone.
pub(super) trait Content: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Where the API server has such objects.
    const PLACE: Place;

    /// Reads the JSON of an object; else what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
}

/// A resource of the API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
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

// === impl Content ===

impl Content for Arc<Pod> {
    const PLACE: Place = Place { group: "", version: "v1", kind: "Pod", plural: "pods" };

    fn read(text: &str) -> Result<Self, String> {
        let object = serde_json::from_str::<Object>(text).map_err(|error| error.to_string())?;
        object.into_pod().map(Self::new).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item<Arc<Pod>> {
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
        assert!(serde_json::from_str::<Item<Arc<Pod>>>(r#"{"metadata":{}}"#).is_err());
    }

    #[test]
    fn the_pods_of_all_namespaces_are_at_one_path() {
        assert_eq!(Item::<Arc<Pod>>::url_path(&(), None), "/api/v1/pods");
    }
}
