//! Pods that end and come back, again and again, while the agent scrapes what it knew a moment before.
//!
//! Each life of a pod has a uid and a nonce of its own, and serves the nonce. Names of pods come back at
//! once, inode numbers of namespaces as the kernel likes it, and process ids as often as is asked for. A
//! body that is given out under a uid has to hold that uid's nonce: every other one is a sample with
//! another pod's name.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use merger::{
    exposition::Format,
    inventory::{self, Target},
    netns::Netns,
    node::{self, Node, Options},
    pods::Known,
    scrape::{Limits, Scraper},
    target::{
        Container, Pod, PodRef, State,
        plan::{Probed, Rules},
    },
};
use tokio::{runtime, sync::Semaphore, task::spawn_blocking, time::sleep};

use super::zygote::{Made, PORT, Zygote};

/// Pods that live at one time.
pub(crate) const SLOTS: usize = 24;

/// The longest that a pod lives that nobody has scraped yet.
const LIFE: Duration = Duration::from_secs(2);

/// The least time from one life to the next: the kernel takes about a second until a namespace is gone,
/// and its inode number is free.
const PACE: Duration = Duration::from_millis(6);

/// How many looks ago the targets may be known that are scraped.
const GENERATIONS: usize = 4;

/// Scrapes at one time, and how long each is waited for.
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_millis(200);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lives: usize,
    /// Lives that were scraped at least once.
    pub(crate) scraped: usize,
    /// Namespaces with an inode number that an earlier one had.
    pub(crate) inodes_reused: usize,
    /// The same of cookies, which the kernel does not do.
    pub(crate) cookies_reused: usize,
    /// Processes with the id of the pod's own former one, and of another pod's.
    pub(crate) pids_own: usize,
    pub(crate) pids_others: usize,
    pub(crate) bodies: u64,
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// Bodies of another life than the one they were given out under.
    pub(crate) crossed: Vec<String>,
    /// The same where a pod is taken for what has its process id.
    pub(crate) by_pid: (u64, u64),
    pub(crate) took: Duration,
}

/// What lives, and what has lived.
#[derive(Default)]
struct World {
    pods: Mutex<Vec<Option<Arc<Pod>>>>,
    nonces: Mutex<HashMap<String, String>>,
    scraped: Mutex<HashSet<String>>,
    outcome: Mutex<Outcome>,
    bodies: AtomicU64,
    by_pid: (AtomicU64, AtomicU64),
    over: AtomicBool,
}

/// A target, and the process that its namespace was found by.
#[derive(Clone)]
struct Seen {
    target: Arc<Target>,
    pid: u32,
}

/// Whoever is told what becomes of the pods. It is nobody where that is of no interest.
pub(crate) trait Witness {
    fn made(&mut self, _: Made) {}
    /// And whether it was scraped.
    fn ended(&mut self, _: Made, _: bool) {}
}

impl Witness for () {}

/// Lets pods live `lives` times, of which `forced` get a process id that was a pod's before, while such a
/// node looks. The last [`SLOTS`] of them do not end before that is over.
pub(crate) fn run(
    zygote: Zygote,
    lives: usize,
    forced: usize,
    options: Options,
    mut witness: impl Witness + Send + 'static,
) -> Outcome {
    let world = Arc::new(World::default());
    lock(&world.pods).resize(SLOTS, None);
    let start = Instant::now();
    let fate = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            fate(&world, zygote, [lives, forced], &mut witness);
            world.over.store(true, Ordering::Relaxed);
        })
    };
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime needs no right").block_on(watch(&world, options));
    fate.join().expect("the thread does not panic");
    let mut outcome = std::mem::take(&mut *lock(&world.outcome));
    outcome.lives = lives;
    outcome.scraped = lock(&world.scraped).len();
    outcome.bodies = world.bodies.load(Ordering::Relaxed);
    outcome.by_pid =
        (world.by_pid.0.load(Ordering::Relaxed), world.by_pid.1.load(Ordering::Relaxed));
    outcome.took = start.elapsed();
    outcome
}

