//! `/proc/<pid>/stat` and `/proc/<pid>/cgroup`, as values.
//!
//! Both hold what a pod may choose: the name of a process may be any bytes, brackets and digits
//! among them. So the fields are counted from the last `)`, which only the kernel can have written.

use crate::identity::cgroup_path::{self, Place};

/// `PF_KTHREAD` in <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Bytes of a path that names a pod, as far as its container. The names that kubelets and runtimes give
/// come to some 330 with a node that is a container itself, and the pod gives none of them. What stands
/// before may be anybody's who is no pod, so a longer path is nobody's.
const LONGEST: usize = 1024;

/// Bytes of one that names none: it tells those who are in one cgroup from others, and nothing more.
const LONGEST_OUTSIDE: usize = 256;

/// What is read of a process' `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a thread of the kernel, which has no files and no pod.
    pub is_kernel: bool,
    /// Its threads, the first one among them even where that has ended.
    pub n_threads: u64,
    /// Whether the first one has ended and others have not.
    pub is_headless: bool,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// Reads `/proc/<pid>/stat`: the state is field 3, flags are field 9, the number of threads is field 20, the start field 22,
/// counted from 1 (proc(5)).
#[must_use]
pub fn parse(stat: &[u8]) -> Option<Stat> {
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    // Field 3 is the first after the name.
    let mut fields = str::from_utf8(&stat[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    let flags: u64 = fields.nth(9 - 4)?.parse().ok()?;
    let n_threads: u64 = fields.nth(20 - 10)?.parse().ok()?;
    let started = fields.nth(22 - 21)?.parse().ok()?;
    let is_headless = has_ended && n_threads > 1;
    Some(Stat { is_kernel: flags & KERNEL_THREAD != 0, n_threads, is_headless, started })
}

/// The path that tells the pod, of the lines in `/proc/<pid>/cgroup`.
///
/// A node has one hierarchy (v2), several (v1) or both, and a process may be in its pod's cgroup in
/// some only. So it is the first path that names a pod, else that of v2, else the last. Where two
/// paths name two pods it is none of them, and the empty path is given, which names nobody.
///
/// A path ends at the component of the container: what a pod names below it would be kept for each of its
/// processes. In the place of one that is longer nevertheless, than 1024 bytes or where it names no pod than
/// 256, the empty one is given as well.
///
/// A name may be of any bytes but `/` and `\n`. What is no UTF-8 is replaced: it is below the
/// component that names the pod, which is the kubelet's.
#[must_use]
pub fn cgroup(lines: &[u8]) -> Option<String> {
    let lines = String::from_utf8_lossy(lines);
    // `hierarchy:controllers:path`, where a path may hold colons.
    let paths = || lines.lines().filter_map(|line| Some((line, line.splitn(3, ':').nth(2)?)));
    let mut placed = paths().filter_map(|(_, path)| cgroup_path::place(path));
    let (path, longest) = if let Some(Place { owner, container, .. }) = placed.next() {
        let is_one = placed.all(|other| other.owner.pod_uid == owner.pod_uid);
        (if is_one { container } else { "" }, LONGEST)
    } else {
        let unified = || paths().find(|(line, _)| line.starts_with("0::"));
        (unified().or_else(|| paths().next_back())?.1, LONGEST_OUTSIDE)
    };
    Some(if path.len() > longest { String::new() } else { path.to_owned() })
}

#[cfg(test)]
mod tests;
