//! The pods of this node as the API server tells of them: a list in pages, then a watch. And the same of
//! `PodMonitor`s, where the cluster has them, so that what they ask of a pod goes with it.
//!
//! Only pods bound to this node are asked for, and of each object only what is used is kept. Whatever
//! fails, what is known stays: an error in the stream means that the list is read again, and a new list
//! takes the place of the old one when it is complete. Pods depend on no monitors: where those are not to
//! be had, the pods are published as they are.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};

pub use self::access::{Access, Error};
use self::{
    contact::Subject,
    feed::{Feed, until},
    item::{Labelled, Name},
    rest::Rest,
    store::Store,
};
use super::{Known, Problem, Reader, Sender, claim, monitor::Monitor, publish};

mod access;
mod backoff;
mod connection;
mod contact;
mod feed;
mod item;
mod limits;
mod rest;
pub mod secrets;
mod store;
mod verdict;

/// Changes that come together are published together.
const SETTLE: Duration = Duration::from_millis(100);

/// How long pods that are known wait for the monitors at the start, so that both are published together
/// where they can be. After that the pods say that the monitors are awaited yet.
const AWAITED: Duration = Duration::from_secs(1);

/// Of more monitors, or more pods, that cannot be understood the others are only counted.
const MAX_PROBLEMS: usize = 32;

/// How the API server is asked for what there is, before it is asked for what changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// By a list in pages, which every server knows.
    #[default]
    Pages,
    /// By the beginning of the watch itself, which costs servers that know it, as Kubernetes 1.34 does,
    /// less memory; of one that does not, pages are asked for after all.
    Streaming,
}

/// What becomes of the `PodMonitor`s of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monitors {
    /// They are asked for, where there are any, and what they ask of a pod goes with it.
    #[default]
    Watched,
    /// Nobody asks for them.
    Ignored,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The pods bound to the node of this name.
    pub node_name: String,
    /// How it is asked for what there is.
    pub list: List,
    /// What becomes of `PodMonitor`s.
    pub monitors: Monitors,
}

/// Watches what `query` asks for. The future does the work and ends when every reader is gone. To be
/// called in a tokio runtime. Fails only where what `access` names cannot be used: a server that is away
/// is waited for.
pub fn watch(
    access: Access,
    query: Query,
) -> Result<(Reader, impl Future<Output = ()> + Send + use<>), Error> {
    let Query { node_name, list, monitors } = query;
    let monitors = match monitors {
        Monitors::Watched => {
            let client = connection::client(access.clone(), Subject::Monitors)?;
            Some(Feed::new(client, None, list))
        }
        Monitors::Ignored => None,
    };
    let client = connection::client(access, Subject::Pods)?;
    let selector = format!("spec.nodeName={node_name}");
    let pods = Feed::new(client, Some(selector), list);
    let (sender, reader) = watch::channel(None);
    Ok((reader, Watched { pods, monitors, rest: Rest::default(), n_monitors: None }.run(sender)))
}

/// What is watched. Neither feed knows of the other.
struct Watched {
    pods: Feed<Labelled>,
    monitors: Option<Feed<Arc<Monitor>>>,
    /// When all pods are matched with them again.
    rest: Rest,
    /// How many monitors were known, where any list of them was.
    n_monitors: Option<usize>,
}

// === impl Watched ===

impl Watched {
    /// Publishes what is known, until every reader is gone. It is known when the pods are.
    async fn run(mut self, sender: Sender) {
        let mut publish_at: Option<Instant> = None;
        let mut is_known = false;
        loop {
            let is_first = sender.borrow().is_none();
            let before = (self.awaits_answer(), self.are_monitors_unknown());
            // All may be dropped: what a feed has heard is kept in it.
            let new_at = tokio::select! {
                biased;
                () = sender.closed() => return,
                () = until(publish_at) => {
                    self.publish(&sender);
                    publish_at = self.rest.next(Instant::now());
                    continue;
                }
                changed = self.pods.changed() => {
                    is_known |= changed;
                    changed.then(|| Instant::now() + SETTLE)
                }
                // The first that is heard of them is what the pods wait for, whatever it is.
                changed = heard(self.monitors.as_mut()) => {
                    let at = Instant::now() + SETTLE;
                    if changed {
                        self.rest.call();
                    }
                    let after = (self.awaits_answer(), self.are_monitors_unknown());
                    let is_news = is_first || before != after;
                    if is_news { Some(at) } else { self.rest.next(at).filter(|_| changed) }
                }
            };
            if let Some(at) = new_at.filter(|_| is_known) {
                let wait = is_first && self.awaits_answer();
                let at = if wait { Instant::now() + AWAITED } else { at };
                publish_at = Some(publish_at.map_or(at, |before| before.min(at)));
            }
        }
    }

