//! What is believed, held against what the kernel says by another way: when, and what counts.
//!
//! A listener that opens or closes between two readings is no difference, only news. So what differs
//! is read again, when whatever was under way must have been seen, and only what differs then in the
//! same way is counted: a socket that was there at both readings and was not seen, or an address that
//! was believed at both and is nobody's at either. Where a change was told in between, a look follows
//! anyway, and there is nothing to be found out. Nor is there while the look that was called for was not
//! taken yet: an agent may be slow.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use crate::{identity::Cookie, listeners::Socket};

/// From the beginning of one comparison to that of the next. Looks without a change come after another
/// time ([`EVERY`](crate::node::agenda::EVERY) there), so that what is compared is of every age.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

/// From what differs to the second reading, at least.
const SETTLE: Duration = Duration::from_millis(250);

/// Addresses in one line of the log: how many there are is up to the pod.
const SHOWN: usize = 8;

/// A listener without its namespace.
type Bound = (IpAddr, NonZeroU16);

/// The comparisons.
#[derive(Debug)]
pub(crate) struct Comparison {
    every: Duration,
    /// When the next one begins, unless one is under way.
    due: Instant,
    /// When that one did.
    began: Option<Instant>,
    /// Namespaces that have not been read yet.
    pending: Vec<Cookie>,
    suspects: Vec<Suspect>,
    /// Namespaces that could be read.
    n_compared: u64,
    n_differing: u64,
}

/// A namespace that differs.
#[derive(Debug)]
struct Suspect {
    netns: Cookie,
    read: Instant,
    differing: Differing,
}

/// How it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differing {
    /// Sockets that are there and not believed.
    pub(crate) missing: Vec<Socket>,
    /// Listeners that are believed and not there.
    pub(crate) stale: Vec<Bound>,
}

/// The state of the looks, which decides when a second reading says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    /// The last look has seen what was told before this moment; where nobody tells, what was so then.
    pub(crate) seen: Instant,
    /// How long changes may have to wait for the next.
    pub(crate) pause: Duration,
    /// Whether the last one had all that it needed.
    pub(crate) complete: bool,
    /// Whether a change calls for one; else it is the clock.
    pub(crate) are_told: bool,
    /// Whether one is called for, or soon will be, that was not taken yet.
    pub(crate) is_awaited: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Begin, with the namespaces that there are.
    Begin,
    /// Read this one, for [`Comparison::read`].
    Read(Cookie),
    /// All have been read: so many namespaces, and so many listeners that differ.
    End { n_compared: u64, n_differing: u64 },
    /// Nothing before this moment.
    At(Instant),
}

// === impl Comparison ===

impl Comparison {
    pub(crate) fn new(every: Duration, now: Instant) -> Self {
        let (pending, suspects) = (vec![], vec![]);
        let (due, began) = (now + every, None);
        Self { every, due, began, pending, suspects, n_compared: 0, n_differing: 0 }
    }

    /// What is to be done now. It changes nothing but at the end.
    pub(crate) fn turn(&mut self, now: Instant, looks: Looks) -> Turn {
        let Some(began) = self.began else {
            return if now < self.due { Turn::At(self.due) } else { Turn::Begin };
        };
        if let Some(&netns) = self.pending.last() {
            return Turn::Read(netns);
        }
        let Some(suspect) = self.suspects.last() else {
            let Self { every, n_compared, n_differing, .. } = *self;
            // One that takes most of the time to the next leaves half of it to others.
            let due = (began + every).max(now + every / 2);
            *self = Self { due, ..Self::new(every, now) };
            return Turn::End { n_compared, n_differing };
        };
        let settled = suspect.read + SETTLE.max(looks.pause * 2);
        let nothing_told = looks.are_told && !looks.is_awaited;
        let seen = looks.complete && (nothing_told || suspect.read < looks.seen);
        match (now < settled, seen) {
            (true, _) => Turn::At(settled),
            (false, false) => Turn::At(now + SETTLE),
            (false, true) => Turn::Read(suspect.netns),
        }
    }

