//! Programs: as cargo builds them, and what they are linked with on this machine.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::shell;

/// What one run of cargo has built.
pub(crate) struct Built {
    /// Its messages, one JSON object a line.
    said: String,
}

/// Runs a cargo that builds; its warnings and errors are seen on this terminal.
pub(crate) fn build(cargo: &mut Command) -> anyhow::Result<Built> {
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().with_context(|| shell::spelled(cargo))?;
    ensure!(output.status.success(), "`{}` ended with {}", shell::spelled(cargo), output.status);
    Ok(Built { said: String::from_utf8_lossy(&output.stdout).into_owned() })
}

/// The dynamic loader and the libraries that a program needs, by their paths on this machine.
pub(crate) fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    // It fails for a program that is linked with nothing.
    let linked = shell::output(shell::command(["ldd"]).arg(program)).unwrap_or_default();
    named(&linked).into_iter().map(Path::to_owned).collect()
}

/// The files that ldd names: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or `/lib64/ld.so (0x7f…)`.
fn named(linked: &str) -> BTreeSet<&Path> {
    let words = linked.split_whitespace();
    words.filter(|word| word.starts_with('/')).map(Path::new).collect()
}

/// The file that a message of cargo's tells of, if it is the program of this name.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_named = message["target"]["name"] == name;
    let file = message["executable"].as_str().map(Path::new)?;
    is_named.then(|| file.to_owned())
}

// === impl Built ===

impl Built {
    /// Where the program or the test of this name is.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let mut found = self.said.lines().filter_map(|line| executable(line, name));
        found.next().with_context(|| format!("cargo built no program of the name {name}"))
    }
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

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let linked = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(named(linked), expected.map(Path::new).into_iter().collect());
        assert_eq!(named("\tstatically linked\n"), BTreeSet::new());
    }
}
