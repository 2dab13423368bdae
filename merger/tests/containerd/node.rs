//! A node with a containerd of its own: files, network and processes that are nobody else's.
//!
//! It is in a mount and a network namespace, which a janitor holds. Whatever ends a test, the janitor
//! sees it and clears up: containerd, shims, containers, mounts, namespaces, cgroups and files.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use merger::netns::Netns;

use super::{image, running::until, runtime::Runtime};

const JANITOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containerd/janitor.sh");

/// Ends, with everything on it, when it is dropped.
pub(crate) struct Node {
    pub(crate) directory: PathBuf,
    janitor: Child,
    /// The process whose namespaces are those of the node.
    holder: u32,
    /// What the uids of its pods begin with.
    uids: String,
}

// === impl Node ===

impl Node {
    /// Runs, with the images that pods are made of. Needs root, and what `cargo xtask setup` installs.
    #[track_caller]
    pub(crate) fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{pid}-{n}"));
        let uids = format!("{pid:08x}-{n:04x}-4000-8000-");
        fs::create_dir_all(directory.join("cni")).unwrap();
        // Whoever is orphaned on the node is its child, so that none is left as a zombie.
        let mut janitor = Command::new("catatonit");
        janitor.args(["--", "sh", JANITOR, "outside"]).arg(&directory).arg(&uids);
        // In a group of its own Ctrl-C does not reach it.
        let janitor = janitor.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut janitor = janitor.spawn().expect("catatonit is there: run `cargo xtask setup`");
        let mut holder = String::new();
        BufReader::new(janitor.stdout.take().unwrap()).read_line(&mut holder).unwrap();
        let holder = holder.trim().parse().expect("a node needs root, `unshare`, `mount` and `ip`");
        let mut node = Self { directory, janitor, holder, uids };
        node.configure();
        node.start_containerd();
        for image in [image::PAUSE, image::BUSYBOX] {
            image.import(&node);
        }
        node
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// Calls of its runtime.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::connect(&self.socket())
    }

    /// The uid of a pod that nobody else has.
    pub(crate) fn uid(&self, n: u32) -> String {
        format!("{}{n:012x}", self.uids)
    }

    /// The namespace where the node's end of the pods' network is: outside of every pod.
    pub(crate) fn netns(&self) -> Netns {
        Netns::of_pid(self.holder).expect("the janitor lives")
    }

    /// Starts it, or starts it again beside what it has left running.
    #[track_caller]
    pub(crate) fn start_containerd(&mut self) {
        self.order("start");
        until("containerd answers: its log is in the node's directory", || {
            Runtime::try_connect(&self.socket()).is_some_and(|mut runtime| runtime.is_ready())
        });
    }

    /// As a fault does it: containers and their shims live on.
    #[track_caller]
    pub(crate) fn kill_containerd(&mut self) {
        self.order("kill");
        until("containerd is gone", || Runtime::try_connect(&self.socket()).is_none());
    }

    fn order(&mut self, what: &str) {
        let orders = self.janitor.stdin.as_mut().expect("it is open until the node ends");
        writeln!(orders, "{what}").expect("the janitor lives");
    }

    fn configure(&self) {
        let directory = self.directory.display().to_string();
        for (file, text) in [
            ("config.toml", include_str!("config.toml")),
            ("cni/10-bridge.conflist", include_str!("bridge.json")),
        ] {
            fs::write(self.directory.join(file), text.replace("DIRECTORY", &directory)).unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
        // A second failure would hide the first.
        if !std::thread::panicking() {
            assert_eq!(left_behind(&self.directory, &self.uids), Vec::<String>::new());
        }
    }
}

/// What is still there of a node that has ended.
pub(crate) fn left_behind(directory: &Path, uids: &str) -> Vec<String> {
    let mut left = vec![];
    if directory.exists() {
        left.push(directory.display().to_string());
    }
    let of_node = directory.display().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // Containers have their pod's uid in their cgroup, the others the directory in their arguments.
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if read("cgroup").contains(uids) || read("cmdline").contains(&of_node) {
            left.push(format!("process {}", read("cmdline").replace('\0', " ")));
        }
    }
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-name", &format!("pod{uids}*")]);
    let cgroups = find.output().unwrap().stdout;
    left.extend(String::from_utf8_lossy(&cgroups).lines().map(str::to_owned));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&of_node)).map(str::to_owned));
    left
}
