//! The labels of the source, and who wins a clash.
//!
//! As Prometheus does it for the labels of a target without `honor_labels`
//! (`mutateSampleLabels` and `resolveConflictingExposedLabels` in prometheus/scrape/scrape.go):
//! the source's label stands, and what the pod sent under that name is called `exported_<name>`,
//! with the prefix repeated until the name is free. A label with an empty value counts as absent,
//! on both sides.

use std::borrow::Cow;

use crate::{
    exposition::{
        Kind, Labels, labels, openmetrics,
        protobuf::{self, Metric},
    },
    merge::copy::Part,
};

const EXPORTED: &[u8] = b"exported_";

/// How many bytes a label has around its name and its value, in text or as fields.
const AROUND: usize = 8;

/// A label of a pod, strictly escaped, maybe under another name than the pod's.
pub(super) type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The labels of one source.
#[derive(Debug)]
pub(super) struct Relabel {
    /// Strict labels in braces, or nothing.
    braced: Part,
    /// The same behind a comma and without braces, as they are put into a line that has labels.
    joined: Part,
    /// The same as fields of a metric.
    fields: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// Whether a source may have a label of this name: a label name of which no reader of a page
/// thinks anything of its own.
#[must_use]
pub fn is_source_label(name: &str) -> bool {
    let is_free = !matches!(name, "le" | "quantile") && openmetrics::takes_label(name.as_bytes());
    labels::is_name(name.as_bytes()) && is_free
}

// === impl Relabel ===

impl Relabel {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let len = labels.iter().map(|(name, value)| name.len() + value.len());
        // Enough for each spelling where little is escaped.
        let len = len.sum::<usize>() + AROUND * labels.len();
        let (mut joined, mut fields) = (Vec::with_capacity(len), Vec::with_capacity(len));
        let mut names = Vec::with_capacity(labels.len());
        for (name, value) in labels {
            // The name is the source's even where it has no value: what the pod sends under it
            // could name another source.
            names.push(name.as_bytes().to_vec());
            if value.is_empty() {
                continue;
            }
            joined.push(b',');
            labels::push_plain(&mut joined, name, value);
            protobuf::push_label(&mut fields, name.as_bytes(), value.as_bytes());
        }
        let braced = match &joined[..] {
            [] => Vec::new(),
            [_, labels @ ..] => {
                let mut braced = Vec::with_capacity(len);
                braced.push(b'{');
                braced.extend_from_slice(labels);
                braced.push(b'}');
                braced
            }
        };
        Self { braced: Part::new(braced), joined: Part::new(joined), fields, names }
    }

    /// The labels without braces.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.joined.as_bytes().get(1..).unwrap_or_default()
    }

    /// The labels as fields of a metric.
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// The labels, plain.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Metric { family: b"", kind: Kind::Untyped, bytes: &self.fields }.labels()
    }

    /// The labels as they are put into a line.
    #[inline]
    pub(super) fn part(&self, has_labels: bool) -> &Part {
        if has_labels { &self.joined } else { &self.braced }
    }

    pub(super) fn walk(&self) -> labels::Walk<'_> {
        Labels::from_strict(self.as_bytes()).walk()
    }

    /// Whether the source has a label of this name.
    #[inline]
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// What remains of the pod's labels beside those of the source, under their new names.
    pub(super) fn resolve<'a>(&self, labels: Vec<Pair<'a>>) -> Vec<Pair<'a>> {
        let (mut clashing, mut resolved): (Vec<_>, Vec<_>) =
            labels.into_iter().partition(|(name, _)| self.has(name));
        clashing.retain(|(_, value)| !value.is_empty());
        clashing.sort_by_key(|(name, _)| name.len());

        for (name, value) in clashing {
            let mut name = name.into_owned();
            let is_free = |name: &[u8], resolved: &[Pair<'a>]| {
                let is_it = |(n, value): &Pair<'a>| **n == *name && !value.is_empty();
                !self.has(name) && !resolved.iter().any(is_it)
            };
            while !is_free(&name, &resolved) {
                name.splice(..0, EXPORTED.iter().copied());
            }
            // What had this name and no value was no label.
            resolved.retain(|(n, _)| **n != *name);
            resolved.push((Cow::Owned(name), value));
        }
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &[(&str, &str)], pod: &str, expected: &str) {
        let mut resolved = Vec::new();
        let labels = Labels::from_strict(pod.as_bytes()).walk();
        let labels = labels.map(|l| (Cow::Borrowed(l.name), Cow::Borrowed(l.value))).collect();
        for (name, value) in Relabel::new(source).resolve(labels) {
            resolved.push(format!(
                "{}=\"{}\"",
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(&value)
            ));
        }
        assert_eq!(resolved.join(","), expected);
    }

    #[test]
    fn the_pods_label_is_exported() {
        check(&[("c", "1")], r#"a="x",c="\"y""#, r#"a="x",exported_c="\"y""#);
    }

    #[test]
    fn the_prefix_is_repeated_until_the_name_is_free() {
        check(
            &[("c", "1")],
            r#"c="x",exported_c="y""#,
            r#"exported_c="y",exported_exported_c="x""#,
        );
        check(&[("c", "1"), ("exported_c", "2")], r#"c="x""#, r#"exported_exported_c="x""#);
        check(
            &[("exported_c", "2"), ("c", "1")],
            r#"exported_c="y",c="x""#,
            r#"exported_exported_c="x",exported_exported_exported_c="y""#,
        );
    }

    #[test]
    fn a_label_with_an_empty_value_is_absent() {
        check(&[("c", "1")], r#"a="x",c="""#, r#"a="x""#);
        check(&[("c", "1")], r#"c="x",exported_c="""#, r#"exported_c="x""#);
        check(&[("c", "")], r#"c="x""#, r#"exported_c="x""#);
    }

    #[test]
    fn a_source_may_not_have_a_label_that_means_something() {
        assert!(is_source_label("container") && is_source_label("_a1"));
        for name in ["", "1a", "a-b", "a:b", "le", "quantile", "__name__", "__a", "é"] {
            assert!(!is_source_label(name), "{name}");
        }
    }
}
