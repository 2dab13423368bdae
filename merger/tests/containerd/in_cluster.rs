//! The container of `deploy/base` with nothing else than it says, before an API server that is a double: the
//! account of its pod is what it finds it by, and the pods of the node are real.

use std::net::TcpListener;

use serde_json::{Value as Json, json};
use tokio::runtime;

use super::{
    Clock, Node, PATH, Pod, asking,
    authority::Authority,
    contained::{Changes, Contained, NODE, NODE_NAME},
    deployed::check,
    double::{Answer, Double, Play, on},
    image,
    kubelet::Account,
    nonces,
    recordings::{event, list},
    requests::{LIST, MONITORS, watch, watch_monitors},
    rights::table,
    running::until,
    runtime::{NAMESPACE, Runtime},
    serving, set,
};

#[test]
fn the_container_finds_the_pods_of_its_node_by_its_service_account() {
    let mut clock = Clock::start("in-cluster");
    let node = Node::start();
    image::import_merger(&node);
    let mut runtime = node.runtime();
    let [listed, added] = [(1, "listed"), (2, "added")]
        .map(|(n, name)| run(&mut runtime, &asking(&node, n, name, "9100")));
    let silent = Pod { annotations: vec![], ..asking(&node, 3, "selected", "") };
    let selected = run(&mut runtime, &silent);
    clock.tell("three sandboxes are made");

    let authority = Authority::new();
    let account = Account { token: "of-merger".to_owned(), authority: authority.pem() };
    let as_merger = |request: &str| format!("{request} as Bearer of-merger");
    let script = vec![
        on(&as_merger(LIST), Answer::ok(list(8, &[listed, selected]))),
        on(
            &as_merger(&watch(8)),
            Answer::plays([Play::seconds(2), event("ADDED", &added), Play::Stay]),
        ),
        on(&as_merger(MONITORS), Answer::ok(list(5, &[monitor("selected")]))),
        on(&as_merger(&watch_monitors(5)), Answer::plays([Play::Stay])),
    ];
    let listener = node.netns().within(|| TcpListener::bind((NODE, 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let tokio =
        runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let double = tokio.block_on(async {
        let listener = listener.try_into().unwrap();
        Double::start_on(listener, script, Some(authority.server(NODE)))
    });

    let changes = Changes::of_machine();
    println!("in-cluster: otherwise than deploy/base: {changes}");
    let merger = Contained::start(&node, &mut runtime, (9, double.address, &account), &changes);
    merger.wait(&mut runtime);
    until("the pod of the list is read", || nonces(&merger.page("listed")) == set(&["listed"]));
    clock.tell("merger runs in a container, and a pod of the list is read");
    until("the pod of the monitor is read", || {
        nonces(&merger.page("selected")) == set(&["selected"])
    });
    clock.tell("so is one that asks for nothing, and is selected by a PodMonitor");
    until("the pod of the watch is read", || nonces(&merger.page("added")) == set(&["added"]));
    clock.tell("a pod of the watch is read");
    let rights = merger.rights(&mut runtime);
    println!("in-cluster: rights\n{}", table(&rights));
    check(&rights, &changes);
    double.check();
    merger.end(&mut runtime);
    clock.tell("it ended when it was asked to");
}

/// What asks for the port of the pods with this label, which ask for nothing themselves.
fn monitor(app: &str) -> Json {
    json!({
        "metadata": {"name": "m", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "4"},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "podMetricsEndpoints": [{"port": "http", "path": PATH.1}],
        },
    })
}

/// A pod with one container, which serves the pod's name. Gives what an API server says of it.
fn run(runtime: &mut Runtime, pod: &Pod) -> Json {
    let sandbox = runtime.run(pod);
    let id = runtime.start(&sandbox, serving("app", &pod.name, "9100"));
    let annotations = pod.annotations.iter().map(|(name, value)| (name.clone(), json!(value)));
    json!({
        "metadata": {
            "name": pod.name, "namespace": NAMESPACE, "uid": pod.uid, "resourceVersion": "7",
            "annotations": Json::Object(annotations.collect()),
            "labels": {"app": pod.name},
        },
        "spec": {
            "nodeName": NODE_NAME,
            "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 9100}]}],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "app", "containerID": format!("containerd://{id}")}],
        },
    })
}
