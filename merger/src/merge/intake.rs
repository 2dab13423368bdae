//! One source to rows and names: all of it, or nothing where a limit was hit.
//!
//! What a source says is first only collected. Not before its end is reached does it count: then
//! its declarations meet those of the others, and its series those that are there.

use crate::{
    exposition::{
        Defect, Entry, Exceeded, Failure, Fault, Kind, Label, Limit, Limits, Place, Sample, number,
        text::line,
    },
    merge::{
        Source,
        names::{Declared, Names},
        report::Report,
        rows::{LARGEST_BODY, Row, Rows, index},
    },
};

/// What all sources so far have said.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    pub names: Names<'a>,
    pub rows: Rows<'a>,
}

/// What a source declared, in its order: the number of a name, and what was said of it.
#[derive(Debug, Default)]
struct Declarations<'a> {
    helps: Vec<(u32, &'a [u8])>,
    kinds: Vec<(u32, Declared<'a>)>,
}

// === impl Intake ===

impl<'a> Intake<'a> {
    pub(super) fn new() -> Self {
        Self { names: Names::default(), rows: Rows::new() }
    }

    /// Takes one more source: sources are taken in their order. What it says under a name that
    /// begins with `reserved` is a problem, unless that is empty.
    pub(super) fn take(&mut self, source: &Source<'a>, limits: &Limits, reserved: &str) -> Report {
        let position = self.rows.begin(source);
        let mut report = Report::default();
        let (n_names, n_rows) = (self.names.list.len(), self.rows.list.len());
        match self.collect(source, position, limits, reserved, &mut report) {
            Ok(declarations) => {
                self.declare(declarations, &mut report);
                let Self { names, rows } = self;
                let name_len = |number| names.list[number as usize].bytes.len();
                rows.enter(n_rows, name_len, |row, text| {
                    report.problems.add(row.line as usize, Defect::Duplicate, text);
                });
                report.samples = rows.list.len() - n_rows;
            }
            Err(failure) => {
                self.names.truncate(n_names);
                self.rows.discard(n_rows, position);
                report.failed = Some(failure);
            }
        }
        report
    }

    /// Reads a source to its end.
    fn collect(
        &mut self,
        source: &Source<'a>,
        position: u32,
        limits: &Limits,
        reserved: &str,
        report: &mut Report,
    ) -> Result<Declarations<'a>, Failure> {
        if source.body.len() > LARGEST_BODY {
            let exceeded = Exceeded { limit: Limit::Body, allowed: LARGEST_BODY, line: 0 };
            return Err(Failure::Exceeded(exceeded));
        }
        let mut declarations = Declarations::default();
        let mut reader = source.format.read(source.body, limits);
        let is_reserved =
            |name: &[u8]| !reserved.is_empty() && name.starts_with(reserved.as_bytes());
        while let Some(item) = reader.next() {
            let place = reader.place();
            match item {
                Ok(entry) if is_reserved(entry.name()) => {
                    report.problems.add(place.line, Defect::ReservedName, place.text);
                }
                Ok(Entry::Sample(sample)) => {
                    if sample.exemplar.is_some() {
                        report.problems.add(place.line, Defect::Exemplar, place.text);
                    }
                    self.add(position, &sample, reader.labels(), place);
                }
                Ok(Entry::Help { family, help }) => {
                    let std::borrow::Cow::Borrowed(help) = help else { continue };
                    declarations.helps.push((self.names.number(family), help));
                }
                Ok(Entry::Type { family, kind }) => {
                    let Place { line, text, .. } = place;
                    let declared = Declared { kind, source: position, line, text };
                    declarations.kinds.push((self.names.number(family), declared));
                }
                Ok(Entry::Unit { .. } | Entry::Metric(_)) => {}
                Err(Fault::Line(what)) => report.problems.add(place.line, what, place.text),
                Err(Fault::Source(failure)) => return Err(failure),
            }
        }
        Ok(declarations)
    }

    /// Makes a row of a sample. Its line is written anew where it is not strict, or where a label
    /// has the name of one of the source.
    fn add(&mut self, position: u32, sample: &Sample<'a>, labels: &[Label<'a>], place: Place<'a>) {
        let mut row = Row {
            start: index(place.at),
            len: index(place.text.len()),
            insert: index(line::Line::insert(sample)),
            name: self.names.number(sample.name),
            source: position,
            line: index(place.line),
            hash: 0,
            is_rewritten: !sample.strict,
            has_bad_bound: false,
            has_bad_quantile: false,
        };
        let relabel = self.rows.relabel(position);
        for label in labels {
            row.is_rewritten |= relabel.has(label.name);
            row.has_bad_bound |= label.name == b"le" && !number::is_float(label.value);
            row.has_bad_quantile |= label.name == b"quantile" && !number::is_float(label.value);
        }
        if row.is_rewritten {
            let labels = relabel.resolve(labels);
            let rewritten = self.rows.rewritten(position);
            let start = rewritten.len();
            row.insert = index(line::push_sample(rewritten, sample, labels));
            (row.start, row.len) = (index(start), index(rewritten.len() - start));
            self.rows.push_rewritten(row, sample.name.len());
        } else {
            self.rows.push(row, labels);
        }
    }

    /// The first help stands, and kinds join.
    fn declare(&mut self, declarations: Declarations<'a>, report: &mut Report) {
        let Declarations { helps, kinds } = declarations;
        for (number, help) in helps {
            let name = &mut self.names.list[number as usize];
            name.help = name.help.or(Some(help).filter(|help| !help.is_empty()));
        }
        for (number, declared) in kinds {
            let Declared { kind, line, text, .. } = declared;
            let name = &mut self.names.list[number as usize];
            name.type_ = name.type_.join(kind);
            if !kind.is_said_in_text() {
                report.problems.add(line, Defect::ForeignKind, text);
            }
            if matches!(kind, Kind::Untyped | Kind::Unknown) {
                continue;
            }
            let first = name.declared.get_or_insert(declared);
            if first.kind != kind {
                report.problems.add(line, Defect::KindConflict, text);
            }
        }
    }
}
