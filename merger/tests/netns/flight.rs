//! What becomes of the connection of a scrape: nothing of it outlives its answer, or its pod.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use merger::{
    exposition::Format,
    identity::Cookie,
    scrape::{Error, Limits, Scraped, Scraper},
    target::{Reason, Scheme, Source, State},
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use super::{called, check, pod::Pod, start};

/// Set in the copy of this program that is the pod's application: the directory where it says how far
/// it is, each as a file.
const APPLICATION: &str = "MERGER_TEST_APPLICATION";

/// What the project promises for a namespace after its pod, and how long anything else is waited for.
const DEADLINE: Duration = Duration::from_secs(5);

/// Longer than any test here takes: no scrape ends because of it.
const PATIENCE: Duration = Duration::from_mins(1);

const BEGIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nm 1\n";

/// A pod with an application, that has a wire to here, and is being scraped.
struct Flight {
    pod: Pod,
    progress: TempDir,
    scrape: JoinHandle<Scraped>,
}

// === impl Flight ===

impl Flight {
    /// Has the beginning of an answer.
    async fn start(test: &str) -> Self {
        let mut pod = Pod::new();
        let progress = tempfile::tempdir().unwrap();
        let told = progress.path().display();
        let becomes =
            format!("export {APPLICATION}='{told}'; exec \"$0\" --exact {test} >/dev/null");
        let program = env::current_exe().unwrap();
        pod.become_process("sh", &["-c", &becomes, program.to_str().unwrap()]);
        until("it listens", || progress.path().join("listens").exists()).await;
        let (node, _changes) = start();
        let netns = called(&node, &pod).await;
        let limits = Limits { timeout: PATIENCE, ..Limits::default() };
        let scraper = Scraper::new(Arc::new(node), limits).unwrap();
        let scrape = tokio::spawn(scrape(scraper, netns));
        until("it has begun to answer", || progress.path().join("answers").exists()).await;
        Self { pod, progress, scrape }
    }
}

async fn scrape(scraper: Arc<Scraper>, netns: Cookie) -> Scraped {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let source = Source {
        container: "app".to_owned(),
        endpoint: "80".to_owned(),
        port: address.port().try_into().unwrap(),
        scheme: Scheme::Http,
        path: "/metrics".to_owned(),
        reason: Reason::Annotation("prometheus.io/port".to_owned()),
        state: State::Ready(vec![address]),
        owner: None,
        secret: None,
        only: None,
    };
    scraper.scrape(netns, &source, Format::Text, PATIENCE).await
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The application: answers half, ends its listener, and answers the rest once it is told to. It would
/// keep the connection.
fn serve(progress: &Path) {
    let tell = |what: &str| fs::write(progress.join(what), "").unwrap();
    let listener = TcpListener::bind("127.0.0.1:80").unwrap();
    tell("listens");
    let (mut stream, _) = listener.accept().unwrap();
    assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0, "a request comes");
    stream.write_all(BEGIN.as_bytes()).unwrap();
    drop(listener);
    tell("answers");
    while !progress.join("go").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(b"m2 2\n").unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "nothing more is asked");
    tell("closed");
}

/// Whether this is the application, which has then done what it does.
fn is_application() -> bool {
    let Some(progress) = env::var_os(APPLICATION) else { return false };
    serve(Path::new(&progress));
    true
}

#[test]
fn a_scrape_under_way_ends_with_its_pod_and_holds_no_namespace() {
    if is_application() {
        return;
    }
    let test = "flight::a_scrape_under_way_ends_with_its_pod_and_holds_no_namespace";
    check(test, async || {
        let Flight { pod, scrape, progress: _progress } = Flight::start(test).await;
        // One end of a wire is in the pod; the other is gone when the kernel has destroyed the
        // namespace, and whoever looks at it holds nothing.
        let (wire, pid) = (format!("m{}", pod.pid()), pod.pid().to_string());
        ip(&["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        drop(pod);
        let scraped = timeout(DEADLINE, scrape).await.expect("it ends").unwrap();
        let error = scraped.page.unwrap_err();
        assert!(matches!(*error, Error::Truncated | Error::Http(_)), "{error:?}");
        until("the namespace is gone", || !is_there(&wire)).await;
    });
}

#[test]
fn an_answer_that_was_begun_outlives_its_listener_and_nothing_outlives_the_answer() {
    if is_application() {
        return;
    }
    let test =
        "flight::an_answer_that_was_begun_outlives_its_listener_and_nothing_outlives_the_answer";
    check(test, async || {
        let Flight { pod: _pod, scrape, progress } = Flight::start(test).await;
        fs::write(progress.path().join("go"), "").unwrap();
        let scraped = timeout(DEADLINE, scrape).await.expect("it ends").unwrap();
        assert_eq!(scraped.page.unwrap().body.bytes, b"m 1\nm2 2\n");
        let closed = progress.path().join("closed");
        until("the connection is closed", || closed.exists()).await;
    });
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn is_there(wire: &str) -> bool {
    let shown = Command::new("ip").args(["link", "show", wire]).output().unwrap();
    shown.status.success()
}
