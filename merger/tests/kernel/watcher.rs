//! `merger run` with the API server as the source of pods: who speaks to it, with which rights, and what
//! becomes of the pods when it is killed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    running::{Running, directory, is_there, signal, until},
    split::check_confined,
    world,
};

/// The pods of a node, as a list.
const PODS: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[
    {"metadata":{"name":"a","namespace":"ns","uid":"6d657267-6572-4000-8300-000000000001",
    "resourceVersion":"5"},"spec":{"nodeName":"n1","containers":[
    {"name":"app","ports":[{"name":"web","containerPort":9100}]}]},
    "status":{"phase":"Running"}}]}"#;

/// What asks for a port of them, as a list.
const MONITORS: &str = r#"{"kind":"PodMonitorList","apiVersion":"monitoring.coreos.com/v1",
    "metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"m","namespace":"ns","uid":"u",
    "resourceVersion":"6"},"spec":{"selector":{},"podMetricsEndpoints":[{"port":"web"}]}}]}"#;

/// A double of the API server that has these pods and one monitor, and nothing new but what it is told to say.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Asked>,
}

/// What it says, and how often it was asked for a list.
struct Asked {
    /// The list of pods, or the page of it that goes on from here.
    pods: Box<dyn Fn(usize) -> String + Send + Sync>,
    /// What is at `/api/v1/namespaces/ns/secrets/metrics`.
    secret: String,
    n_lists: AtomicUsize,
    /// Where pods are watched.
    watches: Mutex<Vec<TcpStream>>,
}

// === impl Server ===

impl Server {
    pub(crate) fn start(pods: &str, secret: &str) -> Self {
        let pods = pods.to_owned();
        Self::start_paged(move |_| pods.clone(), secret)
    }

    /// One with a list in pages: `pods` is the one that goes on from there, which a number tells.
    pub(crate) fn start_paged(
        pods: impl Fn(usize) -> String + Send + Sync + 'static,
        secret: &str,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Asked {
            pods: Box::new(pods),
            secret: secret.to_owned(),
            n_lists: AtomicUsize::new(0),
            watches: Mutex::default(),
        });
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                thread::spawn(move || answer(stream, &counted));
            }
        });
        Self { address, asked }
    }

    /// How often it was asked for a list.
    pub(crate) fn n_lists(&self) -> usize {
        self.asked.n_lists.load(Ordering::Relaxed)
    }

    /// Says this to whoever watches the pods. How many that are.
    pub(crate) fn say(&self, event: &str) -> usize {
        let mut watches = self.asked.watches.lock().unwrap();
        watches.retain_mut(|watch| watch.write_all(event.as_bytes()).is_ok());
        watches.len()
    }

    /// What tells merger of it, which everybody may read.
    pub(crate) fn kubeconfig(&self, place: &TempDir) -> String {
        let [file, authority] = ["kubeconfig", "ca.pem"].map(|name| place.path().join(name));
        // A machine need not have any of its own, and the client takes none of those then.
        fs::write(&authority, include_str!("../../testdata/k8s/ca.pem")).unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://{}', \
             certificate-authority: '{}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\n",
            self.address,
            authority.display()
        );
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }
}

/// Answers requests for lists until there is one for a watch, which stays open and says nothing; and those
/// for the one Secret.
fn answer(mut stream: TcpStream, asked: &Asked) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let request = String::from_utf8_lossy(&buffer[..n]);
        let is_secret = request.starts_with("GET /api/v1/namespaces/ns/secrets/metrics HTTP/1.1");
        let is_of_monitors = request.starts_with("GET /apis/monitoring.coreos.com/v1/podmonitors?");
        let is_of_node = request.contains("fieldSelector=spec.nodeName%3Dn1");
        let n_kinds =
            [is_secret, is_of_monitors, is_of_node].map(usize::from).iter().sum::<usize>();
        assert_eq!(n_kinds, 1, "{request}");
        if request.contains("watch=true") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            if is_of_node {
                asked.watches.lock().unwrap().push(stream.try_clone().unwrap());
            }
        } else {
            asked.n_lists.fetch_add(usize::from(is_of_node), Ordering::Relaxed);
            let body = if is_secret {
                asked.secret.clone()
            } else if is_of_monitors {
                MONITORS.to_owned()
            } else {
                (asked.pods)(continued(&request))
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).unwrap();
        }
    }
}

/// Where a list is to go on.
fn continued(request: &str) -> usize {
    let (_, rest) = request.split_once("continue=").unwrap_or(("", "0"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap()
}

/// Whether the agent has the pod, with what the monitor asks of it.
fn knows(running: &Running) -> bool {
    running.get("/api/pods").is_some_and(|pods| {
        pods.contains("6d657267-6572-4000-8300-000000000001")
            && pods.contains("the PodMonitor ns/m")
    })
}

#[test]
fn the_api_server_is_asked_by_a_process_that_holds_no_right_and_the_agent_by_nobody() {
    world::here(async || {
        let (server, place) = (Server::start(PODS, ""), directory());
        let flags =
            [format!("--kubeconfig={}", server.kubeconfig(&place)), "--node-name=n1".into()];
        let flags = flags.each_ref().map(String::as_str);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let mut running = Running::start_source(free.unwrap(), "kube", &flags, Stdio::null());
        until("it is ready", || running.is_ready());
        assert!(knows(&running));

        let watcher = running.child("merger-watcher").unwrap();
        check_confined(watcher, 65531);
        // It has a connection to the server; the agent has none to anybody but the test.
        assert!(n_connected(watcher, server.address) > 0);
        let agent = running.agent().unwrap();
        assert_eq!(n_connected(agent, server.address), 0);

        // One that is killed is followed by another, and nothing is forgotten meanwhile.
        let n_lists = server.n_lists();
        signal(watcher, Signal::KILL);
        until("another watcher has asked", || {
            assert!(knows(&running), "what was known stays known");
            server.n_lists() > n_lists
        });
        let second = running.child("merger-watcher").unwrap();
        assert_ne!(second, watcher);

        // It ends with its agent, and the next agent has one of its own.
        signal(agent, Signal::KILL);
        until("another agent knows the pod", || {
            running.agent().is_some_and(|next| next != agent) && knows(&running)
        });
        assert!(!is_there(second));
        let third = running.child("merger-watcher").unwrap();
        signal(running.broker(), Signal::TERM);
        assert_eq!(running.end().code(), Some(0));
        until("the watcher is gone", || !is_there(third));
    });
}

/// How many of the established connections to this address are the process's.
fn n_connected(pid: u32, address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let inodes: Vec<String> = rows
        .filter(|row| row[2].ends_with(&port) && row[3] == "01")
        .map(|row| format!("socket:[{}]", row[9]))
        .collect();
    Running::descriptors(pid).iter().filter(|link| inodes.contains(link)).count()
}
