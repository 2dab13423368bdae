//! The node: a bridge, the pods on it, and every process of the demo.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use super::{
    Interrupt, RunDirectory, cgroup, http, leftovers, manifest, mesh,
    pod::{Container, NAMESPACE, PAUSE, PODS, Pod, Program},
    process::{Birth, Process},
    run_directory, wait_for,
};
use crate::{screen, shell};

/// The network namespace of the bridge: outside of every pod, as another machine is.
pub(super) const OUTSIDE: &str = "merger-demo-net";

/// The bridge's own address, and that of the client outside.
const GATEWAY: &str = "198.18.0.1/24";

/// The node while it is up. Dropping it ends its processes; the run directory clears the rest.
pub(super) struct Node<'a> {
    directory: &'a RunDirectory,
    logs: PathBuf,
    /// Processes outside of the pods, which are asked to end before they are killed.
    services: Vec<Process>,
    containers: Vec<Process>,
}

// === impl Node ===

impl<'a> Node<'a> {
    pub(super) fn new(directory: &'a RunDirectory) -> Self {
        let logs = crate::workspace().join("target/demo/logs");
        Self { directory, logs, services: Vec::new(), containers: Vec::new() }
    }

    /// Makes the network and the pods, and waits until each container answers.
    pub(super) fn set_up(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        if let Err(error) = fs::remove_dir_all(&self.logs) {
            ensure!(error.kind() == io::ErrorKind::NotFound, "{}: {error}", self.logs.display());
        }
        fs::create_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
        make_bridge()?;
        mesh::make_certificates(self.directory)?;
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        for pod in PODS {
            interrupt.check()?;
            self.make_pod(pod, interrupt)?;
            self.directory
                .write(&format!("pods/{}.yaml", pod.name), &manifest::of(pod, name.trim_end()))?;
        }
        self.wait_until_ready(interrupt)
    }

    /// Starts a process outside of the pods.
    pub(super) fn serve(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        let cgroups = self.make_cgroup(&format!("{}/{name}", leftovers::SERVICES))?;
        let birth = Birth { cgroups, ..Birth::default() };
        self.services.push(birth.give(name.to_owned(), program, arguments, &self.logs)?);
        Ok(())
    }

    /// Fails where a process has ended or a signal came.
    pub(super) fn check(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        interrupt.check()?;
        let logs = self.logs.display();
        for process in self.services.iter_mut().chain(&mut self.containers) {
            if let Some(status) = process.ended() {
                bail!("{} has ended with {status}: its log is in {logs}", process.name);
            }
        }
        Ok(())
    }

    /// The name of a process that has ended since the last call.
    pub(super) fn newly_ended(&mut self) -> Option<String> {
        let mut all = self.services.iter_mut().chain(&mut self.containers);
        all.find_map(|process| process.newly_ended().then(|| process.name.clone()))
    }