/// Ends one pod after the other, and makes the next in its place.
fn fate(world: &World, mut zygote: Zygote, [lives, forced]: [usize; 2], witness: &mut dyn Witness) {
    let mut alive: Vec<Option<(String, Made)>> = vec![None; SLOTS];
    let (mut inodes, mut cookies) = (HashSet::new(), HashSet::new());
    // Ids that came back, of all that were asked for, and one that is free.
    let (mut n_back, mut n_asked, mut neighbours) = (0, 0, 0);
    for life in 0..lives {
        let began = Instant::now();
        let slot = life % SLOTS;
        let mut own = 0;
        if let Some((uid, made)) = alive[slot].take() {
            let born = Instant::now();
            while !lock(&world.scraped).contains(&uid) && born.elapsed() < LIFE {
                thread::sleep(Duration::from_millis(1));
            }
            zygote.end(&uid);
            let is_scraped = lock(&world.scraped).contains(&uid);
            witness.ended(made, is_scraped);
            own = made.pid;
        }
        let is_forced = n_back * lives <= forced * life && own != 0;
        n_asked += usize::from(is_forced);
        // In turns: that of the same pod's last life, and that of the pod that ended before it.
        let pid = match (is_forced, n_asked % 2) {
            (false, _) => 0,
            (true, 0) => own,
            (true, _) => neighbours,
        };
        let nonce = format!("{:016x}", hash(2 * life as u64));
        let uid = format!("{:08x}-0000-4000-8000-{life:012x}", hash(2 * life as u64 + 1) >> 32);
        lock(&world.nonces).insert(uid.clone(), nonce.clone());
        // Whoever tells of pods may be early or late: here early, so that the old namespace may still
        // be there when the new uid is known.
        lock(&world.pods)[slot] = Some(Arc::new(mk_pod(slot, &uid)));
        let made = zygote.make(&uid, &format!("nonce{{of=\"{nonce}\"}} 1"), pid);
        witness.made(made);
        {
            let mut outcome = lock(&world.outcome);
            outcome.inodes_reused += usize::from(!inodes.insert(made.inode));
            let again = made.cookie.is_some_and(|cookie| !cookies.insert(cookie));
            outcome.cookies_reused += usize::from(again);
            let got = is_forced && made.pid == pid;
            n_back += usize::from(got);
            outcome.pids_own += usize::from(got && pid == own);
            outcome.pids_others += usize::from(got && pid != own);
        }
        neighbours = if pid == own { 0 } else { own };
        alive[slot] = Some((uid, made));
        thread::sleep(PACE.saturating_sub(began.elapsed()));
    }
}

fn mk_pod(slot: usize, uid: &str) -> Pod {
    let annotations =
        [("prometheus.io/scrape", "true".to_owned()), ("prometheus.io/port", PORT.to_string())];
    Pod {
        name: PodRef { namespace: "ns".to_owned(), name: format!("pod-{slot}") },
        uid: uid.to_owned(),
        node: None,
        annotations: annotations.map(|(name, value)| (name.to_owned(), value)).into(),
        containers: vec![Container { name: "app".to_owned(), ..Container::default() }],
        monitored: merger::target::monitor::Monitored::default(),
        ended: false,
    }
}

/// Looks and scrapes as the agent does, as fast as it goes.
async fn watch(world: &Arc<World>, options: Options) {
    let (node, _changes) = node::start(options).unwrap_or_else(|error| panic!("{error}"));
    let scraper = Scraper::new(Arc::new(node.clone()), Limits::default()).expect("TLS works");
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut generations: Vec<Vec<Seen>> = vec![];
    for turn in 0_u64.. {
        if world.over.load(Ordering::Relaxed) {
            break;
        }
        if let Some(generation) = look(world, &node).await {
            generations.insert(0, generation);
            generations.truncate(GENERATIONS);
        }
        for (age, seen) in generations
            .iter()
            .enumerate()
            .flat_map(|(age, all)| all.iter().map(move |one| (age, one)))
        {
            // Of those that live, the new ones and some others; of those that have ended, all.
            let of_turn = hash(turn ^ u64::from(seen.pid)).is_multiple_of(8);
            let is_alive = world.is_alive(&seen.target.pod.uid);
            if is_alive && (age > 0 || !(of_turn || world.is_unscraped(&seen.target.pod.uid))) {
                continue;
            }
            let Ok(room) = Arc::clone(&room).acquire_owned().await else { return };
            let (world, scraper, seen) = (Arc::clone(world), Arc::clone(&scraper), seen.clone());
            tokio::spawn(async move {
                if !is_alive {
                    by_pid(&world, &seen).await;
                }
                scrape(&world, &scraper, &seen.target).await;
                drop(room);
            });
        }
        sleep(Duration::from_millis(1)).await;
    }
    // Whatever is under way counts as well.
    let all = u32::try_from(IN_FLIGHT).expect("a small number");
    drop(room.acquire_many(all).await);
}

