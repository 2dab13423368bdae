//! What it costs that the agent is a process of its own: the way to a connection, the memory of both, and
//! how soon either is there again when it is killed.
//!
//! `cargo bench --bench split` as root; it takes about three minutes. It prints each figure beside what the
//! project promises, and fails only where something is left behind.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{
    env, fs,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use merger::{
    listeners::Rung,
    node::{self, Connect, Node, Options, Rungs},
};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::Signal,
};
use tempfile::TempDir;
use tokio::runtime;

#[path = "../tests/support/cgroup.rs"]
mod cgroup;

#[path = "../tests/support/namespace.rs"]
mod namespace;

#[path = "../tests/support/pod.rs"]
mod pod;

#[path = "../tests/support/running.rs"]
mod running;

use pod::Pod;
use running::{Running, directory, is_there, signal, until};

/// Makes this program the broker of the other end of its input.
const BROKER: &str = "--broker";

const N_CONNECTIONS: usize = 5000;
const N_PODS: usize = 110;
const N_KILLS: usize = 200;

/// How long nothing happens before memory is looked at.
const IDLE: Duration = Duration::from_secs(35);

fn main() -> ExitCode {
    if env::args().any(|argument| argument == BROKER) {
        let channel = std::io::stdin().as_fd().try_clone_to_owned().expect("the channel");
        node::serve(options(), &channel).unwrap_or_else(|error| panic!("{error}"));
        return ExitCode::SUCCESS;
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs no right");
    let mut ways = runtime.block_on(ways_to_a_connection());
    ways.sort();
    let [half, most] = [ways[ways.len() / 2], ways[ways.len() * 99 / 100]].map(micros);
    tell("request to connected socket, p50", &format!("{half} us"), "150 us");
    tell("the same, p99", &format!("{most} us"), "");
    memory();
    if kills() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> Options {
    Options { rung: Rungs::Only(Rung::Ebpf), ..Options::default() }
}

fn tell(what: &str, figure: &str, promise: &str) {
    println!("{what:<44} {figure:>12} {promise:>12}");
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}

// --- the way to a connection ---

/// From the agent's request to the agent's connected socket, with the broker in another process.
async fn ways_to_a_connection() -> Vec<Duration> {
    let (pod, cgroups) = (Pod::new(), cgroup::Root::new(1));
    cgroups.container("6d657267-6572-4000-8000-000000000000", "0123456789ab").join(pod.pid());
    let (_listener, address) = pod.listen("127.0.0.1:0");
    let (mut broker, node) = start_broker();
    node.snapshot().await.unwrap_or_else(|error| panic!("{error}"));
    let mut ways = Vec::with_capacity(N_CONNECTIONS);
    for _ in 0..N_CONNECTIONS {
        let start = Instant::now();
        let socket = node.connect(Connect { netns: pod.cookie, address, owner: None }).await;
        ways.push(start.elapsed());
        drop(socket.unwrap_or_else(|error| panic!("{error}")));
    }
    drop((node, pod));
    broker.wait().expect("an own child");
    ways
}

fn start_broker() -> (Child, Node) {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let pair = socketpair(AddressFamily::UNIX, kind, flags, None);
    let (here, there): (OwnedFd, OwnedFd) = pair.expect("two sockets");
    let mut command = Command::new(env::current_exe().expect("this program is a file"));
    let broker = command.arg(BROKER).stdin(Stdio::from(there)).spawn().expect("it starts");
    // What is left of the command holds the broker's end.
    drop(command);
    let (node, _changes) = node::attach(here).unwrap_or_else(|error| panic!("{error}"));
    (broker, node)
}

// --- memory ---

/// Of broker and agent, after a while without any change, on a node full of pods.
fn memory() {
    let world = World::new(N_PODS);
    let running = Running::start(world.manifests.path());
    let page = running.get("/api/pods").expect("it serves");
    let n_known = page.matches("\"netns\":").count();
    thread::sleep(IDLE);
    let agent = running.agent().expect("it is there");
    for (who, pid, promise) in [("broker", running.broker(), "4 MiB"), ("agent", agent, "20 MiB")] {
        let [all, own] = ["VmRSS:", "RssAnon:"].map(|name| kilobytes(pid, name));
        let figure = format!("{:.1} MiB", all / 1024.0);
        let what = format!("{who}, idle, {N_PODS} pods ({n_known} known): memory");
        tell(&what, &figure, promise);
        tell("  of it no pages of files", &format!("{:.1} MiB", own / 1024.0), "");
    }
}

fn kilobytes(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Pods as a kubelet makes them, each with a listener, and their manifests.
struct World {
    manifests: TempDir,
    _pods: Vec<Pod>,
    _cgroups: cgroup::Root,
}

impl World {
    fn new(n: usize) -> Self {
        let (manifests, cgroups) = (directory(), cgroup::Root::new(1));
        let mut pods = Vec::with_capacity(n);
        for number in 0..n {
            let uid = format!("6d657267-6572-4000-8000-{number:012}");
            let mut pod = Pod::new();
            cgroups.container(&uid, "0123456789ab").join(pod.pid());
            let (listener, address) = pod.listen("0.0.0.0:0");
            let holder = pod.hand_over(listener);
            cgroups.container(&uid, "0123456789ab").join(holder);
            let manifest = format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{number}\n  namespace: bench\n  \
                 uid: {uid}\n  annotations:\n    prometheus.io/scrape: \"true\"\n    \
                 prometheus.io/port: \"{}\"\nspec:\n  containers:\n    - name: app\n      image: x\n",
                address.port()
            );
            let file = manifests.path().join(format!("pod-{number}.yaml"));
            fs::write(file, manifest).expect("an own directory");
            pods.push(pod);
        }
        Self { manifests, _pods: pods, _cgroups: cgroups }
    }
}

// --- kills ---

/// Kills agent and broker in turns, each at some moment after it was there. Whether nothing was left.
fn kills() -> bool {
    let pods = directory();
    let mut running = Running::start(pods.path());
    let (mut waits, mut ended, mut programs) = ([vec![], vec![]], vec![], vec![]);
    let n_open = n_descriptors(running.broker());
    let mut n_left_open = 0;
    for number in 0..N_KILLS {
        thread::sleep(Duration::from_millis(some(number)));
        let agent = running.agent();
        ended.extend(agent);
        let start = Instant::now();
        if number % 2 == 0 {
            if let Some(agent) = agent {
                signal(agent, Signal::KILL);
            }
            until("the agent is another", || running.agent().is_some_and(|pid| Some(pid) != agent));
        } else {
            let n_open_now = n_descriptors(running.broker());
            n_left_open = n_left_open.max(n_open_now.saturating_sub(n_open));
            ended.push(running.broker());
            programs.append(&mut running.programs());
            signal(running.broker(), Signal::KILL);
            running.end();
            // As a kubelet does it.
            running = Running::start_at(running.address, pods.path());
        }
        until("it serves again", || running.is_ready());
        waits[number % 2].push(start.elapsed());
    }
    programs.append(&mut running.programs());
    ended.extend([running.broker()].into_iter().chain(running.agent()));
    signal(running.broker(), Signal::TERM);
    running.end();
    // The kernel frees programs a moment after their last descriptor.
    thread::sleep(Duration::from_secs(1));
    let n_loaded = programs.iter().filter(|program| is_loaded(program)).count();
    let n_alive = ended.iter().filter(|pid| is_there(**pid)).count();
    for (who, waits) in ["agent", "broker"].iter().zip(&waits) {
        let most = waits.iter().max().copied().unwrap_or_default().as_millis();
        let what = format!("{who} killed {} times: serves again, max", waits.len());
        tell(&what, &format!("{most} ms"), "2000 ms");
    }
    tell("descriptors more in the broker", &n_left_open.to_string(), "0");
    tell(&format!("of {} processes still there", ended.len()), &n_alive.to_string(), "0");
    tell(&format!("of {} programs still loaded", programs.len()), &n_loaded.to_string(), "0");
    (n_left_open, n_alive, n_loaded) == (0, 0, 0)
}

/// Milliseconds that follow no order: 0 to 240.
fn some(number: usize) -> u64 {
    u64::try_from(number * 7919 % 241).unwrap_or_default()
}

fn n_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn is_loaded(program: &str) -> bool {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["prog", "show", "id", program]).stdout(Stdio::null()).stderr(Stdio::null());
    bpftool.status().expect("bpftool, by `cargo xtask setup`").success()
}
