//! What a demo leaves on the machine, found by where it is and never by a process's name.

use std::{
    fmt,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{cgroup, pod::PODS};
use crate::shell;

/// The cgroup of everything in the demo that is not in a pod.
pub(super) const SERVICES: &str = "merger-demo";

/// The beginning of the names of the demo's network namespaces.
const PREFIX: &str = "merger-demo-";

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is.
#[derive(Default)]
pub(super) struct Leftovers {
    processes: Vec<i32>,
    namespaces: Vec<String>,
    cgroups: Vec<PathBuf>,
}

pub(super) fn find() -> Leftovers {
    let namespaces = namespaces();
    let cgroups = cgroups();
    let in_cgroups = cgroups.iter().flat_map(|directory| cgroup::processes(directory));
    let mut processes: Vec<i32> = in_cgroups.collect();
    for namespace in namespaces.iter().filter(|namespace| !is_our_own(namespace)) {
        let inside = shell::output(&mut shell::command(["ip", "netns", "pids", namespace]));
        processes
            .extend(inside.unwrap_or_default().lines().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    processes.sort_unstable();
    processes.dedup();
    Leftovers { processes, namespaces, cgroups }
}

/// Kills the processes, then removes the namespaces and the cgroups. What was left is in the answer.
///
/// With a namespace go its devices, rules and routes; with that of the bridge, all of the network.
/// `noted` are further cgroups that a demo made; of them only empty ones go.
pub(super) fn clear(noted: &[PathBuf]) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(left) = kill_all() {
        problems.push(format!("processes that do not end: {left:?}"));
    }
    let Leftovers { processes: _, namespaces, cgroups } = find();
    for namespace in namespaces {
        let deleted = shell::output(&mut shell::command(["ip", "netns", "delete", &namespace]));
        problems.extend(deleted.err().map(|error| error.to_string()));
    }
    let deadline = Instant::now() + PATIENCE;
    for directory in cgroups {
        let removed = remove_emptied(&directory, deadline);
        problems.extend(removed.err().map(|error| format!("{}: {error}", directory.display())));
    }
    for directory in noted.iter().rev() {
        // A parent that somebody else uses by now is theirs.
        let _ = std::fs::remove_dir(directory);
    }
    problems
}

fn kill_all() -> Result<(), Vec<i32>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find().processes;
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(found);
        }
        for pid in found.into_iter().filter_map(Pid::from_raw) {
            // It may have ended since.
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes a cgroup, which is busy for a moment after its last process ended.
fn remove_emptied(directory: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match cgroup::remove(directory) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            ended => return ended,
        }
    }
}

/// Whether a name stands for the namespace that this process is in, where everybody else is too.
fn is_our_own(namespace: &str) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(&Path::new("/run/netns").join(namespace)) == identity(Path::new("/proc/self/ns/net"))
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = Path::new("/run/netns").read_dir() else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

fn cgroups() -> Vec<PathBuf> {
    let pods = PODS.iter().map(|pod| format!("kubepods/burstable/pod{}", pod.uid));
    let names: Vec<String> = pods.chain([SERVICES.to_owned()]).collect();
    let roots = cgroup::hierarchies().unwrap_or_default();
    let all = roots.iter().flat_map(|root| names.iter().map(|name| root.join(name)));
    all.filter(|directory| directory.is_dir()).collect()
}

// === impl Leftovers ===

impl Leftovers {
    pub(super) fn is_empty(&self) -> bool {
        let Self { processes, namespaces, cgroups } = self;
        processes.is_empty() && namespaces.is_empty() && cgroups.is_empty()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, namespaces, cgroups } = self;
        let (n_processes, n_namespaces) = (processes.len(), namespaces.len());
        write!(f, "{n_processes} processes, {n_namespaces} namespaces, {} cgroups", cgroups.len())
    }
}
