//! Paths as kubelets, runtimes and pods make them, each with the owner that it names.

use super::*;

const UID: &str = "6d2d0ed8-5ca4-4d3a-9b3e-0f4a2b6c7d81";
const SYSTEMD_UID: &str = "6d2d0ed8_5ca4_4d3a_9b3e_0f4a2b6c7d81";
const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

#[track_caller]
fn check(path: &str, expected: Option<(&str, Option<&str>)>) {
    let path = path.replace("UID_", SYSTEMD_UID).replace("UID", UID).replace("ID", ID);
    let found = owner(&path);
    let found = found.as_ref().map(|o| (o.pod_uid.as_str(), o.container_id.as_deref()));
    assert_eq!(found, expected, "{path}");
}

#[test]
fn the_layouts_of_kubelets_name_pod_and_container() {
    for path in [
        "/kubepods/burstable/podUID/ID",
        "/kubepods/besteffort/podUID/ID",
        "/kubepods/podUID/ID",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        "/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        "/kubelet/kubepods/burstable/podUID/ID",
        "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:ID",
        "/docker/cafe/kubelet/kubepods/burstable/podUID/ID",
        "/docker/cafe/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope",
        "/kubepods-besteffort-podUID_.slice:cri-containerd:ID",
        "/../../kubepods-podUID_.slice:cri-containerd:ID",
        "/../../podUID/ID",
        "/../../../besteffort/podUID/ID",
        "/../../../../kubepods/podUID/ID",
        "/../../kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
        "/../../../kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/cri-containerd-ID.scope",
    ] {
        check(path, Some((UID, Some(ID))));
    }
}

#[test]
fn all_of_one_pod_are_in_one_place() {
    let pod_of = |path: &str| place(path).map(|place| place.pod.to_owned());
    for (path, pod) in [
        ("/kubepods/burstable/poda", "/kubepods/burstable/poda"),
        ("/kubepods/burstable/poda/b/kubepods/podc", "/kubepods/burstable/poda"),
        ("/../../poda/b", "/../../poda"),
        ("/x/kubepods-poda.slice:cri-containerd:b/c", "/x/kubepods-poda.slice"),
        ("//kubepods//poda//b", "//kubepods//poda"),
    ] {
        assert_eq!(pod_of(path).as_deref(), Some(pod), "{path}");
    }
}

#[test]
fn what_is_below_the_container_adds_nothing() {
    for (path, container) in [
        ("/kubepods/burstable/poda", "/kubepods/burstable/poda"),
        ("/kubepods/burstable/poda/b", "/kubepods/burstable/poda/b"),
        ("/kubepods/burstable/poda/b/kubepods/podc", "/kubepods/burstable/poda/b"),
        ("/../../poda/b/c", "/../../poda/b"),
        ("/x/kubepods-poda.slice:cri-containerd:b/c", "/x/kubepods-poda.slice:cri-containerd:b"),
        ("//kubepods//poda//b//c", "//kubepods//poda//b"),
        ("/kubepods/poda/crio-b/crio-conmon-c", "/kubepods/poda/crio-b"),
    ] {
        let found = place(path).unwrap();
        assert_eq!(found.container, container, "{path}");
        let again = place(container).unwrap();
        assert_eq!((again.owner, again.pod), (found.owner, found.pod), "{path}");
    }
}

#[test]
fn a_watcher_of_the_runtime_is_of_the_node() {
    check("/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope", None);
    check("/kubepods/besteffort/podUID/crio-conmon-ID", None);
    check("/kubepods/besteffort/podUID/crio-ID/crio-conmon-ID", Some((UID, Some(ID))));
}

#[test]
fn a_pod_without_a_container_is_still_a_pod() {
    check("/kubepods/burstable/podUID", Some((UID, None)));
    check("/kubepods/burstable/podUID/init.scope", Some((UID, None)));
}

#[test]
fn a_static_pod_has_a_hash_for_a_uid() {
    let hash = "d41d8cd98f00b204e9800998ecf8427e";
    check(&format!("/kubepods/burstable/pod{hash}/ID"), Some((hash, Some(ID))));
}

#[test]
fn only_the_first_component_below_the_root_names_the_pod() {
    let other = "00000000-0000-0000-0000-000000000000";
    for nested in [
        format!("/kubepods/burstable/podUID/ID/kubepods/burstable/pod{other}/ID"),
        format!("/kubepods/burstable/podUID/ID/pod{other}/ID"),
        format!(
            "/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope/kubepods-pod{other}.slice:cri-containerd:ID"
        ),
        format!("/../../podUID/ID/../../pod{other}/ID"),
    ] {
        check(&nested, Some((UID, Some(ID))));
    }
}

#[test]
fn a_path_that_only_looks_like_a_pod_names_none() {
    for path in [
        "/",
        "",
        "/..",
        "/init.scope",
        "/podUID/ID",
        "/system.slice/podUID/ID",
        "/user.slice/user-1000.slice/kubepods/burstable/podUID/ID",
        "/kubepods",
        "/kubepods/burstable",
        "/kubepods/burstable/xpodUID/ID",
        "/kubepods/burstable/burstable/podUID/ID",
        "/kubepods/other/podUID/ID",
        "/kubepods/burstable/pod/ID",
        "/kubepods/burstable/pod..%2f/ID",
        "/kubepods.slice/xkubepods-podUID_.slice/crio-ID.scope",
        "/../../system.slice/podUID/ID",
        "/mykubepods/burstable/podUID/ID",
    ] {
        check(path, None);
    }
}
