//! How long a listener in a fresh namespace stays unknown: from the call of listen(2), in a process
//! that has just started, to a snapshot that has it.
//!
//! It is asked of the machine as it is, of one with a thousand processes more that do nothing, and of
//! one on which a pod opens and closes a listener as fast as it can: a look that reads all of `/proc` pays for each of them. And of each rung that is told of changes;
//! the others look every ten seconds.
//!
//! `cargo bench --bench listen` as root, on a quiet machine. It prints a line for each and judges
//! it, and always succeeds: speed is not tested.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{
    env, fmt,
    io::{self, BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use merger::{
    identity::Cookie,
    listeners::Rung,
    netns::Netns,
    node::{self, Changes, Node, Options, Rungs},
    target::Listener,
};
use rustix::{
    thread::{UnshareFlags, unshare_unsafe},
    time::{ClockId, clock_gettime},
};
use tokio::{runtime, sync::watch};

/// Beside what listeners are waited for, and how many.
const ROWS: [(Beside, usize); 3] =
    [(Beside::Nothing, 1000), (Beside::Idle(1000), 200), (Beside::Loop, 300)];

/// What there is on the machine beside those that are waited for.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    /// So many processes that do nothing.
    Idle(usize),
    /// A pod that opens and closes a listener as fast as it can.
    Loop,
}

/// Makes this program the process that listens.
const LISTEN: &str = "--listen";

/// A snapshot, and when it was there.
type Published = (Duration, Arc<Vec<Listener>>);

/// Processes that do nothing and listen to nobody. They end when this is dropped, and soon anyway.
struct Idle(Vec<Child>);

/// A thread in a namespace of its own that opens and closes a listener without end.
struct Noise {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A process that listens in a namespace of its own. It ends when its input does.
struct Pod {
    process: Child,
    netns: Cookie,
    listened: Duration,
}

fn main() {
    if env::args().any(|argument| argument == LISTEN) {
        return listen();
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs no right");
    println!(
        "{:<17} {:>9} {:>5} {:>9} {:>9} {:>9}  p99",
        "rung", "beside", "n", "p50", "p99", "max"
    );
    for (beside, n) in ROWS {
        let _idle = Idle::start(if let Beside::Idle(n) = beside { n } else { 0 });
        let _noise = matches!(beside, Beside::Loop).then(Noise::start);
        for rung in [Rung::Ebpf, Rung::EbpfSockDiag] {
            runtime.block_on(measure(rung, beside, n));
        }
    }
}

async fn measure(rung: Rung, beside: Beside, n: usize) {
    // Those that listen are in no pod's cgroup.
    let options = Options { rung: Rungs::Only(rung), strangers: true, ..Options::default() };
    let (node, changes) = node::start(options).unwrap_or_else(|error| panic!("{error}"));
    // The first look reads everything, and is followed by a longer pause than any other.
    node.snapshot().await.unwrap_or_else(|error| panic!("{error}"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (publish, mut published) = watch::channel((now(), Arc::default()));
    let looks = tokio::spawn(look(node.clone(), changes, publish));
    let mut waited = Vec::with_capacity(n);
    for _ in 0..n {
        let pod = tokio::task::spawn_blocking(Pod::start).await.expect("the thread does not panic");
        let has = |(_, listeners): &Published| listeners.iter().any(|one| one.netns == pod.netns);
        let seen = published.wait_for(has).await.expect("the looks go on").0;
        waited.push(seen.saturating_sub(pod.listened));
    }
    waited.sort();
    report(node.rung(), beside, &waited);
    let lost = node.counters().changes_lost;
    if lost > 0 {
        println!("{lost} changes found no room");
    }
    looks.abort();
}

async fn look(node: Node, mut changes: Changes, publish: watch::Sender<Published>) {
    loop {
        changes.changed().await;
        let snapshot = node.snapshot().await.unwrap_or_else(|error| panic!("{error}"));
        publish.send_replace((now(), Arc::new(snapshot.listeners)));
    }
}

fn report(rung: Rung, beside: Beside, sorted: &[Duration]) {
    let percentile = |n: usize| sorted[(sorted.len() * n / 100).min(sorted.len() - 1)];
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let times = [percentile(50), percentile(99), percentile(100)].map(milliseconds);
    let (promise, beside) = (beside.promise(), beside.to_string());
    let within = if percentile(99) <= promise { "within" } else { "NOT within" };
    let rung = format!("{} {rung}", rung.number());
    let [p50, p99, max] = times;
    let n = sorted.len();
    println!("{rung:<17} {beside:>9} {n:>5} {p50:>9} {p99:>9} {max:>9}  {within} {promise:?}");
}

// === impl Beside ===

impl Beside {
    /// What the project promises of the slowest in a hundred.
    fn promise(self) -> Duration {
        Duration::from_millis(if matches!(self, Self::Loop) { 250 } else { 100 })
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Idle(n) => write!(f, "{n} idle"),
            Self::Loop => f.write_str("a loop"),
        }
    }
}

// === impl Noise ===

impl Noise {
    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            enter_fresh().expect("root may make a namespace");
            while !flag.load(Ordering::Relaxed) {
                drop(TcpListener::bind("0.0.0.0:0").expect("a fresh namespace has every port"));
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

// === impl Idle ===

impl Idle {
    fn start(n: usize) -> Self {
        let sleep = |_| Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
        Self((0..n).map(|n| sleep(n).expect("sleep is of any Linux")).collect())
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for process in &mut self.0 {
            process.kill().expect("an own child may be killed");
            process.wait().expect("an own child may be waited for");
        }
    }
}

// === impl Pod ===

impl Pod {
    fn start() -> Self {
        // A thread of its own, because it stays in the namespace that it makes.
        let started = thread::spawn(|| -> io::Result<Self> {
            enter_fresh()?;
            let program = env::current_exe()?;
            let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
            let mut process =
                Command::new(program).arg(LISTEN).stdin(stdin).stdout(stdout).spawn()?;
            let mut line = String::new();
            BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line)?;
            let listened = Duration::from_nanos(line.trim().parse().expect("a number"));
            Ok(Self { process, netns: Netns::own()?.cookie()?, listened })
        });
        let pod = started.join().expect("the thread does not panic");
        pod.unwrap_or_else(|error| panic!("cannot make a namespace (CAP_SYS_ADMIN): {error}"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("an own child may be waited for");
    }
}

fn listen() {
    let before = now();
    let _listener = TcpListener::bind("0.0.0.0:0").expect("a fresh namespace has every port");
    println!("{}", before.as_nanos());
    io::stdin().read_to_end(&mut vec![]).expect("the input is a pipe");
}

/// The clock that all processes share.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("the monotonic clock is not negative")
}

#[expect(unsafe_code, reason = "rustix asks for a promise about threads that share a file table")]
fn enter_fresh() -> io::Result<()> {
    // SAFETY: without `FILES` no file descriptor is closed or copied under another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
