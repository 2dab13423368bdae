//! What was wrong with a line, in a closed list of kinds and in words for a person.
//!
//! The text of a line comes from a pod and may be hostile: it is shown shortened and escaped.

use std::fmt;

/// How many characters of a line are shown.
const SHOWN: usize = 80;

/// What was wrong with one line of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What was wrong.
    pub what: Defect,
    /// The beginning of the line: at most 80 characters, each printable.
    pub text: String,
}

/// A kind of problem. What it costs is said by each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// The line is dropped.
    NotUtf8,
    /// The line is dropped: the server's lexer takes the byte for the end of the page.
    Nul,
    /// The line is dropped.
    MetricName,
    /// The line is dropped: HELP or TYPE for what is no metric name.
    FamilyName,
    /// The line is dropped.
    LabelName,
    /// The line is dropped: expfmt rejects a page with the label `__name__`, and `OpenMetrics` forbids
    /// every one that begins with two underscores.
    ReservedLabel,
    /// The line is dropped: after a label name stands no `="`.
    LabelValue,
    /// The line is dropped.
    LabelValueOpen,
    /// The line is dropped.
    LabelsOpen,
    /// The line is dropped: between two labels stands no comma.
    LabelComma,
    /// The line is dropped.
    LabelTwice,
    /// The line is dropped.
    NoValue,
    /// The line is dropped.
    Value,
    /// The line is dropped.
    Timestamp,
    /// The line is dropped.
    Trailing,
    /// The line is dropped: a kind that no format knows.
    Type,
    /// The line is dropped: expfmt rejects a page with such a histogram.
    BucketBound,
    /// The line is dropped: expfmt rejects a page with such a summary.
    Quantile,
    /// The line is dropped: the page itself speaks under such names.
    ReservedName,
    /// The sample is dropped: the series was there already, and the first is kept.
    Duplicate,
    /// The family has lost its type and keeps every sample.
    KindConflict,
    /// The family has lost its type and keeps every sample: the format has no word for it.
    ForeignKind,
    /// The sample is kept, its exemplar left out: the format has no place for it.
    Exemplar,
    /// Nothing is lost.
    BlankLine,
    /// Nothing is lost.
    Comment,
    /// Nothing is lost: what follows is read.
    EarlyEof,
    /// The metric, or where it cannot be told from its neighbours the family, is dropped.
    Message,
    /// The sample is kept without it.
    BadExemplar,
    /// Nothing else is lost.
    Unit,
    /// The metric is dropped.
    NativeHistogram,
    /// The family has lost its type and keeps every sample.
    Misfit,
    /// The metric is dropped: its family has another type here, and its lines would be too many bytes.
    TooLong,
    /// The family has lost its type and keeps every sample: another name would be another series.
    Nameless,
    /// The sample is dropped.
    MixedTimestamps,
    /// The line is dropped: a server would take the sample for one of the far future, and refuse it.
    TimestampUnit,
}

// === impl Problem ===

impl Problem {
    /// Keeps what a person may see of the line.
    #[must_use]
    pub fn new(line: usize, what: Defect, text: &[u8]) -> Self {
        Self { line, what, text: printable(text) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, what, text } = self;
        write!(f, "line {line}: {what}: `{text}`")
    }
}

/// A character has at most four bytes, so only a short beginning is looked at.
fn printable(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(&text[..text.len().min(4 * SHOWN)]);
    let mut shown = String::new();
    for c in start.chars().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if start.chars().nth(SHOWN).is_some() || text.len() > 4 * SHOWN {
        shown.push('…');
    }
    shown
}

// === impl Defect ===

impl Defect {
    /// Every kind, in the order of the declaration.
    pub const ALL: [Self; 35] = [
        Self::NotUtf8,
        Self::Nul,
        Self::MetricName,
        Self::FamilyName,
        Self::LabelName,
        Self::ReservedLabel,
        Self::LabelValue,
        Self::LabelValueOpen,
        Self::LabelsOpen,
        Self::LabelComma,
        Self::LabelTwice,
        Self::NoValue,
        Self::Value,
        Self::Timestamp,
        Self::Trailing,
        Self::Type,
        Self::BucketBound,
        Self::Quantile,
        Self::ReservedName,
        Self::Duplicate,
        Self::KindConflict,
        Self::ForeignKind,
        Self::Exemplar,
        Self::BlankLine,
        Self::Comment,
        Self::EarlyEof,
        Self::Message,
        Self::BadExemplar,
        Self::Unit,
        Self::NativeHistogram,
        Self::Misfit,
        Self::TooLong,
        Self::Nameless,
        Self::MixedTimestamps,
        Self::TimestampUnit,
    ];

