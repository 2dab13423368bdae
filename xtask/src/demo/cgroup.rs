//! Cgroups in every hierarchy of this machine: v1, hybrid or v2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// The mount points of all hierarchies that can be written.
pub(super) fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let found = in_mounts(&mounts);
    ensure!(!found.is_empty(), "no writable cgroup hierarchy is mounted below /sys/fs/cgroup");
    Ok(found)
}

/// Makes a cgroup in each hierarchy; the `cgroup.procs` files that a process joins it by.
///
/// `before` is told each directory before it is made, but none that was there.
pub(super) fn make(
    hierarchies: &[PathBuf],
    path: &str,
    mut before: impl FnMut(&Path) -> io::Result<()>,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut joined = Vec::new();
    for root in hierarchies {
        let mut directory = root.clone();
        for component in Path::new(path) {
            directory.push(component);
            if !directory.is_dir() {
                before(&directory)?;
                fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
                inherit_cpus(&directory)?;
            }
        }
        joined.push(directory.join("cgroup.procs"));
    }
    Ok(joined)
}

/// The processes of a cgroup and of those below it.
pub(super) fn processes(directory: &Path) -> Vec<i32> {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let own: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    children(directory).iter().flat_map(|child| processes(child)).chain(own).collect()
}

/// Removes a cgroup and those below it; they must be empty of processes.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// A new cgroup of v1's cpuset lets nobody in before it has processors and memory.
fn inherit_cpus(directory: &Path) -> anyhow::Result<()> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    // In v2 the file says "effective" what applies, and an empty one lets everybody in.
    if directory.join("cgroup.controllers").exists() {
        return Ok(());
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(inherited) = fs::read_to_string(parent.join(file)) {
            fs::write(directory.join(file), inherited).with_context(|| file.to_owned())?;
        }
    }
    Ok(())
}

fn in_mounts(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let [_, at, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            // A hierarchy may be mounted a second time, for a container's use.
            let cgroup = matches!(kind, "cgroup" | "cgroup2") && at.starts_with("/sys/fs/cgroup");
            (cgroup && options.split(',').any(|option| option == "rw")).then(|| at.into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mounts: &str, expected: &[&str]) {
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(in_mounts(mounts), expected);
    }

    #[test]
    fn a_hybrid_machine_has_many_hierarchies() {
        check(
            "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
             cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n",
            &["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"],
        );
    }

    #[test]
    fn a_read_only_hierarchy_is_left_alone() {
        check("cgroup2 /sys/fs/cgroup cgroup2 ro,nosuid 0 0\n", &[]);
    }

    #[test]
    fn a_short_line_is_no_mount() {
        check("cgroup2 /sys/fs/cgroup\n\n", &[]);
    }
}
