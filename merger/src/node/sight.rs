//! What is seen of the node: its processes, and who listens where.
//!
//! It keeps no namespace open between two looks: a namespace that is held outlives its pod.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io, mem,
    net::IpAddr,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    comparison::{Comparison, Differing, Looks, Turn},
    marks::Marks,
    memory::Memory,
};
#[cfg(feature = "ebpf")]
use crate::node::Walks;
use crate::{
    identity::{Cookie, Process, witnesses},
    listeners::{self, Held, Row, Rows},
    netns::{Identity, Netns},
    node::{
        ConnectError, Error, Options, Snapshot,
        agenda::{Look, SHARE},
        counters::{Atomics, add},
        numbers::Numbers,
        pace::{Pace, Sweep},
        policy::{Known, Reach},
        processes::{Hidden, Processes},
        protocol::Hello,
        rung::Source,
        table::{Holder, Standing, Table},
    },
    target::{Doubt, Listener},
};

pub(crate) mod comparison;
#[cfg(feature = "ebpf")]
mod descent;
pub(in crate::node) mod files;
mod hidden;
#[cfg_attr(
    all(not(feature = "ebpf"), not(test)),
    expect(dead_code, reason = "nobody tells of changes")
)]
mod marks;
mod memory;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "everything is read at each look"))]
mod reading;
#[cfg(feature = "ebpf")]
mod walked;

/// [`Options::asking`], unless a test says otherwise. Each answer takes a quarter of a millisecond where many
/// listen, and so long as a look lasts nobody is connected.
pub(in crate::node) const ASKING: Duration = Duration::from_millis(6);

/// The eyes of the privileged side.
pub(crate) struct Sight {
    source: Source,
    /// How the listeners are known now, for the agent.
    hello: Hello,
    #[cfg(feature = "ebpf")]
    walks: Walks,
    #[cfg(feature = "ebpf")]
    descent: Option<descent::Descent>,
    table: Table,
    /// What was read of single namespaces; on the first rung, the listeners that nobody holds.
    memory: Memory,
    marks: Marks,
    /// What the last walk over open files has found, on the rung that has it.
    #[cfg(feature = "ebpf")]
    walked: walked::Walked,
    /// Namespaces that are to be asked what they have, in that order.
    unasked: VecDeque<Cookie>,
    /// [`Options::asking`].
    asking: Duration,
    /// Namespaces that were marked, and cannot be read or explained without a sweep.
    waiting: HashSet<Cookie>,
    /// Namespaces that are not looked at, and may be a pod's own by now.
    in_doubt: HashSet<Cookie>,
    /// Whether the last sweep has found that such a one is. What was read before is without it.
    is_regained: bool,
    /// Namespaces that were marked, and in which nobody is any more who was known.
    left: HashSet<Cookie>,
    /// [`Options::sockets`].
    sockets: usize,
    /// [`Options::rows`].
    rows: usize,
    /// A process whose files cannot be seen, where they are what holders are found by.
    hidden: Option<Hidden>,
    /// A process with more files than were looked at in the last sweep, if there was one.
    cut: Option<u32>,
    /// What the last look has told, of each namespace.
    believed: HashMap<Cookie, HashSet<(IpAddr, NonZeroU16)>>,
    /// The namespaces of which it left something out.
    crowded: HashSet<Cookie>,
    comparison: Comparison,
    looks: Looks,
    /// When all was told that had changed by then.
    heard: Instant,
    pace: Pace,
    counters: Arc<Atomics>,
}

/// What the privileged side may do while nobody asks anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Another step.
    More,
    /// Nothing until then.
    At(Instant),
    /// What is believed is not so: look at the node now.
    Look,
}

/// A look, and what it took beside.
struct Looked {
    snapshot: Snapshot,
    /// What of the time was a sweep.
    swept: Duration,
    /// Whether it had all that it needed.
    complete: bool,
    /// When the rest of it may be had: the sweep that it would have needed, or an answer of a namespace that
    /// was not asked yet. Else when the next sweep of everything is due.
    again: Instant,
}

// === impl Sight ===

impl Sight {
    /// Reads the processes once, to try it.
    pub(crate) fn new(
        source: Source,
        hello: Hello,
        identity: Identity,
        options: Options,
        counters: Arc<Atomics>,
    ) -> Result<Self, Error> {
        let numbers = (identity == Identity::Inode).then(Numbers::default);
        let reach = Reach { host: options.host_network, strangers: options.strangers };
        let table = Table::read(HashSet::new(), numbers, None, reach)?;
        hidden::admit(&table.processes)?;
        let (memory, marks) = (Memory::default(), Marks::new(Instant::now()));
        let (waiting, pace) = (HashSet::new(), Pace::new(options.look_every));
        let now = Instant::now();
        let are_told = source.is_told();
        let (seen, pause) = (now, Duration::ZERO);
        let looks = Looks { seen, pause, complete: false, are_told, is_awaited: false };
        #[cfg(feature = "ebpf")]
        let descent = descent::Descent::at_start(&source, options.walks);
        Ok(Self {
            source,
            hello,
            #[cfg(feature = "ebpf")]
            walks: options.walks,
            #[cfg(feature = "ebpf")]
            descent,
            table,
            memory,
            marks,
            #[cfg(feature = "ebpf")]
            walked: walked::Walked::default(),
            unasked: VecDeque::new(),
            asking: options.asking,
            waiting,
            in_doubt: HashSet::new(),
            is_regained: false,
            left: HashSet::new(),
            sockets: options.sockets,
            rows: options.rows,
            hidden: None,
            cut: None,
            believed: HashMap::new(),
            crowded: HashSet::new(),
            comparison: Comparison::new(options.compare_every, now),
            looks,
            heard: now,
            pace,
            counters,
        })
    }

