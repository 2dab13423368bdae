//! `merger run --pods cri`, and what it says of the pods of a node.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

use serde_json::Value as Json;

use super::{
    node::Node,
    running::{Running, until},
    runtime::NAMESPACE,
    up,
};

/// Ends when it is dropped.
pub(crate) struct Agent {
    running: Running,
    log: PathBuf,
}

// === impl Agent ===

impl Agent {
    /// Has looked at the node once.
    #[track_caller]
    pub(crate) fn start(node: &Node) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let pods = format!("cri:{}", node.socket().display());
        let log = node.directory.join("merger.log");
        let to = fs::File::create(&log).unwrap();
        let running = Running::start_source(free.unwrap(), &pods, &[], to);
        until("merger is ready", || running.is_ready());
        Self { running, log }
    }

    /// The page of a pod, or why there is none.
    pub(crate) fn page(&self, pod: &str) -> String {
        self.running.get(&format!("/pods/{NAMESPACE}/{pod}/metrics")).expect("merger runs")
    }

    /// `merger_source_up` of its containers.
    pub(crate) fn up(&self, pod: &str) -> BTreeMap<String, String> {
        up(&self.page(pod))
    }

    /// What the agent believes of a pod; null where it knows none of that name.
    pub(crate) fn belief(&self, pod: &str) -> Json {
        let told = self.running.get(&format!("/api/pods/{NAMESPACE}/{pod}")).expect("merger runs");
        serde_json::from_str(&told).unwrap_or_default()
    }

    /// Of how many lines of its log these words are a part.
    pub(crate) fn n_told(&self, words: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(words)).count()
    }
}
