//! Whose a uid is that a pod claims by an annotation.
//!
//! The API server knows a static pod by its mirror, which has a uid of its own and says in an annotation which
//! uid the kubelet gave to the pod itself, and so to its cgroup. Whoever may make pods may write the same on
//! one of his, so what two pods say is true of neither, and what is a pod's own is nobody else's. The kubelet
//! deletes a mirror of no static pod: `deleteOrphanedMirrorPods` in `pkg/kubelet/kubelet_pods.go` of
//! kubernetes/kubernetes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::target::PodRef;

/// Those of the uids that mirrors claim that may be another pod's: more than one claims them, or they are a
/// pod's `own`.
pub(super) fn contested<'a>(
    claimed: impl Iterator<Item = (&'a str, &'a PodRef)>,
    own: impl Iterator<Item = &'a str>,
) -> BTreeSet<String> {
    let mut by_uid: BTreeMap<&str, &PodRef> = BTreeMap::new();
    let mut contested = BTreeSet::new();
    for (uid, by) in claimed {
        // A manifest may be there twice.
        if *by_uid.entry(uid).or_insert(by) != by {
            contested.insert(uid.to_owned());
        }
    }
    if !by_uid.is_empty() {
        let own: HashSet<&str> = own.collect();
        contested
            .extend(by_uid.keys().filter(|uid| own.contains(*uid)).map(|uid| (*uid).to_owned()));
    }
    contested
}

/// Why such a pod is skipped, and what to do.
pub(super) fn why(uid: &str) -> String {
    format!(
        "it says by kubernetes.io/config.mirror that it is the mirror of the static pod of uid {uid}, and so \
         does another pod, or that uid is another's own: it cannot be both, so the mirrors are skipped until \
         the false one is deleted"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(claimed: &[(&str, &str)], own: &[&str], expected: &[&str]) {
        let pod = |name: &str| PodRef { namespace: "ns".to_owned(), name: name.to_owned() };
        let claimed: Vec<(&str, PodRef)> =
            claimed.iter().map(|(uid, by)| (*uid, pod(by))).collect();
        let by = claimed.iter().map(|(uid, by)| (*uid, by));
        let found = contested(by, own.iter().copied());
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_uid_is_whose_own_it_is_and_else_of_the_only_one_that_claims_it() {
        check(&[], &["u"], &[]);
        check(&[("a", "etcd"), ("b", "proxy")], &["u"], &[]);
        check(&[("a", "etcd"), ("b", "proxy"), ("a", "thief")], &[], &["a"]);
        check(&[("a", "etcd"), ("a", "etcd")], &[], &[]);
        check(&[("a", "thief"), ("b", "proxy")], &["u", "a"], &["a"]);
    }
}
