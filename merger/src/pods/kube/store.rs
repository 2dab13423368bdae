//! The objects that the API server has told of: a list, and what has changed since.
//!
//! A new list is built beside the one that is known, and takes its place when it is complete. So
//! whatever happens in between, nothing is ever missing that was there before and is there after.

use kube::runtime::watcher::Event;

use self::shelf::{Entry, Shelf};
use super::item::{Content, Item, Name};

mod shelf;

/// All of them, by name.
#[derive(Debug)]
pub(super) struct Store<T> {
    known: Shelf<T>,
    /// The list that is being received.
    next: Shelf<T>,
}

// === impl Store ===

impl<T: Content> Store<T> {
    /// Takes in what the API server told. Whether what is known may be another thing now.
    pub(super) fn apply(&mut self, event: Event<Item<T>>) -> bool {
        match event {
            Event::Init => self.abandon(),
            Event::InitApply(item) => {
                let (name, entry) = self.entry(item);
                self.next.insert(name, entry);
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.next);
                return true;
            }
            Event::Apply(item) => {
                let (name, entry) = self.entry(item);
                return self.known.insert(name, entry);
            }
            Event::Delete(item) => {
                let (name, uid, _) = item.into_parts();
                // One that has its name by now is another one, and stays.
                if self.known.get(&name).is_some_and(|entry| entry.uid == uid) {
                    self.known.remove(&name);
                    return true;
                }
                // It may have been left out, and then there may be none any more that was.
                self.known.make_room();
            }
        }
        false
    }

    /// Forgets the list that is being received; what is known stays.
    pub(super) fn abandon(&mut self) {
        self.next = Shelf::default();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether some were left out, as all of them are too large.
    pub(super) fn is_full(&self) -> bool {
        self.known.is_full()
    }

    /// The namespace that has most of what is known.
    pub(super) fn largest(&self) -> Option<&str> {
        self.known.largest()
    }

    /// Whether one that was left out may have room by now: a new list would tell of it.
    pub(super) fn calls_for_list(&self) -> bool {
        self.known.has_room_again()
    }

    /// What is known, each name once, in their order: or why it cannot be understood.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Result<T, String>)> {
        self.known.iter().map(|(name, Entry { uid: _, content })| (name, content))
    }

    /// The same, to be worked on.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Name, &mut Result<T, String>)> {
        self.known.iter_mut().map(|(name, Entry { uid: _, content })| (name, content))
    }

    /// The uids of all of them, whether they can be understood or not.
    pub(super) fn uids(&self) -> impl Iterator<Item = &str> {
        self.known.iter().filter_map(|(_, entry)| entry.uid.as_deref())
    }

    /// The item as it is kept. One that is as it was is held once, even while two lists have it.
    fn entry(&self, item: Item<T>) -> (Name, Entry<T>) {
        let (name, uid, content) = item.into_parts();
        let content = content.map(|new| match self.known.get(&name) {
            Some(Entry { content: Ok(old), .. }) if old.is_of(&new) => old.clone(),
            _ => new,
        });
        (name, Entry { uid, content })
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { known: Shelf::default(), next: Shelf::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::item::Labelled, *};
    use crate::pods::monitor::Monitor;

    type Pods = Store<Labelled>;

    fn item(name: &str, uid: &str) -> Item<Labelled> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"{uid}","resourceVersion":"1"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Name and uid of each pod, after these events.
    #[track_caller]
    fn check(store: &mut Pods, events: Vec<Event<Item<Labelled>>>, expected: &[&str]) {
        for event in events {
            store.apply(event);
        }
        let pods = store.iter().map(|(_, pod)| &pod.as_ref().unwrap().pod);
        let shown: Vec<String> = pods.map(|pod| format!("{} {}", pod.name.name, pod.uid)).collect();
        assert_eq!(shown, expected);
    }

    fn listed(items: &[(&str, &str)]) -> Vec<Event<Item<Labelled>>> {
        let items = items.iter().map(|(name, uid)| Event::InitApply(item(name, uid)));
        std::iter::once(Event::Init).chain(items).collect()
    }

    #[test]
    fn a_list_takes_the_place_of_another_when_it_is_complete() {
        let mut store = Pods::default();
        check(&mut store, listed(&[("a", "1"), ("b", "2")]), &[]);
        check(&mut store, vec![Event::InitDone], &["a 1", "b 2"]);
        check(&mut store, listed(&[("b", "2")]), &["a 1", "b 2"]);
        // It broke off, and is begun anew.
        check(&mut store, listed(&[("c", "3")]), &["a 1", "b 2"]);
        check(&mut store, vec![Event::InitDone], &["c 3"]);
    }

    #[test]
    fn a_name_is_one_pod_whatever_the_order() {
        let mut store = Pods::default();
        check(&mut store, vec![Event::Apply(item("a", "1"))], &["a 1"]);
        check(&mut store, vec![Event::Apply(item("a", "2"))], &["a 2"]);
        check(&mut store, vec![Event::Delete(item("a", "1"))], &["a 2"]);
        check(&mut store, vec![Event::Delete(item("a", "2"))], &[]);
    }

    #[test]
    fn a_pod_that_did_not_change_is_held_once() {
        let mut store = Pods::default();
        store.apply(Event::Apply(item("a", "1")));
        let first = |store: &Pods| store.iter().next().unwrap().1.clone().unwrap().pod;
        let before = first(&store);
        for event in listed(&[("a", "1")]).into_iter().chain([Event::InitDone]) {
            store.apply(event);
        }
        assert!(Arc::ptr_eq(&before, &first(&store)));
    }

    #[test]
    fn what_is_no_pod_is_a_problem_with_its_name() {
        let mut store = Pods::default();
        store.apply(Event::Apply(item("odd", "")));
        let (name, pod) = store.iter().next().unwrap();
        assert_eq!(name.to_string(), "n/odd");
        let problem = pod.as_ref().unwrap_err();
        assert!(problem.starts_with("metadata.uid is missing"), "{problem}");
        store.apply(Event::Delete(item("odd", "")));
        assert_eq!(store.iter().count(), 0);
    }

    type Monitors = Store<Arc<Monitor>>;

    /// A monitor of about 1.1 KB for each endpoint.
    fn monitor(namespace: &str, n: usize, n_endpoints: usize) -> Item<Arc<Monitor>> {
        monitor_of(namespace, n, n_endpoints, "u")
    }

    fn monitor_of(namespace: &str, n: usize, n_endpoints: usize, uid: &str) -> Item<Arc<Monitor>> {
        let path = "x".repeat(1000);
        let endpoints = vec![format!(r#"{{"path":"/{path}"}}"#); n_endpoints].join(",");
        let text = format!(
            r#"{{"metadata":{{"name":"m-{n:04}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"1"}},"spec":{{"podMetricsEndpoints":[{endpoints}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// How many there are of each of these namespaces.
    fn of<const N: usize>(store: &Monitors, namespaces: [&str; N]) -> [usize; N] {
        namespaces.map(|of| store.iter().filter(|(name, _)| name.namespace == of).count())
    }

    #[test]
    fn what_anybody_may_make_is_kept_while_there_is_room() {
        let mut store = Monitors::default();
        let namespaces: Vec<String> = (0..20).map(|n| format!("n-{n}")).collect();
        for (n, namespace) in (0..80).flat_map(|n| namespaces.iter().map(move |of| (n, of))) {
            store.apply(Event::Apply(monitor(namespace, n, 20)));
        }
        let n_kept = store.iter().count();
        let n_fit = Arc::<Monitor>::MOST_BYTES / (20 * 1000);
        assert!(n_kept < n_fit && n_kept > n_fit * 3 / 4, "{n_kept} of {n_fit}");
        assert!(store.is_full());
        // One that goes makes room for another.
        store.apply(Event::Delete(monitor("n-0", 0, 20)));
        store.apply(Event::Apply(monitor("z", 2000, 20)));
        store.apply(Event::Apply(monitor("z", 2000, 20)));
        store.apply(Event::Apply(monitor("z", 2001, 20)));
        assert_eq!(store.iter().count(), n_kept);
        assert_eq!(store.iter().last().unwrap().0.to_string(), "z/m-2000");
        store.apply(Event::Init);
        store.apply(Event::InitDone);
        assert!(!store.is_full() && store.is_empty());
    }

    #[test]
    fn a_list_is_called_for_where_room_was_made_and_by_what_grows_at_the_brim() {
        let full = || {
            let mut store = Monitors::default();
            for n in 0..200 {
                store.apply(Event::Apply(monitor("n", n, 20)));
            }
            assert!(store.is_full() && !store.calls_for_list());
            store
        };
        let mut store = full();
        // Of one that was left out it is no news that it is gone, but that there is one may be true no more.
        assert!(!store.apply(Event::Delete(monitor("n", 199, 20))) && store.calls_for_list());
        let mut store = full();
        assert!(store.apply(Event::Apply(monitor("n", 199, 1))) && store.calls_for_list());
        let mut store = full();
        assert!(!store.calls_for_list());
        assert!(store.apply(Event::Delete(monitor("n", 0, 20))) && store.calls_for_list());
        for event in [Event::Init, Event::InitApply(monitor("n", 199, 20)), Event::InitDone] {
            store.apply(event);
        }
        assert!(!store.is_full() && !store.calls_for_list());
        store.apply(Event::Delete(monitor("n", 199, 20)));
        assert!(!store.calls_for_list(), "nothing was left out");

        let mut store = full();
        assert!(store.apply(Event::Apply(monitor("n", 0, 10))) && store.calls_for_list());

        // It stays as it was, until a list has it in its place.
        let mut store = full();
        for n in 1000..1100 {
            store.apply(Event::Apply(monitor("n", n, 1)));
        }
        let n_kept = of(&store, ["n"]);
        store.apply(Event::Apply(monitor("n", 0, 27)));
        assert!(store.calls_for_list());
        assert_eq!(of(&store, ["n"]), n_kept);
        assert_eq!(store.iter().next().unwrap().0.name, "m-0000");
        // One of its name that is another one is not it.
        let another = monitor_of("n", 0, 27, "another");
        assert!(store.apply(Event::Apply(another)));
        assert_eq!(store.iter().next().unwrap().0.name, "m-0001");
    }

    #[test]
    fn what_nobody_uses_of_a_change_is_no_change() {
        let mut store = Monitors::default();
        let told = |store: &mut Monitors, annotation: &str, port: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"m","namespace":"n","uid":"u","annotations":{{"a":"{annotation}"}}}},"spec":{{"podMetricsEndpoints":[{{"port":{port}}}]}},"status":{{"a":"{annotation}"}}}}"#
            );
            store.apply(Event::Apply(serde_json::from_str(&text).unwrap()))
        };
        assert!(told(&mut store, "1", r#""metrics""#));
        assert!(!told(&mut store, "2", r#""metrics""#));
        assert!(told(&mut store, "2", r#""other""#));
        // Nor is one that cannot be understood, again.
        assert!(told(&mut store, "3", "[]"));
        assert!(!told(&mut store, "4", "[]"));
        assert!(told(&mut store, "4", r#""other""#));
        let mut pods = Pods::default();
        assert!(pods.apply(Event::Apply(item("a", "1"))));
        assert!(!pods.apply(Event::Apply(item("a", "1"))));
        assert!(pods.apply(Event::Apply(item("a", "2"))));
    }

    #[test]
    fn one_namespace_takes_no_room_of_another() {
        let mut store = Monitors::default();
        for n in 0..1000 {
            store.apply(Event::Apply(monitor("greedy", n, 20)));
        }
        assert!(store.is_full());
        for n in 0..10 {
            store.apply(Event::Apply(monitor("modest", n, 1)));
        }
        let [greedy, modest] = of(&store, ["greedy", "modest"]);
        assert_eq!(modest, 10);
        let n_fit = Arc::<Monitor>::MOST_BYTES_OF_NAMESPACE / (20 * 1000);
        assert!(greedy < n_fit && greedy > n_fit * 3 / 4, "{greedy} of {n_fit}");
        for n in 0..1000 {
            store.apply(Event::Delete(monitor("greedy", n, 20)));
        }
        assert_eq!(of(&store, ["greedy", "modest"]), [0, 10]);
        assert_eq!(store.known.namespaces().collect::<Vec<_>>(), ["modest"]);
    }
}
