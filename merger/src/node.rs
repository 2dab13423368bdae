//! What the privileged side does for the agent: [`Snapshot`], [`Connect`], [`Changes`].
//!
//! One thread of its own holds everything that needs a right: the kernel part, and entering
//! namespaces. It is asked by messages and answers by value, so that a process can stand in its
//! place. It parses nothing that a pod wrote but what the kernel hands on: names and paths.
//!
//! Changes are a hint and the snapshot is the truth. Take one at the start, then one after each
//! [`Changes::changed`].

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    identity::{Cookie, Process},
    node::{
        broker::{Broker, Request},
        counters::Atomics,
    },
    target::Listener,
};

pub use self::{broker::begin, changes::Changes, counters::Counters, policy::Refusal};
pub use crate::listeners::Rung;

mod broker;
mod changes;
mod counters;
#[cfg(feature = "ebpf")]
pub mod loader;
#[cfg(feature = "ebpf")]
pub mod offsets;
mod pace;
pub mod policy;
pub mod privileges;
pub mod processes;
mod rung;
mod sight;
pub mod stat;
mod table;

/// Requests that may wait for the privileged thread. The next one waits for room.
const QUEUE: usize = 64;

/// How the privileged side works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which ways to know the listeners are tried.
    pub rung: Rungs,
    /// Namespaces that may be marked dirty at once, on rung 1.
    pub n_marks: u32,
}

/// Which ways to know the listeners are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rungs {
    /// The best that works here.
    #[default]
    Auto,
    /// This one, or none.
    Only(Rung),
}

/// The way to the privileged thread. With the last clone the thread ends, and with it the kernel
/// part leaves the kernel.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Absent only while this is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    rung: Rung,
    fallback: Option<String>,
    counters: Arc<Atomics>,
}

/// The node at one moment, as far as a sweep can see a moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The host's own namespace: that of the first process, else of this one.
    pub host: Cookie,
    /// Every process that is no thread of the kernel. Those that hold a listener are as they were
    /// when they did; what became of the others meanwhile is seen within ten seconds.
    pub processes: Vec<Process>,
    /// Every listening TCP socket, by namespace, address and port.
    pub listeners: Vec<Listener>,
}

/// A connection that is to be born inside a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The namespace, known from a snapshot.
    pub netns: Cookie,
    /// `127.0.0.1`, `::1`, or an address of that namespace.
    pub address: SocketAddr,
}

/// Why the privileged side cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces cannot be entered.
    #[error("cannot enter network namespaces: missing {}", privileges::Capability::SysAdmin)]
    NoRight(#[source] io::Error),
    /// Namespaces cannot be told apart for another reason.
    #[error("cannot enter network namespaces")]
    Namespaces(#[source] io::Error),
    /// This kernel does not tell one namespace from the next: `SO_NETNS_COOKIE`.
    #[error("cannot tell network namespaces apart: needs kernel 5.14 or later")]
    NoCookie(#[source] io::Error),
    /// The way that was asked for does not work here.
    #[error("listeners cannot be known by {rung}: {reason}")]
    Rung {
        /// The way.
        rung: Rung,
        /// Why not, and the next step.
        reason: String,
    },
    /// No connection would be made for whom this runs as.
    #[error(transparent)]
    Caller(#[from] Refusal),
    /// The thread could not be started.
    #[error("cannot start the privileged thread")]
    Thread(#[source] io::Error),
    /// `/proc` could not be read.
    #[error("cannot read the processes of this node")]
    Processes(#[source] io::Error),
    /// The kernel part does not answer.
    #[error("cannot read the listeners of this node")]
    Listeners(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread has ended.
    #[error("the privileged thread has ended")]
    Ended,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// None of its processes is there any more.
    #[error("network namespace {0} is gone")]
    Gone(Cookie),
    /// The namespace cannot be entered.
    #[error("cannot enter the network namespace")]
    Namespace(#[source] io::Error),
    /// The connection could not be begun. That nobody listens is told later, by the stream.
    #[error("cannot begin the connection")]
    Connect(#[source] io::Error),
    /// The thread has ended.
    #[error("the privileged thread has ended")]
    Ended,
}

/// Starts the privileged thread and says by which rung it knows the listeners.
///
/// To be called in a tokio runtime. Blocks for some tens of milliseconds, to load the kernel part.
pub fn start(options: Options) -> Result<(Node, Changes), Error> {
    let counters = Arc::new(Atomics::default());
    let rung::Opened { source, changes, rung, fallback } = rung::open(options)?;
    let broker = Broker::new(source, Arc::clone(&counters))?;
    let (requests, queue) = mpsc::channel(QUEUE);
    let thread = thread::Builder::new()
        .name("merger-node".into())
        .spawn(move || broker.serve(queue))
        .map_err(Error::Thread)?;
    let changes = Changes::new(changes, Arc::clone(&counters));
    let (requests, thread) = (Some(requests), Some(thread));
    let inner = Inner { requests, thread, rung, fallback, counters };
    Ok((Node { inner: Arc::new(inner) }, changes))
}

// === impl Error ===

#[cfg(feature = "ebpf")]
impl Error {
    fn kernel(error: crate::listeners::ebpf::Error) -> Self {
        Self::Listeners(Box::new(error))
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        #[cfg(feature = "ebpf")]
        let n_marks = merger_common::N_MARKS;
        #[cfg(not(feature = "ebpf"))]
        let n_marks = 0;
        Self { rung: Rungs::Auto, n_marks }
    }
}

// === impl Node ===

impl Node {
    /// The way in use.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.inner.rung
    }

    /// Why a better way is not in use, for people; nothing on the best.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        self.inner.fallback.as_deref()
    }

    /// What was done and refused until now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.counters.load()
    }

    /// Looks at the node.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Snapshot(answer)).await.ok_or(Error::Ended)?;
        answered.await.map_err(|_| Error::Ended)?
    }

    /// Begins a connection inside a pod's namespace.
    ///
    /// The stream does not block, and is not yet connected: wait until it can be written to, then
    /// ask it for its error. Loopback is no exception: the answer is read when the call is over.
    /// It was born in the namespace that was asked for; that is checked.
    pub async fn connect(&self, request: Connect) -> Result<TcpStream, ConnectError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Connect(request, answer)).await.ok_or(ConnectError::Ended)?;
        answered.await.map_err(|_| ConnectError::Ended)?
    }

    async fn ask(&self, request: Request) -> Option<()> {
        self.inner.requests.as_ref()?.send(request).await.ok()
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.requests.take());
        // The thread ends with its last request, so this waits for one at most.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the privileged thread has panicked");
        }
    }
}
