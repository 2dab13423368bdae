//! What one look at a full node takes, and what each connection of anybody pays for the kernel part.
//!
//! What the project promises of a look is about the first of its lines: by the best rung, while nothing
//! changes, and without the sweep over all processes. That comes once in nine seconds, when everything is read
//! again, and a look that has it is another line of each rung; on rungs 3 and 4 no look is without it. On the
//! rungs that are told of changes there is a third, where all changes: before each round every namespace has a
//! listener more for a moment, so that each is marked, and the round is the longest of the looks that this
//! calls for. How many marks were taken away is printed.
//!
//! `cargo bench --bench cost` as root, on a quiet machine; it takes some minutes, and `-- 10` has that many
//! rounds. It prints a line for each and judges all by the same promise, and always succeeds: speed is not
//! tested.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_programs;
use merger::{
    listeners::Rung,
    node::{self, Changes, Node, Options, Rungs},
};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::{
    runtime,
    time::{sleep, timeout},
};

/// Makes this program a process that listens on that many ports.
const LISTEN: &str = "--listen";

const N_NETNS: usize = 250;
const N_LISTENERS: usize = 10;
const N_ROUNDS: usize = 100;
/// Looks that take long.
const N_SWEEPS: usize = 20;
const N_CONNECTIONS: u32 = 20_000;

/// How often a node looks of itself that is to have no sweep.
const NEVER: Duration = Duration::from_hours(1);

/// How long nothing is called for when nothing is waited for any more: a sweep is four times its own length.
const AT_REST: Duration = Duration::from_secs(3);

/// What the project promises of a look, and of a connection.
const LOOK: Duration = Duration::from_millis(20);
const CONNECTION_NS: u64 = 400;

/// Whether the kernel counts the time of programs.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn main() {
    if env::args().any(|argument| argument == LISTEN) {
        return listen();
    }
    let n = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(N_ROUNDS);
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs no right");
    runtime.block_on(async { connections() });
    let mut pods: Vec<Pod> = (0..N_NETNS).map(|_| Pod::start()).collect();
    for rung in Rung::ALL {
        runtime.block_on(async {
            if rung <= Rung::EbpfSockDiag {
                looks(rung, &mut pods, n).await;
            }
            sweeps(rung, n.min(N_SWEEPS)).await;
        });
    }
    drop(pods);
}

