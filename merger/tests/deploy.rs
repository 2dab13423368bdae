//! What `deploy/base` grants is what merger says that it needs, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use clap::Parser as _;
use merger::{command::Arguments, node::confinement};
use serde_json::{Value, json};

#[path = "support/base.rs"]
mod base;

/// The one document of a kind.
#[track_caller]
fn the(kind: &str) -> Value {
    let mut of_kind = base::documents();
    of_kind.retain(|document| document["kind"] == kind);
    let [document] = of_kind.try_into().unwrap();
    document
}

/// What the `DaemonSet` makes pods of.
fn pod() -> Value {
    the("DaemonSet")["spec"]["template"]["spec"].clone()
}

/// Its one container.
fn container() -> Value {
    let pod = pod();
    assert_eq!(pod.get("initContainers"), None);
    let [container] = pod["containers"].as_array().unwrap().as_slice() else {
        panic!("one container")
    };
    container.clone()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_capabilities_are_those_that_merger_keeps_for_its_processes() {
    let context = &container()["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let mut added = words(&context["capabilities"]["add"]);
    added.sort_unstable();
    // Without the prefix, as containerd takes them.
    let mut kept: Vec<&str> = confinement::GRANTED.iter_names().map(|(name, _)| name).collect();
    kept.sort_unstable();
    assert_eq!(added, kept);
}

#[test]
fn nothing_but_capabilities_and_the_hosts_processes_is_above_the_ordinary() {
    let (pod, container) = (pod(), container());
    let context = &container["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["seccompProfile"], json!({ "type": "RuntimeDefault" }));
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["hostNetwork"], false);
    assert_eq!(pod.get("hostIPC"), None);
}

#[test]
fn nothing_of_the_host_is_mounted() {
    assert_eq!(pod().get("volumes"), None);
    let container = container();
    assert_eq!(container.get("volumeMounts"), None);
    assert_eq!(container.get("volumeDevices"), None);
}

#[test]
fn the_token_is_readable_for_the_group_of_the_watcher() {
    let pod = pod();
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(pod["securityContext"], json!({ "fsGroup": confinement::WATCHER }));
    assert_ne!(confinement::WATCHER, confinement::AGENT);
}

#[test]
fn the_account_may_list_and_watch_pods_and_their_monitors_and_nothing_else() {
    let kinds: Vec<Value> = base::documents().iter().map(|one| one["kind"].clone()).collect();
    let expected =
        ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet"];
    assert_eq!(kinds, expected, "no other document grants anything");
    let verbs = ["list", "watch"];
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": verbs },
        { "apiGroups": ["monitoring.coreos.com"], "resources": ["podmonitors"], "verbs": verbs },
    ]);
    assert_eq!(the("ClusterRole")["rules"], rules);

    let (binding, account) = (the("ClusterRoleBinding"), the("ServiceAccount"));
    assert_eq!(binding["roleRef"]["name"], the("ClusterRole")["metadata"]["name"]);
    let namespace = the("Namespace")["metadata"]["name"].clone();
    let name = account["metadata"]["name"].clone();
    let subject = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace }]);
    assert_eq!(binding["subjects"], subject);
    assert_eq!(pod()["serviceAccountName"], name);
}

#[test]
fn the_arguments_are_those_of_this_merger_and_say_that_the_port_is_open() {
    let container = container();
    let arguments = words(&container["args"]);
    assert!(arguments.contains(&"--insecure-plaintext"));
    assert_eq!(container.get("command"), None, "the image says what is run");
    Arguments::try_parse_from(["merger"].into_iter().chain(arguments.iter().copied())).unwrap();
    assert!(arguments.contains(&"--pods=kube"));

    let port = &container["ports"][0];
    assert_eq!(port["hostPort"], port["containerPort"]);
    let listen = format!("--listen=0.0.0.0:{}", port["containerPort"]);
    assert!(arguments.contains(&listen.as_str()), "{listen}");
    for (probe, path) in [("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
        let get = &container[probe]["httpGet"];
        assert_eq!(*get, json!({ "path": path, "port": port["name"] }));
    }
    assert_eq!(container["env"][0]["name"], "MERGER_NODE_NAME");
}

#[test]
fn the_image_is_the_one_that_the_task_makes() {
    let made = format!("localhost/merger:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container()["image"], made);
}

/// What README.md shows for Secrets that pods name, which `deploy/base` does not grant.
#[test]
fn what_is_shown_for_secrets_reads_one_by_its_name_and_is_granted_to_this_account() {
    let readme = include_str!("../../README.md");
    let from = readme.find("kind: Role\n").unwrap();
    let text = &readme[readme[..from].rfind("```yaml\n").unwrap() + "```yaml\n".len()..];
    let text = &text[..text.find("```").unwrap()];
    let documents = base::parse(text);
    let [role, binding] = documents.as_slice() else { panic!("{text}") };
    let rules = json!([{
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["cart-metrics"],
        "verbs": ["get"],
    }]);
    assert_eq!(role["rules"], rules);
    assert_eq!(binding["kind"], "RoleBinding");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(binding["metadata"]["namespace"], role["metadata"]["namespace"]);
    assert_eq!(binding["subjects"], the("ClusterRoleBinding")["subjects"]);
}