/// The targets that have something to scrape.
async fn look(world: &World, node: &Node) -> Option<Vec<Seen>> {
    let known = lock(&world.pods).iter().flatten().cloned().collect();
    let snapshot = node.snapshot().await.ok()?;
    let known = Known { pods: known, problems: vec![], ..Known::default() };
    let targets =
        inventory::targets(&known, &snapshot, "node", false, &Rules::default(), &Probed::default())
            .into_values();
    let seen = targets.filter_map(|target| {
        let netns = *target.netns.as_ref().ok()?;
        let pid = snapshot.processes.iter().find(|process| process.netns == netns)?.pid;
        Some(Seen { target, pid })
    });
    Some(seen.collect())
}

async fn scrape(world: &World, scraper: &Arc<Scraper>, target: &Target) {
    let (Ok(netns), Some(source)) = (&target.netns, target.plan.sources.first()) else { return };
    let State::Ready(_) = source.state else { return };
    let scraped = scraper.scrape(*netns, source, Format::Text, PATIENCE).await;
    let uid = &target.pod.uid;
    match scraped.page {
        Ok(page) if world.is_own(uid, &page.body.bytes) => {
            world.bodies.fetch_add(1, Ordering::Relaxed);
            lock(&world.scraped).insert(uid.clone());
        }
        Ok(page) => {
            let body = page.body.bytes.escape_ascii();
            lock(&world.outcome).crossed.push(format!("{uid} in {netns} got {body}"));
        }
        Err(error) => *lock(&world.outcome).failures.entry(error.as_str()).or_default() += 1,
    }
}

/// What would come of it if a pod were whatever has its process id: the test of the test.
async fn by_pid(world: &World, seen: &Seen) {
    let pid = seen.pid;
    let ask = move || {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let mut stream = Netns::of_pid(pid)?.within(connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut body = vec![];
        stream.read_to_end(&mut body).map(|_| body)
    };
    let Ok(Ok(body)) = spawn_blocking(ask).await else { return };
    let is_own = world.is_own(&seen.target.pod.uid, &body);
    let count = if is_own { &world.by_pid.0 } else { &world.by_pid.1 };
    count.fetch_add(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that look like chance and are the same each time: splitmix64.
fn hash(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// === impl World ===

impl World {
    fn is_alive(&self, uid: &str) -> bool {
        lock(&self.pods).iter().flatten().any(|pod| pod.uid == uid)
    }

    fn is_unscraped(&self, uid: &str) -> bool {
        !lock(&self.scraped).contains(uid)
    }

    fn is_own(&self, uid: &str, body: &[u8]) -> bool {
        let nonces = lock(&self.nonces);
        let own = format!("nonce{{of=\"{}\"}} 1\n", nonces[uid]);
        body.ends_with(own.as_bytes())
    }
}

// === impl Outcome ===

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: Vec<String> =
            self.failures.iter().map(|(why, n)| format!("{n} {why}")).collect();
        writeln!(f, "pod reincarnations              {:>8}", self.lives)?;
        writeln!(f, "  scraped at least once         {:>8}", self.scraped)?;
        writeln!(f, "  inode of the namespace reused {:>8}", self.inodes_reused)?;
        writeln!(f, "  cookie of it reused           {:>8}", self.cookies_reused)?;
        writeln!(f, "  process id forced, own        {:>8}", self.pids_own)?;
        writeln!(f, "  process id forced, another's  {:>8}", self.pids_others)?;
        writeln!(f, "bodies                          {:>8}", self.bodies)?;
        writeln!(f, "scrapes without a body           {}", failed.join(", "))?;
        let (own, crossed) = self.by_pid;
        writeln!(f, "cross-pod samples               {:>8}", self.crossed.len())?;
        writeln!(
            f,
            "cross-pod samples, were a pod its process id: {crossed} of {}",
            own + crossed
        )?;
        write!(f, "took {:.1} s", self.took.as_secs_f64())
    }
}
