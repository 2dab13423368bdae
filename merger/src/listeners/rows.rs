//! The rows of one look, within the limits.
//!
//! A row is a listener and one who holds it, however many sockets and descriptors that are: a server
//! opens an address once for each of its workers, and leaves all of them to each. What there is no room
//! for costs the pod whose processes hold it, and nobody beside it. A namespace is not what is counted
//! by, as a pod may make any number of them.
//!
//! Of a listener that lost a row it is not known who holds it, so that it did is not forgotten.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU16,
};

use super::Row;
use crate::identity::Cookie;

/// Rows of one payer in a snapshot: two thousand children that hold thirty listeners each.
pub const ROWS_OF_ONE: usize = 1 << 16;

/// Rows that a snapshot may have, of all together. With so many, of four pods in the deepest of cgroups,
/// the broker took 67 MB at its highest and the agent 29, where they took 20 and 21 without; the snapshot
/// is 1.1 MB on its way. At this limit the share of each payer is halved, so that those with the most rows
/// make room.
pub const ROWS: usize = 1 << 18;

/// Listeners that lost a row and are remembered, at about 5 MB. Beyond that nothing is known of all
/// the listeners of a namespace that another one loses a row in.
const LISTENERS_LEFT_OUT: usize = 1 << 18;

/// Who a row counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payer<'a> {
    /// The pod whose cgroup this is. A cgroup that only looks like a pod's is another payer than the pod.
    Pod(&'a str),
    /// All processes that are of no pod: some of them can make cgroups.
    NoPod,
    /// All of whom it is not known: only a sweep can tell.
    Unknown,
    /// All listeners that no process holds.
    Nobody,
}

/// The rows, each once.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Who pays for each.
    payers: BTreeMap<Row, u64>,
    /// How many each payer has.
    taken: HashMap<u64, usize>,
    /// How often the share of each was halved.
    n_halved: u32,
    limits: Limits,
    left_out: LeftOut,
}

/// What there was no room for.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Rows. One that comes again counts again.
    pub n: u64,
    /// The namespaces that a row was left out of.
    pub netns: HashSet<Cookie>,
    /// Whether somebody's of whom it is not known whose process it is.
    pub is_unknown: bool,
    /// Listeners, by their hashes: an address takes four times the room.
    listeners: HashSet<u64>,
    /// Namespaces of which any listener may have lost one.
    wholly: HashSet<Cookie>,
    hashes: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    all: usize,
    of_one: usize,
    listeners_left_out: usize,
}

// === impl Rows ===

impl Rows {
    /// None yet, of which one payer may have so many.
    #[must_use]
    pub fn sharing(of_one: usize) -> Self {
        Self { limits: Limits { of_one, ..Limits::default() }, ..Self::default() }
    }

    /// Takes a row, unless whoever is to pay for it has had its share.
    pub fn push<'a>(&mut self, row: Row, payer: impl FnOnce() -> Payer<'a>) {
        if self.payers.contains_key(&row) {
            return;
        }
        let payer = payer();
        let key = self.left_out.hashes.hash_one(payer);
        if self.makes_room(key) {
            *self.taken.entry(key).or_default() += 1;
            self.payers.insert(row, key);
        } else {
            self.left_out.is_unknown |= payer == Payer::Unknown;
            self.left_out.add(&row, self.limits.listeners_left_out);
        }
    }

    /// Whether a payer may have one more; for that, those with the most rows make room. Nobody does for one
    /// that has had its share.
    fn makes_room(&mut self, key: u64) -> bool {
        loop {
            let n_taken = self.taken.get(&key).copied().unwrap_or_default();
            let has_room = self.payers.len() < self.limits.all;
            if n_taken >= self.share() || (!has_room && self.share() == 1) {
                return false;
            }
            if has_room {
                return true;
            }
            self.halve();
        }
    }

    /// In the order of their listeners.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.payers.keys()
    }

    /// Of this namespace there are more listeners than those that will be pushed.
    pub fn cut(&mut self, netns: Cookie) {
        self.left_out.netns.insert(netns);
        self.left_out.wholly.insert(netns);
    }

    /// What was left out until now.
    #[must_use]
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The rows, and what was left out of them.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Row>, LeftOut) {
        (self.payers.into_keys().collect(), self.left_out)
    }

    fn share(&self) -> usize {
        self.limits.of_one >> self.n_halved
    }

    /// Leaves each payer half of its share, and so room for those that come late.
    fn halve(&mut self) {
        self.n_halved += 1;
        let share = self.share();
        let Self { payers, taken, limits, left_out, .. } = self;
        taken.clear();
        payers.retain(|row, key| {
            let n_taken = taken.entry(*key).or_default();
            let stays = *n_taken < share;
            *n_taken += usize::from(stays);
            if !stays {
                left_out.add(row, limits.listeners_left_out);
            }
            stays
        });
    }
}

// === impl LeftOut ===

impl LeftOut {
    /// Whether this listener may have more holders than its rows tell.
    #[must_use]
    pub fn may_have(&self, netns: Cookie, address: IpAddr, port: NonZeroU16) -> bool {
        let listener = self.hashes.hash_one((netns, address, port));
        self.wholly.contains(&netns) || self.listeners.contains(&listener)
    }

