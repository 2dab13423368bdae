//! What was read of each namespace, kept until something changes there.
//!
//! The kernel tells the sockets of a namespace, and their holders are found by the files that
//! processes have open. That costs in proportion to the processes, so a socket whose holder is
//! found among the likely ones has it at once, and one whose holder is not has none until all
//! processes have been gone through.

use std::collections::{HashMap, HashSet};

use crate::{
    identity::Cookie,
    listeners::{Held, Payer, Row, Rows, Socket},
};

/// The listening sockets of the namespaces.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    by_netns: HashMap<Cookie, Vec<Kept>>,
    /// Namespaces with more sockets than were looked at.
    cut: HashSet<Cookie>,
}

/// A listening socket, and who holds it.
#[derive(Debug)]
struct Kept {
    socket: Socket,
    held_by: Vec<Held>,
    /// Whether all processes were gone through for it: where none holds it then, none does.
    sought: bool,
}

// === impl Memory ===

impl Memory {
    /// Takes what a namespace has now in the place of what it had. The holders are to be found again.
    pub(crate) fn put(&mut self, netns: Cookie, sockets: Vec<Socket>) {
        let old = self.by_netns.remove(&netns).unwrap_or_default();
        let sought: HashSet<u64> =
            old.iter().filter(|kept| kept.sought).map(|kept| kept.socket.inode).collect();
        let keep = |socket: Socket| {
            let sought = sought.contains(&socket.inode);
            Kept { socket, held_by: vec![], sought }
        };
        self.by_netns.insert(netns, sockets.into_iter().map(keep).collect());
        self.cut.remove(&netns);
    }

    /// What this namespace has now is more than was put here.
    #[cfg(feature = "ebpf")]
    pub(crate) fn cut(&mut self, netns: Cookie) {
        self.cut.insert(netns);
    }

    /// Forgets the namespaces that are not among these.
    pub(crate) fn retain(&mut self, netns: &HashSet<Cookie>) {
        self.by_netns.retain(|known, _| netns.contains(known));
        self.cut.retain(|known| netns.contains(known));
    }

    /// Forgets the sockets that are not to be kept.
    #[cfg(feature = "ebpf")]
    pub(crate) fn retain_sockets(&mut self, stays: impl Fn(Cookie, &Socket) -> bool) {
        for (netns, all) in &mut self.by_netns {
            all.retain(|kept| stays(*netns, &kept.socket));
        }
    }

    /// The processes that hold a socket of this namespace, as far as is known.
    pub(crate) fn holders(&self, netns: Cookie) -> impl Iterator<Item = Held> {
        self.by_netns.get(&netns).into_iter().flatten().flat_map(|kept| &kept.held_by).copied()
    }

    /// Finds who holds the sockets of these namespaces among processes that have these sockets open.
    pub(crate) fn find(
        &mut self,
        netns: &HashSet<Cookie>,
        open: impl IntoIterator<Item = (Held, Vec<u64>)>,
    ) {
        let mut by_inode: HashMap<u64, &mut Kept> = HashMap::new();
        for (_, all) in self.by_netns.iter_mut().filter(|(known, _)| netns.contains(known)) {
            by_inode.extend(all.iter_mut().map(|kept| (kept.socket.inode, kept)));
        }
        if by_inode.is_empty() {
            return;
        }
        for (held, inodes) in open {
            for inode in inodes {
                if let Some(kept) = by_inode.get_mut(&inode)
                    && kept.held_by.last() != Some(&held)
                {
                    kept.held_by.push(held);
                }
            }
        }
    }

    /// The same among all processes there are: what is not found then is not held.
    pub(crate) fn find_all(
        &mut self,
        netns: &HashSet<Cookie>,
        open: impl IntoIterator<Item = (Held, Vec<u64>)>,
    ) {
        let of_these = |(known, _): &(&Cookie, _)| netns.contains(known);
        for kept in self.by_netns.iter_mut().filter(of_these).flat_map(|(_, all)| all) {
            kept.held_by.clear();
            kept.sought = true;
        }
        self.find(netns, open);
    }

    /// Whether these very sockets are known.
    #[cfg(feature = "ebpf")]
    pub(crate) fn has_all(&self, netns: Cookie, sockets: &[Socket]) -> bool {
        let kept = self.by_netns.get(&netns).into_iter().flatten();
        let known: HashSet<u64> = kept.map(|kept| kept.socket.inode).collect();
        sockets.iter().all(|socket| known.contains(&socket.inode))
    }

    /// Whether each socket of this namespace has a holder, or is known to have none.
    pub(crate) fn is_explained(&self, netns: Cookie) -> bool {
        let mut all = self.by_netns.get(&netns).into_iter().flatten();
        all.all(|kept| kept.sought || !kept.held_by.is_empty())
    }

    /// The namespaces with a socket whose holders have all ended, as far as is known: it is closed,
    /// or a child has it.
    pub(crate) fn bereft(&self, lives: impl Fn(Held) -> bool) -> Vec<Cookie> {
        let is_bereft =
            |kept: &Kept| !kept.held_by.is_empty() && !kept.held_by.iter().any(|&held| lives(held));
        let bereft = self.by_netns.iter().filter(|(_, all)| all.iter().any(is_bereft));
        bereft.map(|(&netns, _)| netns).collect()
    }

