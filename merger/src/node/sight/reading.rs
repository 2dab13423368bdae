//! How each rung reads who listens.
//!
//! The first rung reads everything at each look, and so do those that nobody tells what changed.
//! The second reads the namespaces that are marked. Of a namespace in which it cannot tell who holds
//! a socket it waits for a sweep, which all rungs share.
//!
//! A listener may be in no table of files: it is in a message that nobody has taken yet, or belongs
//! to an `io_uring` or to the kernel. The first rung does not see it by its walk, so it asks the
//! namespaces that are marked, and those that a listener has vanished from, for what they have.
//!
//! However many are marked at one time, each look asks some of them in their order and the next the others:
//! while it lasts nobody is connected. Until then what was known of them stands, and on the first rung
//! what they have that somebody holds is known all the same.

use std::{
    collections::{BTreeSet, HashSet},
    io, mem,
    time::Instant,
};

use super::{
    Sight,
    files::{Files, payer_of},
};
#[cfg(feature = "ebpf")]
use super::{descent::Walk, walked::Walked};
use crate::{
    cause::chain,
    identity::{Cookie, Process},
    listeners::{Held, Rows, Socket, proc, sock_diag},
    netns::Netns,
    node::{Error, counters::add, pace::Sweep, processes::Hidden, rung::Source, table::Standing},
};

/// Processes that are gone through for the holders of one namespace. In one with more of them the
/// sweep does that, at its own pace.
const LIKELY: usize = 128;

/// What of a namespace is in no table of files.
#[cfg(feature = "ebpf")]
struct Unheld {
    netns: Cookie,
    sockets: Vec<Socket>,
    /// Whether it has more sockets than are looked at.
    is_cut: bool,
}

// === impl Sight ===

impl Sight {
    /// The listeners, and whether it is known of each who holds it.
    pub(super) fn read(&mut self) -> Result<(Rows, bool), Error> {
        let now = Instant::now();
        self.table.processes.doubt(self.marks.netns());
        if self.source.is_told() {
            self.doubt_others()?;
        }
        let (rows, explained) = match &mut self.source {
            #[cfg(feature = "ebpf")]
            Source::Ebpf(_) => match self.read_walking(now)? {
                Some(read) => read,
                // Another way is in use by now.
                None => return self.read(),
            },
            #[cfg(feature = "ebpf")]
            Source::EbpfSockDiag(_) => {
                self.count_lost(now)?;
                if self.marks.are_all() {
                    self.read_all()?;
                } else {
                    self.read_marked();
                }
                (self.remembered(), self.waiting.is_empty() && !self.marks.are_lost())
            }
            Source::SockDiag | Source::Proc => {
                self.read_all()?;
                (self.remembered(), true)
            }
        };
        self.marks.read(now);
        add(&self.counters.rows_left_out, rows.left_out().n);
        Ok((rows, explained && self.in_doubt.is_empty()))
    }

    /// Of the namespaces that are not looked at, finds those that may be a pod's own by now: a sweep tells.
    /// Whatever else changes in them is nothing to anybody.
    fn doubt_others(&mut self) -> Result<(), Error> {
        let mut due = self.marked();
        if self.marks.are_all() || self.marks.are_lost() {
            due.extend(&self.table.known.netns);
        }
        self.in_doubt.extend(self.table.changed(due)?);
        Ok(())
    }

    /// By walks. Nothing where one took too long.
    #[cfg(feature = "ebpf")]
    fn read_walking(&mut self, now: Instant) -> Result<Option<(Rows, bool)>, Error> {
        let Some(walk) = self.walk()? else { return Ok(None) };
        self.count_lost(now)?;
        let all_named = walk.all_named;
        let Some(rows) = self.walked(walk)? else { return Ok(None) };
        let explained = all_named && self.waiting.is_empty() && !rows.left_out().is_unknown;
        Ok(Some((rows, explained)))
    }

    /// What the kernel part had no room for may have been anything.
    #[cfg(feature = "ebpf")]
    fn count_lost(&mut self, now: Instant) -> Result<(), Error> {
        let (Source::Ebpf(sockets) | Source::EbpfSockDiag(sockets)) = &mut self.source else {
            return Ok(());
        };
        if self.counters.lost(sockets.n_lost().map_err(Error::kernel)?) {
            self.marks.add_lost(now);
        }
        Ok(())
    }

    /// The namespaces that something changed in, by the cookies that they have here.
    pub(super) fn marked(&self) -> HashSet<Cookie> {
        let keys = self.marks.netns();
        keys.into_iter().map(|key| self.table.processes.cookie_of_key(key)).collect()
    }

    /// What is known without another reading.
    fn remembered(&self) -> Rows {
        let mut rows = Rows::sharing(self.rows);
        self.memory.tell(&mut rows, self.sockets, |held| payer_of(&self.table.processes, held));
        rows
    }

