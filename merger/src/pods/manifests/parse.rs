//! The text of a manifest to pods.

use serde::Deserialize;

use crate::{
    pods::object::{self, Metadata, Object, Spec, Status, null_is_unset},
    target::Pod,
};

/// Why a document of a manifest is no pod.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("is neither YAML nor JSON of a Pod: {0}")]
    Syntax(String),
    #[error("{0} is no Pod: a manifest holds a Pod, or a List of Pods")]
    Kind(String),
    #[error("kind is missing: a manifest holds a Pod, or a List of Pods")]
    NoKind,
    #[error(transparent)]
    Object(#[from] object::Error),
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
            "" => vec![Err(Error::NoKind)],
            other => vec![Err(Error::Kind(format!("kind {}", other.escape_default())))],
        }
    }

    fn into_pod(self) -> Result<Pod, Error> {
        let Self { kind: _, metadata, spec, status, items: _ } = self;
        Ok(Object { metadata, spec, status }.into_pod()?)
    }
}
