//! Every sample of all sources as a row of 32 bytes over a strict line, and which series are there.
//!
//! A line that is strict stays where it is, in the body of its source. Another one is written
//! anew, strictly, beside the body.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    exposition::{Label, text::line::Line},
    merge::{Source, relabel::Relabel},
};

/// The largest body that is read: offsets in it, and in what is rewritten of it, have 32 bits.
///
/// Rewriting makes a line less than four times as long: `\d` takes one byte more, and a label that
/// clashes, which has five bytes and a comma at least, gets `exported_` once, and once more for
/// each longer label that stands in the line under the name so far.
pub const LARGEST_BODY: usize = 1 << 30;

/// One sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The offset of its strict line, in the body or in what was rewritten.
    pub start: u32,
    pub len: u32,
    /// Where the source's labels go: an offset in the line.
    pub insert: u32,
    /// The number of its metric name.
    pub name: u32,
    /// The position of its source.
    pub source: u32,
    /// The line that it came from, from 1.
    pub line: u32,
    /// The hash of its series, which knows no order of labels.
    pub hash: u32,
    pub is_rewritten: bool,
    /// A label `le` that is no number, which a histogram may not have.
    pub has_bad_bound: bool,
    /// A label `quantile` that is no number, which a summary may not have.
    pub has_bad_quantile: bool,
}

const _: () = assert!(size_of::<Row>() == 32);

/// The rows of all sources, in their order.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub list: Vec<Row>,
    origins: Vec<Origin<'a>>,
    series: HashTable<u32>,
    hasher: RandomState,
}

/// What the rows of one source have in common.
#[derive(Debug)]
struct Origin<'a> {
    body: &'a [u8],
    /// The lines that had to be written anew.
    rewritten: Vec<u8>,
    relabel: Relabel,
    hash_of_labels: u64,
}

/// A number or offset as a row holds it.
#[expect(clippy::cast_possible_truncation, reason = "all count bytes of bodies of 30 bits at most")]
pub(super) const fn index(n: usize) -> u32 {
    n as u32
}

// === impl Rows ===

impl<'a> Rows<'a> {
    pub(super) fn new() -> Self {
        let hasher = RandomState::default();
        Self { list: Vec::new(), origins: Vec::new(), series: HashTable::new(), hasher }
    }

    /// Begins the rows of one more source, and gives its position.
    pub(super) fn begin(&mut self, source: &Source<'a>) -> u32 {
        let relabel = Relabel::new(source.labels);
        let hash_of_labels = hash_of_set(&self.hasher, relabel.walk());
        let (body, rewritten) = (source.body, Vec::new());
        self.origins.push(Origin { body, rewritten, relabel, hash_of_labels });
        index(self.origins.len() - 1)
    }

    /// The labels of a source.
    pub(super) fn relabel(&self, source: u32) -> &Relabel {
        &self.origins[source as usize].relabel
    }

    /// Where the lines of a source are written anew.
    pub(super) fn rewritten(&mut self, source: u32) -> &mut Vec<u8> {
        &mut self.origins[source as usize].rewritten
    }

    /// Adds a sample whose line is strict and has these labels. Its hash is made here.
    pub(super) fn push(&mut self, row: Row, labels: &[Label<'_>]) {
        let hash = self.hash(&row, labels.iter().copied());
        self.list.push(Row { hash, ..row });
    }

    /// Adds a sample whose line was written anew, and whose metric name has `name_len` bytes.
    pub(super) fn push_rewritten(&mut self, row: Row, name_len: usize) {
        let hash = self.hash(&row, self.line(&row).labels(name_len).walk());
        self.list.push(Row { hash, ..row });
    }

    /// The strict line of a row.
    pub(super) fn line(&self, row: &Row) -> Line<'_> {
        let Origin { body, rewritten, .. } = &self.origins[row.source as usize];
        let buffer = if row.is_rewritten { rewritten } else { *body };
        let bytes = &buffer[row.start as usize..][..row.len as usize];
        Line { bytes, insert: row.insert as usize }
    }

    /// Forgets all rows but the first `n`, which are those before this source.
    pub(super) fn discard(&mut self, n: usize, source: u32) {
        self.list.truncate(n);
        *self.rewritten(source) = Vec::new();
    }

    /// Enters the rows from `n` on into the series, and drops those whose series is there already.
    /// `name_len` gives the bytes of a metric name by its number.
    pub(super) fn enter(
        &mut self,
        n: usize,
        name_len: impl Fn(u32) -> usize,
        mut duplicate: impl FnMut(&Row, &[u8]),
    ) {
        let mut kept = n;
        for at in n..self.list.len() {
            let row = self.list[at];
            let is_it = |other: &u32| {
                let other = &self.list[*other as usize];
                row.name == other.name && self.is_same_series(&row, other, name_len(row.name))
            };
            if self.series.find(spread(row.hash), is_it).is_some() {
                duplicate(&row, self.line(&row).bytes);
                continue;
            }
            self.list[kept] = row;
            let list = &self.list;
            let rehash = |other: &u32| spread(list[*other as usize].hash);
            self.series.insert_unique(spread(row.hash), index(kept), rehash);
            kept += 1;
        }
        self.list.truncate(kept);
    }

    fn hash<'l>(&self, row: &Row, labels: impl Iterator<Item = Label<'l>>) -> u32 {
        let more = self.origins[row.source as usize].hash_of_labels;
        let sum = more.wrapping_add(hash_of_set(&self.hasher, labels));
        let hash = self.hasher.hash_one((row.name, self.line(row).timestamp(), sum));
        // Half of a hash is a hash.
        (hash >> 32) as u32
    }

    fn is_same_series(&self, a: &Row, b: &Row, name_len: usize) -> bool {
        let (line_a, line_b) = (self.line(a), self.line(b));
        if a.hash != b.hash || line_a.timestamp() != line_b.timestamp() {
            return false;
        }
        let sets = [(a, line_a), (b, line_b)]
            .map(|(row, line)| (line.labels(name_len), self.relabel(row.source)));
        let [(labels_a, more_a), (labels_b, more_b)] = sets;
        if labels_a == labels_b && more_a.as_bytes() == more_b.as_bytes() {
            return true;
        }
        let [set_a, set_b] = sets.map(|(labels, more)| {
            let labels = labels.walk().chain(more.walk());
            let mut set: Vec<_> = labels.filter(|label| !label.value.is_empty()).collect();
            set.sort_unstable();
            set
        });
        set_a == set_b
    }
}

/// The hash of strict labels: a sum, so that their order does not matter. A label with an empty
/// value is none in the data model of Prometheus.
fn hash_of_set<'l>(hasher: &RandomState, labels: impl Iterator<Item = Label<'l>>) -> u64 {
    let labels = labels.filter(|label| !label.value.is_empty());
    labels.map(|label| hasher.hash_one(label.bytes)).fold(0, u64::wrapping_add)
}

/// The table of the series looks at both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
