//! A page before it is written: what all sources said, settled.
//!
//! Which family a name belongs to depends on the kinds, and which kinds can be said depends on the
//! samples: a histogram whose buckets make no whole is none to a strict reader. So a family that does
//! not fit loses its kind, the names are distributed anew, and all is looked at once more, until
//! nothing changes. Each round costs a family its kind, so there is an end.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    exposition::{Defect, Format, Header, Limits, Output, family::Type, openmetrics, protobuf},
    merge::{
        Source, conflict,
        families::{Families, Sorted},
        intake::Intake,
        metrics,
        names::Names,
        page,
        points::Family,
        report::Report,
        rows::Rows,
        series::{self, Hasher},
        spell::Speller,
    },
};

/// A page that can be written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub names: Names<'a>,
    pub rows: Rows<'a>,
    pub families: Families,
    /// On a page of text nothing asks for more than the order of the lines, which the writing knows.
    pub sorted: Sorted,
    pub format: Format,
    speller: Speller,
}

/// A name that a family takes for itself.
#[derive(Clone, Copy, Debug)]
struct Claim<'d> {
    family: u32,
    /// What it begins with, and its end.
    base: &'d [u8],
    suffix: &'static str,
}

/// The families that cannot be said as they are, and what the matter is.
type Misfits = Vec<(u32, Defect)>;

// === impl Claim ===

