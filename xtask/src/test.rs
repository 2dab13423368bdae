//! `test`: every ring of tests in order, from what needs least to what needs most.
//!
//! A ring that fails does not stop the next, so that one run tells all. A ring whose right is
//! missing fails by the name of that right; none is left out in silence.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use crate::{ebpf, screen, setup, shell};

/// Run every ring of tests, as CI does
///
/// Does the set-up, compiles the kernel part, then runs: format, lints, docs, tidy, the tests that need
/// nothing but stable Rust, the same with all features, namespaces, kernel, kubectl on deploy/base,
/// promtool, the readers of other projects, the demo, pods of a real containerd, and other kernels.
/// Namespaces, kernel, promtool, the demo and containerd need root.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these rings, by name
    #[arg(value_parser = names())]
    rings: Vec<String>,
}

/// Tests that are run together, because they need the same.
struct Ring {
    name: &'static str,
    needs_root: bool,
    commands: &'static [&'static [&'static str]],
}

/// The rings. `cargo` is cargo and `xtask` is this program; both run in the workspace.
///
/// All of one kind name the same packages and features, so that cargo compiles each thing once.
const RINGS: &[Ring] = &[
    ring("format", &[&["cargo", "fmt", "--all", "--check"], FORMAT_OF_FUZZ]),
    ring("lints", &[LINTS, LINTS_BY_NAME, LINTS_WITHOUT_FEATURES]),
    ring("docs", &[DOCS]),
    ring("tidy", &[&["xtask", "tidy"]]),
    ring("stable", &[&["cargo", "test", "--workspace", EXCLUDE, "--no-default-features"]]),
    ring("features", &[&["cargo", "test", "--workspace", EXCLUDE]]),
    privileged("namespaces", &[&["cargo", "test", "--workspace", EXCLUDE, "--test", "netns"]]),
    privileged("kernel", &[&["cargo", "test", "--workspace", EXCLUDE, "--test", "kernel"]]),
    ring("deploy", &[&["cargo", "test", "--workspace", EXCLUDE, "--test", "kustomize"]]),
    privileged("promtool", &[&["cargo", "test", "--workspace", EXCLUDE, "--test", "promtool"]]),
    ring("clients", &[CLIENTS]),
    privileged("mesh", &[&["xtask", "demo", "--once"]]),
    privileged("containerd", &[CONTAINERD]),
    ring("kernels", &[OTHER_KERNELS]),
];

/// It is a workspace of its own.
const FORMAT_OF_FUZZ: &[&str] =
    &["cargo", "fmt", "--manifest-path=merger/fuzz/Cargo.toml", "--check"];

const LINTS: &[&str] =
    &["cargo", "clippy", "--workspace", EXCLUDE, "--all-targets", "--", "-D", "warnings"];

/// All targets are not those of tests that are run by name alone.
const LINTS_BY_NAME: &[&str] = &[
    "cargo",
    "clippy",
    "--workspace",
    EXCLUDE,
    "--test=containerd",
    "--test=kernel",
    "--test=kustomize",
    "--test=netns",
    "--test=oracles",
    "--test=pairs",
    "--test=promtool",
    "--test=servers",
    "--",
    "-D",
    "warnings",
];

const LINTS_WITHOUT_FEATURES: &[&str] = &[
    "cargo",
    "clippy",
    "--workspace",
    EXCLUDE,
    "--all-targets",
    "--no-default-features",
    "--",
    "-D",
    "warnings",
];

/// The readers of other projects: `prometheus_client`, promtool, Pushgateway, Prometheus, and Envoy as a
/// source. What they print are the counts.
const CLIENTS: &[&str] = &[
    "cargo",
    "test",
    "--workspace",
    EXCLUDE,
    "--test=oracles",
    "--test=pairs",
    "--test=servers",
    "--",
    "--nocapture",
];

/// What it prints is how long each part took.
const CONTAINERD: &[&str] =
    &["cargo", "test", "--workspace", EXCLUDE, "--test=containerd", "--", "--nocapture"];

/// A link in a comment that leads nowhere is an error, by the workspace's lints.
const DOCS: &[&str] = &["cargo", "doc", "--workspace", EXCLUDE, "--no-deps"];

/// The kernels that merger promises to run on: `README.md`.
const OTHER_KERNELS: &[&str] = &["xtask", "kernel"];

/// The kernel part is compiled for another machine.
const EXCLUDE: &str = "--exclude=merger-ebpf";

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    setup::run(&setup::Options::default())?;
    screen::headline("Kernel part");
    ebpf::build(false)?;
    let mut results = Vec::new();
    for ring in RINGS.iter().filter(|ring| options.wants(ring)) {
        screen::headline(&format!("Ring: {}", ring.name));
        let start = Instant::now();
        let result = ring.run();
        if let Err(error) = &result {
            screen::problem(&format!("{}: {error:#}", ring.name));
        }
        results.push((ring, start.elapsed(), result));
    }
    screen::headline("Rings");
    for (ring, took, result) in &results {
        ring.tell(*took, result);
    }
    let good = results.iter().all(|(_, _, result)| result.is_ok());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const fn ring(name: &'static str, commands: &'static [&'static [&'static str]]) -> Ring {
    Ring { name, needs_root: false, commands }
}

const fn privileged(name: &'static str, commands: &'static [&'static [&'static str]]) -> Ring {
    Ring { name, needs_root: true, commands }
}

fn names() -> Vec<&'static str> {
    RINGS.iter().map(|ring| ring.name).collect()
}

// === impl Options ===

impl Options {
    fn wants(&self, ring: &Ring) -> bool {
        self.rings.is_empty() || self.rings.iter().any(|name| name == ring.name)
    }
}

// === impl Ring ===

impl Ring {
    fn run(&self) -> anyhow::Result<()> {
        ensure!(
            !self.needs_root || shell::is_root(),
            "this ring needs root, for namespaces, cgroups and BPF: run `sudo env \"PATH=$PATH\" cargo xtask test {}`",
            self.name
        );
        self.commands.iter().try_for_each(|words| shell::run(&mut command(words)?))
    }

    fn tell(&self, took: Duration, result: &anyhow::Result<()>) {
        let seconds = took.as_secs_f32();
        let outcome = result.as_ref().err().map_or("passed".to_owned(), ToString::to_string);
        screen::verdict(result.is_ok(), &format!("{:<12}{seconds:>7.1} s  {outcome}", self.name));
    }
}

fn command(words: &[&str]) -> anyhow::Result<Command> {
    let Some((program, arguments)) = words.split_first() else { bail!("no command") };
    if *program == "cargo" {
        return Ok(shell::cargo(arguments.iter().copied()));
    }
    let mut this = Command::new(&*crate::PROGRAM);
    this.args(arguments);
    Ok(this)
}