    /// Tells everything that is explained. Nothing is sure of a namespace with more sockets than `most`.
    pub(crate) fn tell<'a>(
        &self,
        rows: &mut Rows,
        most: usize,
        payer: impl Fn(Option<Held>) -> Payer<'a>,
    ) {
        for (&netns, all) in &self.by_netns {
            if all.len() > most || self.cut.contains(&netns) {
                rows.cut(netns);
            }
            for Kept { socket: Socket { address, port, inode: _ }, held_by, sought } in all {
                let nobody = (held_by.is_empty() && *sought).then_some(None);
                for held_by in held_by.iter().copied().map(Some).chain(nobody) {
                    let row = Row { netns, address: *address, port: *port, held_by };
                    rows.push(row, || payer(held_by));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::listeners::SOCKETS_PER_NETNS;

    const POD: Cookie = Cookie(2);

    fn socket(inode: u64) -> Socket {
        let port = u16::try_from(inode).unwrap().try_into().unwrap();
        Socket { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port, inode }
    }

    fn held(pid: u32) -> Held {
        Held { started: 5, pid }
    }

    fn pods() -> HashSet<Cookie> {
        HashSet::from([POD])
    }

    /// Sockets 80 and 81, of which process 7 holds the first.
    fn mk_memory() -> Memory {
        let mut memory = Memory::default();
        memory.put(POD, vec![socket(80), socket(81)]);
        memory.find(&pods(), [(held(7), vec![80, 4711])]);
        memory
    }

    fn rows(memory: &Memory) -> Rows {
        let mut rows = Rows::default();
        memory.tell(&mut rows, SOCKETS_PER_NETNS, |_| Payer::NoPod);
        rows
    }

    #[track_caller]
    fn check(memory: &Memory, expected: &[(u16, Option<u32>)]) {
        let mut rows: Vec<_> = rows(memory)
            .iter()
            .map(|row| (row.port.get(), row.held_by.map(|held| held.pid)))
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_socket_is_nobodys_until_all_were_asked() {
        let mut memory = mk_memory();
        check(&memory, &[(80, Some(7))]);
        assert!(!memory.is_explained(POD));
        memory.find_all(&pods(), [(held(7), vec![80]), (held(8), vec![80])]);
        check(&memory, &[(80, Some(7)), (80, Some(8)), (81, None)]);
        assert!(memory.is_explained(POD));
    }

    #[test]
    fn a_socket_that_nobody_held_is_not_sought_again() {
        let mut memory = mk_memory();
        memory.find_all(&pods(), []);
        memory.put(POD, vec![socket(81), socket(82)]);
        check(&memory, &[(81, None)]);
        memory.put(POD, vec![socket(81)]);
        assert!(memory.is_explained(POD));
    }

    #[test]
    fn what_is_read_again_takes_the_place_of_what_was() {
        let mut memory = mk_memory();
        assert_eq!(memory.holders(POD).collect::<Vec<_>>(), [held(7)]);
        memory.put(POD, vec![]);
        check(&memory, &[]);
        assert!(memory.is_explained(POD));
    }

    #[test]
    fn a_namespace_that_is_gone_takes_its_sockets_along() {
        let mut memory = mk_memory();
        memory.retain(&HashSet::new());
        check(&memory, &[]);
    }

    #[test]
    fn a_socket_is_bereft_when_its_last_holder_has_ended() {
        let mut memory = mk_memory();
        memory.find(&pods(), [(held(8), vec![80])]);
        assert_eq!(memory.bereft(|held| held.pid == 8), []);
        assert_eq!(memory.bereft(|_| false), [POD]);
    }

    #[test]
    fn of_a_namespace_with_more_sockets_than_are_looked_at_nothing_is_sure() {
        let mut memory = Memory::default();
        for n in [SOCKETS_PER_NETNS, SOCKETS_PER_NETNS + 1] {
            memory.put(POD, (1..=n).map(|inode| socket(inode.try_into().unwrap())).collect());
            let Socket { address, port, .. } = socket(80);
            let is_cut = rows(&memory).left_out().may_have(POD, address, port);
            assert_eq!(is_cut, n > SOCKETS_PER_NETNS, "{n}");
        }
    }

    #[cfg(feature = "ebpf")]
    #[test]
    fn of_a_namespace_that_was_cut_nothing_is_sure_until_it_is_read_again() {
        let mut memory = mk_memory();
        let Socket { address, port, .. } = socket(80);
        let is_cut = |memory: &Memory| rows(memory).left_out().may_have(POD, address, port);
        memory.cut(POD);
        assert!(is_cut(&memory));
        memory.put(POD, vec![socket(80)]);
        assert!(!is_cut(&memory));
        memory.cut(POD);
        memory.retain(&HashSet::new());
        memory.put(POD, vec![socket(80)]);
        assert!(!is_cut(&memory));
    }

    #[cfg(feature = "ebpf")]
    #[test]
    fn a_socket_at_the_address_of_another_is_news() {
        let mut memory = Memory::default();
        memory.put(POD, vec![socket(80)]);
        let other = Socket { inode: 4711, ..socket(80) };
        assert!(memory.has_all(POD, &[socket(80)]) && memory.has_all(Cookie(3), &[]));
        assert!(!memory.has_all(POD, &[socket(80), other]));
        assert!(!memory.has_all(Cookie(3), &[socket(80)]));
    }

    #[test]
    fn two_descriptors_of_one_process_are_one_row() {
        let mut memory = mk_memory();
        memory.find(&pods(), [(held(8), vec![81, 81])]);
        check(&memory, &[(80, Some(7)), (81, Some(8))]);
    }
}
