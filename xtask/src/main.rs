//! The tasks of this project: `cargo xtask --help`.
//!
//! One file per task. What needs more than stable Rust is a task; the rest is plain cargo.

use std::{env, path::PathBuf, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};

mod built;
mod demo;
mod ebpf;
mod fuzz;
mod image;
mod kernel;
mod screen;
mod setup;
mod shell;
mod test;
mod tidy;
mod toolchain;

/// The tasks of merger.
///
/// Start with `cargo xtask demo`: it installs what it needs, makes a small node out of this
/// machine, and shows merger on a real sidecar and a real Prometheus.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Setup(setup::Options),
    /// Compile the kernel part to where `cargo build -p merger` finds it
    BuildEbpf {
        /// Optimise for size and speed as a release does
        #[arg(long)]
        release: bool,
    },
    Demo(demo::Options),
    Fuzz(fuzz::Options),
    Image(image::Options),
    Kernel(kernel::Options),
    Test(test::Options),
    /// Check the layout: the order of modules, foreign crates and unsafe code in their places
    Tidy,
    /// Accept connections on every address and never answer
    #[command(hide = true)]
    DeadEnd {
        /// The TCP port
        port: u16,
    },
}

/// This program's file. A cargo that it starts may put a new one in its place, and then the kernel
/// would name the old one "deleted"; so it is asked once, at the start.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| env::current_exe().unwrap_or_default());

fn main() -> ExitCode {
    LazyLock::force(&PROGRAM);
    match Cli::parse().task.run() {
        Ok(code) => code,
        Err(error) => {
            screen::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn workspace() -> PathBuf {
    let member = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    member.parent().map_or(member.clone(), PathBuf::from)
}

// === impl Task ===

impl Task {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Setup(options) => setup::run(&options)?,
            Self::BuildEbpf { release } => {
                let object = ebpf::build(release)?;
                screen::step(&format!("the kernel part is {}", object.display()));
            }
            Self::Demo(options) => return demo::run(&options),
            Self::Fuzz(options) => return fuzz::run(&options),
            Self::Image(options) => image::run(&options)?,
            Self::Kernel(options) => return kernel::run(&options),
            Self::Test(options) => return test::run(&options),
            Self::Tidy => return tidy::run(),
            Self::DeadEnd { port } => demo::dead_end::run(port)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
