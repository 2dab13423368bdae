//! The pods of a Job: read while they run and while they end, and not when they have ended.

use merger::{
    identity::{Cookie, Process},
    inventory,
    node::Snapshot,
    pods::kube::List,
    target::{
        Holder, Listener, State,
        plan::{Probed, Rules},
    },
};
use serde_json::{Value, json};

use crate::{
    double::{Answer, Play, on},
    recordings::{event, list},
    requests::{LIST, watch},
    world::World,
};

const UID: &str = "6d657267-6572-4000-8500-000000000001";
const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

/// As the Job controller makes one: it ends by itself, and a finalizer keeps it until it was counted.
fn of_job(version: u32, phase: &str, is_deleted: bool) -> Value {
    let deleted = is_deleted.then_some("2026-11-28T10:00:00Z");
    let state = if phase == "Running" {
        json!({"running": {"startedAt": "2026-11-28T09:00:00Z"}})
    } else {
        json!({"terminated": {"exitCode": i32::from(phase == "Failed"), "containerID": format!("containerd://{ID}")}})
    };
    json!({
        "metadata": {
            "name": "import-x7k2p", "namespace": "shop", "uid": UID,
            "resourceVersion": version.to_string(),
            "labels": {"batch.kubernetes.io/job-name": "import"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9100"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "import",
                "uid": "j", "controller": true, "blockOwnerDeletion": true}],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "deletionTimestamp": deleted,
        },
        "spec": {"nodeName": "n1", "restartPolicy": "Never", "containers": [{"name": "import"}]},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "import", "containerID": format!("containerd://{ID}"), "state": state}]},
    })
}

/// What is read of the node of `world`, where the Job's process listens on 9100.
fn read(world: &World) -> Vec<String> {
    let cgroup: std::sync::Arc<str> = format!("/kubepods/besteffort/pod{UID}/{ID}").into();
    let process = Process { pid: 77, started: 1, netns: Cookie(7), cgroup: cgroup.clone() };
    let listener = Listener {
        netns: Cookie(7),
        address: [0, 0, 0, 0].into(),
        port: 9100.try_into().unwrap(),
        holders: vec![Holder { pid: 77, cgroup }],
        doubt: None,
    };
    let snapshot =
        Snapshot { host: Cookie(1), processes: vec![process], listeners: vec![listener] };
    let (rules, probed) = (Rules::default(), Probed::default());
    let targets = inventory::targets(&world.known(), &snapshot, "n1", false, &rules, &probed);
    let sources = targets.values().flat_map(|target| &target.plan.sources);
    let ready = sources.filter(|source| matches!(source.state, State::Ready(_)));
    ready.map(|source| format!("{} {}", source.container, source.port)).collect()
}

/// One whose last phase this is, which is told to terminate before it or not.
async fn check(last: &str, is_deleted: bool) {
    let plays = [
        Play::seconds(10),
        event("MODIFIED", &of_job(11, "Running", is_deleted)),
        Play::seconds(10),
        event("MODIFIED", &of_job(12, last, is_deleted)),
        Play::seconds(10),
        event("DELETED", &of_job(13, last, true)),
        Play::Stay,
    ];
    let script = vec![
        on(LIST, Answer::ok(list(10, &[of_job(7, "Running", false)]))),
        on(&watch(10), Answer::plays(plays)),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(5).await;
    assert_eq!(read(&world), ["import 9100"]);
    world.pass(10).await;
    assert_eq!(read(&world), ["import 9100"], "it is read to its end");
    // The process is there a moment longer than the word of the API server.
    world.pass(10).await;
    assert_eq!(read(&world), Vec::<String>::new());
    world.pass(10).await;
    assert_eq!(world.known().pods, []);
    world.double.check();
    world.check_published(&[
        &["shop/import-x7k2p 6d657267"],
        &["shop/import-x7k2p 6d657267 ended"],
        &[],
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_a_job_is_read_until_it_has_succeeded_or_failed() {
    for last in ["Succeeded", "Failed"] {
        for is_deleted in [false, true] {
            check(last, is_deleted).await;
        }
    }
}
