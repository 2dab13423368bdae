//! Which series are there: two samples of one series at one time are one too many.
//!
//! The hash of a series is a sum over its labels, so that their order does not matter, and so that
//! what is known of the labels that a sample shares with the one before it can be kept.

use std::hash::{BuildHasher, Hasher as _};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    exposition::{Defect, Label, labels},
    merge::rows::{Origin, Row, Rows},
};

/// Makes the hashes. Seeded, since labels come from pods; it decides no order.
#[derive(Debug, Default)]
pub(super) struct Hasher(RandomState);

/// Which hashes were seen, or maybe another one with them: a bit for each of many more places than there
/// are hashes. So few places are met twice that it pays to ask no more of the rest.
#[derive(Debug)]
struct Seen {
    words: Vec<u64>,
    /// How far a hash is moved to be a place.
    shift: u32,
}

/// How many places there are for a hash.
const PLACES: usize = 16;

// === impl Seen ===

impl Seen {
    /// Has room for `n` hashes.
    fn new(n: usize) -> Self {
        // No more than a hash can tell apart.
        let n_places = (PLACES * n).next_power_of_two().clamp(64, 1 << u32::BITS);
        let shift = u32::BITS - n_places.trailing_zeros();
        Self { words: vec![0; n_places / 64], shift }
    }

    /// The word of a hash, and its bit.
    #[inline]
    fn place(&self, hash: u32) -> (usize, u64) {
        let place = (hash >> self.shift) as usize;
        (place / 64, 1 << (place % 64))
    }

    /// Whether it was not seen before.
    #[inline]
    fn insert(&mut self, hash: u32) -> bool {
        let (word, bit) = self.place(hash);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    #[inline]
    fn contains(&self, hash: u32) -> bool {
        let (word, bit) = self.place(hash);
        self.words[word] & bit != 0
    }
}

// === impl Hasher ===

impl Hasher {
    /// The hash of one strict label. One with an empty value is none in the data model of Prometheus.
    #[inline]
    pub(super) fn label(&self, label: &Label<'_>) -> u64 {
        if label.value.is_empty() { 0 } else { self.bytes(label.bytes) }
    }

    /// The hash of what spells a strict label, whatever its value.
    #[inline]
    pub(super) fn bytes(&self, label: &[u8]) -> u64 {
        // Nothing else is hashed with it, so nothing has to tell where it ends.
        let mut state = self.0.build_hasher();
        state.write(label);
        state.finish()
    }

    /// The hash of a plain label of a metric.
    #[inline]
    pub(super) fn pair(&self, (name, value): (&[u8], &[u8])) -> u64 {
        if value.is_empty() {
            return 0;
        }
        // What was written first is in the state with its length, so nothing has to tell the two apart.
        let mut state = self.0.build_hasher();
        state.write(name);
        state.write(value);
        state.finish()
    }

    /// The hash of a plain label as if it were a strict one.
    pub(super) fn spelled(&self, (name, value): (&[u8], &[u8])) -> u64 {
        let mut bytes = Vec::with_capacity(name.len() + value.len() + 3);
        labels::push_name(&mut bytes, &labels::escaped(name));
        bytes.extend_from_slice(b"=\"");
        labels::push_escaped(&mut bytes, value, true);
        bytes.push(b'"');
        if value.is_empty() { 0 } else { self.bytes(&bytes) }
    }

    /// The hash of a label set.
    pub(super) fn set<'l>(&self, labels: impl Iterator<Item = Label<'l>>) -> u64 {
        labels.map(|label| self.label(&label)).fold(0, u64::wrapping_add)
    }

    /// The hash of the series of a name whose labels, with those of the source, have this sum.
    #[inline]
    pub(super) fn series(&self, name: u32, timestamp: Option<i64>, sum: u64) -> u32 {
        // An odd constant without a pattern keeps names apart. A pod chooses its names and its times, and
        // where there are no labels nothing else brings the seed.
        let name = u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let time = timestamp.map_or(0, |t| self.0.hash_one(t));
        (self.0.hash_one(sum ^ name ^ time) >> 32) as u32
    }
}

