//! An API server that is away, that refuses, and that is back.

use merger::pods::kube::List;

use crate::{
    double::{Answer, Double, Play, on},
    recordings::{LISTED, event, list, pod, status},
    requests::{LIST, recorded_list, watch},
    world::World,
};

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_the_server_change_nothing() {
    let mut script = recorded_list();
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    // It has forgotten where this was, and one pod is gone since.
    let expired = status(410, "Expired", "too old resource version: 571 (9000)");
    script.push(on(&watch(571), Answer::status(410, expired)));
    script.push(on(LIST, Answer::ok(list(9001, &[pod("new", "9", 9000, "Running")]))));
    script.push(on(&watch(9001), Answer::plays([Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(10).await;
    let before = world.known();

    world.double.stop();
    world.pass(600).await;
    assert_eq!(world.known(), before, "the last list goes on");
    assert_eq!(world.double.log().len(), 4);

    world.double.resume().await;
    world.pass(60).await;
    world.double.check();
    world.check_published(&[&LISTED, &["shop/new 9"]]);
    let log = world.log();
    let [known, away, back, forgotten] = log.as_slice() else { panic!("{log:#?}") };
    assert_eq!(known, "INFO pods are known n_pods=5 n_skipped=0");
    assert!(
        away.starts_with("WARN the API server is away; the pods that are known stay"),
        "{away}"
    );
    let seconds: u64 =
        back.strip_prefix("INFO the API server is back seconds=").unwrap().parse().unwrap();
    assert!((590..=640).contains(&seconds), "{back}");
    assert_eq!(forgotten, "INFO the API server has forgotten what came before: listing the pods");
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_is_no_new_list() {
    let mut script = recorded_list();
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let added = event("ADDED", &pod("new", "9", 572, "Running"));
    script.push(on(&watch(571), Answer::plays([added, Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(10).await;
    world.double.stop();
    world.pass(20).await;
    world.double.resume().await;
    world.pass(60).await;
    world.double.check();
    assert_eq!(world.published().len(), 2);
    assert!(world.published()[1].contains(&"shop/new 9".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_until_the_server_was_there() {
    let mut script = recorded_list();
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let double = Double::start(script).await;
    double.stop();
    let world = World::before(double, List::Pages);
    world.pass(100).await;
    assert!(world.reader.borrow().is_none());
    world.double.resume().await;
    world.pass(60).await;
    world.double.check();
    world.check_published(&[&LISTED]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forbids_it_is_told_of_once_with_the_right_that_is_missing() {
    let forbidden = || {
        let message = "pods is forbidden: User \"system:serviceaccount:a:b\" cannot list resource";
        Answer::status(403, status(403, "Forbidden", message))
    };
    let mut script: Vec<_> = (0..4).map(|_| on(LIST, forbidden())).collect();
    script.extend(recorded_list());
    script.push(on(&watch(571), Answer::plays([Play::Stay])));
    let world = World::start(List::Pages, script).await;
    world.pass(60).await;
    world.double.check();
    let log = world.log();
    let [forbidden, back, known] = log.as_slice() else { panic!("{log:#?}") };
    let told = "WARN the API server does not tell of pods: grant list and watch of pods";
    assert!(forbidden.starts_with(told), "{forbidden}");
    assert!(back.starts_with("INFO the API server is back"), "{back}");
    assert!(known.starts_with("INFO pods are known"), "{known}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let script = vec![
        on(LIST, Answer::plays([Play::text("{\"kind\":\"PodList\","), Play::Stay])),
        on(LIST, Answer::ok(list(8, &[pod("a", "1", 7, "Running")]))),
        on(&watch(8), Answer::plays([Play::Stay])),
    ];
    let world = World::start(List::Pages, script).await;
    world.pass(70).await;
    world.double.check();
    world.check_published(&[&["shop/a 1"]]);
}
