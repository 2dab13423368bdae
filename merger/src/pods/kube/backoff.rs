//! How long to wait before the API server is asked again.
//!
//! Each wait is twice as long as the one before it, up to half a minute, and half of each is chance:
//! the agents of all nodes lose an API server in the same moment, and are not to come back in one.

use std::{
    hash::{BuildHasher as _, RandomState},
    mem,
    time::Duration,
};

use tokio::time::Instant;

/// The first wait at most, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How long until a resource is asked for again that is not there, or that may not be read: somebody has
/// to do something about it first.
const RARELY: Duration = Duration::from_mins(10);

/// How long until a list is read for what was left out of the one before, which anybody may call for.
const A_WHILE: Duration = Duration::from_mins(2);

/// After so long without a failure the next one is the first again.
const FORGOTTEN: Duration = Duration::from_mins(2);

/// The failures of late.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    n_failures: u32,
    /// When the wait after the last of them ends.
    until: Option<Instant>,
}

/// Whether a refusal counts. The first one does not: a server that starts may not know yet what there is, nor
/// who may read it.
#[derive(Debug, Default)]
pub(super) struct Excuse {
    /// Whether there was one since a list was complete.
    is_refused: bool,
    /// When one did not count.
    given: Option<Instant>,
}

// === impl Backoff ===

impl Backoff {
    /// Something failed just now: until when to wait.
    pub(super) fn failed(&mut self) -> Instant {
        let now = Instant::now();
        let until = now + self.next(now, chance());
        self.until = Some(until);
        until
    }

    /// The length of the next wait; `chance` is from 0 to 1.
    fn next(&mut self, now: Instant, chance: f64) -> Duration {
        if self.until.is_some_and(|until| now.saturating_duration_since(until) > FORGOTTEN) {
            self.n_failures = 0;
        }
        // Past the longest wait more failures make no difference.
        let longest = FIRST.saturating_mul(1 << self.n_failures.min(8)).min(LONGEST);
        self.n_failures = self.n_failures.saturating_add(1);
        longest / 2 + (longest / 2).mul_f64(chance)
    }
}

// === impl Excuse ===

impl Excuse {
    /// It was refused. Whether that does not count; not more often than one that counts is repeated, whatever
    /// comes in between: lists may be allowed where watches are not.
    pub(super) fn refused(&mut self) -> bool {
        let is_first = !mem::replace(&mut self.is_refused, true);
        let is_rare = self.given.is_none_or(|at| at.elapsed() > RARELY);
        let is_excused = is_first && is_rare;
        if is_excused {
            self.given = Some(Instant::now());
        }
        is_excused
    }

    /// It was not: a list was complete.
    pub(super) fn listed(&mut self) {
        self.is_refused = false;
    }
}

/// Until when to leave alone what is not there, from five minutes to ten.
pub(super) fn rarely() -> Instant {
    Instant::now() + RARELY / 2 + (RARELY / 2).mul_f64(chance())
}

/// When to read a list that is not urgent, from one minute to two.
pub(super) fn in_a_while() -> Instant {
    Instant::now() + A_WHILE / 2 + (A_WHILE / 2).mul_f64(chance())
}

/// A number from 0 to 1. The keys of a hash map are chance enough to tell nodes apart.
pub(super) fn chance() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_half_a_minute_and_is_forgotten() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        let mut waits = |chance| -> Vec<u64> {
            (0..7)
                .map(|_| u64::try_from(backoff.next(start, chance).as_millis()).unwrap())
                .collect()
        };
        assert_eq!(waits(1.0), [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(waits(0.0), [15000; 7]);
        backoff.until = Some(start);
        assert_eq!(backoff.next(start + FORGOTTEN, 1.0), LONGEST);
        let later = start + FORGOTTEN + Duration::from_secs(1);
        assert_eq!(backoff.next(later, 1.0), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_does_not_count_and_not_often() {
        let mut excuse = Excuse::default();
        assert_eq!([excuse.refused(), excuse.refused()], [true, false]);
        excuse.listed();
        assert!(!excuse.refused());
        tokio::time::advance(RARELY * 2).await;
        assert!(!excuse.refused(), "no list was complete since");
        excuse.listed();
        assert_eq!([excuse.refused(), excuse.refused()], [true, false]);
    }

    #[test]
    fn chance_is_not_the_same_twice() {
        let drawn: Vec<f64> = (0..16).map(|_| chance()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..=1.0).contains(drawn)), "{drawn:?}");
        assert!(drawn.windows(2).any(|two| (two[0] - two[1]).abs() > 0.01), "{drawn:?}");
    }
}
