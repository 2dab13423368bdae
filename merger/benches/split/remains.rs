//! What is left of brokers and agents that were killed: processes, and objects of the kernel part.
//!
//! The objects of the whole machine are compared, before the first broker and after the last one: those of a
//! loader that was killed a moment after it had made them were never seen with anybody. Where others had
//! objects of the same names from the start, as another merger has, only those count that were seen with a
//! process of this run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{judge, tell};

/// The name of an object of the kernel part in `/proc/<pid>/fdinfo`, and what bpftool calls its kind.
const KINDS: [(&str, &str); 3] = [("prog_id:", "prog"), ("map_id:", "map"), ("link_id:", "link")];

/// The kernel frees objects a moment after their last descriptor. What bpftool loads itself to see more is
/// another one each time.
const MOMENT: Duration = Duration::from_secs(5);

/// Objects by kind and id, with their names.
type Loaded = BTreeMap<(&'static str, u64), String>;

/// What there was of all that were killed, and of others before.
pub(super) struct Remains {
    before: Loaded,
    processes: BTreeSet<u32>,
    /// By kind and id.
    objects: BTreeSet<(&'static str, u64)>,
}

// === impl Remains ===

impl Remains {
    /// To be made while no merger of this run is there.
    pub(super) fn new() -> Self {
        Self { before: loaded(), processes: BTreeSet::new(), objects: BTreeSet::new() }
    }

    /// Notes a broker, its children, and what they have of the kernel part.
    pub(super) fn note(&mut self, broker: u32) {
        for pid in children(broker).into_iter().chain([broker]) {
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

    /// Says what is still there, and whether nothing is. There has to have been something.
    pub(super) fn judge(&self) -> bool {
        let left = settled(|| self.left());
        let mut nothing = true;
        for (_, kind) in KINDS {
            let of_kind = |objects: &BTreeSet<(&'static str, u64)>| {
                objects.iter().filter(|(one, _)| *one == kind).count()
            };
            let (n, n_left) = (of_kind(&self.objects), of_kind(&left));
            let what = format!("of {n} seen BPF objects ({kind}) and others left");
            nothing &= judge(&what, &n_left.to_string(), "0", n_left == 0 && n > 0);
        }
        let names = loaded();
        for object in &left {
            let name = names.get(object).map_or("", String::as_str);
            tell(&format!("  {} {name}", object.0), &format!("id {}", object.1));
        }
        let processes = settled(running);
        let what = format!("of {} seen processes and others left", self.processes.len());
        nothing & judge(&what, &processes.len().to_string(), "0", processes.is_empty())
    }

    /// What was not there before, and was this run's or bears a name that nobody's did.
    fn left(&self) -> BTreeSet<(&'static str, u64)> {
        let foreign: BTreeSet<&String> = self.before.values().collect();
        let mut left = loaded();
        left.retain(|object, name| {
            let is_ours = self.objects.contains(object) || !foreign.contains(name);
            !self.before.contains_key(object) && is_ours
        });
        left.into_keys().collect()
    }
}

/// What does not go away.
fn settled<T: Ord>(look: impl Fn() -> BTreeSet<T>) -> BTreeSet<T> {
    let start = Instant::now();
    let mut left = look();
    while !left.is_empty() && start.elapsed() < MOMENT {
        thread::sleep(MOMENT / 20);
        let now = look();
        left.retain(|one| now.contains(one));
    }
    left
}

/// All objects of this machine. A link is called by its program.
fn loaded() -> Loaded {
    let lists = KINDS.map(|(_, kind)| (kind, list(kind)));
    let number = |object: &Value, key: &str| object[key].as_u64().unwrap_or_default();
    let mut all = Loaded::new();
    for (kind, objects) in lists {
        for object in objects {
            let program = all.get(&("prog", number(&object, "prog_id"))).cloned();
            let name = object["name"].as_str().map(str::to_owned).or(program);
            all.insert((kind, number(&object, "id")), name.unwrap_or_default());
        }
    }
    all
}

fn list(kind: &str) -> Vec<Value> {
    let output = Command::new("bpftool").args([kind, "list", "--json"]).output();
    let output = output.expect("bpftool, by `cargo xtask setup`");
    serde_json::from_slice(&output.stdout).expect("root has a list of all objects")
}

/// The processes of this merger, whoever their parents are by now. One that has ended and is only not taken
/// note of runs nothing.
fn running() -> BTreeSet<u32> {
    let ours = fs::canonicalize(env!("CARGO_BIN_EXE_merger")).expect("it was built for this");
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| is_program(*pid, &ours)).collect()
}

fn is_program(pid: u32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|runs| runs == program)
}

/// The processes that a process has started.
pub(super) fn children(of: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
