//! The command line: one file per verb below this one.

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    app,
    config::Settings,
    telemetry::{self, LogFormat},
};

mod merge;
mod probe;

/// The exit code of settings and arguments that cannot be followed; clap's own is the same.
const USAGE: u8 = 2;

/// Reads the metrics of meshed pods from inside their network namespaces, where mTLS does not stand
/// in the way, and merges them into one correct exposition.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to log: error, warn, info, debug, trace, or directives like merger=debug,info
    #[arg(long, global = true, value_name = "FILTER", env = "MERGER_LOG", default_value = "info")]
    log: String,

    /// How to log
    #[arg(long, global = true, value_enum, env = "MERGER_LOG_FORMAT", default_value_t)]
    log_format: LogFormat,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the agent of this node
    ///
    /// It needs CAP_SYS_ADMIN and CAP_SYS_PTRACE to enter network namespaces, and CAP_BPF and
    /// CAP_PERFMON to learn of listeners from the kernel; as root it has them all.
    #[command(
        after_help = "Example:\n  merger run --pods manifests:/etc/merger/pods\n\nThe server's paths are listed at http://127.0.0.1:15990/"
    )]
    Run {
        /// A YAML file of the settings below, with `_` for `-`; flags go before it
        #[arg(long, value_name = "FILE", env = "MERGER_CONFIG")]
        config: Option<PathBuf>,

        #[command(flatten)]
        settings: Box<Settings>,
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
        let Self { log, log_format, verb } = self;
        telemetry::start(&log, log_format)?;
        match verb {
            Verb::Run { config, settings } => Ok(run(config.as_deref(), *settings)),
            Verb::Probe(arguments) => probe::run(&arguments),
            Verb::Merge(arguments) => merge::run(&arguments),
            Verb::Completions { shell } => {
                let mut command = Self::command();
                clap_complete::generate(shell, &mut command, "merger", &mut io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// The agent says everything in its log, so that whoever collects the log has its last words, too.
fn run(file: Option<&Path>, settings: Settings) -> ExitCode {
    let config = file.map_or_else(|| Ok(Settings::default()), Settings::read);
    match config.and_then(|file| settings.or(file).check()) {
        Err(error) => {
            tracing::error!("{:#}", anyhow::Error::new(error));
            ExitCode::from(USAGE)
        }
        Ok(config) => match app::run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Says something beside the output of a command, which is for another program.
pub fn say(message: impl Display) {
    // Where nobody can hear it, nothing is left to do about it.
    let _ = writeln!(io::stderr(), "merger: {message}");
}
