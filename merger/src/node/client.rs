//! The agent's end of the channel: requests that wait for their answers, and the call to look again.

use std::{
    collections::HashMap,
    io, mem,
    net::TcpStream,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{Shutdown, shutdown},
};
use tokio::{
    io::Interest,
    net::UnixDatagram,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    task::JoinHandle,
};

use crate::node::{
    Connect, ConnectError, Counters, Error, Snapshot, channel,
    counters::Connects,
    parcel,
    protocol::{self, Hello, LONGEST_REPLY, Reply, Request, UNDER_WAY, Wish},
    watcher::Told,
};

/// How long a broker may take for its first words. It has loaded everything before it is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's end. When it is dropped, the other end sees it closed.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
    news: watch::Receiver<News>,
}

/// What the broker says unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// How often it has called for a look.
    pub(crate) n_calls: u64,
    /// Nobody needs the agent any more.
    pub(crate) is_over: bool,
}

/// What whoever asks and whoever listens have in common.
#[derive(Debug)]
struct Shared {
    socket: UnixDatagram,
    /// Whoever waits, by the number of the request. None once nobody will be answered.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    next: AtomicU64,
    room: Arc<Semaphore>,
    /// What the broker last said of its way.
    hello: Mutex<Hello>,
    /// As the last snapshot came with them, or the reason why there was none.
    counters: Mutex<Counters>,
    /// When that was.
    looked: Mutex<Option<Instant>>,
    connects: Connects,
}

/// Whoever waits for an answer, with the room that the request takes until it is there: a request that
/// nobody waits for any more is under way all the same.
type Waiting = (oneshot::Sender<Answer>, OwnedSemaphorePermit);

/// A request that was not sent yet. It is nobody's if it never is.
struct Unsent<'s> {
    shared: &'s Shared,
    id: u64,
}

/// An answer, with what came along.
type Answer = (Reply, Option<OwnedFd>);

// === impl Client ===

impl Client {
    /// Waits for the first words of the broker at the other end.
    pub(crate) fn greeted(socket: OwnedFd) -> Result<Self, Error> {
        channel::await_message(&socket, Instant::now() + PATIENCE).map_err(Error::Channel)?;
        let mut buffer = [0; LONGEST_REPLY];
        let first = channel::receive(&socket, &mut buffer).map_err(Error::Channel)?;
        let first = first.ok_or(Error::Ended)?;
        match Reply::read(first.bytes) {
            Ok(Reply::Hello(hello)) => Self::new(socket, hello),
            _ => Err(Error::Channel(io::ErrorKind::InvalidData.into())),
        }
    }

