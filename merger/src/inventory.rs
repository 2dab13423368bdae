//! The task that feeds identity and plan, and publishes the targets.
//!
//! It owns what is known of this node: the pods of one source and the node's last snapshot. Both
//! are states, not changes, so the targets are made anew from them each time either changes, and
//! nothing can be forgotten. Readers hold the newest [`Targets`] and never wait.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::{
    identity::{self, Cookie, Unclear},
    lifecycle::Latch,
    node::{self, Changes, Node, Snapshot},
    pods::{self, Known},
    scrape::{Alive, Scraper},
    target::{
        Listener, Pod, PodRef, State,
        note::Note,
        plan::{Plan, Probed, Rules},
    },
};

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
/// that they alone hold. What is read of each is decided by `rules`.
#[must_use]
pub fn targets(
    known: &Known,
    snapshot: &Snapshot,
    node: &str,
    host_network: bool,
    rules: &Rules,
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
            let plan = rules.plan(pod, listeners, owner, &Probed::default());
            let target = Target { pod: Arc::clone(pod), netns, plan };
            (pod.name.clone(), Arc::new(target))
        })
        .collect()
}

/// The inventory of one node, before it runs.
pub struct Inventory {
    node: Node,
    changes: Changes,
    scraper: Arc<Scraper>,
    pods: pods::Reader,
    node_name: String,
    host_network: bool,
    rules: Rules,
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
        node_name: String,
        host_network: bool,
        rules: Rules,
        awaited: Latch,
    ) -> (Self, Reader) {
        let (publish, reader) = watch::channel(None);
        let new =
            Self { node, changes, scraper, pods, node_name, host_network, rules, publish, awaited };
        (new, reader)
    }

    /// Keeps the targets true until every reader is gone, or the source of pods or the privileged
    /// side has ended.
    pub async fn run(self) {
        let Self {
            node,
            mut changes,
            scraper,
            mut pods,
            node_name,
            host_network,
            rules,
            publish,
            awaited,
        } = self;
        let mut awaited = Some(awaited);
        let (mut snapshot, mut n_elsewhere) = (None, 0);
        loop {
            match node.snapshot().await {
                Ok(new) => snapshot = Some(new),
                Err(node::Error::Ended) => return,
                // What was known stays known: a failed look has not closed a listener.
                Err(error) => warn!(%error, "cannot look at the node"),
            }
            let known = pods.borrow_and_update().clone();
            if let (Some(known), Some(snapshot)) = (known, &snapshot) {
                tell_elsewhere(&known, &node_name, &mut n_elsewhere);
                let targets = targets(&known, snapshot, &node_name, host_network, &rules);
                scraper.keep_to(alive(&targets));
                replace(&publish, targets);
                awaited.take();
            }
            // Both futures are cancel safe: a change that is not taken here is seen at the next turn.
            tokio::select! {
                () = publish.closed() => return,
                () = changes.changed() => {}
                changed = pods.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn alive(targets: &Targets) -> Alive {
    let mut alive = Alive::default();
    for target in targets.values() {
        let Ok(netns) = target.netns else { continue };
        alive.namespaces.insert(netns);
        let mut states = target.plan.sources.iter().map(|source| &source.state);
        if states.any(|state| matches!(state, State::Ready(_))) {
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
mod tests {
    use super::*;
    use crate::{
        identity::Process,
        target::{Container, Holder},
    };

    fn mk_pod(name: &str, node: Option<&str>) -> Arc<Pod> {
        let annotations = [("prometheus.io/scrape", "true"), ("prometheus.io/port", "8080")];
        Arc::new(Pod {
            name: PodRef { namespace: "ns".to_owned(), name: name.to_owned() },
            uid: format!("uid-{name}"),
            node: node.map(str::to_owned),
            annotations: annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            containers: vec![Container { name: "app".to_owned(), ..Container::default() }],
            ended: false,
        })
    }

    fn cgroup(pod: &str) -> String {
        format!("/kubepods/poduid-{pod}/0123456789ab")
    }

    fn mk_process(pid: u32, netns: u64, pod: &str) -> Process {
        Process { pid, started: u64::from(pid), netns: Cookie(netns), cgroup: cgroup(pod) }
    }

    fn mk_listener(netns: u64, pod: &str) -> Listener {
        Listener {
            netns: Cookie(netns),
            address: [0, 0, 0, 0].into(),
            port: 8080.try_into().unwrap(),
            holders: vec![Holder { pid: 9, cgroup: cgroup(pod) }],
            doubt: None,
        }
    }

    /// Each target as `pod netns|reason: state of its first source`.
    #[track_caller]
    fn check(pods: Vec<Arc<Pod>>, snapshot: &Snapshot, expected: &[&str]) {
        let known = Known { pods, problems: vec![] };
        let shown = targets(&known, snapshot, "here", false, &Rules::default()).into_iter().map(
            |(name, target)| {
                let netns = match &target.netns {
                    Ok(netns) => netns.to_string(),
                    Err(unclear) => unclear.to_string(),
                };
                let state = match target.plan.sources.first().map(|source| &source.state) {
                    Some(State::Ready(addresses)) => addresses[0].to_string(),
                    other => format!("{other:?}"),
                };
                format!("{name} {netns}: {state}")
            },
        );
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_pod_gets_the_listeners_of_its_own_namespace() {
        let snapshot = Snapshot {
            host: Cookie(1),
            processes: vec![mk_process(10, 7, "a"), mk_process(20, 8, "b")],
            listeners: vec![mk_listener(7, "a"), mk_listener(1, "")],
        };
        check(
            vec![mk_pod("a", None), mk_pod("b", Some("here"))],
            &snapshot,
            &["ns/a 7: 127.0.0.1:8080", "ns/b 8: Some(Pending)"],
        );
    }

    #[test]
    fn a_listener_that_comes_and_goes_is_no_news_and_a_namespace_is() {
        let of = |listeners| {
            let processes = vec![mk_process(10, 7, "a")];
            let snapshot = Snapshot { host: Cookie(1), processes, listeners };
            let known = Known { pods: vec![mk_pod("a", None)], problems: vec![] };
            targets(&known, &snapshot, "here", false, &Rules::default())
                .into_values()
                .next()
                .unwrap()
        };
        let (closed, open) = (of(vec![]), of(vec![mk_listener(7, "a")]));
        assert_ne!(closed, open);
        assert!(differ_in_state_alone(&closed, &open));
        let mut elsewhere = (*open).clone();
        elsewhere.netns = Ok(Cookie(8));
        assert!(!differ_in_state_alone(&open, &elsewhere));
    }

    #[test]
    fn a_pod_without_a_namespace_is_shown_with_the_reason() {
        let snapshot = Snapshot {
            host: Cookie(1),
            processes: vec![mk_process(20, 1, "b")],
            listeners: vec![mk_listener(1, "b")],
        };
        check(
            vec![mk_pod("a", None), mk_pod("b", None)],
            &snapshot,
            &[
                "ns/a no process runs in the pod's cgroup: it does not run, or its uid is another by now: Some(Pending)",
                "ns/b the pod is in the host's network namespace, which is not scraped without --host-network: Some(Pending)",
            ],
        );
    }

    #[test]
    fn a_pod_of_the_host_has_what_it_alone_holds_where_that_is_opted_in() {
        let mut listeners = vec![mk_listener(1, "b")];
        let processes = vec![mk_process(1, 1, ""), mk_process(20, 1, "b"), mk_process(30, 1, "c")];
        let known = Known { pods: vec![mk_pod("b", None), mk_pod("c", None)], problems: vec![] };
        let states = |listeners: &[Listener]| {
            let snapshot = Snapshot {
                host: Cookie(1),
                processes: processes.clone(),
                listeners: listeners.to_vec(),
            };
            let targets = targets(&known, &snapshot, "here", true, &Rules::default()).into_values();
            targets
                .map(|target| {
                    assert_eq!(target.netns, Ok(Cookie(1)));
                    let source = &target.plan.sources[0];
                    assert_eq!(source.owner.unwrap().as_str(), target.pod.uid);
                    matches!(source.state, State::Ready(_))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(states(&listeners), [true, false]);
        listeners[0].holders.push(Holder { pid: 31, cgroup: cgroup("c") });
        assert_eq!(states(&listeners), [false, false]);
    }

    #[test]
    fn pods_of_another_node_and_pods_that_ended_are_left_out() {
        let snapshot = Snapshot { host: Cookie(1), processes: vec![], listeners: vec![] };
        let mut ended = (*mk_pod("b", None)).clone();
        ended.ended = true;
        check(vec![mk_pod("a", Some("elsewhere")), Arc::new(ended)], &snapshot, &[]);
    }
}
