//! Which network namespace is which pod's: the rule, over plain values.
//!
//! A wrong answer here would publish one pod's samples under another's name, so the rule gives an
//! answer only where every fact agrees, and a reason everywhere else.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use self::cgroup_path::Place;
pub use self::uid::PodUid;

pub mod cgroup_path;
mod uid;

/// A network namespace, for as long as the machine runs.
///
/// The kernel never gives a cookie twice, unlike the inode number that `/proc/<pid>/ns/net` shows.
/// Source: `net_cookie` in `include/net/net_namespace.h`, read by `SO_NETNS_COOKIE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cookie(pub u64);

/// A process, as one sweep of the node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in the host's PID namespace. Reused by the kernel: an identity only with `started`.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
    /// The network namespace that it is in.
    pub netns: Cookie,
    /// Its cgroup: the path of `/proc/<pid>/cgroup` that names a pod, as far as the component of the
    /// container, else one that does not. Empty where the kernel does not tell it, where it is longer than
    /// any that is made for a pod, or where two paths name two pods. Those who are in one share it.
    pub cgroup: Arc<str>,
}

/// Why no namespace is known to be a pod's. Such a pod is not scraped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Nothing of it runs yet, or nothing runs any more.
    #[error("no process runs in the pod's cgroup: it does not run, or its uid is another by now")]
    NoProcess,
    /// Its sandbox is in the namespace of the host, where every listener is everybody's.
    #[error(
        "the pod is in the host's network namespace, which is not scraped without --host-network"
    )]
    HostNetwork,
    /// Somebody was in its namespace before it.
    #[error("process {pid}, the oldest in its network namespace, is not of this pod")]
    OldestIsForeign {
        /// The oldest process of the namespace.
        pid: u32,
    },
    /// Something that is no pod has made itself a cgroup of the pod's name.
    #[error(
        "two cgroups bear its uid, \"{}\" and \"{}\": one is not the kubelet's; find whose processes are in it",
        shown(.0),
        shown(.1)
    )]
    TwoCgroups(String, String),
    /// Two pods have their sandboxes in one namespace, and nothing says whose it is.
    #[error("pod uid {other_uid} has its sandbox in the same network namespace")]
    Contested {
        /// The uid of the other pod.
        other_uid: String,
    },
}

/// Tells for each pod uid of the node which network namespace is its own.
///
/// A pod's *sandbox* is the oldest process in the pod's cgroup, of which there is one. The sandbox's
/// namespace is the pod's if it is not the `host`'s, if the sandbox is also the oldest process *in*
/// it, and if no other pod's sandbox is in it. Uids without an entry have no process.
#[must_use]
pub fn namespaces(processes: &[Process], host: Cookie) -> HashMap<String, Result<Cookie, Unclear>> {
    let mut sandboxes: HashMap<String, &Process> = HashMap::new();
    let mut cgroups: HashMap<String, BTreeSet<&str>> = HashMap::new();
    let mut oldest_in: HashMap<Cookie, &Process> = HashMap::new();
    for process in processes {
        keep_oldest(&mut oldest_in, process.netns, process);
        if let Some(Place { owner, pod, .. }) = cgroup_path::place(&process.cgroup) {
            cgroups.entry(owner.pod_uid.clone()).or_default().insert(pod);
            keep_oldest(&mut sandboxes, owner.pod_uid, process);
        }
    }

    let mut claims: HashMap<Cookie, Vec<&str>> = HashMap::new();
    for (uid, sandbox) in &sandboxes {
        claims.entry(sandbox.netns).or_default().push(uid);
    }

    let claim = |uid: &str, sandbox: &Process| {
        let netns = sandbox.netns;
        let mut cgroups = cgroups[uid].iter();
        if let (Some(one), Some(other)) = (cgroups.next(), cgroups.next()) {
            return Err(Unclear::TwoCgroups((*one).to_owned(), (*other).to_owned()));
        }
        if netns == host {
            return Err(Unclear::HostNetwork);
        }
        // The smallest of the others, so that the reason is the same at each look.
        if let Some(other) = claims[&netns].iter().filter(|other| **other != uid).min() {
            return Err(Unclear::Contested { other_uid: (*other).to_owned() });
        }
        match oldest_in[&netns].pid {
            pid if pid == sandbox.pid => Ok(netns),
            pid => Err(Unclear::OldestIsForeign { pid }),
        }
    };
    sandboxes.iter().map(|(uid, sandbox)| (uid.clone(), claim(uid, sandbox))).collect()
}

