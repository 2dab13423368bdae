//! The HTTP server.
//!
//! | path | answer |
//! |---|---|
//! | `/pods/{namespace}/{pod}/metrics` | the merged page of one pod |
//! | `/metrics/pods` | the merged page of all pods |
//! | `/metrics` | the agent's own metrics |
//! | `/sd` | Prometheus HTTP service discovery: one target per pod |
//! | `/api/pods`, `/api/pods/{namespace}/{pod}` | what the agent believes, as JSON |
//! | `/live` | 200 while the server runs |
//! | `/ready` | 200 once pods and listeners are known; else 503 and what is still awaited |
//! | `/` | this list |
//!
//! The pages are in the format that the reader's Accept header ranks first, text 0.0.4 where it ranks
//! none.
//!
//! Until pods and listeners are known, what is said of pods is 503: an empty list would make
//! Prometheus forget its targets, and 404 would deny a pod that is here.
//!
//! It answers GET and HEAD, speaks HTTP/1.1, and holds no state of its own.

use std::{
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};
use tracing::{debug, warn};

use self::{
    answer::{Answer, exposition, json, not_here, not_yet, text},
    outflow::Outflow,
    pages::Pages,
};
use crate::{
    exposition::{Format, Output, negotiate},
    inventory,
    lifecycle::Readiness,
    merge,
    target::PodRef,
};

mod answer;
mod discovery;
mod outflow;
pub mod pages;
mod status;

/// Further connections wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// Who opens a connection and says nothing is not waited for.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request line with headers takes a few hundred bytes.
const MAX_HEADERS: usize = 16 << 10;

/// Who does not take an answer is not waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What connections under way are given to end after the drain began.
const DRAIN: Duration = Duration::from_secs(10);

