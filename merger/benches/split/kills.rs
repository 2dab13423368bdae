//! Agent and broker are killed again and again, while pods are scraped.
//!
//! Of 25 kills eight come to a broker before it serves: while it starts, while the kernel part is being loaded
//! or handed over, and while its agent begins; and three to an agent that has just begun. The others come at
//! some moment after all pages had their pods' samples, in the midst of what readers ask for. How long it takes
//! until they have them again is measured of every kill but those that an early one follows.
//!
//! What the broker keeps of agents that were killed is looked for in brokers that outlive ten of them.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    judge,
    remains::{Remains, children},
    running::{Running, directory, get, signal, until},
    tell, write_manifest,
    zygote::{PORT, Zygote},
};

/// As many as the project promises to survive.
pub(super) const N_KILLS: usize = 200;

/// Who is killed, one after the other and from the beginning again: an agent or a broker, early where the
/// letter is small. The broker that is killed behind ten agents has had them all.
const ROUND: &str = "AaAAaAAaAABbBbbBbBBbbBbbB";

const N_PODS: usize = 8;
const N_READERS: usize = 2;

/// What the project promises for pages after a kill.
const PROMISED: Duration = Duration::from_secs(2);

/// The longest that one who serves is left alone, in milliseconds, and an agent or a broker that is killed
/// early: of brokers that were left alone for 0 to 240 one in four did not serve yet (17 of 67, optimized, on
/// 2026-11-29), and an agent is there sooner.
const LATE: u64 = 240;
const EARLY: [u64; 2] = [10, 60];

/// Of all kills, one in so many has to have come before an agent served, or before a broker did.
const EARLY_SHARE: [usize; 2] = [40, 6];

const NAMES: [&str; 2] = ["agent", "broker"];

/// One kill.
#[derive(Clone, Copy)]
struct Kill {
    /// 0 is the agent, 1 the broker.
    who: usize,
    is_early: bool,
}

/// What was seen of all kills, of agents and of brokers.
#[derive(Default)]
struct Seen {
    n: [usize; 2],
    n_early: [usize; 2],
    waits: [Vec<Duration>; 2],
    /// The most descriptors that a broker had beyond those that the first had before any kill.
    n_more: usize,
}

/// Whether nothing was left, and pages were there again in time.
pub(super) fn run(n_kills: usize) -> bool {
    let (mut remains, mut zygote) = (Remains::new(), Zygote::start(&[]));
    let pods = directory();
    for number in 0..N_PODS {
        let uid = format!("6d657267-6572-4000-8100-{number:012}");
        zygote.make(&uid, &format!("alive{{of=\"{number}\"}} 1"), 0);
        write_manifest(pods.path(), number, &uid, PORT);
    }
    let mut running = Running::start(pods.path());
    let (address, is_over, n_pages) = (running.address, AtomicBool::new(false), AtomicU64::new(0));
    let seen = thread::scope(|scope| {
        for reader in 0..N_READERS {
            let (is_over, n_pages) = (&is_over, &n_pages);
            scope.spawn(move || read(address, reader, is_over, n_pages));
        }
        let seen = kill(&mut running, pods.path(), n_kills, &mut remains);
        is_over.store(true, Ordering::Relaxed);
        seen
    });
    end(&mut running, &mut remains);
    tell("pages that were read meanwhile", &n_pages.load(Ordering::Relaxed).to_string());
    let is_as_promised = seen.judge(n_kills);
    remains.judge() && is_as_promised
}

