//! Which sockets a walk over open files has found.
//!
//! A socket is known by its namespace and the number of its inode, by which the namespace itself tells it as
//! well: of several that share an address by `SO_REUSEPORT`, one may be held and another not.
//!
//! How many sockets a namespace has is up to its pod. Of one with more than are looked at none is kept, as
//! nobody is sure then whose its listeners are.

use std::collections::{HashMap, HashSet};

use crate::identity::Cookie;

/// The sockets that are in some table of files.
#[derive(Debug, Default)]
pub(super) struct Walked {
    by_netns: HashMap<Cookie, HashSet<u64>>,
    /// Namespaces with more than that.
    crowded: HashSet<Cookie>,
    /// Sockets of one namespace that are looked at.
    most: usize,
}

// === impl Walked ===

impl Walked {
    /// None yet, of which each namespace may have so many.
    pub(super) fn of_at_most(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes a socket, by the number of its inode. It comes once for each descriptor that refers to it.
    pub(super) fn add(&mut self, netns: Cookie, inode: u64) {
        if self.crowded.contains(&netns) {
            return;
        }
        let inodes = self.by_netns.entry(netns).or_default();
        inodes.insert(inode);
        if inodes.len() > self.most {
            self.by_netns.remove(&netns);
            self.crowded.insert(netns);
        }
    }

    /// Whether somebody holds the socket of this inode number. Of a namespace with too many that is taken to
    /// be so: all of its listeners are in doubt.
    pub(super) fn has(&self, netns: Cookie, inode: u64) -> bool {
        let has = |inodes: &HashSet<u64>| inodes.contains(&inode);
        self.crowded.contains(&netns) || self.by_netns.get(&netns).is_some_and(has)
    }

    /// The namespaces with more sockets than are looked at.
    pub(super) fn crowded(&self) -> impl Iterator<Item = Cookie> {
        self.crowded.iter().copied()
    }

    /// The namespaces with a socket that was in a table of files before and is in none now: it is closed, or
    /// in a message.
    pub(super) fn bereft(&self, before: &Self) -> HashSet<Cookie> {
        let is_bereft = |netns: Cookie, inodes: &HashSet<u64>| {
            inodes.iter().any(|&inode| !self.has(netns, inode))
        };
        let known =
            before.by_netns.iter().map(|(&netns, inodes)| (netns, is_bereft(netns, inodes)));
        // Of one that had too many it is not known which they were.
        let crowded = before.crowded().map(|netns| (netns, !self.crowded.contains(&netns)));
        known.chain(crowded).filter(|&(_, is_bereft)| is_bereft).map(|(netns, _)| netns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Cookie = Cookie(2);
    const OTHER: Cookie = Cookie(3);
    const MOST: usize = 3;

    fn walked(found: &[(Cookie, u64)]) -> Walked {
        let mut walked = Walked::of_at_most(MOST);
        for &(netns, inode) in found {
            walked.add(netns, inode);
        }
        walked
    }

    #[test]
    fn of_two_sockets_at_one_address_each_is_told_from_the_other() {
        let walked = walked(&[(POD, 80), (OTHER, 81)]);
        let has = [walked.has(POD, 80), walked.has(POD, 81), walked.has(OTHER, 81)];
        assert_eq!(has, [true, false, true]);
    }

    #[track_caller]
    fn check_bereft(before: &[(Cookie, u64)], now: &[(Cookie, u64)], expected: &[Cookie]) {
        let (before, now) = (walked(before), walked(now));
        assert_eq!(now.bereft(&before), expected.iter().copied().collect());
    }

    #[test]
    fn a_socket_that_left_all_tables_is_missed_though_another_has_its_address() {
        let both = [(POD, 80), (POD, 81), (OTHER, 80)];
        check_bereft(&both, &both, &[]);
        check_bereft(&both, &[(POD, 80), (OTHER, 80)], &[POD]);
        check_bereft(&both, &[(POD, 80), (POD, 82), (OTHER, 80)], &[POD]);
        check_bereft(&both, &both[..2], &[OTHER]);
        check_bereft(&both[..2], &both, &[]);
    }

    #[test]
    fn of_a_namespace_with_too_many_sockets_none_is_kept_and_none_is_nobodys() {
        let of_pod = |n: u64| (1..=n).map(|inode| (POD, inode)).collect::<Vec<_>>();
        let [enough, more] = [of_pod(3), of_pod(5)];
        // Two descriptors refer to each.
        let enough = [&enough[..], &enough[..]].concat();
        for (found, is_crowded) in [(&enough, false), (&more, true)] {
            let walked = walked(found);
            assert_eq!(walked.crowded().any(|netns| netns == POD), is_crowded);
            assert_eq!(walked.has(POD, 4711), is_crowded);
            assert_eq!(walked.by_netns.is_empty(), is_crowded);
        }
        check_bereft(&more, &more, &[]);
        check_bereft(&enough, &more, &[]);
        check_bereft(&more, &enough, &[POD]);
    }
}
