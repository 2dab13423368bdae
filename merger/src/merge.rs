//! Many expositions to one, and the list of what was wrong.
//!
//! The law, of which each part is kept in one place:
//! - Each metric name is in one family, whatever source it came from ([`family`]); a family is
//!   written once, whole, in the order of first appearance (`page`).
//! - Kinds that truly differ cost the family its type and no sample; of a series that is there
//!   twice the first stays (`conflict`, `rows`).
//! - The labels of the source win every clash (`relabel`).
//! - A bad line costs itself and is named (`report`); a limit costs the source, of which then
//!   nothing is kept (`intake`).
//!
//! Every order comes from the sources, so equal input gives equal bytes. Merging a merged page
//! again gives the same page. That bodies are whole is left to who fetched them.
//!
//! [`family`]: crate::exposition::family

mod conflict;
mod declare;
mod intake;
mod names;
mod page;
mod relabel;
mod report;
mod rows;
mod series;
mod spell;

pub use self::{
    relabel::is_source_label,
    report::{Problems, Report},
    rows::LARGEST_BODY,
};
pub use crate::exposition::Limits;

use self::{intake::Intake, rows::Rows};
use crate::exposition::{Defect, Format, Output};

/// What one source said.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Put into each of its series. Names are distinct and pass [`is_source_label`]; of a
    /// label with an empty value only the name is taken.
    pub labels: &'a [(&'a str, &'a str)],
    /// What the body is written in.
    pub format: Format,
    /// The whole body, decompressed.
    pub body: &'a [u8],
}

/// One page, and what became of each source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The page. Empty where no source said anything.
    pub body: Vec<u8>,
    /// One for each source, in the same order.
    pub reports: Vec<Report>,
}

/// Merges what the sources said to a page in `output`. The order of the sources is the order of the
/// page.
#[must_use]
pub fn merge(sources: &[Source<'_>], limits: &Limits, output: Output) -> Merged {
    merge_with(sources, limits, output, "", |_| Vec::new())
}

/// Merges what the sources said, and last what is to be stated about them: text 0.0.4, without
/// further labels, made from the report of each. No source says anything under a name that begins
/// with `reserved`, unless that is empty: it could contradict the statement. In these reports a sample still counts that only
/// the whole page shows to be a misfit.
#[must_use]
pub fn merge_with(
    sources: &[Source<'_>],
    limits: &Limits,
    output: Output,
    reserved: &str,
    state: impl FnOnce(&[Report]) -> Vec<u8>,
) -> Merged {
    let mut intake = Intake::new(output);
    let mut reports: Vec<Report> =
        sources.iter().map(|source| intake.take(source, limits, reserved)).collect();
    let Intake { mut names, mut rows, hashes, .. } = intake;
    conflict::settle(&mut names, output.format, &mut reports);
    let families = page::Families::new(&names);
    let dropped =
        series::duplicates(&rows, &hashes).into_iter().map(|row| (row, Defect::Duplicate));
    drop_rows(&mut rows, dropped.collect(), &mut reports);
    drop(hashes);
    let dropped = conflict::misfits(&rows, &names, &families);
    drop_rows(&mut rows, dropped, &mut reports);
    rows.list.shrink_to_fit();
    for report in &mut reports {
        report.problems.sort();
    }
    let statement = state(&reports);
    let mut body = page::write(&names, &rows, &families, statement.len());
    body.extend_from_slice(&statement);
    Merged { body, reports }
}

/// Drops rows, which are given in rising order, and says so in the report of their source.
fn drop_rows(rows: &mut Rows<'_>, dropped: Vec<(u32, Defect)>, reports: &mut [Report]) {
    for (row, what) in &dropped {
        let row = *row as usize;
        let source = rows.source_of(row);
        let report = &mut reports[source];
        report.samples -= 1;
        let bytes = rows.origins[source].bytes(rows.list[row]);
        report.problems.add(rows.list[row].line as usize, *what, bytes);
    }
    if !dropped.is_empty() {
        let mut dropped = dropped.iter().peekable();
        rows.retain(|_, at, _| dropped.next_if(|(row, _)| *row as usize == at).is_none());
    }
}

#[cfg(test)]
mod tests;
