//! How many open files are looked at, and of whom.
//!
//! To look at one takes about a microsecond, and a pod may have any number of them, in processes that
//! share or copy a table. So of each pod, and of each cgroup outside of pods, no more than [`OF_ONE`] are
//! looked at in one sweep. Whoever is first, which is who is oldest, takes half of what is left at most,
//! nobody less than [`OF_EACH`], and the low descriptors come first, so a listener that was opened early
//! is found. One that is found nowhere is nobody's, and is not asked.
//!
//! What is not seen then is that a process among these holds a listener of another pod that has one of
//! its own holders as well: whoever has handed it over could as well answer with what it was told.

use std::collections::HashMap;

use crate::{
    identity::{Process, cgroup_path},
    listeners::{Held, Payer},
    node::processes::{Hidden, Processes, open_sockets},
};

/// Files of one pod, or of one cgroup outside of pods, that are looked at in one sweep.
pub(in crate::node) const OF_ONE: usize = 1 << 18;

/// Files of one process that are looked at whoever is beside it.
pub(in crate::node) const OF_EACH: usize = 64;

/// Files that are looked at without one, for a single namespace.
const AT_ONCE: usize = 1 << 14;

/// What was looked at, and what could not be.
pub(super) struct Files<'p> {
    room: Room<'p>,
    /// The first of the processes whose files cannot be seen.
    pub(super) hidden: Option<Hidden>,
    /// One of the processes that have more than was looked at.
    pub(super) cut: Option<u32>,
}

/// Files that may still be looked at.
enum Room<'p> {
    /// So many.
    AtOnce(usize),
    /// So many of each pod or cgroup that is known here already.
    OfAll(&'p Processes, HashMap<String, usize>),
}

// === impl Files ===

impl<'p> Files<'p> {
    /// Those of a few processes, without a sweep.
    pub(super) fn at_once() -> Files<'static> {
        Files { room: Room::AtOnce(AT_ONCE), hidden: None, cut: None }
    }

    /// Those of all processes.
    pub(super) fn of_all(processes: &'p Processes) -> Self {
        Self { room: Room::OfAll(processes, HashMap::new()), hidden: None, cut: None }
    }

    /// The sockets that each of these processes has open now. The oldest of a pod come first.
    pub(super) fn sockets(
        &mut self,
        mut held: Vec<Held>,
    ) -> impl Iterator<Item = (Held, Vec<u64>)> {
        held.sort_unstable();
        held.into_iter().filter_map(|held| self.sockets_of(held))
    }

    fn sockets_of(&mut self, held: Held) -> Option<(Held, Vec<u64>)> {
        let Self { room, hidden, cut } = self;
        let (left, most) = match room {
            Room::AtOnce(left) => {
                let most = *left;
                (left, most)
            }
            Room::OfAll(processes, of_all) => {
                let left = of_all.entry(pod_or_cgroup(processes.get(held)?)).or_insert(OF_ONE);
                let most = (*left / 2).max(OF_EACH);
                (left, most)
            }
        };
        let mut room = most;
        let open = open_sockets(held.pid, &mut room);
        *left = left.saturating_sub(most - room);
        if room == 0 {
            *cut = Some(held.pid);
        }
        open.unwrap_or_else(|found| {
            let first = hidden.filter(|known| known.pid < found.pid);
            *hidden = Some(first.unwrap_or(found));
            None
        })
    }
}

/// Who pays for what a process holds.
pub(super) fn payer_of(processes: &Processes, held: Option<Held>) -> Payer<'_> {
    let Some(held) = held else { return Payer::Nobody };
    let Some(process) = processes.get(held) else { return Payer::Unknown };
    cgroup_path::place(&process.cgroup).map_or(Payer::NoPod, |place| Payer::Pod(place.pod))
}

/// Who has a share of its own.
pub(in crate::node) fn pod_or_cgroup(process: &Process) -> String {
    let owner = cgroup_path::owner(&process.cgroup);
    owner.map_or_else(|| (*process.cgroup).to_owned(), |owner| owner.pod_uid)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, process};

    use super::*;
    use crate::{identity::Cookie, node::processes::started};

    /// This process, as one of a pod or of none.
    fn own(cgroup: &str) -> (Processes, Held) {
        let (pid, started) = (process::id(), started(process::id()).unwrap());
        let process = Process { pid, started, netns: Cookie(2), cgroup: cgroup.into() };
        ([process].into_iter().collect(), Held { started, pid })
    }

    #[track_caller]
    fn check(mut files: Files<'_>, held: Held, n_looks: usize, cut: bool) {
        for _ in 0..n_looks {
            files.sockets(vec![held]).for_each(drop);
        }
        assert_eq!(files.cut.is_some(), cut);
    }

    #[test]
    fn each_pod_has_its_share_and_each_cgroup_outside_of_pods() {
        let _open: Vec<File> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        // At a hundred files each more than there is room for.
        let n_looks = OF_ONE / 50;
        for cgroup in ["/kubepods/pod6d657267-6572-4000-8000-000000000000/x", "/system.slice/x"] {
            let (processes, held) = own(cgroup);
            check(Files::of_all(&processes), held, 1, false);
            check(Files::of_all(&processes), held, n_looks, true);
        }
        let (_, held) = own("/");
        check(Files::at_once(), held, 1, false);
        check(Files::at_once(), held, AT_ONCE / 50, true);
    }
}
