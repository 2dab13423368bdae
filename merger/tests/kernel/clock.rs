//! What nobody tells of is known soon, whatever else is told.

use std::time::{Duration, Instant};

use merger::node::{Options, Rungs};
use tokio::time::{sleep, timeout, timeout_at};

use super::{
    cgroup,
    namespace::{is_guest, look},
    offered::rungs,
    pod::Pod,
    start_with, world,
};

/// The time between looks that nothing calls for.
const EVERY: Duration = Duration::from_millis(2500);

/// What is read twice is read again by then: the second look comes 50 ms after the first.
const SOON: Duration = Duration::from_millis(100);

#[test]
fn a_look_that_was_called_for_does_not_put_off_the_next_sweep() {
    // The clock is no matter of kernels: in a guest one rung shows that it is theirs as well.
    let n_rungs = if is_guest() { 1 } else { rungs().len() };
    for rung in rungs().into_iter().take(n_rungs) {
        world::here(async || {
            // It is taken away when nobody is in it any more.
            let cgroups = cgroup::Root::new(1);
            let (pod, other) = (Pod::new(), Pod::new());
            let options =
                Options { rung: Rungs::Only(rung), look_every: EVERY, ..Options::default() };
            let (node, mut changes) = start_with(options);
            let start = Instant::now();
            look(&node).await;
            // What a node reads at its first look it may read once more at the second.
            sleep(SOON).await;
            look(&node).await;
            sleep((start + EVERY * 4 / 5).saturating_duration_since(Instant::now())).await;
            let _open = other.listen("127.0.0.1:0");
            // The look that follows, and the second one a little later.
            for _ in 0..3 {
                if timeout(SOON, changes.changed()).await.is_ok() {
                    look(&node).await;
                }
            }
            cgroups.container("6d657267", "0123456789ab").join(pod.pid());
            let known = async {
                loop {
                    changes.changed().await;
                    let snapshot = look(&node).await;
                    let found = snapshot.processes.iter().find(|one| one.pid == pod.pid());
                    if found.is_some_and(|found| found.cgroup.contains("/kubepods/")) {
                        return;
                    }
                }
            };
            let late = start + EVERY * 8 / 5;
            timeout_at(late.into(), known).await.unwrap_or_else(|_| panic!("{rung}: too late"));
        });
    }
}