/// Answers requests from what the other parts published.
pub struct Server {
    /// The pods and their sources.
    pub targets: inventory::Reader,
    /// Makes the pages of pods.
    pub pages: Arc<Pages>,
    /// What is still awaited.
    pub readiness: Readiness,
    /// Gives the agent's own metrics, as text 0.0.4.
    pub own_metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody listens there already.
    #[error("cannot listen on {0}: is another merger running? choose an address by --listen")]
    Taken(SocketAddr),
    /// The address is none of this machine's, or the port takes a right.
    #[error("cannot listen on {address}: choose an address of this machine by --listen")]
    Bind {
        /// The address of the setting `listen`.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Opens the socket that [`Server::run`] serves on. It does not block.
pub fn bind(address: SocketAddr) -> Result<net::TcpListener, Error> {
    let bound = net::TcpListener::bind(address).and_then(|bound| {
        bound.set_nonblocking(true)?;
        Ok(bound)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken(address),
        _ => Error::Bind { address, source },
    })
}

// === impl Server ===

impl Server {
    /// Serves until `drain` is set or its sender is gone, then lets the requests under way end.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut drain: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // All of these are cancel safe. The drain comes first: no connection is taken after it.
            tokio::select! {
                biased;
                () = begun(&mut drain) => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&listener, &slots) => {
                    if let Some((stream, slot)) = accepted {
                        let connection = Arc::clone(&self).connection(stream, drain.clone());
                        connections.spawn(async move { connection.await; drop(slot) });
                    }
                }
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if time::timeout(DRAIN, ended).await.is_err() {
            warn!("requests were still under way after {DRAIN:?} and are cut off");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut drain: watch::Receiver<bool>) {
        let local = stream.local_addr().ok();
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(server.answer(request, local).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(Outflow::new(stream, ANSWER_TIMEOUT)), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = begun(&mut drain) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>, local: Option<SocketAddr>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let path = request.uri().path();
        let mut segments = path.split('/').skip(1);
        let route: [Option<&str>; 5] = std::array::from_fn(|_| segments.next());
        match route {
            [Some("pods"), Some(namespace), Some(name), Some("metrics"), None] => {
                self.page(namespace, name, request.headers()).await
            }
            [Some("metrics"), None, ..] => self.own(output(request.headers())),
            [Some("metrics"), Some("pods"), None, ..] => self.node_page(request.headers()).await,
            [Some("sd"), None, ..] => self.known().map_or_else(not_yet, |known| {
                json(&discovery::targets(&known, &authority(request.headers(), local)))
            }),
            [Some("api"), Some("pods"), None, ..] => {
                self.known().map_or_else(not_yet, |known| json(&status::pods(&known, &self.pages)))
            }
            [Some("api"), Some("pods"), Some(namespace), Some(name), None] => {
                let pod = pod_ref(namespace, name);
                match self.known().map(|known| known.get(&pod).cloned()) {
                    Some(Some(target)) => json(&status::pod(&target, &self.pages)),
                    Some(None) => not_here(&pod),
                    None => not_yet(),
                }
            }
            [Some("live"), None, ..] => text(StatusCode::OK, "live\n"),
            [Some("ready"), None, ..] => self.ready(),
            [Some(""), None, ..] => text(StatusCode::OK, INDEX),
            _ => text(StatusCode::NOT_FOUND, INDEX),
        }
    }

    async fn page(&self, namespace: &str, name: &str, headers: &HeaderMap) -> Answer {
        let pod = pod_ref(namespace, name);
        let Some(known) = self.known() else { return not_yet() };
        let Some(target) = known.get(&pod) else { return not_here(&pod) };
        let output = output(headers);
        let page = self.pages.page(target, timeout(headers), output).await;
        self.pages.retain(|pod| known.contains_key(pod));
        match page {
            Ok(body) => exposition(body, output),
            Err(error) => text(error.status(), format!("{pod}: {error}\n")),
        }
    }

    async fn node_page(&self, headers: &HeaderMap) -> Answer {
        let Some(known) = self.known() else { return not_yet() };
        let output = output(headers);
        let page = self.pages.node(&known, timeout(headers), output).await;
        self.pages.retain(|pod| known.contains_key(pod));
        match page {
            // It counts in the budget of such pages until it is sent.
            Ok(page) => exposition(Bytes::from_owner(page), output),
            Err(error) => text(error.status(), format!("{error}\n")),
        }
    }

    fn own(&self, output: Output) -> Answer {
        let own = (self.own_metrics)();
        let source =
            merge::Source { labels: &[], format: Format::Text, body: own.as_bytes(), only: None };
        exposition(merge::merge(&[source], &merge::Limits::NONE, output).body, output)
    }

    fn ready(&self) -> Answer {
        match self.readiness.awaited().as_slice() {
            [] => text(StatusCode::OK, "ready\n"),
            awaited => {
                let awaited = format!("still waiting for: {}\n", awaited.join(", "));
                text(StatusCode::SERVICE_UNAVAILABLE, awaited)
            }
        }
    }

    fn known(&self) -> Option<Arc<inventory::Targets>> {
        self.targets.borrow().clone()
    }
}

const INDEX: &str = "\
merger serves:
  /pods/{namespace}/{pod}/metrics   the merged page of one pod
  /metrics/pods                     the merged page of all pods
  /metrics                          the agent's own metrics
  /sd                               Prometheus HTTP service discovery
  /api/pods                         what the agent believes, as JSON
  /api/pods/{namespace}/{pod}       the same of one pod
  /live, /ready                     probes
";

/// A connection and its slot. None where accepting failed, after a pause: the usual reason is that
/// no file descriptor is left, and trying again at once would only burn the processor.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Waits until the drain has begun.
async fn begun(drain: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could begin it, which is as good as an order.
    let _ = drain.wait_for(|drain| *drain).await;
}

/// What the reader wants. A header that is sent twice is one with a comma.
fn output(headers: &HeaderMap) -> Output {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    negotiate::output(Some(&accepted.collect::<Vec<_>>().join(",")))
}

fn timeout(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-prometheus-scrape-timeout-seconds")?.to_str().ok()
}

/// How the reader reached us, which is how it will reach the pages as well.
fn authority(headers: &HeaderMap, local: Option<SocketAddr>) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let sound = host.filter(|host| host.parse::<hyper::http::uri::Authority>().is_ok());
    match (sound, local) {
        (Some(host), _) => host.to_owned(),
        (None, Some(local)) => local.to_string(),
        (None, None) => String::new(),
    }
}

fn pod_ref(namespace: &str, name: &str) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: name.to_owned() }
}
