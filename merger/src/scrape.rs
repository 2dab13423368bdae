//! One source to bytes, or the reason why not.
//!
//! A source is hostile: it may answer anything, slowly, without end, or not at all. Whatever it
//! does costs it its own page and nobody else's: every scrape has a deadline, a limit on the
//! decompressed body, one on the raw bytes, and a share of the memory that all scrapes have together.
//! A redirect is an answer like any other that is not 200: it is never followed.

use std::{
    collections::HashMap,
    error::Error as StdError,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use self::{
    body::Body,
    connect::Dial,
    limits::{Allowance, Budget, Exceeded, Metered},
    tls::Tls,
};
use crate::{
    exposition::{Format, negotiate},
    identity::Cookie,
    tally::Tally,
    target::{Refusal, Scheme, Source, State},
};

pub mod body;
pub mod connect;
pub mod limits;
mod tls;

/// What one source may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest that anybody waits for a source.
    pub timeout: Duration,
    /// The most bytes of one decompressed body.
    pub body: usize,
    /// The most bytes of all bodies that are being read or merged, of which one namespace gets half.
    pub in_flight: usize,
}

/// Scrapes sources. A source that several readers ask for at once is scraped once.
pub struct Scraper {
    dial: Arc<dyn Dial>,
    limits: Limits,
    budget: Budget,
    tls: Tls,
    flights: Mutex<HashMap<Key, WeakShared<Flight>>>,
    outcomes: Tally,
}

/// What a source answered.
#[derive(Debug)]
pub struct Page {
    /// The body, decompressed and whole.
    pub body: Body,
    /// How to read it.
    pub format: Format,
}

/// The outcome of one scrape, shared by all who asked for it.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// The page, or the reason why there is none.
    pub page: Result<Arc<Page>, Arc<Error>>,
    /// How long it took.
    pub duration: Duration,
}

/// Why a source gave nothing. The label of the agent's failure counter is the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens on its port.
    #[error("nothing listens on port {0} yet")]
    Pending(u16),
    /// What listens on its port is not to be asked.
    #[error(transparent)]
    Refused(Refusal),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// No TLS on a port whose scheme is https.
    #[error("no TLS handshake: does the port speak https?")]
    Tls(#[source] io::Error),
    /// Too slow.
    #[error("no whole answer within {0:?}")]
    Deadline(Duration),
    /// Any status but 200.
    #[error("answered with HTTP status {0}")]
    Status(StatusCode),
    /// A body, or what carries it, past the limit.
    #[error("body larger than {limit} bytes")]
    TooLarge {
        /// The limit of the decompressed body.
        limit: usize,
    },
    /// All the memory for bodies, or the pod's half of it, is in use.
    #[error("too many bytes are in flight, of this pod or of all")]
    Busy,
    /// The body is no exposition.
    #[error(transparent)]
    Content(#[from] negotiate::Error),
    /// A Content-Encoding that was not offered.
    #[error("compressed as \"{0}\", which was not offered")]
    Encoding(String),
    /// The compressed body is broken.
    #[error("body cannot be decompressed")]
    Corrupt(#[source] io::Error),
    /// The connection ended before the body did.
    #[error("the connection closed before the end of the answer")]
    Truncated,
    /// No HTTP.
    #[error("no valid HTTP")]
    Http(#[source] hyper::Error),
}

/// All that decides what a scrape asks, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: Cookie,
    addresses: Vec<SocketAddr>,
    scheme: Scheme,
    path: String,
}

type Flight = BoxFuture<'static, Scraped>;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), body: 16 << 20, in_flight: 64 << 20 }
    }
}

// === impl Scraper ===

impl Scraper {
    /// A scraper whose connections come from `dial`.
    pub fn new(dial: Arc<dyn Dial>, limits: Limits) -> Result<Arc<Self>, rustls::Error> {
        let budget = Budget::new(limits.in_flight, limits.body);
        let (tls, flights, outcomes) = (Tls::new()?, Mutex::default(), Tally::default());
        Ok(Arc::new(Self { dial, limits, budget, tls, flights, outcomes }))
    }

    /// The limits that it keeps.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What came of each call of [`Self::scrape`]: `ok`, or the variant of [`Error`].
    #[must_use]
    pub fn outcomes(&self) -> &Tally {
        &self.outcomes
    }

    /// Scrapes `source`, which is in the namespace `netns`, within `patience`.
    pub async fn scrape(
        self: &Arc<Self>,
        netns: Cookie,
        source: &Source,
        patience: Duration,
    ) -> Scraped {
        let started = Instant::now();
        let failed = |error| Scraped { page: Err(Arc::new(error)), duration: started.elapsed() };
        let scraped = match &source.state {
            State::Pending => failed(Error::Pending(source.port.get())),
            State::Refused(refusal) => failed(Error::Refused(refusal.clone())),
            State::Ready(addresses) => {
                let flight = self.board(netns, source, addresses, patience);
                let scraped = timeout_at(started + patience, flight).await;
                scraped.unwrap_or_else(|_| failed(Error::Deadline(patience)))
            }
        };
        self.outcomes.add(scraped.page.as_ref().map_or_else(|error| error.as_str(), |_| "ok"), 1);
        scraped
    }

