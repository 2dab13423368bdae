//! Which namespaces make whoever connects wait, and when one of them is connected to again: the rule, over
//! moments that it is given.
//!
//! Over loopback, what begins a connection and what answers it passes the pod's own rules inside the one
//! call that begins it, in the broker's only thread. Whoever has `CAP_NET_ADMIN` in a pod can make chains
//! that a packet takes seconds to get through: fifteen of them, each with three jumps to the next, took
//! 0.3 s for a packet. Nothing ends such a call; but it can be told afterwards what it took.
//!
//! So a namespace in which a connection took [`TIMES`] what the quickest has taken, and at least [`LONG`], is
//! slow for [`KEPT`], and after each of these connections there is a pause of [`SHARE`] times what it took, for all that are slow: together they have a
//! fifth of the thread, and those that are not are not held up. What counts is what the thread has run, not
//! what it has waited for a processor: a node that is busy makes nobody slow.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::{
    identity::Cookie,
    node::{agenda::SHARE, policy::Refusal},
};

/// How often the quickest connection goes into one that is not begun as others are: whether the processor is
/// fast, slow or emulated.
const TIMES: u32 = 200;

/// None is that quicker than this, which is what 200 take where one takes 50 µs.
const LONG: Duration = Duration::from_millis(10);

/// How long a namespace counts as slow after the last connection that was. If one that is not made it
/// quick again at once, rules that slow down every second packet would go free.
const KEPT: Duration = Duration::from_mins(10);

/// The namespaces that are slow.
#[derive(Debug, Default)]
pub(crate) struct Toll {
    slow: HashMap<Cookie, Slow>,
    /// When the pause after the last slow connection ends.
    rested: Option<Instant>,
    /// What the quickest connection has taken.
    quickest: Option<Duration>,
}

/// The last connection in a namespace that was slow.
#[derive(Clone, Copy, Debug)]
struct Slow {
    ended: Instant,
    took: Duration,
}

/// What this thread has run so far, in its program and in the kernel.
pub(crate) fn paid() -> Duration {
    // Neither part is negative: a thread has run for some time.
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec))
}

// === impl Toll ===

impl Toll {
    /// Whether a connection may be begun there now.
    pub(crate) fn admit(&self, netns: Cookie, now: Instant) -> Result<(), Refusal> {
        let Some(slow) = self.slow.get(&netns).filter(|slow| slow.counts(now)) else {
            return Ok(());
        };
        if self.rested.is_none_or(|rested| rested <= now) {
            return Ok(());
        }
        Err(Refusal::Slow { ms: u32::try_from(slow.took.as_millis()).unwrap_or(u32::MAX) })
    }

    /// One was begun, and took this long: so quick can it be here.
    pub(crate) fn begun(&mut self, took: Duration) {
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
    }

    /// One was begun there, or was not, and took this long.
    pub(crate) fn took(&mut self, netns: Cookie, now: Instant, took: Duration) {
        let quickest = self.quickest.unwrap_or(took);
        if took < LONG.max(quickest.saturating_mul(TIMES)) {
            return;
        }
        let ended = now;
        self.slow.retain(|_, slow| slow.counts(now));
        if self.slow.insert(netns, Slow { ended, took }).is_none() {
            tracing::warn!(%netns, ?took, "connections in this namespace take long, by rules of its own");
        }
        self.rested = Some(now + took * SHARE);
    }
}

// === impl Slow ===

impl Slow {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) < KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Cookie = Cookie(7);
    const OTHER: Cookie = Cookie(8);
    const SECOND: Duration = Duration::from_secs(1);

    /// One that has seen how quick a connection can be.
    fn mk_toll() -> Toll {
        Toll { quickest: Some(LONG / TIMES / 2), ..Toll::default() }
    }

    #[test]
    fn on_a_slow_machine_no_connection_is_slow_that_is_like_the_others() {
        let (start, mut toll) = (Instant::now(), Toll::default());
        toll.took(OTHER, start, LONG * 2);
        assert_eq!(toll.admit(OTHER, start), Ok(()), "nothing is known of this machine yet");
        toll.begun(LONG);
        toll.took(SLOW, start, LONG * 100);
        assert_eq!(toll.admit(SLOW, start), Ok(()));
        toll.begun(LONG / 4);
        toll.took(SLOW, start, LONG * 100);
        assert!(toll.admit(SLOW, start).is_err());
    }

    #[test]
    fn who_is_slow_waits_for_the_pause_and_nobody_else_does() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        toll.took(SLOW, start, SECOND);
        toll.took(OTHER, start, LONG / 2);
        assert_eq!(toll.admit(SLOW, start), Err(Refusal::Slow { ms: 1000 }));
        assert_eq!(toll.admit(OTHER, start), Ok(()));
        assert_eq!(toll.admit(SLOW, start + SECOND * SHARE), Ok(()));
    }

    #[test]
    fn all_that_are_slow_have_one_pause() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        toll.took(SLOW, start, LONG);
        let rested = start + LONG * SHARE;
        assert_eq!(toll.admit(SLOW, rested), Ok(()));
        toll.took(OTHER, rested, SECOND);
        assert!(toll.admit(SLOW, rested).is_err());
        assert_eq!(toll.admit(SLOW, rested + SECOND * SHARE), Ok(()));
    }

    #[test]
    fn a_quick_connection_makes_nobody_quick_again_and_time_does() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        toll.took(SLOW, start, SECOND);
        toll.took(SLOW, start + SECOND * SHARE, LONG / TIMES);
        let later = start + KEPT / 2;
        toll.took(OTHER, later, SECOND);
        assert!(toll.admit(SLOW, later).is_err());
        assert_eq!(toll.admit(SLOW, start + KEPT), Ok(()));
        toll.took(OTHER, start + KEPT, SECOND);
        assert_eq!(toll.slow.len(), 1, "it is forgotten");
    }
}
