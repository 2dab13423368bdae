//! Other programs: found, spelled out, run.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::screen;

/// A command of the given words.
pub(crate) fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or("true"));
    command.args(words).env("PATH", path());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = command(["cargo"].into_iter().chain(words));
    command.current_dir(crate::workspace());
    command
}

/// Shows a command, runs it on this terminal, and fails where it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    screen::command(&spelled(command));
    let status = command.status().with_context(|| spelled(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", spelled(command));
    }
    Ok(())
}

/// Runs a command out of sight; its standard output, or its standard error as the failure.
///
/// It is in a process group of its own, so that a Ctrl-C in the terminal does not stop it: most of
/// what is run like this takes something down again.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.process_group(0).stdin(Stdio::null()).output().with_context(|| spelled(command))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", spelled(command), output.status, reason.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as a person would type it, with the variables that it sets but for PATH.
pub(crate) fn spelled(command: &Command) -> String {
    let set = command.get_envs().filter(|(name, _)| *name != "PATH").filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    set.chain(words).collect::<Vec<_>>().join(" ")
}

/// Where a program lies, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where programs are looked for: an ordinary user's PATH, and that of `su`, often lacks the
/// administrator's directories.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &Command, expected: &str) {
        assert_eq!(spelled(command), expected);
    }

    #[test]
    fn a_spelled_command_can_be_pasted_into_a_shell() {
        check(&command(["echo", "it's", "", "a=b"]), r"echo 'it'\''s' '' a=b");
        check(command(["make"]).env("FLAGS", "-L /lib"), "FLAGS='-L /lib' make");
    }
}
