//! Where pods come from: what may be said of it, and what holds where nobody says anything.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::ValueEnum;
use serde::Deserialize;

use crate::pods::{
    cri::socket,
    kube::{Access, List},
};

/// Where pods come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PodSource {
    /// The API server of a cluster.
    Kube,
    /// The container runtime at this socket, or at one of those where runtimes listen.
    Cri(Option<PathBuf>),
    /// A directory of Pod manifests.
    Manifests(PathBuf),
}

/// How the API server is asked for the pods that there are, as a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KubeList {
    /// By a list in pages
    Pages,
    /// By the beginning of a watch
    Streaming,
}

/// What is looked at where nobody says anything.
pub(super) struct Surroundings {
    /// Whether this runs in a pod.
    pub(super) in_cluster: bool,
    /// Whether a container runtime has its socket where one is looked for.
    pub(super) has_runtime: bool,
    /// Tells the name of this host.
    pub(super) host_name: fn() -> io::Result<String>,
}

// === impl PodSource ===

impl PodSource {
    /// The paths that whoever finds the pods here reads.
    #[must_use]
    pub fn reads(&self) -> Vec<&Path> {
        match self {
            Self::Manifests(dir) => vec![dir],
            Self::Cri(_) | Self::Kube => vec![],
        }
    }

    /// Whether the pods come over a connection that the agent is not to have.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        match self {
            Self::Manifests(_) => false,
            Self::Cri(_) | Self::Kube => true,
        }
    }
}

impl FromStr for PodSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "kube" => Ok(Self::Kube),
            None if text == "cri" => Ok(Self::Cri(None)),
            Some(("cri", socket)) if !socket.is_empty() => Ok(Self::Cri(Some(socket.into()))),
            Some(("manifests", dir)) if !dir.is_empty() => Ok(Self::Manifests(dir.into())),
            _ => Err(
                "the source of pods is kube, the API server of a cluster, cri or cri:SOCKET, the \
                      container runtime, or manifests:DIR, a directory of Pod manifests"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for PodSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kube => f.write_str("kube"),
            Self::Cri(None) => f.write_str("cri"),
            Self::Cri(Some(socket)) => write!(f, "cri:{}", socket.display()),
            Self::Manifests(dir) => write!(f, "manifests:{}", dir.display()),
        }
    }
}

impl TryFrom<String> for PodSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

// === impl KubeList ===

impl From<KubeList> for List {
    fn from(list: KubeList) -> Self {
        match list {
            KubeList::Pages => Self::Pages,
            KubeList::Streaming => Self::Streaming,
        }
    }
}

// === impl Surroundings ===

impl Surroundings {
    /// Those of this process.
    pub(super) fn look() -> Self {
        let in_cluster = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let has_runtime = socket::DEFAULTS.iter().any(|path| Path::new(path).exists());
        Self { in_cluster, has_runtime, host_name }
    }

    /// Where pods come from, and why. The order of the defaults is here.
    pub(super) fn source(&self, said: Option<PodSource>) -> Option<(PodSource, &'static str)> {
        match said {
            Some(said) => Some((said, "the setting pods says so")),
            None if self.in_cluster => Some((PodSource::Kube, "KUBERNETES_SERVICE_HOST is set")),
            None if self.has_runtime => {
                Some((PodSource::Cri(None), "a container runtime has its socket here"))
            }
            None => None,
        }
    }

    /// How the API server is found.
    pub(super) fn access(&self, kubeconfig: Option<PathBuf>) -> Access {
        match kubeconfig {
            None if self.in_cluster => Access::InCluster,
            file => Access::Kubeconfig(file),
        }
    }
}

fn host_name() -> io::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim_end().to_owned())
}
