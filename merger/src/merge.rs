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
//! - What the page's format cannot say of a family costs the family its type, and no sample
//!   (`draft`, `points`).
//!
//! Every order comes from the sources, so equal input gives equal bytes. Merging a merged page
//! again gives the same page. That bodies are whole is left to who fetched them.
//!
//! # What becomes of what one format says on a page of another
//!
//! Inside, everything has the words of text and protobuf and the spelling of text. A page says of it
//! what its format can say; what it cannot is left out and counted under the problem in brackets, and
//! nothing else ever is.
//!
//! | what | text 0.0.4, 1.0.0 | `OpenMetrics` | protobuf |
//! |---|---|---|---|
//! | counter `x_total` | family `x_total` | family `x`, sample `x_total` | family `x_total` |
//! | counter `x` without `_total` | as it is | `unknown` under its own name (`nameless`): another name is another series | as it is |
//! | info `x_info` | gauge `x_info` (`foreign_kind`) | info `x`; without `_info` `unknown` (`nameless`) | gauge `x_info` (`foreign_kind`) |
//! | state set | gauge (`foreign_kind`) | state set | gauge (`foreign_kind`), a metric for each state |
//! | gauge histogram | its samples without a type (`foreign_kind`) | gauge histogram | gauge histogram |
//! | `untyped`, `unknown` | `untyped` | `unknown` | untyped |
//! | no type said | no TYPE line | no TYPE line, unless the name is in quotes or ends in `_created`: `unknown` | untyped |
//! | unit | left out (`unit`) | where the name ends in `_` and the unit, of no info or state set; else left out (`unit`) | where the name ends in `_` and the unit; else left out (`unit`) |
//! | help | `\\` and `\n` are its escapes | and `\"` | plain |
//! | timestamp | milliseconds | seconds; what is finer than a millisecond only stays among lines of `OpenMetrics` | milliseconds |
//! | exemplar | left out (`exemplar`) | of counters and buckets, up to 128 characters, label names without `__` at the beginning; else left out (`exemplar`) | of counters and buckets; else left out (`exemplar`) |
//! | `x_created` | a sample of its own | beside its counter, histogram or summary | `created_timestamp` of its counter, histogram or summary |
//! | native histogram with classic buckets | the classic ones | the classic ones | as it came |
//! | native histogram alone | left out (`native_histogram`) | left out (`native_histogram`) | as it came |
//! | classic histogram, summary | a line for each number; of messages, a bucket `+Inf` where there is none | a whole one is one run of lines; else its samples without a type (`misfit`) | a whole one is one message, and a summary has a sum and a count; else each name is an untyped family (`misfit`) |
//! | `le`, `quantile` | of lines as they came, of messages as Go spells them: `1`, `1e+06` | `1.0`, `1e+06` in a histogram or summary | numbers, in ascending order |
//! | value | of lines as it came, of messages as Go spells it | the same | a double; a count is an integer where it is one |
//! | name that is no identifier | 0.0.4 escapes it; 1.0.0 has it in quotes, or escaped where the reader says how | in quotes, or escaped | as it is, or escaped |
//! | label that begins with `__` | as it is; `__name__` costs the line (`reserved_label`) | costs the sample (`reserved_label`) | as it is, but `__name__` |
//! | one label set at several times | all, in the order of the source | all, the times rising; of a histogram, summary, state set or a counter that says its creation the last (`mixed_timestamps`) | a metric for each, the times rising |
//! | one label set with a time and without | all | those that are as the first (`mixed_timestamps`) | a metric for each |
//! | one label set twice at one time | the first (`duplicate`) | the first | the first |
//!
//! [`family`]: crate::exposition::family

mod conflict;
mod copy;
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
    /// Where not everything is to be taken, what the names of families begin with that are: all or a part
    /// of an identifier. The others are as if they were not there: they take no room, count in no limit
    /// but that of the body, and are no problem.
    pub only: Option<&'a str>,
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
/// further labels, made from the report of each. No source says anything under a name that on the page
/// begins with `reserved`, unless that is empty: it could contradict the statement. In these reports
/// all samples are those of the page; which exemplars and units it has no place for, only the writing
/// shows.
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
    let mut body = Vec::new();
    draft.write(&mut body, &mut reports);
    if !statement.is_empty() {
        let stated = Source { labels: &[], format: Format::Text, body: &statement, only: None };
        let (stated, mut of_stated) = Draft::new(&[stated], &Limits::NONE, output, "");
        stated.write(&mut body, &mut of_stated);
    }
    if output.format.is_openmetrics() {
        body.extend_from_slice(openmetrics::EOF);
    }
    Merged { body, reports }
}

#[cfg(test)]
mod tests;
