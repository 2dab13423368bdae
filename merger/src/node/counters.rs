//! What the privileged side has done, counted there and sent with each snapshot, or the reason why there
//! is none; and what became of the connections, which the agent counts itself.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::node::{ConnectError, agenda::Look};

/// Counts since the start. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Snapshots taken.
    pub snapshots: u64,
    /// Snapshots that failed.
    pub snapshots_failed: u64,
    /// Sweeps over the processes of the node.
    pub sweeps: u64,
    /// Times that a namespace was asked for its listeners.
    pub namespaces_read: u64,
    /// Times that a namespace was found marked dirty.
    pub changes: u64,
    /// Changes that the kernel part had no room for.
    pub changes_lost: u64,
    /// Holders of listeners left out of snapshots, because their pod had too many.
    pub rows_left_out: u64,
    /// Comparisons of what is believed with what the kernel says by another way.
    pub comparisons: u64,
    /// Listeners that differed in the last of them.
    pub listeners_differing: u64,
    /// Listeners that differed in any of them.
    pub listeners_differed: u64,
    /// Connections begun.
    pub connects: u64,
    /// Connections that the rule forbade.
    pub connects_refused: u64,
    /// Connections that failed otherwise.
    pub connects_failed: u64,
}

/// The same, while they are counted.
#[derive(Debug, Default)]
pub(crate) struct Atomics {
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) sweeps: AtomicU64,
    pub(crate) namespaces_read: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) changes_lost: AtomicU64,
    pub(crate) rows_left_out: AtomicU64,
    comparisons: AtomicU64,
    listeners_differing: AtomicU64,
    listeners_differed: AtomicU64,
    /// Who asks for the next snapshot waits accordingly.
    last: Mutex<Option<Look>>,
}

/// What became of the connections that the agent asked for: it counts them itself.
#[derive(Debug, Default)]
pub(crate) struct Connects {
    begun: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// Adds to one of them.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

// === impl Atomics ===

impl Atomics {
    pub(crate) fn load(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            snapshots: read(&self.snapshots),
            snapshots_failed: read(&self.snapshots_failed),
            sweeps: read(&self.sweeps),
            namespaces_read: read(&self.namespaces_read),
            changes: read(&self.changes),
            changes_lost: read(&self.changes_lost),
            rows_left_out: read(&self.rows_left_out),
            comparisons: read(&self.comparisons),
            listeners_differing: read(&self.listeners_differing),
            listeners_differed: read(&self.listeners_differed),
            ..Counters::default()
        }
    }

    /// The kernel part counts its own. Whether some were lost since the last call.
    #[cfg(feature = "ebpf")]
    pub(crate) fn lost(&self, in_all: u64) -> bool {
        let before = self.changes_lost.swap(in_all, Ordering::Relaxed);
        if in_all > before {
            tracing::warn!(n = in_all - before, "changes found no room in the kernel part");
        }
        in_all > before
    }

    /// One in which no namespace could be read is none.
    pub(crate) fn compared(&self, n_netns: u64, n_differing: u64) {
        if n_netns > 0 {
            add(&self.comparisons, 1);
            add(&self.listeners_differed, n_differing);
            self.listeners_differing.store(n_differing, Ordering::Relaxed);
        }
    }

    pub(crate) fn looked(&self, look: Look) {
        // A poisoned lock holds plain values, each as good as before.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }

    pub(crate) fn last(&self) -> Option<Look> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Connects ===

impl Connects {
    pub(crate) fn count<T>(&self, outcome: &Result<T, ConnectError>) {
        let counter = match outcome {
            Ok(_) => &self.begun,
            Err(ConnectError::Refused(_)) => &self.refused,
            Err(_) => &self.failed,
        };
        add(counter, 1);
    }

    /// These, with what the broker counts.
    pub(crate) fn beside(&self, counted: Counters) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Self { begun, refused, failed } = self;
        Counters {
            connects: read(begun),
            connects_refused: read(refused),
            connects_failed: read(failed),
            ..counted
        }
    }
}
