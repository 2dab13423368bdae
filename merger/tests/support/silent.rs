//! A pod that takes a connection and says nothing more, by rules of its own: what becomes of its network
//! namespace when it ends while it is being scraped.
//!
//! The pod has one end of a virtual wire, and the other end is here: it is gone when the kernel has
//! destroyed the namespace, and whoever looks at it holds nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{cgroup::Root, pod::Pod, running::until};

/// How a pod is silent: a rule for the packets that reach its port.
pub(crate) const SILENCES: [(&str, &str); 2] = [
    ("drops what would begin a connection", "tcp flags & (syn|ack) == syn"),
    ("drops all that follows the handshake", "tcp flags & (syn|ack) == ack"),
];

/// A pod with a manifest.
pub(crate) struct Silent {
    pod: Pod,
    uid: String,
    port: u16,
    wire: String,
    manifest: PathBuf,
}

// === impl Silent ===

impl Silent {
    /// Makes one that listens, in a cgroup of `root`, and tells of it in the directory `pods`.
    #[track_caller]
    pub(crate) fn new(root: &Root, pods: &Path, rule: &str) -> Self {
        let mut pod = Pod::new();
        let (pid, id) = (pod.pid(), "0123456789ab");
        let uid = format!("6d657267-6572-4000-9000-{pid:012}");
        let cgroup = root.container(&uid, id);
        cgroup.join(pid);
        let (listener, address) = pod.listen("0.0.0.0:0");
        // Nobody ever accepts: what the kernel does by itself is enough.
        cgroup.join(pod.hand_over(listener));
        let (port, wire) = (address.port(), format!("m{pid}"));
        let link = ["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns"];
        let made = Command::new("ip").args(link).arg(pid.to_string()).status();
        assert!(made.expect("ip is of any Linux").success(), "a virtual wire can be made");
        let input = "type filter hook input priority 0";
        pod.run(
            "nft",
            &[&format!("table inet t {{ chain i {{ {input}; tcp dport {port} {rule} drop; }}; }}")],
        );
        let manifest = pods.join(format!("{wire}.yaml"));
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {wire}\n  namespace: silent\n  uid: {uid}\n  \
             annotations:\n    prometheus.io/scrape: \"true\"\n    prometheus.io/port: \"{port}\"\n\
             spec:\n  containers:\n    - name: app\n      image: x\n"
        );
        fs::write(&manifest, text).expect("an own directory");
        Self { pod, uid, port, wire, manifest }
    }

    /// Where its page is.
    pub(crate) fn page(&self) -> String {
        format!("/pods/silent/{}/metrics", self.wire)
    }

    /// Waits until somebody has begun a connection to it.
    #[track_caller]
    pub(crate) fn await_connection(&self) {
        let table = format!("/proc/{}/net/tcp", self.pod.pid());
        let remote = format!(":{:04X}", self.port);
        until("a connection is begun", || {
            let rows = fs::read_to_string(&table).unwrap_or_default();
            let mut rows = rows.lines().skip(1).map(|row| row.split_whitespace().collect());
            // One that is established, or has sent the first packet.
            rows.any(|row: Vec<&str>| row[2].ends_with(&remote) && ["01", "02"].contains(&row[3]))
        });
    }

    /// Ends it, with its manifest or without, and says how long its namespace was there after that.
    pub(crate) fn end(self, root: &Root, with_manifest: bool) -> Duration {
        let Self { pod, uid, wire, manifest, .. } = self;
        drop(pod);
        if with_manifest {
            fs::remove_file(manifest).expect("it was written");
        }
        let start = Instant::now();
        until("the namespace is gone", || !Path::new(&format!("/sys/class/net/{wire}")).exists());
        root.remove_pod(&uid);
        start.elapsed()
    }
}
