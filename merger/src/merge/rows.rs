//! Every sample of all sources as a row of 16 bytes over the bytes that say it.
//!
//! What can be copied to the page as it is stays where it is, in the body of its source. The rest is
//! written anew beside the body, so that every row is over bytes in the format of the page: a strict
//! line without its end, or for a page of protobuf maybe a whole metric. Which line of its source a row
//! came from is asked for so rarely that it is counted then; where that cannot be, it stands in the four
//! bytes before what was written.

use std::ops::Range;

use memchr::memchr_iter;

use crate::{
    exposition::{
        Kind, Label,
        protobuf::Metric,
        text::{Dialect, line::Line},
    },
    merge::{Source, copy, relabel::Relabel, series::Hasher},
};

/// The largest body that is read: lengths of rows have 27 bits, and offsets in what is written anew
/// have 32.
///
/// Writing anew makes a line less than four times as long: `\d` takes one byte more, and a label
/// that clashes, which has five bytes and a comma at least, gets `exported_` once, and once more for
/// each longer label that stands in the line under the name so far. Its number takes four bytes, and
/// it had four itself.
pub const LARGEST_BODY: usize = (1 << 27) - 1;

/// The longest line or metric that is read, so that it is a row where it is written anew, too.
pub(super) const LONGEST: usize = LARGEST_BODY / 4;

/// One sample, or for a page of protobuf one metric.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// The offset of its bytes, in the body or in what was written anew.
    start: u32,
    /// How many they are, and the flags.
    len: u32,
    /// Where in a line the source's labels go, and a flag; of a metric its number in the source and
    /// its kind, as a position in [`Kind::ALL`].
    insert: u32,
    /// The number of its metric name.
    pub name: u32,
}

const _: () = assert!(size_of::<Row>() == 16);

/// What a row is beside its bytes: flags in the length, which leaves [`LARGEST_BODY`] for that.
pub(super) mod flags {
    /// Its bytes are not in the body.
    pub(in crate::merge) const IS_WRITTEN: u32 = 1 << 31;
    /// It is a message, no line.
    pub(in crate::merge) const IS_METRIC: u32 = 1 << 30;
    /// It has labels of its own.
    pub(in crate::merge) const HAS_LABELS: u32 = 1 << 29;
    /// A label `le` or `quantile` is no number.
    pub(in crate::merge) const IS_SUSPECT: u32 = 1 << 28;
    /// A timestamp or an exemplar follows the value.
    pub(in crate::merge) const HAS_MORE: u32 = 1 << 27;

    /// The flag, if it is so.
    #[inline]
    pub(in crate::merge) const fn when(is_so: bool, flag: u32) -> u32 {
        if is_so { flag } else { 0 }
    }
}

use flags::{HAS_LABELS, HAS_MORE, IS_METRIC, IS_SUSPECT, IS_WRITTEN};

const LEN: u32 = HAS_MORE - 1;

/// In the insert: where the labels of the line end stands a comma, which the page has not.
const HAS_COMMA: u32 = 1 << 31;

/// How many bits of a metric's insert are its kind. Its number fits into the others, since a metric
/// takes two bytes of a body at least.
const KIND_BITS: u32 = 4;

const _: () =
    assert!(Kind::ALL.len() <= 1 << KIND_BITS && LARGEST_BODY / 2 < 1 << (32 - KIND_BITS));

/// A row on its place on the page: it knows its source, and no more its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed(Row);

/// The rows of all sources, in their order.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    pub list: Vec<Row>,
    pub origins: Vec<Origin<'a>>,
}

/// What the rows of one source have in common.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub body: &'a [u8],
    /// The unit of the timestamps in its lines on the page.
    dialect: Dialect,
    /// What had to be written anew.
    pub written: Vec<u8>,
    pub relabel: Relabel,
    /// The first row that is not of an earlier source.
    pub first: usize,
}

/// Walks rows in rising order, and knows the source of each.
#[derive(Clone, Debug)]
pub(super) struct Origins<'r, 'a> {
    rows: &'r Rows<'a>,
    at: usize,
    /// The first row that is not of this source.
    end: usize,
}

/// Begins a line that is written anew, and gives where.
pub(super) fn begin_line(written: &mut Vec<u8>, number: usize) -> usize {
    written.extend_from_slice(&index(number).to_le_bytes());
    written.len()
}

/// Each source by its position, and which of `n` rows are its.
fn spans(origins: &[Origin<'_>], n: usize) -> impl Iterator<Item = (u32, Range<usize>)> {
    let ends = origins.iter().skip(1).map(|next| next.first).chain([n]);
    (0..).zip(origins.iter().zip(ends).map(|(origin, end)| origin.first..end))
}

/// A number or offset as a row holds it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "bytes of a body have 27 bits, and of what is written anew four or five times as many; there are fewer sources and rows"
)]
pub(super) const fn index(n: usize) -> u32 {
    n as u32
}

