//! What a guest says, line by line, and what follows from it.
//!
//! Lines of PID 1 begin with `@@`; the others are those of Rust's test programs.

use std::time::Duration;

use super::programs::RINGS;

/// What is known of a guest's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What `uname -r` says, once it is up.
    release: Option<String>,
    lockdown: Option<String>,
    /// The rung that the agent takes there by itself; a test says it.
    rung: Option<String>,
    rings: Vec<Ring>,
    /// What went wrong beside the tests.
    broken: Vec<String>,
    /// Whether it came to its own end.
    pub(super) ended: bool,
    pub(super) took: Duration,
}

/// A program of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ring {
    name: String,
    n_tests: usize,
    n_done: usize,
    n_passed: usize,
    failed: Vec<Failure>,
    /// Which of them the lines are of that come now.
    told: Option<usize>,
    /// Its exit status, once it has ended.
    status: Option<i32>,
}

/// A test that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Failure {
    name: String,
    /// The first of what it said.
    said: Vec<String>,
}

/// Lines of a test that failed.
const MOST_SAID: usize = 20;

// === impl Report ===

impl Report {
    /// Takes in a line. It may end in what a serial line makes of its end.
    pub(super) fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(said) = line.strip_prefix("@@ ") {
            self.hear_guest(said);
        } else if let Some(rung) = line.strip_prefix("rung: ") {
            self.rung = Some(rung.to_owned());
        } else if let Some(ring) = self.rings.last_mut() {
            ring.hear(line);
        }
    }

    /// Notes what is wrong beside the tests.
    pub(super) fn breaks(&mut self, reason: impl Into<String>) {
        self.broken.push(reason.into());
    }

    fn hear_guest(&mut self, said: &str) {
        let words: Vec<&str> = said.split_whitespace().collect();
        match words[..] {
            ["up", release, ref lockdown @ ..] => {
                self.release = Some(release.to_owned());
                let chosen = lockdown.iter().find_map(|word| word.strip_prefix('['));
                self.lockdown = chosen.map(|word| word.trim_end_matches(']').to_owned());
            }
            ["begin", name, n_tests] => self.rings.push(Ring {
                name: name.to_owned(),
                n_tests: n_tests.parse().unwrap_or_default(),
                ..Ring::default()
            }),
            ["end", _, status] => {
                if let Some(ring) = self.rings.last_mut() {
                    ring.status = status.parse().ok();
                }
            }
            ["broken:", ..] => self.breaks(said.trim_start_matches("broken: ")),
            ["down"] => self.ended = true,
            _ => self.breaks(format!("the guest said `{said}`")),
        }
    }

    /// Whether every test ran and passed.
    pub(super) fn is_good(&self) -> bool {
        let complete = self.ended && self.broken.is_empty() && self.rings.len() == RINGS.len();
        let n_passed: usize = self.rings.iter().map(|ring| ring.n_passed).sum();
        complete && n_passed > 0 && self.rings.iter().all(Ring::is_good)
    }

    /// Where it is; each answer comes once.
    pub(super) fn stage(&self) -> String {
        let (release, ring) = (self.release.as_deref(), self.rings.last());
        match (release, ring) {
            (None, _) => "boots".to_owned(),
            (Some(release), None) => format!("Linux {release} is up"),
            (_, Some(Ring { name, status: None, n_tests, .. })) => {
                format!("{name}: {n_tests} tests")
            }
            (_, Some(ring)) => format!("{}: {}", ring.name, ring.counts()),
        }
    }

    /// The same with how far it is.
    pub(super) fn progress(&self) -> String {
        match self.rings.last() {
            Some(ring) if ring.status.is_none() && ring.n_done > 0 => {
                format!("{}: {} of {} tests", ring.name, ring.n_done, ring.n_tests)
            }
            _ => self.stage(),
        }
    }

    /// The first line of the table.
    pub(super) fn headings() -> String {
        let [netns, kernel] = RINGS;
        columns(["machine", "release", "lockdown", "rung", netns, kernel, "time"]).to_uppercase()
    }

    /// Its line of the table.
    pub(super) fn row(&self, name: &str) -> String {
        let counts = |ring: &str| {
            let found = self.rings.iter().find(|found| found.name == ring);
            found.map_or_else(|| "-".to_owned(), Ring::counts)
        };
        let [netns, kernel] = RINGS.map(counts);
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (release, lockdown, rung) =
            (or_dash(&self.release), or_dash(&self.lockdown), or_dash(&self.rung));
        let time = format!("{} s", self.took.as_secs());
        columns([name, &release, &lockdown, &rung, &netns, &kernel, &time])
    }

    /// Why it is not good.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = self.broken.clone();
        for ring in self.rings.iter().filter(|ring| !ring.is_good()) {
            reasons.push(format!("{}: {}", ring.name, ring.counts()));
            for Failure { name, said } in &ring.failed {
                reasons.push(format!("  {name}"));
                reasons.extend(said.iter().map(|line| format!("    {line}")));
            }
        }
        if !self.ended {
            reasons.push(format!("it did not come to its end; the last was: {}", self.progress()));
        } else if reasons.is_empty() {
            reasons.push("no test ran: is there one of that name?".to_owned());
        }
        reasons
    }
}

