//! The privileged thread: takes snapshots, and makes connections inside namespaces.
//!
//! It keeps no namespace open between requests: a namespace that is held outlives its pod.

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
    process::{getegid, geteuid},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    cause::chain,
    identity::Cookie,
    listeners::{self, Row, Rows, Socket, proc, sock_diag},
    netns::{self, Netns},
    node::{
        Connect, ConnectError, Error, Snapshot,
        counters::{Atomics, Look, add},
        pace::{Pace, Sweep},
        policy::{self, Caller, Permit, Refusal},
        privileges::Capability,
        processes::{self, Processes},
        rung::Source,
        table::{Holder, Table},
    },
};

/// What the agent asks for.
pub(crate) enum Request {
    Snapshot(oneshot::Sender<Result<Snapshot, Error>>),
    Connect(Connect, oneshot::Sender<Result<TcpStream, ConnectError>>),
}

/// The state of the privileged thread.
pub(crate) struct Broker {
    source: Source,
    table: Table,
    pace: Pace,
    counters: Arc<Atomics>,
}

// === impl Broker ===

impl Broker {
    /// Tries what will be needed: to enter a namespace, and to read the processes.
    pub(crate) fn new(source: Source, counters: Arc<Atomics>) -> Result<Self, Error> {
        Netns::own().and_then(|own| own.cookie()).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoRight(error),
            _ if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Error::NoCookie(error),
            _ => Error::Namespaces(error),
        })?;
        policy::admit(caller())?;
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

    fn connect(&mut self, request: Connect) -> Result<TcpStream, ConnectError> {
        let permit = policy::permit(request, &self.table.known, caller());
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

fn caller() -> Caller {
    Caller { uid: geteuid().as_raw(), gid: getegid().as_raw() }
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