fn start(rung: Rung, look_every: Duration) -> (Node, Changes) {
    // Those that listen are in no pod's cgroup.
    let options =
        Options { rung: Rungs::Only(rung), strangers: true, look_every, ..Options::default() };
    node::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// Looks while nothing changes, none of which has a sweep of everything, and while all does.
async fn looks(rung: Rung, pods: &mut [Pod], n: usize) {
    let (node, mut changes) = start(rung, NEVER);
    // The first ones ask each namespace, and a sweep that one of them calls for has to wait for its turn. On
    // a machine that is not quiet it never ends.
    let _ = timeout(10 * AT_REST, settle(&node, &mut changes, AT_REST)).await;
    let what = what(rung, &node).await;
    quiet_looks(&node, n, &what).await;
    let marked_before = node.counters().changes;
    let mut rounds = vec![];
    for _ in 0..n {
        pods.iter_mut().for_each(Pod::ask_to_listen);
        pods.iter_mut().for_each(Pod::has_listened);
        rounds.push(settle(&node, &mut changes, 16 * LOOK).await);
    }
    let n_marks = usize::try_from(node.counters().changes - marked_before).unwrap_or_default();
    print(&format!("{what}, {} marks a round", n_marks / n), rounds);
}

/// Looks that have the sweep of everything, which is due again whenever its pause is over.
async fn sweeps(rung: Rung, n: usize) {
    let (node, _changes) = start(rung, Duration::ZERO);
    quiet_looks(&node, n, &what(rung, &node).await).await;
}

async fn what(rung: Rung, node: &Node) -> String {
    let n = node.snapshot().await.unwrap_or_else(|error| panic!("{error}")).listeners.len();
    format!("look at {n} listeners in {N_NETNS} namespaces, rung {}", rung.number())
}

/// What looks take that nothing calls for, and how many of them had a sweep. The pause that follows each is
/// over before the next.
async fn quiet_looks(node: &Node, n: usize, what: &str) {
    // That of the look before.
    sleep(16 * LOOK).await;
    let (swept_before, mut rounds) = (node.counters().sweeps, vec![]);
    for _ in 0..n {
        let begin = Instant::now();
        node.snapshot().await.unwrap_or_else(|error| panic!("{error}"));
        rounds.push(begin.elapsed());
        sleep(6 * begin.elapsed()).await;
    }
    let n_sweeps = node.counters().sweeps - swept_before;
    print(&format!("{what}, nothing changed, {n_sweeps} of {n} with a sweep"), rounds);
}

fn print(what: &str, mut rounds: Vec<Duration>) {
    rounds.sort();
    let percentile = |n: usize| rounds[(rounds.len() * n / 100).min(rounds.len() - 1)];
    let verdict = |time| if time <= LOOK { "within" } else { "NOT within" };
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let [p50, p99, max] = [50, 99, 100].map(percentile);
    println!(
        "{what}: p50 {} {}, p99 {} {} {LOOK:?}, max {}",
        milliseconds(p50),
        verdict(p50),
        milliseconds(p99),
        verdict(p99),
        milliseconds(max)
    );
}

/// Looks whenever it is called for, until it is not for as long as `rest`: the longest of these looks. What a
/// look waits for the pause after the one before is no part of it, as it is called for when that is over.
async fn settle(node: &Node, changes: &mut Changes, rest: Duration) -> Duration {
    let mut longest = Duration::ZERO;
    while timeout(rest, changes.changed()).await.is_ok() {
        let begin = Instant::now();
        node.snapshot().await.unwrap_or_else(|error| panic!("{error}"));
        longest = longest.max(begin.elapsed());
    }
    longest
}

/// Connects, accepts and closes over loopback, and asks the kernel what the programs took of it.
fn connections() {
    let before = fs::read_to_string(STATS).expect("root may read it");
    fs::write(STATS, "1").expect("root may write it");
    let (_node, _changes) = start(Rung::Ebpf, NEVER);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let (ns_before, n_before) = spent();
    for _ in 0..N_CONNECTIONS {
        let client = TcpStream::connect(address).expect("it listens");
        let accepted = listener.accept().expect("it was connected to");
        drop((accepted, client));
    }
    let (ns_after, n_after) = spent();
    fs::write(STATS, before.trim()).expect("root may write it");
    let (ns, n) = (ns_after - ns_before, n_after - n_before);
    assert!(n > 0, "the programs were not run, or not counted");
    let each = ns / u64::from(N_CONNECTIONS);
    let verdict = if each <= CONNECTION_NS { "within 400 ns" } else { "NOT within 400 ns" };
    println!(
        "a connection, both ends on this node: {each} ns in {} runs of {} ns, {} ns each end: {verdict}",
        n / u64::from(N_CONNECTIONS),
        ns / n.max(1),
        each / 2,
    );
}

/// Time and runs of the programs whose links this process has.
fn spent() -> (u64, u64) {
    let files = fs::read_dir("/proc/self/fdinfo").expect("it is our own").flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let program = |text: String| -> Option<u32> {
        text.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
    };
    let own: Vec<u32> = texts.filter_map(program).collect();
    let all = loaded_programs().map(|program| program.expect("root may look at programs"));
    all.filter(|program| own.contains(&program.id())).fold((0, 0), |(ns, n), program| {
        let time = u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
        (ns + time, n + program.run_count())
    })
}

/// A process that listens in a namespace of its own, and once more for a moment for each line of its
/// input. It ends when that does.
struct Pod {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

// === impl Pod ===

impl Pod {
    fn start() -> Self {
        // A thread of its own, because it stays in the namespace that it makes.
        let started = thread::spawn(|| -> io::Result<Self> {
            enter_fresh()?;
            let mut command = Command::new(env::current_exe()?);
            command.arg(LISTEN).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = command.spawn()?;
            let input = process.stdin.take();
            let output = BufReader::new(process.stdout.take().expect("it is piped"));
            let mut pod = Self { process, input, output };
            pod.has_listened();
            Ok(pod)
        });
        let pod = started.join().expect("the thread does not panic");
        pod.unwrap_or_else(|error| panic!("cannot make a namespace (CAP_SYS_ADMIN): {error}"))
    }
}

impl Pod {
    fn ask_to_listen(&mut self) {
        let mut input = self.input.as_ref().expect("it runs");
        input.write_all(b"\n").expect("it reads");
    }

    fn has_listened(&mut self) {
        self.output.read_line(&mut String::new()).expect("it writes");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.input.take());
        self.process.wait().expect("an own child may be waited for");
    }
}

fn listen() {
    let listen = |_| TcpListener::bind("0.0.0.0:0").expect("a fresh namespace has every port");
    let _listeners: Vec<_> = (0..N_LISTENERS).map(listen).collect();
    println!("listening");
    for line in io::stdin().lines() {
        line.expect("the input is a pipe");
        drop(listen(0));
        println!("listened");
    }
}

#[expect(unsafe_code, reason = "rustix asks for a promise about threads that share a file table")]
fn enter_fresh() -> io::Result<()> {
    // SAFETY: without `FILES` no file descriptor is closed or copied under another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
