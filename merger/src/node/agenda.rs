//! When to look at the node again: the rule, over moments that it is given.
//!
//! With the kernel part a hint says so. Its event comes before the socket's state is stored, so the
//! look waits [`SETTLE`], and is repeated after [`SECOND_LOOK`] for a socket that took longer.
//! Marks are taken away just before the look, so what happens during it calls for the next one.
//!
//! A pod that loops over listen and close calls without end. The pause between looks is therefore
//! [`SHARE`] times what the last one took, and the node spends at most a fifth of one core on it.
//! Sweeps over `/proc` are paced apart, with a fifth of their own: a look that has to wait for one
//! is repeated when it may be.
//!
//! The pause holds for looks that nobody called for as well. Whoever asks for one waits until it is
//! over, and all who wait have the same: an agent that asks without end has no more of the node's time.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::node::protocol::{TooMany, UNDER_WAY};

/// From an event to the look.
const SETTLE: Duration = Duration::from_millis(2);

/// From an event to the look that is taken once more.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// How many times the duration of the last look passes before the next.
pub(crate) const SHARE: u32 = 4;

/// The time between looks that nothing calls for, and how old the table of processes may be: with what
/// a look takes, ten seconds. Such a look heals what no event tells, such as a listener that changed
/// hands. It has no common measure with the comparison's time, which would else find what has just been
/// healed.
pub(crate) const EVERY: Duration = Duration::from_millis(9100);

/// What calls for the next look, and what the last one took.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// The time between looks that nothing calls for.
    interval: Duration,
    /// When the first of the hints came that no look has followed yet.
    hinted: Option<Instant>,
    /// When the next look is due without a hint.
    due: Instant,
    last: Option<Look>,
    /// The look is called for, and was not taken yet.
    is_called: bool,
    /// The requests for a look that wait for it.
    asked: Vec<u64>,
}

/// The last snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) ended: Instant,
    /// Without the sweep over the processes, where it had one that it asked for.
    pub(crate) took: Duration,
    /// When the sweep that it would have needed may be, or the next of everything is due: look again
    /// then, whatever happens.
    pub(crate) sweep: Option<Instant>,
}

// === impl Agenda ===

