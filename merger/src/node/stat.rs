//! `/proc/<pid>/stat` and `/proc/<pid>/cgroup`, as values.
//!
//! Both hold what a pod may choose: the name of a process may be any bytes, brackets and digits
//! among them. So the fields are counted from the last `)`, which only the kernel can have written.

/// `PF_KTHREAD` in <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The root of all pods' cgroups, in the names that the two drivers give it.
const PODS: [&str; 2] = ["kubepods", "kubepods.slice"];

/// What is read of a process' `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a thread of the kernel, which has no files and no pod.
    pub is_kernel: bool,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// Reads `/proc/<pid>/stat`: flags are field 9, the start is field 22, counted from 1 (proc(5)).
#[must_use]
pub fn parse(stat: &[u8]) -> Option<Stat> {
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    // Field 3 is the first after the name.
    let mut fields = str::from_utf8(&stat[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let flags: u64 = fields.nth(9 - 3)?.parse().ok()?;
    let started = fields.nth(22 - 10)?.parse().ok()?;
    Some(Stat { is_kernel: flags & KERNEL_THREAD != 0, started })
}

/// The path that tells the pod, of the lines in `/proc/<pid>/cgroup`.
///
/// A node has one hierarchy (v2), several (v1) or both, and a process may be in its pod's cgroup in
/// some only. So it is the first path with a component `kubepods`, else that of v2, else the last.
#[must_use]
pub fn cgroup(lines: &str) -> Option<&str> {
    // `hierarchy:controllers:path`, where a path may hold colons.
    let paths = || lines.lines().filter_map(|line| Some((line, line.splitn(3, ':').nth(2)?)));
    let pods = paths().find(|(_, path)| path.split('/').any(is_pods));
    let unified = || paths().find(|(line, _)| line.starts_with("0::"));
    pods.or_else(unified).or_else(|| paths().next_back()).map(|(_, path)| path)
}

/// `kubepods`, also under a kubelet with a root of its own: `kubelet-kubepods.slice` (kind).
fn is_pods(component: &str) -> bool {
    PODS.contains(&component)
        || component.ends_with("-kubepods.slice")
        || component.starts_with("kubepods-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "S 1 2 3 4 5 4194560 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21";

    #[track_caller]
    fn check(name: &str, started: Option<u64>) {
        let stat = parse(format!("42 ({name}) {REST}").as_bytes());
        assert_eq!(stat.map(|stat| stat.started), started, "{name}");
    }

    #[track_caller]
    fn check_cgroup(lines: &str, expected: Option<&str>) {
        assert_eq!(cgroup(lines), expected, "{lines}");
    }

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        check("sh", Some(98765));
        check("a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1 2", Some(98765));
        check("a b (c", Some(98765));
        check("", Some(98765));
    }

    #[test]
    fn a_kernel_thread_is_told_by_its_flags() {
        let kernel = REST.replace("4194560", "69238880");
        assert_eq!(parse(format!("2 (k) {kernel}").as_bytes()).map(|s| s.is_kernel), Some(true));
        assert_eq!(parse(format!("2 (k) {REST}").as_bytes()).map(|s| s.is_kernel), Some(false));
    }

    #[test]
    fn half_a_line_is_no_process() {
        for stat in ["", "42", "42 (sh", "42 (sh)", "42 (sh) S 1 2 3 4 5 x"] {
            assert_eq!(parse(stat.as_bytes()), None, "{stat}");
        }
    }

    #[test]
    fn the_line_that_names_a_pod_is_the_one() {
        let pod = "/kubepods/burstable/podaa/bb";
        check_cgroup(&format!("5:cpu:/system\n4:memory:{pod}\n0::/init\n"), Some(pod));
        check_cgroup(&format!("0::{pod}\n"), Some(pod));
        let systemd = "/kubepods.slice/kubepods-podaa.slice/cri-containerd-bb.scope";
        check_cgroup(&format!("1:name=systemd:{systemd}\n0::/\n"), Some(systemd));
        let private = "/../../kubepods/podaa/bb";
        check_cgroup(&format!("0::{private}\n"), Some(private));
    }

    #[test]
    fn a_path_may_hold_colons() {
        let path = "/kubepods.slice:cri-containerd:bb";
        check_cgroup(&format!("3:cpu:/\n0::{path}\n"), Some(path));
        let below = "/kubepods/x/system.slice:cri-containerd:bb";
        check_cgroup(&format!("0::{below}\n"), Some(below));
    }

    #[test]
    fn without_a_pod_it_is_that_of_v2_else_the_last() {
        check_cgroup("5:cpu:/a\n0::/b\n4:memory:/c\n", Some("/b"));
        check_cgroup("5:cpu:/a\n4:memory:/c\n", Some("/c"));
        check_cgroup("", None);
        check_cgroup("nonsense\n", None);
    }

    #[test]
    fn a_component_only_resembles_the_root_of_pods() {
        check_cgroup("5:cpu:/mykubepods/x\n0::/b\n", Some("/b"));
    }
}
