//! What promtool thinks of our pages. Needs promtool (Debian: `apt-get install prometheus`), so it
//! runs only by name: `cargo test --test promtool`.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says what is missing"
)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use merger::{
    exposition::{Format, Output},
    merge::{Limits, Source, merge},
};

#[path = "support/generate.rs"]
mod generate;

use generate::Random;

const N_PAGES: u64 = 300;

/// promtool exits with 3 where it read the page and its style could be better, with 1 where it
/// could not read it.
#[track_caller]
fn check(page: &[u8], what: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("promtool is installed (Debian: apt-get install prometheus)");
    child.stdin.take().expect("stdin is piped").write_all(page).expect("promtool reads all");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{what}: {}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(page),
    );
}

fn merged(bodies: &[Vec<u8>]) -> Vec<u8> {
    let labels = [[("container", "a"), ("endpoint", "1")], [("container", "b"), ("endpoint", "2")]];
    let sources: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| Source { labels: &labels[n % 2], format: Format::Text, body, only: None })
        .collect();
    merge(&sources, &Limits::default(), Output::default()).body
}

fn files(directory: &str) -> Vec<std::path::PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(directory);
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn promtool_reads_every_expected_page() {
    for case in files("merge") {
        let page = fs::read(case.join("expected.prom")).unwrap();
        check(&page, &case.display().to_string());
    }
}

#[test]
fn promtool_reads_recorded_pages_merged_alone_and_together() {
    let bodies: Vec<_> = files("scrapes").iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(bodies.len() > 5, "the recorded pages are there");
    check(&merged(&bodies), "all together");
    for body in bodies {
        check(&merged(&[body]), "alone");
    }
}

#[test]
fn promtool_reads_generated_and_damaged_pages() {
    let mut random = Random::new(6);
    for n in 0..N_PAGES {
        let bodies = [random.page(), random.page()].map(String::into_bytes);
        check(&merged(&bodies), &format!("generated pair {n}"));
        let damaged = bodies.map(|body| random.mutate(&body));
        check(&merged(&damaged), &format!("damaged pair {n}"));
    }
}