// === impl Row ===

impl Row {
    /// A row over `len` bytes at `start`. In a line `insert` is where more labels fit in.
    #[inline]
    pub(super) fn new([start, len, insert]: [usize; 3], flags: u32, name: u32) -> Self {
        let [start, len, insert] = [start, len, insert].map(index);
        Self { start, len: len | flags, insert, name }
    }

    /// A row over a metric, which is the one with this number in its source.
    pub(super) fn of_metric(
        [start, len]: [usize; 2],
        flags: u32,
        name: u32,
        (number, kind): (usize, Kind),
    ) -> Self {
        let kind = Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        Self::new([start, len, number << KIND_BITS | kind], flags | IS_METRIC, name)
    }

    /// The kind of a metric.
    pub(super) fn kind(self) -> Kind {
        let kind = self.insert & ((1 << KIND_BITS) - 1);
        Kind::ALL.get(kind as usize).copied().unwrap_or(Kind::Untyped)
    }

    /// The same, where a comma stands behind the labels of its line.
    #[inline]
    pub(super) fn with_comma(self) -> Self {
        Self { insert: self.insert | HAS_COMMA, ..self }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.len & LEN) as usize
    }

    pub(super) fn is_metric(self) -> bool {
        self.len & IS_METRIC != 0
    }

    /// Whether a timestamp or an exemplar follows the value.
    pub(super) fn has_more(self) -> bool {
        self.len & HAS_MORE != 0
    }

    pub(super) fn is_suspect(self) -> bool {
        self.len & IS_SUSPECT != 0
    }

    /// Whether it has labels of its own.
    #[inline]
    fn has_labels(self) -> bool {
        self.len & HAS_LABELS != 0
    }

    /// Where in its line the source's labels go.
    #[inline]
    fn insert(self) -> usize {
        (self.insert & !HAS_COMMA) as usize
    }

    /// How many bytes of its line stand there and are left out.
    #[inline]
    fn n_left_out(self) -> usize {
        usize::from(self.insert & HAS_COMMA != 0)
    }

    /// How many bytes its line has on the page, its end included.
    #[inline]
    pub(super) fn len_with(self, relabel: &Relabel) -> usize {
        self.len() - self.n_left_out() + relabel.part(self.has_labels()).len() + 1
    }
}

// === impl Rows ===

impl<'a> Rows<'a> {
    /// Begins the rows of one more source, and gives its position.
    pub(super) fn begin(&mut self, source: &Source<'a>, dialect: Dialect) -> u32 {
        let relabel = Relabel::new(source.labels);
        let (body, written, first) = (source.body, Vec::new(), self.list.len());
        self.origins.push(Origin { body, dialect, written, relabel, first });
        index(self.origins.len() - 1)
    }

    /// Forgets the rows of the last source.
    pub(super) fn discard(&mut self) {
        if let Some(Origin { first, written, .. }) = self.origins.last_mut() {
            self.list.truncate(*first);
            *written = Vec::new();
        }
    }

    /// The sources of rows that are asked for in rising order.
    pub(super) fn origins(&self) -> Origins<'_, 'a> {
        self.origins_from(0)
    }

    /// The same, where none is asked for before `row`.
    pub(super) fn origins_from(&self, row: usize) -> Origins<'_, 'a> {
        let at = self.origins.partition_point(|origin| origin.first <= row).saturating_sub(1);
        let mut origins = Origins { rows: self, at, end: 0 };
        origins.end = origins.end_of(at);
        origins
    }

    /// The position of the source of a row.
    pub(super) fn source_of(&self, row: usize) -> usize {
        self.origins.partition_point(|origin| origin.first <= row) - 1
    }

    /// The source of a row.
    pub(super) fn origin_of(&self, row: usize) -> &Origin<'a> {
        &self.origins[self.source_of(row)]
    }

    /// How many bytes the lines of all rows have on the page, their ends included.
    pub(super) fn n_bytes(&self) -> usize {
        let of_source = |(source, span): (u32, Range<usize>)| {
            let relabel = &self.origins[source as usize].relabel;
            let [bare, more] = [false, true].map(|has_labels| relabel.part(has_labels).len() + 1);
            let len = |row: &Row| {
                row.len() - row.n_left_out() + if row.has_labels() { more } else { bare }
            };
            self.list[span].iter().map(len).sum::<usize>()
        };
        spans(&self.origins, self.list.len()).map(of_source).sum()
    }

    /// Takes the rows in the order that `next` says: it is given the name of each, and gives its place.
    pub(super) fn place(&mut self, mut next: impl FnMut(u32) -> usize) -> Vec<Placed> {
        let list = std::mem::take(&mut self.list);
        let mut placed = vec![Placed(Row::default()); list.len()];
        for (source, span) in spans(&self.origins, list.len()) {
            for row in &list[span] {
                placed[next(row.name)] = Placed(Row { name: source, ..*row });
            }
        }
        placed
    }

    /// Takes the rows in the order in which they are.
    pub(super) fn stay(&mut self) -> Vec<Placed> {
        let mut list = std::mem::take(&mut self.list);
        for (source, span) in spans(&self.origins, list.len()) {
            list[span].iter_mut().for_each(|row| row.name = source);
        }
        // They stay where they are in memory, too.
        list.into_iter().map(Placed).collect()
    }

    /// Keeps the rows for which `keep` says so; it is given the positions of the source and the row.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize, usize, Row) -> bool) {
        let (mut kept, mut at) = (0, 0);
        let n = self.list.len();
        for source in 0..self.origins.len() {
            let end = self.origins.get(source + 1).map_or(n, |next| next.first);
            self.origins[source].first = kept;
            while at < end {
                let row = self.list[at];
                if keep(source, at, row) {
                    self.list[kept] = row;
                    kept += 1;
                }
                at += 1;
            }
        }
        self.list.truncate(kept);
    }
}

