//! A cgroup path to the pod and the container that it belongs to.
//!
//! The kubelet and the runtimes lay pods out below one root, `kubepods`, in three ways: as plain
//! directories (cgroupfs), as systemd slices, and as `slice:prefix:id` where a runtime is set to
//! systemd names but not to systemd. Whoever reads from inside a cgroup namespace of its own sees
//! the root as a row of `..`.
//!
//! What a pod names below its own component is the pod's business and changes nothing: only the
//! *first* component below the root can name a pod. Source: `pkg/kubelet/cm/pod_container_manager_linux.go`
//! and `cgroup_manager_linux.go` in kubernetes/kubernetes.

/// The owner that a cgroup path names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The pod's uid, with dashes however the path spells it.
    pub pod_uid: String,
    /// The container's id, where the path goes that deep: without runtime prefix and suffix.
    pub container_id: Option<String>,
}

/// The pod that `path` belongs to, or `None` where it names none.
#[must_use]
pub fn owner(path: &str) -> Option<Owner> {
    let mut components = path.split('/').filter(|c| !c.is_empty()).peekable();
    let mut below_root = false;
    while components.next_if_eq(&"..").is_some() {
        below_root = true;
    }

    let mut first = components.next()?;
    loop {
        if let Some(misnamed) = slice_with_container(first) {
            return Some(misnamed);
        }
        if is_root(first) {
            first = components.next()?;
            break;
        }
        if below_root {
            break;
        }
        // A login session may create cgroups of any name below its own.
        if first == "user.slice" {
            return None;
        }
        first = components.next()?;
    }

    if is_quality_of_service(first) {
        first = components.next()?;
    }
    if let Some(misnamed) = slice_with_container(first) {
        return Some(misnamed);
    }
    let pod_uid = pod_directory(first).or_else(|| pod_slice(first))?;
    Some(Owner { pod_uid, container_id: components.next().and_then(container_id) })
}

/// `kubepods`, `kubepods.slice`, and `kubelet-kubepods.slice` where the kubelet has a root of its own.
fn is_root(component: &str) -> bool {
    component == "kubepods"
        || component == "kubepods.slice"
        || component.strip_suffix("-kubepods.slice").is_some_and(|prefix| !prefix.is_empty())
}

fn is_quality_of_service(component: &str) -> bool {
    matches!(component, "burstable" | "besteffort")
        || ["kubepods-burstable.slice", "kubepods-besteffort.slice"]
            .iter()
            .any(|slice| component == *slice || component.ends_with(&format!("-{slice}")))
}

/// `pod<uid>`, as cgroupfs has it.
fn pod_directory(component: &str) -> Option<String> {
    uid(component.strip_prefix("pod")?)
}

/// `[<prefix>-]kubepods[-<qos>]-pod<uid_with_underscores>.slice`, as systemd has it.
fn pod_slice(component: &str) -> Option<String> {
    let name = component.strip_suffix(".slice")?;
    let below = match name.split_once("kubepods-") {
        Some(("", below)) => below,
        Some((prefix, below)) if prefix.ends_with('-') => below,
        _ => return None,
    };
    let below = ["burstable-", "besteffort-"]
        .iter()
        .find_map(|qos| below.strip_prefix(qos))
        .unwrap_or(below);
    uid(below.strip_prefix("pod")?)
}

/// `<pod slice>:<prefix>:<id>`, where the runtime took a systemd name for a directory.
fn slice_with_container(component: &str) -> Option<Owner> {
    let (slice, rest) = component.split_once(':')?;
    let (_, id) = rest.split_once(':')?;
    Some(Owner { pod_uid: pod_slice(slice)?, container_id: container_id(id) })
}

/// A uid of the API server (a UUID), or of a static pod (a hash).
fn uid(text: &str) -> Option<String> {
    let valid = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    valid.then(|| text.replace('_', "-"))
}

/// `<id>`, or `<runtime>-<id>.scope`.
fn container_id(component: &str) -> Option<String> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let id = name.rsplit('-').next()?;
    let valid = (12..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
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
            "/../../podUID/ID",
            "/../../../besteffort/podUID/ID",
            "/../../kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
            "/../../../kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/cri-containerd-ID.scope",
        ] {
            check(path, Some((UID, Some(ID))));
        }
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
}
