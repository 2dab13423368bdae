//! Errors in the stream and of the stream: what is known is never less for it.

use merger::pods::kube::List;
use serde_json::{Value, json};

use crate::{
    double::{Answer, Play, on},
    recordings::{CONTINUE, LISTED, event, lines, list, no_progress, pod, read, status},
    requests::{LIST, STREAM, page, recorded_list, watch},
    world::World,
};

/// A server that says this in the stream of its watch, after a while, and then lists one pod less.
async fn check_relisted(in_stream: Play, told: &str) {
    let mut script = recorded_list();
    script.push(on(&watch(571), Answer::plays([Play::seconds(20), in_stream, Play::Stay])));
    // Each page takes so long that an emptied node would be seen.
    let slowly = |name: &str| Answer::plays([Play::seconds(5), Play::text(read(name))]);
    script.push(on(LIST, slowly("list-page-1.json")));
    let last = slowly("list-page-3.json");
    script.push(on(&page(CONTINUE[0]), last));
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(60).await;
    world.double.check();
    let after = [LISTED[0], LISTED[1], LISTED[4]];
    world.check_published(&[&LISTED, &after]);
    world.check_log(&["INFO pods are known n_pods=5 n_skipped=0", told]);
}

#[tokio::test(start_paused = true)]
async fn after_410_in_the_stream_no_pod_disappears_in_between() {
    let expired = read("watch-expired.http");
    let (_, event) = expired.split_once("\r\n\r\n").or(expired.split_once("\n\n")).unwrap();
    let told = "INFO the API server has forgotten what came before: listing the pods";
    check_relisted(Play::text(event), told).await;
}

#[tokio::test(start_paused = true)]
async fn after_500_in_the_stream_no_pod_disappears_in_between() {
    let told = "WARN the API server ended the watch: listing the pods code=500 why=\"a watch \
                stream was requested by the client but the required storage feature \
                RequestWatchProgress is disabled\"";
    check_relisted(no_progress(), told).await;
}

/// The pods of a list as a server streams them, with what ends it where that is said.
fn streamed(pods: &[&Value], version: Option<u32>) -> Vec<Play> {
    let end = version.map(|version| {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
        event("BOOKMARK", &json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata}))
    });
    pods.iter().map(|pod| event("ADDED", pod)).chain(end).collect()
}

/// What an API server says in the stream where it has forgotten what came before.
fn expired() -> Play {
    let status: Value =
        serde_json::from_str(&status(410, "Expired", "too old resource version")).unwrap();
    event("ERROR", &status)
}

#[tokio::test(start_paused = true)]
async fn after_410_behind_a_streamed_list_or_in_the_midst_of_one_no_pod_disappears() {
    let named = |name: &str, uid: &str| pod(name, uid, 7, "Running");
    let (a, b, c) = (named("a", "1"), named("b", "2"), named("c", "3"));
    // In the midst of the first list, behind the second, in the midst of the third.
    let mut first = streamed(&[&a], None);
    first.extend([Play::seconds(5), expired(), Play::Stay]);
    let mut second = streamed(&[&a, &b], Some(8));
    second.extend([Play::seconds(20), expired(), Play::Stay]);
    let mut third = streamed(&[&a], None);
    third.extend([Play::seconds(5), expired(), Play::Stay]);
    let mut fourth = streamed(&[&a], None);
    fourth.push(Play::seconds(5));
    fourth.extend(streamed(&[&c], Some(20)));
    fourth.push(Play::seconds(60));
    let mut script: Vec<_> = [first, second, third, fourth]
        .into_iter()
        .map(|plays| on(STREAM, Answer::plays(plays)))
        .collect();
    // The last list is the beginning of its watch, which goes on from there.
    script.push(on(&watch(20), Answer::plays([Play::Stay])));
    let world = World::start(List::Streaming, script).await;
    world.pass(4).await;
    world.check_published(&[]);
    world.pass(116).await;
    world.double.check();
    world.check_published(&[&["shop/a 1", "shop/b 2"], &["shop/a 1", "shop/c 3"]]);
    let forgotten = "INFO the API server has forgotten what came before: listing the pods";
    let known = "INFO pods are known n_pods=2 n_skipped=0";
    world.check_log(&[forgotten, known, forgotten, forgotten]);
}