    /// Where each process's output is kept.
    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    fn make_pod(&mut self, pod: &Pod, interrupt: &Interrupt) -> anyhow::Result<()> {
        let netns = pod.netns();
        join_bridge(pod)?;
        if pod.is_meshed() {
            mesh::redirect(&netns)?;
        }
        self.contain(pod, PAUSE, Path::new("sleep"), &["infinity"], None)?;
        // The oldest process of the namespace has to be the sandbox's own.
        let go_on = || interrupt.check();
        wait_for("the sandbox", Duration::from_secs(5), go_on, || {
            let pause = self.containers.last().map(Process::program).unwrap_or_default();
            ensure!(pause == "sleep", "it is still {pause:?}");
            Ok(())
        })?;
        for container in pod.containers {
            self.start(pod, container)?;
        }
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name).collect();
        let mesh = if pod.is_meshed() { ", behind the NAT rules of a mesh" } else { "" };
        screen::step(&format!(
            "{NAMESPACE}/{} at {} with {}{mesh}",
            pod.name,
            pod.address,
            names.join(" and ")
        ));
        Ok(())
    }

    fn start(&mut self, pod: &Pod, container: &Container) -> anyhow::Result<()> {
        let name = container.name;
        match container.program {
            Program::Exporter(address) => {
                let listen = format!("--web.listen-address={address}");
                let program = Path::new("prometheus-node-exporter");
                self.contain(pod, name, program, &[&listen, "--log.level=warn"], None)
            }
            Program::DeadEnd(port) => {
                let port = port.to_string();
                self.contain(pod, name, &crate::PROGRAM, &["dead-end", &port], None)
            }
            Program::Sidecar => {
                let image = mesh::image(self.directory)?;
                let (program, arguments) = mesh::SIDECAR;
                self.contain(pod, name, Path::new(program), arguments, Some(image))
            }
        }
    }

    /// Starts a container's process. One with an image of its own is a sidecar's.
    fn contain(
        &mut self,
        pod: &Pod,
        container: &str,
        program: &Path,
        arguments: &[&str],
        image: Option<(PathBuf, PathBuf)>,
    ) -> anyhow::Result<()> {
        let cgroups = self.make_cgroup(&pod.cgroup(container))?;
        let user = image.is_some().then_some(mesh::USER);
        let birth = Birth { cgroups, netns: Some(pod.netns()), user, image };
        let name = format!("{}/{container}", pod.name);
        self.containers.push(birth.give(name, program, arguments, &self.logs)?);
        Ok(())
    }

    fn make_cgroup(&self, path: &str) -> anyhow::Result<Vec<PathBuf>> {
        cgroup::make(&cgroup::hierarchies()?, path, |made| self.directory.note_cgroup(made))
    }

    fn wait_until_ready(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        for pod in PODS {
            for container in pod.containers {
                let Some(url) = readiness(container) else { continue };
                let name = format!("{}/{}", pod.name, container.name);
                let go_on = || self.check(interrupt);
                wait_for(&name, Duration::from_secs(20), go_on, || {
                    http::get_inside(&pod.netns(), &[], &url)?.success().map(drop)
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // The last that started is the first that ends: nobody reads what is not there any more.
        for service in self.services.iter_mut().rev() {
            service.stop(Duration::from_secs(5));
        }
        self.containers.iter_mut().for_each(Process::kill);
    }
}

fn make_bridge() -> anyhow::Result<()> {
    ip(&format!("netns add {OUTSIDE}"))?;
    ip(&format!("-n {OUTSIDE} link set lo up"))?;
    ip(&format!("-n {OUTSIDE} link add bridge type bridge"))?;
    ip(&format!("-n {OUTSIDE} addr add {GATEWAY} dev bridge"))?;
    ip(&format!("-n {OUTSIDE} link set bridge up"))?;
    screen::step(&format!("a bridge in the network namespace {OUTSIDE}"));
    screen::step(&format!("files in {}", run_directory::PATH));
    Ok(())
}

fn join_bridge(pod: &Pod) -> anyhow::Result<()> {
    let (name, netns, address) = (pod.name, pod.netns(), pod.address);
    ip(&format!("netns add {netns}"))?;
    ip(&format!("-n {OUTSIDE} link add {name} type veth peer name eth0 netns {netns}"))?;
    ip(&format!("-n {OUTSIDE} link set {name} master bridge up"))?;
    ip(&format!("-n {netns} link set lo up"))?;
    ip(&format!("-n {netns} addr add {address}/24 dev eth0"))?;
    ip(&format!("-n {netns} link set eth0 up"))
}

fn ip(words: &str) -> anyhow::Result<()> {
    shell::output(&mut shell::command(["ip"].into_iter().chain(words.split(' ')))).map(drop)
}

/// What answers as soon as the container serves; a dead end never does.
fn readiness(container: &Container) -> Option<String> {
    match container.program {
        Program::Exporter(address) => {
            let port = address.rsplit(':').next()?;
            Some(format!("http://127.0.0.1:{port}/"))
        }
        Program::Sidecar => Some("http://127.0.0.1:15000/ready".to_owned()),
        Program::DeadEnd(_) => None,
    }
}
