//! Agent and broker are killed again and again, while pods are scraped.
//!
//! Of three kills one comes to a broker before it serves: while it starts, while the kernel part is being
//! loaded or handed over, and while its agent begins. The others come at some moment after a page had a
//! pod's samples, in the midst of what readers ask for.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    running::{Running, directory, get, signal, until},
    tell, write_manifest,
    zygote::{PORT, Zygote},
};

const N_KILLS: usize = 200;
const N_PODS: usize = 8;
const N_READERS: usize = 2;

/// What the project promises for pages after a kill.
const PROMISED: Duration = Duration::from_secs(2);

/// The name of an object of the kernel part in `/proc/<pid>/fdinfo`, and what bpftool calls its kind.
const KINDS: [(&str, &str); 3] = [("prog_id:", "prog"), ("map_id:", "map"), ("link_id:", "link")];

/// What there was of all that were killed.
#[derive(Default)]
struct Remains {
    processes: BTreeSet<u32>,
    /// By kind and id.
    objects: BTreeSet<(&'static str, u32)>,
}

/// Whether nothing was left, and pages were there again in time.
pub(super) fn run() -> bool {
    let (pods, mut zygote) = (directory(), Zygote::start(&[]));
    for number in 0..N_PODS {
        let uid = format!("6d657267-6572-4000-8100-{number:012}");
        zygote.make(&uid, &format!("alive{{of=\"{number}\"}} 1"), 0);
        write_manifest(pods.path(), number, &uid, PORT);
    }
    let mut running = Running::start(pods.path());
    let (address, is_over, n_pages) = (running.address, AtomicBool::new(false), AtomicU64::new(0));
    let all = thread::scope(|scope| {
        for reader in 0..N_READERS {
            let (is_over, n_pages) = (&is_over, &n_pages);
            scope.spawn(move || read(address, reader, is_over, n_pages));
        }
        let all = kill(&mut running, pods.path());
        is_over.store(true, Ordering::Relaxed);
        all
    });
    tell("pages that were read meanwhile", &n_pages.load(Ordering::Relaxed).to_string(), "");
    all
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

fn kill(running: &mut Running, pods: &Path) -> bool {
    let address = running.address;
    let serves = || (0..N_PODS).all(|number| has_page(address, number));
    let (mut waits, mut remains, mut n_early) = ([vec![], vec![]], Remains::default(), 0);
    let (mut n_open, mut n_left_open, mut killed) = (None, 0, None::<(usize, Instant)>);
    for number in 0..N_KILLS {
        let is_early = number % 3 == 2;
        if !is_early {
            until("it serves again", serves);
            if let Some((who, since)) = killed {
                waits[who].push(since.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(some(number)));
        n_early += usize::from(is_early && !running.is_ready());
        remains.note(running.broker());
        let agent = if is_early || number % 2 == 1 { None } else { running.agent() };
        if let Some(agent) = agent {
            killed = Some((0, Instant::now()));
            signal(agent, Signal::KILL);
            until("the agent is another", || running.agent().is_some_and(|pid| pid != agent));
        } else {
            if !is_early {
                let n_now = n_descriptors(running.broker());
                n_left_open = n_left_open.max(n_now.saturating_sub(*n_open.get_or_insert(n_now)));
            }
            killed = Some((1, Instant::now()));
            signal(running.broker(), Signal::KILL);
            running.end();
            // As a kubelet does it.
            *running = Running::start_with(address, pods, &[]);
        }
    }
    until("it serves at last", serves);
    let rung = running.get("/metrics").unwrap_or_default();
    let rung = rung.lines().find(|line| line.starts_with("merger_rung{")).unwrap_or_default();
    tell("the rung at the end", rung.trim_start_matches("merger_rung"), "");
    remains.note(running.broker());
    signal(running.broker(), Signal::TERM);
    running.end();
    // The kernel frees objects a moment after their last descriptor.
    thread::sleep(Duration::from_secs(1));
    let mut is_in_time = true;
    for (who, waits) in ["agent", "broker"].iter().zip(&waits) {
        let longest = waits.iter().max().copied();
        // Where nobody waited nothing is shown.
        is_in_time &= longest.is_some_and(|longest| longest <= PROMISED);
        let most = longest.unwrap_or_default().as_millis();
        let what = format!("{who} killed, {} times: pages again, max", waits.len());
        tell(&what, &format!("{most} ms"), "2000 ms");
    }
    tell("brokers killed before they served", &n_early.to_string(), "");
    tell("descriptors more in the broker", &n_left_open.to_string(), "0");
    remains.tell() && n_left_open == 0 && is_in_time && n_early > 0
}

/// The fewest that a process has within a while: while it answers it has some for a moment.
fn n_descriptors(pid: u32) -> usize {
    let count = |_| {
        thread::sleep(Duration::from_millis(1));
        fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
    };
    (0..30).map(count).min().unwrap_or_default()
}

/// Milliseconds that follow no order: 0 to 240.
fn some(number: usize) -> u64 {
    u64::try_from(number * 7919 % 241).unwrap_or_default()
}

// === impl Remains ===

impl Remains {
    /// Notes a broker, its children, and what they have of the kernel part.
    fn note(&mut self, broker: u32) {
        let children = fs::read_to_string(format!("/proc/{broker}/task/{broker}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in children.chain([broker]) {
            self.processes.insert(pid);
            let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
            for text in files.filter_map(|file| fs::read_to_string(file.path()).ok()) {
                for (name, kind) in KINDS {
                    let id =
                        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
                    self.objects.extend(id.map(|id| (kind, id)));
                }
            }
        }
    }

    /// Says what of it is still there, and whether nothing is.
    fn tell(&self) -> bool {
        let Self { processes, objects } = self;
        let n_alive = processes.iter().filter(|pid| is_alive(**pid)).count();
        tell(&format!("of {} processes still there", processes.len()), &n_alive.to_string(), "0");
        let mut n_left = 0;
        for (_, kind) in KINDS {
            let of_kind = objects.iter().filter(|(one, _)| *one == kind);
            let n_loaded = of_kind.clone().filter(|(_, id)| is_loaded(kind, *id)).count();
            let what = format!("of {} BPF objects ({kind}) still there", of_kind.count());
            tell(&what, &n_loaded.to_string(), "0");
            n_left += n_loaded;
        }
        (n_alive, n_left) == (0, 0)
    }
}

/// Whether it is still one of ours and runs. One that has ended is there until its parent takes note, which
/// for the agent of a broker that was killed is the first process of the machine.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(merger") && !stat.contains(") Z ")
}

fn is_loaded(kind: &str, id: u32) -> bool {
    let mut bpftool = Command::new("bpftool");
    bpftool.args([kind, "show", "id", &id.to_string()]);
    bpftool.stdout(Stdio::null()).stderr(Stdio::null());
    bpftool.status().expect("bpftool, by `cargo xtask setup`").success()
}
