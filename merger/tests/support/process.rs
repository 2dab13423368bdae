//! A server of another project, for one test.

use std::{
    fmt::Debug,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server(Child);

// === impl Server ===

impl Server {
    /// Starts a program, and waits until it listens there.
    #[track_caller]
    pub(crate) fn start(mut command: Command, address: SocketAddr) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{command:?}: {error}: run `cargo xtask setup`"));
        let mut server = Self(child);
        server.wait(&format!("{command:?} listens on {address}"), || {
            TcpStream::connect(address).ok()
        });
        server
    }

    /// Asks until there is an answer.
    #[track_caller]
    pub(crate) fn wait<T>(&mut self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let ended = self.0.try_wait().expect("an own child may be waited for");
            assert!(ended.is_none(), "{what}: it ended: {ended:?}");
            assert!(start.elapsed() < Duration::from_mins(1), "{what}: not within a minute");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
