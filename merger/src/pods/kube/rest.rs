//! When all pods may be matched with all monitors again.
//!
//! Whoever may change a monitor calls for that as often as he likes. So after each there is a pause of
//! [`SHARE`] times what it took, and it costs a fifth of one core at most. A pod that changed is matched
//! alone, at once.

use std::time::Duration;

use tokio::time::Instant;

/// How many times the duration of the last time passes before the next.
const SHARE: u32 = 4;

/// Whether something calls for it, and until when it has to wait.
#[derive(Debug, Default)]
pub(super) struct Rest {
    is_called: bool,
    until: Option<Instant>,
    n_begun: u64,
}

// === impl Rest ===

impl Rest {
    /// What monitors ask for may be another thing.
    pub(super) fn call(&mut self) {
        self.is_called = true;
    }

    /// Begins where it is to be done `now`. Whether it is.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.is_called && self.until.is_none_or(|until| until <= now);
        if is_due {
            self.is_called = false;
            self.n_begun += 1;
        }
        is_due
    }

    /// How often it was begun.
    pub(super) fn n_begun(&self) -> u64 {
        self.n_begun
    }

    /// When it may be done, `at` the earliest; none where nothing calls for it.
    pub(super) fn next(&self, at: Instant) -> Option<Instant> {
        self.is_called.then(|| self.until.map_or(at, |until| until.max(at)))
    }

    /// It was done by `now`, and took so long.
    pub(super) fn took(&mut self, now: Instant, took: Duration) {
        self.until = Some(now + took * SHARE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_each_time_there_is_a_pause_of_its_share() {
        let (mut rest, start) = (Rest::default(), Instant::now());
        assert_eq!((rest.next(start), rest.begin(start)), (None, false));
        rest.call();
        assert_eq!((rest.next(start), rest.begin(start)), (Some(start), true));
        let took = Duration::from_millis(300);
        rest.took(start, took);
        assert_eq!((rest.next(start), rest.begin(start)), (None, false));
        rest.call();
        let rested = start + took * SHARE;
        assert_eq!(rest.next(start), Some(rested));
        let later = rested + took;
        assert_eq!(rest.next(later), Some(later));
        assert!(!rest.begin(rested - Duration::from_millis(1)));
        assert_eq!(rest.n_begun(), 1);
        assert!(rest.begin(rested));
        assert_eq!((rest.n_begun(), rest.next(rested)), (2, None));
    }
}
