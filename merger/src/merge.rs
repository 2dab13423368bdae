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
mod intake;
mod names;
mod page;
mod relabel;
mod report;
mod rows;

pub use self::{
    relabel::is_source_label,
    report::{Problems, Report},
    rows::LARGEST_BODY,
};
pub use crate::exposition::Limits;

use self::intake::Intake;
use crate::exposition::{Format, Output};

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
    #[expect(clippy::needless_late_init, reason = "the intake borrows from it, so it comes first")]
    let statement: Vec<u8>;
    let mut intake = Intake::new();
    let mut reports: Vec<Report> =
        sources.iter().map(|source| intake.take(source, limits, reserved)).collect();
    let _ = output;
    statement = state(&reports);
    let stated = Source { labels: &[], format: Format::Text, body: &statement };
    reports.push(intake.take(&stated, &Limits::NONE, ""));

    let Intake { mut names, mut rows } = intake;
    conflict::settle(&mut names, &mut reports);
    let families = page::Families::new(&names);
    conflict::drop_misfits(&mut rows, &names, &families, &mut reports);
    for report in &mut reports {
        report.problems.sort();
    }
    reports.truncate(sources.len());
    Merged { body: page::write(&names, &rows, &families), reports }
}

#[cfg(test)]
mod tests;
