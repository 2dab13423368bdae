//! A process of the demo: born in its cgroups, its namespace and its user, and bound to ours.
//!
//! The kernel kills it when the demo ends in whatever way (`PR_SET_PDEATHSIG`), and its cgroups let
//! the next demo find it if even that failed.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::shell;

/// How a process is born.
#[derive(Default)]
pub(super) struct Birth {
    /// The `cgroup.procs` files that it joins by.
    pub(super) cgroups: Vec<PathBuf>,
    /// The network namespace below /run/netns; none is this machine's.
    pub(super) netns: Option<String>,
    /// The user and group; none is root.
    pub(super) user: Option<u32>,
    /// A directory that it sees at another place, in a mount namespace of its own.
    pub(super) image: Option<(PathBuf, PathBuf)>,
}

/// A running process.
pub(super) struct Process {
    pub(super) name: String,
    child: Child,
    told: bool,
}

/// Joins the cgroups named up to `--`, then becomes what follows.
const JOIN: &str =
    r#"while [ "$1" != -- ]; do echo 0 >"$1" || exit 1; shift; done; shift; exec "$@""#;

/// Puts the first directory at the place of the second, then becomes what follows.
const MOUNT: &str = r#"mount --bind "$1" "$2" || exit 1; shift 2; exec "$@""#;

// === impl Birth ===

impl Birth {
    /// Starts a program; what it prints goes to a file of its name in `logs`.
    pub(super) fn give(
        self,
        name: String,
        program: &Path,
        arguments: &[&str],
        logs: &Path,
    ) -> anyhow::Result<Process> {
        let log = logs.join(format!("{}.log", name.replace('/', "-")));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = self.command();
        command.arg(program).args(arguments).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Process { name, child, told: false })
    }

    fn command(self) -> Command {
        let Self { cgroups, netns, user, image } = self;
        let mut command = shell::command(["sh", "-c", JOIN, "join"]);
        command.args(cgroups).arg("--");
        if let Some(netns) = netns {
            command.arg("nsenter").arg(format!("--net=/run/netns/{netns}"));
        }
        if let Some((directory, place)) = image {
            command
                .args(["unshare", "--mount", "sh", "-c", MOUNT, "mount"])
                .arg(directory)
                .arg(place);
        }
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        if let Some(user) = user {
            let id = user.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.arg("--");
        command
    }
}

// === impl Process ===

impl Process {
    /// Its state at the end, if it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The same, but only the first time that it is asked.
    pub(super) fn newly_ended(&mut self) -> bool {
        let newly = !self.told && self.ended().is_some();
        self.told |= newly;
        newly
    }

    /// The name of the program in it, once it is the one that was asked for.
    pub(super) fn program(&self) -> String {
        let file = format!("/proc/{}/comm", self.child.id());
        std::fs::read_to_string(file).unwrap_or_default().trim_end().to_owned()
    }

    /// Asks it to end, waits a little, and kills it.
    pub(super) fn stop(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Not reaped yet, so the id is still its own.
            let _ = self.ended().is_none().then(|| kill_process(pid, Signal::TERM));
        }
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    /// Kills it and waits for its end.
    pub(super) fn kill(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
