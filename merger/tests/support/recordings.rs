//! What a real API server said (`testdata/k8s`), and what else one may say.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::double::Play;

/// The pods of `list-page-*.json`, which `watch-streaming-list.jsonl` begins with, in their order.
pub(crate) const LISTED: [&str; 5] = [
    "kube-system/agent-kzbrr 2352557c",
    "shop/merged-5689884d9f-d5542 24384f7c",
    "shop/meshed-7dc698948f-phtdj f668fc8b",
    "shop/web-59799f97c6-7rt9j e1dc6ab9",
    "shop/web-59799f97c6-n7v8j a7389e51",
];

/// The continuations of that list.
pub(crate) const CONTINUE: [&str; 2] = [
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NTcxLCJzdGFydCI6Ii9zaG9wL21lcmdlZC01Njg5ODg0ZDlmLWQ1NTQyXHUwMDAwIn0",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NTcxLCJzdGFydCI6Ii9zaG9wL3dlYi01OTc5OWY5N2M2LTdydDlqXHUwMDAwIn0",
];

pub(crate) fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/k8s").join(name);
    fs::read_to_string(path).unwrap()
}

/// Each line of a recorded watch, with its end.
pub(crate) fn lines(name: &str) -> Vec<Play> {
    read(name).lines().map(|line| Play::text(format!("{line}\n"))).collect()
}

/// What an API server before an etcd below 3.5.8 says in the stream: `RequestWatchProgress` in
/// <https://github.com/kubernetes/kubernetes/blob/v1.31.0/staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go>.
pub(crate) fn no_progress() -> Play {
    let message = "a watch stream was requested by the client but the required storage feature \
                   RequestWatchProgress is disabled";
    event(
        "ERROR",
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "code": 500}),
    )
}

/// The body of an answer that is an error.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code})
    .to_string()
}

pub(crate) fn event(kind: &str, object: &Value) -> Play {
    // The type comes first, as a server writes it.
    Play::text(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}

pub(crate) fn bookmark(version: u32) -> Play {
    event(
        "BOOKMARK",
        &json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "spec": {"containers": null}}),
    )
}

/// A pod that is not recorded.
pub(crate) fn pod(name: &str, uid: &str, version: u32, phase: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid,
            "resourceVersion": version.to_string(),
            "annotations": {"prometheus.io/scrape": "true"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": phase},
    })
}

/// All pods on one page.
pub(crate) fn list(version: u32, pods: &[Value]) -> String {
    json!({"kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "items": pods})
    .to_string()
}
