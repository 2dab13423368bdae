//! Where the API server is, and as whom it is spoken to.

use std::{fmt, path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{InClusterError, Kubeconfig, KubeconfigError},
};

/// The wait for a connection. A server that is away mostly refuses at once.
const CONNECT: Duration = Duration::from_secs(10);

/// How the API server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the service account of this pod: its token, its CA, and the address in its environment.
    InCluster,
    /// By this kubeconfig; where none is named, by those of `KUBECONFIG`, else by `~/.kube/config`.
    Kubeconfig(Option<PathBuf>),
}

/// Why the API server cannot be spoken to, whether it is there or not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This is no pod, or one without a service account.
    #[error(
        "cannot use the service account of this pod: have its token mounted \
         (automountServiceAccountToken), or name a kubeconfig by --kubeconfig"
    )]
    InCluster(#[source] Box<InClusterError>),
    /// The kubeconfig cannot be read, or is none.
    #[error("cannot use {access}: name a right one by --kubeconfig")]
    Kubeconfig {
        /// Which one.
        access: Access,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// What is said there cannot be used: certificates, keys, tokens.
    #[error("cannot prepare a connection to the API server at {url}")]
    Client {
        /// The server.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

// === impl Access ===

impl Access {
    /// A client as the files say at this moment, so that what was rotated is read anew. It connects
    /// when it is first asked. To be called in a tokio runtime; a plugin of the kubeconfig (`exec`) is
    /// waited for.
    pub(super) fn client(&self) -> Result<Client, Error> {
        let mut config = self.config()?;
        config.connect_timeout = Some(CONNECT);
        // Whoever asks has its own idea of when to ask again, and says so in the log once.
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        Client::try_from(config).map_err(|source| Error::Client { url, source: source.into() })
    }

    /// Whether what names the API server can be read and is right, as far as this process may say. Without
    /// tokio; nobody is connected to.
    pub fn check(&self) -> Result<(), Error> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Config, Error> {
        let Self::Kubeconfig(file) = self else {
            return Config::incluster().map_err(|source| Error::InCluster(source.into()));
        };
        let read = file.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        read.and_then(Config::try_from)
            .map_err(|source| Error::Kubeconfig { access: self.clone(), source: source.into() })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the service account of this pod"),
            Self::Kubeconfig(Some(file)) => write!(f, "the kubeconfig {}", file.display()),
            Self::Kubeconfig(None) => f.write_str("the kubeconfig of KUBECONFIG or ~/.kube/config"),
        }
    }
}
