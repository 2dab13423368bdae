//! One pod `ns/pod` with given sources, and the agent that serves it.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use merger::{
    identity::{Cookie, Unclear},
    inventory::{Target, Targets},
    lifecycle::Readiness,
    merge, netns,
    node::ConnectError,
    scrape::{
        self, Scraper,
        connect::{Dial, Dialling},
    },
    serve::{self, Server, pages::Pages},
    target::{
        Pod, PodRef, Reason, Scheme, Source, State,
        plan::{Note, Plan},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};

/// What the agent believes of the pod's namespace.
pub(crate) enum Namespace {
    /// It is the one that the test runs in.
    Own,
    /// It is another one than that.
    Another,
    /// Two pods claim it.
    Contested,
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What the agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: BTreeMap<String, String>,
}

/// Connects without entering any namespace.
struct Plain;

/// A source that listens at `address`.
pub(crate) fn mk_source(container: &str, endpoint: &str, address: SocketAddr) -> Source {
    Source {
        container: container.to_owned(),
        endpoint: endpoint.to_owned(),
        port: address.port().try_into().unwrap(),
        scheme: Scheme::Http,
        path: "/metrics".to_owned(),
        reason: Reason::Annotation,
        state: State::Ready(vec![address]),
    }
}

fn own_cookie() -> Cookie {
    netns::cookie_of(&UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap()
}

// === impl Agent ===

impl Agent {
    pub(crate) async fn start(sources: Vec<Source>) -> Self {
        Self::start_in(Namespace::Own, sources).await
    }

    pub(crate) async fn start_in(namespace: Namespace, sources: Vec<Source>) -> Self {
        Self::start_with(Some((namespace, sources))).await
    }

    /// An agent that does not know its pods yet.
    pub(crate) async fn start_unready() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(pod: Option<(Namespace, Vec<Source>)>) -> Self {
        let own = own_cookie();
        let netns = |namespace| match namespace {
            Namespace::Own => Ok(own),
            Namespace::Another => Ok(Cookie(own.0 + 1)),
            Namespace::Contested => Err(Unclear::Contested { other_uid: "other".to_owned() }),
        };
        let targets =
            pod.map(|(namespace, sources)| Arc::new(mk_targets(netns(namespace), sources)));
        let (_, targets) = watch::channel(targets);
        let limits = scrape::Limits {
            timeout: Duration::from_secs(1),
            body: 64 << 10,
            in_flight: 256 << 10,
        };
        let scraper = Scraper::new(Arc::new(Plain), limits).unwrap();
        let limits = merge::Limits { samples: 100, ..merge::Limits::default() };
        let pages = Arc::new(Pages::new(scraper, limits));
        let readiness = Readiness::default();
        let own_metrics = Box::new(String::new);
        let server = Server { targets, pages, readiness: readiness.clone(), own_metrics };
        let listener = serve::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, draining) = watch::channel(false);
        let server = tokio::spawn(Arc::new(server).run(listener, draining));
        Self { address, readiness, drain, server }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> Answer {
        let host = self.address;
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"
        ))
        .await
    }

    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        Answer::parse(&answer)
    }

    pub(crate) fn drain(&self) {
        self.drain.send_replace(true);
    }

    pub(crate) async fn ended(self) {
        self.server.await.unwrap();
    }
}

fn mk_targets(netns: Result<Cookie, Unclear>, sources: Vec<Source>) -> Targets {
    let name = PodRef { namespace: "ns".to_owned(), name: "pod".to_owned() };
    let pod = Pod {
        name: name.clone(),
        uid: "uid".to_owned(),
        node: Some("node".to_owned()),
        annotations: BTreeMap::new(),
        containers: vec![],
        ended: false,
    };
    let notes = if sources.is_empty() { vec![Note::NotAsked] } else { vec![] };
    let target = Target { pod: Arc::new(pod), netns, plan: Plan { sources, notes } };
    Targets::from([(name, Arc::new(target))])
}

// === impl Answer ===

impl Answer {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().unwrap(),
            body: body.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    #[track_caller]
    pub(crate) fn has(&self, line: &str) {
        assert!(self.body.lines().any(|found| found == line), "no line {line} in:\n{}", self.body);
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    #[track_caller]
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap()
    }
}

// === impl Plain ===

impl Dial for Plain {
    fn dial(&self, _netns: Cookie, address: SocketAddr) -> Dialling<'_> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await.map_err(ConnectError::Connect)?;
            stream.into_std().map_err(ConnectError::Connect)
        })
    }
}
