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
mod draft;
mod families;
mod intake;
mod metrics;
mod names;
mod page;
mod points;
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

use self::draft::Draft;
use crate::exposition::{Format, Output, openmetrics};

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
    let (draft, mut reports) = Draft::new(sources, limits, output, reserved);
    let statement = state(&reports);
    let stated = Source { labels: &[], format: Format::Text, body: &statement };
    let (stated, mut of_stated) = Draft::new(&[stated], &Limits::NONE, output, "");
    let mut body = Vec::new();
    draft.write(&mut body, &mut reports);
    stated.write(&mut body, &mut of_stated);
    if output.format.is_openmetrics() {
        body.extend_from_slice(openmetrics::EOF);
    }
    Merged { body, reports }
}

#[cfg(test)]
mod tests;
