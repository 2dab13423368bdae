//! Of a body only the lines of families whose names begin alike.
//!
//! Other lines are passed over without being read: they have no limits and no problems, whatever is
//! wrong with them, and a comment or a blank line is nobody's. The reader is shown the body up to where
//! the next lines of that kind end, and so knows nothing of it.

use memchr::memchr;

use crate::exposition::{
    Kind,
    family::{self, Type},
    labels::{self, closing_quote, open_quote, skip_blanks},
    openmetrics,
    text::{Dialect, metadata, split_word},
};

/// Lines of a body that are looked for.
#[derive(Debug)]
pub(super) struct Only<'a> {
    body: &'a [u8],
    dialect: Dialect,
    /// What the name of a family begins with: all or a part of an identifier.
    prefix: &'a [u8],
    /// The kind of the family that lacks but the last underscore of the prefix, once that was said. The
    /// names of its samples begin as those that are looked for, and it is none of them.
    stem: Option<Kind>,
    /// The line that ends the page was seen, and nothing behind it, if the dialect has such a line.
    pub(super) is_whole: bool,
}

/// Lines that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// How many lines were passed over.
    pub(super) n_passed: usize,
    /// The offset of the first.
    pub(super) at: usize,
    /// The body up to the end of the last.
    pub(super) body: &'a [u8],
}

// === impl Only ===

impl<'a> Only<'a> {
    /// Those of `body` that are about families whose names begin with `prefix`.
    pub(super) fn new(body: &'a [u8], dialect: Dialect, prefix: &'a [u8]) -> Self {
        Self { body, dialect, prefix, stem: None, is_whole: dialect == Dialect::Text }
    }

    /// The next ones, of those that begin at `from` or behind it.
    pub(super) fn next(&mut self, from: usize) -> Option<Found<'a>> {
        let (mut at, mut n_passed) = (from, 0);
        let first = loop {
            let end = self.line_end(at)?;
            if self.takes(at, end) {
                break at;
            }
            (at, n_passed) = (end, n_passed + 1);
        };
        while let Some(end) = self.line_end(at).filter(|end| self.takes(at, *end)) {
            at = end;
        }
        Some(Found { n_passed, at: first, body: &self.body[..at] })
    }

    /// Behind the line that begins at `at`, if one does.
    fn line_end(&self, at: usize) -> Option<usize> {
        let rest = self.body.get(at..).filter(|rest| !rest.is_empty())?;
        Some(memchr(b'\n', rest).map_or(self.body.len(), |len| at + len + 1))
    }

    /// Whether a line is about such a family. One that cannot be read is, if it begins as one that is.
    fn takes(&mut self, at: usize, end: usize) -> bool {
        match skip_blanks(&self.body[at..end]) {
            [b'#', comment @ ..] => self.takes_comment(skip_blanks(comment), end),
            [b'{', set @ ..] => quoted_name(set).is_some_and(|name| self.takes_name(name)),
            sample => {
                sample.starts_with(self.prefix)
                    && self.takes_name(&sample[..labels::metric_name_len(sample, 0)])
            }
        }
    }

    fn takes_comment(&mut self, comment: &[u8], end: usize) -> bool {
        let (word, rest) = split_word(comment.trim_ascii_end());
        if !matches!(word, b"HELP" | b"TYPE" | b"UNIT") {
            if self.dialect == Dialect::OpenMetrics && word == b"EOF" && rest.is_empty() {
                self.is_whole = self.body[end..].trim_ascii_start().is_empty();
            }
            return false;
        }
        if word == b"TYPE"
            && let Some((name, kind)) = metadata::family(rest)
            && self.prefix.strip_suffix(b"_") == Some(name)
        {
            self.stem = Kind::from_word(kind);
        }
        rest.strip_prefix(b"\"").unwrap_or(rest).starts_with(self.prefix)
    }

    /// Whether samples of this name are of such a family.
    fn takes_name(&self, name: &[u8]) -> bool {
        let is_of_stem = |kind| {
            let stem = self.prefix.strip_suffix(b"_").unwrap_or_default();
            let type_of = |base: &[u8]| if base == stem { Type::Of(kind) } else { Type::Absent };
            let is_claimed = |suffix: &&str| name.strip_prefix(stem) == Some(suffix.as_bytes());
            family::owner(name, type_of).is_some()
                || self.dialect == Dialect::OpenMetrics
                    && openmetrics::claims(Some(kind)).iter().any(is_claimed)
        };
        name.starts_with(self.prefix) && !self.stem.is_some_and(is_of_stem)
    }
}

