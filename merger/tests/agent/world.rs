//! Pods with given sources, mostly one `ns/pod`, and the agent that serves them.

use std::{
    collections::BTreeMap,
    future::ready,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use merger::{
    identity::{Cookie, PodUid, Unclear},
    inventory::{Target, Targets},
    lifecycle::Readiness,
    merge, netns,
    node::{ConnectError, Refusal},
    scrape::{
        self, Scraper,
        connect::{Confirming, Dial, Dialling},
    },
    serve::{Server, pages::Pages},
    target::{
        Pod, PodRef, Reason, Scheme, Source, State,
        plan::{Note, Plan},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
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
    /// Nothing runs in it.
    NotBegun,
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    pub(crate) pages: Arc<Pages>,
    pub(crate) scraper: Arc<Scraper>,
    drain: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What the agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body as text, where it is that.
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
    headers: BTreeMap<String, String>,
}

/// Connects without entering any namespace.
#[derive(Default)]
struct Plain {
    /// How often it was asked whose a listener of the host is.
    n_confirmed: AtomicUsize,
}

/// Room for all pods of any test that is not about it.
const PAGE_BYTES: usize = 1 << 20;

/// Room for two bodies of a pod at one time.
const IN_FLIGHT: usize = 256 << 10;

/// A source that listens at `address`.
pub(crate) fn mk_source(container: &str, endpoint: &str, address: SocketAddr) -> Source {
    Source {
        container: container.to_owned(),
        endpoint: endpoint.to_owned(),
        port: address.port().try_into().unwrap(),
        scheme: Scheme::Http,
        path: "/metrics".to_owned(),
        reason: Reason::Annotation("prometheus.io/port".to_owned()),
        state: State::Ready(vec![address]),
        owner: None,
        secret: None,
        only: None,
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
        Self::start_pods(vec![("pod", namespace, sources)], PAGE_BYTES).await
    }

    /// An agent of several pods, whose page of all pods has this limit.
    pub(crate) async fn start_pods(
        pods: Vec<(&str, Namespace, Vec<Source>)>,
        page_bytes: usize,
    ) -> Self {
        let own = own_cookie();
        let targets = pods.into_iter().map(|(name, namespace, sources)| {
            let netns = match namespace {
                Namespace::Own => Ok(own),
                Namespace::Another => Ok(Cookie(own.0 + 1)),
                Namespace::Contested => Err(Unclear::Contested { other_uid: "other".to_owned() }),
                Namespace::NotBegun => Err(Unclear::NoProcess),
            };
            mk_target(name, netns, sources)
        });
        Self::start_with(Some(Arc::new(targets.collect())), page_bytes, IN_FLIGHT).await
    }

    /// An agent of a pod with three sources that answer at one time.
    pub(crate) async fn start_three(sources: [Source; 3]) -> Self {
        let target = mk_target("pod", Ok(own_cookie()), sources.into());
        let targets = Arc::new([target].into_iter().collect());
        Self::start_with(Some(targets), PAGE_BYTES, 2 * IN_FLIGHT).await
    }

    /// An agent that does not know its pods yet.
    pub(crate) async fn start_unready() -> Self {
        Self::start_with(None, PAGE_BYTES, IN_FLIGHT).await
    }

    async fn start_with(
        targets: Option<Arc<Targets>>,
        page_bytes: usize,
        in_flight: usize,
    ) -> Self {
        let (_, targets) = watch::channel(targets);
        let limits = scrape::Limits { timeout: Duration::from_secs(1), body: 64 << 10, in_flight };
        let scraper = Scraper::new(Arc::new(Plain::default()), limits).unwrap();
        let limits = merge::Limits { samples: 100, ..merge::Limits::default() };
        let pages = Arc::new(Pages::new(Arc::clone(&scraper), limits, page_bytes));
        let readiness = Readiness::default();
        let own_metrics = Box::new(|| "# TYPE own_total counter\nown_total 1\n".to_owned());
        let (kept, awaited) = (Arc::clone(&pages), readiness.clone());
        let server = Server { targets, pages, readiness, own_metrics };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, draining) = watch::channel(false);
        let server = tokio::spawn(Arc::new(server).run(listener, draining));
        Self { address, readiness: awaited, pages: kept, scraper, drain, server }
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
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&answer)
    }

    pub(crate) fn drain(&self) {
        self.drain.send_replace(true);
    }

    pub(crate) async fn ended(self) {
        self.server.await.unwrap();
    }
}

fn mk_target(
    name: &str,
    netns: Result<Cookie, Unclear>,
    sources: Vec<Source>,
) -> (PodRef, Arc<Target>) {
    let name = PodRef { namespace: "ns".to_owned(), name: name.to_owned() };
    let pod = Pod {
        name: name.clone(),
        uid: "uid".to_owned(),
        node: Some("node".to_owned()),
        annotations: BTreeMap::new(),
        containers: vec![],
        monitored: merger::target::monitor::Monitored::default(),
        ended: false,
    };
    let notes = if sources.is_empty() { vec![Note::NotAsked] } else { vec![] };
    let target =
        Target { pod: Arc::new(pod), netns, plan: Plan { sources, notes, probes: vec![] } };
    (name, Arc::new(target))
}

// === impl Answer ===

impl Answer {
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
        let (head, bytes) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().unwrap(),
            body: String::from_utf8_lossy(bytes).into_owned(),
            bytes: bytes.to_owned(),
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
    fn dial(&self, _: Cookie, address: SocketAddr, _: Option<PodUid>) -> Dialling<'_> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await.map_err(ConnectError::Connect)?;
            stream.into_std().map_err(ConnectError::Connect)
        })
    }

    /// By an owner whose uid is `sold`, the listener was sold during the scrape; by one whose uid is `leased`,
    /// after it was confirmed once.
    fn confirm(&self, _: Cookie, _: SocketAddr, owner: Option<PodUid>) -> Confirming<'_> {
        let sold = ConnectError::Refused(Refusal::ForeignHolder { pid: 7 });
        let is_sold = owner.is_some_and(|owner| {
            let n = self.n_confirmed.fetch_add(1, Ordering::Relaxed);
            owner.as_str() == "sold" || owner.as_str() == "leased" && n > 0
        });
        Box::pin(ready(if is_sold { Err(sold) } else { Ok(()) }))
    }
}
