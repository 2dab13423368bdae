//! Debian's packages: which are missing, and how they are installed without starting a daemon.

use std::{path::Path, process::Command};

use anyhow::ensure;

use crate::shell;

/// Each program that tests and demo run, with the package that brings it.
pub(super) const PROGRAMS: &[(&str, &str)] = &[
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("prometheus-pushgateway", "prometheus-pushgateway"),
    ("iptables-restore", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("python3", "python3"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("catatonit", "catatonit"),
    ("busybox", "busybox-static"),
    // In no directory of programs: containerd is told where they are.
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("kubectl", "kubernetes-client"),
];

/// The same for the task `kernel`: the machine, PID 1 of its guests, and what makes their worlds.
pub(super) const GUEST_PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("strip", "binutils"),
    ("xz", "xz-utils"),
];

/// Packages that come with a service, whose name is the package's.
const SERVICES: &[&str] =
    &["containerd", "prometheus", "prometheus-node-exporter", "prometheus-pushgateway"];

/// The packages among these that are not installed.
pub(super) fn missing_packages(wanted: &[String]) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut query = shell::command(["dpkg-query"]);
    query.args(["--show", "--showformat=${db:Status-Status} ${Package}\n"]).args(wanted);
    // It fails where one of them is unknown, and still lists the others.
    let listed = query.output().map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let installed: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    wanted.iter().filter(|package| !installed.contains(&package.as_str())).cloned().collect()
}

/// The commands that install these packages, as root.
pub(super) fn commands(packages: &[String]) -> anyhow::Result<Vec<Command>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(
        shell::find("apt-get").is_some(),
        "this is no Debian: install what gives {} there, then run this again",
        packages.join(" ")
    );
    let mut commands = Vec::new();
    if shell::output(apt("install").arg("--simulate").args(packages)).is_err() {
        commands.push(apt("update"));
    }
    commands.extend(services_stay_off(packages));
    let mut install = apt("install");
    install.args(["--yes", "--no-install-recommends"]).args(packages);
    commands.push(install);
    Ok(commands)
}

fn apt(verb: &str) -> Command {
    let mut command = shell::command(["apt-get", "--quiet", verb]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Under systemd a package starts its service; a masked one stays off, now and after a reboot.
///
/// The services are only those of packages that are about to be installed, so none in use is hit.
fn services_stay_off(packages: &[String]) -> Option<Command> {
    // Source: sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let fresh = packages.iter().filter(|package| SERVICES.contains(&package.as_str()));
    let units: Vec<String> = fresh.map(|package| format!("{package}.service")).collect();
    let mut mask = shell::command(["systemctl", "mask"]);
    mask.args(&units);
    (!units.is_empty()).then_some(mask)
}