/// The metric name among the labels of a set, of which the brace was read: the string in quotes that no
/// value follows.
fn quoted_name(mut set: &[u8]) -> Option<&[u8]> {
    loop {
        while let [b' ' | b'\t' | b',', rest @ ..] = set {
            set = rest;
        }
        let end = match set {
            [b'"', ..] => closing_quote(set, 1)?.0 + 1,
            _ => labels::name_len(set),
        };
        let Some(value) = open_quote(&set[end..]) else {
            return set[..end].strip_prefix(b"\"")?.strip_suffix(b"\"");
        };
        let (end, _) = closing_quote(value, 0)?;
        set = &value[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `body` that are found, with their numbers, and whether the page is whole.
    fn found(body: &str, dialect: Dialect) -> (Vec<(usize, &str)>, bool) {
        let mut only = Only::new(body.as_bytes(), dialect, b"own_");
        let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
        while let Some(run) = only.next(at) {
            line += run.n_passed;
            for text in str::from_utf8(&run.body[run.at..]).unwrap().split_inclusive('\n') {
                found.push((line, text.trim_end_matches('\n')));
                line += 1;
            }
            at = run.body.len();
        }
        (found, only.is_whole)
    }

    /// Of each line, whether it is one that is looked for.
    #[track_caller]
    fn check(dialect: Dialect, lines: &[(&str, bool)]) {
        let body: String = lines.iter().flat_map(|(line, _)| [*line, "\n"]).collect();
        let numbered = (1..).zip(lines).filter(|(_, (_, is_own))| *is_own);
        let expected: Vec<_> = numbered.map(|(n, (line, _))| (n, *line)).collect();
        assert_eq!(found(&body, dialect).0, expected);
        // The last line need not end.
        assert_eq!(found(body.trim_end(), dialect).0, expected);
    }

    #[test]
    fn a_line_is_of_the_family_that_it_names() {
        check(
            Dialect::Text,
            &[
                ("# HELP own_a What it is.", true),
                ("#  TYPE\town_a counter", true),
                ("own_a{le=\"1\"} 1", true),
                ("", false),
                ("# own_a is a comment", false),
                ("own_ 1", true),
                ("  own_a 1", true),
                ("own 1", false),
                ("other{own_=\"own_a\"} 1", false),
                ("# HELP other own_a", false),
                ("# HELP \"own_a.b\" x", true),
                ("{\"own_a.b\"} 1", true),
                ("{ a=\"\\\",\", \"b.c\"=\"}\" , \"own_a.b\" } 1", true),
                ("{a=\"own_a\"} 1", false),
                ("{\"own_a\"=\"own_a\"} 1", false),
                ("{\"other\",a=\"b\"} 1", false),
                ("{", false),
                ("{\"", false),
                ("{\"own_a", false),
                ("own_a is no sample", true),
                ("own_a\r", true),
                ("owned 1\r", false),
            ],
        );
    }

    #[test]
    fn a_family_that_lacks_the_underscore_is_none_whatever_its_samples_are_called() {
        let lines = |kind| {
            [
                ("own_count 1", true),
                (kind, false),
                ("own_count 1", false),
                ("own_sum{a=\"b\"} 1", false),
                ("own_bucket{le=\"1\"} 1", false),
                ("own_total 1", true),
                ("own_counted 1", true),
            ]
        };
        check(Dialect::Text, &lines("# TYPE own histogram"));
        check(Dialect::OpenMetrics, &lines("# TYPE own histogram"));
        let counter = [("# TYPE own counter", false), ("own_total 1", true)];
        check(Dialect::Text, &counter);
        check(Dialect::OpenMetrics, &[counter[0], ("own_total 1", false), ("own_sum 1", true)]);
        check(Dialect::Text, &[("# TYPE own gauge", false), ("own_count 1", true)]);
    }

    #[test]
    fn a_page_is_whole_by_its_last_line_whosever_it_is() {
        for (body, is_whole) in [
            ("own_a 1\n# EOF\n", true),
            ("own_a 1\nother 1\n# EOF\n\n", true),
            ("# EOF\nown_a 1\n", false),
            ("# EOF\nown_a 1\n# EOF", true),
            ("own_a 1\n", false),
            ("", false),
        ] {
            let n_own = body.matches("own_a").count();
            let (lines, found) = found(body, Dialect::OpenMetrics);
            assert_eq!((lines.len(), found), (n_own, is_whole), "{body}");
        }
        assert!(found("other 1\n", Dialect::Text).1);
    }
}
