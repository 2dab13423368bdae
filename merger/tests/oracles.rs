//! What Python's `prometheus_client` reads from our pages is what it reads from their sources.
//!
//! Needs what `cargo xtask setup` installs, so it runs only by name: `cargo test --test oracles`.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says what is missing, and one that can says what it counted"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "support/clients.rs"]
mod clients;

use clients::{Clients, Parser, Sample};

/// The formats of lines, by the word for them on the command line.
const FORMATS: [(&str, Parser); 4] = [
    ("text", Parser::Text),
    ("text-1.0", Parser::Text),
    ("openmetrics", Parser::OpenMetrics),
    ("openmetrics-0.0.1", Parser::OpenMetrics),
];

/// Merges the files by the program, each under a name of its own, and compares sample by sample.
#[track_caller]
fn check(what: &str, files: &[PathBuf]) {
    let mut clients = Clients::start();
    let bodies: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mut inputs = Vec::new();
    for (file, body) in files.iter().zip(&bodies) {
        let parser = if has_ending(file, "om") { Parser::OpenMetrics } else { Parser::Text };
        let read = clients.samples(parser, body).expect("it reads what it is to compare with");
        inputs.push((name(file), parser, read));
    }
    for (format, parser) in FORMATS {
        let page = merged(files, format);
        let found = clients.samples(parser, &page).unwrap_or_else(|error| {
            panic!("{what} as {format}: prometheus_client refuses the page: {error}")
        });
        let found = sorted(found);
        let expected = inputs.iter().flat_map(|(name, of, samples)| {
            // Text has no place for an exemplar, on either side.
            let keeps_exemplars = parser == Parser::OpenMetrics && *of == Parser::OpenMetrics;
            samples.iter().map(move |sample| labelled(sample, name, keeps_exemplars))
        });
        let expected = sorted(expected.collect());
        tell_difference(what, format, &expected, &found);
        let n_exemplars = found.iter().filter(|sample| sample.4.is_some()).count();
        println!(
            "{what} as {format}: {} samples of {} sources, {n_exemplars} exemplars, none lost",
            found.len(),
            files.len()
        );
    }
}

#[test]
fn every_sample_of_the_generated_set_is_on_the_page() {
    let directory = tempfile::tempdir().unwrap();
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/gen_inputs.py");
    let mut command = Command::new("python3");
    let output = command.arg("-B").arg(generator).arg("--all").arg(directory.path()).output();
    assert!(output.expect("python3 is installed").status.success());
    let files = files(directory.path());
    assert_eq!(files.len(), 8, "the whole set is there");
    check("the generated set", &files);
}

#[test]
fn every_sample_of_the_recorded_pages_is_on_the_page() {
    let scrapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scrapes");
    for name in ["envoy-text", "node-exporter", "kubelet-cadvisor", "generated-java-full"] {
        check(name, &[scrapes.join(name).with_extension("prom")]);
    }
}

fn merged(files: &[PathBuf], format: &str) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
    command.env_clear().args(["merge", "--format", format, "--max-samples", "1000000"]).args(files);
    let output = command.output().expect("the program is built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output.stdout
}

/// A sample of an input as it should be on the page: our label is there, and theirs is exported.
fn labelled(sample: &Sample, source: &str, keeps_exemplar: bool) -> Sample {
    let (name, mut labels, value, timestamp, exemplar) = sample.clone();
    if let Some(theirs) = labels.insert("container".to_owned(), source.to_owned()) {
        let clash = labels.insert("exported_container".to_owned(), theirs);
        assert_eq!(clash, None, "no input has both");
    }
    (name, labels, value, timestamp, exemplar.filter(|_| keeps_exemplar))
}

/// In order; and as the data model has it: a label with an empty value is none, and bounds are numbers,
/// which `OpenMetrics` spells in one way.
fn sorted(mut samples: Vec<Sample>) -> Vec<Sample> {
    for (_, labels, ..) in &mut samples {
        labels.retain(|_, value| !value.is_empty());
        for bound in ["le", "quantile"] {
            if let Some(value) = labels.get_mut(bound)
                && let Ok(number) = value.parse::<f64>()
            {
                *value = format!("{number:?}");
            }
        }
    }
    samples.sort_unstable();
    samples
}

#[track_caller]
fn tell_difference(what: &str, format: &str, expected: &[Sample], found: &[Sample]) {
    if expected == found {
        return;
    }
    let not_in = |these: &[Sample], those: &[Sample]| -> Vec<String> {
        let missing = these.iter().filter(|sample| those.binary_search(sample).is_err());
        missing.take(5).map(|sample| format!("{sample:?}")).collect()
    };
    panic!(
        "{what} as {format}: {} samples, of {}\nlost: {:#?}\nnew: {:#?}",
        found.len(),
        expected.len(),
        not_in(expected, found),
        not_in(found, expected),
    );
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(file: &Path) -> &str {
    file.file_stem().and_then(|name| name.to_str()).unwrap()
}

fn has_ending(file: &Path, ending: &str) -> bool {
    file.extension().is_some_and(|extension| extension == ending)
}