    pub(crate) fn begin(&mut self, now: Instant, netns: impl IntoIterator<Item = Cookie>) {
        self.pending = netns.into_iter().collect();
        self.began = Some(now);
    }

    /// A change was told there: whatever differs is under way.
    pub(crate) fn changed(&mut self, netns: &HashSet<Cookie>) {
        self.suspects.retain(|suspect| !netns.contains(&suspect.netns));
    }

    /// What was read of the namespace whose turn it was, nothing where it could not be; and what of
    /// it is to be told.
    pub(crate) fn read(&mut self, now: Instant, read: Option<Differing>) -> Option<Differing> {
        if let Some(netns) = self.pending.pop() {
            self.n_compared += u64::from(read.is_some());
            let differing = read.filter(|differing| *differing != Differing::default());
            self.suspects.extend(differing.map(|differing| Suspect {
                netns,
                read: now,
                differing,
            }));
            return None;
        }
        let Suspect { differing: mut first, .. } = self.suspects.pop()?;
        let second = read.unwrap_or_default();
        first.missing.retain(|socket| second.missing.contains(socket));
        first.stale.retain(|bound| second.stale.contains(bound));
        let n = first.n();
        self.n_differing += u64::try_from(n).unwrap_or(u64::MAX);
        (n > 0).then_some(first)
    }
}

// === impl Differing ===

impl Differing {
    pub(crate) fn between(believed: &HashSet<Bound>, truth: &[Socket]) -> Self {
        let bound = |socket: &Socket| (socket.address, socket.port);
        let there: HashSet<Bound> = truth.iter().map(bound).collect();
        let missing = truth.iter().filter(|socket| !believed.contains(&bound(socket)));
        let stale = believed.difference(&there);
        Self { missing: missing.copied().collect(), stale: stale.copied().collect() }
    }

    /// How many listeners differ.
    pub(crate) fn n(&self) -> usize {
        self.missing.len() + self.stale.len()
    }

