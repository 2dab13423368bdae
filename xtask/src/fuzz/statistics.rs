//! What libFuzzer says of a run, on its standard error.

use std::{fmt, path::PathBuf};

/// The end of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Inputs that were tried.
    runs: u64,
    /// Edges of the code that the inputs reached together.
    coverage: u64,
    /// Inputs that are kept because each reaches something of its own.
    corpus: u64,
    /// The file of the input that failed.
    pub(super) failed: Option<PathBuf>,
}

// === impl Statistics ===

impl Statistics {
    /// A status line is `#1024 NEW cov: 512 ft: 900 corp: 31/2048b …`; the last one counts.
    pub(super) fn read(log: &str) -> Self {
        let status =
            log.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "));
        let after = |line: &str, word: &str| {
            let rest = line.split_once(word)?.1.trim_start();
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..digits].parse().ok()
        };
        let of_status = |word| status.and_then(|line| after(line, word)).unwrap_or_default();
        // A run that failed at once says only how many it executed.
        let executed = log.lines().find_map(|line| after(line, "stat::number_of_executed_units:"));
        Self {
            runs: executed.unwrap_or_else(|| of_status("#")),
            coverage: of_status(" cov:"),
            corpus: of_status(" corp:"),
            failed: None,
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, coverage, corpus, failed } = self;
        write!(f, "{runs:>10} runs, coverage {coverage}, corpus {corpus}: ")?;
        match failed {
            None => f.write_str("nothing failed"),
            Some(file) => write!(f, "{} failed", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expected: &str) {
        assert_eq!(Statistics::read(log).to_string().trim_start(), expected);
    }

    #[test]
    fn the_last_status_line_and_the_executed_units_count() {
        check(
            "INFO: Seed: 1\n#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 31Mb\n\
             #900\tDONE   cov: 52 ft: 90 corp: 12/310b lim: 4 exec/s: 9 rss: 31Mb\n\
             stat::number_of_executed_units: 912\n",
            "912 runs, coverage 52, corpus 12: nothing failed",
        );
    }

    #[test]
    fn a_log_without_any_of_them_is_of_no_run() {
        check("error\n", "0 runs, coverage 0, corpus 0: nothing failed");
    }
}
