//! Objects within their limits: of all together, and of each namespace, where anybody may make as many as he
//! likes.

use std::{collections::BTreeMap, mem};

use super::{Content, Name};

/// Objects, as many as there is room for.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    entries: BTreeMap<Name, Entry<T>>,
    n_bytes: usize,
    /// The same of each namespace that has any.
    of_namespaces: BTreeMap<String, usize>,
    /// Whether one was left out for want of room.
    is_full: bool,
    /// Whether there is more room since then, or one that was left out is wanted more than another that is here.
    has_room: bool,
}

/// An object, as far as it is known.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) uid: Option<String>,
    pub(super) content: Result<T, String>,
}

// === impl Shelf ===

impl<T: Content> Shelf<T> {
    pub(super) fn get(&self, name: &Name) -> Option<&Entry<T>> {
        self.entries.get(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether one was left out for want of room.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether that one may be here by now.
    pub(super) fn has_room_again(&self) -> bool {
        self.is_full && self.has_room
    }

    /// All of them, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Entry<T>)> {
        self.entries.iter()
    }

    /// The same, to be worked on.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Name, &mut Entry<T>)> {
        self.entries.iter_mut()
    }

    /// Puts in what is known of an object by now. Whether that is another thing: whoever may write its status
    /// or its annotations may do so all the time.
    pub(super) fn insert(&mut self, name: Name, entry: Entry<T>) -> bool {
        let old = self.entries.get(&name);
        if old.is_some_and(|old| old.is_of(&entry)) {
            return false;
        }
        let (is_there, is_same) = (old.is_some(), old.is_some_and(|old| old.uid == entry.uid));
        let (before, n_bytes) = (old.map_or(0, |old| old.n_bytes(&name)), entry.n_bytes(&name));
        let of_namespace = self.of_namespaces.get(&name.namespace).copied().unwrap_or_default();
        let is_more = |kept: usize, most| (kept - before).saturating_add(n_bytes) > most;
        let is_over = is_more(self.n_bytes, T::MOST_BYTES);
        let is_over_in_namespace = is_more(of_namespace, T::MOST_BYTES_OF_NAMESPACE);
        if is_over_in_namespace || (is_over && !T::LARGEST_GIVES_WAY) {
            // One that has grown stays as it was: a new list, in the order of names, has it in its place.
            self.has_room |= is_there;
            let is_news = !mem::replace(&mut self.is_full, true);
            return (is_there && !is_same && self.remove(&name)) || is_news;
        }
        self.n_bytes = self.n_bytes - before + n_bytes;
        self.of_namespaces.insert(name.namespace.clone(), of_namespace - before + n_bytes);
        if is_over {
            self.entries.insert(name.clone(), entry);
            return self.give_way_to(&name, is_there);
        }
        // A new one may be one that was left out, and has shrunk.
        self.has_room |= n_bytes < before || (self.is_full && !is_there);
        self.entries.insert(name, entry);
        true
    }

    /// Leaves out the last ones of the namespace that has most, until there is room for all others. So one
    /// that has less than its share of all loses none. Whether something else is known than before `new`
    /// was put in, which `is_there` says whether it was known.
    fn give_way_to(&mut self, new: &Name, is_there: bool) -> bool {
        let mut is_as_before = !is_there;
        while self.n_bytes > T::MOST_BYTES {
            let Some(last) = self.last_of_largest() else { break };
            is_as_before &= last == *new;
            self.take_out(&last);
        }
        let was_full = mem::replace(&mut self.is_full, true);
        !is_as_before || !was_full
    }

    /// The namespace that has most.
    pub(super) fn largest(&self) -> Option<&str> {
        let (namespace, _) = self.of_namespaces.iter().max_by_key(|(_, n_bytes)| **n_bytes)?;
        Some(namespace)
    }

    fn last_of_largest(&self) -> Option<Name> {
        let namespace = self.largest()?;
        let before = |namespace: String| Name { namespace, name: String::new() };
        // No text is between this one and the next.
        let (from, to) = (before(namespace.to_owned()), before(format!("{namespace}\0")));
        self.entries.range(from..to).next_back().map(|(name, _)| name.clone())
    }

    /// There may be room for one that was left out, or none that was any more.
    pub(super) fn make_room(&mut self) {
        self.has_room = true;
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        let is_there = self.take_out(name);
        self.has_room |= is_there;
        is_there
    }

