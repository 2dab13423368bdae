//! Pods of a real containerd, found and read by `merger run --pods cri`: real sandboxes, with a network
//! by CNI and cgroups as a kubelet names them. And merger itself in such a pod, as `deploy/base` has it.
//!
//! Needs root, and what `cargo xtask setup` installs. No registry, no daemon of the machine and no
//! namespace of the host is used.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends where its world does, and says how long it took"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{
    agent::Agent,
    node::Node,
    running::until,
    runtime::{Container, Pod},
};

mod again;
mod agent;
#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/base.rs"]
#[allow(dead_code, reason = "other tests look for where it is")]
mod base;
mod contained;
mod daemonset;
mod deployed;
#[path = "../support/double.rs"]
#[allow(dead_code, reason = "these tests play a list and a watch, and no fault")]
mod double;
mod ends;
mod image;
mod in_cluster;
mod janitor;
mod kubelet;
mod meshed;
mod messages;
mod node;
mod outage;
#[path = "../support/recordings.rs"]
#[allow(dead_code, reason = "the pods here are real")]
mod recordings;
#[path = "../support/requests.rs"]
#[allow(dead_code, reason = "these tests play a list and a watch, and no fault")]
mod requests;
mod rights;
#[path = "../support/running.rs"]
#[allow(dead_code, reason = "these tests run the agent in one process, and of another source")]
mod running;
mod runtime;

#[test]
fn three_sandboxes_are_found_attributed_and_scraped() {
    let mut clock = Clock::start("three sandboxes");
    let node = Node::start();
    clock.tell("containerd runs");
    let mut runtime = node.runtime();

    let plain = runtime.run(&asking(&node, 1, "plain", "9100"));
    runtime.start(&plain, serving("app", "plain", "9100"));
    let two = runtime.run(&Pod {
        annotations: annotations(&[("prometheus.io/scrape", "true"), PATH]),
        ..asking(&node, 2, "two", "")
    });
    let web = serving("web", "two-web", "9100");
    runtime.start(&two, Container { ports: vec![("metrics", 9100)], ..web });
    let worker = serving("worker", "two-worker", "127.0.0.1:9101");
    runtime.start(&two, Container { ports: vec![("http-metrics", 9101)], ..worker });
    let meshed = meshed::run(&node, &mut runtime);
    clock.tell("three sandboxes are made");

    let agent = Agent::start(&node);
    until("every source of every pod is up", || {
        let pods = [("plain", 1), ("two", 2), ("meshed", 2)];
        pods.iter().all(|(pod, n)| agent.up(pod).values().filter(|up| *up == "1").count() == *n)
    });
    clock.tell("all sources are up");
    let page = agent.page("plain");
    assert_eq!(nonces(&page), set(&["plain"]), "{page}");
    assert!(page.contains("nonce{of=\"plain\",container=\"app\",endpoint=\"http\"} 1"), "{page}");
    let page = agent.page("two");
    assert_eq!(nonces(&page), set(&["two-web", "two-worker"]), "{page}");
    assert!(page.contains("of=\"two-web\",container=\"web\",endpoint=\"metrics\""), "{page}");
    assert!(page.contains("of=\"two-worker\",container=\"worker\",endpoint=\"http-metrics\""));
    let page = agent.page("meshed");
    assert_eq!(nonces(&page), set(&["meshed"]), "{page}");
    let of_proxy = "envoy_server_live{container=\"istio-proxy\",endpoint=\"http-envoy-prom\"} 1";
    assert!(page.contains(of_proxy), "{page}");
    for pod in ["plain", "two", "meshed"] {
        let (belief, netns) = (agent.belief(pod), &agent.belief(pod)["netns"]);
        assert!(netns.is_u64(), "{belief}");
    }
    let uids = [1, 2, 3].map(|n| node.uid(n));
    let told = ["plain", "two", "meshed"].map(|pod| agent.belief(pod)["uid"].clone());
    assert_eq!(told, uids);

    // From outside the plain pod answers, and what the mesh guards does not.
    let answer = meshed::get_from_outside(&node, plain.address, 9100).unwrap();
    assert!(answer.contains("nonce{of=\"plain\"}"), "{answer}");
    let error = meshed::get_from_outside(&node, meshed.address, 9100).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    clock.tell("every fact holds");
    drop(agent);
    drop(node);
    clock.tell("nothing is left");
}

const PATH: (&str, &str) = ("prometheus.io/path", "/metrics.txt");

/// A pod that asks to be read at that port.
fn asking(node: &Node, n: u32, name: &str, port: &str) -> Pod {
    let asked = [("prometheus.io/scrape", "true"), ("prometheus.io/port", port), PATH];
    Pod { name: name.to_owned(), uid: node.uid(n), annotations: annotations(&asked) }
}

fn annotations(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A container that serves its nonce, at `[address:]port`.
fn serving(name: &'static str, nonce: &str, listen: &str) -> Container {
    Container {
        name,
        command: script(&serve(nonce, listen)),
        ports: vec![("http", 9100)],
        ..Container::default()
    }
}

/// Of a shell: to serve a nonce for ever.
fn serve(nonce: &str, listen: &str) -> String {
    let page = format!("echo 'nonce{{of=\"{nonce}\"}} 1' > /tmp/www/metrics.txt");
    format!("busybox mkdir -p /tmp/www && {page} && exec busybox httpd -f -p {listen} -h /tmp/www")
}

fn script(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).into()
}

/// Whose samples are on a page.
fn nonces(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("nonce{of=\""));
    lines.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

/// `merger_source_up` of a page, by container.
fn up(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| line.starts_with("merger_source_up{"));
    let of = |line: &str| {
        let container = line.split("container=\"").nth(1)?.split_once('"')?.0.to_owned();
        Some((container, line.rsplit(' ').next()?.to_owned()))
    };
    lines.filter_map(of).collect()
}

/// Says how long the parts of a test took. While it lives, no other test of this program runs: each has
/// a node, and the machine is one.
struct Clock {
    test: &'static str,
    began: Instant,
    last: Duration,
    _alone: MutexGuard<'static, ()>,
}

// === impl Clock ===

impl Clock {
    fn start(test: &'static str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { test, began: Instant::now(), last: Duration::ZERO, _alone: alone }
    }

    fn tell(&mut self, what: &str) {
        let now = self.began.elapsed();
        let took = now.saturating_sub(self.last).as_secs_f64();
        println!("{}: {what}: {took:.1} s, together {:.1} s", self.test, now.as_secs_f64());
        self.last = now;
    }
}
