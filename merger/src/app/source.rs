//! Where the pods come from: opened while this process may, and watched when it no longer may.

use std::{collections::BTreeSet, future, path::PathBuf, pin::Pin};

use anyhow::Context as _;
use rustix::process::geteuid;
use tracing::{info, warn};

use crate::{
    config::{Config, PodSource},
    pods::{
        self, Reader,
        cri::{self, socket::Connecting},
        kube::{Access, Query},
        manifests,
    },
    target::secret::Rule,
};

/// A source that can be watched.
pub(super) enum Source {
    Manifests(PathBuf),
    Cri(Box<dyn FnMut() -> Connecting + Send>),
    Kube { access: Access, query: Query, secrets: BTreeSet<String> },
}

/// What a source knows, and what keeps it true.
pub(super) type Watched = (Reader, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Returns when a source would need what this process could do before it gave up its rights.
pub(super) type Spent = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether it is there, as what a person gets wrong most easily: told before anything is loaded. An API
/// server that is away is waited for.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    match &config.pods {
        PodSource::Manifests(dir) => manifests::check(dir)?,
        PodSource::Cri(socket) => cri::socket::find(socket.as_deref()).map(drop)?,
        PodSource::Kube => config.access.check()?,
    }
    Ok(())
}

/// Tells what is chosen where nobody said it.
pub(super) fn tell(config: &Config) {
    let Config { pods, pods_reason, access, node_name, is_host_name, .. } = config;
    info!(source = %pods, why = pods_reason, "where pods come from");
    if *pods == PodSource::Kube {
        info!(%access, node_name, "which API server is asked, and for the pods of which node");
        if *is_host_name {
            warn!(
                node_name,
                "no --node-name is given, so the node is taken to have the name of this host: in a pod \
                 set MERGER_NODE_NAME from the field spec.nodeName"
            );
        }
    }
}

// === impl Source ===

impl Source {
    /// For a process that keeps its rights.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let Config { pods, access, list, node_name, pod_monitors, rules, .. } = config;
        Ok(match pods {
            PodSource::Manifests(dir) => Self::Manifests(dir.clone()),
            PodSource::Cri(socket) => Self::Cri(Box::new(cri::socket::find(socket.as_deref())?)),
            PodSource::Kube => {
                let (node_name, list) = (node_name.clone(), *list);
                let query = Query { node_name, list, monitors: *pod_monitors };
                let secrets = match &rules.secrets {
                    Rule::Of(namespaces) => namespaces.clone(),
                    Rule::Nowhere => BTreeSet::new(),
                };
                Self::Kube { access: access.clone(), query, secrets }
            }
        })
    }

    /// For one that does not.
    pub(super) fn open_once(config: &Config) -> anyhow::Result<(Self, Spent)> {
        match &config.pods {
            PodSource::Cri(socket) => {
                let (connect, spent) = cri::socket::once(socket.as_deref())?;
                Ok((Self::Cri(Box::new(connect)), Box::pin(spent)))
            }
            PodSource::Manifests(_) | PodSource::Kube => {
                Ok((Self::open(config)?, Box::pin(future::pending())))
            }
        }
    }

    /// To be called in a tokio runtime.
    pub(super) fn watch(self) -> anyhow::Result<Watched> {
        Ok(match self {
            Self::Manifests(dir) => {
                let (pods, read) = manifests::watch(dir)?;
                (pods, Box::pin(read))
            }
            Self::Cri(connect) => {
                let (pods, ask) = cri::watch(connect);
                (pods, Box::pin(ask))
            }
            Self::Kube { access, query, secrets } => {
                let user = geteuid().as_raw();
                let watched = pods::kube::watch(access.clone(), query);
                let (pods, ask) = watched.with_context(|| format!("as user {user}"))?;
                if secrets.is_empty() {
                    return Ok((pods, Box::pin(ask)));
                }
                let (known, read) = pods::kube::secrets::beside(access, secrets, pods);
                (
                    known,
                    Box::pin(async {
                        tokio::join!(ask, read);
                    }),
                )
            }
        })
    }
}
