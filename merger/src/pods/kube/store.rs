//! The pods that the API server has told of: a list, and what has changed since.
//!
//! A new list is built beside the one that is known, and takes its place when it is complete. So
//! whatever happens in between, nothing is ever missing that was there before and is there after.

use std::{collections::BTreeMap, sync::Arc};

use kube::runtime::watcher::Event;

use super::item::Item;
use crate::{
    pods::{Known, Problem},
    target::{Pod, PodRef},
};

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Store {
    pods: BTreeMap<PodRef, Entry>,
    /// The list that is being received.
    next: BTreeMap<PodRef, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: Option<String>,
    pod: Result<Arc<Pod>, String>,
}

// === impl Store ===

impl Store {
    /// Takes in what the API server told. Whether what is known may be another thing now.
    pub(super) fn apply(&mut self, event: Event<Item>) -> bool {
        match event {
            Event::Init => self.abandon(),
            Event::InitApply(item) => {
                let (name, entry) = self.entry(item);
                self.next.insert(name, entry);
            }
            Event::InitDone => {
                self.pods = std::mem::take(&mut self.next);
                return true;
            }
            Event::Apply(item) => {
                let (name, entry) = self.entry(item);
                self.pods.insert(name, entry);
                return true;
            }
            Event::Delete(item) => {
                let (name, uid, _) = item.into_parts();
                // A pod that has its name by now is another one, and stays.
                if self.pods.get(&name).is_some_and(|entry| entry.uid == uid) {
                    self.pods.remove(&name);
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

    /// What is known, each name once, in their order.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::default();
        for (name, Entry { uid: _, pod }) in &self.pods {
            match pod {
                Ok(pod) => known.pods.push(Arc::clone(pod)),
                Err(what) => {
                    let place = format!("pod {name} of the API server");
                    known.problems.push(Problem { place, what: what.clone() });
                }
            }
        }
        known
    }

    /// The item as it is kept. A pod that is as it was is held once, even while two lists have it.
    fn entry(&self, item: Item) -> (PodRef, Entry) {
        let (name, uid, pod) = item.into_parts();
        let pod = pod.map(|new| match self.pods.get(&name) {
            Some(Entry { pod: Ok(old), .. }) if *old == new => Arc::clone(old),
            _ => new,
        });
        (name, Entry { uid, pod })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, uid: &str) -> Item {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"{uid}","resourceVersion":"1"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Name and uid of each pod, after these events.
    #[track_caller]
    fn check(store: &mut Store, events: Vec<Event<Item>>, expected: &[&str]) {
        for event in events {
            store.apply(event);
        }
        let known = store.known();
        let shown: Vec<String> =
            known.pods.iter().map(|pod| format!("{} {}", pod.name.name, pod.uid)).collect();
        assert_eq!(shown, expected);
    }

    fn listed(items: &[(&str, &str)]) -> Vec<Event<Item>> {
        let items = items.iter().map(|(name, uid)| Event::InitApply(item(name, uid)));
        std::iter::once(Event::Init).chain(items).collect()
    }

    #[test]
    fn a_list_takes_the_place_of_another_when_it_is_complete() {
        let mut store = Store::default();
        check(&mut store, listed(&[("a", "1"), ("b", "2")]), &[]);
        check(&mut store, vec![Event::InitDone], &["a 1", "b 2"]);
        check(&mut store, listed(&[("b", "2")]), &["a 1", "b 2"]);
        // It broke off, and is begun anew.
        check(&mut store, listed(&[("c", "3")]), &["a 1", "b 2"]);
        check(&mut store, vec![Event::InitDone], &["c 3"]);
    }

    #[test]
    fn a_name_is_one_pod_whatever_the_order() {
        let mut store = Store::default();
        check(&mut store, vec![Event::Apply(item("a", "1"))], &["a 1"]);
        check(&mut store, vec![Event::Apply(item("a", "2"))], &["a 2"]);
        check(&mut store, vec![Event::Delete(item("a", "1"))], &["a 2"]);
        check(&mut store, vec![Event::Delete(item("a", "2"))], &[]);
    }

    #[test]
    fn a_pod_that_did_not_change_is_held_once() {
        let mut store = Store::default();
        store.apply(Event::Apply(item("a", "1")));
        let before = Arc::clone(&store.known().pods[0]);
        for event in listed(&[("a", "1")]).into_iter().chain([Event::InitDone]) {
            store.apply(event);
        }
        assert!(Arc::ptr_eq(&before, &store.known().pods[0]));
    }

    #[test]
    fn what_is_no_pod_is_a_problem_with_its_name() {
        let mut store = Store::default();
        store.apply(Event::Apply(item("odd", "")));
        let known = store.known();
        assert!(known.pods.is_empty());
        let problem = known.problems[0].to_string();
        assert!(
            problem.starts_with("pod n/odd of the API server: metadata.uid is missing"),
            "{problem}"
        );
        store.apply(Event::Delete(item("odd", "")));
        assert_eq!(store.known(), Known::default());
    }
}
