//! `merger run` as it runs on a node: a broker and an agent, each with its rights, each killed.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{DEADLINE, world};

/// What `merger run` started. It ends when this is dropped.
struct Running {
    broker: Child,
    address: SocketAddr,
    /// It is read as long as the agent lives.
    _pods: TempDir,
}

/// The words behind a name of `/proc/<pid>/status`.
type Status = BTreeMap<String, String>;

// === impl Running ===

impl Running {
    /// Has begun to serve.
    #[track_caller]
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let running = Self::start_at(free.unwrap());
        until("it is ready", || running.get("/ready").as_deref() == Some("ready\n"));
        running
    }

    fn start_at(address: SocketAddr) -> Self {
        let pods = TempDir::new().unwrap();
        // The agent is another user.
        fs::set_permissions(pods.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
        command.arg("run").arg(format!("--pods=manifests:{}", pods.path().display()));
        command.arg(format!("--listen={address}")).stdin(Stdio::null()).stderr(Stdio::null());
        Self { broker: command.spawn().unwrap(), address, _pods: pods }
    }

    fn broker(&self) -> u32 {
        self.broker.id()
    }

    /// The only child that the broker has, once there is one.
    fn agent(&self) -> Option<u32> {
        let broker = self.broker();
        let children = fs::read_to_string(format!("/proc/{broker}/task/{broker}/children")).ok()?;
        let mut children = children.split_whitespace();
        let agent = children.next()?.parse().ok()?;
        assert_eq!(children.next(), None, "the loader has ended");
        Some(agent)
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// The programs of the kernel part, by the links that the broker holds.
    fn programs(&self) -> Vec<String> {
        let directory = format!("/proc/{}/fdinfo", self.broker());
        let texts = fs::read_dir(directory).unwrap().flatten();
        let texts = texts.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let program = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
            Some(line.trim().to_owned())
        };
        texts.filter_map(program).collect()
    }

    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            match self.broker.try_wait().unwrap() {
                Some(status) => return status,
                None if start.elapsed() > DEADLINE => panic!("the broker does not end"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn status(pid: u32) -> Status {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, words)| (name.to_owned(), words.trim().to_owned())).collect()
}

#[track_caller]
fn check(status: &Status, expected: &[(&str, &str)]) {
    for (name, words) in expected {
        assert_eq!(status[*name], *words, "{name}");
    }
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn the_agent_holds_no_right_and_the_broker_what_namespaces_take() {
    world::here(async || {
        let running = Running::start();
        let agent = status(running.agent().unwrap());
        let none = "0000000000000000";
        check(
            &agent,
            &[
                ("Uid", "65532\t65532\t65532\t65532"),
                ("Gid", "65532\t65532\t65532\t65532"),
                ("Groups", ""),
                ("CapInh", none),
                ("CapPrm", none),
                ("CapEff", none),
                ("CapAmb", none),
                ("NoNewPrivs", "1"),
                ("Seccomp", "2"),
            ],
        );
        // CAP_SYS_ADMIN and CAP_SYS_PTRACE; CAP_SETUID and CAP_SETGID in store.
        let broker = status(running.broker());
        let (effective, permitted) = ("0000000000280000", "00000000002800c0");
        let expected =
            [("CapInh", none), ("CapPrm", permitted), ("CapEff", effective), ("NoNewPrivs", "1")];
        check(&broker, &expected);
        check(&broker, &[("Threads", "1")]);
        let metrics = running.get("/metrics").unwrap();
        for sample in ["capabilities 0", "no_new_privs 1", "seccomp_mode 2"] {
            assert!(metrics.contains(&format!("\nmerger_agent_{sample}\n")), "{sample}: {metrics}");
        }
    });
}

#[test]
fn an_agent_that_is_killed_is_followed_by_another() {
    world::here(async || {
        let running = Running::start();
        let (first, programs) = (running.agent().unwrap(), running.programs());
        signal(first, Signal::KILL);
        until("another agent", || running.agent().is_some_and(|agent| agent != first));
        until("it serves", || running.get("/ready").as_deref() == Some("ready\n"));
        assert_eq!(running.programs(), programs, "nothing is loaded anew");
        assert_eq!(programs.len(), 2, "{programs:?}");
    });
}

#[test]
fn everything_ends_with_the_broker() {
    world::here(async || {
        let mut running = Running::start();
        let (agent, programs) = (running.agent().unwrap(), running.programs());
        let is_loaded = |program: &String| {
            let mut bpftool = Command::new("bpftool");
            bpftool
                .args(["prog", "show", "id", program])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            bpftool.status().expect("bpftool, by `cargo xtask setup`").success()
        };
        assert!(programs.iter().all(is_loaded));
        signal(running.broker(), Signal::KILL);
        running.end();
        until("the agent is gone", || !is_there(agent));
        // The kernel frees them a moment later.
        until("the programs are gone", || !programs.iter().any(is_loaded));
    });
}

#[test]
fn a_signal_to_the_broker_drains_the_agent_and_ends_both() {
    world::here(async || {
        for stop in [Signal::TERM, Signal::INT] {
            let mut running = Running::start();
            let agent = running.agent().unwrap();
            signal(running.broker(), stop);
            assert_eq!(running.end().code(), Some(0));
            assert!(!is_there(agent));
        }
    });
}

#[test]
fn an_agent_that_cannot_begin_is_not_started_again() {
    world::here(async || {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut running = Running::start_at(taken.local_addr().unwrap());
        assert_eq!(running.end().code(), Some(1));
    });
}

#[test]
fn pods_that_the_agent_may_not_read_are_named() {
    world::here(async || {
        let pods = TempDir::new().unwrap();
        fs::set_permissions(pods.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
        command.arg("run").arg(format!("--pods=manifests:{}", pods.path().display()));
        let output = command.arg("--listen=127.0.0.1:0").output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("user 65532") && log.contains(pods.path().to_str().unwrap()), "{log}");
    });
}
