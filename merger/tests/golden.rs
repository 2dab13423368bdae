//! Cases as files side by side: `testdata/merge/<case>/{1-name.prom, …, expected.prom, problems}`.
//!
//! A source is read as its ending says: `.prom` is text, `.om` `OpenMetrics`, `.pb` protobuf. Each gets
//! the label `container` with the name in its file's name; a file `1.prom` gets none. A case is
//! merged to a page of each kind of [`PAGES`] of which it has the expected file; what was wrong
//! stands beside that, in `problems` and the page's ending. After a change on purpose:
//! `UPDATE_GOLDEN=1 cargo test --test golden`, and read the diff; a page more begins as an empty file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use merger::{
    exposition::{Escaping, Format, Output},
    merge::{Limits, Merged, Source, merge},
};

#[path = "support/messages.rs"]
mod messages;
#[path = "support/shown.rs"]
mod shown;

/// The pages that a case can have: the ending of its expected file, that of its problems, and what the
/// page is written in. Messages are shown as text.
const PAGES: [(&str, &str, Format, Escaping); 7] = [
    (".prom", "", Format::Text, Escaping::Underscores),
    (".dots.prom", ".dots", Format::Text, Escaping::Dots),
    (".values.prom", ".values", Format::Text, Escaping::Values),
    (".utf8.prom", ".utf8", Format::Text1, Escaping::AllowUtf8),
    (".om", ".om", Format::OpenMetrics, Escaping::AllowUtf8),
    (".underscores.om", ".underscores.om", Format::OpenMetrics, Escaping::Underscores),
    (".pb.txt", ".pb", Format::Protobuf, Escaping::AllowUtf8),
];

#[test]
fn every_case_merges_to_what_is_expected() {
    let cases = sorted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/merge"));
    assert!(cases.len() > 5, "the cases are there");
    for case in cases {
        let mut n_pages = 0;
        for (page_ending, problems_ending, format, escaping) in PAGES {
            let expected = case.join(format!("expected{page_ending}"));
            if !expected.exists() {
                continue;
            }
            n_pages += 1;
            let (page, problems) = run(&case, Output { format, escaping });
            check(&expected, &page);
            check(&case.join(format!("problems{problems_ending}")), &problems);
        }
        assert!(n_pages > 0, "{} expects a page", case.display());
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

fn run(case: &Path, output: Output) -> (String, String) {
    let files: Vec<_> = sorted(case).into_iter().filter(|path| is_source(path)).collect();
    let names: Vec<_> = files.iter().map(|path| name(path)).collect();
    let labels: Vec<_> = names.iter().map(|name| [("container", name.as_str())]).collect();
    let bodies: Vec<_> = files.iter().map(|path| (format(path), fs::read(path).unwrap())).collect();
    let sources: Vec<_> = bodies
        .iter()
        .zip(&labels)
        .map(|((format, body), labels)| Source { labels, format: *format, body, only: None })
        .collect();

    let Merged { body, reports } = merge(&sources, &Limits::default(), output);
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
    let page = match output.format {
        Format::Protobuf => shown::page(&body),
        _ => String::from_utf8(body).unwrap(),
    };
    (page, problems)
}

fn is_source(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
}

/// What the ending of a source says.
#[track_caller]
fn format(path: &Path) -> Format {
    match path.extension().unwrap().to_str().unwrap() {
        "prom" => Format::Text,
        "om" => Format::OpenMetrics,
        "pb" => Format::Protobuf,
        other => panic!("{}: no format ends in {other}", path.display()),
    }
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
