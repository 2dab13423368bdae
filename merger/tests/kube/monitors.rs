//! `PodMonitors` beside the pods: what they ask goes with a pod, and where there are none, or they are not
//! to be had, the pods are as they are without.

use merger::pods::kube::List;
use serde_json::{Value, json};

use crate::{
    double::{Answer, Play, Step, on},
    recordings::{event, list, no_progress, pod, status},
    requests::{LIST, MONITORS, page, watch, watch_monitors},
    world::World,
};

const STREAM_MONITORS: &str = "GET /apis/monitoring.coreos.com/v1/podmonitors \
                               allowWatchBookmarks=true resourceVersion=0 \
                               resourceVersionMatch=NotOlderThan sendInitialEvents=true \
                               timeoutSeconds=290 watch=true";

/// A monitor in `shop` of the pods with this label `app`.
pub(crate) fn monitor(name: &str, version: u32, app: &str) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": name, "namespace": "shop", "uid": name,
            "resourceVersion": version.to_string()},
        "spec": {"selector": {"matchLabels": {"app": app}},
            "podMetricsEndpoints": [{"port": "metrics"}]},
    })
}

fn labelled(name: &str, uid: &str, version: u32) -> Value {
    let mut pod = pod(name, uid, version, "Running");
    pod["metadata"]["labels"] = json!({"app": name});
    pod
}

/// Pods `a` and `b`, of which nothing changes.
fn two_pods() -> Vec<Step> {
    vec![
        on(LIST, Answer::ok(list(8, &[labelled("a", "1", 7), labelled("b", "2", 7)]))),
        // A bookmark a minute, as a server sends them.
        on(&watch(8), Answer::plays(staying(8))),
    ]
}

/// What a watch says on which nothing happens for two hours.
fn staying(version: u32) -> Vec<Play> {
    let bookmark = json!({"kind": "Any", "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "spec": {}});
    (0..120).flat_map(|_| [Play::seconds(60), event("BOOKMARK", &bookmark)]).collect()
}

fn plays(events: Vec<Play>) -> Answer {
    Answer::plays(events.into_iter().chain(staying(99)))
}

fn not_found() -> Answer {
    Answer::status(404, "404 page not found\n")
}

const KNOWN: &str = "INFO pods are known n_pods=2 n_skipped=0";
const BARE: [&str; 2] = ["shop/a 1", "shop/b 2"];

#[tokio::test(start_paused = true)]
async fn a_monitor_that_is_made_changed_and_deleted_goes_with_the_pods_that_it_selects() {
    let mut script = two_pods();
    script.extend([
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))),
        on(
            &watch_monitors(20),
            plays(vec![
                Play::seconds(1),
                event("ADDED", &monitor("n", 21, "b")),
                Play::seconds(1),
                event("MODIFIED", &monitor("m", 22, "b")),
                Play::seconds(1),
                event("DELETED", &monitor("n", 23, "b")),
                Play::seconds(1),
                event("DELETED", &monitor("m", 24, "b")),
            ]),
        ),
    ]);
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(200).await;
    world.double.check();
    assert_eq!(world.double.log_of("pods").len(), 2, "one list, one watch, no polling");
    assert_eq!(world.double.log_of("podmonitors").len(), 2, "one list, one watch, no polling");
    world.check_published(&[
        &["shop/a 1 <shop/m", "shop/b 2"],
        &["shop/a 1 <shop/m", "shop/b 2 <shop/n"],
        &["shop/a 1", "shop/b 2 <shop/m <shop/n"],
        &["shop/a 1", "shop/b 2 <shop/m"],
        &BARE,
    ]);
    world.check_log(&[KNOWN, "INFO PodMonitors are known n_monitors=1"]);
}

/// The list is begun before the monitor is another one, and complete after.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_listed_again_has_what_monitors_ask_by_then() {
    let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410});
    let first = list(9, &[labelled("a", "1", 7)]);
    let first =
        first.replace(r#""resourceVersion":"9""#, r#""continue":"c","resourceVersion":"9""#);
    let script = vec![
        on(LIST, Answer::ok(list(8, &[labelled("a", "1", 7), labelled("b", "2", 7)]))),
        on(&watch(8), Answer::plays([Play::seconds(20), event("ERROR", &object), Play::Stay])),
        on(LIST, Answer::ok(first)),
        on(
            &page("c"),
            Answer::plays([Play::seconds(20), Play::text(list(9, &[labelled("b", "2", 7)]))]),
        ),
        on(&watch(9), plays(vec![])),
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))),
        on(
            &watch_monitors(20),
            plays(vec![Play::seconds(30), event("MODIFIED", &monitor("m", 22, "b"))]),
        ),
    ];
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(100).await;
    world.double.check();
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"], &["shop/a 1", "shop/b 2 <shop/m"]]);
}

