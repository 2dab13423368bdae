//! Which sources were not on the newest page of their pod, and why.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::{info, warn};

use super::Failure;
use crate::target::{PodRef, Source};

/// The failures of each pod's newest page. A pod without one has no entry.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<BTreeMap<PodRef, Vec<Failure>>>);

// === impl Failing ===

impl Failing {
    /// Takes in the failures of one more page, and logs where a source went down or came up: a
    /// line for each change, not for each page.
    pub(super) fn replace(&self, pod: &PodRef, failures: &[Failure]) {
        let before = match failures {
            [] => self.lock().remove(pod),
            _ => self.lock().insert(pod.clone(), failures.to_vec()),
        };
        let before = before.unwrap_or_default();
        let among = |failure: &Failure, others: &[Failure]| {
            others.iter().any(|other| other.source() == failure.source())
        };
        for failure in failures.iter().filter(|failure| !among(failure, &before)) {
            let Failure { container, endpoint, reason, .. } = failure;
            warn!(%pod, container, endpoint, reason, "source is down");
        }
        for Failure { container, endpoint, .. } in before.iter().filter(|f| !among(f, failures)) {
            info!(%pod, container, endpoint, "source is up again");
        }
    }

    /// Why `source` was not on the newest page of `pod`; nothing where it was.
    pub(super) fn reason(&self, pod: &PodRef, source: &Source) -> Option<String> {
        let failing = self.lock();
        let mut failures = failing.get(pod)?.iter();
        let wanted = (&*source.container, &*source.endpoint);
        failures.find(|failure| failure.source() == wanted).map(|failure| failure.reason.clone())
    }

    /// Forgets the pods that are gone.
    pub(super) fn retain(&self, is_here: impl Fn(&PodRef) -> bool) {
        self.lock().retain(|pod, _| is_here(pod));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodRef, Vec<Failure>>> {
        // Each change is one insertion or removal, so a poisoned map is as good as before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