/// Those of the processes that [`namespaces`] looks at: it tells the same of them as of all. They are at
/// most two for each pod's cgroup, however many processes there are.
#[must_use]
pub fn witnesses<'a>(processes: impl Iterator<Item = &'a Process> + Clone) -> Vec<&'a Process> {
    let mut sandboxes: HashMap<&str, &Process> = HashMap::new();
    for process in processes.clone() {
        if let Some(Place { pod, .. }) = cgroup_path::place(&process.cgroup) {
            keep_oldest(&mut sandboxes, pod, process);
        }
    }
    let of_pods: HashSet<Cookie> = sandboxes.values().map(|sandbox| sandbox.netns).collect();
    let mut oldest_in: HashMap<Cookie, &Process> = HashMap::new();
    for process in processes.filter(|process| of_pods.contains(&process.netns)) {
        keep_oldest(&mut oldest_in, process.netns, process);
    }
    let both = sandboxes.into_values().chain(oldest_in.into_values());
    let by_pid: HashMap<u32, &Process> = both.map(|process| (process.pid, process)).collect();
    by_pid.into_values().collect()
}

/// Pids are given in order, so among processes of one clock tick the smaller is the older.
fn keep_oldest<'a, K: Eq + std::hash::Hash>(
    oldest: &mut HashMap<K, &'a Process>,
    key: K,
    process: &'a Process,
) {
    let age = |process: &Process| (process.started, process.pid);
    oldest
        .entry(key)
        .and_modify(|known| {
            if age(process) < age(known) {
                *known = process;
            }
        })
        .or_insert(process);
}

