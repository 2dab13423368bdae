//! The privileged thread: takes snapshots, and makes connections inside namespaces.
//!
//! It keeps no namespace open between requests: a namespace that is held outlives its pod.

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
    process::{getegid, geteuid},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    identity::Cookie,
    listeners::{self, Held, Row, Rows, proc},
    netns::{self, Netns},
    node::{
        Connect, ConnectError, Error, Snapshot,
        counters::{Atomics, add},
        policy::{self, Caller, Known, Permit, Refusal},
        privileges::Capability,
        processes::{self, Processes},
        rung::Source,
    },
};

/// How old the table of processes may be in a snapshot, where nobody new holds a listener. A process
/// that changes its cgroup or its namespace otherwise is seen so with this delay.
const AGE: Duration = Duration::from_secs(1);

/// What the agent asks for.
pub(crate) enum Request {
    Snapshot(oneshot::Sender<Result<Snapshot, Error>>),
    Connect(Connect, oneshot::Sender<Result<TcpStream, ConnectError>>),
}

/// The state of the privileged thread.
pub(crate) struct Broker {
    source: Source,
    table: Table,
    counters: Arc<Atomics>,
}

/// The last sweep over the processes.
struct Table {
    processes: Processes,
    known: Known,
    read: Instant,
    /// Who held a listener, and where, before the sweep. What the sweep says of these is what they
    /// were when they listened already; of any other it may be what they were before, such as a
    /// container's first process that had not entered its cgroup yet.
    seen: HashSet<(Held, Cookie)>,
}

// === impl Broker ===

impl Broker {
    /// Tries what will be needed: to enter a namespace, and to read the processes.
    pub(crate) fn new(source: Source, counters: Arc<Atomics>) -> Result<Self, Error> {
        Netns::own().and_then(|own| own.cookie()).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoRight(error),
            _ => Error::NoCookie(error),
        })?;
        let table = Table::read().map_err(Error::Processes)?;
        let n_hidden = table.processes.n_hidden();
        if n_hidden > 0 {
            let right = Capability::SysPtrace;
            tracing::warn!(
                n_hidden,
                "processes are hidden, and with them their pods: missing {right}"
            );
        }
        Ok(Self { source, table, counters })
    }

    /// Answers until nobody can ask any more.
    pub(crate) fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.blocking_recv() {
            // Whoever asked may have gone; then the answer is for nobody.
            match request {
                Request::Snapshot(answer) => drop(answer.send(self.snapshot())),
                Request::Connect(request, answer) => drop(answer.send(self.connect(request))),
            }
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let start = Instant::now();
        let snapshot = self.look();
        self.counters.took(start.elapsed());
        let Atomics { snapshots, snapshots_failed, .. } = &*self.counters;
        add(if snapshot.is_ok() { snapshots } else { snapshots_failed }, 1);
        snapshot
    }

    fn look(&mut self) -> Result<Snapshot, Error> {
        let Rows { rows, n_left_out, .. } = self.rows()?;
        add(&self.counters.rows_left_out, n_left_out);
        let holder = |row: &Row| Some((row.held_by?, row.netns));
        let holders: HashSet<_> = rows.iter().filter_map(holder).collect();
        if self.table.read.elapsed() > AGE || !holders.is_subset(&self.table.seen) {
            // Read after the rows, so that every holder that still lives is found.
            self.sweep()?;
            self.table.seen = holders;
        }
        let Table { processes, known, .. } = &self.table;
        let cgroup_of = |held| processes.get(held).map(|process| process.cgroup.clone());
        Ok(Snapshot {
            host: known.host,
            listeners: listeners::join(&rows, cgroup_of),
            processes: processes.iter().cloned().collect(),
        })
    }

    fn rows(&mut self) -> Result<Rows, Error> {
        match &mut self.source {
            #[cfg(feature = "ebpf")]
            Source::Ebpf(sockets) => {
                let rows = sockets.snapshot();
                self.counters.lost(sockets.n_lost().map_err(Error::kernel)?);
                rows.map_err(Error::kernel)
            }
            Source::Proc => {
                self.sweep()?;
                Ok(proc::sweep(&self.tables(), &self.table.processes.held()))
            }
        }
    }

    /// The listening sockets of every namespace that a process is in. A namespace that is gone, or
    /// whose process has left it, has none.
    fn tables(&self) -> Vec<(Cookie, proc::Socket)> {
        let sockets_of = |netns| {
            let opened = self.open(netns).ok()?;
            let same = opened.cookie().is_ok_and(|cookie| cookie == netns);
            same.then(|| proc::listeners_of(&opened).ok()).flatten()
        };
        let of_one = |&netns| {
            let sockets = sockets_of(netns).unwrap_or_default();
            sockets.into_iter().map(move |socket| (netns, socket))
        };
        self.table.known.netns.iter().flat_map(of_one).collect()
    }

    fn sweep(&mut self) -> Result<(), Error> {
        add(&self.counters.sweeps, 1);
        self.table = Table::read().map_err(Error::Processes)?;
        Ok(())
    }

    fn connect(&mut self, request: Connect) -> Result<TcpStream, ConnectError> {
        let caller = Caller { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        let permit = policy::permit(request, &self.table.known, caller);
        let stream = permit.map_err(ConnectError::from).and_then(|permit| {
            let netns = self.open(request.netns)?;
            netns.within(|| Ok(dial(request, permit))).map_err(ConnectError::Namespace)?
        });
        let Atomics { connects, connects_refused, connects_failed, .. } = &*self.counters;
        match &stream {
            Ok(_) => add(connects, 1),
            Err(ConnectError::Refused(_)) => add(connects_refused, 1),
            Err(_) => add(connects_failed, 1),
        }
        stream
    }

    /// Opens a namespace through one of its processes, the oldest first: a pod's is that of its
    /// sandbox, which ends last.
    fn open(&self, netns: Cookie) -> Result<Netns, ConnectError> {
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

// === impl Table ===

impl Table {
    fn read() -> io::Result<Self> {
        let read = Instant::now();
        let processes = Processes::sweep()?;
        let netns = processes.iter().map(|process| process.netns).collect();
        let first = processes.iter().find(|process| process.pid == 1);
        let host = match first {
            Some(first) => first.netns,
            None => Netns::own()?.cookie()?,
        };
        Ok(Self { processes, known: Known { host, netns }, read, seen: HashSet::new() })
    }
}

/// Begins a permitted connection in the namespace that the thread is in now.
fn dial(request: Connect, permit: Permit) -> Result<TcpStream, ConnectError> {
    let Connect { netns, address } = request;
    if let Permit::OwnAddress(ip) = permit
        && !netns::has_address(ip).map_err(ConnectError::Connect)?
    {
        return Err(Refusal::Foreign(ip).into());
    }
    begin(netns, address)
}

/// Begins a connection in the namespace that the thread is in now, if it is `netns`.
///
/// The stream does not block, and is not yet connected.
pub fn begin(netns: Cookie, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|error| ConnectError::Connect(error.into()))?;
    // The process that led here may have changed its namespace since the sweep.
    if netns::cookie_of(&socket).map_err(ConnectError::Namespace)? != netns {
        return Err(ConnectError::Gone(netns));
    }
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(ConnectError::Connect(error.into())),
    }
}
