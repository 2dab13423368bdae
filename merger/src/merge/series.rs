//! Which series are there: two samples of one series at one time are one too many.
//!
//! The hash of a series is a sum over its labels, so that their order does not matter, and so that
//! what is known of the labels that a sample shares with the one before it can be kept.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    exposition::{Defect, Label, labels},
    merge::rows::{Origin, Row, Rows, index},
};

/// Makes the hashes. Seeded, since labels come from pods; it decides no order.
#[derive(Debug, Default)]
pub(super) struct Hasher(RandomState);

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
        if value.is_empty() { 0 } else { self.0.hash_one((name, value)) }
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
        // Odd constants without a pattern. A pod chooses its times, and where there are no labels
        // nothing else brings the seed; names with one hash cost nothing, since there are numbers
        // of names only up to how many there are.
        let name = u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let time = timestamp.map_or(0, |t| self.0.hash_one(t));
        let hash = (sum ^ name ^ time).wrapping_mul(0xa076_1d64_78bd_642f);
        (hash >> 32) as u32
    }
}

/// Which rows have a series that an earlier one has; `hashes` has that of each row. Of a series the
/// first row stays.
pub(super) fn duplicates(rows: &Rows<'_>, hashes: &[u32]) -> Vec<(u32, Defect)> {
    let mut found = Vec::new();
    let mut series = HashTable::with_capacity(hashes.len());
    let mut origins = rows.origins();
    for (at, (row, hash)) in rows.list.iter().zip(hashes).enumerate() {
        let origin = origins.of(at);
        let is_same = |&other: &u32| {
            let other = other as usize;
            hashes[other] == *hash
                && rows.list[other].name == row.name
                && is_same_series((origin, *row), (rows.origin_of(other), rows.list[other]))
        };
        if series.find(spread(*hash), is_same).is_some() {
            found.push((index(at), Defect::Duplicate));
        } else {
            // It has room for all, so it asks for no hash again.
            series.insert_unique(spread(*hash), index(at), |&other| spread(hashes[other as usize]));
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

/// The table looks at both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
