//! The task that feeds identity and plan, and publishes the targets.
//!
//! It owns what is known of this node: the pods of one source and the node's last snapshot. Both
//! are states, not changes, so the targets are made anew from them each time either changes, and
//! nothing can be forgotten. Readers hold the newest [`Targets`] and never wait.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::prober::Prober;
use crate::{
    identity::{self, Cookie, Unclear},
    lifecycle::Latch,
    merge,
    node::{self, Changes, Node, Snapshot},
    pods::{self, Known},
    scrape::{Alive, Scraper},
    target::{
        Listener, Pod, PodRef, Refusal, State,
        note::Note,
        plan::{Plan, Probed, Rules},
    },
};

mod prober;

/// A pod of this node: which namespace it has, and what is read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its network namespace, or why none is known to be its own.
    pub netns: Result<Cookie, Unclear>,
    /// What it asks for. Without a namespace, all of it is pending.
    pub plan: Plan,
}

/// The targets of this node, by name.
pub type Targets = BTreeMap<PodRef, Arc<Target>>;

/// The newest targets; `None` until pods and snapshot are both known.
pub type Reader = watch::Receiver<Option<Arc<Targets>>>;

/// Makes the targets of `node` from its pods and a snapshot. Pods of another node and pods that
/// ended are left out. With `host_network`, pods in the host's namespace have those of its listeners
/// that they alone hold. What is read of each is decided by `rules` and what was `probed`.
#[must_use]
pub fn targets(
    known: &Known,
    snapshot: &Snapshot,
    node: &str,
    host_network: bool,
    rules: &Rules,
    probed: &Probed,
) -> Targets {
    let mut namespaces = identity::namespaces(&snapshot.processes, snapshot.host);
    let mut listeners: BTreeMap<Cookie, Vec<&Listener>> = BTreeMap::new();
    for listener in &snapshot.listeners {
        listeners.entry(listener.netns).or_default().push(listener);
    }

    let here = |pod: &&Arc<Pod>| !pod.ended && pod.node.as_ref().is_none_or(|name| name == node);
    known
        .pods
        .iter()
        .filter(here)
        .map(|pod| {
            let mut netns = namespaces.remove(&pod.uid).unwrap_or(Err(Unclear::NoProcess));
            let owner = pod.uid.parse().ok().filter(|_| netns == Err(Unclear::HostNetwork));
            let owner = owner.filter(|_| host_network);
            if owner.is_some() {
                netns = Ok(snapshot.host);
            }
            let listeners = netns.as_ref().ok().and_then(|cookie| listeners.get(cookie));
            let listeners = listeners.map_or(&[][..], Vec::as_slice);
            let plan = rules.plan(pod, listeners, owner, probed);
            let target = Target { pod: Arc::clone(pod), netns, plan };
            (pod.name.clone(), Arc::new(target))
        })
        .collect()
}

/// What decides on the targets beside what is seen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node: pods of another are left out.
    pub node_name: String,
    /// Whether pods in the host's network namespace are read.
    pub host_network: bool,
    /// What decides on the sources of a pod.
    pub rules: Rules,
    /// What is read of a page that is probed.
    pub limits: merge::Limits,
}

/// How long what was seen last is believed while no look succeeds. They are taken every nine seconds.
const BELIEVED: Duration = Duration::from_mins(1);

/// The same targets, of which nothing is read: who holds a listener by now nobody has seen.
fn outdated(mut targets: Targets) -> Targets {
    for target in targets.values_mut() {
        let plan = &mut Arc::make_mut(target).plan;
        plan.probes.clear();
        for source in &mut plan.sources {
            if matches!(source.state, State::Ready(_)) {
                source.state = State::Refused(Refusal::Outdated);
            }
        }
    }
    targets
}

/// The inventory of one node, before it runs.
pub struct Inventory {
    node: Node,
    changes: Changes,
    scraper: Arc<Scraper>,
    pods: pods::Reader,
    settings: Settings,
    publish: watch::Sender<Option<Arc<Targets>>>,
    awaited: Latch,
}

// === impl Inventory ===

impl Inventory {
    /// An inventory of the pods that `pods` knows, and where to read it. The first targets are
    /// what is `awaited`; what `scraper` does ends with them.
    #[must_use]
    pub fn new(
        (node, changes): (Node, Changes),
        scraper: Arc<Scraper>,
        pods: pods::Reader,
        settings: Settings,
        awaited: Latch,
    ) -> (Self, Reader) {
        let (publish, reader) = watch::channel(None);
        let new = Self { node, changes, scraper, pods, settings, publish, awaited };
        (new, reader)
    }