    /// How the listeners are known now.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What the policy may rely on.
    pub(crate) fn known(&self) -> &Known {
        &self.table.known
    }

    /// The processes of the last sweep.
    pub(crate) fn processes(&self) -> &Processes {
        &self.table.processes
    }

    /// In these namespaces something changed, and in no others. To be told before the look that is to
    /// see it.
    pub(crate) fn changed(&mut self, netns: impl IntoIterator<Item = Cookie>) {
        self.heard = Instant::now();
        self.marks.add(netns, self.heard);
        self.comparison.changed(&self.marked());
    }

    /// Looks at the node.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let start = Instant::now();
        let looked = self.look();
        let (swept, complete, sweep) = match &looked {
            Ok(Looked { swept, complete, again, .. }) => (*swept, *complete, Some(*again)),
            Err(_) => (Duration::ZERO, true, None),
        };
        // A sweep has a share of its own, and is no reason to pause.
        let took = start.elapsed().saturating_sub(swept);
        let Looks { are_told, .. } = self.looks;
        let seen = if are_told { self.heard } else { start };
        let pause = took * SHARE;
        self.looks = Looks { seen, pause, complete, ..self.looks };
        if let Ok(Looked { snapshot, .. }) = &looked {
            self.believed.clear();
            for &Listener { netns, address, port, .. } in &snapshot.listeners {
                self.believed.entry(netns).or_default().insert((address, port));
            }
        }
        self.counters.looked(Look { ended: Instant::now(), took, sweep });
        let Atomics { snapshots, snapshots_failed, .. } = &*self.counters;
        add(if looked.is_ok() { snapshots } else { snapshots_failed }, 1);
        looked.map(|looked| looked.snapshot)
    }

    /// Compares what is believed with what the kernel says by another way, one namespace at a time.
    /// Whether a look is awaited, which may change what is believed, is up to whoever calls for it.
    pub(crate) fn step(&mut self, is_awaited: bool) -> Step {
        let now = Instant::now();
        self.looks.is_awaited = is_awaited;
        match self.comparison.turn(now, self.looks) {
            Turn::At(at) => return Step::At(at),
            Turn::Begin => self.comparison.begin(now, self.table.looked_at.iter().copied()),
            Turn::End { n_compared, n_differing } => {
                self.counters.compared(n_compared, n_differing);
                if n_differing > 0 {
                    self.marks.add_all(now);
                    return Step::Look;
                }
            }
            Turn::Read(netns) => {
                let read = self.compared(netns);
                if let Some(differing) = self.comparison.read(now, read) {
                    let (n, addresses) = (differing.n(), differing.addresses());
                    tracing::warn!(%netns, n, ?addresses, "listeners differ from what the kernel says");
                }
            }
        }
        Step::More
    }

    /// Nothing of a namespace that something was left out of, as what that is, is up to each way; nor of one
    /// that is not asked yet.
    fn compared(&self, netns: Cookie) -> Option<Differing> {
        if self.crowded.contains(&netns) || self.unasked.contains(&netns) {
            return None;
        }
        let truth = self.truth_of(netns).filter(|truth| truth.len() <= self.sockets)?;
        let none = HashSet::new();
        Some(Differing::between(self.believed.get(&netns).unwrap_or(&none), &truth))
    }

    fn look(&mut self) -> Result<Looked, Error> {
        #[cfg(feature = "ebpf")]
        self.try_ascent();
        let (mut rows, explained) = self.read()?;
        let mut enough = self.meet(&holders_of(&rows))? && explained;
        let sweep = self.pace.next(Instant::now(), enough);
        let mut swept = Duration::ZERO;
        if matches!(sweep, Sweep::New | Sweep::All) {
            let start = Instant::now();
            // Read after the rows, so that every holder that still lives is found.
            self.sweep(sweep, holders_of(&rows))?;
            enough = true;
            let table = &self.table;
            let waiting = self.waiting.drain().map(|key| table.processes.cookie_of_key(key));
            self.waiting = waiting.filter(|netns| table.looked_at.contains(netns)).collect();
            let is_named_anew = self.table.processes.numbers().is_some();
            let is_partial = is_named_anew || self.is_regained || rows.left_out().is_unknown;
            if self.source.is_walked() && is_partial {
                // The namespaces have other cookies now, or one more is looked at, or those who had no room
                // have their pods'.
                rows = self.read()?.0;
                enough = self.meet(&holders_of(&rows))?;
            }
            if self.source.is_marked() {
                rows = self.read_waiting(sweep);
                enough = self.meet(&holders_of(&rows))?;
            }
            self.pace.ended(start, sweep);
            swept = self.pace.took;
        }
        let now = Instant::now();
        let (complete, again) = match self.pace.next(now, enough) {
            Sweep::At(again) => (false, again),
            _ => (true, self.pace.due()),
        };
        // Those who are asked at the next look hold up nobody's comparison but their own.
        let again = if self.unasked.is_empty() { again } else { now };
        Ok(Looked { snapshot: self.joined(rows), swept, complete, again })
    }

    fn joined(&mut self, rows: Rows) -> Snapshot {
        let (mut rows, left_out) = rows.into_parts();
        let table = &self.table;
        // What was not known when it was read may be nobody's own.
        rows.retain(|row| table.standing(row.netns) != Standing::Other);
        // Whose listener it is shows the sweep that is awaited, and until then it is nobody's.
        let is_known = |row: &Row| holder_of(row).is_none_or(|holder| table.has_seen(holder));
        listeners::retain_known(&mut rows, is_known);
        let cgroup_of = |held| table.processes.get(held).map(|process| process.cgroup.clone());
        let hidden = hidden::holders(&mut rows, |pid| table.processes.is_hidden(pid));
        let mut listeners = listeners::join(&rows, cgroup_of);
        let of_all = self.hidden.or_else(|| hidden::unseen(&table.processes)).map(Doubt::from);
        for listener in &mut listeners {
            let &mut Listener { netns, address, port, .. } = listener;
            let hidden = hidden.get(&(netns, address, port)).copied().map(Doubt::from);
            let is_crowded = left_out.may_have(netns, address, port);
            listener.doubt = if is_crowded {
                Some(Doubt::Crowded)
            } else {
                hidden.or_else(|| of_all.clone()).or_else(|| listener.doubt.take())
            };
        }
        self.crowded = left_out.netns;
        Snapshot { host: self.table.known.host, listeners, processes: self.told() }
    }

    /// The processes that tell whose a namespace is. A pod may have any number of others.
    fn told(&self) -> Vec<Process> {
        let all = self.table.processes.iter();
        if self.table.reach.strangers {
            all.cloned().collect()
        } else {
            witnesses(all).into_iter().cloned().collect()
        }
    }

    /// Looks at the holders that are not known, and says whether that was enough to know them.
    fn meet(&mut self, holders: &HashSet<Holder>) -> Result<bool, Error> {
        let unknown = self.table.unknown(holders);
        if unknown.is_empty() {
            return Ok(true);
        }
        let suspects = self.table.suspects(&unknown);
        let now = self.table.processes.some(suspects).map_err(Error::Processes)?;
        Ok(self.table.learn(&unknown, &now))
    }

    fn sweep(&mut self, sweep: Sweep, holders: HashSet<Holder>) -> Result<(), Error> {
        add(&self.counters.sweeps, 1);
        let table = if sweep == Sweep::New {
            self.table.refresh(holders, &self.in_doubt)
        } else {
            let numbers = self.table.processes.numbers().cloned();
            Table::read(holders, numbers, Some(self.table.known.host), self.table.reach)
        };
        let before = mem::replace(&mut self.table, table?);
        let gained = self.table.looked_at.difference(&before.looked_at);
        self.is_regained = gained.clone().any(|&netns| before.standing(netns) == Standing::Other);
        // What changed there while nobody looked is not known.
        self.waiting.extend(gained);
        self.in_doubt.clear();
        Ok(())
    }

    /// Opens a namespace through one of its processes, the oldest first: a pod's is that of its
    /// sandbox, which ends last.
    pub(crate) fn open(&self, netns: Cookie) -> Result<Netns, ConnectError> {
        let mut refused = None;
        let processes = &self.table.processes;
        if let Some(Ok(opened)) = self.table.oldest(netns).map(|held| processes.open_netns(held)) {
            return Ok(opened);
        }
        for process in processes.within(netns) {
            let &Process { pid, started, .. } = process;
            match processes.open_netns(Held { started, pid }) {
                Ok(opened) => return Ok(opened),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    refused = Some(error);
                }
                // It has ended, and its id may be another's.
                _ => {}
            }
        }
        Err(refused.map_or(ConnectError::Gone(netns), ConnectError::Namespace))
    }
}

fn holder_of(row: &Row) -> Option<Holder> {
    Some((row.held_by?, row.netns))
}

fn holders_of(rows: &Rows) -> HashSet<Holder> {
    rows.iter().filter_map(holder_of).collect()
}
