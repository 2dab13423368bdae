//! Inputs that once broke a law of the fuzzer: `merger/fuzz/regressions/<target>/`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{fs, panic, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod laws;

/// Runs what once failed, and the recorded pages, which are the seeds of the fuzzer.
#[track_caller]
fn check(target: &str, law: impl Fn(&[u8])) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let regressions = here.join("fuzz/regressions").join(target);
    for directory in [regressions, here.join("testdata/scrapes")] {
        let entries = directory.read_dir().into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let input = fs::read(&path).unwrap();
            let run = panic::AssertUnwindSafe(|| law(&input));
            assert!(panic::catch_unwind(run).is_ok(), "{} breaks a law", path.display());
        }
    }
}

#[test]
fn text_holds() {
    check("text", laws::text);
}

#[test]
fn openmetrics_holds() {
    check("openmetrics", laws::openmetrics);
}

#[test]
fn protobuf_holds() {
    check("protobuf", laws::protobuf);
}

#[test]
fn the_merge_holds() {
    check("merge", laws::merge);
}

#[test]
fn requests_hold() {
    check("request", laws::request);
}

#[test]
fn negotiation_holds() {
    check("negotiate", laws::negotiate);
}