/// Reads one page after the other, whether there is anybody who serves or not.
fn read(address: SocketAddr, reader: usize, is_over: &AtomicBool, n_pages: &AtomicU64) {
    for turn in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        if has_page(address, (reader + turn) % N_PODS) {
            n_pages.fetch_add(1, Ordering::Relaxed);
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether a pod's page has the pod's own sample.
fn has_page(address: SocketAddr, number: usize) -> bool {
    let page = get(address, &format!("/pods/bench/pod-{number}/metrics"));
    page.is_some_and(|page| page.contains(&format!("alive{{of=\"{number}\",")))
}

fn kill(running: &mut Running, pods: &Path, n_kills: usize, remains: &mut Remains) -> Seen {
    let address = running.address;
    let serves = || (0..N_PODS).all(|number| has_page(address, number));
    until("it serves", serves);
    let n_open = n_descriptors(running.broker());
    let (mut seen, mut killed, mut agent) = (Seen::default(), None::<(usize, Instant)>, 0);
    for (number, Kill { who, is_early }) in kills().take(n_kills).enumerate() {
        let longest = if is_early { EARLY[who] } else { LATE };
        if !is_early {
            until("it serves again", serves);
            seen.waits(killed);
        }
        thread::sleep(Duration::from_millis(some(number, longest)));
        remains.note(running.broker());
        if who == 1 && !is_early {
            let n_now = n_descriptors(running.broker());
            seen.n_more = seen.n_more.max(n_now.saturating_sub(n_open));
        }
        seen.n[who] += 1;
        seen.n_early[who] += usize::from(is_early && !running.is_ready());
        killed = Some((who, Instant::now()));
        if who == 0 {
            agent =
                other(running.broker(), agent).expect("whoever serves has one, or is waited for");
            signal(agent, Signal::KILL);
            until("the agent is another", || other(running.broker(), agent).is_some());
        } else {
            signal(running.broker(), Signal::KILL);
            running.end();
            // As a kubelet does it.
            *running = Running::start_with(address, pods, &[]);
        }
    }
    until("it serves at last", serves);
    seen.waits(killed);
    seen
}

fn kills() -> impl Iterator<Item = Kill> {
    let kill = |letter: char| Kill {
        who: usize::from(letter.eq_ignore_ascii_case(&'b')),
        is_early: letter.is_ascii_lowercase(),
    };
    ROUND.chars().cycle().map(kill)
}

/// The child of a broker that serves or did, but for one that was killed.
fn other(broker: u32, killed: u32) -> Option<u32> {
    children(broker).into_iter().find(|pid| *pid != killed)
}

/// Ends it as whoever runs it does.
fn end(running: &mut Running, remains: &mut Remains) {
    let rung = running.get("/metrics").unwrap_or_default();
    let rung = rung.lines().find(|line| line.starts_with("merger_rung{")).unwrap_or_default();
    tell("the rung at the end", rung.trim_start_matches("merger_rung"));
    remains.note(running.broker());
    signal(running.broker(), Signal::TERM);
    running.end();
}

/// The fewest that a process has within a while: while it answers it has some for a moment.
fn n_descriptors(pid: u32) -> usize {
    let count = |_| {
        thread::sleep(Duration::from_millis(1));
        fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
    };
    (0..30).map(count).min().unwrap_or_default()
}

/// Milliseconds that follow no order: 0 to `longest`.
fn some(number: usize, longest: u64) -> u64 {
    u64::try_from(number * 7919).unwrap_or_default() % (longest + 1)
}

// === impl Seen ===

impl Seen {
    /// Pages are there again after the last kill, if there was one.
    fn waits(&mut self, killed: Option<(usize, Instant)>) {
        if let Some((who, since)) = killed {
            self.waits[who].push(since.elapsed());
        }
    }

    /// Says what it was, and whether that is as promised, and enough to say so.
    fn judge(&self, n_kills: usize) -> bool {
        let mut all_hold = true;
        for (who, name) in NAMES.into_iter().enumerate() {
            let (n, n_early, waits) = (self.n[who], self.n_early[who], &self.waits[who]);
            let longest = waits.iter().max().copied();
            let what = format!("{name} killed, {} of {n} times timed: pages, max", waits.len());
            let most = format!("{} ms", longest.unwrap_or_default().as_millis());
            // Where nobody waited nothing is shown.
            let is_in_time = longest.is_some_and(|longest| longest <= PROMISED);
            all_hold &= judge(&what, &most, "2000 ms", is_in_time);
            let least = n_kills / EARLY_SHARE[who];
            let (what, least_of) =
                (format!("  before it served, of {n}"), format!("{least} or more"));
            all_hold &= judge(&what, &n_early.to_string(), &least_of, n_early >= least);
        }
        let what = "descriptors more in a broker behind ten agents";
        all_hold & judge(what, &self.n_more.to_string(), "0", self.n_more == 0)
    }
}
