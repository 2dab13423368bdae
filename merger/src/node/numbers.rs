//! Namespaces told apart where the kernel has no cookies for them: below 5.14.
//!
//! There is only the inode number, which is used again at once. But while a process is in a namespace
//! the namespace lives, and its number is nobody else's. So each namespace is given a cookie of our
//! own, which stays its own while at least one of the processes that were in it at the last sweep is
//! in it at the next. Where none is, whatever has that inode number now is taken for another. Within a
//! sweep a number is one namespace's as well, however many there are: `processes/reader.rs` sees to it.
//!
//! Not told is a process that left its namespace, and came back into another of the same number: a
//! pod may do that with namespaces of its own, and both are the pod's.

use std::collections::{HashMap, HashSet};

use crate::{identity::Cookie, listeners::Held};

/// The namespaces of the last sweep, by inode number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    n_given: u64,
    by_inode: HashMap<u64, Numbered>,
}

#[derive(Clone, Debug)]
struct Numbered {
    cookie: Cookie,
    within: HashSet<Held>,
}

// === impl Numbers ===

impl Numbers {
    /// What no namespace has: that of a process of which nothing is known.
    pub(crate) const UNKNOWN: Cookie = Cookie::made(0);

    /// Takes all processes of a sweep, each with the inode number of its namespace.
    pub(crate) fn settle(&mut self, processes: impl IntoIterator<Item = (Held, u64)>) {
        let mut found: HashMap<u64, HashSet<Held>> = HashMap::new();
        for (held, inode) in processes {
            found.entry(inode).or_default().insert(held);
        }
        let Self { n_given, by_inode } = self;
        let number = |(inode, within): (u64, HashSet<Held>)| {
            let same = by_inode.get(&inode).filter(|old| !old.within.is_disjoint(&within));
            let cookie = same.map_or_else(
                || {
                    *n_given += 1;
                    Cookie::made(*n_given)
                },
                |same| same.cookie,
            );
            (inode, Numbered { cookie, within })
        };
        *by_inode = found.into_iter().map(number).collect();
    }

    pub(crate) fn cookie(&self, inode: u64) -> Option<Cookie> {
        self.by_inode.get(&inode).map(|numbered| numbered.cookie)
    }

    /// The cookie of a namespace, if one of these processes, which are in it now, was in it before.
    pub(crate) fn cookie_with(&self, inode: u64, now: impl Fn(&Held) -> bool) -> Option<Cookie> {
        let numbered = self.by_inode.get(&inode)?;
        numbered.within.iter().any(now).then_some(numbered.cookie)
    }

    /// Something happened in the namespace of this number: it may be another by now.
    pub(crate) fn doubt(&mut self, inode: u64, is_there: impl Fn(Held) -> bool) {
        let numbered = self.by_inode.get(&inode);
        if numbered.is_some_and(|old| !old.within.iter().any(|&held| is_there(held))) {
            self.by_inode.remove(&inode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pid: u32, started: u64) -> Held {
        Held { started, pid }
    }

    fn settled(sweeps: &[&[(Held, u64)]]) -> Numbers {
        let mut numbers = Numbers::default();
        for sweep in sweeps {
            numbers.settle(sweep.iter().copied());
        }
        numbers
    }

    #[track_caller]
    fn check(sweeps: &[&[(Held, u64)]], stays: bool) {
        let (first, last) = (settled(&sweeps[..1]), settled(sweeps));
        assert_eq!(first.cookie(7) == last.cookie(7), stays, "{first:?} {last:?}");
        assert!(last.cookie(7).unwrap().is_made());
    }

    #[test]
    fn a_namespace_keeps_its_number_while_anybody_stays() {
        check(&[&[(held(1, 1), 7)], &[(held(1, 1), 7), (held(2, 2), 7)], &[(held(2, 2), 7)]], true);
    }

    #[test]
    fn an_inode_number_that_is_used_again_is_another_namespace() {
        check(&[&[(held(1, 1), 7)], &[(held(2, 2), 7)]], false);
        check(&[&[(held(1, 1), 7)], &[], &[(held(1, 1), 7)]], false);
    }

    #[test]
    fn a_process_of_the_same_id_is_another() {
        check(&[&[(held(1, 1), 7)], &[(held(1, 2), 7)]], false);
    }

    #[test]
    fn a_process_that_moved_takes_no_number_along() {
        check(&[&[(held(1, 1), 7), (held(2, 2), 8)], &[(held(2, 2), 7), (held(1, 1), 8)]], false);
    }

    #[test]
    fn a_number_is_never_given_twice() {
        let numbers = settled(&[&[(held(1, 1), 7)], &[], &[(held(1, 1), 8), (held(2, 2), 9)]]);
        let given = [numbers.cookie(8), numbers.cookie(9)];
        assert!(!given.contains(&Some(Cookie::made(1))) && given[0] != given[1], "{given:?}");
    }

    #[test]
    fn a_namespace_in_doubt_is_unknown_unless_somebody_is_still_there() {
        let mut numbers = settled(&[&[(held(1, 1), 7)]]);
        numbers.doubt(7, |held| held.pid == 1);
        assert!(numbers.cookie_with(7, |held| held.pid == 1).is_some());
        assert!(numbers.cookie_with(7, |held| held.pid == 2).is_none());
        numbers.doubt(7, |_| false);
        assert_eq!(numbers.cookie(7), None);
    }
}
