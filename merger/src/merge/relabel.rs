//! The labels of the source, and who wins a clash.
//!
//! As Prometheus does it for the labels of a target without `honor_labels`
//! (`mutateSampleLabels` and `resolveConflictingExposedLabels` in prometheus/scrape/scrape.go):
//! the source's label stands, and what the pod sent under that name is called `exported_<name>`,
//! with the prefix repeated until the name is free. A label with an empty value counts as absent,
//! on both sides.

use std::borrow::Cow;

use crate::exposition::{Label, Labels, labels};

const EXPORTED: &[u8] = b"exported_";

/// The labels of one source.
#[derive(Debug)]
pub(super) struct Relabel {
    /// As they are put into each line: strict, without braces.
    bytes: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// Whether a source may have a label of this name: a label name of which no reader of a page
/// thinks anything of its own.
#[must_use]
pub fn is_source_label(name: &str) -> bool {
    labels::is_name(name.as_bytes()) && !matches!(name, "le" | "quantile" | "__name__")
}

// === impl Relabel ===

impl Relabel {
    pub(super) fn new(labels: &[(&str, &str)]) -> Self {
        let (mut bytes, mut names) = (Vec::new(), Vec::new());
        for (name, value) in labels {
            // The name is the source's even where it has no value: what the pod sends under it
            // could name another source.
            names.push(name.as_bytes().to_vec());
            if value.is_empty() {
                continue;
            }
            if !bytes.is_empty() {
                bytes.push(b',');
            }
            labels::push_plain(&mut bytes, name, value);
        }
        Self { bytes, names }
    }

    /// The labels as they are put into a line.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn walk(&self) -> labels::Walk<'_> {
        Labels::from_strict(&self.bytes).walk()
    }

    /// Whether the source has a label of this name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// What remains of the pod's labels beside those of the source, under their new names.
    pub(super) fn resolve<'a>(&self, labels: &[Label<'a>]) -> Vec<(Cow<'a, [u8]>, &'a [u8])> {
        let (mut clashing, kept): (Vec<&Label<'a>>, Vec<_>) =
            labels.iter().partition(|label| self.has(label.name));
        clashing.retain(|label| !label.value.is_empty());
        clashing.sort_by_key(|label| label.name.len());

        let mut resolved: Vec<(Cow<'a, [u8]>, &'a [u8])> =
            kept.into_iter().map(|label| (Cow::Borrowed(label.name), label.value)).collect();
        for label in clashing {
            let mut name = label.name.to_vec();
            let is_free = |name: &[u8], resolved: &[(Cow<'a, [u8]>, &[u8])]| {
                let is_it = |(n, value): &(Cow<'a, [u8]>, &[u8])| **n == *name && !value.is_empty();
                !self.has(name) && !resolved.iter().any(is_it)
            };
            while !is_free(&name, &resolved) {
                name.splice(..0, EXPORTED.iter().copied());
            }
            // What had this name and no value was no label.
            resolved.retain(|(n, _)| **n != *name);
            resolved.push((Cow::Owned(name), label.value));
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
        let labels: Vec<_> = Labels::from_strict(pod.as_bytes()).walk().collect();
        for (name, value) in Relabel::new(source).resolve(&labels) {
            resolved.push(format!(
                "{}=\"{}\"",
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(value)
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
        for name in ["", "1a", "a-b", "a:b", "le", "quantile", "__name__", "é"] {
            assert!(!is_source_label(name), "{name}");
        }
    }
}