    /// What the walk over open files has found, and the listeners that are in none. Nothing where it has
    /// to be repeated, and takes too long then.
    #[cfg(feature = "ebpf")]
    fn walked(&mut self, walk: Walk) -> Result<Option<Rows>, Error> {
        let Walk { mut rows, mut walked, .. } = walk;
        let mut due = self.marked();
        if self.marks.are_all() || self.marks.are_lost() {
            due.extend(&self.table.looked_at);
        }
        // One that is not looked at any more is nothing to anybody: the sweep that said so has seen it.
        let bereft = walked.bereft(&self.walked);
        due.extend(bereft.intersection(&self.table.looked_at));
        due.extend(mem::take(&mut self.waiting));
        self.put_in_line(due);
        self.memory.retain(&self.table.looked_at);
        let unheld = self.ask_for_unheld(&walked);
        let is_news =
            |Unheld { netns, sockets, .. }: &Unheld| !self.memory.has_all(*netns, sockets);
        if unheld.iter().any(is_news) {
            // It may have been opened after the walk, which sees it then if somebody holds it.
            let Some(again) = self.walk()? else { return Ok(None) };
            Walk { rows, walked, .. } = again;
        }
        for Unheld { netns, mut sockets, is_cut } in unheld {
            sockets.retain(|socket| !walked.has(netns, socket.inode));
            self.memory.put(netns, sockets);
            self.memory.find_all(&HashSet::from([netns]), []);
            if is_cut {
                self.memory.cut(netns);
            }
        }
        // One that was in no table and is in one now was taken out of a message, which nobody tells.
        self.memory.retain_sockets(|netns, socket| !walked.has(netns, socket.inode));
        self.memory.tell(&mut rows, self.sockets, |held| payer_of(&self.table.processes, held));
        self.walked = walked;
        Ok(Some(rows))
    }

    /// The sockets that nobody holds, of the namespaces whose turn it is.
    #[cfg(feature = "ebpf")]
    fn ask_for_unheld(&mut self, walked: &Walked) -> Vec<Unheld> {
        let start = Instant::now();
        let mut unheld = vec![];
        while let Some(netns) = self.next_in_line(start, unheld.len()) {
            let mut sockets = self.sockets_of(netns).unwrap_or_default();
            let is_cut = sockets.len() > self.sockets;
            sockets.retain(|socket| !walked.has(netns, socket.inode));
            unheld.push(Unheld { netns, sockets, is_cut });
        }
        unheld
    }

    /// Has these namespaces asked, after those who were to be before.
    fn put_in_line(&mut self, due: HashSet<Cookie>) {
        let table = &self.table;
        // A namespace that no process was in is either new or gone: a sweep tells.
        let due = due.into_iter().filter(|&netns| table.standing(netns) != Standing::Other);
        let (due, unknown): (HashSet<Cookie>, HashSet<Cookie>) =
            due.partition(|netns| table.looked_at.contains(netns));
        self.waiting.extend(unknown);
        self.unasked.retain(|netns| table.looked_at.contains(netns));
        let in_line: HashSet<Cookie> = self.unasked.iter().copied().collect();
        self.unasked.extend(due.difference(&in_line));
    }

    /// Who is asked next in a look that began to ask then and has asked so many.
    fn next_in_line(&mut self, start: Instant, n_asked: usize) -> Option<Cookie> {
        let is_time = n_asked == 0 || start.elapsed() < self.asking;
        if is_time { self.unasked.pop_front() } else { None }
    }

    /// The sockets of every namespace that is looked at, and their holders.
    fn read_all(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        self.sweep(Sweep::All, HashSet::new())?;
        let netns = self.table.looked_at.clone();
        self.memory.retain(&netns);
        for &netns in &netns {
            // A namespace that is gone, or whose process has left it, has none.
            let sockets = self.sockets_of(netns).unwrap_or_default();
            self.memory.put(netns, sockets);
        }
        self.find_all(&netns, Sweep::All);
        self.waiting.clear();
        self.pace.ended(start, Sweep::All);
        Ok(())
    }

    /// The namespaces that are marked or wait for a sweep, and those of which a listener has lost its
    /// last holder: it is closed, or its holder has left it to a child. All where a mark was lost, but not
    /// more than that: a sweep is waited for like any other.
    fn read_marked(&mut self) {
        let lives = |held| self.table.processes.get(held).is_some();
        let mut due = self.marked();
        due.extend(self.memory.bereft(lives));
        due.extend(mem::take(&mut self.waiting));
        if self.marks.are_lost() {
            due.extend(&self.table.looked_at);
        }
        self.put_in_line(due);
        let (start, mut n_asked) = (Instant::now(), 0);
        while let Some(netns) = self.next_in_line(start, n_asked) {
            n_asked += 1;
            if self.open(netns).is_err() {
                // A pod that ends closes its listeners and leaves none behind who could be read. That
                // somebody is left whom nobody knows is found out by the next sweep, and calls for none.
                self.memory.put(netns, vec![]);
                self.left.insert(netns);
            } else if !self.read_one(netns, LIKELY) {
                self.waiting.insert(netns);
            }
        }
    }

