//! `demo`: a node made out of this machine, and merger on it.
//!
//! Pods are network namespaces on a bridge of a namespace of their own, so this machine's network
//! is left as it is. Whatever happens, the node is taken down again: at the end, on a signal, and,
//! after a kill that leaves no time, at the start of the next demo.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{ebpf, screen, setup, shell};

mod cgroup;
pub(crate) mod dead_end;
mod facts;
mod http;
mod interrupt;
mod leftovers;
mod manifest;
mod mesh;
mod node;
mod pod;
mod process;
mod run_directory;
mod services;

use interrupt::Interrupt;
use node::Node;
use run_directory::RunDirectory;
use services::Services;

/// Show merger on a real sidecar and a real Prometheus
///
/// Makes a node out of this machine: three pods in network namespaces, two of them behind an Envoy
/// that demands mTLS; then starts merger and a Prometheus that finds the pods through it, and shows
/// one line for each fact. It stays until Ctrl-C and leaves nothing behind. Needs root.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// End after the facts; the exit code is 0 only if each of them holds
    #[arg(long)]
    once: bool,
}

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(
        shell::is_root(),
        "the demo makes network namespaces and cgroups, which needs root: run `sudo env \"PATH=$PATH\" cargo xtask demo`"
    );
    setup::run(&setup::Options::default())?;
    screen::headline("Build");
    ebpf::build(false)?;
    shell::run(&mut shell::cargo(["build", "--package", "merger"]))?;

    let interrupt = Interrupt::register()?;
    let directory = RunDirectory::take()?;
    let result = on_a_node(&directory, options, &interrupt);
    let left = directory.release();
    for problem in &left {
        screen::problem(problem);
    }
    let holds = result?;
    screen::step(if left.is_empty() { "nothing is left of it" } else { "something is left of it" });
    Ok(if holds && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From the first namespace to the last; whether every fact holds.
fn on_a_node(
    directory: &RunDirectory,
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    screen::headline("Node");
    let mut node = Node::new(directory);
    node.set_up(interrupt)?;
    let services = Services::start(&mut node, directory)?;

    screen::headline("Facts");
    let shown = facts::show(&services, || node.check(interrupt));
    if !interrupt.came() && !matches!(shown, Ok(true)) {
        tell_where_to_look(node.logs());
    }
    let holds = shown?;
    if !options.once {
        stay(&services, &mut node, interrupt);
    }
    screen::headline("Down");
    Ok(holds)
}

fn stay(services: &Services, node: &mut Node, interrupt: &Interrupt) {
    screen::headline("Look around; Ctrl-C takes it all down");
    services.tell_urls();
    while !interrupt.came() {
        if let Some(ended) = node.newly_ended() {
            screen::problem(&format!("{ended} has ended; its log is in {}", node.logs().display()));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn tell_where_to_look(logs: &Path) {
    screen::step(&format!("all logs are in {}; these end so:", logs.display()));
    for name in ["merger.log", "prometheus.log"] {
        let text = fs::read_to_string(logs.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let said = if lines.is_empty() { "nothing" } else { "" };
        screen::step(&format!("{name}: {said}"));
        for line in &lines[lines.len().saturating_sub(5)..] {
            screen::step(&format!("  {line}"));
        }
    }
}

/// Waits until `done`, but not for ever, and not past an error of `go_on`.
fn wait_for(
    what: &str,
    limit: Duration,
    mut go_on: impl FnMut() -> anyhow::Result<()>,
    done: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        go_on()?;
        match done() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("{what} is not there after {limit:?}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
