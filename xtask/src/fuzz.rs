//! `fuzz`: hostile input for the readers, the merge, negotiation and the broker.
//!
//! The targets are programs of `merger/fuzz`, built by cargo-fuzz. What breaks a law of
//! `merger/fuzz/src/lib.rs` is kept beside them, in `regressions/<target>`, and from then on a test runs
//! it. What was only new is kept below `target/fuzz`, so that the next run begins where this one ended.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, ensure};

use crate::{screen, setup, shell, toolchain};

mod pieces;
mod seeds;
mod statistics;

use statistics::Statistics;

/// Every target. Each has a function of its name in `merger/fuzz/src/lib.rs`.
const TARGETS: [&str; 6] = ["text", "openmetrics", "protobuf", "merge", "negotiate", "request"];

/// Look for input that breaks a law of the readers, the merge, negotiation or the broker
///
/// Builds the targets with rustup's nightly, seeds them with the recorded pages and the golden cases,
/// runs them, and tells how many inputs each tried, how many places in the code they reached, and what
/// failed. An input that fails ends its target and is kept in merger/fuzz/regressions.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these targets
    #[arg(long = "target", value_parser = TARGETS)]
    targets: Vec<String>,

    /// How long each target runs
    #[arg(long, default_value_t = 1)]
    minutes: u64,

    /// How many run at one time; as many as cores unless given
    #[arg(long)]
    jobs: Option<usize>,
}

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    setup::run(&setup::Options { only: Some(setup::Only::Fuzz) })?;
    screen::headline("Fuzzing");
    build()?;
    let names: Vec<&str> = TARGETS.into_iter().filter(|name| options.wants(name)).collect();
    for name in &names {
        let n_seeds = seeds::write(name, &corpus(name))?;
        screen::step(&format!("{name}: {n_seeds} seeds, {} minutes", options.minutes));
    }
    let results = options.run_all(&names);
    screen::headline("Targets");
    let mut good = true;
    for (name, result) in &results {
        let is_good = matches!(result, Ok(Statistics { failed: None, .. }));
        let text = result.as_ref().map_or_else(|error| format!("{error:#}"), ToString::to_string);
        screen::verdict(is_good, &format!("{name:<12} {text}"));
        good &= is_good;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build() -> anyhow::Result<()> {
    let nightly = toolchain::nightlies()
        .max()
        .context("the fuzzer needs rustup's nightly: run `rustup toolchain install nightly`")?;
    let mut command = Command::new(setup::cargo_fuzz());
    toolchain::clear(&mut command);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([nightly.join("bin")].into_iter().chain(env::split_paths(&path)))?;
    // The readers and the merge hold no unsafe code, and without a sanitizer more inputs are tried.
    command
        .args(["build", "--sanitizer", "none", "--fuzz-dir"])
        .arg(directory())
        .current_dir(crate::workspace());
    shell::run(command.env("PATH", path).env("CARGO_TARGET_DIR", built()))
}

fn run_target(name: &str, minutes: u64) -> anyhow::Result<Statistics> {
    let machine = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let program = built().join(machine).join("release").join(name);
    let kept = directory().join("regressions").join(name);
    fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
    let before = files(&kept)?;
    let log = built().join(format!("{name}.log"));
    let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(program);
    command.arg(corpus(name)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    command.arg(format!("-artifact_prefix={}/", kept.display()));
    command.arg(format!("-max_total_time={}", minutes * 60));
    command.args(["-print_final_stats=1", "-timeout=20", "-max_len=2048"]);
    command.env("RUST_BACKTRACE", "1");
    let status = command.status().with_context(|| shell::spelled(&command))?;
    let told = fs::read(&log).with_context(|| log.display().to_string())?;
    let mut statistics = Statistics::read(&String::from_utf8_lossy(&told));
    statistics.failed = files(&kept)?.into_iter().find(|file| !before.contains(file));
    ensure!(
        status.success() || statistics.failed.is_some(),
        "ended with {status}; {} says why",
        log.display()
    );
    Ok(statistics)
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = directory.read_dir().with_context(|| directory.display().to_string())?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

fn directory() -> PathBuf {
    crate::workspace().join("merger/fuzz")
}

fn built() -> PathBuf {
    crate::workspace().join("target/fuzz")
}

fn corpus(target: &str) -> PathBuf {
    built().join("corpus").join(target)
}

// === impl Options ===

impl Options {
    fn wants(&self, target: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|name| name == target)
    }

    /// Runs the targets, some at one time, and gives what they told in their order.
    fn run_all<'a>(&self, names: &[&'a str]) -> Vec<(&'a str, anyhow::Result<Statistics>)> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let waiting = Mutex::new(names.iter().copied().enumerate());
        let results = Mutex::new(Vec::new());
        let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
        thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or(cores).max(1) {
                scope.spawn(|| {
                    while let Some((n, name)) = next() {
                        let result = run_target(name, self.minutes);
                        if let Ok(mut results) = results.lock() {
                            results.push((n, name, result));
                        }
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_default();
        results.sort_by_key(|(n, ..)| *n);
        results.into_iter().map(|(_, name, result)| (name, result)).collect()
    }
}