/// Which rows have a series that an earlier one has; `hashes` has that of each row. Of a series the
/// first row stays.
pub(super) fn duplicates(rows: &Rows<'_>, hashes: &[u32]) -> Vec<(u32, Defect)> {
    let mut found = Vec::new();
    let suspects = suspects(hashes);
    let mut firsts: HashTable<u32> = HashTable::with_capacity(suspects.len());
    let mut origins = rows.origins();
    for at in suspects {
        let (row, hash) = (rows.list[at as usize], hashes[at as usize]);
        let is_same = |other: &u32| {
            let other = *other as usize;
            hashes[other] == hash
                && rows.list[other].name == row.name
                && is_same_series(
                    (origins.of(at as usize), row),
                    (rows.origin_of(other), rows.list[other]),
                )
        };
        match firsts.entry(spread(hash), is_same, |other| spread(hashes[*other as usize])) {
            Entry::Occupied(_) => found.push((at, Defect::Duplicate)),
            Entry::Vacant(entry) => _ = entry.insert(at),
        }
    }
    found
}

/// The positions of all hashes that are there more than once, and of few others.
#[inline(never)]
fn suspects(hashes: &[u32]) -> Vec<u32> {
    let (mut once, mut again) = (Seen::new(hashes.len()), Seen::new(hashes.len()));
    let mut n_again = 0;
    for hash in hashes {
        if !once.insert(*hash) {
            again.insert(*hash);
            n_again += 1;
        }
    }
    if n_again == 0 {
        return Vec::new();
    }
    let suspects = (0..).zip(hashes).filter(|(_, hash)| again.contains(**hash));
    suspects.map(|(at, _)| at).collect()
}

/// A hash as the table wants it: random in its highest bits and in its lowest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// The hash of each row's series.
pub(super) fn hashes(rows: &Rows<'_>, hasher: &Hasher) -> Vec<u32> {
    let mut origins = rows.origins();
    let rows = rows.list.iter().enumerate();
    rows.map(|(at, row)| origins.of(at).hash(*row, hasher)).collect()
}

/// Whether two rows of one name are of one series, at one time.
fn is_same_series(a: (&Origin<'_>, Row), b: (&Origin<'_>, Row)) -> bool {
    if a.0.timestamp(a.1) != b.0.timestamp(b.1) || a.1.is_metric() != b.1.is_metric() {
        return false;
    }
    if a.1.is_metric() {
        return set_of_metric(a) == set_of_metric(b);
    }
    let [set_a, set_b] = [a, b].map(|(origin, row)| origin.line(row).labels().as_bytes());
    let [more_a, more_b] = [a, b].map(|(origin, _)| origin.relabel.as_bytes());
    if set_a == set_b && more_a == more_b {
        return true;
    }
    let [set_a, set_b] = [a, b].map(|(origin, row)| {
        let mut set: Vec<_> = origin.labels(row).filter(|label| !label.value.is_empty()).collect();
        set.sort_unstable();
        set
    });
    set_a == set_b
}

/// The labels of a metric and of its source, as protobuf writes them.
fn set_of_metric<'r>((origin, row): (&'r Origin<'_>, Row)) -> Vec<(&'r [u8], &'r [u8])> {
    let labels = origin.metric(row).labels().chain(origin.relabel.pairs());
    let mut set: Vec<_> = labels.filter(|(_, value)| !value.is_empty()).collect();
    set.sort_unstable();
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_and_little_else() {
        for n in [0, 1, 3, 4, 5, 100, 5000] {
            let hashes = || (0..n).map(|at: u32| at.wrapping_mul(0x9e37_79b9));
            let mut seen = Seen::new(n as usize);
            let n_new = hashes().filter(|hash| seen.insert(*hash)).count();
            assert!(hashes().all(|hash| seen.contains(hash) && !seen.insert(hash)));
            assert!(n_new >= n as usize * 9 / 10, "{n_new} of {n} have a place of their own");
        }
    }
}
