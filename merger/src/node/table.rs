//! What was known of the processes in the last sweep, and what a new holder of a listener adds.
//!
//! Whose a namespace is, its oldest process decides, and who that is only a sweep finds. So where a
//! holder turns up that the table does not explain, it alone is looked at, and its namespace's
//! oldest process with it: while that one is as the sweep found it, everything that came since is
//! younger. Only where that is not so, or the namespace is new, are all processes gone through.
//!
//! No I/O here but in [`Table::read`] and [`Table::refresh`].

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    identity::{Cookie, Process, cgroup_path},
    listeners::Held,
    node::{Error, host, numbers::Numbers, policy::Known, processes::Processes},
};

/// A process that holds a listener, and the listener's namespace: not always its own.
pub(crate) type Holder = (Held, Cookie);

/// The last sweep over the processes, and what was learned of some of them since.
pub(crate) struct Table {
    pub(crate) processes: Processes,
    pub(crate) known: Known,
    /// The oldest process of each namespace, as far as is known.
    oldest: HashMap<Cookie, Held>,
    /// The pods that had a process in the sweep.
    pods: HashSet<String>,
    /// The holders that were looked at when they listened already. What the table says of any other
    /// may be what that was before, such as a container's first process that had not entered its
    /// cgroup yet.
    seen: HashSet<Holder>,
}

// === impl Table ===

impl Table {
    /// Sweeps. The holders are those that were known to hold a listener before.
    /// Where the kernel has no cookies, they are those of the sweep before, and so is the host's
    /// namespace where it is not seen again.
    pub(crate) fn read(
        holders: HashSet<Holder>,
        numbers: Option<Numbers>,
        before: Option<Cookie>,
    ) -> Result<Self, Error> {
        let processes = Processes::sweep_for(numbers).map_err(Error::Processes)?;
        let host = host::namespace(&processes, before)?;
        Ok(Self::new(processes, host, holders))
    }

    /// Finds the oldest process of the namespaces in which holders are unknown: reads those that are
    /// new, that moved, or that are or were known to be in there.
    pub(crate) fn refresh(&self, holders: HashSet<Holder>) -> Result<Self, Error> {
        let unknown = || holders.difference(&self.seen);
        let pids: HashSet<u32> = unknown().map(|(held, _)| held.pid).collect();
        let netns: HashSet<Cookie> = unknown().map(|&(_, netns)| netns).collect();
        let doubt =
            |process: &Process| pids.contains(&process.pid) || netns.contains(&process.netns);
        let processes = self.processes.refresh(doubt).map_err(Error::Processes)?;
        let host = host::namespace(&processes, Some(self.known.host))?;
        Ok(Self::new(processes, host, holders))
    }

    fn new(processes: Processes, host: Cookie, seen: HashSet<Holder>) -> Self {
        let mut oldest = HashMap::new();
        processes.iter().for_each(|process| keep_oldest(&mut oldest, process));
        let netns: HashSet<Cookie> = oldest.keys().copied().collect();
        let known = Known { host, netns: netns.clone(), pods: HashSet::new() };
        let pods = processes.iter().filter_map(pod).collect();
        let mut table = Self { processes, known, oldest, pods, seen };
        for netns in netns {
            table.attribute(netns);
        }
        table
    }

    /// Sees whether a namespace is a pod's, as far as the policy wants to know.
    fn attribute(&mut self, netns: Cookie) {
        let oldest = self.oldest.get(&netns).and_then(|&oldest| self.processes.get(oldest));
        if oldest.and_then(pod).is_some() {
            self.known.pods.insert(netns);
        } else {
            self.known.pods.remove(&netns);
        }
    }

    /// The holders that nothing is known of, among all that there are now. The others are forgotten:
    /// one that listens again may be elsewhere by then.
    pub(crate) fn unknown(&mut self, holders: &HashSet<Holder>) -> Vec<Holder> {
        self.seen.retain(|seen| holders.contains(seen));
        holders.difference(&self.seen).copied().collect()
    }

    /// Whether this holder is known as it was when it listened already.
    pub(crate) fn has_seen(&self, holder: Holder) -> bool {
        self.seen.contains(&holder)
    }

