//! The pods of this node, in our own types, from one of several sources.
//!
//! A source publishes everything that it knows, again and again; a reader sees the newest. A source
//! that has not looked yet has published nothing, which is not the same as no pods.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use crate::target::{Pod, secret::Secrets};

mod claim;
pub mod cri;
pub mod kube;
pub mod manifests;
pub mod monitor;
mod object;

/// What a source of pods knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The pods, each name once, in the order of their names.
    pub pods: Vec<Arc<Pod>>,
    /// What could not be understood, and was skipped.
    pub problems: Vec<Problem>,
    /// The Secrets that pods name and may name, where the source has any.
    pub secrets: Arc<Secrets>,
    /// Whether it is not known yet what `PodMonitor`s ask of the pods, though it will be: until then a reader
    /// who knew goes on with that.
    pub awaits_monitors: bool,
}

/// Something that should have been a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it was found: a file, a sandbox of the runtime, or an object of the API server.
    pub place: String,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

/// The newest of what a source knows; `None` until its first look.
pub type Reader = watch::Receiver<Option<Arc<Known>>>;

/// Where a source puts what it knows.
pub(crate) type Sender = watch::Sender<Option<Arc<Known>>>;

/// Publishes what is known by now, if that is another thing: most of what changes in a pod is used by
/// nobody. What is skipped and was not before is told, and by `tell` the rest: what was known is given
/// first.
fn publish(sender: &Sender, new: Known, tell: impl FnOnce(Option<&Known>, &Known)) {
    sender.send_if_modified(|known| {
        let old = known.as_deref();
        if old == Some(&new) {
            return false;
        }
        let before = old.map(|known| known.problems.as_slice()).unwrap_or_default();
        for Problem { place, what } in new.problems.iter().filter(|one| !before.contains(one)) {
            warn!(place, "skipped: {what}");
        }
        tell(old, &new);
        *known = Some(Arc::new(new));
        true
    });
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what } = self;
        write!(f, "{place}: {what}")
    }
}
