//! The pods of the container runtime of this node: no API server is asked.
//!
//! The runtime is asked every second through its interface for kubelets, CRI v1 over gRPC. A
//! runtime that is gone has not ended its pods, so those that were known go on until it is back. How a
//! connection to it is had is the caller's matter: whoever has one is root on the node.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{net::UnixStream, sync::watch, time};
use tracing::{debug, info, warn};

use self::{client::Client, look::Memory};
use super::{Reader, Sender, publish};
use crate::cause;

mod api;
pub mod client;
mod facts;
mod look;
pub mod socket;

/// How often the runtime is asked, which is as often as the kubelet does it: `genericPlegRelistPeriod` in
/// `pkg/kubelet/kubelet.go` of kubernetes/kubernetes.
const PACE: Duration = Duration::from_secs(1);

/// A look at a node where everything is new asks for each sandbox and container once. What was heard by
/// then is kept.
const LOOK: Duration = Duration::from_mins(1);

/// How soon a runtime that is gone is asked again: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why a look has failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no connection to the container runtime")]
    Connect(#[source] io::Error),
    #[error(transparent)]
    Call(#[from] client::Error),
    #[error("the container runtime was not done telling of its pods within {LOOK:?}")]
    Slow,
}

/// How long the runtime has been gone, if it is.
#[derive(Default)]
struct Outage {
    n_failures: u32,
}

/// Asks the runtime that `connect` leads to, again and again. The future does the work and ends when every
/// reader is gone. It needs a tokio runtime with time.
pub fn watch<C, F>(connect: C) -> (Reader, impl Future<Output = ()> + Send)
where
    C: FnMut() -> F + Send,
    F: Future<Output = io::Result<UnixStream>> + Send,
{
    let (sender, reader) = watch::channel(None);
    (reader, run(connect, sender))
}

async fn run<C, F>(mut connect: C, sender: Sender)
where
    C: FnMut() -> F + Send,
    F: Future<Output = io::Result<UnixStream>> + Send,
{
    let (mut memory, mut outage) = (Memory::default(), Outage::default());
    loop {
        let looks = look_on(&mut connect, &mut memory, &mut outage, &sender);
        // Whatever a look has not heard of when it is dropped, the next one asks for.
        let error = tokio::select! {
            () = sender.closed() => return,
            error = looks => error,
        };
        let pause = outage.begin_or_go_on(&error);
        tokio::select! {
            () = sender.closed() => return,
            () = time::sleep(pause) => {}
        }
    }
}

/// Looks over one connection until something fails.
async fn look_on<C, F>(
    connect: &mut C,
    memory: &mut Memory,
    outage: &mut Outage,
    sender: &Sender,
) -> Error
where
    C: FnMut() -> F + Send,
    F: Future<Output = io::Result<UnixStream>> + Send,
{
    let mut client = match self::connect(connect).await {
        Ok(client) => client,
        Err(error) => return error,
    };
    loop {
        let began = Instant::now();
        match time::timeout(LOOK, memory.look(&mut client)).await {
            Ok(Ok(known)) => {
                debug!(took = ?began.elapsed(), "looked at the container runtime");
                outage.end();
                publish(sender, known, |old, new| {
                    let n_pods = new.pods.len();
                    if old.is_none_or(|old| old.pods.len() != n_pods) {
                        info!(n_pods, "pods of the container runtime");
                    }
                });
            }
            Ok(Err(error)) => return error.into(),
            Err(_) => return Error::Slow,
        }
        time::sleep(PACE).await;
    }
}

async fn connect<C, F>(connect: &mut C) -> Result<Client, Error>
where
    C: FnMut() -> F,
    F: Future<Output = io::Result<UnixStream>>,
{
    let stream = match time::timeout(LOOK, connect()).await {
        Ok(stream) => stream.map_err(Error::Connect)?,
        Err(_) => return Err(Error::Connect(io::ErrorKind::TimedOut.into())),
    };
    Ok(Client::new(stream).await?)
}

// === impl Outage ===

impl Outage {
    /// How long to wait. Only the first failure is told: the others say the same.
    fn begin_or_go_on(&mut self, error: &Error) -> Duration {
        let error = cause::chain(error);
        if self.n_failures == 0 {
            warn!(error, "the container runtime does not answer: what was known of its pods stays");
        } else {
            debug!(error, "the container runtime still does not answer");
        }
        let (first, most) = RETRY;
        let pause = first.saturating_mul(1 << self.n_failures.min(16)).min(most);
        self.n_failures = self.n_failures.saturating_add(1);
        pause
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.n_failures) > 0 {
            info!("the container runtime answers again");
        }
    }
}

#[cfg(test)]
mod tests;
