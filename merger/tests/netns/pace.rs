//! How much of the node's time whoever asks for snapshots can have.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{check, start};

/// The time of a core that the broker's thread has had, as the kernel counts it in nanoseconds.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten().map(|thread| thread.path());
    let is_broker = |name: String| name == "merger-broker\n";
    let mut threads =
        threads.filter(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(is_broker));
    let thread = threads.next().expect("the broker is a thread of this process");
    let told = fs::read_to_string(thread.join("schedstat")).unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn who_asks_for_snapshots_without_end_has_a_fifth_of_a_core() {
    check("pace::who_asks_for_snapshots_without_end_has_a_fifth_of_a_core", async || {
        let (node, _changes) = start();
        node.snapshot().await.unwrap();
        let (start, before) = (Instant::now(), spent());
        while start.elapsed() < Duration::from_secs(1) {
            node.snapshot().await.unwrap();
        }
        let (spent, all) = (spent().saturating_sub(before), start.elapsed());
        // What is spent beside the look, to tell of it, is no part of the pause.
        assert!(spent < all / 3, "{spent:?} of {all:?}");
    });
}

#[test]
fn all_who_ask_meanwhile_have_the_same_snapshot() {
    check("pace::all_who_ask_meanwhile_have_the_same_snapshot", async || {
        let (node, _changes) = start();
        let taken = join_all((0..200).map(|_| node.snapshot())).await;
        assert!(taken.iter().all(Result::is_ok));
        assert!(node.counters().snapshots < 100, "{:?}", node.counters());
    });
}
