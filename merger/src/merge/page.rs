//! Rows to one page: each family once, whole, in the order of first appearance.

use crate::{
    exposition::{
        Kind,
        family::{self, Type},
        text::line,
    },
    merge::{
        names::{Name, Names},
        rows::{Rows, index},
    },
};

/// Which names are in which family, and the order of the families.
#[derive(Debug)]
pub(super) struct Families {
    /// By the number of a name: the number of the name of its family.
    of: Vec<u32>,
    /// The names of the families by number, in the order in which the first of each one's names
    /// appeared.
    order: Vec<u32>,
}

/// Writes the page.
pub(super) fn write(names: &Names<'_>, rows: &Rows<'_>, families: &Families) -> Vec<u8> {
    let Sorted { rows: sorted, ends } = Sorted::new(rows, families);
    let mut out = Vec::with_capacity(size(names, rows));
    let mut start = 0;
    for family in &families.order {
        let end = ends[*family as usize];
        push_header(&mut out, &names.list[*family as usize]);
        for row in &sorted[start..end] {
            let row = &rows.list[*row as usize];
            rows.line(row).push_with(&mut out, rows.relabel(row.source).as_bytes());
        }
        start = end;
    }
    out
}

fn push_header(out: &mut Vec<u8>, family: &Name<'_>) {
    if let Some(help) = family.help {
        line::push_help(out, family.bytes, help);
    }
    match family.type_ {
        Type::Absent => {}
        Type::Of(kind) => line::push_type(out, family.bytes, kind),
        Type::Lost => line::push_type(out, family.bytes, Kind::Untyped),
    }
}

/// As many bytes as the page has at most, unless a help text holds needless escapes.
fn size(names: &Names<'_>, rows: &Rows<'_>) -> usize {
    let n_lines: usize = rows
        .list
        .iter()
        .map(|row| rows.line(row).bytes.len() + rows.relabel(row.source).as_bytes().len() + 3)
        .sum();
    let header = |name: &Name<'_>| 2 * name.bytes.len() + name.help.map_or(0, <[u8]>::len) + 28;
    n_lines + names.list.iter().map(header).sum::<usize>()
}

// === impl Families ===

impl Families {
    pub(super) fn new(names: &Names<'_>) -> Self {
        let mut of = Vec::with_capacity(names.list.len());
        let mut order = Vec::new();
        let mut is_ordered = vec![false; names.list.len()];
        for (number, name) in names.list.iter().enumerate() {
            let family = family::of(name.bytes, |name| names.type_of(name));
            let is_owned = family.len() < name.bytes.len();
            // A name that owns another was declared, and so is there.
            let owner = if is_owned { names.find(family) } else { None };
            let family = owner.unwrap_or(index(number));
            of.push(family);
            if !std::mem::replace(&mut is_ordered[family as usize], true) {
                order.push(family);
            }
        }
        Self { of, order }
    }

    /// The family of a name, both as numbers of names.
    pub(super) fn of(&self, name: u32) -> usize {
        self.of[name as usize] as usize
    }
}

/// The rows by family, in each in their order.
struct Sorted {
    rows: Vec<u32>,
    /// By the number of the family's name: where its rows end.
    ends: Vec<usize>,
}

// === impl Sorted ===

impl Sorted {
    /// A counting sort: it is stable, and linear.
    fn new(rows: &Rows<'_>, families: &Families) -> Self {
        let mut counts = vec![0_usize; families.of.len()];
        for row in &rows.list {
            counts[families.of(row.name)] += 1;
        }
        let mut next = 0;
        for family in &families.order {
            let count = std::mem::replace(&mut counts[*family as usize], next);
            next += count;
        }
        let mut ends = counts;
        let mut sorted = vec![0; rows.list.len()];
        for (number, row) in rows.list.iter().enumerate() {
            let end = &mut ends[families.of(row.name)];
            sorted[*end] = index(number);
            *end += 1;
        }
        Self { rows: sorted, ends }
    }
}