    /// The processes that have to be looked at before these holders are known.
    pub(crate) fn suspects(&self, unknown: &[Holder]) -> BTreeSet<u32> {
        let oldest = |netns| self.oldest.get(netns).map(|oldest| oldest.pid);
        unknown.iter().flat_map(|(held, netns)| [Some(held.pid), oldest(netns)]).flatten().collect()
    }

    /// Learns what the suspects are now, and whether that is enough: if not, the holders that it is
    /// not enough for stay unknown until a sweep.
    pub(crate) fn learn(&mut self, unknown: &[Holder], now: &Processes) -> bool {
        let mut enough = true;
        for &holder in unknown {
            if self.explains(holder, now) {
                now.get(holder.0).iter().for_each(|new| keep_oldest(&mut self.oldest, new));
                self.processes.take(holder.0, now);
                if let Some(new) = now.get(holder.0) {
                    self.attribute(new.netns);
                }
                self.seen.insert(holder);
            } else {
                enough = false;
            }
        }
        enough
    }

    /// Whether the oldest process of the listener's namespace is known, and with the holder came
    /// neither a namespace nor a pod that the sweep has not found.
    fn explains(&self, (held, netns): Holder, now: &Processes) -> bool {
        let oldest = self.oldest.get(&netns);
        let is_as_found = |&oldest: &Held| {
            // One that moved away is as it was found there, and not here.
            let found = now.get(oldest).filter(|found| found.netns == netns);
            found.is_some() && found == self.processes.get(oldest)
        };
        let is_placed = |process: &Process| {
            self.oldest.contains_key(&process.netns)
                && pod(process).is_none_or(|pod| self.pods.contains(&pod))
        };
        oldest.is_some_and(is_as_found) && now.get(held).is_none_or(is_placed)
    }
}

fn keep_oldest(oldest: &mut HashMap<Cookie, Held>, process: &Process) {
    let &Process { pid, started, netns, .. } = process;
    let held = Held { started, pid };
    let known = oldest.entry(netns).or_insert(held);
    *known = held.min(*known);
}

