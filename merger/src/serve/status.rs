//! `/api/pods`: what the agent believes, as JSON.

use serde::{Serialize, Serializer};

use crate::{
    inventory::{Target, Targets},
    serve::pages::Pages,
    target::{Source, State},
};

/// What the agent believes of a pod. A field without a value is left out.
#[derive(Debug, Serialize)]
pub(super) struct Belief {
    namespace: String,
    pod: String,
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// The cookie of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u64>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    unclear: Option<String>,
    sources: Vec<Origin>,
    /// What it asks for and does not get.
    notes: Vec<String>,
}

/// A source of a pod.
#[derive(Debug, Serialize)]
struct Origin {
    container: String,
    endpoint: String,
    /// `scheme`, `port` and `path` as one.
    url: String,
    /// `ready`, `pending` or `refused`.
    state: &'static str,
    /// What is dialled, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    /// Why it is a source.
    reason: String,
    /// The name of the Secret that it is asked with, in the pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// What the names of families begin with that alone are taken of its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<String>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// Why it was not on the newest page that somebody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// All the pods, in the order of their names. What is believed of one is made when it is written, so that a
/// node of pods that have much to be said of is not in memory in words as well.
pub(super) fn pods<'a>(targets: &'a Targets, pages: &'a Pages) -> impl Serialize + 'a {
    struct Pods<'a>(&'a Targets, &'a Pages);
    impl Serialize for Pods<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(targets, pages) = self;
            serializer.collect_seq(targets.values().map(|target| pod(target, pages)))
        }
    }
    Pods(targets, pages)
}

/// One pod.
pub(super) fn pod(target: &Target, pages: &Pages) -> Belief {
    let Target { pod, netns, plan } = target;
    Belief {
        namespace: pod.name.namespace.clone(),
        pod: pod.name.name.clone(),
        uid: pod.uid.clone(),
        node: pod.node.clone(),
        netns: netns.as_ref().ok().map(|cookie| cookie.0),
        unclear: netns.as_ref().err().map(ToString::to_string),
        sources: plan
            .sources
            .iter()
            .map(|source| origin(source, pages.failure(&pod.name, source)))
            .collect(),
        notes: plan.notes.iter().map(ToString::to_string).collect(),
    }
}

fn origin(source: &Source, failure: Option<String>) -> Origin {
    let Source { container, endpoint, port, scheme, path, reason, state, owner: _, secret, only } =
        source;
    let (state, addresses, refusal) = match state {
        State::Ready(addresses) => {
            ("ready", addresses.iter().map(ToString::to_string).collect(), None)
        }
        State::Pending => ("pending", Vec::new(), None),
        State::Refused(refusal) => ("refused", Vec::new(), Some(refusal.to_string())),
    };
    Origin {
        container: container.clone(),
        endpoint: endpoint.clone(),
        url: format!("{}://:{port}{path}", scheme.as_str()),
        state,
        addresses,
        reason: reason.to_string(),
        secret: secret.as_ref().map(|secret| secret.name.clone()),
        only: only.clone(),
        refusal,
        failure,
    }
}
