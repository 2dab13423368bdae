//! How often all processes may be gone through, and when they must be.
//!
//! A sweep costs in proportion to the processes of the node, a look does not. So sweeps have a share
//! of their own: were they counted as a part of the look, each would hold up the looks that follow.

use std::time::{Duration, Instant};

/// How many times the duration of the last sweep for what is new passes before the next. One of
/// everything adds nothing to that: it comes once in [`Pace::age`], and what is new would wait for it.
const SHARE: u32 = 4;

/// The last sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How old the table of processes may be. It is the delay with which a process that does not listen
    /// anew is seen to have ended, or to have changed its cgroup or namespace; of one that does, no table
    /// is believed. Where a sweep takes more than a fifth of it, it is so many times that.
    age: Duration,
    /// When everything of every process was read.
    read: Instant,
    ended: Instant,
    pub(crate) took: Duration,
    /// What passes before the next.
    rest: Duration,
}

/// Whether there is to be a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// The table will do.
    No,
    /// At once, and of what is known no more than has to be.
    New,
    /// At once, and everything.
    All,
    /// Not before this moment; whoever waits for it is to look again then.
    At(Instant),
}

// === impl Pace ===

impl Pace {
    /// At the start. Nothing is to be paused for yet.
    pub(crate) fn new(age: Duration) -> Self {
        let now = Instant::now();
        Self { age, read: now, ended: now, took: Duration::ZERO, rest: Duration::ZERO }
    }

    /// The sweep that ends now.
    pub(crate) fn ended(&mut self, start: Instant, sweep: Sweep) {
        let took = start.elapsed();
        let (read, rest) = match sweep {
            Sweep::All => (start, self.rest),
            _ => (self.read, took * SHARE),
        };
        *self = Self { read, ended: Instant::now(), took, rest, ..*self };
    }

    /// When everything is to be read again.
    pub(crate) fn due(self) -> Instant {
        self.read + self.age.max(self.took * SHARE)
    }

    /// `enough`: the table explains every holder of a listener.
    pub(crate) fn next(self, now: Instant, enough: bool) -> Sweep {
        let Self { ended, rest, .. } = self;
        let rested = ended + rest;
        match (enough, now < self.due()) {
            (true, true) => Sweep::No,
            _ if now < rested => Sweep::At(rested),
            (false, true) => Sweep::New,
            (_, false) => Sweep::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);
    const TOOK: Duration = Duration::from_millis(50);

    #[track_caller]
    fn check(age: Duration, enough: bool, expected: impl Fn(Instant) -> Sweep) {
        let ended = Instant::now();
        let pace = Pace { age: AGE, read: ended, ended, took: TOOK, rest: TOOK * SHARE };
        assert_eq!(pace.next(ended + age, enough), expected(ended), "{age:?}");
    }

    #[test]
    fn a_table_that_is_young_and_explains_all_will_do() {
        check(Duration::ZERO, true, |_| Sweep::No);
        check(AGE / 2, true, |_| Sweep::No);
    }

    #[test]
    fn what_it_does_not_explain_is_swept_for_at_once() {
        check(TOOK * SHARE, false, |_| Sweep::New);
    }

    #[test]
    fn but_not_beyond_the_share() {
        check(TOOK, false, |ended| Sweep::At(ended + TOOK * SHARE));
    }

    #[test]
    fn one_of_everything_is_no_reason_to_wait() {
        let start = Instant::now().checked_sub(TOOK).unwrap();
        let mut pace = Pace::new(AGE);
        pace.ended(start, Sweep::All);
        assert_eq!(pace.next(pace.ended, false), Sweep::New);
        pace.ended(start, Sweep::New);
        assert!(matches!(pace.next(pace.ended, false), Sweep::At(at) if at >= pace.ended + TOOK));
    }

    #[test]
    fn everything_is_due_as_often_as_it_may_be() {
        let mut pace = Pace::new(AGE);
        pace.ended(pace.read, Sweep::All);
        assert_eq!(pace.due(), pace.read + AGE);
        let start = Instant::now().checked_sub(AGE).unwrap();
        pace.ended(start, Sweep::All);
        assert!(pace.due() >= start + AGE * SHARE);
        pace.ended(pace.ended, Sweep::New);
        assert_eq!(pace.due(), start + AGE, "it is what was read first that counts");
    }

    #[test]
    fn an_old_table_is_renewed_though_it_explains_all() {
        check(AGE, true, |_| Sweep::All);
        check(AGE, false, |_| Sweep::All);
    }
}
