//! A stream whose other end must take in time what it asked for.
//!
//! A reader who asks and never reads would keep its connection, and its page in memory, for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails where what was written since the last flush is not taken within a time.
#[derive(Debug)]
pub(super) struct Outflow<S> {
    stream: S,
    patience: Duration,
    /// When the wait for the reader ends; set by the first write that has to wait.
    end: Option<Pin<Box<Sleep>>>,
}

// === impl Outflow ===

impl<S: Unpin> Outflow<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, end: None }
    }

    fn write<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            return written;
        }
        let patience = self.patience;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(end.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outflow<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outflow<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when all that it had has been written: the next answer has its own time.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.end = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(8);
        let start = Instant::now();
        let error = Outflow::new(near, PATIENCE).write_all(&[0; 9]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_drips_is_given_up_as_well() {
        let (near, mut far) = duplex(8);
        let dripping = tokio::spawn(async move {
            while far.read_exact(&mut [0]).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        assert!(Outflow::new(near, PATIENCE).write_all(&[0; 1000]).await.is_err());
        assert_eq!(start.elapsed(), PATIENCE);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_answer_has_its_own_time() {
        let (near, mut far) = duplex(8);
        let mut near = Outflow::new(near, PATIENCE);
        let reading = tokio::spawn(async move {
            for _ in 0..4 {
                sleep(PATIENCE * 2 / 3).await;
                far.read_exact(&mut [0; 16]).await.unwrap();
            }
        });
        for _ in 0..4 {
            near.write_all(&[0; 16]).await.unwrap();
            near.flush().await.unwrap();
        }
        reading.await.unwrap();
    }
}
