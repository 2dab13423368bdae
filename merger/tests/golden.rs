//! Cases as files side by side: `testdata/merge/<case>/{1-name.prom, …, expected.prom, problems}`.
//!
//! Each source gets the label `container` with the name in its file's name; a file `1.prom` gets
//! none. After a change on purpose: `UPDATE_GOLDEN=1 cargo test --test golden`, and read the diff.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use merger::{
    exposition::{Format, Output},
    merge::{Limits, Merged, Source, merge},
};

#[test]
fn every_case_merges_to_what_is_expected() {
    let cases = sorted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/merge"));
    assert!(cases.len() > 5, "the cases are there");
    for case in cases {
        let (page, problems) = run(&case);
        check(&case.join("expected.prom"), &page);
        check(&case.join("problems"), &problems);
    }
}

/// Compares with the file, or writes it.
#[track_caller]
fn check(path: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} differs, found:\n{found}", path.display());
}

fn run(case: &Path) -> (String, String) {
    let files: Vec<_> = sorted(case).into_iter().filter(|path| is_source(path)).collect();
    let names: Vec<_> = files.iter().map(|path| name(path)).collect();
    let labels: Vec<_> = names.iter().map(|name| [("container", name.as_str())]).collect();
    let bodies: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let sources: Vec<_> = bodies
        .iter()
        .zip(&labels)
        .map(|(body, labels)| Source { labels, format: Format::Text, body })
        .collect();

    let Merged { body, reports } = merge(&sources, &Limits::default(), Output::default());
    let mut problems = String::new();
    for (name, report) in names.iter().zip(reports) {
        for problem in report.problems.kept() {
            writeln!(problems, "{name}: {problem}").unwrap();
        }
        if let Some(exceeded) = report.failed {
            writeln!(problems, "{name}: failed: {exceeded}").unwrap();
        }
        let total = report.problems.total();
        writeln!(problems, "{name}: {} samples, {total} problems", report.samples).unwrap();
    }
    (String::from_utf8(body).unwrap(), problems)
}

fn is_source(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
}

/// `1-cart.prom` is the source `cart`.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem.split_once('-').map_or("", |(_, name)| name).to_owned()
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
