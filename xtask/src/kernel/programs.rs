//! The programs of tests, as cargo builds them for the same rings on this machine.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::shell;

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
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().with_context(|| shell::spelled(&cargo))?;
    ensure!(output.status.success(), "`{}` ended with {}", shell::spelled(&cargo), output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let program = |name: &str| {
        let mut found = said.lines().filter_map(|line| executable(line, name));
        found.next().with_context(|| format!("cargo built no program of the name {name}"))
    };
    let rings = RINGS.map(|ring| Ok((ring, program(ring)?)));
    Ok(Programs {
        rings: rings.into_iter().collect::<anyhow::Result<_>>()?,
        merger: program("merger")?,
    })
}

/// The file that a message of cargo's tells of, if it is the program of this name.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_named = message["target"]["name"] == name;
    let file = message["executable"].as_str().map(Path::new)?;
    is_named.then(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_the_name_is_no_program() {
        let library = r#"{"target":{"name":"merger"},"executable":null}"#;
        assert_eq!(executable(library, "merger"), None);
        let program = r#"{"target":{"name":"merger"},"executable":"/t/merger"}"#;
        assert_eq!(executable(program, "merger"), Some("/t/merger".into()));
        assert_eq!(executable(program, "kernel"), None);
    }
}
