//! The way to the API server: each request with a deadline, each answer within its limits.
//!
//! It knows whether the server answers, and tells the log. What was refused, or could not be sent, is
//! followed by a new client, for which token, certificates and kubeconfig are read again.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyStream, StreamBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame},
};
use kube::{Client, client::Body};
use tokio::time::{self, Instant};
use tower::BoxError;
use tracing::debug;

use super::{
    access::{self, Access},
    backoff::Backoff,
    contact::{Contact, Subject, Trouble},
    limits::{Broken, HEAD, Kind, Meter},
};
use crate::cause;

/// Watches that begin closer to each other than this are held back.
const PACE: Duration = Duration::from_secs(10);

/// One way, for all requests for one thing.
struct Connection {
    access: Access,
    state: Mutex<State>,
}

struct State {
    client: Client,
    /// Whether the client is to be replaced before it is used again.
    is_stale: bool,
    contact: Contact,
    /// When the last watch began.
    last_watch: Option<Instant>,
    pace: Backoff,
}

/// A client whose requests for one thing go this way. To be called in a tokio runtime.
pub(super) fn client(access: Access, subject: Subject) -> Result<Client, access::Error> {
    let client = access.client()?;
    let namespace = client.default_namespace().to_owned();
    let state = State {
        client,
        is_stale: false,
        contact: Contact::new(subject),
        last_watch: None,
        pace: Backoff::default(),
    };
    let connection = Arc::new(Connection { access, state: Mutex::new(state) });
    let service = tower::service_fn(move |request: Request<Body>| {
        let connection = Arc::clone(&connection);
        async move { connection.send(request).await }
    });
    Ok(Client::new(service, namespace))
}

// === impl Connection ===

impl Connection {
    async fn send(
        self: Arc<Self>,
        request: Request<Body>,
    ) -> Result<
        Response<StreamBody<impl Stream<Item = Result<Frame<Bytes>, BoxError>> + use<>>>,
        BoxError,
    > {
        let kind = Kind::of(request.uri().query().unwrap_or_default());
        if kind == Kind::Watch {
            self.pace().await;
        }
        let client = self.newest_client().await;
        let answer = match time::timeout(HEAD, client.send(request)).await {
            Ok(answer) => answer.map_err(BoxError::from),
            Err(_) => Err(Broken::Late(HEAD).into()),
        };
        let answer = answer.inspect_err(|error| self.failed(&**error))?;
        let status = answer.status();
        match Trouble::of_status(status.as_u16()) {
            Some(trouble) => self.bad(trouble, &format!("HTTP status {status}")),
            // A page is an answer when it is whole.
            None if kind == Kind::Watch => self.good(),
            None => {}
        }
        let (head, body) = answer.into_parts();
        let end = status.is_success().then_some(self);
        Ok(Response::from_parts(head, StreamBody::new(limited(body, kind, end))))
    }

    /// A server, or what stands before it, may end each watch at once: that is no reason to ask as fast
    /// as it does so.
    async fn pace(&self) {
        let until = {
            let mut state = self.state();
            let is_early = state.last_watch.is_some_and(|last| last.elapsed() < PACE);
            is_early.then(|| state.pace.failed())
        };
        if let Some(until) = until {
            time::sleep_until(until).await;
        }
        self.state().last_watch = Some(Instant::now());
    }

    async fn newest_client(&self) -> Client {
        let client = {
            let mut state = self.state();
            if !std::mem::take(&mut state.is_stale) {
                return state.client.clone();
            }
            state.client.clone()
        };
        // Files are read, and with --single-process a plugin may be run.
        let access = self.access.clone();
        let made = tokio::task::spawn_blocking(move || access.client()).await;
        match made {
            Ok(Ok(new)) => {
                self.state().client = new.clone();
                new
            }
            Ok(Err(error)) => {
                debug!(error = cause::chain(&error), "what was read before is used");
                client
            }
            Err(error) => {
                debug!(%error, "what was read before is used");
                client
            }
        }
    }

    fn failed(&self, error: &(dyn Error + 'static)) {
        // One that tells too much at a time is there.
        if !matches!(Broken::below(error), Some(Broken::LargePage(_))) {
            self.bad(Trouble::Away, &cause::root(error).to_string());
        }
    }

    fn bad(&self, trouble: Trouble, why: &str) {
        let mut state = self.state();
        state.is_stale = true;
        state.contact.bad(trouble, why);
    }

    fn good(&self) {
        self.state().contact.good();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body, broken off where it is too large or too slow. The `end` of a page is told there.
fn limited(
    body: Body,
    kind: Kind,
    end: Option<Arc<Connection>>,
) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> + use<> {
    let start = Instant::now();
    let reading = (BodyStream::new(body), Meter::new(kind), end);
    stream::unfold(Some(reading), move |reading| async move {
        let (mut body, mut meter, end) = reading?;
        let frame = match time::timeout(kind.patience(start.elapsed()), body.next()).await {
            Ok(None) => {
                if let (Some(connection), Kind::Page) = (end, kind) {
                    connection.good();
                }
                return None;
            }
            Ok(Some(frame)) => frame.map_err(BoxError::from),
            Err(_) => Err(kind.late().into()),
        };
        let frame = frame.and_then(|frame| {
            let bytes = frame.data_ref().map(|bytes| &**bytes).unwrap_or_default();
            meter.count(bytes).map_err(BoxError::from).map(|()| frame)
        });
        match frame {
            Ok(frame) => Some((Ok(frame), Some((body, meter, end)))),
            Err(error) => {
                if let (Some(connection), Kind::Page) = (end, kind) {
                    connection.failed(&*error);
                }
                Some((Err(error), None))
            }
        }
    })
}
