//! The pods of this node, in our own types, from one of several sources.
//!
//! A source publishes everything that it knows, again and again; a reader sees the newest. A source
//! that has not looked yet has published nothing, which is not the same as no pods.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::target::Pod;

pub mod cri;
pub mod kube;
pub mod manifests;
mod object;

/// What a source of pods knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The pods, each name once, in the order of their names.
    pub pods: Vec<Arc<Pod>>,
    /// What could not be understood, and was skipped.
    pub problems: Vec<Problem>,
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

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what } = self;
        write!(f, "{place}: {what}")
    }
}
