//! `merger run` as a program: what it started, and what can be seen of that from outside.

use std::{
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

/// How long anything of it is waited for: a guest that shares its cores loads the kernel part in seconds.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// What `merger run` started. It ends when this is dropped.
pub(crate) struct Running {
    broker: Child,
    pub(crate) address: SocketAddr,
}

// === impl Running ===

impl Running {
    /// Has begun to serve the pods of a directory, on a port that nobody else has.
    #[track_caller]
    pub(crate) fn start(pods: &Path) -> Self {
        Self::start_ready(pods, &[])
    }

    /// The same with flags.
    #[track_caller]
    pub(crate) fn start_ready(pods: &Path, flags: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let running = Self::start_with(free.expect("a port is free"), pods, flags);
        until("it is ready", || running.is_ready());
        running
    }

    pub(crate) fn start_with(address: SocketAddr, pods: &Path, arguments: &[&str]) -> Self {
        Self::start_telling(address, pods, arguments, Stdio::null())
    }

    /// The same, with a place for its log.
    pub(crate) fn start_telling(
        address: SocketAddr,
        pods: &Path,
        arguments: &[&str],
        log: impl Into<Stdio>,
    ) -> Self {
        Self::start_source(address, &format!("manifests:{}", pods.display()), arguments, log)
    }

    /// The same, of pods that come from elsewhere.
    pub(crate) fn start_source(
        address: SocketAddr,
        pods: &str,
        arguments: &[&str],
        log: impl Into<Stdio>,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
        command.arg("run").arg(format!("--pods={pods}")).args(arguments);
        command.arg(format!("--listen={address}")).stdin(Stdio::null()).stderr(log);
        Self { broker: command.spawn().expect("it was built for this"), address }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/ready").as_deref() == Some("ready\n")
    }

    pub(crate) fn broker(&self) -> u32 {
        self.broker.id()
    }

    /// The child of the broker that is the agent by now.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn agent(&self) -> Option<u32> {
        self.child("merger-agent")
    }

    /// The child of this name, once there is one.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn child(&self, name: &str) -> Option<u32> {
        let broker = self.broker();
        let children = fs::read_to_string(format!("/proc/{broker}/task/{broker}/children")).ok()?;
        let called = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm"));
        let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        children.find(|pid| called(pid).is_ok_and(|called| called.trim_end() == name))
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get(self.address, path)
    }

    /// The programs of the kernel part, by the links that the broker holds.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn programs(&self) -> Vec<String> {
        let directory = format!("/proc/{}/fdinfo", self.broker());
        let texts = fs::read_dir(directory).into_iter().flatten().flatten();
        let texts = texts.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let program = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
            Some(line.trim().to_owned())
        };
        texts.filter_map(program).collect()
    }

    /// What the descriptors of a process are, but for its input, which is the channel, and its outputs.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn descriptors(pid: u32) -> Vec<String> {
        let directory = format!("/proc/{pid}/fd");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let others = entries.filter(|entry| {
            let number: u32 = entry.file_name().to_string_lossy().parse().unwrap_or_default();
            number > 2
        });
        let links = others.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            match self.broker.try_wait().expect("an own child") {
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

/// The body of an answer, whatever its status. Nothing where nobody answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// A directory of pods that the agent, which is another user, may read.
pub(crate) fn directory() -> TempDir {
    let pods = TempDir::new().expect("a place for files");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(pods.path(), mode).expect("an own directory");
    pods
}

#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It may have ended by itself.
    let _ = kill_process(pid.expect("a process has a number"), signal);
}

#[allow(dead_code, reason = "not every program of tests needs it")]
pub(crate) fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