#[tokio::test(start_paused = true)]
async fn a_label_that_a_pod_gets_is_what_selects_it() {
    let mut relabelled = labelled("a", "1", 9);
    relabelled["metadata"]["labels"] = json!({"app": "b"});
    let script = vec![
        on(LIST, Answer::ok(list(8, &[labelled("a", "1", 7)]))),
        on(&watch(8), plays(vec![Play::seconds(5), event("MODIFIED", &relabelled)])),
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "b")]))),
        on(&watch_monitors(20), plays(vec![])),
    ];
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(30).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"], &["shop/a 1 <shop/m"]]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_the_resource_has_its_pods_at_once_and_is_asked_rarely() {
    let mut script = two_pods();
    script.extend((0..4).map(|_| on(MONITORS, not_found())));
    script.push(on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))));
    script.push(on(&watch_monitors(20), plays(vec![])));
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(2).await;
    world.check_published(&[&BARE]);
    world.pass(298).await;
    assert_eq!(world.double.log_of("podmonitors").len(), 2, "once more at once, and nothing polls");
    world.pass(50 * 60).await;
    world.double.check();
    // Somebody has installed the operator.
    world.check_published(&[&BARE, &["shop/a 1 <shop/m", "shop/b 2"]]);
    let absent = "INFO the cluster has no PodMonitor of monitoring.coreos.com/v1: asking again \
                  in 5 to 10 min";
    world.check_log(&[absent, KNOWN, "INFO PodMonitors are known n_monitors=1"]);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_may_not_read_them_is_told_of_once_and_has_its_pods() {
    let mut script = two_pods();
    for _ in 0..3 {
        let message = "podmonitors.monitoring.coreos.com is forbidden";
        script.push(on(MONITORS, Answer::status(403, status(403, "Forbidden", message))));
    }
    script.push(on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))));
    script.push(on(&watch_monitors(20), plays(vec![])));
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(2).await;
    world.check_published(&[&BARE]);
    world.pass(40 * 60).await;
    world.double.check();
    world.check_published(&[&BARE, &["shop/a 1 <shop/m", "shop/b 2"]]);
    let mut log = world.log();
    log.sort();
    let [known, tells, monitors, forbidden] = log.as_slice() else { panic!("{log:#?}") };
    assert!(known.starts_with("INFO PodMonitors are known"), "{known}");
    assert!(tells.starts_with("INFO pods are known"), "{tells}");
    assert!(monitors.starts_with("INFO the API server tells of PodMonitors again"), "{monitors}");
    let right =
        "WARN the API server does not tell of PodMonitors: grant list and watch of podmonitors";
    assert!(forbidden.starts_with(right), "{forbidden}");
}

#[tokio::test(start_paused = true)]
async fn after_an_error_in_their_stream_nothing_that_they_ask_for_disappears() {
    let expired = event(
        "ERROR",
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410}),
    );
    for in_stream in [expired, no_progress()] {
        let mut script = two_pods();
        script.extend([
            on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))),
            on(&watch_monitors(20), Answer::plays([Play::seconds(20), in_stream, Play::Stay])),
            // It fails before it succeeds, and slowly: what were emptied would be seen.
            on(MONITORS, Answer::status(503, status(503, "ServiceUnavailable", "later"))),
            on(
                MONITORS,
                Answer::plays([
                    Play::seconds(5),
                    Play::text(list(30, &[monitor("m", 19, "a"), monitor("n", 29, "b")])),
                ]),
            ),
            on(&watch_monitors(30), plays(vec![])),
        ]);
        let world = World::start_monitored(List::Pages, script).await;
        world.pass(100).await;
        world.double.check();
        world.check_published(&[
            &["shop/a 1 <shop/m", "shop/b 2"],
            &["shop/a 1 <shop/m", "shop/b 2 <shop/n"],
        ]);
        assert_eq!(world.double.log_of("pods").len(), 2, "the pods' watch goes on");
    }
}

