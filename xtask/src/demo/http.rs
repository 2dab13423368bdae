//! HTTP by curl: from outside, from inside of a pod, and from this machine.

use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};

use crate::shell;

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks from this machine.
pub(super) fn get(url: &str) -> anyhow::Result<Answer> {
    get_with(&[], url)
}

/// Asks from this machine, with further options of curl.
pub(super) fn get_with(options: &[&str], url: &str) -> anyhow::Result<Answer> {
    curl(shell::command(["curl"]), options, url)
}

/// Asks from inside a network namespace. Where no answer came, the error is curl's.
pub(super) fn get_inside(netns: &str, options: &[&str], url: &str) -> anyhow::Result<Answer> {
    let mut inside = shell::command(["nsenter"]);
    inside.arg(format!("--net=/run/netns/{netns}")).arg("curl");
    curl(inside, options, url)
}

fn curl(mut command: Command, options: &[&str], url: &str) -> anyhow::Result<Answer> {
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "5"]);
    command.args(["--write-out", "\n%{http_code}"]).args(options).arg(url).stdin(Stdio::null());
    // The facts know its errors in English.
    command.env("LC_ALL", "C");
    let output = command.output().context("curl")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Answer::read(&String::from_utf8_lossy(&output.stdout))
}

// === impl Answer ===

impl Answer {
    /// The body, if the status is 200.
    pub(super) fn success(self) -> anyhow::Result<String> {
        let Self { status, body } = self;
        if status == 200 {
            return Ok(body);
        }
        bail!("HTTP {status}: {}", body.lines().next().unwrap_or_default())
    }

    fn read(printed: &str) -> anyhow::Result<Self> {
        let (body, status) =
            printed.rsplit_once('\n').ok_or_else(|| anyhow!("curl gave no status"))?;
        Ok(Self { status: status.parse()?, body: body.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_last_line_and_the_body_keeps_its_own() {
        let answer = Answer::read("m 1\nn 2\n\n200").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "m 1\nn 2\n"));
    }
}
