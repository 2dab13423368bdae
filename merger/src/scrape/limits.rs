//! Deadline and size: what one source may cost.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::identity::Cookie;

/// Prometheus needs some of its own deadline to receive and parse what we answer.
const MARGIN: Duration = Duration::from_millis(500);

/// The unit in which memory in flight is counted.
const CHUNK: usize = 64 << 10;

/// How long a reader who asks with this `X-Prometheus-Scrape-Timeout-Seconds` can wait for the
/// sources: its timeout less a margin, and never longer than `most`.
///
/// Source: `scrape/scrape.go` in prometheus/prometheus, which sends the timeout in seconds.
#[must_use]
pub fn patience(header: Option<&str>, most: Duration) -> Duration {
    let asked = header
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero());
    // Of a timeout that the margin would use up, half is left.
    asked.map_or(most, |timeout| timeout.saturating_sub(MARGIN).max(timeout / 2).min(most))
}

/// The memory that bodies may take while they are read and merged, for all sources together.
#[derive(Debug)]
pub struct Budget {
    all: Arc<Semaphore>,
    /// The most chunks of one namespace.
    most: usize,
    /// What is left to each namespace that holds some.
    own: Mutex<HashMap<Cookie, Weak<Semaphore>>>,
}

/// What one namespace may take of the [`Budget`]. A pod whose large answers come slowly, or wait for
/// one that hangs, would otherwise hold all of it until its deadline, and the other pods had none.
#[derive(Clone, Debug)]
pub struct Allowance {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// A part of the [`Budget`], given back when it is dropped.
#[derive(Debug, Default)]
pub struct Share {
    permits: Vec<[OwnedSemaphorePermit; 2]>,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug)]
pub struct UsedUp;

/// A stream that fails once it has given more than a number of bytes.
///
/// A limit on the body alone would let a server send headers, chunk sizes and interim answers
/// without end.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    left: usize,
}

/// What [`Metered`] answers at its limit, inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("more bytes on the wire than a body of the largest size takes")]
pub struct Exceeded;

// === impl Budget ===

impl Budget {
    /// A budget of `bytes`, counted in chunks of 64 KiB. One namespace may take half of it, or as
    /// much as one `body`.
    #[must_use]
    pub fn new(bytes: usize, body: usize) -> Self {
        let chunks = |bytes: usize| bytes.div_ceil(CHUNK).min(Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(chunks(bytes)));
        Self { all, most: chunks((bytes / 2).max(body)), own: Mutex::default() }
    }

    /// What `netns` may take.
    #[must_use]
    pub fn of(&self, netns: Cookie) -> Allowance {
        let mut owns = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        owns.retain(|_, own| own.strong_count() > 0);
        let own = owns.get(&netns).and_then(Weak::upgrade).unwrap_or_else(|| {
            let own = Arc::new(Semaphore::new(self.most));
            owns.insert(netns, Arc::downgrade(&own));
            own
        });
        Allowance { all: Arc::clone(&self.all), own }
    }
}

// === impl Allowance ===

impl Allowance {
    /// Makes `share` cover `bytes`. It does not wait: two that wait for each other's shares would
    /// both wait until their deadlines.
    pub fn cover(&self, share: &mut Share, bytes: usize) -> Result<(), UsedUp> {
        while share.bytes < bytes {
            let take =
                |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_owned().map_err(|_| UsedUp);
            share.permits.push([take(&self.own)?, take(&self.all)?]);
            share.bytes += CHUNK;
        }
        Ok(())
    }
}

// === impl Metered ===

impl<S> Metered<S> {
    /// Lets through what a body of at most `body` bytes, with its headers, can take on the wire.
    pub fn for_body(stream: S, body: usize) -> Self {
        Self { stream, left: body.saturating_add(body / 4).saturating_add(64 << 10) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let Some(left) = self.left.checked_sub(read) else {
            // Whoever is told of an error is promised that nothing was read.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(Exceeded)));
        };
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[track_caller]
    fn check_patience(header: Option<&str>, milliseconds: u64) {
        let found = patience(header, Duration::from_secs(10));
        assert_eq!(found, Duration::from_millis(milliseconds), "{header:?}");
    }

    #[test]
    fn a_readers_timeout_sets_the_deadline_less_a_margin() {
        check_patience(Some("5"), 4500);
        check_patience(Some("1.5"), 1000);
        check_patience(Some("60"), 10_000);
    }

    #[test]
    fn a_short_timeout_is_halved() {
        check_patience(Some("0.6"), 300);
        check_patience(Some("0.1"), 50);
    }

    #[test]
    fn a_timeout_that_is_none_leaves_the_longest() {
        for header in
            [None, Some(""), Some("soon"), Some("-1"), Some("0"), Some("NaN"), Some("1e99")]
        {
            check_patience(header, 10_000);
        }
    }

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let budget = Budget::new(2 * CHUNK, 2 * CHUNK).of(Cookie(1));
        let (mut first, mut second) = (Share::default(), Share::default());
        assert!(budget.cover(&mut first, CHUNK + 1).is_ok());
        assert!(budget.cover(&mut second, 1).is_err());
        drop(first);
        assert!(budget.cover(&mut second, 2 * CHUNK).is_ok());
    }

    #[test]
    fn one_namespace_leaves_half_to_the_others() {
        let budget = Budget::new(4 * CHUNK, CHUNK);
        let (mut greedy, mut more, mut other) =
            (Share::default(), Share::default(), Share::default());
        assert!(budget.of(Cookie(1)).cover(&mut greedy, 2 * CHUNK).is_ok());
        assert!(budget.of(Cookie(1)).cover(&mut more, 1).is_err());
        assert!(budget.of(Cookie(2)).cover(&mut other, 2 * CHUNK).is_ok());
        drop(greedy);
        assert!(budget.of(Cookie(1)).cover(&mut more, 2 * CHUNK).is_ok());
    }

    #[tokio::test]
    async fn a_stream_ends_with_an_error_at_its_limit() {
        let mut metered = Metered { stream: &b"12345678"[..], left: 5 };
        let mut read = Vec::new();
        let error = metered.read_to_end(&mut read).await.expect_err("the limit is lower");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Exceeded>()));

        let mut metered = Metered { stream: &b"12345"[..], left: 5 };
        assert_eq!(metered.read_to_end(&mut read).await.unwrap(), 5);
    }
}
