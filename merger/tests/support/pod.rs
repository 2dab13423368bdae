//! A pod as these tests see it: a network namespace, and a process that keeps it.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use merger::{identity::Cookie, netns::Netns};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::namespace;

/// Ends, with its namespace, when it is dropped.
#[derive(Debug)]
pub(crate) struct Pod {
    /// What tells its namespace from others here; see [`namespace::identity`].
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) cookie: Cookie,
    children: Vec<Child>,
}

// === impl Pod ===

impl Pod {
    /// Needs `CAP_SYS_ADMIN`, and `ip` and `sleep` of any Linux.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| -> io::Result<(Child, Cookie)> {
            enter_fresh()?;
            assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status()?.success());
            // Whoever reads what this test prints waits for everybody who could still write there.
            let mut pause = Command::new("sleep");
            let pause = pause.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
            let pause = pause.stderr(Stdio::null()).spawn()?;
            Ok((pause, namespace::identity(&Netns::own()?)?))
        });
        match made.join().expect("the thread does not panic: `ip` sets loopback up") {
            Ok((pause, cookie)) => Self { cookie, children: vec![pause] },
            Err(error) => panic!("cannot make a network namespace (CAP_SYS_ADMIN): {error}"),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.children[0].id()
    }

    /// The namespace, for a moment: whoever holds it open keeps it.
    pub(crate) fn netns(&self) -> Netns {
        Netns::of_pid(self.pid()).expect("the pause process runs until this is dropped")
    }

    /// Listens inside, held by this process.
    #[track_caller]
    pub(crate) fn listen(&self, address: &str) -> (TcpListener, SocketAddr) {
        let listener = self.netns().within(|| TcpListener::bind(address)).expect(address);
        let address = listener.local_addr().expect("a bound socket has an address");
        (listener, address)
    }

    /// Runs a command inside, as `ip netns exec` would.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let status = self.netns().within(|| Command::new(program).args(arguments).status());
        assert!(status.expect(program).success(), "{program} {arguments:?}");
    }

    /// Puts a command in the place of the pause process: the only process inside, until the input
    /// that is returned tells it otherwise.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    #[track_caller]
    pub(crate) fn become_process(&mut self, program: &str, arguments: &[&str]) -> ChildStdin {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        let mut child = self.netns().within(|| command.spawn()).expect(program);
        let stdin = child.stdin.take().expect("it is piped");
        self.children.insert(0, child);
        let mut pause = self.children.remove(1);
        pause.kill().expect("an own child may be killed");
        pause.wait().expect("an own child may be waited for");
        stdin
    }

    /// Gives a socket to a process of its own, which lives as long as the pod.
    pub(crate) fn hand_over(&mut self, socket: impl Into<OwnedFd>) -> u32 {
        self.hold(&["sleep", "600"], socket)
    }

    /// The same, where the process is to do something.
    #[track_caller]
    pub(crate) fn hold(&mut self, command: &[&str], socket: impl Into<OwnedFd>) -> u32 {
        let mut holder = Command::new(command[0]);
        let child = holder.args(&command[1..]).stdin(socket.into()).spawn().expect(command[0]);
        let pid = child.id();
        self.children.push(child);
        await_program(pid);
        pid
    }
}

/// Waits until a child has no more than its program begins with. Its parent goes on as soon as it has a
/// memory of its own; only then are the parent's descriptors closed, and after them it is named anew:
/// `begin_new_exec` in fs/exec.c.
fn await_program(pid: u32) {
    let name = |of: &str| fs::read_to_string(format!("/proc/{of}/comm"));
    let parents = name("thread-self").expect("a thread has a name");
    while name(&pid.to_string()).is_ok_and(|name| name == parents) {
        thread::yield_now();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().expect("an own child may be killed");
            child.wait().expect("an own child may be waited for");
        }
    }
}

#[expect(unsafe_code, reason = "rustix asks for a promise about threads that share a file table")]
fn enter_fresh() -> io::Result<()> {
    // SAFETY: without `FILES` no file descriptor is closed or copied under another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
