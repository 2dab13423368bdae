//! What is seen of the node: its processes, and who listens where.
//!
//! It keeps no namespace open between two looks: a namespace that is held outlives its pod.

use std::{collections::HashSet, io, sync::Arc, time::Instant};

use crate::{
    cause::chain,
    identity::Cookie,
    listeners::{self, Row, Rows, Socket, proc, sock_diag},
    netns::Netns,
    node::{
        ConnectError, Error, Snapshot,
        agenda::Look,
        counters::{Atomics, add},
        pace::{Pace, Sweep},
        policy::Known,
        privileges::Capability,
        processes::{self, Processes},
        rung::Source,
        table::{Holder, Table},
    },
};

/// The eyes of the privileged side.
pub(crate) struct Sight {
    source: Source,
    table: Table,
    pace: Pace,
    counters: Arc<Atomics>,
}

// === impl Sight ===

impl Sight {
    /// Reads the processes once, to try it.
    pub(crate) fn new(source: Source, counters: Arc<Atomics>) -> Result<Self, Error> {
        let table = Table::read(HashSet::new()).map_err(Error::Processes)?;
        let n_hidden = table.processes.n_hidden();
        if n_hidden > 0 {
            let right = Capability::SysPtrace;
            tracing::warn!(
                n_hidden,
                "processes are hidden, and with them their pods: missing {right}"
            );
        }
        Ok(Self { source, table, pace: Pace::new(), counters })
    }

    /// What the policy may rely on.
    pub(crate) fn known(&self) -> &Known {
        &self.table.known
    }

    /// Looks at the node.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let start = Instant::now();
        let snapshot = self.look();
        let (took, sweep) = match snapshot {
            // A sweep has a share of its own, and is no reason to pause.
            Ok((_, Sweep::New | Sweep::All)) => {
                (start.elapsed().saturating_sub(self.pace.took), None)
            }
            Ok((_, Sweep::At(sweep))) => (start.elapsed(), Some(sweep)),
            _ => (start.elapsed(), None),
        };
        self.counters.looked(Look { ended: Instant::now(), took, sweep });
        let Atomics { snapshots, snapshots_failed, .. } = &*self.counters;
        add(if snapshot.is_ok() { snapshots } else { snapshots_failed }, 1);
        snapshot.map(|(snapshot, _)| snapshot)
    }

    fn look(&mut self) -> Result<(Snapshot, Sweep), Error> {
        let Rows { mut rows, n_left_out, .. } = self.rows()?;
        add(&self.counters.rows_left_out, n_left_out);
        let holder = |row: &Row| Some((row.held_by?, row.netns));
        let holders: HashSet<_> = rows.iter().filter_map(holder).collect();
        let enough = self.meet(&holders)?;
        let sweep = self.pace.next(Instant::now(), enough);
        if matches!(sweep, Sweep::New | Sweep::All) {
            // Read after the rows, so that every holder that still lives is found.
            self.sweep(sweep, holders)?;
        }
        let Self { table, .. } = self;
        // Whose listener it is shows the sweep that is awaited, and until then it is nobody's.
        rows.retain(|row| holder(row).is_none_or(|holder| table.has_seen(holder)));
        let cgroup_of = |held| table.processes.get(held).map(|process| process.cgroup.clone());
        let snapshot = Snapshot {
            host: table.known.host,
            listeners: listeners::join(&rows, cgroup_of),
            processes: table.processes.iter().cloned().collect(),
        };
        Ok((snapshot, sweep))
    }

    /// Looks at the holders that are not known, and says whether that was enough to know them.
    fn meet(&mut self, holders: &HashSet<Holder>) -> Result<bool, Error> {
        let unknown = self.table.unknown(holders);
        if unknown.is_empty() {
            return Ok(true);
        }
        let now = Processes::some(self.table.suspects(&unknown)).map_err(Error::Processes)?;
        Ok(self.table.learn(&unknown, &now))
    }

    fn rows(&mut self) -> Result<Rows, Error> {
        match &mut self.source {
            #[cfg(feature = "ebpf")]
            Source::Ebpf(sockets) => {
                let rows = sockets.snapshot();
                self.counters.lost(sockets.n_lost().map_err(Error::kernel)?);
                rows.map_err(Error::kernel)
            }
            Source::SockDiag => self.by_namespace(|netns| {
                let told = sock_diag::listeners_of(netns).map_err(io::Error::other)?;
                Ok(told.into_iter().map(|told| told.socket).collect())
            }),
            Source::Proc => self.by_namespace(proc::listeners_of),
        }
    }

    /// The listening sockets of every namespace that a process is in, with their holders.
    fn by_namespace(
        &mut self,
        listeners_of: impl Fn(&Netns) -> io::Result<Vec<Socket>>,
    ) -> Result<Rows, Error> {
        self.sweep(Sweep::All, HashSet::new())?;
        Ok(proc::sweep(&self.sockets(listeners_of), &self.table.processes.held()))
    }

    /// A namespace that is gone, or whose process has left it, has none.
    fn sockets(
        &self,
        listeners_of: impl Fn(&Netns) -> io::Result<Vec<Socket>>,
    ) -> Vec<(Cookie, Socket)> {
        let sockets_of = |netns| {
            let opened = self.open(netns).ok()?;
            let same = opened.cookie().is_ok_and(|cookie| cookie == netns);
            let sockets = same.then(|| listeners_of(&opened))?;
            sockets
                .inspect_err(|error| {
                    let error = chain(error);
                    tracing::warn!(%netns, error, "cannot read the listeners of a namespace");
                })
                .ok()
        };
        let of_one = |&netns| {
            let sockets = sockets_of(netns).unwrap_or_default();
            sockets.into_iter().map(move |socket| (netns, socket))
        };
        self.table.known.netns.iter().flat_map(of_one).collect()
    }

    fn sweep(&mut self, sweep: Sweep, holders: HashSet<Holder>) -> Result<(), Error> {
        add(&self.counters.sweeps, 1);
        let start = Instant::now();
        let table = match sweep {
            Sweep::New => self.table.refresh(holders),
            _ => Table::read(holders),
        };
        self.table = table.map_err(Error::Processes)?;
        self.pace.ended(start, sweep);
        Ok(())
    }

    /// Opens a namespace through one of its processes, the oldest first: a pod's is that of its
    /// sandbox, which ends last.
    pub(crate) fn open(&self, netns: Cookie) -> Result<Netns, ConnectError> {
        let mut refused = None;
        for process in self.table.processes.within(netns) {
            match Netns::of_pid(process.pid) {
                Ok(opened) if processes::started(process.pid) == Some(process.started) => {
                    return Ok(opened);
                }
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
