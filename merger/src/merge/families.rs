//! Which names are in which family, and the rows of each.
//!
//! The rule is that of [`family`], asked of each name with what all sources together said; where the
//! page's format has a place for `_created`, that is a part of its family, too. What the kinds are is
//! left to `conflict` and `draft`: when one changes, all of this is made anew.

use crate::{
    exposition::{
        Format, Header, Kind,
        family::{self, Type},
    },
    merge::{
        names::{Name, Names},
        rows::{Placed, Rows, index},
    },
};

/// Which names are in which family, and the order of the families.
#[derive(Debug)]
pub(super) struct Families {
    /// By the number of a name: the number of the name of its family.
    of: Vec<u32>,
    /// The names of the families by number, in the order in which the first of each one's names
    /// appeared.
    pub order: Vec<u32>,
}

/// The rows by family, in each in their order.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    rows: Vec<u32>,
    /// By the number of the family's name: where its rows begin, and where they end.
    spans: Vec<[u32; 2]>,
}

// === impl Name ===

impl Name<'_> {
    /// What stands before its samples, as of a family.
    pub(super) fn header(&self) -> Header<'_> {
        let kind = match self.type_ {
            Type::Absent => None,
            Type::Of(kind) => Some(kind),
            Type::Lost => Some(Kind::Untyped),
        };
        let unit = self.unit.as_deref().map(|(unit, _)| *unit);
        let help = self.help.as_ref().map(|help| &*help.text);
        Header { name: &self.bytes, kind, help, unit }
    }
}

// === impl Families ===

impl Families {
    /// The families of a page of `format`. Where `_created` has a place of its own beside the counter
    /// or the histogram that it is of, it is in that one's family.
    pub(super) fn new(names: &Names<'_>, format: Format) -> Self {
        let mut of = Vec::with_capacity(names.list.len());
        let mut order = Vec::with_capacity(names.list.len());
        let mut is_ordered = vec![false; names.list.len()];
        let is_of_points = !matches!(format, Format::Text | Format::Text1);
        for (number, name) in names.list.iter().enumerate() {
            let family = family::of(&name.bytes, |name| names.type_of(name));
            let is_owned = family.len() < name.bytes.len();
            // A name that owns another was declared, and so is there.
            let owner = if is_owned { names.find(family) } else { None };
            let owner = owner.or_else(|| created_of(names, name).filter(|_| is_of_points));
            let family = owner.unwrap_or(index(number));
            of.push(family);
            if !std::mem::replace(&mut is_ordered[family as usize], true) {
                order.push(family);
            }
        }
        Self { of, order }
    }

    /// Takes the rows in the order of the families, and says where those of each family end, in that order, too.
    pub(super) fn place(&self, rows: &mut Rows<'_>) -> (Vec<Placed>, Vec<usize>) {
        let mut positions = vec![0; self.of.len()];
        for (position, family) in self.order.iter().enumerate() {
            positions[*family as usize] = position;
        }
        // By name as by family.
        let positions: Vec<_> = self.of.iter().map(|family| positions[*family as usize]).collect();
        let mut ends = vec![0; self.order.len()];
        let (mut last, mut is_ordered) = (0, true);
        for rows in rows.list.chunk_by(|row, next| row.name == next.name) {
            let position = positions[rows[0].name as usize];
            is_ordered &= last <= position;
            last = position;
            ends[position] += rows.len();
        }
        let mut n = 0;
        if is_ordered {
            // Mostly no two sources have a family in common, and each says its own one by one.
            for end in &mut ends {
                n += *end;
                *end = n;
            }
            return (rows.stay(), ends);
        }
        for end in &mut ends {
            n += std::mem::replace(end, n);
        }
        let placed = rows.place(|name| {
            let next = &mut ends[positions[name as usize]];
            *next += 1;
            *next - 1
        });
        (placed, ends)
    }

    /// The family of a name, both as numbers of names.
    pub(super) fn of(&self, name: u32) -> usize {
        self.of[name as usize] as usize
    }
}

/// The family of which a name says when it was created. To a source of text that is a gauge.
fn created_of(names: &Names<'_>, name: &Name<'_>) -> Option<u32> {
    let base = name.bytes.strip_suffix(b"_created").filter(|base| !base.is_empty())?;
    // One that lost its kind stands on the page as one of which none is known, and is read as that.
    if name.type_.is_own() && !matches!(name.type_, Type::Of(Kind::Gauge) | Type::Lost) {
        return None;
    }
    let is = |number: &u32, kinds: &[Kind]| matches!(names.list[*number as usize].type_, Type::Of(kind) if kinds.contains(&kind));
    let counter = names.find_joined(base, b"_total").filter(|found| is(found, &[Kind::Counter]));
    let other = || names.find(base).filter(|found| is(found, &[Kind::Histogram, Kind::Summary]));
    counter.or_else(other)
}

// === impl Sorted ===

impl Sorted {
    /// A counting sort: it is stable, and linear.
    pub(super) fn new(rows: &Rows<'_>, families: &Families) -> Self {
        let mut spans = vec![[0_u32; 2]; families.of.len()];
        for row in &rows.list {
            spans[families.of(row.name)][1] += 1;
        }
        let mut next = 0;
        for family in &families.order {
            let span = &mut spans[*family as usize];
            let count = span[1];
            *span = [next, next];
            next += count;
        }
        let mut sorted = vec![0; rows.list.len()];
        for (number, row) in rows.list.iter().enumerate() {
            let [_, end] = &mut spans[families.of(row.name)];
            sorted[*end as usize] = index(number);
            *end += 1;
        }
        Self { rows: sorted, spans }
    }

    /// The rows of a family.
    pub(super) fn of(&self, family: u32) -> &[u32] {
        let [start, end] = self.spans[family as usize];
        &self.rows[start as usize..end as usize]
    }

    /// The rows of a family, to put them into another order.
    pub(super) fn of_mut(&mut self, family: u32) -> &mut [u32] {
        let [start, end] = self.spans[family as usize];
        &mut self.rows[start as usize..end as usize]
    }

    /// Keeps the first `n` rows of a family.
    pub(super) fn truncate(&mut self, family: u32, n: usize) {
        let [start, end] = &mut self.spans[family as usize];
        *end = (*start + index(n)).min(*end);
    }
}
