//! What kubectl makes of `deploy/base`. Needs kubectl (Debian: `apt-get install kubernetes-client`), so it
//! runs only by name: `cargo test --test kustomize`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::process::Command;

use serde_json::{Value, json};

#[path = "support/base.rs"]
mod base;

/// Kinds that are of no namespace.
const CLUSTER_WIDE: [&str; 3] = ["Namespace", "ClusterRole", "ClusterRoleBinding"];

#[test]
fn kustomize_gives_every_document_and_puts_it_into_the_namespace() {
    let mut kubectl = Command::new("kubectl");
    let output = kubectl.arg("kustomize").arg(base::directory()).output();
    let output = output.expect("kubectl is installed (Debian: apt-get install kubernetes-client)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut built = base::parse(&String::from_utf8(output.stdout).unwrap());
    let mut expected = base::documents();
    for document in &mut expected {
        if !CLUSTER_WIDE.iter().any(|kind| document["kind"] == *kind) {
            document["metadata"]["namespace"] = json!("merger");
        }
    }
    let by_kind = |document: &Value| document["kind"].to_string();
    built.sort_by_key(by_kind);
    expected.sort_by_key(by_kind);
    assert_eq!(built, expected);
}
