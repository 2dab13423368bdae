//! What there is, and then what changes: by a list in pages, and by the beginning of a watch.

use merger::pods::kube::List;

use crate::{
    double::{Answer, Play, on},
    recordings::{LISTED, bookmark, event, lines, list, pod, read, status},
    requests::{LIST, STREAM, recorded_list, watch},
    world::World,
};

/// What the recorded watch does to the recorded list: the pod that is deleted fails first, beside its
/// replacement.
const WATCHED: [&[&str]; 4] = [
    &LISTED,
    &[LISTED[0], LISTED[1], LISTED[2], LISTED[3], LISTED[4], "shop/web-59799f97c6-tf6r7 b8db6f4d"],
    &[
        LISTED[0],
        LISTED[1],
        LISTED[2],
        "shop/web-59799f97c6-7rt9j e1dc6ab9 ended",
        LISTED[4],
        "shop/web-59799f97c6-tf6r7 b8db6f4d",
    ],
    &[LISTED[0], LISTED[1], LISTED[2], LISTED[4], "shop/web-59799f97c6-tf6r7 b8db6f4d"],
];

/// A second before each line.
fn spaced(lines: Vec<Play>) -> Vec<Play> {
    lines.into_iter().flat_map(|line| [Play::seconds(1), line]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_is_followed_by_one_watch() {
    let mut script = recorded_list();
    let mut plays = spaced(lines("watch.jsonl"));
    // A bookmark a minute, and the server's end of the watch after 290 s.
    for version in [620, 630, 640] {
        plays.extend([Play::seconds(60), bookmark(version)]);
    }
    plays.push(Play::seconds(90));
    script.push(on(&watch(571), Answer::plays(plays)));
    script.push(on(&watch(640), Answer::plays([Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(200).await;
    assert_eq!(world.double.log().len(), 4, "there is no polling");
    world.pass(100).await;
    world.double.check();
    world.check_published(&WATCHED);
    world.check_log(&["INFO pods are known n_pods=5 n_skipped=0"]);
    let pods = world.known();
    let web = pods.pods.last().unwrap();
    assert_eq!(web.annotations["prometheus.io/port"], "9100");
    assert_eq!(web.node.as_deref(), Some("bench-node"));
    let meshed = &pods.pods[2];
    let names: Vec<&str> = meshed.containers.iter().map(|c| &*c.name).collect();
    assert!(names.contains(&"istio-proxy"), "a native sidecar is a container: {names:?}");
    assert!(meshed.containers.iter().all(|c| c.id.is_some()), "{meshed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_is_the_beginning_of_its_watch() {
    let mut plays = spaced(lines("watch-streaming-list.jsonl"));
    plays.push(Play::seconds(60));
    let script = vec![
        on(STREAM, Answer::plays(plays)),
        // It goes on from where it was; what there is is not streamed again.
        on(&watch(614), Answer::plays([Play::Stay])),
    ];
    let world = World::start(List::Streaming, script).await;
    world.pass(5).await;
    world.check_published(&[]);
    world.pass(95).await;
    world.double.check();
    world.check_published(&WATCHED);
    world.check_log(&["INFO pods are known n_pods=5 n_skipped=0"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_to_stream_is_asked_for_pages_for_good() {
    let refusals = [
        (400, "BadRequest", "unknown parameter"),
        (
            422,
            "Invalid",
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ),
        (500, "InternalError", "RequestWatchProgress is disabled"),
    ];
    for (code, reason, message) in refusals {
        let mut script = vec![on(STREAM, Answer::status(code, status(code, reason, message)))];
        script.extend(recorded_list());
        let expired = Answer::recorded(&read("watch-expired.http"));
        script.push(on(&watch(571), expired));
        script.extend(recorded_list());
        script.push(on(&watch(571), Answer::plays([Play::Stay])));
        let world = World::start(List::Streaming, script).await;
        world.pass(60).await;
        world.double.check();
        world.check_published(&[&LISTED]);
        let log = world.log();
        let told = format!(
            "WARN the API server cannot stream a list: asking for pages from now on why=\"{message}\""
        );
        assert_eq!(log.iter().filter(|line| **line == told).count(), 1, "{log:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_for_a_moment_is_begun_anew() {
    let message = "etcdserver: leader changed";
    let failed = event(
        "ERROR",
        &serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "InternalError", "code": 500}),
    );
    let mut plays = lines("watch-streaming-list.jsonl");
    plays.push(Play::Stay);
    let script = vec![
        on(STREAM, Answer::status(500, status(500, "InternalError", message))),
        on(STREAM, Answer::plays([failed])),
        on(STREAM, Answer::plays(plays)),
    ];
    let world = World::start(List::Streaming, script).await;
    world.pass(60).await;
    world.double.check();
    assert_eq!(world.known().pods.len(), 5);
    let told =
        format!("WARN the API server ended the watch: listing the pods code=500 why=\"{message}\"");
    let log = world.log();
    assert!(log.contains(&told) && !log.iter().any(|line| line.contains("pages")), "{log:#?}");
}

/// One before Kubernetes 1.27, behind something that takes its errors away.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_says_that_the_list_is_complete_is_asked_for_pages() {
    let plays = [event("ADDED", &pod("a", "1", 7, "Running")), Play::Stay];
    let script = vec![
        on(STREAM, Answer::plays(plays)),
        on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))),
        on(&watch(8), Answer::plays([Play::Stay])),
    ];
    let world = World::start(List::Streaming, script).await;
    world.pass(29).await;
    assert_eq!(world.double.log().len(), 1);
    world.pass(31).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"]]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_made_again_under_its_name_is_one_pod() {
    let script = vec![
        on(LIST, Answer::ok(list(10, &[pod("a", "1", 7, "Running"), pod("b", "2", 8, "Running")]))),
        on(
            &watch(10),
            Answer::plays([
                Play::seconds(1),
                event("DELETED", &pod("a", "1", 11, "Running")),
                event("ADDED", &pod("a", "3", 12, "Pending")),
                Play::seconds(1),
                event("MODIFIED", &pod("b", "2", 13, "Succeeded")),
                Play::seconds(1),
                // Both of it are lost: the next list has another pod b.
                Play::Reset,
            ]),
        ),
        on(&watch(13), Answer::status(410, status(410, "Expired", "too old resource version"))),
        on(
            LIST,
            Answer::ok(list(20, &[pod("a", "3", 12, "Running"), pod("b", "4", 19, "Running")])),
        ),
        on(&watch(20), Answer::plays([Play::Stay])),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(60).await;
    world.double.check();
    world.check_published(&[
        &["shop/a 1", "shop/b 2"],
        &["shop/a 3", "shop/b 2"],
        &["shop/a 3", "shop/b 2 ended"],
        &["shop/a 3", "shop/b 4"],
    ]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_no_pod_costs_itself() {
    let mut odd = pod("odd", "3", 9, "Running");
    odd["spec"]["containers"][0]["ports"] = serde_json::json!([{"containerPort": 70000}]);
    let script = vec![
        on(LIST, Answer::ok(list(10, &[pod("a", "1", 7, "Running"), odd.clone()]))),
        on(&watch(10), Answer::plays([Play::seconds(1), event("DELETED", &odd), Play::Stay])),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(1).await;
    let problem = "pod shop/odd of the API server: invalid value: integer `70000`, expected u16";
    let problems: Vec<String> = world.known().problems.iter().map(ToString::to_string).collect();
    assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problems:?}");
    world.pass(10).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"]]);
    assert_eq!(world.known().problems, []);
}
