//! The objects that the API server has told of: a list, and what has changed since.
//!
//! A new list is built beside the one that is known, and takes its place when it is complete. So
//! whatever happens in between, nothing is ever missing that was there before and is there after.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

use super::item::{Content, Item, Name};

/// All of them, by name.
#[derive(Debug)]
pub(super) struct Store<T> {
    known: BTreeMap<Name, Entry<T>>,
    /// The list that is being received.
    next: BTreeMap<Name, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    uid: Option<String>,
    content: Result<T, String>,
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
                self.known.insert(name, entry);
                return true;
            }
            Event::Delete(item) => {
                let (name, uid, _) = item.into_parts();
                // A pod that has its name by now is another one, and stays.
                if self.known.get(&name).is_some_and(|entry| entry.uid == uid) {
                    self.known.remove(&name);
                    return true;
                }
            }
        }
        false
    }

    /// Forgets the list that is being received; what is known stays.
    pub(super) fn abandon(&mut self) {
        self.next.clear();
    }

    /// What is known, each name once, in their order: or why it cannot be understood.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Result<T, String>)> {
        self.known.iter().map(|(name, Entry { uid: _, content })| (name, content))
    }

    /// The item as it is kept. One that is as it was is held once, even while two lists have it.
    fn entry(&self, item: Item<T>) -> (Name, Entry<T>) {
        let (name, uid, content) = item.into_parts();
        let content = content.map(|new| match self.known.get(&name) {
            Some(Entry { content: Ok(old), .. }) if *old == new => old.clone(),
            _ => new,
        });
        (name, Entry { uid, content })
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), next: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::target::Pod;

    type Pods = Store<Arc<Pod>>;

    fn item(name: &str, uid: &str) -> Item<Arc<Pod>> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"{uid}","resourceVersion":"1"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Name and uid of each pod, after these events.
    #[track_caller]
    fn check(store: &mut Pods, events: Vec<Event<Item<Arc<Pod>>>>, expected: &[&str]) {
        for event in events {
            store.apply(event);
        }
        let pods = store.iter().map(|(_, pod)| pod.as_ref().unwrap());
        let shown: Vec<String> = pods.map(|pod| format!("{} {}", pod.name.name, pod.uid)).collect();
        assert_eq!(shown, expected);
    }

    fn listed(items: &[(&str, &str)]) -> Vec<Event<Item<Arc<Pod>>>> {
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
        let first = |store: &Pods| store.iter().next().unwrap().1.clone().unwrap();
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
}
