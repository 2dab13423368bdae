//! Namespaces that are marked are asked for what they have, some in each look.

use std::{collections::HashSet, time::Duration};

use merger::{
    identity::Cookie,
    listeners::Rung,
    node::{Options, Rungs, Snapshot},
};

use tokio::time::sleep;

use super::{
    message::Message,
    namespace::look,
    offered::{has_walk, rungs},
    pod::Pod,
    start_with, until, world,
};

/// Pods with a listener that is in a message and in no table of files.
const N: usize = 12;

#[test]
fn each_look_asks_some_namespaces_for_what_no_walk_sees_and_the_next_the_others() {
    if !has_walk() {
        return;
    }
    world::here(async || {
        let pods: Vec<Pod> = (0..N).map(|_| Pod::new()).collect();
        let _messages: Vec<Message> =
            pods.iter().map(|pod| Message::with(&pod.listen("127.0.0.1:0").0)).collect();
        let own: HashSet<Cookie> = pods.iter().map(|pod| pod.cookie).collect();
        // One at each look, and no look but those that follow by themselves.
        let (rung, look_every) = (Rungs::Only(Rung::Ebpf), Duration::from_hours(1));
        let asking = Duration::ZERO;
        let (node, mut changes) =
            start_with(Options { rung, look_every, asking, ..Options::default() });
        let first = told(&look(&node).await, &own);
        // A look that sweeps may read twice.
        assert!(first <= 2, "{first} of {N} at the first look");
        until(&node, &mut changes, "all are told", |snapshot| told(snapshot, &own) == N).await;
    });
}

#[test]
fn where_nothing_walks_each_look_asks_some_of_the_marked_ones() {
    if !rungs().contains(&Rung::EbpfSockDiag) {
        return;
    }
    world::here(async || {
        let pods: Vec<Pod> = (0..N).map(|_| Pod::new()).collect();
        let (rung, look_every) = (Rungs::Only(Rung::EbpfSockDiag), Duration::from_hours(1));
        let asking = Duration::ZERO;
        let (node, mut changes) =
            start_with(Options { rung, look_every, asking, ..Options::default() });
        // What a node reads at its first look it may read once more at the second.
        look(&node).await;
        sleep(Duration::from_millis(100)).await;
        look(&node).await;
        let listeners: Vec<_> = pods.iter().map(|pod| pod.listen("127.0.0.1:0")).collect();
        let own: HashSet<Cookie> = pods.iter().map(|pod| pod.cookie).collect();
        let n_read = node.counters().namespaces_read;
        changes.changed().await;
        look(&node).await;
        let n_read = node.counters().namespaces_read - n_read;
        // A look that sweeps reads those that waited for it as well.
        assert!(n_read <= 2, "{n_read} of {N} at the first look");
        until(&node, &mut changes, "all are told", |snapshot| told(snapshot, &own) == N).await;
        drop(listeners);
        until(&node, &mut changes, "none is told", |snapshot| told(snapshot, &own) == 0).await;
    });
}

fn told(snapshot: &Snapshot, own: &HashSet<Cookie>) -> usize {
    snapshot.listeners.iter().filter(|listener| own.contains(&listener.netns)).count()
}
