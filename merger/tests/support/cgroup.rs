//! Cgroups as a kubelet makes them, below one of this test's own, in the hierarchies of this machine:
//! v1, v2 or both.
//!
//! Everything is done by descriptors: a path below a cgroup may be longer than the kernel takes.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::OwnedFd,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, open, openat, unlinkat},
    io::Errno,
};

/// A root of cgroups that is removed, with all below it, when this is dropped. Nobody may be in there
/// any more by then.
#[derive(Debug)]
pub(crate) struct Root {
    cgroup: Cgroup,
    hierarchies: Vec<OwnedFd>,
    name: String,
}

/// A cgroup, in each of its root's hierarchies.
#[derive(Debug)]
pub(crate) struct Cgroup(Vec<OwnedFd>);

// === impl Root ===

impl Root {
    /// In every hierarchy that can be written, or in the first `n` of them. Needs root.
    #[track_caller]
    pub(crate) fn new(n: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let hierarchies: Vec<OwnedFd> = in_mounts(&mounts)
            .into_iter()
            .take(n)
            .map(|path| {
                open(path, DIRECTORY, Mode::empty())
                    .unwrap_or_else(|error| panic!("{path}: {error}"))
            })
            .collect();
        assert!(!hierarchies.is_empty(), "no writable cgroup hierarchy below /sys/fs/cgroup");
        let name = format!("merger-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Cgroup(hierarchies.iter().map(|at| make(at, name.as_bytes())).collect());
        Self { cgroup, hierarchies, name }
    }

    /// The cgroup of a container, as a kubelet with the driver cgroupfs makes it.
    #[track_caller]
    pub(crate) fn container(&self, pod_uid: &str, id: &str) -> Cgroup {
        self.cgroup.child(format!("kubepods/burstable/pod{pod_uid}/{id}").as_bytes())
    }

    /// Removes what [`Self::container`] has made of a pod.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn remove_pod(&self, pod_uid: &str) {
        for at in &self.cgroup.child(b"kubepods/burstable").0 {
            remove(at, format!("pod{pod_uid}").as_bytes());
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for at in &self.hierarchies {
            remove(at, self.name.as_bytes());
        }
    }
}

// === impl Cgroup ===

impl Cgroup {
    /// The cgroup of this path below; what is missing of it is made.
    #[track_caller]
    pub(crate) fn child(&self, path: &[u8]) -> Self {
        Self(self.0.iter().map(|at| make(at, path)).collect())
    }

    /// Moves a process here.
    #[track_caller]
    pub(crate) fn join(&self, pid: u32) {
        for at in &self.0 {
            let procs = openat(at, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let mut procs = File::from(procs.expect("every cgroup has this file"));
            procs.write_all(pid.to_string().as_bytes()).expect("root moves what it likes");
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn make(at: &OwnedFd, path: &[u8]) -> OwnedFd {
    let open = |at: &OwnedFd, name: &[u8]| {
        openat(at, name, DIRECTORY, Mode::empty())
            .unwrap_or_else(|error| panic!("{}: {error}", name.escape_ascii()))
    };
    let mut made = open(at, b".");
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        match mkdirat(&made, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => made = open(&made, name),
            Err(error) => panic!("{}: {error}", name.escape_ascii()),
        }
    }
    made
}

/// A process that has just been killed is still in its cgroup for a moment.
fn remove(at: &OwnedFd, name: &[u8]) {
    let Ok(inside) = openat(at, name, DIRECTORY, Mode::empty()) else { return };
    let entries = Dir::read_from(&inside).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type() == FileType::Directory) {
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove(&inside, name);
        }
    }
    while let Err(Errno::BUSY) = unlinkat(at, name, AtFlags::REMOVEDIR) {
        std::thread::yield_now();
    }
}

/// The mount points of the hierarchies that can be written, v2 first. A new cgroup of v1's cpuset lets
/// nobody in before it has processors, so that one is left out.
fn in_mounts(mounts: &str) -> Vec<&str> {
    let mut found: Vec<(&str, &str)> = mounts
        .lines()
        .filter_map(|line| {
            let [_, at, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            let is_one = matches!(kind, "cgroup" | "cgroup2") && at.starts_with("/sys/fs/cgroup");
            let mut options = options.split(',');
            let is_usable = options.clone().any(|o| o == "rw") && options.all(|o| o != "cpuset");
            (is_one && is_usable).then_some((kind, at))
        })
        .collect();
    found.sort_by_key(|(kind, _)| *kind != "cgroup2");
    found.into_iter().map(|(_, at)| at).collect()
}
