//! A pod may make namespaces inside its own, as many as it likes. Nobody looks at them, and they take
//! nothing from a neighbour.

use std::{net::SocketAddr, time::Duration};

use merger::{
    identity::Cookie,
    listeners::Rung,
    netns::Identity,
    node::{self, Changes, Connect, ConnectError, Node, Options, Refusal, Rungs, Snapshot},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    cgroup::{Cgroup, Root},
    find,
    namespace::{called, identities, is_guest, look},
    offered::rungs,
    pod::Pod,
    world,
};

const UID: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
const NEIGHBOUR: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d82";
const ID: &str = "0123456789ab";

/// Namespaces that the pod makes inside its own.
const N_NESTED: usize = 12;

const DEADLINE: Duration = Duration::from_secs(20);

/// A pod with namespaces nested inside its own, and its neighbour.
struct Neighbours {
    container: Cgroup,
    pod: Pod,
    nested: Vec<Pod>,
    neighbour: Pod,
    // Removed when all who are in there have ended.
    _root: Root,
}

// === impl Neighbours ===

impl Neighbours {
    fn new() -> Self {
        let root = Root::new(usize::MAX);
        let (pod, neighbour) = (Pod::new(), Pod::new());
        let container = root.container(UID, ID);
        container.join(pod.pid());
        root.container(NEIGHBOUR, ID).join(neighbour.pid());
        let nested: Vec<Pod> = (0..N_NESTED).map(|_| Pod::new()).collect();
        for one in &nested {
            container.join(one.pid());
        }
        Self { container, pod, nested, neighbour, _root: root }
    }
}

/// Starts a node as it is on a real one.
fn start(rung: Rung, identity: Identity) -> (Node, Changes) {
    let (rung, identity) = (Rungs::Only(rung), Some(identity));
    let look_every = Duration::from_secs(1);
    node::start(Options { rung, identity, look_every, ..Options::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn until(
    node: &Node,
    changes: &mut Changes,
    what: &str,
    expected: impl Fn(&Snapshot) -> bool,
) -> Snapshot {
    let start = Instant::now();
    loop {
        let snapshot = look(node).await;
        if expected(&snapshot) {
            return snapshot;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: {:?}", snapshot.listeners);
        let _ = timeout(Duration::from_millis(500), changes.changed()).await;
    }
}

fn on_each_rung(body: impl AsyncFn(Rung, Identity)) {
    for identity in identities() {
        // In a guest by the first two, which take most of what they know from before.
        let n_rungs = if is_guest() { 2 } else { usize::MAX };
        for rung in rungs().into_iter().take(n_rungs) {
            world::here(async || body(rung, identity).await);
        }
    }
}

#[test]
fn namespaces_nested_inside_a_pod_are_not_looked_at_and_cost_its_neighbour_nothing() {
    on_each_rung(async |rung, identity| {
        let all = Neighbours::new();
        let (node, mut changes) = start(rung, identity);
        until(&node, &mut changes, "it settles", |_| true).await;
        sleep(Duration::from_millis(300)).await;
        look(&node).await;
        let before = node.counters();
        for round in 0..3 {
            let open: Vec<_> = all.nested.iter().map(|one| one.listen("127.0.0.1:4711")).collect();
            let (listener, bound) = all.neighbour.listen("127.0.0.1:0");
            let is_open = |seen: &Snapshot| find(seen, all.neighbour.cookie, bound).is_some();
            let snapshot = until(&node, &mut changes, "it listens", is_open).await;
            let is_nested = |netns: Cookie| all.nested.iter().any(|one| one.cookie == netns);
            let told: Vec<_> =
                snapshot.listeners.iter().filter(|one| is_nested(one.netns)).collect();
            assert!(told.is_empty(), "{rung} {identity:?} {round}: {told:?}");
            drop((open, listener));
            until(&node, &mut changes, "it is closed", |seen| !is_open(seen)).await;
        }
        let after = node.counters();
        let n_looks = after.snapshots - before.snapshots;
        let n_read = after.namespaces_read - before.namespaces_read;
        // The pod's own, its neighbour's, and once more what was not known to be held.
        assert!(n_read > 0 && n_read <= 4 * n_looks, "{rung} {identity:?}: {n_read} in {n_looks}");
        drop(node);
    });
}

#[test]
fn a_pods_own_listener_is_asked_and_never_that_of_a_namespace_nested_inside() {
    on_each_rung(async |rung, identity| {
        let all = Neighbours::new();
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        let _open = [all.pod.listen("127.0.0.1:4711"), all.nested[0].listen("127.0.0.1:4711")];
        let (node, mut changes) = start(rung, identity);
        let is_open = |seen: &Snapshot| find(seen, all.pod.cookie, address).is_some();
        until(&node, &mut changes, "the pod listens", is_open).await;
        let snapshot = node.snapshot().await.unwrap();
        let connect = async |netns| node.connect(Connect { netns, address, owner: None }).await;
        connect(called(&snapshot, all.pod.pid())).await.unwrap();
        if identity == Identity::Cookie {
            let netns = all.nested[0].cookie;
            let refused = connect(netns).await.unwrap_err();
            let ConnectError::Refused(refusal) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal, Refusal::Stranger(netns), "{rung}");
        }
        drop(node);
    });
}

#[test]
fn a_namespace_that_becomes_a_pods_own_is_looked_at_with_its_next_listener() {
    on_each_rung(async |rung, identity| {
        let mut all = Neighbours::new();
        let late = Pod::new();
        let (node, mut changes) = start(rung, identity);
        until(&node, &mut changes, "it settles", |_| true).await;
        // Its first process was there, and in no pod's cgroup. Now it is the oldest of a pod.
        let root = Root::new(usize::MAX);
        root.container("6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d83", ID).join(late.pid());
        let (_listener, bound) = late.listen("127.0.0.1:0");
        let is_open = |seen: &Snapshot| find(seen, late.cookie, bound).is_some();
        until(&node, &mut changes, "the late one listens", is_open).await;
        // The sandbox of a pod ends, and what was nested inside is the pod's by its oldest process.
        let old = std::mem::replace(&mut all.pod, Pod::new());
        all.container.join(all.pod.pid());
        drop(old);
        let heir = &all.nested[0];
        let (_listener, bound) = heir.listen("127.0.0.1:0");
        let is_open = |seen: &Snapshot| find(seen, heir.cookie, bound).is_some();
        until(&node, &mut changes, "the heir listens", is_open).await;
        drop((node, late));
    });
}