// === impl Placed ===

impl Placed {
    #[inline]
    pub(super) fn row(self) -> Row {
        self.0
    }

    /// The position of its source.
    #[inline]
    pub(super) fn source(self) -> usize {
        self.0.name as usize
    }
}

// === impl Origin ===

impl Origin<'_> {
    /// The bytes of a row.
    #[inline]
    pub(super) fn bytes(&self, row: Row) -> &[u8] {
        &self.buffer(row)[row.start as usize..][..row.len()]
    }

    /// What a row is a piece of.
    #[inline]
    fn buffer(&self, row: Row) -> &[u8] {
        if row.len & IS_WRITTEN == 0 { self.body } else { &self.written }
    }

    /// The line of a row.
    #[inline]
    pub(super) fn line(&self, row: Row) -> Line<'_> {
        Line { bytes: self.bytes(row), insert: row.insert() }
    }

    /// The labels of a row, and those of its source.
    pub(super) fn labels(&self, row: Row) -> impl Iterator<Item = Label<'_>> {
        self.line(row).labels().walk().chain(self.relabel.walk())
    }

    /// The hash of a row's series.
    pub(super) fn hash(&self, row: Row, hasher: &Hasher) -> u32 {
        let sum = if row.is_metric() {
            let pairs = self.metric(row).labels().chain(self.relabel.pairs());
            pairs.map(|pair| hasher.pair(pair)).fold(0, u64::wrapping_add)
        } else {
            hasher.set(self.labels(row))
        };
        hasher.series(row.name, self.timestamp(row), sum)
    }

    /// How many samples the row is in the formats of lines.
    pub(super) fn n_samples(&self, row: Row) -> usize {
        let mut n = 0;
        if row.is_metric() {
            self.metric(row).lines(|_| n += 1);
        }
        n.max(1)
    }

    /// The metric of a row.
    pub(super) fn metric(&self, row: Row) -> Metric<'_> {
        Metric { family: b"", kind: row.kind(), bytes: self.bytes(row) }
    }

    /// The line of the source that the row came from, from 1; of a metric its number.
    pub(super) fn line_number(&self, row: Row) -> usize {
        let start = row.start as usize;
        if row.is_metric() {
            (row.insert >> KIND_BITS) as usize
        } else if row.len & IS_WRITTEN == 0 {
            1 + memchr_iter(b'\n', &self.body[..start]).count()
        } else {
            let number = self.written[..start].last_chunk().copied().unwrap_or_default();
            u32::from_le_bytes(number) as usize
        }
    }

    /// When the sample was taken, in milliseconds since 1970.
    pub(super) fn timestamp(&self, row: Row) -> Option<i64> {
        match self.dialect {
            _ if row.is_metric() => self.metric(row).timestamp(),
            _ if !row.has_more() => None,
            dialect => dialect.milliseconds(self.line(row).timestamp()?),
        }
    }

    /// Writes the line of a row with the labels of its source.
    #[expect(clippy::inline_always, reason = "a call for each line takes a hundredth of a merge")]
    #[inline(always)]
    pub(super) fn push_line<'o>(&'o self, out: &mut copy::Lines<'_, 'o>, row: Row) {
        let (start, insert) = (row.start as usize, row.start as usize + row.insert());
        let hole = [insert, insert + row.n_left_out()];
        let part = self.relabel.part(row.has_labels());
        out.push(self.buffer(row), [start, start + row.len()], hole, part);
    }
}

// === impl Origins ===

impl<'r, 'a> Origins<'r, 'a> {
    /// The source of `row`, which is not before the one asked for last.
    #[inline]
    pub(super) fn of(&mut self, row: usize) -> &'r Origin<'a> {
        while row >= self.end {
            self.at += 1;
            self.end = self.end_of(self.at);
        }
        &self.rows.origins[self.at]
    }

    fn end_of(&self, source: usize) -> usize {
        let next = self.rows.origins.get(source + 1);
        next.map_or(usize::MAX, |next| next.first)
    }
}
