//! Pods that end and come back, in small; `cargo bench --bench reincarnation` is the whole.

use merger::{
    listeners::Rung,
    node::{Options, Rungs},
};

use super::{
    lives,
    namespace::{identities, is_guest},
    offered::rungs,
    world, zygote,
};

const TEST: &str = "reincarnation::no_pod_is_given_anothers_samples";

/// By each rung that is told of changes, what it keeps of a namespace could be a former one's, and by inode
/// numbers that is as likely as they come back.
#[test]
fn no_pod_is_given_anothers_samples() {
    if zygote::is_meant() {
        return zygote::serve();
    }
    let alone = world::alone();
    let _alone = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(alone);
    let n_rungs = if is_guest() { 1 } else { 2 };
    let told = rungs().into_iter().filter(|rung| *rung <= Rung::EbpfSockDiag);
    for rung in told.take(n_rungs) {
        for identity in identities() {
            let (rung, identity) = (Rungs::Only(rung), Some(identity));
            let options = Options { rung, identity, ..Options::default() };
            let zygote = zygote::Zygote::start(&["--exact", TEST, "--nocapture"]);
            let outcome = lives::run(zygote, 150, 60, options, ());
            let what = format!("{rung:?} {identity:?}: {outcome}");
            assert!(outcome.crossed.is_empty() && outcome.cookies_reused == 0, "{what}");
            // The test is worth something: pods were scraped, and what can come back did.
            let reused = [outcome.inodes_reused, outcome.pids_own, outcome.pids_others];
            assert!(outcome.scraped > 75 && !reused.contains(&0), "{what}");
        }
    }
}
