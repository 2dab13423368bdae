//! Whose a listener of the host is: who asks, and when all who have asked by then are answered.
//!
//! The answer takes a look at the open files of all processes, so it is one for all, and followed by a
//! pause of [`SHARE`] times what it took: readers that ask without end have a fifth of one core, and who
//! asks for anything else waits for one look at most. It begins when all have asked that it answers.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::node::{
    Connect,
    agenda::SHARE,
    protocol::{TooMany, UNDER_WAY},
};

/// What is asked about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inquiry {
    /// The number of the request.
    pub(crate) id: u64,
    pub(crate) connect: Connect,
    /// Whether it is to be begun, or would only have to be.
    pub(crate) begins: bool,
}

/// Those who wait.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    asked: Vec<Inquiry>,
    /// When the pause after the last look ends.
    rested: Option<Instant>,
}

// === impl Inquiries ===

impl Inquiries {
    pub(crate) fn ask(&mut self, inquiry: Inquiry) -> Result<(), TooMany> {
        if self.asked.len() >= UNDER_WAY {
            return Err(TooMany);
        }
        self.asked.push(inquiry);
        Ok(())
    }

    /// When there is something to be answered.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        (!self.asked.is_empty()).then(|| self.rested.unwrap_or(now))
    }

    /// Those who are to be answered now, by one look.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Inquiry> {
        let is_due = self.next(now).is_some_and(|next| next <= now);
        if is_due { mem::take(&mut self.asked) } else { vec![] }
    }

    /// A look took this long.
    pub(crate) fn looked(&mut self, now: Instant, took: Duration) {
        self.rested = Some(now + took * SHARE);
    }

    /// Whoever asks is another by now.
    pub(crate) fn begin_again(&mut self) {
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Cookie;

    const TOOK: Duration = Duration::from_millis(100);

    fn inquiry(id: u64) -> Inquiry {
        let address = "127.0.0.1:80".parse().unwrap();
        Inquiry { id, connect: Connect { netns: Cookie(1), address, owner: None }, begins: true }
    }

    #[test]
    fn all_who_wait_are_answered_by_one_look_and_the_next_waits_for_the_pause() {
        let start = Instant::now();
        let mut inquiries = Inquiries::default();
        assert_eq!(inquiries.next(start), None);
        (0..3).for_each(|id| inquiries.ask(inquiry(id)).unwrap());
        assert_eq!(inquiries.take(start).len(), 3);
        inquiries.looked(start, TOOK);
        assert_eq!(inquiries.next(start), None);
        inquiries.ask(inquiry(3)).unwrap();
        let rested = start + TOOK * SHARE;
        assert_eq!(inquiries.next(start), Some(rested));
        assert_eq!(inquiries.take(start + TOOK), []);
        assert_eq!(inquiries.take(rested), [inquiry(3)]);
    }

    #[test]
    fn only_so_many_may_wait_and_none_for_one_that_is_gone() {
        let mut inquiries = Inquiries::default();
        for id in 0..64 {
            inquiries.ask(inquiry(id)).unwrap();
        }
        assert!(inquiries.ask(inquiry(64)).is_err());
        inquiries.begin_again();
        assert_eq!(inquiries.take(Instant::now()), []);
    }
}
