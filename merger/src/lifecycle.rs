//! The process: signals, readiness, drain.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// What the process still waits for before it is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    awaited: Arc<Mutex<BTreeSet<&'static str>>>,
}

/// One thing that is awaited. It is there when this is dropped.
#[derive(Debug)]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

/// Waits for the first SIGTERM or SIGINT. A second one ends the process at once, with the code that
/// a shell gives to a process killed by SIGINT.
pub async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = next().await;
    info!(signal, "draining; a second signal ends at once");
    tokio::spawn(async move {
        next().await;
        std::process::exit(130);
    });
    Ok(())
}

/// From here on SIGTERM and SIGINT end nothing: a terminal sends them to all processes of merger, and this
/// one ends with whom it serves.
pub fn outlive_signals() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::default())?;
    }
    Ok(())
}

// === impl Readiness ===

impl Readiness {
    /// Names one more thing to wait for.
    #[must_use]
    pub fn await_for(&self, name: &'static str) -> Latch {
        self.with(|awaited| awaited.insert(name));
        Latch { name, readiness: self.clone() }
    }

    /// The names of what is still awaited, in alphabetical order; empty when ready.
    #[must_use]
    pub fn awaited(&self) -> Vec<&'static str> {
        self.with(|awaited| awaited.iter().copied().collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeSet<&'static str>) -> T) -> T {
        f(&mut self.awaited.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Latch ===

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.with(|awaited| awaited.remove(self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_awaited_is_named_until_it_is_there() {
        let readiness = Readiness::default();
        let pods = readiness.await_for("pods");
        let node = readiness.await_for("node");
        assert_eq!(readiness.awaited(), ["node", "pods"]);
        drop(node);
        assert_eq!(readiness.awaited(), ["pods"]);
        drop(pods);
        assert!(readiness.awaited().is_empty());
    }
}