    fn add(&mut self, &Row { netns, address, port, held_by: _ }: &Row, limit: usize) {
        self.n += 1;
        self.netns.insert(netns);
        let listener = self.hashes.hash_one((netns, address, port));
        if self.listeners.len() < limit {
            self.listeners.insert(listener);
        } else if !self.listeners.contains(&listener) {
            self.wholly.insert(netns);
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { all: ROWS, of_one: ROWS_OF_ONE, listeners_left_out: LISTENERS_LEFT_OUT }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::listeners::Held;

    const LIMITS: Limits = Limits { all: 64, of_one: 16, listeners_left_out: 128 };

    fn row(netns: u64, port: usize, pid: usize) -> Row {
        let held_by = Some(Held { started: 5, pid: pid.try_into().unwrap() });
        let port = u16::try_from(port).unwrap().try_into().unwrap();
        Row { netns: Cookie(netns), address: Ipv4Addr::LOCALHOST.into(), port, held_by }
    }

    fn mk_rows() -> Rows {
        Rows { limits: LIMITS, ..Rows::default() }
    }

    #[track_caller]
    fn check(rows: &Rows, of: Row, is_there: bool, may_have_more: bool) {
        let Row { netns, address, port, .. } = of;
        let found = (rows.payers.contains_key(&of), rows.left_out.may_have(netns, address, port));
        assert_eq!(found, (is_there, may_have_more), "{of:?}");
    }

    #[test]
    fn many_descriptors_of_one_listener_are_one_row() {
        let mut rows = Rows::default();
        for _ in 0..=ROWS_OF_ONE {
            rows.push(row(1, 80, 7), || Payer::Pod("a"));
        }
        assert_eq!((rows.iter().count(), rows.left_out.n), (1, 0));
    }

    #[test]
    fn a_pod_with_many_holders_costs_only_the_listeners_that_lost_one() {
        let mut rows = mk_rows();
        rows.push(row(1, 81, 1), || Payer::Pod("a"));
        for pid in 1..=LIMITS.of_one {
            rows.push(row(1, 80, pid), || Payer::Pod("a"));
        }
        rows.push(row(1, 82, 7), || Payer::Pod("b"));
        check(&rows, row(1, 80, 1), true, true);
        check(&rows, row(1, 80, LIMITS.of_one), false, true);
        check(&rows, row(1, 81, 1), true, false);
        check(&rows, row(1, 82, 7), true, false);
        assert_eq!((rows.left_out.n, rows.left_out.is_unknown), (1, false));
        assert_eq!(rows.left_out.netns, HashSet::from([Cookie(1)]));
    }

    #[test]
    fn a_holder_that_was_left_out_before_the_others_came_is_not_forgotten() {
        let mut rows = mk_rows();
        for port in 1..=LIMITS.of_one + 1 {
            rows.push(row(1, port, 1), || Payer::Unknown);
        }
        let of_both = row(1, LIMITS.of_one + 1, 2);
        rows.push(of_both, || Payer::Pod("b"));
        check(&rows, of_both, true, true);
        assert!(rows.left_out.is_unknown);
    }

    #[test]
    fn many_namespaces_of_one_pod_take_nothing_from_another() {
        let mut rows = mk_rows();
        for netns in 1..100 {
            for port in 1..100 {
                rows.push(row(netns, port, 1), || Payer::Pod("a"));
            }
        }
        let ordinary: Vec<Row> = (1..=LIMITS.of_one).map(|port| row(100, port, 2)).collect();
        for &row in &ordinary {
            rows.push(row, || Payer::Pod("b"));
        }
        for row in ordinary {
            check(&rows, row, true, false);
        }
        assert_eq!(rows.n_halved, 0);
    }

    #[test]
    fn nobody_makes_room_for_who_has_had_its_share() {
        let mut rows = mk_rows();
        for pod in ["a", "b", "c", "d"] {
            for port in 1..=LIMITS.of_one {
                rows.push(row(1, port, pod.as_bytes()[0].into()), || Payer::Pod(pod));
            }
        }
        let more = row(1, LIMITS.of_one + 1, b'a'.into());
        rows.push(more, || Payer::Pod("a"));
        check(&rows, more, false, true);
        assert_eq!((rows.n_halved, rows.iter().count()), (0, LIMITS.all));
    }

    #[test]
    fn many_pods_cannot_crowd_out_one_that_comes_late() {
        let mut rows = mk_rows();
        for pod in ["a", "b", "c", "d", "e", "f"] {
            for port in 1..=LIMITS.of_one {
                rows.push(row(1, port, pod.as_bytes()[0].into()), || Payer::Pod(pod));
            }
        }
        rows.push(row(2, 80, 7), || Payer::Pod("late"));
        check(&rows, row(2, 80, 7), true, false);
        // Whoever has the least left of it has lost the same: nothing of the first pods is sure here.
        check(&rows, row(1, LIMITS.of_one, 97), false, true);
        let n_pushed = u64::try_from(6 * LIMITS.of_one + 1).unwrap();
        let n_there = u64::try_from(rows.iter().count()).unwrap();
        assert_eq!(n_there + rows.left_out.n, n_pushed);
    }

    #[test]
    fn of_a_namespace_that_lost_more_listeners_than_are_remembered_nothing_is_sure() {
        let mut rows = mk_rows();
        rows.push(row(1, 80, 2), || Payer::Pod("b"));
        rows.push(row(2, 80, 2), || Payer::Pod("b"));
        let n = LIMITS.of_one + LIMITS.listeners_left_out;
        for (n, is_unsure) in [(n, false), (n + 1, true)] {
            for port in 1..=n {
                rows.push(row(1, 100 + port, 1), || Payer::Pod("a"));
            }
            check(&rows, row(1, 80, 2), true, is_unsure);
        }
        check(&rows, row(2, 80, 2), true, false);
    }
}
