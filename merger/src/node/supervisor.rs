//! The broker as a process: the parent of the agent, which it starts, stops and starts again.
//!
//! It lives as long as the node is to be served. An agent that is killed, or that misbehaves, is
//! followed by another, which finds the kernel part and the namespaces as they were. One that ends
//! by itself before it has asked for anything could not begin, and ends the broker with its code.

use std::{
    env,
    ffi::OsStr,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::{
    cause::chain,
    node::{
        Apart, Error, Options,
        broker::{self, Broker, Signals},
        channel, confinement, footprint, stranger,
    },
};

/// The program, whatever became of its file meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// The flag that says which part of merger a process is, behind the arguments of its parent.
pub const PART: &str = "--part";

/// An agent that has lived this long is followed by the next at once.
const STEADY: Duration = Duration::from_secs(1);

/// How long the next waits where the last did not live that long.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a part may take to end after its channel was closed; then it is killed. An agent that is
/// told to stop may take as long as its readers do before.
pub(crate) const END: Duration = Duration::from_secs(5);

/// Which part of merger a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Loads the kernel part, hands it over, and ends.
    Loader,
    /// Is another user, and is looked at.
    Stranger,
    /// Reads metrics, merges and serves them.
    Agent,
    /// Looks for the pods, and tells the agent.
    Watcher,
}

/// The signals that ask the program to stop, as something that can be waited for.
struct Stop {
    /// A byte for each signal.
    signals: UnixStream,
    /// Those that have come so far.
    n_signals: usize,
}

/// Starts agents and serves each until it is gone. Gives the exit code of the program.
pub fn run(options: Options) -> Result<u8, Error> {
    confinement::keep_descriptors().map_err(Error::Descriptors)?;
    let mut stop = Stop::listen().map_err(Error::Signals)?;
    confinement::act_as_broker()?;
    // Who lacks the first right lacks those over other users' processes as well, which say less.
    broker::enter()?;
    stranger::try_rights()?;
    let apart = Apart { loader: true, ..options.apart };
    let mut broker = Broker::open(Options { apart, ..options })?;
    confinement::become_broker()?;
    footprint::forget_start();
    loop {
        let start = Instant::now();
        let (agent, end) = start_agent().map_err(Error::Agent)?;
        tracing::info!(pid = agent.id(), "the agent is started");
        let ended = broker.serve(&end, Some(&mut stop));
        drop(end);
        let status = wait(agent, "agent", END).map_err(Error::Agent)?;
        let has_begun = broker.has_shown();
        if stop.n_signals > 0 || (!has_begun && status.code().is_some()) {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        tracing::warn!(%status, why = chain(&ended), "the agent has ended and is started again");
        if start.elapsed() < STEADY {
            thread::sleep(PAUSE);
        }
    }
}

/// The channel to the broker that this process was given as its input.
pub fn inherited() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// This program again, as another part, with the other end of the channel as its input.
pub(crate) fn start_part(part: &str) -> io::Result<(Child, OwnedFd)> {
    let [here, there] = channel::pair()?;
    let arguments = env::args_os().skip(1);
    // What else is in there is nobody's business who parses what pods wrote.
    let is_ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        ["MERGER_", "RUST_", "KUBERNETES_SERVICE_"].iter().any(|ours| name.starts_with(ours))
            || ["KUBECONFIG", "HOME"].contains(&&*name)
    };
    let variables = env::vars_os().filter(|(name, _)| is_ours(name));
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args([PART, part]).env_clear().envs(variables);
    command.stdin(Stdio::from(there));
    Ok((command.spawn()?, here))
}

fn start_agent() -> io::Result<(Child, OwnedFd)> {
    start_part("agent")
}

/// Waits for a part that has no reason to go on, and ends one that does for longer than `limit`. One that does
/// not end by that either (it may wait for a disk that does not answer) is an error, after as long again.
pub(crate) fn wait(mut child: Child, part: &str, limit: Duration) -> io::Result<ExitStatus> {
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    if let Some(status) = ended_within(&mut child, &ended, limit)? {
        return Ok(status);
    }
    tracing::warn!("the {part} does not end within {limit:?} and is killed");
    child.kill()?;
    let status = ended_within(&mut child, &ended, limit)?;
    let goes_on = || format!("the {part} was killed and does not end: what does it wait for?");
    status.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, goes_on()))
}

fn ended_within(
    child: &mut Child,
    ended: &OwnedFd,
    limit: Duration,
) -> io::Result<Option<ExitStatus>> {
    let mut polled = [PollFd::new(ended, PollFlags::IN)];
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A signal interrupts the wait, and does not end it.
        let polled = poll(&mut polled, Timespec::try_from(left).ok().as_ref());
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if polled == Ok(0) {
            return Ok(None);
        }
    }
}

// === impl Stop ===

impl Stop {
    fn listen() -> io::Result<Self> {
        let (signals, written) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            pipe::register(signal, written.try_clone()?)?;
        }
        Ok(Self { signals, n_signals: 0 })
    }
}

impl Signals for Stop {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    fn take(&mut self) -> bool {
        let n = self.signals.read(&mut [0; 8]).unwrap_or_default();
        let before = self.n_signals;
        self.n_signals += n;
        if before > 0 && n > 0 {
            tracing::info!("a second signal: the agent ends with the broker, at once");
            std::process::exit(130);
        }
        n > 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[track_caller]
    fn check(program: &str, arguments: &[&str], limit: Duration) -> ExitStatus {
        let child = Command::new(program).args(arguments).spawn().unwrap();
        wait(child, "loader", limit).unwrap()
    }

    #[test]
    fn a_part_that_ends_is_waited_for() {
        assert_eq!(check("sh", &["-c", "exit 7"], END).code(), Some(7));
    }

    #[test]
    fn one_that_does_not_is_killed() {
        let status = check("sleep", &["600"], Duration::from_millis(10));
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
}
