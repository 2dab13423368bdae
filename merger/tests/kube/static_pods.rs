//! Pods that a kubelet has from a file of its own: the API server knows each by its mirror.

use merger::pods::kube::List;
use serde_json::{Value, json};

use crate::{
    double::{Answer, Play, on},
    recordings::{event, list, pod},
    requests::{LIST, watch},
    world::World,
};

/// What the kubelet calls the pod, and so its cgroup.
const HASH: &str = "0d5f1c3a6c8a4f2b9e7d6c5b4a392817";

/// A mirror as `CreateMirrorPod` of the kubelet makes it, or as anybody may.
fn mirror(name: &str, uid: &str, version: u32) -> Value {
    let mut mirror = pod(name, uid, version, "Running");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": HASH,
        "kubernetes.io/config.mirror": HASH, "kubernetes.io/config.source": "file"});
    mirror["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}]);
    mirror
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_found_by_the_uid_of_its_pod_unless_another_claims_that_as_well() {
    let (etcd, thief) = (mirror("etcd-n1", "1-a", 7), mirror("a-thief", "2-a", 9));
    let plays = [
        Play::seconds(1),
        event("ADDED", &thief),
        Play::seconds(2),
        event("DELETED", &thief),
        Play::Stay,
    ];
    let script = vec![
        on(LIST, Answer::ok(list(8, &[etcd, pod("web", "3-a", 8, "Running")]))),
        on(&watch(8), Answer::plays(plays)),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(2).await;
    let problems: Vec<String> = world.known().problems.iter().map(ToString::to_string).collect();
    let [thief, etcd] = problems.as_slice() else { panic!("{problems:?}") };
    let told = format!(
        "pod shop/a-thief of the API server: it says by kubernetes.io/config.mirror that it is the mirror of \
         the static pod of uid {HASH}, and so does another pod"
    );
    assert!(thief.starts_with(&told), "{thief}");
    assert!(etcd.starts_with("pod shop/etcd-n1 of the API server"), "{etcd}");
    world.pass(60).await;
    world.double.check();
    let found = format!("shop/etcd-n1 {HASH}");
    world.check_published(&[&[&found, "shop/web 3"], &["shop/web 3"], &[&found, "shop/web 3"]]);
    assert_eq!(world.known().problems, []);
}

/// A static pod whose manifest has a uid, which the API server could have given to anybody, claims nothing.
#[tokio::test(start_paused = true)]
async fn nobody_has_the_uid_that_the_api_server_gave_to_another() {
    let victim = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
    let mut thief = mirror("a-thief", "2-a", 7);
    thief["metadata"]["annotations"]["kubernetes.io/config.mirror"] = victim.into();
    let pods = [thief, pod("web", victim, 8, "Running")];
    let script =
        vec![on(LIST, Answer::ok(list(8, &pods))), on(&watch(8), Answer::plays([Play::Stay]))];
    let world = World::start(List::Pages, script).await;
    world.pass(10).await;
    world.double.check();
    let uids: Vec<String> = world.known().pods.iter().map(|pod| pod.uid.clone()).collect();
    assert_eq!(uids, ["2-a", victim]);
}
