//! The watcher: the process that the pods come from, where they come over a socket.
//!
//! Who may speak to the API server or to the container runtime may do more than read pods: the runtime's
//! socket is as good as root. So that is not the agent, which parses what pods wrote, but a process that
//! parses what the cluster says of them, and says to nobody anything but that. The broker starts it when an
//! agent asks, and hands the agent the other end of its channel: what goes through there the broker does
//! not read.
//!
//! A message says that there is news; the news itself is in the file beside it, and is whole each time. So
//! of several messages only the last is read, and none of a watcher that has ended is missed. It is in pieces,
//! so that neither of them has it in memory twice.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::Child,
    time::{Duration, Instant},
};

use tokio::{io::Interest, net::UnixDatagram};

use crate::node::{
    Error, channel,
    client::datagrams,
    parcel::{self, Pieces},
    supervisor,
};

/// Who asks for another one sooner is told to wait: what ends so soon ends again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// How long a watcher that was killed may take to end.
const END: Duration = Duration::from_secs(5);

/// A message is no more than that there is one.
const NEWS: &[u8] = b"news";

/// The watcher of the agent that asked last, as the broker has it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    running: Option<Child>,
    started: Option<Instant>,
}

/// The agent's end: what the watcher says.
#[derive(Debug)]
pub struct Told {
    socket: UnixDatagram,
}

/// The watcher's end.
#[derive(Debug)]
pub struct Teller {
    socket: UnixDatagram,
}

// === impl Watcher ===

impl Watcher {
    /// Starts one in the place of the one before, and gives what the agent hears it by.
    pub(crate) fn start(&mut self, now: Instant) -> io::Result<OwnedFd> {
        if self.started.is_some_and(|started| now.saturating_duration_since(started) < PAUSE) {
            return Err(io::Error::other(format!(
                "the last one was started less than {PAUSE:?} ago"
            )));
        }
        self.end();
        let (watcher, end) = supervisor::start_part("watcher")?;
        tracing::info!(pid = watcher.id(), "the watcher is started");
        (self.running, self.started) = (Some(watcher), Some(now));
        Ok(end)
    }

    /// Ends it, and waits until the kernel has.
    fn end(&mut self) {
        let Some(mut watcher) = self.running.take() else { return };
        // It may have ended by itself.
        let _ = watcher.kill();
        if let Err(error) = supervisor::wait(watcher, "watcher", END) {
            tracing::warn!(%error, "the watcher cannot be waited for");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Told ===

impl Told {
    /// To be called in a tokio runtime.
    pub(crate) fn new(channel: OwnedFd) -> Result<Self, Error> {
        Ok(Self { socket: datagrams(channel)? })
    }

    /// Waits for news, and gives the newest. Nothing where the watcher has ended.
    pub(crate) async fn news(&self) -> io::Result<Option<Pieces>> {
        let mut newest = None;
        loop {
            let hear = || {
                let mut buffer = [0; NEWS.len()];
                let received = channel::receive(&self.socket, &mut buffer)?;
                Ok(received.map(|received| received.descriptor))
            };
            let heard = match newest {
                None => self.socket.async_io(Interest::READABLE, hear).await,
                Some(_) => hear(),
            };
            match heard {
                Ok(Some(Some(file))) => newest = Some(file),
                Ok(Some(None)) => return Err(io::ErrorKind::InvalidData.into()),
                Ok(None) if newest.is_none() => return Ok(None),
                Err(error) if newest.is_none() => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        newest.map(|file| Pieces::of(file.into())).transpose()
    }
}

// === impl Teller ===

impl Teller {
    /// To be called in a tokio runtime, with the channel of a process that was started as a watcher.
    pub fn new(channel: OwnedFd) -> Result<Self, Error> {
        Ok(Self { socket: datagrams(channel)? })
    }

    /// Tells the agent, and waits while it has not read what it was told before. An error where it is gone.
    pub async fn tell(&self, pieces: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
        let file = parcel::packed_in_pieces("merger-pods", pieces)?;
        let tell = || channel::send(&self.socket, NEWS, Some(file.as_fd()));
        self.socket.async_io(Interest::WRITABLE, tell).await
    }

    /// Returns when the agent is gone: it says nothing before.
    pub async fn closed(&self) {
        let hear = || channel::receive_bytes(&self.socket, &mut [0; NEWS.len()]).map(drop);
        // Whatever it is, there is nobody to be told anything.
        let _ = self.socket.async_io(Interest::READABLE, hear).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Told, Teller) {
        let [told, teller] = channel::pair().unwrap();
        (Told::new(told).unwrap(), Teller::new(teller).unwrap())
    }

    fn words(words: &str) -> Vec<Vec<u8>> {
        words.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    async fn heard(told: &Told) -> Option<Vec<Vec<u8>>> {
        let pieces = told.news().await.unwrap()?;
        Some(pieces.map(Result::unwrap).collect())
    }

    #[tokio::test]
    async fn the_newest_is_told_and_then_the_end() {
        let (told, teller) = pair();
        for said in ["first", "second", "the third"] {
            teller.tell(words(said)).await.unwrap();
        }
        assert_eq!(heard(&told).await, Some(words("the third")));
        teller.tell(words("last")).await.unwrap();
        drop(teller);
        assert_eq!(heard(&told).await, Some(words("last")));
        assert_eq!(heard(&told).await, None);
    }

    #[tokio::test]
    async fn an_agent_that_is_gone_is_told_nothing() {
        let (told, teller) = pair();
        drop(told);
        teller.closed().await;
        teller.tell(words("words")).await.unwrap_err();
    }

    #[tokio::test]
    async fn news_without_a_file_is_no_news() {
        let [told, teller] = channel::pair().unwrap();
        let told = Told::new(told).unwrap();
        channel::send(&teller, NEWS, None).unwrap();
        assert_eq!(told.news().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
