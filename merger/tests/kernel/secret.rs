//! A pod whose application wants a token, from the API server to the page: what the watcher reads, the
//! agent shows, and nobody prints.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::process::Signal;

use super::{
    cgroup::Root,
    pod::Pod,
    running::{Running, directory, signal, until},
    watcher::Server,
    world,
};

/// Set in the copy of this program that is the application.
const SERVES: &str = "MERGER_TEST_GUARDS";

const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";
const UID: &str = "6d657267-6572-4000-8400-000000000001";

const TOKEN: &str = "kernel-hunter2";
const TOKEN_64: &str = "a2VybmVsLWh1bnRlcjI=";

#[test]
fn a_copy_serves_who_shows_its_token() {
    if env::var_os(SERVES).is_none() {
        return;
    }
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    loop {
        // A client that goes away early is no reason to end.
        let _ = listener.accept().and_then(|(stream, _)| serve_one(stream));
    }
}

fn serve_one(mut stream: TcpStream) -> io::Result<()> {
    let (mut request, mut n) = ([0; 4096], 0);
    while !request[..n].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[n..])? {
            0 => return Ok(()),
            read => n += read,
        }
    }
    let header = format!("\r\nauthorization: Bearer {TOKEN}\r\n");
    let is_known = String::from_utf8_lossy(&request[..n]).contains(&header);
    let (status, body) =
        if is_known { ("200 OK", "guarded_samples 1\n") } else { ("401 Unauthorized", "") };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// The list of the one pod, with this annotation as well.
fn pods(port: u16) -> String {
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":[
        {{"metadata":{{"name":"a","namespace":"ns","uid":"{UID}","resourceVersion":"5",
        "annotations":{{"merger.io/endpoints":":{port}","merger.io/secret":"metrics"}}}},
        "spec":{{"nodeName":"n1","containers":[{{"name":"app"}}]}},
        "status":{{"phase":"Running","containerStatuses":[
        {{"name":"app","containerID":"containerd://{ID}"}}]}}}}]}}"#
    )
}

/// A pod that serves, in a cgroup of its own.
fn serving(root: &Root) -> (Pod, u16) {
    let mut pod = Pod::new();
    let cgroup = root.container(UID, ID);
    cgroup.join(pod.pid());
    let (listener, address) = pod.listen("0.0.0.0:0");
    let listener: OwnedFd = listener.into();
    // The shell would take `/proc/self/exe` for itself.
    let program = env::current_exe().unwrap().display().to_string();
    let becomes =
        format!("export {SERVES}=1; exec \"$0\" --exact secret::a_copy_serves_who_shows_its_token");
    let pid = pod.hold(&["sh", "-c", &becomes, &program], listener);
    cgroup.join(pid);
    (pod, address.port())
}

#[test]
fn an_application_is_shown_the_token_that_its_pod_names_and_no_log_is() {
    world::here(async || {
        let (root, place) = (Root::new(usize::MAX), directory());
        let (pod, port) = serving(&root);
        let secret = format!(r#"{{"kind":"Secret","data":{{"token":"{TOKEN_64}"}}}}"#);
        let server = Server::start(&pods(port), &secret);
        let log = place.path().join("log");
        let kubeconfig = format!("--kubeconfig={}", server.kubeconfig(&place));
        let start = |flags: &[&str]| {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let free = free.and_then(|free| free.local_addr()).unwrap();
            let flags = [&[&*kubeconfig, "--node-name=n1", "--log=trace"], flags].concat();
            let log = fs::File::options().create(true).append(true).open(&log).unwrap();
            let running = Running::start_source(free, "kube", &flags, log);
            until("it is ready", || running.is_ready());
            running
        };

        // Where the settings do not name the namespace nothing is read, and nobody is asked without.
        let running = start(&[]);
        let page = || running.get("/pods/ns/a/metrics").unwrap();
        until("the reason is there", || page().contains("--secret-namespaces=ns"));
        assert!(!fs::read_to_string(&log).unwrap().contains("secrets/metrics"));
        drop(running);

        let mut running = start(&["--secret-namespaces=ns"]);
        let page = || running.get("/pods/ns/a/metrics").unwrap();
        let is_served = || page().contains("guarded_samples{container=\"app\"");
        until("it is served", is_served);

        // One watcher follows the other, and the page is there all the time.
        let (watcher, n_lists) = (running.child("merger-watcher").unwrap(), server.n_lists());
        signal(watcher, Signal::KILL);
        until("another watcher has asked", || {
            assert!(is_served(), "{}", page());
            server.n_lists() > n_lists
        });
        for _ in 0..50 {
            assert!(is_served(), "{}", page());
        }
        for path in ["/api/pods", "/metrics", "/sd", "/metrics/pods"] {
            let shown = running.get(path).unwrap();
            assert!(!shown.contains(TOKEN) && !shown.contains(TOKEN_64), "{shown}");
        }
        assert!(running.get("/api/pods").unwrap().contains("\"secret\":\"metrics\""));
        signal(running.broker(), Signal::TERM);
        assert_eq!(running.end().code(), Some(0));
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains("TRACE") && log.contains("a Secret is read"), "{log}");
        assert!(!log.contains(TOKEN) && !log.contains(TOKEN_64), "it is printed");
        drop(pod);
    });
}
