//! The namespaces in which something changed, and which are to be read.
//!
//! A change is told before the socket's state is stored. So what is read because of it is read once
//! more at the first look that comes some time later: whoever calls for looks makes sure of one.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::identity::Cookie;

/// A look this long after the change is the last for it. The next is called for after twice that.
const YOUNG: Duration = Duration::from_millis(25);

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Marks {
    changed: HashMap<Cookie, Instant>,
    /// When it was told that everything may have changed.
    all: Option<Instant>,
    /// When it was told that there were changes, and not where.
    lost: Option<Instant>,
}

// === impl Marks ===

impl Marks {
    /// At the start nothing is known.
    pub(crate) fn new(now: Instant) -> Self {
        Self { changed: HashMap::new(), all: Some(now), lost: None }
    }

    pub(crate) fn add(&mut self, netns: impl IntoIterator<Item = Cookie>, now: Instant) {
        self.changed.extend(netns.into_iter().map(|netns| (netns, now)));
    }

    /// Nothing that is known is sure: all is to be read at once, processes included.
    pub(crate) fn add_all(&mut self, now: Instant) {
        self.all = Some(now);
    }

    pub(crate) fn are_all(&self) -> bool {
        self.all.is_some()
    }

    /// Something changed, and nobody knows where. A pod can bring that about at each look.
    pub(crate) fn add_lost(&mut self, now: Instant) {
        self.lost = Some(now);
    }

    pub(crate) fn are_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(crate) fn netns(&self) -> HashSet<Cookie> {
        self.changed.keys().copied().collect()
    }

    /// Everything that is marked is about to be read.
    pub(crate) fn read(&mut self, now: Instant) {
        let is_young = |marked: Instant| now < marked + YOUNG;
        self.changed.retain(|_, marked| is_young(*marked));
        self.all = self.all.filter(|marked| is_young(*marked));
        self.lost = self.lost.filter(|marked| is_young(*marked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Cookie = Cookie(2);

    #[test]
    fn what_is_read_at_once_is_read_once_more_and_then_done() {
        let start = Instant::now();
        let mut marks = Marks::new(start);
        marks.add([POD], start);
        marks.add_lost(start);
        marks.read(start);
        assert!(marks.are_all() && marks.are_lost() && marks.netns().contains(&POD));
        marks.read(start + YOUNG);
        assert!(!marks.are_all() && !marks.are_lost() && marks.netns().is_empty());
    }

    #[test]
    fn a_change_during_the_look_is_another() {
        let start = Instant::now();
        let mut marks = Marks::new(start);
        marks.add([POD], start);
        marks.add([POD], start + YOUNG);
        marks.read(start + YOUNG);
        assert!(marks.netns().contains(&POD));
    }
}