    /// Keeps the targets true until every reader is gone, or the source of pods or the privileged
    /// side has ended.
    pub async fn run(self) {
        let Self { node, mut changes, scraper, mut pods, settings, publish, awaited } = self;
        let Settings { node_name, host_network, rules, limits } = settings;
        let mut prober = Prober::new(Arc::clone(&scraper), limits);
        let mut awaited = Some(awaited);
        let (mut snapshot, mut n_elsewhere, mut seen) = (None, 0, Instant::now());
        let mut is_seen = false;
        loop {
            if !is_seen {
                match node.snapshot().await {
                    Ok(new) => (snapshot, seen) = (Some(new), Instant::now()),
                    Err(node::Error::Ended) => return,
                    // What was known stays known for a while: a failed look has not closed a listener.
                    Err(error) => warn!(%error, "cannot look at the node"),
                }
            }
            let known = pods.borrow_and_update().clone();
            if let (Some(known), Some(snapshot)) = (known, &snapshot) {
                tell_elsewhere(&known, &node_name, &mut n_elsewhere);
                prober.keep_to(snapshot);
                let probed = prober.probed();
                let targets = targets(&known, snapshot, &node_name, host_network, &rules, probed);
                let targets = if seen.elapsed() > BELIEVED { outdated(targets) } else { targets };
                scraper.keep_to(alive(&targets));
                scraper.show(&known.secrets);
                prober.ask(&targets, snapshot);
                replace(&publish, targets);
                awaited.take();
            }
            // All are cancel safe: a change that is not taken here is seen at the next turn.
            is_seen = tokio::select! {
                () = publish.closed() => return,
                () = changes.changed() => false,
                changed = pods.changed() => if changed.is_err() { return } else { false },
                () = prober.answered() => true,
            };
        }
    }
}

fn alive(targets: &Targets) -> Alive {
    let mut alive = Alive::default();
    for target in targets.values() {
        let Ok(netns) = target.netns else { continue };
        alive.namespaces.insert(netns);
        let mut sources = target.plan.sources.iter().chain(&target.plan.probes);
        if sources.any(|source| matches!(source.state, State::Ready(_))) {
            alive.listening.insert(netns);
        }
    }
    alive
}

fn replace(publish: &watch::Sender<Option<Arc<Targets>>>, new: Targets) {
    publish.send_if_modified(|published| {
        let none = Targets::new();
        let old = published.as_deref().unwrap_or(&none);
        if published.is_some() && *old == new {
            return false;
        }
        log_differences(old, &new);
        *published = Some(Arc::new(new));
        true
    });
}

/// A manifest that has no page is easily taken for one that was not read.
fn tell_elsewhere(known: &Known, node: &str, n_before: &mut usize) {
    let is_elsewhere = |pod: &&Arc<Pod>| pod.node.as_ref().is_some_and(|name| name != node);
    let n_pods = known.pods.iter().filter(is_elsewhere).count();
    if n_pods != std::mem::replace(n_before, n_pods) {
        info!(n_pods, node, "pods bound to other nodes are left out; --node-name names this one");
    }
}

fn log_differences(old: &Targets, new: &Targets) {
    for name in old.keys().filter(|name| !new.contains_key(name)) {
        info!(pod = %name, "target gone");
    }
    for (pod, target) in new {
        if old.get(pod) == Some(target) {
            continue;
        }
        let Target { pod: _, netns, plan } = &**target;
        // A pod may open and close its ports hundreds of times a second. That fills no log.
        if old.get(pod).is_some_and(|old| differ_in_state_alone(old, target)) {
            debug!(%pod, "listeners of the target changed");
            continue;
        }
        match netns {
            Ok(netns) => info!(%pod, %netns, n_sources = plan.sources.len(), "target"),
            Err(unclear) => info!(%pod, reason = %unclear, "target without a namespace"),
        }
        for note in &plan.notes {
            debug!(%pod, "{note}");
        }
    }
}

/// Whether nothing but what listens has changed: the pod itself has said nothing new.
fn differ_in_state_alone(old: &Target, new: &Target) -> bool {
    let Target { pod, netns, plan } = new;
    let lasting = |plan: &Plan| -> Vec<Note> {
        plan.notes.iter().filter(|note| !note.is_passing()).cloned().collect()
    };
    (&old.pod, &old.netns) == (pod, netns) && lasting(&old.plan) == lasting(plan)
}

#[cfg(test)]
mod tests;
