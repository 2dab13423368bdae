//! Which series are there: two samples of one series at one time are one too many.
//!
//! The hash of a series is a sum over its labels, so that their order does not matter, and so that
//! what is known of the labels that a sample shares with the one before it can be kept.

use std::hash::{BuildHasher, Hasher as _};

use foldhash::fast::RandomState;

use crate::{
    exposition::{Defect, Label, labels},
    merge::rows::{Origin, Row, Rows, index},
};

/// Makes the hashes. Seeded, since labels come from pods; it decides no order.
#[derive(Debug, Default)]
pub(super) struct Hasher(RandomState);

/// The first row of each series, by hash: a table of which at most half is taken, so that mostly the
/// first place that is looked at decides. What stands in a place is enough to compare with, since
/// rows and hashes stay beside it: that makes it the smallest and fastest that it can be.
#[derive(Debug)]
struct Firsts {
    places: Vec<u32>,
    /// How far a hash is moved to be a place.
    shift: u32,
}

/// Nothing stands in this place.
const FREE: u32 = u32::MAX;

// === impl Firsts ===

impl Firsts {
    /// Has room for `n` rows.
    fn new(n: usize) -> Self {
        let n_places = (2 * n).next_power_of_two().max(2);
        Self { places: vec![FREE; n_places], shift: u32::BITS - n_places.trailing_zeros() }
    }

    /// Puts a row into its place, unless one stands there with which it `is_same`.
    #[inline]
    fn insert(&mut self, hash: u32, row: u32, mut is_same: impl FnMut(u32) -> bool) -> bool {
        let mut at = (hash >> self.shift) as usize;
        loop {
            match self.places[at] {
                FREE => {
                    self.places[at] = row;
                    return true;
                }
                other if is_same(other) => return false,
                _ => at = (at + 1) & (self.places.len() - 1),
            }
        }
    }
}

// === impl Hasher ===

impl Hasher {
    /// The hash of one strict label. One with an empty value is none in the data model of Prometheus.
    #[inline]
    pub(super) fn label(&self, label: &Label<'_>) -> u64 {
        if label.value.is_empty() { 0 } else { self.0.hash_one(label.bytes) }
    }

    /// The hash of what spells a strict label, whatever its value.
    pub(super) fn bytes(&self, label: &[u8]) -> u64 {
        self.0.hash_one(label)
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
        if value.is_empty() { 0 } else { self.0.hash_one(&*bytes) }
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
    let mut firsts = Firsts::new(hashes.len());
    let mut origins = rows.origins();
    for (at, (row, hash)) in rows.list.iter().zip(hashes).enumerate() {
        let is_same = |other: u32| {
            let other = other as usize;
            hashes[other] == *hash
                && rows.list[other].name == row.name
                && is_same_series((origins.of(at), *row), (rows.origin_of(other), rows.list[other]))
        };
        if !firsts.insert(*hash, index(at), is_same) {
            found.push((index(at), Defect::Duplicate));
        }
    }
    found
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
    fn rows_of_one_hash_and_of_neighbouring_ones_all_find_a_place() {
        // The last place is followed by the first.
        let hashes = [u32::MAX, u32::MAX, 0, u32::MAX - 1, 7, 1 << 31, 0];
        let mut firsts = Firsts::new(hashes.len());
        for (row, hash) in (0..).zip(hashes) {
            assert!(firsts.insert(hash, row, |_| false), "{row}");
        }
        for (row, hash) in (0..).zip(hashes) {
            assert!(!firsts.insert(hash, 100, |other| other == row), "{row}");
        }
    }

    #[test]
    fn there_is_room_for_any_number_of_rows() {
        for n in 0..70 {
            let mut firsts = Firsts::new(n);
            for row in 0..n {
                assert!(
                    firsts.insert(index(row).wrapping_mul(u32::MAX / 3), index(row), |_| false)
                );
            }
        }
    }
}