/// The first time it may be a server that starts; the second time it is the resource that is gone.
#[tokio::test(start_paused = true)]
async fn a_resource_that_is_gone_is_forgotten_when_it_is_gone_for_long() {
    let mut script = two_pods();
    script.extend([
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))),
        on(&watch_monitors(20), Answer::plays([Play::seconds(20), Play::Reset])),
        on(&watch_monitors(20), not_found()),
        on(MONITORS, not_found()),
        on(MONITORS, not_found()),
    ]);
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(5 * 60).await;
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"]]);
    // From five minutes to ten.
    while !world.double.is_done() {
        world.pass(1).await;
    }
    world.pass(1).await;
    world.double.check();
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"], &BARE]);
}

#[tokio::test(start_paused = true)]
async fn pods_wait_a_second_for_monitors_that_are_slow_and_no_longer() {
    let mut script = two_pods();
    let late = Play::text(list(20, &[monitor("m", 19, "a")]));
    script.push(on(MONITORS, Answer::plays([Play::seconds(20), late])));
    script.push(on(&watch_monitors(20), plays(vec![])));
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(2).await;
    world.check_published(&[&BARE]);
    world.pass(28).await;
    world.double.check();
    world.check_published(&[&BARE, &["shop/a 1 <shop/m", "shop/b 2"]]);
}

/// A server that starts may not know yet what there is, nor who may read it.
#[tokio::test(start_paused = true)]
async fn monitors_that_are_refused_once_are_there_seconds_later() {
    let forbidden = || Answer::status(403, status(403, "Forbidden", "not yet"));
    for refused in [not_found, forbidden] {
        let mut script = two_pods();
        script.push(on(MONITORS, refused()));
        script.push(on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))));
        script.push(on(&watch_monitors(20), plays(vec![])));
        let world = World::start_monitored(List::Pages, script).await;
        world.pass(5).await;
        world.double.check();
        assert_eq!(world.published().last().unwrap()[0], "shop/a 1 <shop/m");
    }
}

/// Whoever may list and not watch them is not listed for each few seconds.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_each_time_is_asked_for_rarely() {
    let mut script = two_pods();
    for _ in 0..3 {
        script.push(on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))));
        let message = "podmonitors.monitoring.coreos.com is forbidden";
        let forbidden = Answer::status(403, status(403, "Forbidden", message));
        script.push(on(&watch_monitors(20), forbidden));
    }
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(280).await;
    assert_eq!(world.double.log_of("podmonitors").len(), 4, "twice, and nothing polls");
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"]]);
    world.pass(340).await;
    world.double.check();
}

#[tokio::test(start_paused = true)]
async fn pods_tell_that_monitors_are_awaited_until_there_is_a_list_or_none_to_be_had() {
    let late = || Play::text(list(20, &[]));
    for (answers, is_awaited_at) in [
        (vec![Answer::plays([Play::seconds(20), late()])], [true, false]),
        // That they are not there is believed when it is said again minutes later.
        (vec![not_found(), not_found(), not_found()], [true, true]),
        (
            vec![Answer::status(503, "later"), Answer::plays([Play::seconds(5), late()])],
            [true, false],
        ),
    ] {
        let mut script = two_pods();
        let is_there = !is_awaited_at[1];
        script.extend(answers.into_iter().map(|answer| on(MONITORS, answer)));
        if is_there {
            script.push(on(&watch_monitors(20), plays(vec![])));
        }
        let world = World::start_monitored(List::Pages, script).await;
        world.pass(3).await;
        let before = world.known().awaits_monitors;
        world.pass(27).await;
        assert_eq!([before, world.known().awaits_monitors], is_awaited_at);
        world.pass(if is_there { 0 } else { 575 }).await;
        assert!(!world.known().awaits_monitors);
        world.double.check();
        world.check_published(&[&BARE]);
    }
}