    /// Whether the first pods wait for the monitors still.
    fn awaits_answer(&self) -> bool {
        self.monitors.as_ref().is_some_and(|monitors| !monitors.has_answered())
    }

    /// Whether what they ask for stays as another watcher knew it.
    fn are_monitors_unknown(&self) -> bool {
        self.monitors.as_ref().is_some_and(Feed::is_unknown)
    }

    fn publish(&mut self, sender: &Sender) {
        publish(sender, self.known(), |old, Known { pods, problems, .. }| {
            if old.is_none() {
                let (n_pods, n_skipped) = (pods.len(), problems.len());
                info!(n_pods, n_skipped, "pods are known");
            }
        });
        let listed = self.monitors.as_ref().filter(|monitors| monitors.is_listed());
        let n_monitors = listed.map(|monitors| monitors.store().iter().count());
        match (std::mem::replace(&mut self.n_monitors, n_monitors), n_monitors) {
            (None, Some(n_monitors)) => info!(n_monitors, "PodMonitors are known"),
            (old, new) if old != new => debug!(n_monitors, "PodMonitors are known"),
            _ => {}
        }
    }

    /// The pods, each name once, in their order, with what monitors ask of them: of those that are new by now,
    /// of others as of when all were matched.
    fn known(&mut self) -> Known {
        let mut known = Known { awaits_monitors: self.are_monitors_unknown(), ..Known::default() };
        let Self { pods, monitors, rest, n_monitors: _ } = self;
        let mut asking: Vec<&Monitor> = Vec::new();
        if let Some(monitors) = monitors {
            let store = monitors.store();
            for (name, monitor) in store.iter() {
                match monitor {
                    Ok(monitor) => asking.push(monitor),
                    Err(what) => known.problems.push(problem("PodMonitor", name, what)),
                }
            }
            bound(&mut known.problems, "PodMonitors");
            if store.is_full() {
                let what = "they are more than 16 MiB together, or than 2 MiB in one namespace, so the last \
                            ones are not read";
                let place = "the PodMonitors of the API server".to_owned();
                known.problems.push(Problem { place, what: what.to_owned() });
            }
        }
        let mut problems = Vec::new();
        let contested = contested(pods.store());
        let begun = Instant::now();
        let is_due = rest.begin(begun);
        for (name, pod) in pods.store_mut().iter_mut() {
            match pod {
                Ok(pod) if pod.is_mirror && contested.contains(&pod.pod.uid) => {
                    problems.push(problem("pod", name, &claim::why(&pod.pod.uid)));
                }
                Ok(pod) => {
                    if pod.labels.is_none() && !asking.is_empty() {
                        let what = "it has more than 16 KiB of labels, so no PodMonitor selects it";
                        problems.push(problem("pod", name, what));
                    }
                    pod.ask(&name.namespace, &asking, rest.n_begun());
                    known.pods.push(Arc::clone(&pod.pod));
                }
                Err(what) => problems.push(problem("pod", name, what)),
            }
        }
        bound(&mut problems, "pods");
        known.problems.append(&mut problems);
        known.problems.extend(left_out(pods.store()));
        if is_due {
            rest.took(Instant::now(), begun.elapsed());
        }
        known
    }
}

/// What comes of the monitors; where none are asked for, nothing ever.
async fn heard(monitors: Option<&mut Feed<Arc<Monitor>>>) -> bool {
    match monitors {
        Some(monitors) => monitors.changed().await,
        None => future::pending().await,
    }
}

fn problem(kind: &str, name: &Name, what: &str) -> Problem {
    Problem { place: format!("{kind} {name} of the API server"), what: what.to_owned() }
}

/// The uids of static pods that more than one pod says to be the mirror of, or that are a pod's own.
fn contested(pods: &Store<Labelled>) -> BTreeSet<String> {
    let mirrors = pods.iter().filter_map(|(name, pod)| {
        let pod = pod.as_ref().ok().filter(|pod| pod.is_mirror)?;
        Some((pod.pod.uid.as_str(), name))
    });
    claim::contested(mirrors, pods.uids())
}

/// That pods were left out, if any were.
fn left_out(pods: &Store<Labelled>) -> Option<Problem> {
    let namespace = pods.is_full().then(|| pods.largest()).flatten()?;
    let what = format!(
        "they are more than 32 MiB together, or some 2000 that have not ended: of the namespace that has most, \
         now {namespace}, the last ones by name are not read. Delete what nobody needs there, and bound it \
         by a ResourceQuota (count/pods)"
    );
    Some(Problem { place: "the pods of the API server".to_owned(), what })
}

fn bound(problems: &mut Vec<Problem>, kind: &str) {
    if problems.len() > MAX_PROBLEMS {
        let what = format!("{} more cannot be understood", problems.len() - MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        let place = format!("the {kind} of the API server");
        problems.push(Problem { place, what });
    }
}