    fn take_out(&mut self, name: &Name) -> bool {
        let Some(entry) = self.entries.remove(name) else { return false };
        let n_bytes = entry.n_bytes(name);
        self.n_bytes -= n_bytes;
        if let Some(of_namespace) = self.of_namespaces.get_mut(&name.namespace) {
            *of_namespace -= n_bytes;
            if *of_namespace == 0 {
                self.of_namespaces.remove(&name.namespace);
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.of_namespaces.keys().map(String::as_str)
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            n_bytes: 0,
            of_namespaces: BTreeMap::new(),
            is_full: false,
            has_room: false,
        }
    }
}

// === impl Entry ===

impl<T: Content> Entry<T> {
    /// Whether a new one says nothing else.
    fn is_of(&self, new: &Self) -> bool {
        let is_same = match (&self.content, &new.content) {
            (Ok(old), Ok(new)) => old.is_of(new),
            (Err(old), Err(new)) => old == new,
            _ => false,
        };
        is_same && self.uid == new.uid
    }

    /// The bytes that it takes in memory, with its name.
    fn n_bytes(&self, name: &Name) -> usize {
        let Self { uid, content } = self;
        let content = content.as_ref().map_or_else(|what| what.len(), T::n_bytes);
        let uid = uid.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + size_of::<Name>()
            + name.namespace.len()
            + name.name.len()
            + uid
            + content
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::item::Labelled, *};

    type Pods = Shelf<Labelled>;

    fn put(shelf: &mut Pods, namespace: &str, n: usize, phase: &str) -> bool {
        let text = format!(
            r#"{{"metadata":{{"name":"p-{n:05}","namespace":"{namespace}","uid":"u"}},"status":{{"phase":"{phase}"}}}}"#
        );
        let name = Name { namespace: namespace.to_owned(), name: format!("p-{n:05}") };
        shelf.insert(name, Entry { uid: Some("u".to_owned()), content: Labelled::read(&text) })
    }

    /// How many there are of a namespace, which are its first by name.
    #[track_caller]
    fn of(shelf: &Pods, namespace: &str) -> usize {
        let of = shelf.iter().filter(|(name, _)| name.namespace == namespace);
        let names: Vec<&str> = of.map(|(name, _)| name.name.as_str()).collect();
        let first: Vec<String> = (0..names.len()).map(|n| format!("p-{n:05}")).collect();
        assert_eq!(names, first);
        names.len()
    }

    #[test]
    fn nobody_loses_a_pod_by_those_of_another_namespace() {
        let mut shelf = Pods::default();
        for n in 0..300 {
            put(&mut shelf, "before", n, "Running");
        }
        for n in 0..4000 {
            put(&mut shelf, "greedy", n, "Pending");
        }
        assert!(!put(&mut shelf, "greedy", 4000, "Pending"), "it is left out, as others were");
        assert!(shelf.is_full() && !shelf.has_room_again());
        for n in 0..300 {
            assert!(put(&mut shelf, "later", n, "Running"));
        }
        assert_eq!([of(&shelf, "before"), of(&shelf, "later")], [300, 300]);
        let n_greedy = of(&shelf, "greedy");
        assert!((1300..1400).contains(&n_greedy), "{n_greedy}");
        assert_eq!(shelf.largest(), Some("greedy"));
        let n_bytes: usize = shelf.iter().map(|(name, entry)| entry.n_bytes(name)).sum();
        assert_eq!((shelf.n_bytes, n_bytes <= Labelled::MOST_BYTES), (n_bytes, true));

        // The kubelet refuses them: there is room again, and a list is read that tells of all.
        for n in 0..4000 {
            put(&mut shelf, "greedy", n, "Failed");
        }
        assert!(shelf.has_room_again());
        assert_eq!(
            [of(&shelf, "before"), of(&shelf, "greedy"), of(&shelf, "later")],
            [300, 4000, 300]
        );
    }

    #[test]
    fn of_two_that_have_too_much_both_give_way() {
        let mut shelf = Pods::default();
        for n in 0..3000 {
            put(&mut shelf, "a", n, "Running");
        }
        for n in 0..3000 {
            put(&mut shelf, "b", n, "Running");
        }
        let (a, b) = (of(&shelf, "a"), of(&shelf, "b"));
        assert!(a.abs_diff(b) <= 1 && (950..1000).contains(&a), "{a} and {b}");
    }

    #[test]
    fn those_that_have_ended_take_no_room_to_speak_of() {
        let mut shelf = Pods::default();
        for n in 0..12_500 {
            put(&mut shelf, "jobs", n, "Succeeded");
        }
        assert!(!shelf.is_full() && shelf.n_bytes < 9 << 20, "{}", shelf.n_bytes);
        assert_eq!(of(&shelf, "jobs"), 12_500);
    }
}
