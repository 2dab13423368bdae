//! Who is scraped: the pods, the listeners, and the sources that follow from both.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use self::{
    monitor::Monitored,
    secret::{Denied, SecretRef},
};
use crate::identity::{Cookie, PodUid};

pub mod annotations;
pub mod mesh;
pub mod monitor;
pub mod note;
pub mod plan;
pub mod secret;

/// A pod's name, unique on the cluster at any one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// The namespace of the Kubernetes API, not of the kernel.
    pub namespace: String,
    /// The pod's own name.
    pub name: String,
}

/// What is used of a pod, whichever source told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: PodRef,
    /// Tells this pod from an earlier one of the same name.
    pub uid: String,
    /// The node that it is bound to, where that is known.
    pub node: Option<String>,
    /// As its owner wrote them; hostile until checked.
    pub annotations: BTreeMap<String, String>,
    /// The containers that may run for long, of the application and native sidecars, and of the others,
    /// init and ephemeral, those that run.
    pub containers: Vec<Container>,
    /// What `PodMonitor`s ask of it.
    pub monitored: Monitored,
    /// Whether it succeeded or failed: nothing of it will listen again.
    pub ended: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Unique in its pod.
    pub name: String,
    /// As the runtime knows it, once it has run.
    pub id: Option<String>,
    /// The ports that it declares, which need not be those that it listens on.
    pub ports: Vec<Port>,
    /// Of its environment what [`mesh::ENVIRONMENT`] names.
    pub env: BTreeMap<String, String>,
}

/// A declared port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its number.
    pub number: NonZeroU16,
}

/// A TCP socket that accepts connections, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The namespace of the socket, which need not be that of its holders.
    pub netns: Cookie,
    /// The address it is bound to; unspecified where it is bound to all.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: NonZeroU16,
    /// The processes that have it open, oldest first. None where no table of files holds it.
    pub holders: Vec<Holder>,
    /// Why there may be others, if there may.
    pub doubt: Option<Doubt>,
}

/// Why not all who hold a listener may be known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
pub enum Doubt {
    /// Any process whose files cannot be seen may hold it.
    #[error(
        "whose the socket is cannot be known: the files of process {pid} cannot be seen: {why}"
    )]
    HolderHidden {
        /// The process, or the first of several.
        pid: u32,
        /// Why: mostly a right that would show them, and what it is for.
        why: Arc<str>,
    },
    /// Some of those who hold it may have been left out.
    #[error(
        "whose the socket is cannot be known: its network namespace has more sockets, or its pod or \
         another who holds it more listeners with their processes, than are looked at"
    )]
    Crowded,
    /// Several sockets share its address, and not all are held. The kernel may choose any of them.
    #[error("no process is seen to hold one of the sockets at its address, so it may be anybody's")]
    Unheld,
}

/// A process that holds a listener open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id in the host's PID namespace.
    pub pid: u32,
    /// Its cgroup, read as [`crate::identity::Process::cgroup`] is.
    pub cgroup: Arc<str>,
}

/// One endpoint of a pod that is to be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The container that answers; the label `container`.
    pub container: String,
    /// The port's name where the pod gives it one, else its number; the label `endpoint`.
    pub endpoint: String,
    /// Where it listens, or is expected to.
    pub port: NonZeroU16,
    /// Whether it speaks TLS.
    pub scheme: Scheme,
    /// Path and query, checked: it begins with one `/`, and is of the ASCII of a URL.
    pub path: String,
    /// What made it a source.
    pub reason: Reason,
    /// Whether it can be read now.
    pub state: State,
    /// In the host's namespace: the pod that everybody who holds the listener has to be of.
    pub owner: Option<PodUid>,
    /// What it is asked with, where it does not answer just anybody.
    pub secret: Option<SecretRef>,
    /// What the names of families begin with that are taken, where the rest of its page is read elsewhere.
    pub only: Option<String>,
}

/// How a source is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS. The certificate is not asked for its name: the namespace is the identity. A Secret
    /// may say who has to vouch for it.
    Https,
}

/// Who asks for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The pod, in this annotation: shortened and escaped.
    Annotation(String),
    /// A `PodMonitor` that selects the pod, by namespace and name: escaped.
    Monitor(String),
}

/// What made an endpoint a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pod asks for this port in this annotation.
    Annotation(String),
    /// This `PodMonitor` asks for this port of the pod.
    Monitor(String),
    /// The pod asks to be scraped, and this port's name says metrics.
    NamedPort,
    /// The container is the sidecar of this mesh.
    Sidecar(String),
    /// A person asked every listener of the namespace.
    Probe,
}

/// Whether a source can be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It listens. The addresses to try, in this order.
    Ready(Vec<SocketAddr>),
    /// Nothing listens on its port yet. That is no error, but it is not up either.
    Pending,
    /// Something listens on its port that is not to be asked.
    Refused(Refusal),
}

/// Why a listener is not to be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The socket is in the pod's namespace, but held from outside, as an ambient mesh's proxy does.
    /// Who of several holders would answer is up to them, so one from outside is enough.
    #[error(
        "the socket is held by process {pid}{}, which is not of this pod: ask for a port that its own \
         containers alone hold",
        pod_uid.as_ref().map(|uid| format!(" of pod uid {uid}")).unwrap_or_default()
    )]
    ForeignHolder {
        /// The process that holds it.
        pid: u32,
        /// The pod of that process, where its cgroup names one.
        pod_uid: Option<String>,
    },
    /// A socket that is in no table of files may be anybody's.
    #[error("no process is seen to hold the socket, so it may be anybody's")]
    NoHolder,
    /// What was seen is too old to go by.
    #[error(
        "this node could not be looked at for more than a minute, so whose the socket is by now is not \
         known: the log of merger says why"
    )]
    Outdated,
    /// It cannot be ruled out that somebody else holds the socket.
    #[error(transparent)]
    Doubt(Doubt),
    /// The mesh's proxy takes what is sent there from within the pod as well.
    #[error(
        "bound to {0} alone, which the sidecar of {1} intercepts within the pod as well: bind it to 127.0.0.1"
    )]
    Intercepted(IpAddr, String),
    /// Meshes exempt 127.0.0.1 and `::1` from interception, and no other loopback address.
    #[error("bound to {0}, a loopback address that meshes intercept: bind it to 127.0.0.1")]
    OddLoopback(IpAddr),
    /// It is to be asked with a Secret, and one container is not to be shown what is another's.
    #[error(
        "it is asked with a Secret, and which container would answer is not known: the pod's status does not \
         name the one that listens there yet, or several that are asked with different ones share the port"
    )]
    UnknownContainer,
    /// It is to be asked with a Secret that may not be read.
    #[error(transparent)]
    Secret(Denied),
}

// === impl PodRef ===

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Scheme ===

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

// === impl Asker ===

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(annotation) => write!(f, "annotation {annotation}"),
            Self::Monitor(monitor) => write!(f, "PodMonitor {monitor}"),
        }
    }
}

// === impl Reason ===

impl From<Asker> for Reason {
    fn from(asker: Asker) -> Self {
        match asker {
            Asker::Annotation(annotation) => Self::Annotation(annotation),
            Asker::Monitor(monitor) => Self::Monitor(monitor),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(annotation) => write!(f, "the annotation {annotation}"),
            Self::Monitor(monitor) => write!(f, "the PodMonitor {monitor}"),
            Self::NamedPort => f.write_str("the name of the port"),
            Self::Sidecar(mesh) => write!(f, "the sidecar of {mesh}"),
            Self::Probe => f.write_str("a probe"),
        }
    }
}