impl Claim<'_> {
    fn is_of(&self, name: &[u8]) -> bool {
        name.strip_suffix(self.suffix.as_bytes()) == Some(self.base)
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    /// Takes in the sources in their order. Under names that begin with `reserved` they may not speak,
    /// unless that is empty.
    pub(super) fn new(
        sources: &[Source<'a>],
        limits: &Limits,
        output: Output,
        reserved: &str,
    ) -> (Self, Vec<Report>) {
        let mut intake = Intake::new(output);
        let mut reports: Vec<Report> =
            sources.iter().map(|source| intake.take(source, limits, reserved)).collect();
        let Intake { mut names, mut rows, hashes, speller, .. } = intake;
        let format = output.format;
        conflict::settle(&mut names, format, &mut reports);
        let duplicates = series::duplicates(&rows, &hashes);
        drop(hashes);
        drop_rows(&mut rows, &names, &duplicates, &mut reports);
        let families = Families::new(&names, format);
        let misfits = conflict::misfits(&rows, &names, &families);
        drop_rows(&mut rows, &names, &misfits, &mut reports);
        rows.list.shrink_to_fit();
        names.list.shrink_to_fit();
        let sorted = Sorted::default();
        let mut draft = Self { names, rows, families, sorted, format, speller };
        if !matches!(format, Format::Text | Format::Text1) {
            draft.sorted = Sorted::new(&draft.rows, &draft.families);
            draft.fit(&mut reports);
        }
        for report in &mut reports {
            report.problems.sort();
        }
        (draft, reports)
    }

    /// Writes the page behind what `out` holds, without the line that ends it. What only the writing
    /// shows to have no place goes into the reports.
    pub(super) fn write(self, out: &mut Vec<u8>, reports: &mut [Report]) {
        match self.format {
            Format::Text | Format::Text1 => page::write_text(self, out),
            Format::OpenMetrics | Format::OpenMetrics0 => {
                page::write_openmetrics(&self, out, reports);
            }
            Format::Protobuf => page::write_protobuf(&self, out, reports),
        }
    }

    /// A family whose rows can be looked at as points.
    pub(super) fn family(&self, family: u32) -> Family<'_, 'a> {
        let header = self.names.list[family as usize].header();
        Family { header, names: &self.names, rows: &self.rows }
    }

    /// Takes the kind from each family that cannot be said as one of its kind.
    fn fit(&mut self, reports: &mut [Report]) {
        let hashers: [Hasher; 2] = Default::default();
        loop {
            if metrics::explode(
                &mut self.rows,
                &mut self.names,
                &self.families,
                self.speller,
                reports,
            ) {
                let hashes = series::hashes(&self.rows, &hashers[0]);
                let duplicates = series::duplicates(&self.rows, &hashes);
                drop_rows(&mut self.rows, &self.names, &duplicates, reports);
                self.distribute();
            }
            let mut left_out = Vec::new();
            let mut lost = self.misfits(&hashers, &mut left_out);
            lost.extend(self.clashes());
            // One without a kind can lose no other; a second look at it would find the same.
            lost.retain(|(family, _)| self.names.list[*family as usize].type_ != Type::Lost);
            if lost.is_empty() {
                left_out.sort_unstable_by_key(|(row, _)| *row);
                return report_rows(&self.rows, &self.names, &left_out, reports);
            }
            for (family, what) in lost {
                let type_ = self.names.list[family as usize].type_;
                let declared = self.names.declared(family).filter(|_| type_ != Type::Lost);
                if let Some(declared) = declared {
                    declared.problem(what, reports);
                }
                self.names.list[family as usize].type_ = Type::Lost;
            }
            self.distribute();
        }
    }

    /// Finds the family of each name, and sorts the rows by it.
    fn distribute(&mut self) {
        self.families = Families::new(&self.names, self.format);
        self.sorted = Sorted::new(&self.rows, &self.families);
    }

    /// Puts the rows of families that are written as points into the order of these, and gives the
    /// families of which one does not fit. `left_out` gets the rows that have no
    /// place, and why.
    fn misfits(&mut self, hashers: &[Hasher; 2], left_out: &mut Misfits) -> Misfits {
        let mut lost = Vec::new();
        let mut sorted = std::mem::take(&mut self.sorted);
        for number in &self.families.order {
            let family = self.family(*number);
            let rows = sorted.of_mut(*number);
            if !family.is_of_points(rows, self.format) {
                continue;
            }
            let n = family.sort(rows, self.format, hashers, |row, what| left_out.push((row, what)));
            sorted.truncate(*number, n);
            if !family.fits(sorted.of(*number), self.format) {
                lost.push((*number, Defect::Misfit));
            }
        }
        self.sorted = sorted;
        lost
    }

    /// The families with a kind of which another one takes a name for itself. One that takes no name but
    /// its own would not be another without its kind, so it keeps it.
    fn clashes(&self) -> Misfits {
        let written =
            self.families.order.iter().filter(|family| !self.sorted.of(**family).is_empty());
        let claims: Vec<_> = written
            .flat_map(|number| {
                let (base, suffixes) = self.claims(*number);
                suffixes.iter().map(move |suffix| Claim { family: *number, base, suffix })
            })
            .collect();
        let mut lost = Vec::new();
        // Seeded, since the names come from pods; it decides no order.
        let hasher = RandomState::default();
        let mut name = Vec::new();
        let mut firsts = HashTable::with_capacity(claims.len());
        for claim in &claims {
            name.clear();
            name.extend_from_slice(claim.base);
            name.extend_from_slice(claim.suffix.as_bytes());
            let hash = hasher.hash_one(&*name);
            let is_same = |(_, first): &(u64, &Claim<'_>)| first.is_of(&name);
            let entry = firsts.entry(hash, is_same, |(hash, _)| *hash);
            let (_, first) = *entry.or_insert((hash, claim)).get();
            if first.family != claim.family {
                let both = [first.family, claim.family];
                lost.extend(both.map(|lost| (lost, Defect::KindConflict)));
            }
        }
        lost.retain(|(number, _)| self.claims(*number).1.len() > 1);
        lost.sort_unstable_by_key(|(number, _)| *number);
        lost.dedup();
        lost
    }

    /// The names that a family takes for itself: what each begins with, and their ends.
    fn claims(&self, family: u32) -> (&[u8], &'static [&'static str]) {
        let Header { name, kind, .. } = self.names.list[family as usize].header();
        if self.format.is_openmetrics() {
            (openmetrics::base(name, kind), openmetrics::claims(kind))
        } else {
            (name, protobuf::claims(kind))
        }
    }
}

/// Drops rows, which are given in rising order, and says so in the report of their source.
fn drop_rows(rows: &mut Rows<'_>, names: &Names<'_>, dropped: &Misfits, reports: &mut [Report]) {
    report_rows(rows, names, dropped, reports);
    if !dropped.is_empty() {
        let mut dropped = dropped.iter().peekable();
        rows.retain(|_, at, _| dropped.next_if(|(row, _)| *row as usize == at).is_none());
    }
}

/// Says in the reports that rows are not on the page.
fn report_rows(rows: &Rows<'_>, names: &Names<'_>, dropped: &Misfits, reports: &mut [Report]) {
    for (row, what) in dropped {
        let row = *row as usize;
        let source = rows.source_of(row);
        let (origin, row) = (&rows.origins[source], rows.list[row]);
        reports[source].samples -= origin.n_samples(row);
        // Of a metric the bytes say nothing to who reads the problem.
        let is_metric = row.is_metric();
        let text = if is_metric { &names.list[row.name as usize].bytes } else { origin.bytes(row) };
        reports[source].problems.add_at(|| origin.line_number(row), *what, text);
    }
}