    /// The addresses, for people: the first [`SHOWN`].
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let missing = self.missing.iter().map(|socket| (socket.address, socket.port));
        let all = missing.chain(self.stale.iter().copied()).take(SHOWN);
        all.map(|(address, port)| SocketAddr::new(address, port.get())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const POD: Cookie = Cookie(2);

    fn socket(inode: u64) -> Socket {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Socket { address, port: NonZeroU16::MIN, inode }
    }

    fn bound() -> HashSet<Bound> {
        HashSet::from([(IpAddr::V4(Ipv4Addr::LOCALHOST), NonZeroU16::MIN)])
    }

    fn looks(seen: Instant) -> Looks {
        let pause = Duration::ZERO;
        Looks { seen, pause, complete: true, are_told: true, is_awaited: false }
    }

    /// What is counted where this was believed and there at the first reading and at the second.
    #[track_caller]
    fn check(first: (&HashSet<Bound>, &[Socket]), second: (&HashSet<Bound>, &[Socket]), n: u64) {
        let start = Instant::now();
        let mut comparison = Comparison::new(Duration::ZERO, start);
        assert_eq!(comparison.turn(start, looks(start)), Turn::Begin);
        comparison.begin(start, [POD]);
        let mut now = start;
        let mut readings = [first, second].into_iter();
        let end = loop {
            match comparison.turn(now, looks(start)) {
                Turn::Read(POD) => {
                    let (believed, truth) = readings.next().unwrap();
                    comparison.read(now, Some(Differing::between(believed, truth)));
                }
                Turn::At(at) => now = at,
                end => break end,
            }
        };
        assert_eq!(end, Turn::End { n_compared: 1, n_differing: n });
    }

    #[test]
    fn what_agrees_is_read_once() {
        check((&bound(), &[socket(1)]), (&bound(), &[]), 0);
        check((&HashSet::new(), &[]), (&bound(), &[]), 0);
    }

    #[test]
    fn what_differs_twice_in_the_same_way_is_counted() {
        let none = HashSet::new();
        check((&none, &[socket(1)]), (&none, &[socket(1)]), 1);
        check((&bound(), &[]), (&bound(), &[]), 1);
    }

    #[test]
    fn what_was_under_way_is_not() {
        let none = HashSet::new();
        check((&none, &[socket(1)]), (&bound(), &[socket(1)]), 0);
        check((&none, &[socket(1)]), (&none, &[socket(2)]), 0);
        check((&bound(), &[]), (&none, &[]), 0);
        check((&bound(), &[]), (&none, &[socket(1)]), 0);
    }

    /// A comparison with one namespace that differs, read at the given moment.
    fn suspicious(now: Instant) -> Comparison {
        let mut comparison = Comparison::new(Duration::ZERO, now);
        comparison.begin(now, [POD]);
        comparison.read(now, Some(Differing::between(&bound(), &[])));
        comparison
    }

    #[test]
    fn a_change_that_was_told_ends_the_suspicion() {
        let now = Instant::now();
        let mut comparison = suspicious(now);
        comparison.changed(&HashSet::from([POD]));
        let end = comparison.turn(now, looks(now));
        assert_eq!(end, Turn::End { n_compared: 1, n_differing: 0 });
    }

    #[test]
    fn the_second_reading_waits_for_what_may_be_under_way() {
        let now = Instant::now();
        let mut comparison = suspicious(now);
        let pause = SETTLE * 2;
        let mut turn = |at, looks| comparison.turn(at, looks);
        assert_eq!(turn(now, Looks { pause, ..looks(now) }), Turn::At(now + pause * 2));
        let settled = now + SETTLE;
        let wait = Turn::At(settled + SETTLE);
        assert_eq!(turn(settled, Looks { complete: false, ..looks(now) }), wait);
        assert_eq!(turn(settled, Looks { are_told: false, ..looks(now) }), wait);
        let later = Looks { are_told: false, ..looks(now + SETTLE / 2) };
        assert_eq!(turn(settled, later), Turn::Read(POD));
    }

    #[test]
    fn what_was_told_and_not_looked_at_yet_is_no_difference() {
        let now = Instant::now();
        let mut comparison = suspicious(now);
        let settled = now + SETTLE;
        let mut turn = |looks| comparison.turn(settled, Looks { is_awaited: true, ..looks });
        let wait = Turn::At(settled + SETTLE);
        assert_eq!(turn(looks(now)), wait);
        // A pod that loops calls without end; what was told by then is seen nevertheless.
        assert_eq!(turn(looks(now + SETTLE / 2)), Turn::Read(POD));
    }

    #[test]
    fn a_line_has_few_addresses_however_many_differ() {
        let differing = Differing::between(&bound(), &vec![socket(1); SHOWN * 2]);
        assert_eq!(differing.n(), 0);
        let differing = Differing::between(&HashSet::new(), &vec![socket(1); SHOWN * 2]);
        assert_eq!((differing.n(), differing.addresses().len()), (SHOWN * 2, SHOWN));
    }

    #[test]
    fn one_begins_so_long_after_the_last_began() {
        let start = Instant::now();
        let mut comparison = Comparison::new(EVERY, start);
        for (took, next) in [(EVERY / 6, EVERY), (EVERY / 2, EVERY), (EVERY * 2, EVERY * 5 / 2)] {
            let Turn::At(began) = comparison.turn(start, looks(start)) else { panic!("none yet") };
            assert_eq!(comparison.turn(began, looks(start)), Turn::Begin);
            comparison.begin(began, []);
            let end = comparison.turn(began + took, looks(start));
            assert_eq!(end, Turn::End { n_compared: 0, n_differing: 0 });
            assert_eq!(comparison.turn(start, looks(start)), Turn::At(began + next));
        }
    }

    #[test]
    fn a_namespace_that_cannot_be_read_differs_in_nothing() {
        let now = Instant::now();
        let mut comparison = Comparison::new(Duration::ZERO, now);
        comparison.begin(now, [POD]);
        comparison.read(now, None);
        let end = comparison.turn(now, looks(now));
        assert_eq!(end, Turn::End { n_compared: 0, n_differing: 0 });
    }
}
