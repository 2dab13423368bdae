//! How long the namespace of a pod stays when the pod has ended, while its metrics are being scraped.
//!
//! Each pod has one end of a virtual wire, and the other end is here: it is gone when the kernel has
//! destroyed the namespace, and whoever looks at it holds nothing. Beside it stand pods that nobody
//! scrapes: what the kernel takes by itself.
//!
//! The silent ones drop what would begin a connection, or all that follows its handshake, and end while
//! they are being scraped by `merger run`, as it runs on a node.
//!
//! `cargo bench --bench gone` as root; `-- 100` for as many pods that end while they are scraped. It prints a
//! line for each kind and judges it, and fails where one of ours does not hold, or where fewer than nine of
//! ten were scraped before they ended.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{
    collections::HashMap,
    env,
    net::UdpSocket,
    process::{self, Command, ExitCode},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use merger::{
    listeners::Rung,
    node::{Options, Rungs},
};
use rustix::net::netdevice::name_to_index;

use self::{
    cgroup::Root,
    lives::Witness,
    running::{Running, directory, until},
    silent::{SILENCES, Silent},
    zygote::{Made, Zygote},
};

#[path = "../tests/support/cgroup.rs"]
mod cgroup;

#[path = "../tests/support/reincarnation.rs"]
mod lives;

#[path = "../tests/support/namespace.rs"]
mod namespace;

#[path = "../tests/support/pod.rs"]
mod pod;

#[path = "../tests/support/running.rs"]
mod running;

#[path = "../tests/support/silent.rs"]
mod silent;

#[path = "../tests/support/zygote.rs"]
mod zygote;

/// What the project promises of each.
const PROMISE: Duration = Duration::from_secs(5);

/// Pods of the kind that nobody scrapes, and how many of them live at one time.
const UNTOUCHED: usize = 200;
const ALIVE: usize = 24;

/// Pods of each silence.
const SILENT: usize = 6;

/// The wires of pods that live, and of those that have ended.
#[derive(Default)]
struct Wires {
    n_made: usize,
    /// By the ids of the pods' processes.
    alive: HashMap<u32, String>,
    ended: Arc<Mutex<Ended>>,
}

#[derive(Default)]
struct Ended {
    n_scraped: usize,
    waiting: Vec<(String, Instant)>,
    took: Vec<Duration>,
}

fn main() -> ExitCode {
    if zygote::is_meant() {
        zygote::serve();
        return ExitCode::SUCCESS;
    }
    let n = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    println!("{:<10} {:>6} {:>9} {:>9} {:>9}  each", "pods", "n", "p50", "p99", "max");
    let (wires, options) = (Wires::default(), Options::default());
    let options = Options { rung: Rungs::Only(Rung::Ebpf), ..options };
    let ended = Arc::clone(&wires.ended);
    // A pod ends when another takes its place, so the last ones do not.
    let outcome = lives::run(Zygote::start(&[]), n + lives::SLOTS, 0, options, wires);
    let mut all_hold = report("scraped", &wait(&ended));
    let n_scraped = lock(&ended).n_scraped;
    // What the kernel takes by itself is nobody's promise.
    report("untouched", &wait(&untouched()));
    for (kind, (_, rule)) in ["no SYN", "no ACK"].into_iter().zip(SILENCES) {
        all_hold &= report(kind, &silent(rule));
    }
    println!("scrapes with a body {}, without {:?}", outcome.bodies, outcome.failures);
    let is_scraped = n_scraped * 10 >= n * 9;
    let verdict = if is_scraped { "enough" } else { "NOT enough" };
    println!("pods that were scraped before they ended: {n_scraped} of {n}, {verdict}");
    if all_hold && is_scraped { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Pods that end as fast, of which nobody knows.
fn untouched() -> Arc<Mutex<Ended>> {
    let (mut zygote, mut wires) = (Zygote::start(&[]), Wires::default());
    let mut made = Vec::new();
    for n in 0..UNTOUCHED + ALIVE {
        let uid = |n: usize| format!("untouched-{n}");
        made.push(zygote.make(&uid(n), "m 1", 0));
        wires.made(made[n]);
        if n >= ALIVE {
            zygote.end(&uid(n - ALIVE));
            wires.ended(made[n - ALIVE], false);
        }
        lock(&wires.ended).look();
        thread::sleep(Duration::from_millis(10));
    }
    wires.ended
}

/// Pods that are silent by this rule, one after the other. In turns their manifests stay.
fn silent(rule: &str) -> Vec<Duration> {
    let (pods, root) = (directory(), Root::new(1));
    let running = Running::start(pods.path());
    let mut took: Vec<Duration> = (0..SILENT)
        .map(|number| {
            let silent = Silent::new(&root, pods.path(), rule);
            let path = format!("/api{}", silent.page().trim_end_matches("/metrics"));
            until("it is known", || {
                running.get(&path).is_some_and(|page| page.contains("\"ready\""))
            });
            thread::scope(|scope| {
                let (running, page) = (&running, silent.page());
                scope.spawn(move || running.get(&page));
                silent.await_connection();
                silent.end(&root, number % 2 == 0)
            })
        })
        .collect();
    took.sort();
    took
}

/// Looks until all that have ended are gone, or plainly stay.
fn wait(ended: &Mutex<Ended>) -> Vec<Duration> {
    let start = Instant::now();
    loop {
        let mut ended = lock(ended);
        ended.look();
        if ended.waiting.is_empty() || start.elapsed() > 4 * PROMISE {
            let mut took = std::mem::take(&mut ended.took);
            took.extend(ended.waiting.iter().map(|(_, since)| since.elapsed()));
            took.sort();
            return took;
        }
        drop(ended);
        thread::sleep(Duration::from_millis(5));
    }
}

fn lock(ended: &Mutex<Ended>) -> MutexGuard<'_, Ended> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether each was gone in time.
fn report(kind: &str, sorted: &[Duration]) -> bool {
    let percentile = |n: usize| sorted[(sorted.len() * n / 100).min(sorted.len() - 1)];
    let [p50, p99, max] = [50, 99, 100].map(|n| format!("{:.2} s", percentile(n).as_secs_f64()));
    let holds = percentile(100) <= PROMISE;
    let verdict = if holds { "within 5 s" } else { "NOT within 5 s" };
    println!("{kind:<10} {:>6} {p50:>9} {p99:>9} {max:>9}  {verdict}", sorted.len());
    holds
}

// === impl Wires ===

impl Witness for Wires {
    fn made(&mut self, made: Made) {
        self.n_made += 1;
        let (name, pid) = (format!("m{}-{}", process::id(), self.n_made), made.pid.to_string());
        let wire = ["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &pid];
        assert!(Command::new("ip").args(wire).status().expect("ip is of any Linux").success());
        self.alive.insert(made.pid, name);
    }

    fn ended(&mut self, made: Made, is_scraped: bool) {
        let name = self.alive.remove(&made.pid).expect("it was made");
        let mut ended = lock(&self.ended);
        ended.n_scraped += usize::from(is_scraped);
        ended.waiting.push((name, Instant::now()));
        ended.look();
    }
}

// === impl Ended ===

impl Ended {
    /// Counts those whose wires are gone. It is called every ten milliseconds or so.
    fn look(&mut self) {
        let Self { waiting, took, .. } = self;
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is up");
        waiting.retain(|(name, since)| {
            let is_there = name_to_index(&socket, name).is_ok();
            if !is_there {
                took.push(since.elapsed());
            }
            is_there
        });
    }
}
