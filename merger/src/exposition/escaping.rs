//! Metric and label names that are no identifiers, for formats and readers that know none but those.
//!
//! Source of the schemes: `EscapeName`, `EscapeMetricFamily` and `ToEscapingScheme` in
//! prometheus/common, `model/metric.go`. As there, a name that is an identifier stays as it is in
//! every scheme: it would be another series. What is not as there: a colon in a label name is
//! escaped, too, since no reader of text 0.0.4 takes it.
//!
//! It is the name of a family that is escaped. A suffix like `_bucket` is put behind the escaped
//! name: inside it, two schemes would write it as `__bucket`, which belongs to no family.

use std::{borrow::Cow, fmt::Write as _};

/// What becomes of a name that is no identifier; the value of the parameter `escaping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// It is written in quotes.
    AllowUtf8,
    /// Each character that may not stand in a name becomes `_`.
    #[default]
    Underscores,
    /// A dot becomes `_dot_`, `_` becomes `__`, another character `__`.
    Dots,
    /// `U__`, and each character that may not stand in a name as its code in hexadecimal.
    Values,
}

// === impl Escaping ===

impl Escaping {
    /// Every scheme, for tables and tests.
    pub const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The word for it in Accept and Content-Type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The scheme of a word. Case matters, as in `ToEscapingScheme`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == word)
    }

    /// A metric name in this scheme; `name` is plain UTF-8.
    #[must_use]
    pub fn metric_name(self, name: &str) -> Cow<'_, str> {
        self.escape(name, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    }

    /// A label name in this scheme; `name` is plain UTF-8.
    #[must_use]
    pub fn label_name(self, name: &str) -> Cow<'_, str> {
        self.escape(name, |c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// `may_stand` tells the characters of an identifier, of which a digit may not be the first.
    fn escape(self, name: &str, may_stand: impl Fn(char) -> bool) -> Cow<'_, str> {
        let is_kept = |at: usize, c: char| may_stand(c) && !(at == 0 && c.is_ascii_digit());
        if self == Self::AllowUtf8 || name.char_indices().all(|(at, c)| is_kept(at, c)) {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(2 * name.len());
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            match self {
                Self::Dots | Self::Values if c == '_' => escaped.push_str("__"),
                Self::Dots if c == '.' => escaped.push_str("_dot_"),
                _ if is_kept(at, c) => escaped.push(c),
                Self::Dots => escaped.push_str("__"),
                // Writing to a string cannot fail.
                Self::Values => _ = write!(escaped, "_{:x}_", u32::from(c)),
                Self::Underscores | Self::AllowUtf8 => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metric name in the schemes that change it: underscores, dots, values.
    #[track_caller]
    fn check(name: &str, expected: [&str; 3]) {
        let schemes = [Escaping::Underscores, Escaping::Dots, Escaping::Values];
        assert_eq!(schemes.map(|scheme| scheme.metric_name(name)), expected);
        assert_eq!(Escaping::AllowUtf8.metric_name(name), name);
    }

    /// The same of a label name.
    #[track_caller]
    fn check_label(name: &str, expected: [&str; 3]) {
        let schemes = [Escaping::Underscores, Escaping::Dots, Escaping::Values];
        assert_eq!(schemes.map(|scheme| scheme.label_name(name)), expected);
        assert_eq!(Escaping::AllowUtf8.label_name(name), name);
    }

    /// The table of `TestEscapeName` in prometheus/common, `model/metric_test.go`.
    #[test]
    fn names_become_what_prometheus_makes_of_them() {
        check("", ["", "", ""]);
        check(
            "mysystem.prod.west.cpu.load",
            [
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
            ],
        );
        check(
            "mysystem.prod.west.cpu.load_total",
            [
                "mysystem_prod_west_cpu_load_total",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
            ],
        );
        check(
            "http.status:sum",
            ["http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"],
        );
        check("label with 😱", ["label_with__", "label__with____", "U__label_20_with_20__1f631_"]);
        check("花火", ["__", "____", "U___82b1__706b_"]);
        check(
            "label with \u{100}",
            ["label_with__", "label__with____", "U__label_20_with_20__100_"],
        );
    }

    #[test]
    fn an_identifier_stays_in_every_scheme() {
        check("no:escaping_required", ["no:escaping_required"; 3]);
        check_label("no_escaping_required1", ["no_escaping_required1"; 3]);
    }

    #[test]
    fn a_digit_is_escaped_where_it_is_the_first() {
        check("1a1", ["_a1", "__a1", "U___31_a1"]);
        check_label("1a1", ["_a1", "__a1", "U___31_a1"]);
    }

    #[test]
    fn a_colon_stands_in_metric_names_alone() {
        check_label("a:b", ["a_b", "a__b", "U__a_3a_b"]);
        check_label(
            "http.status:x",
            ["http_status_x", "http_dot_status__x", "U__http_2e_status_3a_x"],
        );
    }

    #[test]
    fn a_scheme_is_known_by_its_word() {
        for scheme in Escaping::ALL {
            assert_eq!(Escaping::from_word(scheme.as_str()), Some(scheme));
        }
        for word in ["", "Dots", "utf-8", "none"] {
            assert_eq!(Escaping::from_word(word), None, "{word}");
        }
    }
}
