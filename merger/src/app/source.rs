//! Where the pods come from: opened while this process may, and watched when it no longer may.

use std::{future, path::PathBuf, pin::Pin};

use crate::{
    config::PodSource,
    pods::{
        Reader,
        cri::{self, socket::Connecting},
        manifests,
    },
};

/// A source that can be watched.
pub(super) enum Source {
    Manifests(PathBuf),
    Cri(Box<dyn FnMut() -> Connecting + Send>),
}

/// What a source knows, and what keeps it true.
pub(super) type Watched = (Reader, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Returns when a source would need what this process could do before it gave up its rights.
pub(super) type Spent = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether it is there, as what a person gets wrong most easily: told before anything is loaded.
pub(super) fn check(pods: &PodSource) -> anyhow::Result<()> {
    match pods {
        PodSource::Manifests(dir) => manifests::check(dir)?,
        PodSource::Cri(socket) => cri::socket::find(socket.as_deref()).map(drop)?,
    }
    Ok(())
}

// === impl Source ===

impl Source {
    /// For a process that keeps its rights.
    pub(super) fn open(pods: PodSource) -> anyhow::Result<Self> {
        Ok(match pods {
            PodSource::Manifests(dir) => Self::Manifests(dir),
            PodSource::Cri(socket) => Self::Cri(Box::new(cri::socket::find(socket.as_deref())?)),
        })
    }

    /// For one that does not.
    pub(super) fn open_once(pods: PodSource) -> anyhow::Result<(Self, Spent)> {
        match pods {
            PodSource::Cri(socket) => {
                let (connect, spent) = cri::socket::once(socket.as_deref())?;
                Ok((Self::Cri(Box::new(connect)), Box::pin(spent)))
            }
            PodSource::Manifests(_) => Ok((Self::open(pods)?, Box::pin(future::pending()))),
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
        })
    }
}