#[tokio::test(start_paused = true)]
async fn monitors_that_are_there_first_publish_no_pods() {
    let mut script = vec![
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a")]))),
        on(&watch_monitors(20), plays(vec![])),
    ];
    let pods = Play::text(list(8, &[labelled("a", "1", 7), labelled("b", "2", 7)]));
    script.push(on(LIST, Answer::plays([Play::seconds(20), pods])));
    script.push(on(&watch(8), plays(vec![])));
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(19).await;
    assert!(world.reader.borrow().is_none());
    world.pass(11).await;
    world.double.check();
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"]]);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_cannot_be_followed_costs_itself_and_one_that_is_too_large_is_cut() {
    let mut odd = monitor("odd", 19, "a");
    odd["spec"]["selector"]["matchExpressions"] = json!([{"key": "a", "operator": "Gt"}]);
    // 10,000 endpoints in 1 MiB.
    let mut large = monitor("large", 19, "b");
    let endpoint = json!({"port": "metrics", "path": "x".repeat(80)});
    large["spec"]["podMetricsEndpoints"] = json!(vec![endpoint; 10_000]);
    assert!(large.to_string().len() > 1 << 20);
    let mut script = two_pods();
    script.extend([
        on(MONITORS, Answer::ok(list(20, &[large, monitor("m", 19, "a"), odd]))),
        on(&watch_monitors(20), plays(vec![])),
    ]);
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(30).await;
    world.double.check();
    let known = world.known();
    let [a, b] = known.pods.as_slice() else { panic!("{known:?}") };
    assert_eq!((a.monitored.endpoints.len(), a.monitored.left_out), (1, 0));
    assert_eq!((b.monitored.endpoints.len(), b.monitored.left_out), (32, 10_000 - 32));
    let [problem] = known.problems.as_slice() else { panic!("{known:?}") };
    let expected = "PodMonitor shop/odd of the API server: a requirement of its selector is none";
    assert!(problem.to_string().starts_with(expected), "{problem}");
}

/// One namespace has more of them than are kept. Where one goes, the last one is read after all.
#[tokio::test(start_paused = true)]
async fn a_monitor_that_was_left_out_is_read_when_there_is_room() {
    let large = |name: &str, app: &str| {
        let mut large = monitor(name, 19, app);
        let endpoint = json!({"port": "metrics", "path": "x".repeat(1000)});
        large["spec"]["podMetricsEndpoints"] = json!(vec![endpoint; 25]);
        large
    };
    let mut all: Vec<Value> = (0..90).map(|n| large(&format!("m-{n:02}"), "none")).collect();
    all.push(large("z", "a"));
    let last = &all[30..];
    let mut script = two_pods();
    script.extend([
        on(MONITORS, Answer::ok(list(20, &all))),
        on(
            &watch_monitors(20),
            plays(vec![Play::seconds(60), event("DELETED", &all[0]), Play::seconds(1)]),
        ),
        on(MONITORS, Answer::ok(list(30, last))),
        on(&watch_monitors(30), plays(vec![])),
    ]);
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(110).await;
    world.check_published(&[&BARE]);
    let problem = world.known().problems[0].to_string();
    assert!(problem.contains("or than 2 MiB in one namespace, so the last ones"), "{problem}");
    world.pass(90).await;
    world.double.check();
    let known = world.known();
    assert!(!known.pods[0].monitored.endpoints.is_empty() && known.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_too_many_labels_is_selected_by_none_and_told_of() {
    let mut crowded = labelled("b", "2", 7);
    let labels = crowded["metadata"]["labels"].as_object_mut().unwrap();
    labels.extend((0..300).map(|n| (format!("label-{n}"), json!("x".repeat(63)))));
    let script = vec![
        on(LIST, Answer::ok(list(8, &[labelled("a", "1", 7), crowded]))),
        on(&watch(8), plays(vec![])),
        on(MONITORS, Answer::ok(list(20, &[monitor("m", 19, "a"), monitor("n", 19, "b")]))),
        on(&watch_monitors(20), plays(vec![])),
    ];
    let world = World::start_monitored(List::Pages, script).await;
    world.pass(30).await;
    world.double.check();
    world.check_published(&[&["shop/a 1 <shop/m", "shop/b 2"]]);
    let problem = world.known().problems[0].to_string();
    assert!(
        problem.starts_with("pod shop/b of the API server: it has more than 16 KiB"),
        "{problem}"
    );
}

#[tokio::test(start_paused = true)]
async fn monitors_are_streamed_as_the_pods_are() {
    let complete = json!({"kind": "PodMonitor", "apiVersion": "monitoring.coreos.com/v1", "metadata": {
        "resourceVersion": "20", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let script = vec![
        on(
            crate::requests::STREAM,
            plays(vec![event("ADDED", &labelled("a", "1", 7)), event("BOOKMARK", &complete)]),
        ),
        on(
            STREAM_MONITORS,
            plays(vec![event("ADDED", &monitor("m", 19, "a")), event("BOOKMARK", &complete)]),
        ),
    ];
    let world = World::start_monitored(List::Streaming, script).await;
    world.pass(30).await;
    world.double.check();
    world.check_published(&[&["shop/a 1 <shop/m"]]);
}
