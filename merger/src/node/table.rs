//! What was known of the processes in the last sweep, and what a new holder of a listener adds.
//!
//! Whose a namespace is, its oldest process decides, and who that is only a sweep finds. So where a
//! holder turns up that the table does not explain, it alone is looked at, and its namespace's
//! oldest process with it: while that one is as the sweep found it, everything that came since is
//! younger. Only where that is not so, or the namespace is new, are all processes gone through.
//!
//! A pod may make any number of namespaces inside its own, and nobody asks for those. So only such
//! namespaces are looked at as may be a pod's own: that of its sandbox, of which each pod's cgroup has one.
//!
//! No I/O here but in [`Table::read`] and [`Table::refresh`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
};

use crate::{
    identity::{Cookie, Process, cgroup_path},
    listeners::Held,
    node::{
        Error, host,
        numbers::Numbers,
        policy::{Known, Reach},
        processes::Processes,
    },
};

/// A process that holds a listener, and the listener's namespace: not always its own.
pub(crate) type Holder = (Held, Cookie);

/// The last sweep over the processes, and what was learned of some of them since.
pub(crate) struct Table {
    pub(crate) processes: Processes,
    pub(crate) known: Known,
    /// The namespaces that are looked at: those that may be a pod's own, and what is in reach beside them.
    pub(crate) looked_at: HashSet<Cookie>,
    pub(crate) reach: Reach,
    /// The oldest process of each namespace, as far as is known.
    oldest: HashMap<Cookie, Held>,
    /// The oldest process in each pod's cgroup, as the sweep found it.
    sandboxes: HashMap<String, Held>,
    /// The holders that were looked at when they listened already. What the table says of any other
    /// may be what that was before, such as a container's first process that had not entered its
    /// cgroup yet.
    seen: HashSet<Holder>,
}

