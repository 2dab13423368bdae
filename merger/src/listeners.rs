//! Who listens where: one snapshot, then "look again".
//!
//! A rung is one way to know it. All rungs give the same rows; they differ in how soon. Which rung
//! is in use, and what a row means for a pod, is decided by others.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    net::IpAddr,
    num::NonZeroU16,
};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Cookie,
    target::{Holder, Listener},
};

#[cfg(feature = "ebpf")]
pub mod ebpf;
pub mod proc;
pub mod sock_diag;

/// Rows that one namespace may have in a snapshot. The rest are counted and left out, so that a
/// pod with a million descriptors costs its own listeners and nobody else's. Of such a namespace
/// nobody is sure whose its listeners are.
pub const ROWS_PER_NETNS: usize = 4096;

/// Rows that a snapshot may have, of all namespaces together: about 20 MB. At this limit the share of
/// each namespace is halved, so that a pod with many namespaces takes from those with the most rows.
pub const ROWS: usize = 1 << 18;

/// A way to know the listeners of this node: the rungs of the design that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// Changes by `tp_btf/inet_sock_set_state`, snapshots by `iter/task_file`.
    Ebpf,
    /// The same changes; snapshots by what `NETLINK_SOCK_DIAG` says in each namespace that changed.
    EbpfSockDiag,
    /// What `NETLINK_SOCK_DIAG` says in each namespace, and a sweep over `/proc/<pid>/fd`.
    SockDiag,
    /// A sweep over `/proc/<pid>/net/tcp` and `/proc/<pid>/fd`.
    Proc,
}

/// A listening socket, without the process that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The address it is bound to. IPv4 mapped into IPv6 is IPv4 here.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: NonZeroU16,
    /// The number in `socket:[…]` of the descriptors that refer to it.
    pub inode: u64,
}

/// One listening socket in one table of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The namespace of the socket.
    pub netns: Cookie,
    /// The address it is bound to. IPv4 mapped into IPv6 is IPv4 here.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: NonZeroU16,
    /// The process that holds it, where one does.
    pub held_by: Option<Held>,
}

/// A process, told from a later one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// In clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
    /// Its id in the host's PID namespace.
    pub pid: u32,
}

/// The rows of one sweep, within the limits.
#[derive(Clone, Debug)]
pub struct Rows {
    /// In no order.
    pub rows: Vec<Row>,
    /// Rows beyond [`ROWS_PER_NETNS`] or [`ROWS`], left out.
    pub n_left_out: u64,
    /// The namespaces that rows were left out of.
    pub cut: HashSet<Cookie>,
    per_netns: BTreeMap<Cookie, usize>,
    /// Rows that one namespace may have now.
    share: usize,
}

/// Joins rows into listeners, each with its holders, the oldest first.
///
/// `cgroup_of` knows the processes that live now. A holder that it does not know has ended, and a
/// listener whose holders have all ended is closed; one that never had a holder stays. Whether there
/// may be holders that no row tells, others say.
#[must_use]
pub fn join(rows: &[Row], cgroup_of: impl Fn(Held) -> Option<String>) -> Vec<Listener> {
    let mut sockets = BTreeMap::<_, Vec<Option<Held>>>::new();
    for &Row { netns, address, port, held_by } in rows {
        sockets.entry((netns, address, port)).or_default().push(held_by);
    }
    let listener = |((netns, address, port), mut held): (_, Vec<Option<Held>>)| {
        held.sort_unstable();
        held.dedup();
        let holder = |held: Held| Some(Holder { pid: held.pid, cgroup: cgroup_of(held)? });
        let holders: Vec<Holder> = held.iter().flatten().copied().filter_map(holder).collect();
        let stays = !holders.is_empty() || held.contains(&None);
        stays.then_some(Listener { netns, address, port, holders, doubt: None })
    };
    sockets.into_iter().filter_map(listener).collect()
}

/// Leaves out each listener of which a row is not known: whoever holds it may be the one that answers, so
/// those who are known do not have it for themselves.
pub fn retain_known(rows: &mut Vec<Row>, is_known: impl Fn(&Row) -> bool) {
    let socket = |&Row { netns, address, port, held_by: _ }: &Row| (netns, address, port);
    let unknown: BTreeSet<_> = rows.iter().filter(|row| !is_known(row)).map(socket).collect();
    rows.retain(|row| !unknown.contains(&socket(row)));
}

// === impl Rung ===

impl Rung {
    /// The best first.
    pub const ALL: [Self; 4] = [Self::Ebpf, Self::EbpfSockDiag, Self::SockDiag, Self::Proc];

    /// The name in flags, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::EbpfSockDiag => "ebpf_sock_diag",
            Self::SockDiag => "sock_diag",
            Self::Proc => "proc",
        }
    }

    /// The number in the design's table; 1 is the best.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ebpf => 1,
            Self::EbpfSockDiag => 2,
            Self::SockDiag => 3,
            Self::Proc => 4,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Rows ===

