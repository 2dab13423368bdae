//! Rows to one page: each family once, whole, in the order of first appearance.

use crate::{
    exposition::{
        Header, Kind,
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
    pub order: Vec<u32>,
}

/// The rows by family, in each in their order.
#[derive(Debug)]
pub(super) struct Sorted {
    rows: Vec<u32>,
    /// By the number of the family's name: where its rows end.
    ends: Vec<u32>,
}

/// Writes a page of text with room for `more` bytes.
pub(super) fn write(
    names: &Names<'_>,
    rows: &Rows<'_>,
    families: &Families,
    more: usize,
) -> Vec<u8> {
    let sorted = Sorted::new(rows, families);
    let mut headers = Vec::new();
    let mut header_ends = Vec::with_capacity(families.order.len());
    for family in &families.order {
        line::push_header(&mut headers, &names.list[*family as usize].header());
        header_ends.push(headers.len());
    }
    let mut origins = rows.origins();
    let lines = rows.list.iter().enumerate();
    let n_lines: usize = lines.map(|(at, row)| row.len_with(&origins.of(at).relabel)).sum();

    let mut out = Vec::with_capacity(headers.len() + n_lines + more);
    let (mut start, mut header_start) = (0, 0);
    for (family, header_end) in families.order.iter().zip(header_ends) {
        out.extend_from_slice(&headers[header_start..header_end]);
        header_start = header_end;
        let of_family = sorted.of(*family, start);
        start += of_family.len();
        let mut origins = rows.origins();
        for row in of_family {
            let row = *row as usize;
            origins.of(row).push_line(&mut out, rows.list[row]);
        }
    }
    out
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
        Header { name: &self.bytes, kind, help: self.help.as_deref(), unit: self.unit.map(|u| u.0) }
    }
}

// === impl Families ===

impl Families {
    pub(super) fn new(names: &Names<'_>) -> Self {
        let mut of = Vec::with_capacity(names.list.len());
        let mut order = Vec::new();
        let mut is_ordered = vec![false; names.list.len()];
        for (number, name) in names.list.iter().enumerate() {
            let family = family::of(&name.bytes, |name| names.type_of(name));
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

// === impl Sorted ===

impl Sorted {
    /// A counting sort: it is stable, and linear.
    pub(super) fn new(rows: &Rows<'_>, families: &Families) -> Self {
        let mut counts = vec![0_u32; families.of.len()];
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
            sorted[*end as usize] = index(number);
            *end += 1;
        }
        Self { rows: sorted, ends }
    }

    /// The rows of a family that begin at `start`: those of the families before it end there.
    pub(super) fn of(&self, family: u32, start: usize) -> &[u32] {
        &self.rows[start..self.ends[family as usize] as usize]
    }
}
