//! 500 pods that are as large as an API server lets anybody make them.
//!
//! The double has a thread and a clock of its own, so that what is counted is the source's alone.

use std::{sync::mpsc, thread, time::Duration};

use merger::pods::kube::{Access, List, Monitors, Query, watch as watch_pods};
use serde_json::json;
use tokio::{runtime, sync::oneshot, time};

use crate::{
    double::{Answer, Double, Play, Step, on},
    heap,
    monitors::monitor,
    recordings::{event, no_progress, pod},
    requests::{MONITORS, STREAM, list_of, page_of, watch, watch_monitors},
    world::kubeconfig,
};

/// More pods than a node has.
const MANY: usize = 500;

/// Enough to fill pages of escaped annotations, which take a debug build half a second a pod.
const SOME: usize = 40;

/// What the API server takes of the annotations of one object: `TotalAnnotationSizeLimitB` in
/// `staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go` of kubernetes/kubernetes.
const ANNOTATIONS: usize = 256 << 10;

/// What is promised.
const PROMISE: isize = 64 << 20;

/// Everything that was allocated beyond it would be for one pod.
const KEPT: isize = 32 << 20;

/// The pods from `first` on, of a page of `limit`, one at a time.
fn page(first: usize, limit: usize, n_pods: usize, annotation: (&'static str, char)) -> Answer {
    let last = (first + limit).min(n_pods);
    let next = if last < n_pods { format!(",\"continue\":\"{last}\"") } else { String::new() };
    let head = format!(
        "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"9\"{next}}},\"items\":["
    );
    let items = (first..last).map(move |n| {
        let comma = if n == first { "" } else { "," };
        format!("{comma}{}", hostile(n, annotation))
    });
    let parts = [head].into_iter().chain(items).chain(["]}".to_owned()]);
    Answer::plays([Play::Many(Box::new(parts.map(Into::into)))])
}

/// JSON of a pod whose annotation is as large as it may be.
fn hostile(n: usize, (name, filling): (&'static str, char)) -> String {
    let mut object = pod(&format!("pod-{n:03}"), &format!("{n}"), 8, "Running");
    object["metadata"]["annotations"][name] = "FILLING".into();
    // As an API server writes it: Go escapes what could be HTML.
    let filling = if filling == '<' { "\\u003c".to_owned() } else { filling.to_string() };
    object.to_string().replace("FILLING", &filling.repeat(ANNOTATIONS))
}

fn pages(limit: usize, n_pods: usize, annotation: (&'static str, char)) -> Vec<Step> {
    (0..n_pods)
        .step_by(limit)
        .map(|first| {
            let request =
                if first == 0 { list_of(limit) } else { page_of(&first.to_string(), limit) };
            on(&request, page(first, limit, n_pods, annotation))
        })
        .collect()
}

fn end() -> Step {
    on(&watch(9), Answer::plays([Play::Stay]))
}

/// Reads them all, and prints what that took.
#[track_caller]
fn check(name: &str, n_pods: usize, list: List, script: Vec<Step>) {
    check_with(name, n_pods, list, Monitors::Ignored, script);
}

/// The same, with the monitors where they are asked for.
#[track_caller]
fn check_with(name: &str, n_pods: usize, list: List, monitors: Monitors, script: Vec<Step>) {
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        runtime().block_on(async {
            tell.send(Double::start(script).await).unwrap();
            let _ = stopped.await;
        });
    });
    let double = told.recv().unwrap();

    heap::begin();
    let (in_use, peak) = runtime().block_on(async {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cluster = format!("server: 'http://{}'", double.address);
        std::fs::write(file.path(), kubeconfig(&cluster, "{}")).unwrap();
        let access = Access::Kubeconfig(Some(file.path().to_owned()));
        let query = Query { node_name: "n1".to_owned(), list, monitors };
        let (mut reader, run) = watch_pods(access, query).unwrap();
        let run = tokio::spawn(run);
        let all = reader.wait_for(|known| known.as_ref().is_some_and(|k| k.pods.len() == n_pods));
        drop(time::timeout(Duration::from_mins(2), all).await.expect("all pods").unwrap());
        while !double.is_done() {
            time::sleep(Duration::from_millis(10)).await;
        }
        let measured = heap::in_use_and_peak();
        run.abort();
        measured
    });
    stop.send(()).unwrap();
    server.join().unwrap();
    let mib = |bytes: isize| bytes / (1 << 10) * 100 / (1 << 10);
    let (in_use_mib, peak_mib) = (mib(in_use), mib(peak));
    println!(
        "{name}: {n_pods} pods in {} requests, at most {}.{:02} MiB, {}.{:02} MiB when all are known",
        double.log().len(),
        peak_mib / 100,
        peak_mib % 100,
        in_use_mib / 100,
        in_use_mib % 100,
    );
    double.check();
    assert!(peak < PROMISE && in_use < KEPT, "{peak} bytes at most, {in_use} in the end");
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn annotations_that_nobody_reads_take_no_memory() {
    let mut script = pages(16, MANY, ("example.com/filled", 'x'));
    script.push(end());
    check("annotations that nobody reads", MANY, List::Pages, script);
}

/// In JSON each byte of it is six. Pages of sixteen and of eight are broken off, then they are of four.
/// The second list is read while the first is known.
#[test]
fn annotations_that_are_read_are_cut_and_pages_that_are_too_large_are_halved() {
    let annotation = ("prometheus.io/path", '<');
    let broken = [16, 8].map(|limit| on(&list_of(limit), page(0, limit, SOME, annotation)));
    let mut script = Vec::from(broken);
    script.extend(pages(4, SOME, annotation));
    script.push(on(&watch(9), Answer::plays([no_progress()])));
    script.extend(pages(4, SOME, annotation));
    script.push(end());
    check("annotations that are read, twice", SOME, List::Pages, script);
}

/// Each has 10,000 endpoints in more than 1 MiB, so that pages are too large until they are of eight, and all
/// select each pod.
#[test]
fn monitors_that_are_as_large_as_they_may_be_are_cut() {
    let hostile = |n: usize| {
        let mut hostile = monitor(&format!("m-{n:03}"), 8, "a");
        let endpoint = json!({"port": "metrics", "path": "x".repeat(100)});
        hostile["spec"] = json!({"selector": {}, "podMetricsEndpoints": vec![endpoint; 10_000]});
        hostile
    };
    let page = |first: usize, limit: usize, n_monitors: usize| {
        let last = (first + limit).min(n_monitors);
        let next =
            if last < n_monitors { format!(",\"continue\":\"{last}\"") } else { String::new() };
        let head = format!(
            "{{\"kind\":\"PodMonitorList\",\"apiVersion\":\"monitoring.coreos.com/v1\",\"metadata\":{{\"resourceVersion\":\"9\"{next}}},\"items\":["
        );
        let items = (first..last)
            .map(move |n| format!("{}{}", if n == first { "" } else { "," }, hostile(n)));
        let parts = [head].into_iter().chain(items).chain(["]}".to_owned()]);
        Answer::plays([Play::Many(Box::new(parts.map(Into::into)))])
    };
    let of = |limit: usize| MONITORS.replace("64", &limit.to_string());
    let next =
        |first: usize, limit: usize| of(limit).replace("limit", &format!("continue={first} limit"));
    let mut script = pages(16, 100, ("example.com/filled", 'x'));
    script.push(end());
    script.extend([64, 32, 16, 8].map(|limit| on(&of(limit), page(0, limit, 24))));
    script.extend([8, 16].map(|first| on(&next(first, 8), page(first, 8, 24))));
    script.push(on(&watch_monitors(9), Answer::plays([Play::Stay])));
    check_with("100 pods and 24 monitors of 1 MiB", 100, List::Pages, Monitors::Watched, script);
}

/// Each would take some 90 KiB if it ran, and all of them more than is let.
#[test]
fn pods_that_have_failed_take_no_memory() {
    let failed = |n: usize| {
        let mut pod = pod(&format!("pod-{n:03}"), &format!("{n}"), 8, "Failed");
        pod["spec"]["containers"][0]["ports"] = vec![json!({"containerPort": 80}); 1800].into();
        pod["metadata"]["labels"] = json!({"filled": "x".repeat(15 << 10)});
        pod["metadata"]["annotations"] = (0..7)
            .map(|n| (format!("{n}.merger.io/endpoints"), "x".repeat(4 << 10).into()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        format!("{{\"type\":\"ADDED\",\"object\":{pod}}}\n").into()
    };
    let complete = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {
        "resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let added = Play::Many(Box::new((0..MANY).map(failed)));
    let plays = [added, event("BOOKMARK", &complete), Play::Stay];
    let script = vec![on(STREAM, Answer::plays(plays))];
    check("pods that have failed", MANY, List::Streaming, script);
}

#[test]
fn a_streamed_list_is_read_one_pod_at_a_time() {
    let added = (0..MANY).map(|n| {
        let pod = hostile(n, ("prometheus.io/path", 'x'));
        format!("{{\"type\":\"ADDED\",\"object\":{pod}}}\n").into()
    });
    let complete = serde_json::json!({"kind": "Pod", "apiVersion": "v1", "metadata": {
        "resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let plays = [Play::Many(Box::new(added)), event("BOOKMARK", &complete), Play::Stay];
    check("a streamed list", MANY, List::Streaming, vec![on(STREAM, Answer::plays(plays))]);
}
