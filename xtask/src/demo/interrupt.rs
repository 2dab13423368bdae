//! A request to end: Ctrl-C, SIGTERM, or the terminal that went away.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::bail;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Remembers that one of the signals came. From then on none of them ends this process at once.
pub(super) struct Interrupt(Arc<AtomicBool>);

// === impl Interrupt ===

impl Interrupt {
    pub(super) fn register() -> anyhow::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&came))?;
        }
        Ok(Self(came))
    }

    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails where a signal came, so that `?` leads to the taking down.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.came() {
            bail!("interrupted");
        }
        Ok(())
    }
}