fn pod(process: &Process) -> Option<String> {
    cgroup_path::owner(&process.cgroup).map(|owner| owner.pod_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u64 = 1;
    const POD: u64 = 2;

    const UID: &str = "-0000-0000-0000-000000000000";

    fn mk_process(pid: u32, netns: u64, pod: char) -> Process {
        let cgroup = format!("/kubepods/pod{}/c{pid}", pod.to_string().repeat(8) + UID).into();
        Process { pid, started: u64::from(pid), netns: Cookie(netns), cgroup }
    }

    fn held(pid: u32) -> Held {
        Held { started: u64::from(pid), pid }
    }

    fn holder(pid: u32, netns: u64) -> Holder {
        (held(pid), Cookie(netns))
    }

    /// Process 1 is the host's, 10 and 11 are pod a's, 20 is pod b's.
    fn swept() -> Vec<Process> {
        vec![
            mk_process(1, HOST, 'f'),
            mk_process(10, POD, 'a'),
            mk_process(11, POD, 'a'),
            mk_process(20, 3, 'b'),
        ]
    }

    /// The table of [`swept`] meets one holder, when those processes are as they are in `now`.
    #[track_caller]
    fn check(new: Holder, now: &[Process], expected: Result<&[u32], ()>) {
        let mut table = Table::new(swept().into_iter().collect(), Cookie(HOST), HashSet::new());
        let suspects = table.suspects(&[new]);
        let seen = now.iter().filter(|process| suspects.contains(&process.pid)).cloned().collect();
        let enough = table.learn(&[new], &seen);
        assert_eq!((enough, table.has_seen(new)), (expected.is_ok(), expected.is_ok()), "{new:?}");
        if let Ok(expected) = expected {
            let within = table.processes.within(new.1);
            let pids: Vec<u32> = within.iter().map(|process| process.pid).collect();
            assert_eq!(pids, expected, "{new:?}");
        }
    }

    fn with(process: Process) -> Vec<Process> {
        let mut now = swept();
        now.retain(|old| old.pid != process.pid);
        now.push(process);
        now
    }

    #[test]
    fn a_young_process_of_a_known_namespace_needs_no_sweep() {
        check(holder(12, POD), &with(mk_process(12, POD, 'a')), Ok(&[10, 11, 12]));
    }

    #[test]
    fn a_new_namespace_needs_one_whosever_the_holder_is() {
        check(holder(12, 9), &with(mk_process(12, 9, 'a')), Err(()));
        check(holder(11, 9), &swept(), Err(()));
        check(holder(12, POD), &with(mk_process(12, 9, 'a')), Err(()));
    }

    #[test]
    fn a_new_pod_needs_one() {
        check(holder(12, POD), &with(mk_process(12, POD, 'c')), Err(()));
    }

    #[test]
    fn so_does_an_oldest_process_that_is_not_as_it_was() {
        check(holder(11, POD), &with(mk_process(10, POD, 'b')), Err(()));
        check(holder(11, POD), &with(mk_process(10, 3, 'a')), Err(()));
        check(holder(11, POD), &swept()[2..], Err(()));
        check(holder(10, POD), &with(mk_process(10, POD, 'b')), Err(()));
    }

    #[test]
    fn a_process_that_moved_is_known_where_it_is() {
        check(holder(11, 3), &with(mk_process(11, 3, 'b')), Ok(&[11, 20]));
        check(holder(11, POD), &with(mk_process(11, POD, 'b')), Ok(&[10, 11]));
    }

    #[test]
    fn a_namespace_whose_oldest_process_moved_away_needs_one() {
        let mut table = Table::new(swept().into_iter().collect(), Cookie(HOST), HashSet::new());
        let now: Processes = with(mk_process(10, 3, 'a')).into_iter().collect();
        assert!(table.learn(&[holder(10, 3)], &now));
        assert!(!table.learn(&[holder(11, POD)], &now));
    }

    #[test]
    fn a_namespace_is_a_pods_while_its_oldest_process_is() {
        let of_node = |netns| Process { cgroup: "/init.scope".into(), ..mk_process(1, netns, 'f') };
        let swept: Processes = with(of_node(HOST)).into_iter().collect();
        let mut table = Table::new(swept, Cookie(HOST), HashSet::new());
        assert_eq!(table.known.pods, HashSet::from([Cookie(POD), Cookie(3)]));
        // One of the node's was there before any pod, and is in the namespace of one now.
        let now: Processes = with(of_node(3)).into_iter().collect();
        assert!(table.learn(&[holder(1, 3)], &now));
        assert_eq!(table.known.pods, HashSet::from([Cookie(POD)]));
    }

    #[test]
    fn a_holder_that_has_ended_is_no_process_any_more() {
        let mut now = swept();
        now.remove(2);
        check(holder(11, POD), &now, Ok(&[10]));
        check(holder(12, POD), &swept(), Ok(&[10, 11]));
    }

    #[test]
    fn a_holder_that_cannot_be_looked_into_has_not_ended() {
        let mut table = Table::new(swept().into_iter().collect(), Cookie(HOST), HashSet::new());
        let now: Processes = swept().into_iter().collect();
        assert!(table.learn(&[holder(12, POD)], &now.clone().hiding(12)));
        assert!(table.processes.is_hidden(12));
        // One that nobody may look into any more may be in another namespace by now.
        let now: Processes = swept().into_iter().filter(|process| process.pid != 10).collect();
        assert!(!table.learn(&[holder(11, POD)], &now.hiding(10)));
        assert!(table.learn(&[holder(12, POD)], &swept().into_iter().collect()));
        assert!(!table.processes.is_hidden(12));
    }

    #[test]
    fn a_holder_that_stopped_listening_is_looked_at_again() {
        let seen = HashSet::from([holder(10, POD), holder(11, POD)]);
        let mut table = Table::new(swept().into_iter().collect(), Cookie(HOST), seen.clone());
        assert_eq!(table.unknown(&seen), []);
        assert_eq!(table.unknown(&HashSet::from([holder(10, POD)])), []);
        assert_eq!(table.unknown(&seen), [holder(11, POD)]);
    }
}
