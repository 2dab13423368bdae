//! The text of a manifest to pods.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    pods::object::{self, Metadata, Object, Spec, Status, null_is_unset},
    target::Pod,
};

/// The most characters of a name that are said.
const SHOWN: usize = 253;

/// Why a document of a manifest is no pod.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("is neither YAML nor JSON of a Pod: {0}")]
    Syntax(String),
    #[error("{item} is no Pod: {what}")]
    Item {
        /// Its name, or which one it is.
        item: String,
        /// What is wrong with it.
        what: String,
    },
    #[error("{0} is no Pod: a manifest holds a Pod, or a List of Pods")]
    Kind(String),
    #[error("kind is missing: a manifest holds a Pod, or a List of Pods")]
    NoKind,
    #[error("{}{error}", item.as_ref().map(|item| format!("{item}: ")).unwrap_or_default())]
    Object {
        /// Which pod, where it has a name.
        item: Option<String>,
        /// What is wrong with it.
        error: object::Error,
    },
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

/// What a document says, whose uid may be claimed: see [`crate::pods::claim`].
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) pod: Pod,
    pub(super) is_mirror: bool,
}

/// Every pod of `text`, or the reason why one is none.
pub(super) fn pods(text: &str) -> Vec<Result<Stated, Error>> {
    let first = match serde_saphyr::from_multiple::<Document>(text) {
        Ok(documents) => return documents.into_iter().flat_map(Document::into_pods).collect(),
        Err(error) => first_line(&error.to_string()),
    };
    // One of them is no pod, and costs itself alone where the text as such can be read.
    match serde_saphyr::from_multiple::<Value>(text) {
        Ok(documents) => one_by_one(documents, first),
        Err(_) => vec![Err(Error::Syntax(first))],
    }
}

/// The same of documents of which not all are pods. What is wrong with the `first` that is none is known, and
/// where; of the others the place is not.
fn one_by_one(documents: Vec<Value>, first: String) -> Vec<Result<Stated, Error>> {
    let mut items = Vec::new();
    for document in documents {
        flatten(document, "document", &mut items);
    }
    let mut first = Some(first);
    let mut pods = Vec::new();
    for (item, value) in items {
        // Its JSON is YAML as well, so it is read as it would be by itself.
        match serde_saphyr::from_str::<Document>(&value.to_string()) {
            Ok(document) => pods.extend(document.into_pods()),
            Err(error) => {
                let what = first.take().unwrap_or_else(|| without_place(&error.to_string()));
                pods.push(Err(Error::Item { item, what }));
            }
        }
    }
    pods
}

/// The first line of the message has line and column; what follows is a drawing.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The document, or the items of one that is a list, each with what it is called.
fn flatten(mut document: Value, what: &str, items: &mut Vec<(String, Value)>) {
    let is_pod_list = match document.get("kind").and_then(Value::as_str) {
        Some("List") => Some(false),
        Some("PodList") => Some(true),
        _ => None,
    };
    let listed = document.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
    let (Some(is_pod_list), Some(listed)) = (is_pod_list, listed) else {
        let item = called(&document, what, items.len() + 1);
        return items.push((item, document));
    };
    for mut value in listed {
        // The items of a `PodList` do not repeat their kind.
        if let (true, Value::Object(fields)) = (is_pod_list, &mut value) {
            fields.insert("kind".to_owned(), "Pod".into());
        }
        let item = called(&value, "item", items.len() + 1);
        items.push((item, value));
    }
}

/// A pod by its name, anything else by its number in the file.
fn called(value: &Value, what: &str, n: usize) -> String {
    let of = |field: &str| value.get("metadata")?.get(field)?.as_str();
    named(of("namespace"), of("name").unwrap_or_default()).unwrap_or_else(|| format!("{what} {n}"))
}

fn named(namespace: Option<&str>, name: &str) -> Option<String> {
    let shown = |text: &str| -> String {
        text.chars().take(SHOWN).flat_map(char::escape_default).collect()
    };
    let namespace = namespace.unwrap_or("default");
    (!name.is_empty()).then(|| format!("pod {}/{}", shown(namespace), shown(name)))
}

/// The message without line and column: they are those of a text that nobody has written.
fn without_place(message: &str) -> String {
    let line = first_line(message);
    match line.strip_prefix("line ").and_then(|line| line.split_once(": ")) {
        Some((_, what)) => what.to_owned(),
        None => line,
    }
}

// === impl Document ===

impl Document {
    fn into_pods(self) -> Vec<Result<Stated, Error>> {
        match self.kind.as_str() {
            "Pod" => vec![self.into_pod()],
            // The items of a `PodList` do not repeat their kind.
            "PodList" => self.items.into_iter().map(Self::into_pod).collect(),
            "List" => self.items.into_iter().flat_map(Self::into_pods).collect(),
            "" => vec![Err(Error::NoKind)],
            other => vec![Err(Error::Kind(format!("kind {}", other.escape_default())))],
        }
    }

    fn into_pod(self) -> Result<Stated, Error> {
        let Self { kind: _, metadata, spec, status, items: _ } = self;
        let object = Object { metadata, spec, status };
        let is_mirror = object.is_mirror();
        let (namespace, name) = object.name();
        let item = named(namespace, name);
        let pod = object.into_pod().map_err(|error| Error::Object { item, error })?;
        Ok(Stated { pod, is_mirror })
    }
}
