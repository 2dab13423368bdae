//! `merger run` as it runs on a node, among processes of users that are not root, as most pods' are.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use merger::{
    listeners::Rung,
    node::{Options, Rungs},
    target::Doubt,
};
use tempfile::TempDir;

use super::{
    cgroup::Root,
    namespace::{is_guest, look},
    offered::rungs,
    pod::Pod,
    running::{Running, directory, until},
    start_with, world,
};

/// By this name a user needs no way to the program, which may be where only root is.
const PROGRAM: &str = "/proc/self/exe";

/// Set in the copy of this program that serves, to the name of its one sample.
const SERVES: &str = "MERGER_TEST_SERVES";

/// Set beside it where the first thread of the copy is to end before it serves.
const HEADLESS: &str = "MERGER_TEST_HEADLESS";

const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";
const OWN: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
const FOREIGN: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d82";
const HEADLESS_FOREIGN: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d84";
const HOST: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d83";

/// A process of a user, which serves one sample on a listener that it alone holds.
struct Serving(Child);

// === impl Serving ===

impl Serving {
    fn start(user: u32, sample: &str, listener: TcpListener) -> Self {
        Self::start_as(Command::new(PROGRAM), user, sample, listener)
    }

    /// The same where the first thread of the process ends at once.
    fn start_headless(user: u32, sample: &str, listener: TcpListener) -> Self {
        let mut copy = Command::new(PROGRAM);
        copy.env(HEADLESS, "1");
        let serving = Self::start_as(copy, user, sample, listener);
        until("its first thread has ended", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", serving.pid())).unwrap();
            stat.contains(") Z ")
        });
        serving
    }

    fn start_as(mut copy: Command, user: u32, sample: &str, listener: TcpListener) -> Self {
        copy.args(["--exact", "strangers::a_copy_serves_what_it_is_told", "--nocapture"]);
        copy.env(SERVES, sample).uid(user).gid(user);
        copy.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener))).stdout(Stdio::null());
        Self(copy.spawn().expect("a copy of this program starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().expect("an own child may be killed");
        self.0.wait().expect("an own child may be waited for");
    }
}

#[test]
fn a_copy_serves_what_it_is_told() {
    let Some(sample) = env::var_os(SERVES) else { return };
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let body = format!("{} 1\n", sample.to_str().unwrap());
    let serve = move || loop {
        // A client that goes away early is no reason to end.
        let _ = listener.accept().and_then(|(stream, _)| serve_one(stream, &body));
    };
    if env::var_os(HEADLESS).is_some() {
        end_first_thread();
    }
    serve();
}

/// Ends the thread that waits for this one, and nothing with it.
#[expect(unsafe_code, reason = "no wrapper ends a thread alone")]
fn end_first_thread() {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: nobody waits for the thread, or uses what is on its stack.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let first = process::id();
    // SAFETY: the handler makes one system call, and it is the first thread alone that is signalled.
    unsafe {
        libc::signal(libc::SIGUSR1, end as extern "C" fn(libc::c_int) as libc::sighandler_t);
        libc::syscall(libc::SYS_tgkill, first, first, libc::SIGUSR1);
    }
}