#[tokio::test(start_paused = true)]
async fn an_old_etcd_is_asked_for_pages_after_its_500() {
    let mut script = vec![on(STREAM, Answer::plays([no_progress()]))];
    script.extend(recorded_list());
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let world = World::start(List::Streaming, script).await;
    world.pass(60).await;
    world.double.check();
    world.check_published(&[&LISTED]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_says_500_is_asked_ever_less() {
    let mut script = Vec::new();
    for _ in 0..8 {
        script.push(on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))));
        script.push(on(&watch(8), Answer::plays([no_progress()])));
    }
    let world = World::start(List::Pages, script).await;
    world.pass(30).await;
    // Each round waits for longer: 1, 2, 4, 8 and 16 s at most, and half of that at least.
    let n_asked = world.double.log().len();
    assert!((6..=14).contains(&n_asked), "{n_asked} requests within 30 s");
    world.check_published(&[&["shop/a 1"]]);
    assert_eq!(world.log().len(), 2, "{:#?}", world.log());
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_continuation_is_refused_begins_anew() {
    let expired = status(410, "Expired", "The provided continue parameter is too old");
    let script = [Answer::recorded(&read("list-bad-continue.http")), Answer::status(410, expired)]
        .into_iter()
        .flat_map(|refused| {
            [on(LIST, Answer::ok(read("list-page-1.json"))), on(&page(CONTINUE[0]), refused)]
        });
    let mut script: Vec<_> = script.collect();
    script.extend(recorded_list());
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(30).await;
    world.double.check();
    world.check_published(&[&LISTED]);
    world.check_log(&["INFO pods are known n_pods=5 n_skipped=0"]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_midst_of_an_object_goes_on_from_the_last_whole_one() {
    let mut script = recorded_list();
    let mut recorded = lines("watch.jsonl").into_iter();
    let mut plays: Vec<Play> = recorded.by_ref().take(4).collect();
    plays.insert(0, Play::seconds(1));
    let Some(Play::Bytes(line)) = recorded.next() else { panic!("there are more lines") };
    plays.extend([Play::Bytes(line.slice(..line.len() / 2)), Play::seconds(1), Play::Reset]);
    script.push(on(&watch(571), Answer::plays(plays)));
    // The pod that was added last is at version 583.
    let rest = [Play::Bytes(line)].into_iter().chain(recorded).chain([Play::Stay]);
    script.push(on(&watch(583), Answer::plays(rest)));
    let world = World::start(List::Pages, script).await;
    world.pass(60).await;
    world.double.check();
    world.check_published(&[
        &LISTED,
        &[
            LISTED[0],
            LISTED[1],
            LISTED[2],
            LISTED[3],
            LISTED[4],
            "shop/web-59799f97c6-tf6r7 b8db6f4d",
        ],
        &[LISTED[0], LISTED[1], LISTED[2], LISTED[4], "shop/web-59799f97c6-tf6r7 b8db6f4d"],
    ]);
    world.check_log(&["INFO pods are known n_pods=5 n_skipped=0"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_be_read_is_a_new_list() {
    let script = vec![
        on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))),
        on(&watch(8), Answer::plays([Play::text("garbage\n"), Play::Stay])),
        on(LIST, Answer::ok(list(9, &[pod("a", "1", 7, "Running"), pod("b", "2", 9, "Running")]))),
        on(&watch(9), Answer::plays([Play::Stay])),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(30).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"], &["shop/a 1", "shop/b 2"]]);
}

/// As after a restore of etcd: the server takes the version for one of the future.
#[tokio::test(start_paused = true)]
async fn a_watch_without_a_byte_is_a_new_list() {
    let script = vec![
        on(LIST, Answer::ok(list(900, &[pod("a", "1", 7, "Running")]))),
        on(&watch(900), Answer::plays([Play::Stay])),
        on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))),
        on(&watch(8), Answer::plays([event("ADDED", &pod("b", "2", 9, "Running")), Play::Stay])),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(149).await;
    assert_eq!(world.double.log().len(), 2);
    world.pass(10).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"], &["shop/a 1", "shop/b 2"]]);
}

/// Something before the server may end what it does not understand, at once and politely.
#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_asked_for_ever_less() {
    let mut script = vec![on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")])))];
    script.extend((0..20).map(|_| on(&watch(8), Answer::plays([]))));
    let world = World::start(List::Pages, script).await;
    world.pass(60).await;
    let n_watches = world.double.log().len() - 1;
    assert!((6..=9).contains(&n_watches), "{n_watches} watches in a minute");
}
