//! cargo-fuzz, built from crates.io. It drives rustup's nightly: what the fuzzer needs of the compiler are unstable flags.

use std::{path::PathBuf, process::Command};

use crate::shell;

/// The version that is built.
pub(super) const VERSION: &str = "0.13.1";

/// cargo-fuzz, as the set-up leaves it.
pub(crate) fn binary() -> PathBuf {
    tools().join("bin/cargo-fuzz")
}

pub(super) fn is_present() -> bool {
    binary().is_file()
}

pub(super) fn build() -> Command {
    let mut install = shell::cargo(["install", "cargo-fuzz", "--version", VERSION, "--locked"]);
    install.arg("--root").arg(tools());
    install
}

fn tools() -> PathBuf {
    crate::workspace().join("target/tools")
}
