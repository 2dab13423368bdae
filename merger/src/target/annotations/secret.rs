//! `merger.io/secret` and `<container>.merger.io/secret`: with what the applications of a pod are asked, or
//! one of its containers.

use std::collections::BTreeMap;

use super::value::{self, Entry, Malformed};

/// What the names of all of them end with.
pub const SECRET: &str = "merger.io/secret";

/// The longest name of an object: `DNS1123SubdomainMaxLength` in
/// `staging/src/k8s.io/apimachinery/pkg/api/validation` of kubernetes/kubernetes.
const MAX_NAME: usize = 253;

/// A Secret as a pod names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The annotation, shortened and escaped.
    pub annotation: String,
    /// The container that it is said of, unless of all.
    pub container: Option<String>,
    /// The name.
    pub name: Result<String, Malformed>,
}

/// Those of the pod and of its `containers`, in byte order. One of a container that there is not is nobody's.
#[must_use]
pub fn named(annotations: &BTreeMap<String, String>, containers: &[&str]) -> Vec<Named> {
    let of = |(annotation, value): Entry<'_>| {
        let before = annotation.strip_suffix(SECRET)?;
        let container = match before.strip_suffix('.') {
            Some(container) => Some(containers.contains(&container).then(|| container.to_owned())?),
            None if before.is_empty() => None,
            // Another's domain may end like ours.
            None => return None,
        };
        let name =
            value::parse((annotation, value), name, "the name of a Secret in the pod's namespace");
        Some(Named { annotation: value::shown_name(annotation), container, name })
    };
    super::entries(annotations).filter_map(of).collect()
}

/// A DNS subdomain as `IsDNS1123Subdomain` takes it, so that it is one segment of a path.
fn name(text: &str) -> Option<String> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.into_iter().all(|end| end.is_some_and(|b| is_inner(*b)))
            && bytes.iter().all(|b| is_inner(*b) || *b == b'-')
    };
    (text.len() <= MAX_NAME && text.split('.').all(is_label)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for text in ["a", "metrics", "shop-metrics.v1", "0"] {
            assert_eq!(name(text).as_deref(), Some(text));
        }
        let long = "a".repeat(254);
        for text in
            ["", "..", "a..b", "-a", "a-", "a/b", "../a", "A", "a%2f", "a?b", "a\n", "ä", &long]
        {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_is_the_pods_or_a_containers_and_nobody_elses() {
        let annotations = [
            ("app.merger.io/secret", "one"),
            ("gone.merger.io/secret", "two"),
            ("merger.io/secret", "three"),
            ("notmerger.io/secret", "four"),
        ];
        let annotations =
            annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let found = named(&annotations, &["app"]);
        let found: Vec<_> =
            found.iter().map(|n| (n.container.as_deref(), n.name.as_deref().unwrap())).collect();
        assert_eq!(found, [(Some("app"), "one"), (None, "three")]);
    }
}
