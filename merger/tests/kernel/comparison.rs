//! What is believed against what the kernel says by another way.

use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, loaded_maps};
use merger::{
    listeners::Rung,
    node::{Changes, Counters, Node, Options, Rungs},
};
use tokio::time::{sleep, timeout};

use super::{
    DEADLINE, find, namespace::look, offered::rungs, part::ids, pod::Pod, start_with, world,
};

fn start(rung: Rung) -> (Node, Changes) {
    let compare_every = Duration::from_millis(100);
    start_with(Options { rung: Rungs::Only(rung), compare_every, ..Options::default() })
}

/// Looks, until what has been counted by then is as expected.
async fn until(node: &Node, expected: impl Fn(Counters) -> bool) {
    let looks = async {
        loop {
            node.snapshot().await.unwrap();
            if expected(node.counters()) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE * 2, looks).await.unwrap_or_else(|_| panic!("{:?}", node.counters()));
}

/// Sets the mark of a namespace, so that the kernel part keeps to itself what changes there: as if its
/// record had been lost, and that not even counted.
fn hide(pod: &Pod) {
    // The one that this process has: another merger on this machine has its own.
    let own = ids("map_id:");
    let mut maps = loaded_maps().flatten().filter(|map| own.contains(&map.id()));
    let dirty = maps.find(|map| map.name_as_str() == Some("DIRTY")).unwrap();
    let map = Map::HashMap(MapData::from_id(dirty.id()).unwrap());
    HashMap::<_, u64, u8>::try_from(map).unwrap().insert(pod.cookie.0, 1, 0).unwrap();
}

/// How often it is tried: whatever else happens on this machine calls for looks as well, and one that
/// comes before the comparison sees what differs.
const TRIES: usize = 10;

#[test]
fn a_listener_that_nobody_told_of_differs_and_calls_for_a_look() {
    for rung in rungs().into_iter().filter(|rung| *rung <= Rung::EbpfSockDiag) {
        world::here(async || {
            for _ in 0..TRIES {
                if differs(rung).await {
                    return;
                }
            }
            panic!("{rung}: nothing differs in {TRIES} tries");
        });
    }
}

/// What the test itself has changed so far is told, and looked at once more a little later, or when the
/// sweep may be that it waits for.
async fn quiet(node: &Node, changes: &mut Changes, enough: Duration) {
    for _ in 0..TRIES {
        if timeout(enough, changes.changed()).await.is_err() {
            break;
        }
        node.snapshot().await.unwrap();
    }
}

/// Whether the comparison was the first to see what nobody told of; then it has called for a look, and
/// that has seen it as well.
async fn differs(rung: Rung) -> bool {
    let pods = [Pod::new(), Pod::new()];
    let (closed, _) = pods[0].listen("127.0.0.1:80");
    let (node, mut changes) = start(rung);
    until(&node, |counters| counters.comparisons > 0).await;
    quiet(&node, &mut changes, Duration::from_secs(1)).await;
    pods.iter().for_each(hide);
    drop(closed);
    let (_open, bound) = pods[1].listen("127.0.0.1:81");
    timeout(DEADLINE, changes.changed()).await.unwrap();
    let snapshot = look(&node).await;
    // One of the two, where the comparison that was under way had read the other namespace before.
    match node.counters().listeners_differed {
        0 => return false,
        n => assert!(n <= 2, "{rung}: {:?}", node.counters()),
    }
    assert!(find(&snapshot, pods[1].cookie, bound).is_some(), "{rung}");
    assert!(snapshot.listeners.iter().all(|one| one.netns != pods[0].cookie), "{rung}");
    until(&node, |counters| counters.listeners_differing == 0).await;
    true
}

#[test]
fn nothing_differs_while_pods_come_and_go_and_one_loops() {
    for rung in rungs() {
        world::here(async || {
            let (node, mut changes) = start(rung);
            let noisy = Pod::new();
            for _ in 0..10 {
                let pod = Pod::new();
                let _open = [pod.listen("127.0.0.1:0"), pod.listen("[::1]:0")];
                for _ in 0..20 {
                    drop(noisy.listen("127.0.0.1:0"));
                }
                let _ = timeout(Duration::from_millis(50), changes.changed()).await;
                node.snapshot().await.unwrap();
            }
            until(&node, |counters| counters.comparisons > 0).await;
            assert_eq!(node.counters().listeners_differed, 0, "{rung}");
        });
    }
}

#[test]
fn nothing_differs_where_more_listen_than_are_looked_at() {
    for rung in rungs() {
        world::here(async || {
            let pod = Pod::new();
            let _open: Vec<_> = (0..48).map(|_| pod.listen("127.0.0.1:0")).collect();
            let compare_every = Duration::from_millis(100);
            let rung = Rungs::Only(rung);
            let options = Options { rung, compare_every, sockets: 32, ..Options::default() };
            let (node, _changes) = start_with(options);
            until(&node, |counters| counters.comparisons > 2).await;
            assert_eq!(node.counters().listeners_differed, 0, "{rung:?}");
        });
    }
}

#[test]
fn nothing_differs_while_the_agent_is_slow_to_look() {
    for rung in rungs().into_iter().filter(|rung| *rung <= Rung::EbpfSockDiag) {
        world::here(async || {
            let pod = Pod::new();
            let (node, mut changes) = start(rung);
            until(&node, |counters| counters.comparisons > 0).await;
            quiet(&node, &mut changes, Duration::from_millis(500)).await;
            let _open = pod.listen("127.0.0.1:0");
            timeout(DEADLINE, changes.changed()).await.unwrap();
            // Some comparisons could be over by then.
            sleep(Duration::from_secs(1)).await;
            until(&node, |counters| counters.comparisons > 2).await;
            assert_eq!(node.counters().listeners_differed, 0, "{rung}");
        });
    }
}
