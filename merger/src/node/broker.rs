//! The privileged thread: takes snapshots, and makes connections inside namespaces.
//!
//! It keeps no namespace open between requests: a namespace that is held outlives its pod.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
    process::{getegid, geteuid},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    identity::Cookie,
    netns::{self, Netns},
    node::{
        Connect, ConnectError, Error, Snapshot,
        counters::{Atomics, add},
        policy::{self, Caller, Permit, Refusal},
        rung::Source,
        sight::Sight,
    },
};

/// What the agent asks for.
pub(crate) enum Request {
    Snapshot(oneshot::Sender<Result<Snapshot, Error>>),
    Connect(Connect, oneshot::Sender<Result<TcpStream, ConnectError>>),
}

/// The state of the privileged thread.
pub(crate) struct Broker {
    sight: Sight,
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
        let sight = Sight::new(source, Arc::clone(&counters))?;
        Ok(Self { sight, counters })
    }

    /// Answers until nobody can ask any more.
    pub(crate) fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.blocking_recv() {
            // Whoever asked may have gone; then the answer is for nobody.
            match request {
                Request::Snapshot(answer) => drop(answer.send(self.sight.snapshot())),
                Request::Connect(request, answer) => drop(answer.send(self.connect(request))),
            }
        }
    }

    fn connect(&mut self, request: Connect) -> Result<TcpStream, ConnectError> {
        let permit = policy::permit(request, self.sight.known(), caller());
        let stream = permit.map_err(ConnectError::from).and_then(|permit| {
            let netns = self.sight.open(request.netns)?;
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