    /// The same, where they are known already. To be called in a tokio runtime.
    pub(crate) fn new(socket: OwnedFd, hello: Hello) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            socket: datagrams(socket)?,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(UNDER_WAY)),
            hello: Mutex::new(hello),
            counters: Mutex::default(),
            looked: Mutex::default(),
            connects: Connects::default(),
        });
        let (tell, news) = watch::channel(News::default());
        let listener = tokio::spawn(Arc::clone(&shared).listen(tell));
        Ok(Self { shared, listener, news })
    }

    pub(crate) fn hello(&self) -> Hello {
        lock(&self.shared.hello).clone()
    }

    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }

    pub(crate) fn counters(&self) -> Counters {
        let counters = *lock(&self.shared.counters);
        self.shared.connects.beside(counters)
    }

    pub(crate) fn snapshot_age(&self) -> Option<Duration> {
        lock(&self.shared.looked).map(|looked| looked.elapsed())
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Error> {
        match self.shared.ask(Wish::Snapshot).await {
            Some((Reply::Snapshot { .. }, Some(file))) => {
                let bytes = parcel::unpacked(&file.into()).map_err(Error::Channel)?;
                protocol::read(&bytes).map_err(|error| {
                    Error::Channel(io::Error::new(io::ErrorKind::InvalidData, error))
                })
            }
            Some((Reply::Unseen { why, .. }, _)) => Err(Error::Unseen(why)),
            _ => Err(Error::Ended),
        }
    }

    /// Starts a watcher, in the place of the one that this agent or the one before had.
    pub(crate) async fn watch(&self) -> Result<Told, Error> {
        match self.shared.ask(Wish::Pods).await {
            Some((Reply::Watched { .. }, Some(channel))) => Told::new(channel),
            Some((Reply::Unwatched { why, .. }, _)) => Err(Error::Unwatched(why)),
            _ => Err(Error::Ended),
        }
    }

    pub(crate) async fn connect(&self, request: Connect) -> Result<TcpStream, ConnectError> {
        let stream = match self.shared.ask(request.into()).await {
            Some((Reply::Connected { .. }, Some(stream))) => Ok(TcpStream::from(stream)),
            Some((Reply::Unconnected { why, .. }, _)) => Err(why.into()),
            _ => Err(ConnectError::Ended),
        };
        self.shared.connects.count(&stream);
        stream
    }

    pub(crate) async fn confirm(&self, request: Connect) -> Result<(), ConnectError> {
        let Connect { netns, address, owner } = request;
        match self.shared.ask(Wish::Confirm { netns, address, owner }).await {
            Some((Reply::Confirmed { .. }, _)) => Ok(()),
            Some((Reply::Unconnected { why, .. }, _)) => Err(why.into()),
            _ => Err(ConnectError::Ended),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.listener.abort();
        // The task may still have its share of the socket, so that is closed for both.
        let _ = shutdown(&self.shared.socket, Shutdown::Both);
    }
}

// === impl Shared ===

impl Shared {
    /// Asks, and waits for the answer. Nothing where the broker is gone.
    async fn ask(&self, wish: Wish) -> Option<Answer> {
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).as_mut()?.insert(id, (answer, room));
        let unsent = Unsent { shared: self, id };
        self.send(&Request { id, wish }.to_bytes()).await.ok()?;
        mem::forget(unsent);
        answered.await.ok()
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let send = || channel::send(&self.socket, bytes, None);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Hands each answer to whoever waits for it, until the broker is gone.
    async fn listen(self: Arc<Self>, tell: watch::Sender<News>) {
        while let Ok(Some((reply, along))) = self.hear().await {
            match reply {
                Reply::Hello(hello) => *lock(&self.hello) = hello,
                Reply::Look => tell.send_modify(|news| news.n_calls += 1),
                Reply::Stop => tell.send_modify(|news| news.is_over = true),
                Reply::Snapshot { id, counters } => {
                    *lock(&self.counters) = counters;
                    *lock(&self.looked) = Some(Instant::now());
                    self.hand_over(id, (reply, along));
                }
                Reply::Unseen { id, counters, .. } => {
                    *lock(&self.counters) = counters;
                    self.hand_over(id, (reply, along));
                }
                Reply::Watched { id }
                | Reply::Unwatched { id, .. }
                | Reply::Connected { id }
                | Reply::Confirmed { id }
                | Reply::Unconnected { id, .. } => self.hand_over(id, (reply, along)),
            }
        }
        lock(&self.waiting).take();
    }

    async fn hear(&self) -> io::Result<Option<Answer>> {
        let hear = || {
            let mut buffer = [0; LONGEST_REPLY];
            let Some(received) = channel::receive(&self.socket, &mut buffer)? else {
                return Ok(None);
            };
            let reply = Reply::read(received.bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Ok(Some((reply, received.descriptor)))
        };
        self.socket.async_io(Interest::READABLE, hear).await
    }

    /// Whoever asked may have gone; then the answer is for nobody, and what came along is closed.
    fn hand_over(&self, id: u64, answer: Answer) {
        let asked = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some((asked, _room)) = asked {
            let _ = asked.send(answer);
        }
    }
}

// === impl Unsent ===

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        lock(&self.shared.waiting).as_mut().and_then(|waiting| waiting.remove(&self.id));
    }
}

/// An end of a channel, for the runtime: of `SOCK_SEQPACKET`, which keeps messages apart as datagrams are.
pub(crate) fn datagrams(socket: OwnedFd) -> Result<UnixDatagram, Error> {
    let flags = fcntl_getfl(&socket).map_err(|error| Error::Channel(error.into()))?;
    if !flags.contains(OFlags::NONBLOCK) {
        // Those of `channel::pair` are so, as an agent's filter lets nobody change it.
        fcntl_setfl(&socket, flags | OFlags::NONBLOCK)
            .map_err(|error| Error::Channel(error.into()))?;
    }
    UnixDatagram::from_std(socket.into()).map_err(Error::Channel)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked is as whole as before when a panic unlocks it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::Rung;

    /// A broker that says this once it is asked.
    async fn asked(says: impl FnOnce(u64) -> Vec<Reply>) -> (Client, Result<Snapshot, Error>) {
        let [here, there] = channel::pair().unwrap();
        let client = Client::new(here, Hello::new(Rung::Ebpf, None)).unwrap();
        let broker = async {
            let mut buffer = [0; 256];
            let request = loop {
                match channel::receive(&there, &mut buffer) {
                    Ok(Some(received)) => break Request::read(received.bytes).unwrap(),
                    _ => tokio::task::yield_now().await,
                }
            };
            for reply in says(request.id) {
                channel::send(&there, &reply.to_bytes(), None).unwrap();
            }
        };
        let (snapshot, ()) = tokio::join!(client.snapshot(), broker);
        (client, snapshot)
    }

    #[tokio::test]
    async fn that_looks_fail_is_counted_while_they_do() {
        let counters = Counters { snapshots_failed: 7, ..Counters::default() };
        let unseen = |id| vec![Reply::Unseen { id, why: "too much".into(), counters }];
        let (client, snapshot) = asked(unseen).await;
        assert!(matches!(snapshot, Err(Error::Unseen(why)) if why == "too much"));
        assert_eq!(client.counters().snapshots_failed, 7);
        assert_eq!(client.snapshot_age(), None);
    }

    #[tokio::test]
    async fn the_way_is_the_one_that_was_told_last() {
        let says = |id| {
            let unseen = Reply::Unseen { id, why: String::new(), counters: Counters::default() };
            vec![Reply::Hello(Hello::new(Rung::EbpfSockDiag, Some("ebpf: too long"))), unseen]
        };
        let (client, _) = asked(says).await;
        assert_eq!(client.hello(), Hello::new(Rung::EbpfSockDiag, Some("ebpf: too long")));
    }
}
