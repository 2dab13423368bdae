//! The command line: one file per verb below this one.

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    app, cause,
    config::{self, Settings},
    merge::Report,
    node::supervisor::Part,
    telemetry,
};

mod format;
mod merge;
mod probe;

/// The exit code of settings and arguments that cannot be followed; clap's own is the same.
const USAGE: u8 = 2;

/// Reads the metrics of meshed pods from inside their network namespaces, where mTLS does not stand
/// in the way, and merges them into one correct exposition.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the agent of this node
    ///
    /// It needs CAP_SYS_ADMIN and CAP_SYS_PTRACE to enter network namespaces, CAP_DAC_READ_SEARCH to
    /// see whose listeners are, CAP_BPF and CAP_PERFMON to learn of listeners from the kernel, below Linux 5.11 with CAP_SYS_RESOURCE,
    /// and CAP_SETUID, CAP_SETGID and CAP_KILL to run what reads metrics as a user without any right;
    /// as root it has them all.
    #[command(
        after_help = "Examples:\n  merger run --pods manifests:/etc/merger/pods\n  merger run --single-process --pods kube --node-name worker-1\n\nThe server's paths are listed at http://127.0.0.1:15990/"
    )]
    Run {
        /// A YAML file of the settings below, with `_` for `-`; flags go before it. Only the file has
        /// `meshes`, profiles of sidecars, and `mesh_queries`, as in `mesh_queries: {istio: usedonly}`
        #[arg(long, value_name = "FILE", env = "MERGER_CONFIG")]
        config: Option<PathBuf>,

        #[command(flatten)]
        settings: Box<Settings>,

        /// Which part of merger this process is: for merger itself
        #[arg(long, hide = true, value_enum)]
        part: Option<Part>,
    },
    /// Scrapes the listeners of one network namespace, without an agent
    Probe(probe::Arguments),
    /// Merges expositions from files or standard input
    Merge(merge::Arguments),
    /// Prints the completions of a shell
    ///
    /// For example: `merger completions bash > /etc/bash_completion.d/merger`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

// === impl Arguments ===

impl Arguments {
    /// Does what the command line asks for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Run { config, settings, part } => Ok(run(config.as_deref(), *settings, part)),
            Verb::Probe(arguments) => probe::run(&arguments),
            Verb::Merge(arguments) => merge::run(&arguments),
            Verb::Completions { shell } => {
                let mut command = Self::command();
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut command, "merger", &mut text);
                print(&text).context("cannot write the completions")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Once the logs have begun the agent says everything there, so that whoever collects them has its
/// last words, too.
fn run(file: Option<&Path>, settings: Settings, part: Option<Part>) -> ExitCode {
    let settings = match file.map(Settings::read).transpose() {
        Ok(file) => settings.or(file.unwrap_or_default()),
        Err(error) => return refuse(&error),
    };
    let filter = settings.log.clone().unwrap_or_else(|| "info".to_owned());
    let format = settings.log_format.unwrap_or_default();
    let config = match settings.check() {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = telemetry::start(&filter, format) {
        say(format_args!("{error:#}"));
        return ExitCode::from(USAGE);
    }
    app::run(config, part).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn refuse(error: &config::Error) -> ExitCode {
    say(cause::chain(error));
    ExitCode::from(USAGE)
}

/// Writes the output of a command. A reader that has seen enough, such as `head`, is no failure.
fn print(output: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(output).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says something beside the output of a command, which is for another program.
pub fn say(message: impl Display) {
    // Where nobody can hear it, nothing is left to do about it.
    let _ = writeln!(io::stderr(), "merger: {message}");
}

/// Says what was wrong with the lines of one source.
fn tell(name: &str, Report { samples: _, problems, failed }: &Report) {
    for problem in problems.kept() {
        say(format_args!("{name}: {problem}"));
    }
    for (what, count) in problems.counts() {
        let n_kept = problems.kept().iter().filter(|problem| problem.what == what).count();
        if count > n_kept {
            say(format_args!("{name}: {} more: {what}", count - n_kept));
        }
    }
    if let Some(failure) = failed {
        say(format_args!("{name}: left out: {failure}"));
    }
}
