//! What the privileged side does for the agent: [`Snapshot`], [`Connect`], [`Changes`].
//!
//! Everything that needs a right is done by the broker: it holds the kernel part, and enters
//! namespaces. It is a process of its own that the agent speaks to over a socket ([`attach`]), or
//! for debugging a thread of this one behind the same socket ([`start`]). It parses nothing that a
//! pod wrote but what the kernel hands on: names and paths.
//!
//! Changes are a hint and the snapshot is the truth. Take one at the start, then one after each
//! [`Changes::changed`].

use std::{
    future, io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    identity::{Cookie, PodUid, Process},
    listeners::{ROWS_OF_ONE, SOCKETS_PER_NETNS},
    netns::Identity,
    node::{
        broker::Broker,
        client::{Client, News},
        watcher::Told,
    },
    target::Listener,
};

pub use self::{counters::Counters, dial::begin, policy::Refusal};
pub use crate::listeners::Rung;

mod agenda;
mod broker;
mod channel;
mod client;
pub mod confinement;
mod counters;
mod dial;
mod footprint;
#[cfg(feature = "ebpf")]
pub mod handover;
mod hints;
mod host;
mod inquiries;
#[cfg(feature = "ebpf")]
pub mod loader;
mod numbers;
#[cfg(feature = "ebpf")]
pub mod offsets;
mod owner;
mod pace;
mod parcel;
pub mod policy;
pub mod privileges;
pub mod processes;
pub mod protocol;
mod rung;
pub mod seccomp;
mod sight;
mod snapshot;
pub mod stat;
pub mod stranger;
pub mod supervisor;
mod table;
mod toll;
pub mod watcher;

/// How the privileged side works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which ways to know the listeners are tried.
    pub rung: Rungs,
    /// Namespaces that may be marked dirty at once, on rung 1.
    pub n_marks: u32,
    /// Whether connections are made in the host's namespace, to listeners that one pod alone holds.
    pub host_network: bool,
    /// Whether processes of nobody's pod are told of, and all namespaces are looked at and connections made
    /// in them, whosever they are: for tests, which make no cgroups where they are not root.
    pub strangers: bool,
    /// What is done by processes of its own.
    pub apart: Apart,
    /// What tells namespaces apart: what this kernel has, unless a test says otherwise.
    pub identity: Option<Identity>,
    /// How often the node is looked at though nothing says that something changed.
    pub look_every: Duration,
    /// How often what is believed is compared with what the kernel says by another way.
    pub compare_every: Duration,
    /// How long the walks of rung 1 may take.
    pub walks: Walks,
    /// How long one look asks the namespaces that are marked, one after the other, on rungs 1 and 2. At least
    /// one is asked; the others are at the next look, which follows by itself.
    pub asking: Duration,
    /// Sockets of a namespace that are looked at: [`SOCKETS_PER_NETNS`] at most, which is how many are read
    /// on rungs 2 to 4.
    pub sockets: usize,
    /// Rows of one pod in a snapshot: a listener and one who holds it.
    pub rows: usize,
}

/// What is done by processes of its own, which are this program as another [`Part`].
///
/// [`Part`]: supervisor::Part
#[derive(Clone, Copy, Debug, Default)]
pub struct Apart {
    /// The kernel part is loaded by one.
    pub loader: bool,
    /// An agent may have one that watches the pods.
    pub watcher: bool,
}

/// How long the walks of rung 1 may take, and what follows if they take longer.
#[derive(Clone, Copy, Debug)]
pub struct Walks {
    /// What one may take. Then the listeners are known as on rung 2.
    pub within: Duration,
    /// How long, until a walk is tried again.
    pub again: Duration,
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

/// The way to the broker. With the last clone the channel is closed, and with it what the broker
/// does for this agent.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Absent only while this is dropped.
    client: Option<Client>,
    /// The broker, where it is of this process.
    thread: Option<JoinHandle<()>>,
}

/// Says when to look again.
#[derive(Debug)]
pub struct Changes {
    news: watch::Receiver<News>,
    /// How many calls were heard.
    heard: u64,
}

