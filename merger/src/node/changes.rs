//! When to look at the node again.
//!
//! On rung 1 the kernel part says so. Its event comes before the socket's state is stored, so the
//! look waits [`SETTLE`], and is repeated after [`SECOND_LOOK`] for a socket that took longer.
//! Marks are taken away just before the look, so what happens during it calls for the next one.
//!
//! A pod that loops over listen and close calls without end. The pause between looks is therefore
//! [`SHARE`] times what the last one took, and the node spends at most a fifth of one core on it.
//! Sweeps over `/proc` are paced apart, with a fifth of their own: a look that has to wait for one
//! is repeated when it may be.

use std::{future, sync::Arc};

use tokio::time::{Duration, Instant, sleep_until};

use crate::node::counters::{self, Atomics, Look};

/// From an event to the look.
const SETTLE: Duration = Duration::from_millis(2);

/// From an event to the look that is taken once more.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// How many times the duration of the last look passes before the next.
const SHARE: u32 = 4;

/// A look without an event: it heals what no event tells, such as a listener that changed hands.
#[cfg(feature = "ebpf")]
const RESYNC: Duration = Duration::from_secs(30);

/// The time between looks where nothing says that something changed.
const SWEEP: Duration = Duration::from_secs(10);

/// Says when to look again.
pub struct Changes {
    hints: Hints,
    counters: Arc<Atomics>,
    /// When the next look is due without an event.
    due: Option<Instant>,
}

/// What says that something changed.
pub(crate) enum Hints {
    /// The kernel part.
    #[cfg(feature = "ebpf")]
    Kernel(Box<crate::listeners::ebpf::Changes>),
    /// Nothing.
    Clock,
}

// === impl Changes ===

impl Changes {
    pub(crate) fn new(hints: Hints, counters: Arc<Atomics>) -> Self {
        Self { hints, counters, due: None }
    }

    /// Returns when something may have changed since the last call returned; then take a snapshot.
    ///
    /// It may return though nothing changed, and once for many changes. It does not say what
    /// changed, nor that a listener is still there. Cancel safe: a change is not forgotten.
    pub async fn changed(&mut self) {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.hints.interval());
        let sweep = self.counters.last().and_then(|look| look.sweep).unwrap_or(due);
        let hinted = tokio::select! {
            () = self.hints.hinted() => true,
            () = sleep_until(due.min(sweep)) => false,
        };
        let settled = Instant::now() + if hinted { SETTLE } else { Duration::ZERO };
        sleep_until(settled.max(self.rested())).await;
        counters::add(&self.counters.changes, self.hints.clear());
        let now = Instant::now();
        if hinted {
            self.due = Some(now + SECOND_LOOK);
        } else if due <= now {
            self.due = Some(now + self.hints.interval());
        }
    }

    /// When the pause after the last look ends.
    fn rested(&self) -> Instant {
        match self.counters.last() {
            Some(Look { ended, took, .. }) => ended + (took * SHARE).max(SETTLE),
            None => Instant::now(),
        }
    }
}

// === impl Hints ===

impl Hints {
    fn interval(&self) -> Duration {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Kernel(_) => RESYNC,
            Self::Clock => SWEEP,
        }
    }

    /// Cancel safe: a hint stands until it is cleared.
    async fn hinted(&mut self) {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Kernel(changes) => {
                if let Err(error) = changes.changed().await {
                    // Cannot happen while the ring is open; then the clock still looks.
                    tracing::warn!(%error, "cannot wait for changes");
                    future::pending::<()>().await;
                }
            }
            Self::Clock => future::pending().await,
        }
    }

    fn clear(&mut self) -> u64 {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Kernel(changes) => u64::try_from(changes.clear().len()).unwrap_or(u64::MAX),
            Self::Clock => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Changes {
        Changes::new(Hints::Clock, Arc::new(Atomics::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn without_hints_the_clock_calls() {
        let (mut changes, start) = (clock(), Instant::now());
        changes.changed().await;
        changes.changed().await;
        assert_eq!(start.elapsed(), SWEEP * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_look_is_followed_by_a_longer_pause() {
        let (mut changes, start) = (clock(), Instant::now());
        changes.counters.looked(Look { ended: start, took: SWEEP, sweep: None });
        changes.changed().await;
        assert_eq!(start.elapsed(), SWEEP * SHARE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_is_awaited_calls_beside_the_clock() {
        let (mut changes, start) = (clock(), Instant::now());
        let look = Look { ended: start, took: SETTLE, sweep: Some(start + SWEEP / 4) };
        changes.counters.looked(look);
        changes.changed().await;
        assert_eq!(start.elapsed(), SWEEP / 4);
        changes.counters.looked(Look { sweep: None, ..look });
        changes.changed().await;
        assert_eq!(start.elapsed(), SWEEP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_does_not_put_off_the_next() {
        let (mut changes, start) = (clock(), Instant::now());
        let given_up = tokio::time::timeout(SWEEP / 2, changes.changed()).await;
        assert!(given_up.is_err());
        changes.changed().await;
        assert_eq!(start.elapsed(), SWEEP);
    }
}
