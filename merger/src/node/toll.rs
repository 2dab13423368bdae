//! Which namespaces make whoever connects wait, and when one of them is connected to again: the rule, over
//! moments that it is given.
//!
//! Over loopback, what begins a connection and what answers it passes the pod's own rules inside the one
//! call that begins it, in the broker's only thread. Whoever has `CAP_NET_ADMIN` in a pod can make chains
//! that a packet takes seconds to get through: fifteen of them, each with three jumps to the next, took
//! 0.3 s for a packet. Nothing ends such a call; but it can be told afterwards what it took.
//!
//! A connection took long if it took [`TIMES`] what the quickest has taken, and at least [`LONG`]. What
//! counts is what the thread has run, not what it has waited for a processor: a node that is busy makes
//! nobody slow. Only where the node is a guest does its kernel count what the host took from it as run;
//! that is rare, soon over and meets every namespace alike. So one is slow by [`OFTEN`] connections that
//! took long, or by one that took [`TOO_LONG`], and is so for [`KEPT`].
//!
//! After each connection that took long in one that is slow there is a pause of [`SHARE`] times what it took, for
//! all that are slow: together they have a fifth of the thread, and those that are not are not held up.

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

/// More than a host takes a processor away for, with a guest on it that has work.
const TOO_LONG: Duration = Duration::from_millis(100);

/// So many that took long are no accident.
const OFTEN: u32 = 3;

/// For how long the last connection that took long counts. If one that did not made the namespace quick
/// again at once, rules that slow down every second packet would go free.
const KEPT: Duration = Duration::from_mins(10);

/// The namespaces in which a connection took long.
#[derive(Debug, Default)]
pub(crate) struct Toll {
    long: HashMap<Cookie, Long>,
    /// When the pause after the last slow connection ends.
    rested: Option<Instant>,
    /// What the quickest connection has taken.
    quickest: Option<Duration>,
}

/// The last connection of a namespace that took long.
#[derive(Clone, Copy, Debug)]
struct Long {
    ended: Instant,
    took: Duration,
    /// How many there were, with this one.
    n: u32,
    /// Whether the namespace is slow by them.
    is_slow: bool,
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
        let Some(slow) = self.long.get(&netns).filter(|long| long.is_slow && long.counts(now))
        else {
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
        self.long.retain(|_, long| long.counts(now));
        let before = self.long.get(&netns).copied();
        let (n, was_slow) =
            before.map_or((1, false), |long| (long.n.saturating_add(1), long.is_slow));
        let is_slow = was_slow || n >= OFTEN || took >= TOO_LONG;
        self.long.insert(netns, Long { ended: now, took, n, is_slow });
        if is_slow && !was_slow {
            tracing::warn!(%netns, ?took, "connections in this namespace take long, by rules of its own");
        }
        if is_slow {
            self.rested = Some(now + took * SHARE);
        }
    }
}

// === impl Long ===

impl Long {
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
    fn one_that_took_long_may_be_the_hosts_doing_and_the_third_is_not() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        for n in 1..OFTEN {
            toll.took(SLOW, start, LONG);
            assert_eq!(toll.admit(SLOW, start), Ok(()), "{n}");
        }
        toll.took(OTHER, start, LONG);
        toll.took(SLOW, start, LONG);
        assert_eq!(toll.admit(SLOW, start), Err(Refusal::Slow { ms: 10 }));
        assert_eq!(toll.admit(OTHER, start), Ok(()));
    }

    #[test]
    fn those_that_took_long_a_while_ago_are_forgotten() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        for n in 0..OFTEN * 2 {
            let now = start + KEPT * n;
            toll.took(SLOW, now, LONG);
            assert_eq!(toll.admit(SLOW, now), Ok(()), "{n}");
        }
    }

    #[test]
    fn all_that_are_slow_have_one_pause() {
        let (start, mut toll) = (Instant::now(), mk_toll());
        toll.took(SLOW, start, TOO_LONG);
        let rested = start + TOO_LONG * SHARE;
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
        assert_eq!(toll.long.len(), 1, "it is forgotten");
    }
}
