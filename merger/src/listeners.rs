//! Who listens where: one snapshot, then "look again".
//!
//! A rung is one way to know it. All rungs give the same rows; they differ in how soon. Which rung
//! is in use, and what a row means for a pod, is decided by others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Cookie,
    target::{Doubt, Holder, Listener},
};

pub use self::rows::{LeftOut, Payer, ROWS, ROWS_OF_ONE, Rows};

#[cfg(feature = "ebpf")]
pub mod ebpf;
pub mod proc;
mod rows;
pub mod sock_diag;

/// Sockets of one namespace that are looked at. Of one with more, nobody is sure whose its listeners are.
pub const SOCKETS_PER_NETNS: usize = 1 << 14;

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

/// A listener and one who holds it, however many sockets and descriptors that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Joins rows into listeners, each with its holders, the oldest first.
///
/// `cgroup_of` knows the processes that live now. A holder that it does not know has ended, and a
/// listener whose holders have all ended is closed; one that never had a holder stays, and where that is
/// one of several sockets it is in doubt. Whether there may be holders that no row tells, others say.
#[must_use]
pub fn join(rows: &[Row], cgroup_of: impl Fn(Held) -> Option<Arc<str>>) -> Vec<Listener> {
    let mut sockets = BTreeMap::<_, Vec<Option<Held>>>::new();
    for &Row { netns, address, port, held_by } in rows {
        sockets.entry((netns, address, port)).or_default().push(held_by);
    }
    let listener = |((netns, address, port), mut held): (_, Vec<Option<Held>>)| {
        held.sort_unstable();
        held.dedup();
        let holder = |held: Held| Some(Holder { pid: held.pid, cgroup: cgroup_of(held)? });
        let holders: Vec<Holder> = held.iter().flatten().copied().filter_map(holder).collect();
        let has_unheld = held.contains(&None);
        let doubt = (has_unheld && !holders.is_empty()).then_some(Doubt::Unheld);
        let stays = has_unheld || !holders.is_empty();
        stays.then_some(Listener { netns, address, port, holders, doubt })
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
        let listeners = join(rows, |held| (held.pid != 9).then(|| format!("/{}", held.pid).into()));
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
    fn a_socket_that_nobody_holds_is_not_forgotten_beside_one_that_somebody_does() {
        let doubt = |rows: &[Row]| join(rows, |_| Some("/".into()))[0].doubt.clone();
        let [held, unheld] = [row(1, 80, Some((5, 2))), row(1, 80, None)];
        assert_eq!(doubt(&[held, unheld]), Some(Doubt::Unheld));
        assert_eq!([doubt(&[held]), doubt(&[unheld])], [None, None]);
        assert_eq!(doubt(&[held, row(1, 81, None)]), None);
    }
}
