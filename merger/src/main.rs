//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use merger::command::{Arguments, say};

fn main() -> ExitCode {
    Arguments::parse().run().unwrap_or_else(|error| {
        say(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}
