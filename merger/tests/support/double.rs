//! An API server on loopback that plays a script for each resource: each request for it has to be the next
//! one that is expected, and is answered as the script says. What else is asked is a fault, and fails the
//! test. In which order different resources are asked for is up to whoever asks.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time,
};
use tokio_rustls::TlsAcceptor;

/// What the double does for one request.
pub(crate) struct Answer {
    status: u16,
    plays: VecDeque<Play>,
}

/// What happens next on a connection.
pub(crate) enum Play {
    /// These bytes are sent.
    Bytes(Bytes),
    /// These are, each made when the one before it is on its way.
    Many(Box<dyn Iterator<Item = Bytes> + Send>),
    /// Nothing is, for so long.
    Wait(Duration),
    /// Nothing is, for ever.
    Stay,
    /// The connection is reset.
    Reset,
}

/// One request that is expected, and what it is answered.
pub(crate) struct Step {
    expected: String,
    answer: Answer,
}

/// The server. Its clone is the same one.
#[derive(Clone)]
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The steps for all resources, each in their order.
    script: Vec<Step>,
    log: Vec<String>,
    faults: Vec<String>,
    tls: Option<TlsAcceptor>,
    running: Option<AbortHandle>,
}

/// A request as it is expected and logged: method and path, then the parameters in their order.
pub(crate) fn on(request: &str, answer: Answer) -> Step {
    Step { expected: request.to_owned(), answer }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, plays: [Play::Bytes(body.into())].into() }
    }

    /// A watch, or any answer that takes its time.
    pub(crate) fn plays(plays: impl IntoIterator<Item = Play>) -> Self {
        Self { status: 200, plays: plays.into_iter().collect() }
    }

    /// As it was recorded, head and body.
    pub(crate) fn recorded(http: &str) -> Self {
        let (head, body) = http.replace("\r\n", "\n").split_once("\n\n").map_or_else(
            || panic!("no head in {http:?}"),
            |(head, body)| (head.to_owned(), body.to_owned()),
        );
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Self::status(status, body)
    }
}

// === impl Play ===

impl Play {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into())
    }

    pub(crate) fn seconds(seconds: u64) -> Self {
        Self::Wait(Duration::from_secs(seconds))
    }
}

// === impl Double ===

impl Double {
    /// To be called in a tokio runtime, where it runs as a task.
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        Self::start_with(script, None).await
    }

    pub(crate) async fn start_with(script: Vec<Step>, tls: Option<TlsAcceptor>) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script, tls)
    }

    /// The same, where this listens.
    pub(crate) fn start_on(
        listener: TcpListener,
        script: Vec<Step>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let state = State { script, log: Vec::new(), faults: Vec::new(), tls, running: None };
        let double = Self { address, state: Arc::new(Mutex::new(state)) };
        double.run(listener);
        double
    }

    /// Every connection ends, and new ones are refused.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().running.take().unwrap().abort();
    }

    /// It is there again, at the same address.
    pub(crate) async fn resume(&self) {
        self.run(TcpListener::bind(self.address).await.unwrap());
    }

    /// What was asked up to now.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// What was asked of one resource up to now.
    pub(crate) fn log_of(&self, resource: &str) -> Vec<String> {
        let mut log = self.log();
        log.retain(|request| self::resource(request) == resource);
        log
    }

    /// Whether everything was asked that is expected.
    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().unwrap().script.is_empty()
    }

    /// Prints what was asked. Fails if that was anything but the script, and all of it.
    #[track_caller]
    pub(crate) fn check(&self) {
        let state = self.state.lock().unwrap();
        println!("requests");
        for request in &state.log {
            println!("  {request}");
        }
        assert_eq!(state.faults, Vec::<String>::new());
        let rest: Vec<&str> = state.script.iter().map(|step| &*step.expected).collect();
        assert_eq!(rest, Vec::<&str>::new(), "it was never asked for these");
    }

    fn run(&self, listener: TcpListener) {
        let double = self.clone();
        let task = tokio::spawn(async move {
            // With this task they end.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(double.clone().serve(stream));
            }
        });
        self.state.lock().unwrap().running = Some(task.abort_handle());
    }

    async fn serve(self, stream: TcpStream) {
        // What is closed in the midst of an answer is reset, as by a server that was killed.
        stream.set_zero_linger().unwrap();
        // The kernel's clock is not paused, and what it holds back would come late.
        stream.set_nodelay(true).unwrap();
        let tls = self.state.lock().unwrap().tls.clone();
        match tls {
            None => self.speak(stream).await,
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => self.speak(stream).await,
                Err(error) => self.state.lock().unwrap().faults.push(error.to_string()),
            },
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            let answer = self.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        });
        // A client that leaves is no fault.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
        let shown = shown(request);
        let mut state = self.state.lock().unwrap();
        state.log.push(shown.clone());
        let is_next = |step: &Step| resource(&step.expected) == resource(&shown);
        let next = state.script.iter().position(is_next).map(|at| state.script.remove(at));
        let answer = match next {
            Some(step) if step.expected == shown => step.answer,
            Some(step) => {
                state.faults.push(format!("{shown} in place of {}", step.expected));
                Answer::status(418, "")
            }
            None => {
                state.faults.push(format!("{shown} after the last"));
                Answer::status(418, "")
            }
        };
        response(answer)
    }
}

/// The last part of a request's path.
fn resource(request: &str) -> &str {
    let path = request.split(' ').nth(1).unwrap();
    path.rsplit('/').next().unwrap()
}

fn response(answer: Answer) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let Answer { status, plays } = answer;
    let body = stream::unfold(plays, |mut plays| async move {
        loop {
            match plays.pop_front()? {
                Play::Bytes(bytes) => return Some((Ok(Frame::data(bytes)), plays)),
                Play::Many(mut many) => {
                    if let Some(bytes) = many.next() {
                        plays.push_front(Play::Many(many));
                        return Some((Ok(Frame::data(bytes)), plays));
                    }
                }
                Play::Wait(duration) => time::sleep(duration).await,
                Play::Stay => std::future::pending().await,
                Play::Reset => return Some((Err(io::Error::other("reset")), plays)),
            }
        }
    });
    let body = UnsyncBoxBody::new(StreamBody::new(body.boxed()));
    let response = Response::builder().status(status);
    response.header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
}

/// Method, path, parameters in their order; and the token, where one is shown.
fn shown(request: &Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    // The client begins with a `&`.
    let mut parameters: Vec<&str> = query.split('&').filter(|one| !one.is_empty()).collect();
    parameters.sort_unstable();
    let query = parameters.join(" ").replace("%3D", "=");
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.map(|token| format!(" as {}", token.to_str().unwrap())).unwrap_or_default();
    format!("{} {} {query}{token}", request.method(), request.uri().path())
}