fn serve_one(mut stream: TcpStream, body: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut request, mut n) = ([0; 4096], 0);
    while !request[..n].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[n..])? {
            0 => return Ok(()),
            read => n += read,
        }
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Pods whose processes are not root's: one that serves, two in whose namespaces somebody else serves,
/// and one of the host's network.
struct Node {
    /// The pods in which somebody else does, and who.
    foreign: [(&'static str, u32); 2],
    pods: TempDir,
    _serving: Vec<Serving>,
    _pods: [Pod; 3],
    _root: Root,
}

// === impl Node ===

impl Node {
    fn new() -> Self {
        let root = Root::new(usize::MAX);
        let [own, victim, second] = [Pod::new(), Pod::new(), Pod::new()];
        root.container(OWN, ID).join(own.pid());
        root.container(FOREIGN, ID).join(victim.pid());
        root.container(HEADLESS_FOREIGN, ID).join(second.pid());
        let (listener, _) = own.listen("0.0.0.0:9100");
        let served = own.netns().within(|| Ok(Serving::start(1000, "own_samples", listener)));
        let served = served.unwrap();
        root.container(OWN, ID).join(served.pid());
        let foreign = Serving::start(1000, "foreign_samples", victim.listen("0.0.0.0:9100").0);
        let listener = second.listen("0.0.0.0:9100").0;
        let headless = Serving::start_headless(1000, "foreign_samples", listener);
        let of_host = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = of_host.local_addr().unwrap().port();
        let host = Serving::start(65532, "host_samples", of_host);
        root.container(HOST, ID).join(host.pid());
        let pods = directory();
        manifest(&pods, "own", OWN, 9100);
        manifest(&pods, "victim", FOREIGN, 9100);
        manifest(&pods, "second", HEADLESS_FOREIGN, 9100);
        manifest(&pods, "host", HOST, port);
        let foreign_pids = [("victim", foreign.pid()), ("second", headless.pid())];
        let (serving, all) = (vec![served, foreign, headless, host], [own, victim, second]);
        Self { foreign: foreign_pids, pods, _serving: serving, _pods: all, _root: root }
    }

    /// What it looks like with these flags, and what is told of it.
    #[track_caller]
    fn check(&self, flags: &[&str], rung: Rung) {
        let running = Running::start_ready(self.pods.path(), flags);
        let page = |pod: &str| running.get(&format!("/pods/shop/{pod}/metrics")).unwrap();
        let has = |pod: &str, sample: &str| {
            page(pod).lines().any(|line| line.starts_with(sample) && line.ends_with(" 1"))
        };
        until(&format!("{flags:?}: the pod's own"), || has("own", "own_samples{"));
        until(&format!("{flags:?}: the host's"), || has("host", "host_samples{"));
        for (pod, pid) in self.foreign {
            let (page, reason) = (page(pod), format!("process {pid}, which is not of this pod"));
            assert!(page.contains(&reason), "{flags:?}: {reason}: {page}");
            assert!(!page.contains("foreign_samples"), "{flags:?}: {page}");
        }
        let metrics = running.get("/metrics").unwrap();
        let told = format!("\nmerger_rung{{name=\"{rung}\"}} {}\n", rung.number());
        assert!(metrics.contains(&told), "{flags:?}: {metrics}");
        let age =
            metrics.lines().find_map(|line| line.strip_prefix("merger_snapshot_age_seconds "));
        let age: f64 = age.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
        assert!((0.0..60.0).contains(&age), "{flags:?}: {age}");
    }
}

fn manifest(pods: &TempDir, name: &str, uid: &str, port: u16) {
    let text = format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: shop
  uid: {uid}
  annotations: {{prometheus.io/scrape: "true", prometheus.io/port: "{port}"}}
spec:
  containers:
  - {{name: app, image: x}}
"#
    );
    fs::write(pods.path().join(format!("{name}.yaml")), text).unwrap();
}

#[test]
fn each_rung_knows_whose_the_listeners_of_other_users_are() {
    world::here(async || {
        let node = Node::new();
        // In a guest by the best one and the last.
        let step = if is_guest() { rungs().len() - 1 } else { 1 };
        for rung in rungs().into_iter().step_by(step.max(1)) {
            node.check(&["--host-network", &format!("--listeners={rung}")], rung);
        }
    });
}

#[test]
fn one_process_knows_it_as_well() {
    world::here(async || {
        Node::new().check(&["--host-network", "--single-process"], rungs()[0]);
    });
}

/// Who has not the first has not to have the second, which is more.
const BLIND: [&str; 3] = ["setpriv", "--bounding-set", "-dac_read_search,-dac_override"];

#[test]
fn a_right_over_them_that_is_missing_is_named_before_anything_is_loaded() {
    world::here(async || {
        let pods = directory();
        let run = ["run", "--listen=127.0.0.1:0"];
        let pods = format!("--pods=manifests:{}", pods.path().display());
        let missing =
            |right: &str| format!("cannot deal with processes of other users: missing CAP_{right}");
        let no_user = "cannot become user 65532: needs CAP_SETUID and CAP_SETGID".to_owned();
        for (without, reason) in [
            (BLIND[2], missing("DAC_READ_SEARCH")),
            ("-sys_ptrace", missing("SYS_PTRACE")),
            ("-kill", missing("KILL")),
            ("-setuid", no_user.clone()),
            ("-setgid", no_user),
        ] {
            let mut command = Command::new("setpriv");
            let command = command.args(["--bounding-set", without, env!("CARGO_BIN_EXE_merger")]);
            let output = command.args(run).arg(&pods).output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{log}");
            assert!(log.contains(&reason) && !log.contains("agent is started"), "{log}");
        }
    });
}

#[test]
fn the_rights_of_a_broker_that_is_not_root_are_tried_on_another_user_as_well() {
    world::here(async || {
        for id in [1000, 65532] {
            let pods = directory();
            let without = "-all,+sys_admin,+sys_ptrace,+kill,+setuid,+setgid";
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={id}"), format!("--regid={id}")]).arg("--clear-groups");
            command.arg(format!("--inh-caps={without}")).arg(format!("--ambient-caps={without}"));
            command.args([env!("CARGO_BIN_EXE_merger"), "run", "--listen=127.0.0.1:0"]);
            command.arg(format!("--pods=manifests:{}", pods.path().display()));
            let output = command.output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            let missing = "cannot deal with processes of other users: missing CAP_DAC_READ_SEARCH";
            assert!(log.contains(missing), "{id}: {log}");
        }
    });
}

#[test]
fn whose_files_cannot_be_seen_may_hold_any_listener() {
    let test = "strangers::whose_files_cannot_be_seen_may_hold_any_listener";
    world::inside(test, &BLIND, "root", async || {
        let pod = Pod::new();
        let _serving = Serving::start(1000, "hidden_samples", pod.listen("0.0.0.0:9100").0);
        for rung in rungs() {
            let (node, _changes) =
                start_with(Options { rung: Rungs::Only(rung), ..Options::default() });
            let listeners = look(&node).await.listeners;
            let is_in_doubt = |doubt: &Option<Doubt>| {
                let hidden = doubt.as_ref().map(ToString::to_string);
                hidden.is_some_and(|words| words.contains("missing CAP_DAC_READ_SEARCH"))
            };
            let in_doubt = listeners.iter().filter(|one| is_in_doubt(&one.doubt)).count();
            let all = if rung == Rung::Ebpf { 0 } else { listeners.len() };
            assert_eq!(in_doubt, all, "{rung}: {listeners:?}");
        }
    });
}