// === impl Ring ===

impl Ring {
    /// A test that fails has the output of further test programs in its own, all after the first
    /// line `failures:`; of the summaries the last is that of this program.
    fn hear(&mut self, line: &str) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.n_passed = count_before(summary, " passed").unwrap_or_default();
        } else if self.n_done < self.n_tests
            && let Some(test) = line.strip_prefix("test ")
            && let Some((name, outcome)) = test.split_once(" ... ")
        {
            self.n_done += 1;
            if outcome.ends_with("FAILED") {
                self.failed.push(Failure { name: name.to_owned(), ..Failure::default() });
            }
        } else if let Some(test) = line.strip_prefix("---- ") {
            let name = test.strip_suffix(" stdout ----").unwrap_or_default();
            self.told = self.failed.iter().position(|failure| failure.name == name);
        } else if let Some(failure) = self.told.and_then(|n| self.failed.get_mut(n))
            && failure.said.len() < MOST_SAID
            && !line.is_empty()
        {
            failure.said.push(line.to_owned());
        }
    }

    fn is_good(&self) -> bool {
        self.status == Some(0) && self.n_passed == self.n_tests
    }

    fn counts(&self) -> String {
        if self.is_good() {
            return format!("{} passed", self.n_passed);
        }
        format!("{} of {}", self.n_passed, self.n_tests)
    }
}

fn columns(cells: [&str; 7]) -> String {
    let [name, release, lockdown, rung, netns, kernel, time] = cells;
    format!("{name:<14}{release:<29}{lockdown:<17}{rung:<16}{netns:<11}{kernel:<11}{time:>6}")
}

/// The number before a word, as in `ok. 28 passed; 0 failed`.
fn count_before(summary: &str, word: &str) -> Option<usize> {
    summary.split_once(word)?.0.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &str) -> Report {
        let mut report = Report::default();
        lines.lines().for_each(|line| report.hear(line));
        report
    }

    const GOOD: &str = "@@ up 6.1.0-1 none integrity [confidentiality]\r
@@ begin netns 1
test a ... ok
test result: ok. 1 passed; 0 failed; 0 ignored
@@ end netns 0
@@ begin kernel 2
test b ... ok
test c ... ok
---- c stdout ----
rung: ebpf
test result: ok. 2 passed; 0 failed; 0 ignored
@@ end kernel 0
@@ down";

    #[test]
    fn a_run_to_the_end_is_good() {
        let report = heard(GOOD);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(
            report.row("6.1").split_whitespace().collect::<Vec<_>>().join(" "),
            "6.1 6.1.0-1 confidentiality ebpf 1 passed 2 passed 0 s"
        );
    }

    #[test]
    fn a_run_is_not_good_that_lacks_an_end_a_ring_or_a_test() {
        for lacking in ["@@ down", "@@ end kernel 0", "2 passed"] {
            assert!(!heard(&GOOD.replace(lacking, "")).is_good(), "{lacking}");
        }
        let without_kernel = GOOD.split("@@ begin kernel").next().unwrap();
        assert!(!heard(&format!("{without_kernel}@@ down")).is_good());
        assert!(!heard(&GOOD.replace("begin kernel 2", "begin kernel 3")).is_good());
    }

    #[test]
    fn a_test_that_fails_is_told_once_though_its_copy_says_so_too() {
        let report = heard(
            "@@ up 6.1.0-1 [none]
@@ begin netns 2
test a ... FAILED
test b ... ok
failures:
---- b stdout ----
as it should be
---- a stdout ----
thread 'a' panicked:

test a ... FAILED
test result: FAILED. 0 passed; 1 failed; 0 ignored
test result: FAILED. 1 passed; 1 failed; 0 ignored
@@ end netns 101",
        );
        assert_eq!(report.stage(), "netns: 1 of 2");
        let reasons = report.reasons();
        let expected =
            ["netns: 1 of 2", "  a", "    thread 'a' panicked:", "    test a ... FAILED"];
        assert_eq!(reasons[..4], expected);
        assert!(reasons[4].contains("did not come to its end"), "{reasons:?}");
    }
}