/// The node at one moment, as far as a sweep can see a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The host's own namespace: that of the first process, or of the kernel's threads.
    pub host: Cookie,
    /// The processes by which [`identity::namespaces`] tells whose a namespace is, and with
    /// [`Options::strangers`] all others. Those that hold a listener are as they were when they did;
    /// what became of the others meanwhile is seen within ten seconds.
    ///
    /// [`identity::namespaces`]: crate::identity::namespaces
    pub processes: Vec<Process>,
    /// Every listening TCP socket of the pods' own namespaces, and with [`Options::host_network`] of the
    /// host's, by namespace, address and port.
    pub listeners: Vec<Listener>,
}

/// A connection that is to be born inside a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The namespace, known from a snapshot.
    pub netns: Cookie,
    /// `127.0.0.1`, `::1`, or an address of that namespace.
    pub address: SocketAddr,
    /// In the host's namespace, and there alone: the pod that every holder of the listener has to be
    /// of. None elsewhere, where the namespace says it.
    pub owner: Option<PodUid>,
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
    /// No connection can be kept inside its namespace.
    #[error(
        "cannot bind a socket to the loopback interface: needs Linux 5.7 or newer, where that takes no right"
    )]
    Loopback(#[source] io::Error),
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
    #[error("cannot start the thread of the broker")]
    Thread(#[source] io::Error),
    /// A process cannot give up its rights.
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    /// The agent cannot be started, or not be waited for.
    #[error("the agent cannot be started")]
    Agent(#[source] io::Error),
    /// Whose descriptors are which cannot be told.
    #[error("cannot close inherited descriptors to the parts of merger")]
    Descriptors(#[source] io::Error),
    /// Signals cannot be heard.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// Agent and broker cannot speak to each other.
    #[error("the agent cannot speak to the broker")]
    Channel(#[source] io::Error),
    /// The broker could not look; it says why.
    #[error("the broker cannot look at this node: {0}")]
    Unseen(String),
    /// The watcher cannot be started; the broker says why.
    #[error("the pods cannot be watched: {0}")]
    Unwatched(String),
    /// `/proc` could not be read.
    #[error("cannot read the processes of this node")]
    Processes(#[source] io::Error),
    /// Whose a namespace is cannot be told.
    #[error(
        "{n_hidden} processes are hidden, and with them whose a network namespace is: missing {}, or \
         a security module such as AppArmor refuses it",
        privileges::Capability::SysPtrace
    )]
    Hidden {
        /// How many there are.
        n_hidden: usize,
    },
    /// Nobody's processes are seen but its own.
    #[error(
        "no process of this node is seen but merger's own: run in the host's PID namespace (hostPID: true)"
    )]
    Alone,
    /// The processes of other users, as those of pods are, cannot be dealt with.
    #[error(
        "cannot deal with processes of other users: missing {0}, or a security module refuses it"
    )]
    Strangers(privileges::Capability),
    /// Whether they can be is not found out.
    #[error("cannot try the rights over processes of other users")]
    Stranger(#[source] io::Error),
    /// The kernel part does not answer.
    #[error("cannot read the listeners of this node")]
    Listeners(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker has ended.
    #[error("the broker has ended")]
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
    /// The broker has ended.
    #[error("the broker has ended")]
    Ended,
}

/// Starts the broker as a thread of this process.
///
/// To be called in a tokio runtime. Blocks for some tens of milliseconds, to load the kernel part.
pub fn start(options: Options) -> Result<(Node, Changes), Error> {
    let broker = Broker::open(options)?;
    let [agent, end] = channel::pair().map_err(Error::Channel)?;
    let client = Client::new(agent, broker.hello().clone())?;
    let thread = thread::Builder::new().name("merger-broker".into());
    let thread = thread.spawn(move || serve_one(broker, &end));
    Ok(Node::new(client, Some(thread.map_err(Error::Thread)?)))
}

/// Is the broker of the agent at the other end of `socket`, and returns when that is gone.
pub fn serve(options: Options, socket: &OwnedFd) -> Result<(), Error> {
    serve_one(Broker::open(options)?, socket);
    Ok(())
}

fn serve_one(mut broker: Broker, socket: &OwnedFd) {
    match broker.serve(socket, None) {
        broker::Ended::Gone => {}
        ended => tracing::error!(error = crate::cause::chain(&ended), "the broker ends"),
    }
}

/// Speaks to the broker at the other end of `socket`, which is another process.
///
/// To be called in a tokio runtime. Blocks until the broker has said its first words.
pub fn attach(socket: OwnedFd) -> Result<(Node, Changes), Error> {
    Ok(Node::new(Client::greeted(socket)?, None))
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
        Self {
            rung: Rungs::Auto,
            n_marks,
            host_network: false,
            strangers: false,
            apart: Apart::default(),
            identity: None,
            look_every: agenda::EVERY,
            compare_every: sight::comparison::EVERY,
            walks: Walks::default(),
            asking: sight::ASKING,
            sockets: SOCKETS_PER_NETNS,
            rows: ROWS_OF_ONE,
        }
    }
}

