//! One source to bytes, or the reason why not.
//!
//! A source is hostile: it may answer anything, slowly, without end, or not at all. Whatever it
//! does costs it its own page and nobody else's: every scrape has a deadline, a limit on the
//! decompressed body, one on the raw bytes, and a share of the memory that all scrapes have together.
//! A redirect is an answer like any other that is not 200: it is never followed.
//!
//! Readers share a scrape that is under way if the source is asked by the same Accept header: a page
//! of protobuf and one of text lose different things of one body. So each source has at most three
//! scrapes at one time, however many readers there are.
//!
//! A source that names a Secret is asked with what stands in it, over a connection to what this pod alone
//! holds as every source's is, and not at all where that is not known.
//!
//! A scrape ends with its pod: its connection would keep the pod's namespace.

use std::{
    collections::HashMap,
    future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::time::{Instant, sleep, timeout_at};

use self::{
    body::Body,
    connect::Dial,
    credentials::Credentials,
    departure::{Departures, GRACE},
    exchange::Exchange,
    limits::{Budget, Metered},
};
pub use self::{departure::Alive, error::Error};
use crate::{
    exposition::{Format, negotiate},
    identity::{Cookie, PodUid},
    node::ConnectError,
    tally::Tally,
    target::{
        Scheme, Source, State,
        secret::{SecretRef, Secrets},
    },
};

pub mod body;
pub mod connect;
mod credentials;
mod departure;
mod error;
mod exchange;
pub mod limits;
mod tls;

/// How often it is asked whether a process is left in the namespace of a source that keeps a scrape
/// waiting.
const ASKED_EVERY: Duration = Duration::from_secs(1);

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
    credentials: Credentials,
    flights: Mutex<HashMap<Key, WeakShared<Flight>>>,
    departures: Departures,
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

/// All that decides what a scrape asks, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: Cookie,
    addresses: Vec<SocketAddr>,
    scheme: Scheme,
    path: String,
    accept: &'static str,
    /// On the host two pods may have the same address, one after the other.
    owner: Option<PodUid>,
    secret: Option<SecretRef>,
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
        let (flights, outcomes) = (Mutex::default(), Tally::default());
        let (credentials, departures) = (Credentials::new()?, Departures::new());
        Ok(Arc::new(Self { dial, limits, budget, credentials, flights, departures, outcomes }))
    }

    /// Tells which namespaces there are. Scrapes in any other end, those under way as well; those in a
    /// namespace where nothing listens any more end a moment later.
    pub fn keep_to(&self, alive: Alive) {
        self.departures.tell(alive);
    }

    /// Tells what sources are asked with that name a Secret. One that is not among these is not asked.
    pub fn show(&self, secrets: &Arc<Secrets>) {
        self.credentials.tell(secrets);
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

    /// Scrapes `source`, which is in the namespace `netns`, for a page in `format`, within
    /// `patience`.
    pub async fn scrape(
        self: &Arc<Self>,
        netns: Cookie,
        source: &Source,
        format: Format,
        patience: Duration,
    ) -> Scraped {
        let started = Instant::now();
        let failed = |error| Scraped { page: Err(Arc::new(error)), duration: started.elapsed() };
        let scraped = match &source.state {
            State::Pending => failed(Error::Pending(source.port.get())),
            State::Refused(refusal) => failed(Error::Refused(refusal.clone())),
            State::Ready(addresses) => {
                let accept = negotiate::accept(format);
                let flight = self.board(netns, source, addresses, accept, patience);
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
        accept: &'static str,
        patience: Duration,
    ) -> Shared<Flight> {
        let Source { scheme, path, owner, secret, .. } = source.clone();
        let key = Key { netns, addresses: addresses.to_vec(), scheme, path, accept, owner, secret };
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade)
            && flight.peek().is_none()
        {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some());
        let (scraper, source) = (Arc::clone(self), source.clone());
        let flight = async move { scraper.fly(netns, &source, accept, patience).await };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }

    async fn fly(
        &self,
        netns: Cookie,
        source: &Source,
        accept: &'static str,
        patience: Duration,
    ) -> Scraped {
        let started = Instant::now();
        let limit = self.limits.timeout;
        let page = self.fetch(netns, source, accept, patience);
        let page = tokio::select! {
            page = timeout_at(started + limit, page) => {
                page.unwrap_or(Err(Error::Deadline(limit)))
            }
            () = self.departures.of(netns) => Err(Error::Gone(GRACE)),
            () = self.departure(netns, source) => Err(Error::Gone(GRACE)),
        };
        Scraped { page: page.map(Arc::new).map_err(Arc::new), duration: started.elapsed() }
    }

    /// Returns when no process is left in the namespace of `source`. Nobody tells of that in time where
    /// the kernel tells of no change.
    async fn departure(&self, netns: Cookie, source: &Source) {
        let address = match &source.state {
            State::Ready(addresses) if source.owner.is_none() => addresses.first().copied(),
            // The host's namespace is left by nobody.
            _ => None,
        };
        let Some(address) = address else { return future::pending().await };
        loop {
            sleep(ASKED_EVERY).await;
            let confirmed = self.dial.confirm(netns, address, None).await;
            if let Err(ConnectError::Gone(_)) = confirmed {
                return;
            }
        }
    }

    async fn fetch(
        &self,
        netns: Cookie,
        source: &Source,
        accept: &'static str,
        patience: Duration,
    ) -> Result<Page, Error> {
        let State::Ready(addresses) = &source.state else {
            return Err(Error::Pending(source.port.get()));
        };
        let credential = self.credentials.of(source.secret.as_ref())?;
        let stream = connect::connect(&*self.dial, netns, addresses, source.owner).await?;
        let address = stream.peer_addr().map_err(|source| {
            let address = addresses[0];
            connect::Error::Connect { address, source }
        })?;
        if credential.authorization.is_some() {
            self.confirm_owner(netns, address, source).await?;
        }
        let limit = self.limits.body;
        let stream = Metered::for_body(stream, limit);
        let allowance = self.budget.of(netns);
        let authorization = credential.authorization.as_ref();
        let stale = credential.stale;
        let exchange =
            Exchange { source, address, accept, authorization, stale, patience, limit, allowance };
        let page = match source.scheme {
            Scheme::Http => exchange.over(stream).await,
            Scheme::Https => {
                let stream = credential.tls.connect(address, stream).await;
                let stream =
                    stream.map_err(|error| Error::of_tls(error, source.secret.as_ref()))?;
                exchange.over(stream).await
            }
        }?;
        self.confirm_owner(netns, address, source).await?;
        Ok(page)
    }

    /// In the host's namespace: that the listener is still its pod's alone. It was looked at before the
    /// connection began, and somebody else may have taken that.
    async fn confirm_owner(
        &self,
        netns: Cookie,
        address: SocketAddr,
        source: &Source,
    ) -> Result<(), Error> {
        if source.owner.is_none() {
            return Ok(());
        }
        self.dial.confirm(netns, address, source.owner).await.map_err(Error::Owner)
    }
}

// === impl Scraped ===

impl Scraped {
    /// The same without a share of the memory that all bodies in flight have together: whoever
    /// keeps many pages answers for their memory. A body that another reader has, too, is copied.
    #[must_use]
    pub fn detached(self) -> Self {
        let Self { page, duration } = self;
        let page = page.map(|page| {
            let (mut bytes, format) = match Arc::try_unwrap(page) {
                Ok(Page { body, format }) => (body.bytes, format),
                Err(page) => (page.body.bytes.clone(), page.format),
            };
            // It grew by doubling.
            bytes.shrink_to_fit();
            Arc::new(Page { body: Body::from(bytes), format })
        });
        Self { page, duration }
    }
}
