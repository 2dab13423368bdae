//! What it costs that the agent is a process of its own: the way to a connection, the memory of both, and
//! how soon either is there again when it is killed.
//!
//! `cargo bench --bench split` as root, on a machine where nobody starts another merger meanwhile; it takes
//! about four minutes. `-- kills` leaves out all but the kills, and a number is how many there are. It
//! prints each figure beside what the project promises, and fails where one does not hold, or where too
//! little was seen for it to say anything.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{
    env, fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use merger::{
    listeners::Rung,
    node::{self, Connect, Node, Options, Rungs},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tempfile::TempDir;
use tokio::runtime;

#[path = "../tests/support/cgroup.rs"]
mod cgroup;

#[path = "split/kills.rs"]
mod kills;

#[path = "../tests/support/namespace.rs"]
mod namespace;

#[path = "../tests/support/pod.rs"]
mod pod;

#[path = "split/remains.rs"]
mod remains;

#[path = "../tests/support/running.rs"]
mod running;

#[path = "../tests/support/zygote.rs"]
mod zygote;

use pod::Pod;
use running::{Running, directory};

/// Makes this program the broker of the other end of its input.
const BROKER: &str = "--broker";

const N_CONNECTIONS: usize = 5000;
const N_PODS: usize = 110;

/// What the project promises: of half of the connections, and of the memory of broker and agent.
const WAY: Duration = Duration::from_micros(150);
const BROKER_KIB: u64 = 4 * 1024;
const AGENT_KIB: u64 = 20 * 1024;

/// How long nothing happens before memory is looked at.
const IDLE: Duration = Duration::from_secs(35);

fn main() -> ExitCode {
    if env::args().any(|argument| argument == BROKER) {
        let channel = std::io::stdin().as_fd().try_clone_to_owned().expect("the channel");
        node::serve(options(), &channel).unwrap_or_else(|error| panic!("{error}"));
        return ExitCode::SUCCESS;
    }
    if zygote::is_meant() {
        zygote::serve();
        return ExitCode::SUCCESS;
    }
    let mut all_hold = true;
    if !env::args().any(|argument| argument == "kills") {
        all_hold &= ways();
        all_hold &= memory();
    }
    let n_kills = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(kills::N_KILLS);
    all_hold &= kills::run(n_kills);
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether half of the connections are made as soon as is promised.
fn ways() -> bool {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs no right");
    let mut ways = runtime.block_on(ways_to_a_connection());
    ways.sort();
    let [half, most] = [ways[ways.len() / 2], ways[ways.len() * 99 / 100]];
    let holds = judge("request to connected socket, p50", &micros(half), &micros(WAY), half <= WAY);
    tell("the same, p99", &micros(most));
    holds
}

fn options() -> Options {
    Options { rung: Rungs::Only(Rung::Ebpf), ..Options::default() }
}

/// Prints a figure of which nothing is promised.
fn tell(what: &str, figure: &str) {
    println!("{what:<48} {figure:>12}");
}

/// Prints a figure beside what is promised of it, and whether that holds, which it gives back.
fn judge(what: &str, figure: &str, promise: &str, holds: bool) -> bool {
    let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
    println!("{what:<48} {figure:>12} {promise:>12}  {verdict}");
    holds
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

// --- the way to a connection ---

/// From the agent's request to the agent's connected socket, with the broker in another process.
async fn ways_to_a_connection() -> Vec<Duration> {
    let (pod, cgroups) = (Pod::new(), cgroup::Root::new(1));
    cgroups.container("6d657267-6572-4000-8100-000000000000", "0123456789ab").join(pod.pid());
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

/// Of broker and agent, after a while without any change, on a node full of pods: whether it is as little
/// as is promised, and every pod was known.
fn memory() -> bool {
    let world = World::new(N_PODS);
    let running = Running::start(world.manifests.path());
    let page = running.get("/api/pods").expect("it serves");
    let n_known = page.matches("\"netns\":").count();
    let (n_pods, known) = (N_PODS.to_string(), n_known.to_string());
    let mut all_hold = judge("pods that are known", &known, &n_pods, n_known == N_PODS);
    thread::sleep(IDLE);
    let agent = running.agent().expect("it is there");
    for (who, pid, promise) in
        [("broker", running.broker(), BROKER_KIB), ("agent", agent, AGENT_KIB)]
    {
        let [all, own] = ["VmRSS:", "RssAnon:"].map(|name| kibibytes(pid, name));
        let what = format!("{who}, idle, {N_PODS} pods: memory");
        all_hold &= judge(&what, &format!("{all} KiB"), &format!("{promise} KiB"), all <= promise);
        tell("  of it no pages of files", &format!("{own} KiB"));
    }
    all_hold
}

/// What the kernel calls `kB` is 1,024 bytes.
fn kibibytes(pid: u32, name: &str) -> u64 {
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
            let uid = format!("6d657267-6572-4000-8100-{number:012}");
            let mut pod = Pod::new();
            cgroups.container(&uid, "0123456789ab").join(pod.pid());
            let (listener, address) = pod.listen("0.0.0.0:0");
            let holder = pod.hand_over(listener);
            cgroups.container(&uid, "0123456789ab").join(holder);
            write_manifest(manifests.path(), number, &uid, address.port());
            pods.push(pod);
        }
        Self { manifests, _pods: pods, _cgroups: cgroups }
    }
}

/// Tells of a pod, and where its metrics are.
fn write_manifest(pods: &Path, number: usize, uid: &str, port: u16) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{number}\n  namespace: bench\n  \
         uid: {uid}\n  annotations:\n    prometheus.io/scrape: \"true\"\n    \
         prometheus.io/port: \"{port}\"\nspec:\n  containers:\n    - name: app\n      image: x\n"
    );
    let file = pods.join(format!("pod-{number}.yaml"));
    fs::write(file, manifest).expect("an own directory");
}
