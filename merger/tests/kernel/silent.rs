//! A pod that ends while it keeps a scrape waiting: nothing of that holds its namespace.

use std::{thread, time::Duration};

use merger::listeners::Rung;

use super::{
    cgroup::Root,
    namespace::is_guest,
    offered::rungs,
    running::{Running, directory, until},
    silence::{SILENCES, Silent},
    world,
};

/// What the project promises of a namespace whose pod has ended.
const PROMISE: Duration = Duration::from_secs(5);

#[track_caller]
fn check(rung: Rung, with_manifest: bool) {
    world::here(async || {
        for (silence, rule) in SILENCES {
            let (pods, root) = (directory(), Root::new(1));
            let silent = Silent::new(&root, pods.path(), rule);
            let running = Running::start_ready(pods.path(), &[&format!("--listeners={rung}")]);
            let is_known =
                || running.get("/api/pods").is_some_and(|page| page.contains("\"ready\""));
            until("it is known", is_known);
            thread::scope(|scope| {
                let (running, page) = (&running, silent.page());
                scope.spawn(move || running.get(&page));
                silent.await_connection();
                let took = silent.end(&root, with_manifest);
                assert!(took < PROMISE, "a pod that {silence}, by {rung}: {took:?}");
            });
        }
    });
}

#[test]
fn the_namespace_of_a_pod_that_is_deleted_is_not_held_by_its_silence() {
    check(rungs()[0], true);
}

#[test]
fn the_namespace_of_a_pod_that_ends_and_is_still_told_of_is_not_held_by_its_silence() {
    let n_rungs = if is_guest() { 1 } else { rungs().len() };
    for rung in rungs().into_iter().take(n_rungs) {
        check(rung, false);
    }
}
