//! Calls of a container runtime over one connection: gRPC, each call with a deadline and its answer with
//! a limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::UnixStream, task::JoinSet, time};
use tonic::{
    Code, Status,
    body::Body,
    client::{Grpc, GrpcService},
};
use tonic_prost::ProstCodec;

/// An answer with more bytes than this is refused. It is what the kubelet takes, so a node with a larger
/// one is lost to its cluster already: `maxMsgSize` in `staging/src/k8s.io/cri-client/pkg/utils.go` of
/// kubernetes/kubernetes. The runtime sends no more either: `max_send_message_size` of containerd.
pub(super) const MAX_ANSWER: usize = 16 << 20;

/// A runtime that is well answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection is no connection to a gRPC server, or is one no longer.
    #[error("the connection to the container runtime is closed: is it running?")]
    Closed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has not answered in time.
    #[error("the container runtime has not answered {0} within {DEADLINE:?}")]
    Deadline(&'static str),
    /// It has no such service.
    #[error(
        "the container runtime does not speak CRI v1 here ({0}): containerd does from 1.6 on, unless its \
         configuration has \"cri\" in disabled_plugins"
    )]
    NoService(String),
    /// It answers that it will not.
    #[error("the container runtime refuses {method}: {code:?}: {message}")]
    Refused {
        /// The call.
        method: &'static str,
        /// The status of gRPC.
        code: Code,
        /// The words of the runtime.
        message: String,
    },
}

/// A connection to a container runtime. It is closed when this is dropped.
#[derive(Debug)]
pub struct Client {
    grpc: Grpc<Connection>,
    requests: SendRequest<Body>,
    /// What reads and writes the connection.
    _driver: JoinSet<()>,
}

/// Where tonic sends its requests.
#[derive(Debug)]
struct Connection(SendRequest<Body>);

// === impl Error ===

impl Error {
    /// Whether what was asked for is not there: what was listed a moment ago may be gone.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NotFound, .. })
    }

    /// Whether the answer would have been too large, to this side or to the other.
    pub(super) fn is_too_large(&self) -> bool {
        let is_one = |code: &Code| matches!(code, Code::OutOfRange | Code::ResourceExhausted);
        matches!(self, Self::Refused { code, .. } if is_one(code))
    }

    /// Whether it is about what was asked for alone, and the next question may be answered.
    pub(super) fn is_of_one(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

// === impl Client ===

impl Client {
    /// Speaks to the runtime over `stream`. To be called in a tokio runtime.
    pub async fn new(stream: UnixStream) -> Result<Self, Error> {
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (requests, connection) = match time::timeout(DEADLINE, shaken).await {
            Ok(shaken) => shaken.map_err(|error| Error::Closed(error.into()))?,
            Err(_) => return Err(Error::Deadline("the handshake")),
        };
        let mut driver = JoinSet::new();
        // How it ended is told by the call that finds it closed.
        driver.spawn(async move { drop(connection.await) });
        // The host is no host: a server behind a Unix socket is asked for none.
        let origin = Uri::from_static("http://localhost");
        let grpc = Grpc::with_origin(Connection(requests.clone()), origin)
            .max_decoding_message_size(MAX_ANSWER);
        Ok(Self { grpc, requests, _driver: driver })
    }

    /// Calls `method`, a path such as `/runtime.v1.RuntimeService/ListContainers`, and waits up to 10 s.
    pub async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let call = async {
            let ready = self.grpc.ready().await;
            ready.map_err(|error| Status::from_error(error.into()))?;
            let path = PathAndQuery::from_static(method);
            let codec = ProstCodec::<Q, A>::default();
            self.grpc.unary(tonic::Request::new(request), path, codec).await
        };
        match time::timeout(DEADLINE, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.error(method, status)),
            Err(_) => Err(Error::Deadline(method)),
        }
    }

    fn error(&self, method: &'static str, status: Status) -> Error {
        let message =
            || status.message().chars().flat_map(char::escape_default).take(500).collect();
        match status.code() {
            _ if self.requests.is_closed() => Error::Closed(status.into()),
            Code::Unimplemented => Error::NoService(message()),
            code => Error::Refused { method, code, message: message() },
        }
    }
}

// === impl Connection ===

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