    /// The kind as a metric label, and in words.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotUtf8 => ("not_utf8", "line is not UTF-8"),
            Self::Nul => ("nul", "line holds a NUL byte"),
            Self::MetricName => ("metric_name", "line begins with no metric name"),
            Self::FamilyName => ("family_name", "HELP or TYPE is for no metric name"),
            Self::LabelName => ("label_name", "label has no valid name"),
            Self::ReservedLabel => ("reserved_label", "label name is reserved"),
            Self::LabelValue => ("label_value", "label name is not followed by `=\"`"),
            Self::LabelValueOpen => ("label_value_open", "label value is not closed"),
            Self::LabelsOpen => ("labels_open", "label set is not closed"),
            Self::LabelComma => ("label_comma", "labels are not separated by a comma"),
            Self::LabelTwice => ("label_twice", "label name occurs twice"),
            Self::NoValue => ("no_value", "sample has no value"),
            Self::Value => ("value", "value is not a number"),
            Self::Timestamp => {
                ("timestamp", "timestamp is not a time since 1970 in the unit of its format")
            }
            Self::Trailing => ("trailing", "something follows the timestamp"),
            Self::Type => ("type", "type is not a known one"),
            Self::BucketBound => ("bucket_bound", "label `le` of a histogram is not a number"),
            Self::Quantile => ("quantile", "label `quantile` of a summary is not a number"),
            Self::ReservedName => ("reserved_name", "name is kept for what the page says itself"),
            Self::Duplicate => ("duplicate", "series is there already, the first is kept"),
            Self::KindConflict => {
                ("kind_conflict", "type differs from an earlier one, now untyped")
            }
            Self::ForeignKind => ("foreign_kind", "type has no word in the page's format"),
            Self::Exemplar => {
                ("exemplar", "exemplar is left out, the page's format has no place for it")
            }
            Self::BlankLine => ("blank_line", "line is blank, which OpenMetrics forbids"),
            Self::Comment => ("comment", "line is a comment, which OpenMetrics forbids"),
            Self::EarlyEof => ("early_eof", "`# EOF` is not the last line"),
            Self::Message => ("message", "message is malformed"),
            Self::BadExemplar => ("bad_exemplar", "exemplar is malformed and left out"),
            Self::Unit => ("unit", "unit is left out, the page's format has no place for it"),
            Self::NativeHistogram => (
                "native_histogram",
                "native histogram without classic buckets is left out, the page's format has no place for it",
            ),
            Self::Misfit => {
                ("misfit", "sample does not fit the type of its family, now without one")
            }
            Self::TooLong => ("too_long", "metric is left out, its lines would be too many bytes"),
            Self::Nameless => (
                "nameless",
                "type is left out, its samples do not end in `_total` or `_info` as OpenMetrics has it",
            ),
            Self::MixedTimestamps => (
                "mixed_timestamps",
                "sample is left out: in OpenMetrics the samples of a metric have one time, or none has one",
            ),
            Self::TimestampUnit => {
                ("timestamp_unit", "timestamp is behind the year 9999, so it is in another unit")
            }
        }
    }

    /// The kind as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.words().0
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], expected: &str) {
        assert_eq!(Problem::new(7, Defect::Value, text).to_string(), expected);
    }

    #[test]
    fn a_problem_shows_the_line_and_its_text() {
        check(b"m{a=\"\\n\"} x", "line 7: value is not a number: `m{a=\"\\n\"} x`");
    }

    #[test]
    fn hostile_text_is_escaped() {
        check(
            "\x1b[2J\u{202e}\r\n".as_bytes(),
            "line 7: value is not a number: `\\u{1b}[2J\\u{202e}\\r\\n`",
        );
    }

    #[test]
    fn long_text_is_shortened_between_characters() {
        let shown = "é".repeat(80);
        check("é".repeat(81).as_bytes(), &format!("line 7: value is not a number: `{shown}…`"));
        check("é".repeat(80).as_bytes(), &format!("line 7: value is not a number: `{shown}`"));
    }

    #[test]
    fn every_kind_has_a_label_of_its_own() {
        for (position, what) in Defect::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, position);
            assert!(Defect::ALL[..position].iter().all(|other| other.as_str() != what.as_str()));
        }
    }
}
