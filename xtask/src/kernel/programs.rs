//! The programs of tests, as cargo builds them for the same rings on this machine.

use std::path::PathBuf;

use crate::{built, shell};

/// The rings that every kernel runs, from what needs less to what needs more.
pub(super) const RINGS: [&str; 2] = ["netns", "kernel"];

/// What was built.
pub(super) struct Programs {
    /// The tests of each ring.
    pub(super) rings: Vec<(&'static str, PathBuf)>,
    /// The program that some tests start, by the path that is compiled into them.
    pub(super) merger: PathBuf,
}

/// Builds them by the words that the task `test` uses, so that cargo compiles nothing twice.
pub(super) fn build() -> anyhow::Result<Programs> {
    let mut cargo = shell::cargo(["test", "--workspace", "--exclude=merger-ebpf", "--no-run"]);
    cargo.args(RINGS.map(|ring| format!("--test={ring}")));
    let built = built::build(&mut cargo)?;
    let rings = RINGS.map(|ring| Ok((ring, built.program(ring)?)));
    Ok(Programs {
        rings: rings.into_iter().collect::<anyhow::Result<_>>()?,
        merger: built.program("merger")?,
    })
}
