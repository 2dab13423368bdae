//! Files of `/proc/<pid>` as the kernel writes them, with what a pod may have put in.

use super::*;
use crate::{hostile, identity::cgroup_path::owner};

const REST: &str = "S 1 2 3 4 5 4194560 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21";

#[track_caller]
fn check(name: &str, started: Option<u64>) {
    let stat = parse(format!("42 ({name}) {REST}").as_bytes());
    assert_eq!(stat.map(|stat| (stat.n_threads, stat.started)), started.map(|s| (17, s)), "{name}");
}

#[track_caller]
fn check_cgroup(lines: &str, expected: Option<&str>) {
    assert_eq!(cgroup(lines.as_bytes()).as_deref(), expected, "{lines}");
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
fn a_process_whose_first_thread_has_ended_is_told_from_one_that_has() {
    for (state, n_threads, expected) in [("S", "17", false), ("Z", "17", true), ("Z", "1", false)] {
        let rest = REST.replacen('S', state, 1).replace(" 17 ", &format!(" {n_threads} "));
        let stat = parse(format!("2 (k) {rest}").as_bytes()).unwrap();
        assert_eq!(stat.is_headless, expected, "{rest}");
    }
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
    let misnamed = "/system.slice/containerd.service/kubepods-podaa.slice:cri-containerd:bb";
    check_cgroup(&format!("3:cpu:{misnamed}\n0::/\n"), Some(misnamed));
}

#[test]
fn a_private_namespace_of_cgroups_names_it_too() {
    for private in ["/../../podaa/bb", "/../../kubepods/podaa/bb"] {
        check_cgroup(&format!("0::{private}\n"), Some(private));
        check_cgroup(&format!("5:cpu:{private}\n0::/../..\n"), Some(private));
    }
}

#[test]
fn a_process_in_two_pods_is_in_none() {
    check_cgroup("5:cpu:/kubepods/podaa/b\n4:memory:/kubepods/podcc/d\n0::/\n", Some(""));
    // A name with the end of a line in it, as kernels before 5.13 let a cgroup of v1 be renamed.
    check_cgroup("5:cpu:/kubepods/podaa/b\n0::/kubepods/podcc\n0::/\n", Some(""));
}

#[test]
fn a_name_that_is_no_text_hides_no_pod() {
    let lines = b"5:cpu:/kubepods/podaa/\xff\xfe\n0::/\n";
    assert_eq!(cgroup(lines).unwrap(), "/kubepods/podaa/\u{fffd}\u{fffd}");
}

#[test]
fn no_path_is_longer_than_those_that_are_made_for_pods() {
    let component = "/".to_owned() + &"x".repeat(200);
    let pod = "/kubepods/burstable/podaa/bb";
    check_cgroup(&format!("0::{pod}{}\n", component.repeat(19)), Some(pod));
    let nested = component.repeat(4) + pod;
    check_cgroup(&format!("0::{nested}{component}\n"), Some(&nested));
    check_cgroup(&format!("0::{component}{nested}\n"), Some(""));
    check_cgroup(&format!("0::{component}\n"), Some(&component));
    check_cgroup(&format!("0::{component}{component}\n"), Some(""));
    // It is not cut: what is left might name a pod that the whole does not.
    let watcher = format!("{}/crio-conmon-bb", component.repeat(5));
    check_cgroup(&format!("0::/kubepods/podaa/crio-conmon-bb{watcher}\n"), Some(""));
}

#[test]
fn without_a_pod_it_is_that_of_v2_else_the_last() {
    check_cgroup("5:cpu:/a\n0::/b\n4:memory:/c\n", Some("/b"));
    check_cgroup("5:cpu:/a\n4:memory:/c\n", Some("/c"));
    check_cgroup("0::/a:b:c\n", Some("/a:b:c"));
    check_cgroup("", None);
    check_cgroup("nonsense\n", None);
}

#[test]
fn a_component_only_resembles_the_root_of_pods() {
    check_cgroup("5:cpu:/mykubepods/podaa\n0::/b\n", Some("/b"));
    check_cgroup("5:cpu:/kubepods-x/podaa\n0::/b\n", Some("/b"));
}

#[test]
fn whatever_a_pod_names_below_its_own_cgroup_it_stays_that_pods() {
    const UID: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
    const UNDERSCORES: &str = "6d2d0ed8_5ca4_4d3a_9b3e_0f4a2b6c7d81";
    let id = "4f5c2f0f3b0e2a9c".repeat(4);
    let own = cgroup_path::Owner { pod_uid: UID.into(), container_id: Some(id.clone()) };
    let names = hostile::cgroups();
    assert!(names.len() >= 100);
    for layout in [
        "/kubepods/podUID/ID",
        "/kubepods/burstable/podUID/ID",
        "/kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/crio-ID.scope",
        "/kubelet/kubepods/besteffort/podUID/ID",
        "/docker/cafe/kubelet/kubepods/podUID/ID",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope",
        "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:ID",
        "/kubepods-podUID_.slice:cri-containerd:ID",
        "/../../podUID/ID",
        "/../../../burstable/podUID/ID",
        "/../kubepods-podUID_.slice/cri-containerd-ID.scope",
        "/../../../../kubepods.slice/kubepods-podUID_.slice/cri-containerd-ID.scope",
    ] {
        let layout = layout.replace("UID_", UNDERSCORES).replace("UID", UID).replace("ID", &id);
        for name in &names {
            let path = [layout.as_bytes(), b"/", name].concat();
            let shown = String::from_utf8_lossy(&path).into_owned();
            for [before, after] in [
                ["0::", "\n"],
                ["7:memory:", "\n0::/system.slice/containerd.service\n"],
                ["12:cpu,cpuacct:/\n1:name=systemd:", "\n0::/\n"],
            ] {
                let lines = [before.as_bytes(), &path, after.as_bytes()].concat();
                let found = cgroup(&lines).unwrap();
                assert_eq!(owner(&found), Some(own.clone()), "{shown}");
                assert_eq!(found, layout, "{shown}");
            }
        }
    }
}