    /// The flight to `source` that is under way, or a new one. A flight goes on while anybody waits
    /// for it, so that one reader's short patience does not end another's scrape.
    fn board(
        self: &Arc<Self>,
        netns: Cookie,
        source: &Source,
        addresses: &[SocketAddr],
        patience: Duration,
    ) -> Shared<Flight> {
        let Source { scheme, path, .. } = source.clone();
        let key = Key { netns, addresses: addresses.to_vec(), scheme, path };
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade)
            && flight.peek().is_none()
        {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let (scraper, source) = (Arc::clone(self), source.clone());
        let flight = async move { scraper.fly(netns, &source, patience).await }.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }

    async fn fly(&self, netns: Cookie, source: &Source, patience: Duration) -> Scraped {
        let started = Instant::now();
        let limit = self.limits.timeout;
        let page = match timeout_at(started + limit, self.fetch(netns, source, patience)).await {
            Ok(page) => page,
            Err(_) => Err(Error::Deadline(limit)),
        };
        Scraped { page: page.map(Arc::new).map_err(Arc::new), duration: started.elapsed() }
    }

    async fn fetch(
        &self,
        netns: Cookie,
        source: &Source,
        patience: Duration,
    ) -> Result<Page, Error> {
        let State::Ready(addresses) = &source.state else {
            return Err(Error::Pending(source.port.get()));
        };
        let stream = connect::connect(&*self.dial, netns, addresses).await?;
        let address = stream.peer_addr().map_err(|source| {
            let address = addresses[0];
            connect::Error::Connect { address, source }
        })?;
        let stream = Metered::for_body(stream, self.limits.body);
        let request = request(source, address, patience);
        let allowance = self.budget.of(netns);
        match source.scheme {
            Scheme::Http => self.exchange(stream, request, allowance).await,
            Scheme::Https => {
                let stream = self.tls.connect(address, stream).await.map_err(Error::Tls)?;
                self.exchange(stream, request, allowance).await
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Empty<Bytes>>,
        allowance: Allowance,
    ) -> Result<Page, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let page = async {
            let response = sender.send_request(request).await?;
            self.page(response, allowance).await
        };
        let (mut page, mut connection) = (std::pin::pin!(page), std::pin::pin!(connection));
        // The connection moves the bytes and ends with the page, or before it. Its error is the
        // page's as well. Both are dropped at the deadline.
        let page = tokio::select! {
            biased;
            page = &mut page => page,
            _ = &mut connection => page.await,
        };
        page.map_err(|error| self.too_large_on_the_wire(error))
    }

    async fn page(
        &self,
        response: Response<Incoming>,
        allowance: Allowance,
    ) -> Result<Page, Error> {
        if response.status() != StatusCode::OK {
            return Err(Error::Status(response.status()));
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let body = body::read(response, self.limits.body, allowance).await?;
        let content_type = content_type.as_ref().map(hyper::http::HeaderValue::as_bytes);
        let format = negotiate::format_of(content_type, &body.bytes)?;
        Ok(Page { body, format })
    }

    fn too_large_on_the_wire(&self, error: Error) -> Error {
        match &error {
            Error::Http(cause) if caused_by(cause, |cause| cause.is::<Exceeded>()) => {
                Error::TooLarge { limit: self.limits.body }
            }
            _ => error,
        }
    }
}

#[expect(clippy::expect_used, reason = "the plan has checked the path")]
fn request(source: &Source, address: SocketAddr, patience: Duration) -> Request<Empty<Bytes>> {
    Request::get(&source.path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("merger/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, negotiate::ACCEPT)
        .header(ACCEPT_ENCODING, "gzip")
        .header("x-prometheus-scrape-timeout-seconds", patience.as_secs_f64().to_string())
        .body(Empty::new())
        .expect("a plan's path begins with a slash and is of the ASCII of a URL")
}

/// Whether any of the causes is one, also where an [`io::Error`] hides it.
fn caused_by(error: &hyper::Error, is_one: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if is_one(error) || hidden.is_some_and(|hidden| is_one(hidden)) {
            return true;
        }
        next = error.source();
    }
    false
}

// === impl Error ===

impl Error {
    /// The variant, as a label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Refused(_) => "refused",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Deadline(_) => "deadline",
            Self::Status(_) => "status",
            Self::TooLarge { .. } => "too_large",
            Self::Busy => "busy",
            Self::Content(_) => "content",
            Self::Encoding(_) => "encoding",
            Self::Corrupt(_) => "corrupt",
            Self::Truncated => "truncated",
            Self::Http(_) => "http",
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        let is_early_end = |cause: &(dyn StdError + 'static)| {
            let cause = cause.downcast_ref::<io::Error>();
            cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
        };
        if error.is_incomplete_message() || caused_by(&error, is_early_end) {
            return Self::Truncated;
        }
        Self::Http(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Reason, annotations};

    #[test]
    fn every_path_that_an_annotation_may_have_can_be_sent() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        for byte in 0..=u8::MAX {
            let one = char::from(byte);
            for asked in [format!("/a{one}b"), format!("/a?b{one}c"), one.to_string()] {
                let Some(path) = annotations::path(&asked) else { continue };
                let source = Source {
                    container: String::new(),
                    endpoint: String::new(),
                    port: std::num::NonZeroU16::MIN,
                    scheme: Scheme::Http,
                    path: path.clone(),
                    reason: Reason::Annotation,
                    state: State::Pending,
                };
                let request = request(&source, address, Duration::from_secs(1));
                assert_eq!(request.uri().to_string(), path);
            }
        }
    }
}