    /// Once the sweep has been: what waited for it is read, and after one that read everything, all
    /// files are looked into again, since of a listener that changes hands nobody tells.
    pub(super) fn read_waiting(&mut self, sweep: Sweep) -> Rows {
        let known = self.table.looked_at.clone();
        self.memory.retain(&known);
        // One that cannot be read even now is not waited for: its next mark brings it back.
        let mut waiting = mem::take(&mut self.waiting);
        waiting.extend(mem::take(&mut self.left).intersection(&known));
        let mut unclear: HashSet<Cookie> =
            waiting.into_iter().filter(|&netns| !self.read_one(netns, usize::MAX)).collect();
        if sweep == Sweep::All {
            unclear = known;
        }
        if !unclear.is_empty() {
            self.find_all(&unclear, sweep);
        }
        self.remembered()
    }

    /// Finds who holds the sockets of these namespaces among all processes.
    fn find_all(&mut self, netns: &HashSet<Cookie>, sweep: Sweep) {
        let processes = &self.table.processes;
        let mut files = Files::of_all(processes);
        self.memory.find_all(netns, files.sockets(processes.held()));
        let Files { hidden, cut, .. } = files;
        self.note(hidden, sweep);
        if let Some(pid) = cut.filter(|_| self.cut.is_none()) {
            tracing::warn!(
                pid,
                "the pod or cgroup of this process has more open files than are looked at"
            );
        }
        self.cut = cut;
    }

    /// Whether all is known then of this namespace: among its own processes, of which there are to be
    /// no more than `most`, and those that held its sockets before, all holders are found.
    fn read_one(&mut self, netns: Cookie, most: usize) -> bool {
        let within = self.table.processes.within(netns);
        if within.is_empty() || within.len() > most {
            return false;
        }
        let held = |process: &&Process| Held { started: process.started, pid: process.pid };
        let mut likely: BTreeSet<Held> = within.iter().map(held).collect();
        likely.extend(self.memory.holders(netns));
        let Some(sockets) = self.sockets_of(netns) else { return false };
        self.memory.put(netns, sockets);
        let mut files = Files::at_once();
        let open = files.sockets(likely.into_iter().collect());
        self.memory.find(&HashSet::from([netns]), open);
        let Files { hidden, cut, .. } = files;
        self.note(hidden, Sweep::New);
        (hidden, cut) == (None, None) && self.memory.is_explained(netns)
    }

    /// Whose files could not be seen may hold any listener, until all can be seen.
    fn note(&mut self, hidden: Option<Hidden>, sweep: Sweep) {
        let before = self.hidden;
        if hidden.is_some() || sweep == Sweep::All {
            self.hidden = hidden;
        }
        if let Some(hidden) = hidden.filter(|hidden| before != Some(*hidden)) {
            tracing::warn!("whose the listeners are cannot be known: {hidden}");
        }
    }

    /// The listening sockets of a namespace, by the way of this rung.
    fn sockets_of(&self, netns: Cookie) -> Option<Vec<Socket>> {
        let is_proc = matches!(self.source, Source::Proc);
        let told = self.ask(netns, if is_proc { proc::listeners_of } else { by_sock_diag });
        let told = told?.inspect_err(|error| {
            let error = chain(error);
            tracing::warn!(%netns, error, "cannot read the listeners of a namespace");
        });
        told.ok()
    }

    /// The same by another way than this rung's, if there is one.
    pub(super) fn truth_of(&self, netns: Cookie) -> Option<Vec<Socket>> {
        let is_sock_diag = matches!(self.source, Source::SockDiag);
        self.ask(netns, if is_sock_diag { proc::listeners_of } else { by_sock_diag })?.ok()
    }

    /// Nothing if it cannot be entered, or is not the one that was meant. At most one socket more than are
    /// looked at, which tells that there are more.
    fn ask(
        &self,
        netns: Cookie,
        by: impl FnOnce(&Netns) -> io::Result<Vec<Socket>>,
    ) -> Option<io::Result<Vec<Socket>>> {
        let opened = self.open(netns).ok()?;
        // A cookie that was made here was compared when the namespace was opened.
        let same = netns.is_made() || opened.cookie().is_ok_and(|cookie| cookie == netns);
        add(&self.counters.namespaces_read, u64::from(same));
        let all = same.then(|| by(&opened))?;
        Some(all.map(|mut all| {
            all.truncate(self.sockets.saturating_add(1));
            all
        }))
    }
}

fn by_sock_diag(netns: &Netns) -> io::Result<Vec<Socket>> {
    let told = sock_diag::listeners_of(netns).map_err(io::Error::other)?;
    Ok(told.into_iter().map(|told| told.socket).collect())
}