impl Rows {
    /// Takes a row, unless its namespace has had its share, or all have.
    pub fn push(&mut self, row: Row) {
        if self.rows.len() == ROWS && self.share > 1 {
            self.halve();
        }
        let taken = self.per_netns.entry(row.netns).or_default();
        if *taken == self.share || self.rows.len() == ROWS {
            self.n_left_out += 1;
            self.cut.insert(row.netns);
            return;
        }
        *taken += 1;
        self.rows.push(row);
    }

    /// Leaves each namespace half of its share, and so room for those that come late.
    fn halve(&mut self) {
        let Self { rows, n_left_out, cut, per_netns, share } = self;
        *share /= 2;
        per_netns.clear();
        rows.retain(|row| {
            let taken = per_netns.entry(row.netns).or_default();
            let stays = *taken < *share;
            *taken += usize::from(stays);
            *n_left_out += u64::from(!stays);
            if !stays {
                cut.insert(row.netns);
            }
            stays
        });
    }
}

impl Default for Rows {
    fn default() -> Self {
        let (rows, cut, per_netns) = (vec![], HashSet::new(), BTreeMap::new());
        Self { rows, n_left_out: 0, cut, per_netns, share: ROWS_PER_NETNS }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn row(netns: u64, port: u16, held_by: Option<(u64, u32)>) -> Row {
        let held_by = held_by.map(|(started, pid)| Held { started, pid });
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Row { netns: Cookie(netns), address, port: NonZeroU16::new(port).unwrap(), held_by }
    }

    /// Process 9 has ended; the others live in a cgroup of their number.
    #[track_caller]
    fn check(rows: &[Row], expected: &[(u64, u16, &[u32])]) {
        let listeners = join(rows, |held| (held.pid != 9).then(|| format!("/{}", held.pid)));
        let found: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let pids: Vec<u32> = listener.holders.iter().map(|holder| holder.pid).collect();
                (listener.netns.0, listener.port.get(), pids)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|&(netns, port, pids)| (netns, port, pids.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_listener_that_somebody_unknown_holds_is_nobody_elses() {
        let known = [row(1, 81, Some((5, 2))), row(2, 80, Some((5, 2))), row(1, 82, None)];
        let shared = [row(1, 80, Some((5, 2))), row(1, 80, Some((6, 3)))];
        let mut rows = [&known[..], &shared[..]].concat();
        retain_known(&mut rows, |row| row.held_by.is_none_or(|held| held.pid != 3));
        assert_eq!(rows, known);
    }

    #[test]
    fn two_descriptors_of_one_process_are_one_holder() {
        check(&[row(1, 80, Some((5, 2))), row(1, 80, Some((5, 2)))], &[(1, 80, &[2])]);
    }

    #[test]
    fn holders_come_oldest_first_whatever_their_pid() {
        check(&[row(1, 80, Some((7, 2))), row(1, 80, Some((5, 3)))], &[(1, 80, &[3, 2])]);
    }

    #[test]
    fn the_same_port_in_two_namespaces_is_two_listeners() {
        check(
            &[row(2, 80, Some((5, 2))), row(1, 80, Some((6, 3)))],
            &[(1, 80, &[3]), (2, 80, &[2])],
        );
    }

    #[test]
    fn a_listener_ends_with_its_last_holder() {
        check(
            &[row(1, 80, Some((5, 9))), row(1, 81, Some((5, 9))), row(1, 81, Some((6, 2)))],
            &[(1, 81, &[2])],
        );
    }

    #[test]
    fn a_listener_that_no_process_holds_is_one_without_holders() {
        check(&[row(1, 80, None)], &[(1, 80, &[])]);
    }

    #[test]
    fn one_namespace_cannot_crowd_out_another() {
        let mut rows = Rows::default();
        for _ in 0..ROWS_PER_NETNS + 3 {
            rows.push(row(1, 80, Some((5, 2))));
        }
        rows.push(row(2, 80, Some((5, 3))));
        assert_eq!((rows.rows.len(), rows.n_left_out), (ROWS_PER_NETNS + 1, 3));
        assert_eq!(rows.rows.last().map(|row| row.netns), Some(Cookie(2)));
        assert_eq!(rows.cut, HashSet::from([Cookie(1)]));
    }

    #[test]
    fn many_namespaces_cannot_crowd_out_one_that_comes_late() {
        let mut rows = Rows::default();
        let n_greedy = u64::try_from(ROWS / ROWS_PER_NETNS).unwrap() + 1;
        for netns in 0..n_greedy {
            for _ in 0..ROWS_PER_NETNS {
                rows.push(row(netns, 80, Some((5, 2))));
            }
        }
        rows.push(row(n_greedy, 80, Some((5, 3))));
        assert_eq!(rows.rows.last().map(|row| row.netns), Some(Cookie(n_greedy)));
        assert!(rows.rows.len() <= ROWS);
        assert_eq!(rows.cut, (0..n_greedy).map(Cookie).collect());
        let all = n_greedy * u64::try_from(ROWS_PER_NETNS).unwrap() + 1;
        assert_eq!(u64::try_from(rows.rows.len()).unwrap() + rows.n_left_out, all);
    }
}
