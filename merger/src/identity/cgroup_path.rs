//! A cgroup path to the pod and the container that it belongs to.
//!
//! The kubelet and the runtimes lay pods out below one root, `kubepods`, in three ways: as plain
//! directories (cgroupfs), as systemd slices, and as `slice:prefix:id` where a runtime is set to
//! systemd names but not to systemd. Whoever reads from inside a cgroup namespace of its own sees
//! the root as a row of `..`. A node that is itself a container has its root below that.
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

/// Where a path names its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The pod, and the container.
    pub owner: Owner,
    /// The path as far as the component that names the pod: the same for all of one pod.
    pub pod: &'a str,
    /// The path as far as the component of the container, where it goes that deep. It names the same owner:
    /// what is below is the pod's business.
    pub container: &'a str,
}

/// The pod that `path` belongs to, or `None` where it names none.
#[must_use]
pub fn owner(path: &str) -> Option<Owner> {
    place(path).map(|place| place.owner)
}

/// The same, and how far the path had to be read for it.
#[must_use]
pub fn place(path: &str) -> Option<Place<'_>> {
    let mut components = path.split('/').filter(|c| !c.is_empty());
    let component = candidate(&mut components)?;
    let (pod, pod_uid, container) = if let Some((slice, id)) = misnamed(component) {
        (slice, pod_slice(slice)?, Some(id))
    } else {
        let pod_uid = pod_directory(component).or_else(|| pod_slice(component))?;
        (component, pod_uid, components.next())
    };
    if container.is_some_and(is_monitor) {
        return None;
    }
    let owner = Owner { pod_uid, container_id: container.and_then(container_id) };
    // Each is a part of the path, so this is where it ends in there.
    let until = |part: &str| &path[..part.as_ptr().addr() - path.as_ptr().addr() + part.len()];
    Some(Place { owner, pod: until(pod), container: until(container.unwrap_or(pod)) })
}

/// The one component that can name a pod: the first below the root, or below its quality of service.
fn candidate<'a>(components: &mut impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut component = components.next()?;
    let mut below_root = false;
    while component == ".." {
        below_root = true;
        component = components.next()?;
    }
    loop {
        if misnamed(component).is_some() {
            return Some(component);
        }
        if is_root(component) {
            component = components.next()?;
            break;
        }
        if below_root {
            break;
        }
        // A login session may create cgroups of any name below its own.
        if component == "user.slice" {
            return None;
        }
        component = components.next()?;
    }
    if is_quality_of_service(component) { components.next() } else { Some(component) }
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

/// `<pod slice>:<prefix>:<id>`, where the runtime took a systemd name for a directory: slice and id.
fn misnamed(component: &str) -> Option<(&str, &str)> {
    let (slice, rest) = component.split_once(':')?;
    let (_, id) = rest.split_once(':')?;
    pod_slice(slice)?;
    Some((slice, id))
}

/// A uid of the API server (a UUID), or of a static pod (a hash).
fn uid(text: &str) -> Option<String> {
    let valid = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    valid.then(|| text.replace('_', "-"))
}

/// CRI-O's watcher of a container. It may be set to run in the pod's cgroup, and is older than the pod
/// and in the namespace of the host: a process of the node all the same.
/// Source: `conmon_cgroup` in `docs/crio.conf.5.md` of cri-o/cri-o.
fn is_monitor(component: &str) -> bool {
    component.starts_with("crio-conmon-")
}

/// `<id>`, or `<runtime>-<id>.scope`.
fn container_id(component: &str) -> Option<String> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let id = name.rsplit('-').next()?;
    let valid = (12..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| id.to_owned())
}

#[cfg(test)]
mod tests;