/// As much of a path as a line of a log has room for: what stands before the pod's component may be
/// anybody's.
fn shown(path: &str) -> String {
    const SHOWN: usize = 160;
    let mut shown: String = path.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if path.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

// === impl Cookie ===

/// Set in the cookies that are made here, where the bit above is not: the kernel counts from 1
/// upwards, and in a case that namespaces do not have, from the highest number downwards.
const MADE: u64 = 1 << 62;

impl Cookie {
    /// A cookie where the kernel has none. Whoever makes it sees to it that it is true.
    #[must_use]
    pub const fn made(number: u64) -> Self {
        Self(MADE | number)
    }

    /// Whether this is such a one, which no socket tells.
    #[must_use]
    pub const fn is_made(self) -> bool {
        self.0 >> 62 == 1
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Cookie = Cookie(1);

    /// `(pid, started, netns, pod or "" for a process of the node)`.
    #[track_caller]
    fn check(
        processes: &[(u32, u64, u64, &str)],
        pod: &str,
        expected: Option<Result<u64, Unclear>>,
    ) {
        let processes: Vec<Process> = processes
            .iter()
            .map(|&(pid, started, netns, pod)| Process {
                pid,
                started,
                netns: Cookie(netns),
                cgroup: match pod {
                    "" => "/system.slice".into(),
                    pod => format!("/kubepods/burstable/pod{pod}/0123456789ab").into(),
                },
            })
            .collect();
        let found = namespaces(&processes, HOST).remove(pod);
        assert_eq!(found, expected.map(|claim| claim.map(Cookie)));
    }

    #[test]
    fn the_namespace_of_the_sandbox_is_the_pods() {
        check(&[(1, 0, 1, ""), (20, 5, 7, "a"), (21, 6, 7, "a")], "a", Some(Ok(7)));
    }

    #[test]
    fn a_namespace_nested_inside_a_pod_is_not_the_pods_own() {
        check(&[(20, 5, 7, "a"), (21, 6, 8, "a"), (30, 9, 7, "a")], "a", Some(Ok(7)));
    }

    #[test]
    fn a_process_of_the_node_may_enter_a_pod_later() {
        check(&[(20, 5, 7, "a"), (40, 9, 7, "")], "a", Some(Ok(7)));
    }

    #[test]
    fn an_older_process_of_somebody_else_makes_it_unclear() {
        let unclear = Unclear::OldestIsForeign { pid: 10 };
        check(&[(10, 2, 7, ""), (20, 5, 7, "a")], "a", Some(Err(unclear)));
    }

    #[test]
    fn where_the_pause_container_is_gone_the_next_oldest_says_whose_it_is() {
        let guest = [(21, 6, 7, "a"), (22, 7, 7, "a"), (39, 3, 8, "b"), (40, 8, 7, "b")];
        check(&guest, "a", Some(Ok(7)));
        let unclear = Unclear::OldestIsForeign { pid: 40 };
        let of_another = [(21, 7, 7, "a"), (39, 3, 8, "b"), (40, 6, 7, "b")];
        check(&of_another, "a", Some(Err(unclear)));
    }

    #[test]
    fn a_pod_in_the_hosts_namespace_is_not_scraped() {
        check(&[(1, 0, 1, ""), (20, 5, 1, "a")], "a", Some(Err(Unclear::HostNetwork)));
    }

    #[test]
    fn of_two_pods_in_one_namespace_neither_has_it() {
        let processes = [(20, 5, 7, "a"), (30, 6, 7, "b")];
        let contested = |uid: &str| Some(Err(Unclear::Contested { other_uid: uid.to_owned() }));
        check(&processes, "a", contested("b"));
        check(&processes, "b", contested("a"));
    }

    #[test]
    fn of_two_cgroups_of_one_name_neither_is_the_pods() {
        let mk = |pid, netns, cgroup: &str| {
            let (netns, cgroup) = (Cookie(netns), cgroup.into());
            Process { pid, started: u64::from(pid), netns, cgroup }
        };
        let kubelets = mk(20, 7, "/kubepods/poda/0123456789ab");
        let somebodys = mk(10, 8, "/docker/cafe/kubepods/poda/0123456789ab");
        let found = namespaces(&[kubelets, somebodys], HOST).remove("a").unwrap().unwrap_err();
        let expected = "two cgroups bear its uid, \"/docker/cafe/kubepods/poda\" and \
                        \"/kubepods/poda\": one is not the kubelet's; find whose processes are in it";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn a_watcher_of_the_runtime_is_not_the_sandbox() {
        let pod = "/kubepods.slice/kubepods-poda.slice";
        let mk = |pid, netns, scope: &str| {
            let (netns, cgroup) = (Cookie(netns), format!("{pod}/{scope}").into());
            Process { pid, started: u64::from(pid), netns, cgroup }
        };
        let processes =
            [mk(10, 1, "crio-conmon-0123456789ab.scope"), mk(20, 7, "crio-0123456789ab.scope")];
        assert_eq!(namespaces(&processes, HOST).remove("a"), Some(Ok(Cookie(7))));
    }

    #[test]
    fn a_guest_from_another_pod_takes_nothing() {
        let processes = [(20, 5, 7, "a"), (30, 6, 8, "b"), (31, 7, 7, "b")];
        check(&processes, "a", Some(Ok(7)));
        check(&processes, "b", Some(Ok(8)));
    }

    #[test]
    fn within_one_clock_tick_the_smaller_pid_is_the_older() {
        check(&[(21, 5, 8, "a"), (20, 5, 7, "a")], "a", Some(Ok(7)));
    }

    #[test]
    fn the_witnesses_tell_the_same_as_all_and_are_few() {
        let mut state = 7_u32;
        let mut below = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        for _ in 0..2000 {
            let processes: Vec<Process> = (1..=40)
                .map(|pid| {
                    let (started, netns) = (u64::from(below(9)), Cookie(u64::from(below(6))));
                    let cgroup = match below(4) {
                        0 => "/system.slice".into(),
                        1 => format!("/kubepods/pod{}/{}", below(4), below(2)).into(),
                        2 => format!("/kubepods/burstable/pod{}/{}", below(4), below(2)).into(),
                        _ => "".into(),
                    };
                    Process { pid, started, netns, cgroup }
                })
                .collect();
            let witnesses = witnesses(processes.iter());
            // Four pods, each in one of two places.
            assert!(witnesses.len() <= 2 * 8, "{}", witnesses.len());
            let few: Vec<Process> = witnesses.into_iter().cloned().collect();
            assert_eq!(namespaces(&few, HOST), namespaces(&processes, HOST), "{processes:?}");
        }
    }

    #[test]
    fn a_pod_without_a_process_has_no_entry() {
        check(&[(1, 0, 1, "")], "a", None);
    }
}