/// What a namespace is to those who look at listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Looked at.
    LookedAt,
    /// No process was in it: it is new, or gone. A sweep tells.
    Unknown,
    /// No pod's own, and not looked at.
    Other,
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
        reach: Reach,
    ) -> Result<Self, Error> {
        let processes = Processes::sweep_for(numbers).map_err(Error::Processes)?;
        let host = host::namespace(&processes, before)?;
        Ok(Self::new(processes, host, holders, reach))
    }

    /// Finds the oldest process of the namespaces in which holders are unknown: reads those that are
    /// new, that moved, or that are or were known to be in there, or in a namespace that is in `doubt`.
    pub(crate) fn refresh(
        &self,
        holders: HashSet<Holder>,
        doubt: &HashSet<Cookie>,
    ) -> Result<Self, Error> {
        let unknown = || holders.difference(&self.seen);
        let pids: HashSet<u32> = unknown().map(|(held, _)| held.pid).collect();
        let mut netns: HashSet<Cookie> = unknown().map(|&(_, netns)| netns).collect();
        netns.extend(doubt);
        let witnesses = doubt.iter().filter_map(|&netns| self.witness(netns));
        let pids: HashSet<u32> = pids.into_iter().chain(witnesses.map(|held| held.pid)).collect();
        let doubt =
            |process: &Process| pids.contains(&process.pid) || netns.contains(&process.netns);
        let processes = self.processes.refresh(doubt).map_err(Error::Processes)?;
        let host = host::namespace(&processes, Some(self.known.host))?;
        Ok(Self::new(processes, host, holders, self.reach))
    }

    fn new(processes: Processes, host: Cookie, seen: HashSet<Holder>, reach: Reach) -> Self {
        let (mut oldest, mut sandboxes) = (HashMap::new(), HashMap::new());
        for process in processes.iter() {
            keep_oldest(&mut oldest, process.netns, process);
            if let Some(pod) = pod(process) {
                keep_oldest(&mut sandboxes, pod, process);
            }
        }
        let sandboxes: HashMap<String, Held> =
            sandboxes.into_iter().map(|(pod, held)| (pod.to_owned(), held)).collect();
        let netns: HashSet<Cookie> = oldest.keys().copied().collect();
        let found = sandboxes.values().filter_map(|&sandbox| processes.get(sandbox));
        let mut looked_at: HashSet<Cookie> = found.map(|process| process.netns).collect();
        looked_at.remove(&host);
        looked_at.extend(Some(host).filter(|_| reach.host));
        if reach.strangers {
            looked_at.clone_from(&netns);
        }
        let known = Known { host, netns, pods: HashSet::new() };
        let mut table = Self { processes, known, looked_at, reach, oldest, sandboxes, seen };
        // Those that are not looked at are nobody's own.
        for netns in table.looked_at.clone() {
            table.attribute(netns);
        }
        table
    }

    /// Sees whether a namespace is a pod's own, as far as the policy wants to know: its oldest process is
    /// the oldest of a pod.
    fn attribute(&mut self, netns: Cookie) {
        let oldest = self.oldest.get(&netns).and_then(|&oldest| self.processes.get(oldest));
        if self.looked_at.contains(&netns) && oldest.is_some_and(|oldest| self.is_sandbox(oldest)) {
            self.known.pods.insert(netns);
        } else {
            self.known.pods.remove(&netns);
        }
    }

    fn is_sandbox(&self, process: &Process) -> bool {
        let sandbox = pod(process).and_then(|pod| self.sandboxes.get(pod));
        sandbox.is_some_and(|sandbox| *sandbox == held(process))
    }

    /// What a namespace is, as far as the last sweep knows.
    pub(crate) fn standing(&self, netns: Cookie) -> Standing {
        if self.looked_at.contains(&netns) {
            return Standing::LookedAt;
        }
        if self.oldest.contains_key(&netns) { Standing::Other } else { Standing::Unknown }
    }

    /// The process that says of a namespace that it is no pod's own: its oldest, or where that is of a pod,
    /// the pod's sandbox, which is elsewhere. Nobody says it of the host's, nor where the oldest is nobody's.
    fn witness(&self, netns: Cookie) -> Option<Held> {
        let oldest = *self.oldest.get(&netns).filter(|_| netns != self.known.host)?;
        let process = self.processes.get(oldest);
        match process.and_then(pod) {
            Some(pod) => self.sandboxes.get(pod).copied(),
            None => process.is_none_or(|process| !process.cgroup.is_empty()).then_some(oldest),
        }
    }

    /// The oldest process of a namespace, if it was in there when it was seen last.
    pub(crate) fn oldest(&self, netns: Cookie) -> Option<Held> {
        let oldest = *self.oldest.get(&netns)?;
        self.processes.get(oldest).filter(|process| process.netns == netns).map(|_| oldest)
    }

    /// Of these namespaces, those that are not looked at and may be a pod's own by now: what says that they
    /// are not is not as it was found. So a pod's first process may enter its cgroup late, or end, and
    /// that is known with the next change in there. However many namespaces a pod makes, it is one process
    /// that is looked at.
    pub(crate) fn changed(
        &self,
        netns: impl IntoIterator<Item = Cookie>,
    ) -> Result<HashSet<Cookie>, Error> {
        let others = netns.into_iter().filter(|&netns| self.standing(netns) == Standing::Other);
        let said: Vec<(Cookie, Held)> =
            others.filter_map(|netns| Some((netns, self.witness(netns)?))).collect();
        if said.is_empty() {
            return Ok(HashSet::new());
        }
        let pids: BTreeSet<u32> = said.iter().map(|(_, held)| held.pid).collect();
        let now = self.processes.some(pids).map_err(Error::Processes)?;
        Ok(self.not_as_found(&said, &now))
    }

    fn not_as_found(&self, said: &[(Cookie, Held)], now: &Processes) -> HashSet<Cookie> {
        let is_as_found = |held: Held| self.is_as_found(held, now);
        let changed = said.iter().filter(|&&(_, held)| !is_as_found(held));
        changed.map(|&(netns, _)| netns).collect()
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
                self.processes.take(holder.0, now);
                if let Some(new) = now.get(holder.0) {
                    keep_oldest(&mut self.oldest, new.netns, new);
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
        let is_placed = |process: &Process| {
            self.oldest.contains_key(&process.netns)
                && self.leaves_sandboxes(process)
                && pod(process).is_none_or(|pod| self.sandboxes.contains_key(pod))
        };
        // One that moved away is as it was found there, and not here.
        let is_here = |held| now.get(held).is_some_and(|found| found.netns == netns);
        oldest.is_some_and(|&oldest| is_here(oldest) && self.is_as_found(oldest, now))
            && now.get(held).is_none_or(is_placed)
    }

    /// Whether a process is there still, and what it was.
    fn is_as_found(&self, held: Held, now: &Processes) -> bool {
        let found = now.get(held);
        found.is_some() && found == self.processes.get(held)
    }

    /// Whether this process, as it is now, leaves each pod the sandbox that it has: it neither was one
    /// that has moved, nor is older than the one of the pod that it is of.
    fn leaves_sandboxes(&self, process: &Process) -> bool {
        let held = held(process);
        let before = self.processes.get(held);
        if before.is_some_and(|before| self.is_sandbox(before)) && before != Some(process) {
            return false;
        }
        let sandbox = pod(process).and_then(|pod| self.sandboxes.get(pod));
        sandbox.is_none_or(|sandbox| *sandbox <= held)
    }
}

fn keep_oldest<K: Eq + Hash>(oldest: &mut HashMap<K, Held>, key: K, process: &Process) {
    let held = held(process);
    let known = oldest.entry(key).or_insert(held);
    *known = held.min(*known);
}

fn held(process: &Process) -> Held {
    Held { started: process.started, pid: process.pid }
}

/// The cgroup of the pod that a process is of.
fn pod(process: &Process) -> Option<&str> {
    cgroup_path::place(&process.cgroup).map(|place| place.pod)
}

#[cfg(test)]
mod tests;
