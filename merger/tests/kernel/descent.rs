//! A walk over open files that takes too long costs the rung, and blinds nobody.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use merger::{
    listeners::Rung,
    node::{Changes, Node, Options, Rungs, Walks},
};
use rustix::{
    io::dup,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use tokio::time::sleep;

use super::{find, namespace::look, offered::has_walk, pod::Pod, start_with, until, world};

/// What a walk takes of some ten thousand files or of a hundred thousand, by the machine, and not of those of one
/// that does nothing else. The next rung takes a hundred times as long for as many, and pauses four times that.
const SHORT: Duration = Duration::from_millis(8);

/// The files of each child.
const N_FILES: usize = 8000;

const MOST_CHILDREN: usize = 200;

/// Children that are made between two looks.
const AT_ONCE: usize = 2;

fn start(within: Duration, again: Duration) -> (Node, Changes) {
    let (rung, walks) = (Rungs::Only(Rung::Ebpf), Walks { within, again });
    start_with(Options { rung, walks, ..Options::default() })
}

#[test]
fn a_walk_that_takes_too_long_costs_the_rung_alone() {
    if !has_walk() {
        return;
    }
    world::here(async || {
        let pod = Pod::new();
        let (_first, bound) = pod.listen("127.0.0.1:0");
        // The first of all, which shows that walks work, is none that is short enough: it starts all the same.
        let (node, mut changes) = start(Duration::ZERO, Duration::from_hours(1));
        assert_eq!(node.rung(), Rung::EbpfSockDiag);
        let snapshot = look(&node).await;
        assert_eq!(find(&snapshot, pod.cookie, bound).map(|one| one.holders.len()), Some(1));
        assert_eq!(node.rung(), Rung::EbpfSockDiag);
        let reason = node.fallback().unwrap_or_default();
        assert!(reason.contains("a walk over open files takes longer than"), "{reason}");
        let (_second, bound) = pod.listen("127.0.0.1:0");
        until(&node, &mut changes, "a change is told", |snapshot| {
            find(snapshot, pod.cookie, bound).is_some_and(|one| one.holders.len() == 1)
        })
        .await;
        assert_eq!(node.counters().snapshots_failed, 0);
    });
}

#[test]
fn walks_that_are_tried_again_in_vain_lose_nothing() {
    if !has_walk() {
        return;
    }
    world::here(async || {
        let pod = Pod::new();
        let (_open, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) = start(Duration::ZERO, Duration::ZERO);
        for _ in 0..10 {
            let snapshot = look(&node).await;
            assert_eq!(find(&snapshot, pod.cookie, bound).map(|one| one.holders.len()), Some(1));
            assert_eq!(node.rung(), Rung::EbpfSockDiag);
        }
    });
}

#[test]
fn the_better_rung_is_in_use_again_when_walks_are_short() {
    let test = "descent::the_better_rung_is_in_use_again_when_walks_are_short";
    if !has_walk() {
        return;
    }
    world::inside(test, &[], "root", async || {
        let (mut greedy, modest) = (Pod::new(), Pod::new());
        let (_listener, bound) = modest.listen("127.0.0.1:0");
        let (node, _changes) = start(SHORT, Duration::from_millis(100));
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(2 * N_FILES as u64);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        // Without `CLOEXEC`, so that each child has them all.
        let copies: Vec<_> = (0..N_FILES).map(|_| dup(io::stdin()).unwrap()).collect();
        // How many files are too many is up to the machine: the fastest walks through a million in time.
        let mut n_children = 0;
        while node.rung() == Rung::Ebpf && n_children < MOST_CHILDREN {
            n_children += multiply(&mut greedy);
            look(&node).await;
        }
        assert_eq!(node.rung(), Rung::EbpfSockDiag);
        assert!(find(&look(&node).await, modest.cookie, bound).is_some());
        // One that starts meanwhile, with so many files that its first walk is too long, starts by that rung.
        let late = loop {
            let (late, _) = start(SHORT, Duration::from_millis(100));
            if late.rung() == Rung::EbpfSockDiag || n_children >= MOST_CHILDREN * 2 {
                break late;
            }
            n_children += multiply(&mut greedy);
        };
        assert_eq!(late.rung(), Rung::EbpfSockDiag);
        assert!(late.fallback().is_some_and(|reason| reason.contains("takes longer than")));
        assert!(find(&look(&late).await, modest.cookie, bound).is_some());
        drop((copies, greedy));
        for node in [node, late] {
            ascended(&node).await;
            assert!(find(&look(&node).await, modest.cookie, bound).is_some());
        }
    });
}

/// Gives a pod further children, and says how many.
fn multiply(greedy: &mut Pod) -> usize {
    for _ in 0..AT_ONCE {
        greedy.hand_over(File::open("/dev/null").unwrap());
    }
    AT_ONCE
}

/// Looks at the node until it is by the best rung.
async fn ascended(node: &Node) {
    let start = Instant::now();
    while node.rung() != Rung::Ebpf {
        assert!(start.elapsed() < Duration::from_mins(2), "still by {}", node.rung());
        sleep(Duration::from_millis(50)).await;
        look(node).await;
    }
    assert_eq!(node.fallback(), None);
}
