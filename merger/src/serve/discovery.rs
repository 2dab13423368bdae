//! `/sd`: the pods as targets of Prometheus' HTTP service discovery.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/http_sd/>. All targets have one address, so
//! the labels `namespace` and `pod` are given outright and not only as meta labels: without them the
//! series of two pods would be one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    identity::Unclear,
    inventory::{Target, Targets},
    target::plan::Note,
};

/// One group of targets.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// One target for each pod that is to be scraped, at `authority`.
pub(super) fn targets(targets: &Targets, authority: &str) -> Vec<Group> {
    let listed = targets.values().filter(|target| is_listed(target));
    listed.map(|target| group(target, authority)).collect()
}

/// A pod whose namespace is in doubt is listed, so that Prometheus shows it down. One that has not
/// begun, or that is never scraped, is not. The page of all pods has the same.
pub(super) fn is_listed(target: &Target) -> bool {
    let hopeless = matches!(target.netns, Err(Unclear::NoProcess | Unclear::HostNetwork));
    !target.plan.sources.is_empty() && !hopeless
}

fn group(target: &Target, authority: &str) -> Group {
    let pod = &target.pod;
    let (namespace, name) = (&pod.name.namespace, &pod.name.name);
    let mut labels = BTreeMap::from([
        ("__metrics_path__", format!("/pods/{namespace}/{name}/metrics")),
        ("__meta_merger_namespace", namespace.clone()),
        ("__meta_merger_pod", name.clone()),
        ("__meta_merger_pod_uid", pod.uid.clone()),
        ("namespace", namespace.clone()),
        ("pod", name.clone()),
    ]);
    if let Some(node) = &pod.node {
        labels.insert("__meta_merger_node", node.clone());
        labels.insert("node", node.clone());
    }
    if target.plan.notes.contains(&Note::Slow) {
        labels.insert("__meta_merger_scrape_slow", "true".to_owned());
    }
    Group { targets: [authority.to_owned()], labels }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        identity::Cookie,
        target::{Pod, PodRef, plan::Plan},
    };

    #[test]
    fn a_pod_for_the_slow_job_can_be_told_from_others() {
        let labels = |notes| {
            let name = PodRef { namespace: "ns".to_owned(), name: "pod".to_owned() };
            let (annotations, containers) = Default::default();
            let pod = Pod {
                name,
                uid: "uid".to_owned(),
                node: None,
                annotations,
                containers,
                monitored: crate::target::monitor::Monitored::default(),
                ended: false,
            };
            let plan = Plan { notes, ..Plan::default() };
            group(&Target { pod: Arc::new(pod), netns: Ok(Cookie(7)), plan }, "node:1").labels
        };
        let slow = labels(vec![Note::Slow]);
        assert_eq!(slow.get("__meta_merger_scrape_slow").map(String::as_str), Some("true"));
        assert!(!labels(vec![]).contains_key("__meta_merger_scrape_slow"));
    }
}