// === impl Walks ===

impl Default for Walks {
    fn default() -> Self {
        #[cfg(feature = "ebpf")]
        let within = crate::listeners::ebpf::DEADLINE;
        #[cfg(not(feature = "ebpf"))]
        let within = Duration::ZERO;
        Self { within, again: Duration::from_mins(10) }
    }
}

// === impl Node ===

impl Node {
    fn new(client: Client, thread: Option<JoinHandle<()>>) -> (Self, Changes) {
        let changes = Changes { news: client.news(), heard: 0 };
        (Self { inner: Arc::new(Inner { client: Some(client), thread }) }, changes)
    }

    /// The way in use. It may become another: see [`Walks`].
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.client().hello().rung
    }

    /// Why a better way is not in use, for people; nothing on the best.
    #[must_use]
    pub fn fallback(&self) -> Option<String> {
        self.client().hello().fallback
    }

    /// What was done until the last snapshot, or the last that failed, and what became of the connections until now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.client().counters()
    }

    /// How long ago the node was looked at.
    #[must_use]
    pub fn snapshot_age(&self) -> Option<Duration> {
        self.client().snapshot_age()
    }

    /// Looks at the node.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.client().snapshot().await
    }

    /// Starts a watcher of this node's pods, in the place of the one before.
    pub async fn watch(&self) -> Result<Told, Error> {
        self.client().watch().await
    }

    /// Begins a connection inside a pod's namespace.
    ///
    /// The stream does not block, and is not yet connected: wait until it can be written to, then
    /// ask it for its error. Loopback is no exception: the answer is read when the call is over.
    /// It was born in the namespace that was asked for; that is checked.
    pub async fn connect(&self, request: Connect) -> Result<TcpStream, ConnectError> {
        self.client().connect(request).await
    }

    /// Whether a connection that was begun would be begun again. In the host's namespace, whether all who
    /// hold the listener are still of the pod, which is to be asked after a body was read, and before it
    /// is used; in another, whether a process is left in it.
    pub async fn confirm(&self, request: Connect) -> Result<(), ConnectError> {
        self.client().confirm(request).await
    }

    /// Returns when the broker says that nobody needs the agent any more.
    pub async fn told_to_stop(&self) {
        let mut news = self.client().news();
        if news.wait_for(|news| news.is_over).await.is_err() {
            // A broker that is gone has told nothing, and the next request says that it is.
            future::pending::<()>().await;
        }
    }

    #[expect(clippy::expect_used, reason = "the proof is beside it")]
    fn client(&self) -> &Client {
        self.inner.client.as_ref().expect("it is taken only when no node is left")
    }
}

// === impl Changes ===

impl Changes {
    /// Returns when something may have changed since the last call returned; then take a snapshot.
    /// It returns at once, too, when the broker has ended, which the snapshot then says.
    ///
    /// It may return though nothing changed, and once for many changes. It does not say what
    /// changed, nor that a listener is still there. Cancel safe: a change is not forgotten.
    pub async fn changed(&mut self) {
        let Self { news, heard } = self;
        if let Ok(news) = news.wait_for(|news| news.n_calls != *heard).await {
            *heard = news.n_calls;
        }
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.client.take());
        // It ends with its last request, so this waits for one at most.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the broker has panicked");
        }
    }
}