impl Agenda {
    /// From `now` on.
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        let (due, last, is_called, asked) = (now + interval, None, false, vec![]);
        Self { interval, hinted: None, due, last, is_called, asked }
    }

    /// Whether a hint would say something new. One that came stands until the look that follows it.
    pub(crate) fn wants_hints(&self) -> bool {
        self.hinted.is_none()
    }

    /// Something may have changed.
    pub(crate) fn hint(&mut self, now: Instant) {
        self.hinted.get_or_insert(now);
    }

    /// Somebody wants a look, called for or not, and waits for it by this number.
    pub(crate) fn ask(&mut self, id: u64) -> Result<(), TooMany> {
        if self.asked.len() >= UNDER_WAY {
            return Err(TooMany);
        }
        self.asked.push(id);
        Ok(())
    }

    /// Those who are to have a look now, one for all.
    pub(crate) fn take_asked(&mut self, now: Instant) -> Vec<u64> {
        let is_rested = self.rested().is_none_or(|rested| rested <= now);
        if is_rested { mem::take(&mut self.asked) } else { vec![] }
    }

    /// When the next look is to be called for, or taken.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let is_asked = !self.asked.is_empty();
        let asked = is_asked.then(|| self.rested().unwrap_or(now));
        [asked, self.next_call()].into_iter().flatten().min()
    }

    /// When [`Self::call`] will call for a look; nothing while the last call was not followed.
    fn next_call(&self) -> Option<Instant> {
        if self.is_called {
            return None;
        }
        let sweep = self.last.and_then(|look| look.sweep).unwrap_or(self.due);
        let due = self.due.min(sweep);
        let wanted = self.hinted.map_or(due, |hinted| due.min(hinted + SETTLE));
        Some(self.rested().map_or(wanted, |rested| wanted.max(rested)))
    }

    /// Whether a look is due or called for that was not taken yet.
    pub(crate) fn is_awaited(&self, now: Instant) -> bool {
        self.is_called || self.hinted.is_some() || self.due <= now
    }

    /// Whether it is time for a look. If so, it is taken for called for: take the marks away, and
    /// say so to whoever looks.
    pub(crate) fn call(&mut self, now: Instant) -> bool {
        if self.next_call().is_none_or(|next| now < next) {
            return false;
        }
        self.is_called = true;
        if self.hinted.take().is_some() {
            self.due = now + SECOND_LOOK;
        } else if self.due <= now {
            self.due = now + self.interval;
        }
        true
    }

    /// Somebody has looked, called for or not.
    pub(crate) fn looked(&mut self, look: Look) {
        self.last = Some(look);
        self.is_called = false;
    }

    /// Whoever looks is another by now: has not heard of any call, and has not asked.
    pub(crate) fn begin_again(&mut self) {
        self.is_called = false;
        self.asked.clear();
    }

    /// When the pause after the last look ends.
    fn rested(&self) -> Option<Instant> {
        self.last.map(|Look { ended, took, .. }| ended + (took * SHARE).max(SETTLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn look(ended: Instant, took: Duration) -> Look {
        Look { ended, took, sweep: None }
    }

    /// Calls for the look at the moment that the agenda names, and takes it in no time.
    #[track_caller]
    fn follow(agenda: &mut Agenda) -> Instant {
        let next = agenda.next_call().unwrap();
        assert!(!agenda.call(next.checked_sub(MS).unwrap()) && agenda.call(next));
        assert_eq!(agenda.next_call(), None, "it is called for once");
        agenda.looked(look(next, Duration::ZERO));
        next
    }

    #[test]
    fn without_hints_the_clock_calls() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        assert_eq!(follow(&mut agenda), start + EVERY);
        assert_eq!(follow(&mut agenda), start + EVERY * 2);
    }

    #[test]
    fn a_hint_calls_once_it_has_settled_and_once_more_a_little_later() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.hint(start + MS);
        agenda.hint(start + 2 * MS);
        assert!(!agenda.wants_hints());
        let first = follow(&mut agenda);
        assert_eq!(first, start + MS + SETTLE);
        assert!(agenda.wants_hints());
        assert_eq!(follow(&mut agenda), first + SECOND_LOOK);
        assert_eq!(follow(&mut agenda), first + SECOND_LOOK + EVERY);
    }

    #[test]
    fn a_hint_during_a_look_calls_for_the_next() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.hint(start);
        assert!(agenda.call(start + SETTLE));
        agenda.hint(start + 3 * MS);
        assert_eq!(agenda.next_call(), None);
        agenda.looked(look(start + 5 * MS, 2 * MS));
        assert_eq!(agenda.next_call(), Some(start + 5 * MS + 2 * MS * SHARE));
    }

    #[test]
    fn a_slow_look_is_followed_by_a_longer_pause() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.looked(look(start, EVERY));
        agenda.hint(start);
        assert_eq!(follow(&mut agenda), start + EVERY * SHARE);
    }

    #[test]
    fn a_sweep_that_is_awaited_calls_beside_the_clock() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.looked(Look { sweep: Some(start + EVERY / 4), ..look(start, MS) });
        assert_eq!(follow(&mut agenda), start + EVERY / 4);
        assert_eq!(follow(&mut agenda), start + EVERY);
    }

    #[test]
    fn a_look_is_awaited_from_the_hint_until_it_is_taken() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        assert!(!agenda.is_awaited(start) && agenda.is_awaited(start + EVERY));
        agenda.hint(start);
        assert!(agenda.is_awaited(start));
        assert!(agenda.call(start + SETTLE));
        assert!(agenda.is_awaited(start + SETTLE));
        agenda.looked(look(start + SETTLE, MS));
        assert!(!agenda.is_awaited(start + SETTLE));
        assert!(agenda.is_awaited(start + SETTLE + SECOND_LOOK));
    }

    #[test]
    fn who_comes_new_is_called_again() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        assert!(agenda.call(start + EVERY));
        agenda.begin_again();
        assert_eq!(agenda.next_call(), Some(start + EVERY * 2));
    }

    #[test]
    fn who_asks_has_a_look_when_the_pause_is_over_and_all_have_the_same() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.ask(1).unwrap();
        assert_eq!(agenda.next(start), Some(start), "nothing was looked at yet");
        assert_eq!(agenda.take_asked(start), [1]);
        agenda.looked(look(start, MS));
        agenda.ask(2).unwrap();
        agenda.ask(3).unwrap();
        let rested = start + MS * SHARE;
        assert_eq!(agenda.next(start), Some(rested));
        assert!(agenda.take_asked(rested.checked_sub(MS).unwrap()).is_empty());
        assert_eq!(agenda.take_asked(rested), [2, 3]);
        assert_eq!(agenda.next(start), agenda.next_call());
    }

    #[test]
    fn a_look_that_was_called_for_is_taken_when_it_is_asked_for() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        agenda.looked(look(start, MS));
        agenda.hint(start);
        let called = start + MS * SHARE;
        assert!(agenda.call(called));
        agenda.ask(1).unwrap();
        assert!(agenda.next(called).is_some_and(|next| next <= called));
        assert_eq!(agenda.take_asked(called), [1]);
    }

    #[test]
    fn only_so_many_may_wait_and_none_for_one_that_is_gone() {
        let start = Instant::now();
        let mut agenda = Agenda::new(start, EVERY);
        for id in 0..64 {
            agenda.ask(id).unwrap();
        }
        assert!(agenda.ask(64).is_err());
        agenda.begin_again();
        assert!(agenda.take_asked(start).is_empty());
        agenda.ask(65).unwrap();
    }
}
