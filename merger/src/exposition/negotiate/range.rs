//! What a reader accepts: the media ranges of an Accept header, each with its rank. Which of them is
//! served is left to the caller.

use super::media::{OPENMETRICS, Words};
use crate::exposition::{Escaping, Format, Output};

/// One range, and how much the reader wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    words: Words<'a>,
    /// Above 0, at most 1.
    q: f64,
}

/// The ranges of a header, but those that are malformed or refused by `q=0`.
pub(super) fn all(accept: &str) -> impl Iterator<Item = Range<'_>> {
    accept.split(',').filter_map(Range::parse)
}

// === impl Range ===

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let words = Words::parse(text)?;
        let q = words.get("q").map_or(Some(1.0), |q| q.parse().ok())?;
        (q > 0.0 && q <= 1.0).then_some(Self { words, q })
    }

    /// Whether it goes before one that was named earlier.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        self.q > other.q || self.q >= other.q && self.specificity() > other.specificity()
    }

    /// What a reader of this range gets; nothing where no format is in it.
    pub(super) fn output(&self) -> Option<Output> {
        let format = self.format()?;
        let escaping = self.words.get("escaping").and_then(Escaping::from_word);
        let escaping = match escaping.unwrap_or_default() {
            // Text 0.0.4 has no place for such names.
            Escaping::AllowUtf8 if format == Format::Text => Escaping::Underscores,
            escaping => escaping,
        };
        Some(Output { format, escaping })
    }

    fn format(&self) -> Option<Format> {
        let Self { words, q: _ } = self;
        let version = words.get("version");
        if words.is("*", "*") || words.is("text", "*") {
            return Some(Format::Text);
        }
        if words.is("text", "plain") {
            return match version {
                None | Some("0.0.4") => Some(Format::Text),
                Some("1.0.0") => Some(Format::Text1),
                Some(_) => None,
            };
        }
        if words.is("application", OPENMETRICS) {
            return match version {
                None | Some("0.0.1") => Some(Format::OpenMetrics0),
                Some("1.0.0") => Some(Format::OpenMetrics),
                Some(_) => None,
            };
        }
        if words.is("application", "*") {
            return Some(Format::OpenMetrics);
        }
        words.is_protobuf(false).then_some(Format::Protobuf)
    }

    fn specificity(&self) -> u8 {
        u8::from(self.words.main != "*") + u8::from(self.words.sub != "*")
    }
}
