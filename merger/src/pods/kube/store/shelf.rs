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
        if is_more(self.n_bytes, T::MOST_BYTES) || is_more(of_namespace, T::MOST_BYTES_OF_NAMESPACE)
        {
            // One that has grown stays as it was: a new list, in the order of names, has it in its place.
            self.has_room |= is_there;
            let is_news = !mem::replace(&mut self.is_full, true);
            return (is_there && !is_same && self.remove(&name)) || is_news;
        }
        // A new one may be one that was left out, and has shrunk.
        self.has_room |= n_bytes < before || (self.is_full && !is_there);
        self.n_bytes = self.n_bytes - before + n_bytes;
        self.of_namespaces.insert(name.namespace.clone(), of_namespace - before + n_bytes);
        self.entries.insert(name, entry);
        true
    }

    /// There may be room for one that was left out, or none that was any more.
    pub(super) fn make_room(&mut self) {
        self.has_room = true;
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        let Some(entry) = self.entries.remove(name) else { return false };
        let n_bytes = entry.n_bytes(name);
        self.has_room = true;
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
