//! What the fuzzer starts from: recorded pages, golden cases, and what once failed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::pieces;

/// As `split` in `merger/fuzz/src/lib.rs` takes it.
const SOURCE: &[u8] = b"\xfe\xffS";

/// The formats of `merger/fuzz/src/lib.rs`, by the ending of a file.
const FORMATS: [(&str, u8); 3] = [("prom", 0), ("om", 3), ("pb", 4)];

/// How many outputs there are: formats times escapings.
const N_OUTPUTS: u8 = 20;

/// Headers, which are in no recorded page: an Accept and a Content-Type.
const HEADERS: &[&str] = &[
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\napplication/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\n",
    "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\ntext/plain; version=1.0.0; charset=utf-8; escaping=values\n",
    "application/openmetrics-text; version=\"0.0.1\" ; q=1.0 , text/*;q=0\napplication/openmetrics-text; version=1.0.0; escaping=dots\n",
    "\ntext/plain\n",
];

/// What agents say: for a snapshot, and for a connection by IPv4 and by IPv6. The number of the request
/// comes first, of those the namespace next.
const REQUESTS: [&[u8]; 3] = [
    &[5, 0],
    &[7, 1, 9, 0, 127, 0, 0, 1, 80, 0],
    &[0xff, 3, 1, 0x80, 0x20, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x90, 0x3f, 0],
];

/// Writes the seeds of a target, and says how many there are.
pub(super) fn write(target: &str, corpus: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(corpus).with_context(|| corpus.display().to_string())?;
    let seeds = match target {
        "merge" => merges()?,
        "negotiate" => negotiations()?,
        "text" => bodies(&["prom"])?,
        "openmetrics" => bodies(&["om", "prom"])?,
        "request" => REQUESTS.iter().map(|request| request.to_vec()).collect(),
        _ => bodies(&["pb"])?,
    };
    let once_failed =
        read(&files(&crate::workspace().join("merger/fuzz/regressions").join(target)))?;
    let seeds: Vec<_> = seeds.into_iter().chain(once_failed).collect();
    for (n, seed) in seeds.iter().enumerate() {
        let path = corpus.join(format!("seed-{n}"));
        fs::write(&path, seed).with_context(|| path.display().to_string())?;
    }
    Ok(seeds.len())
}

/// Pieces of recorded pages, and the sources of the golden cases.
fn bodies(endings: &[&str]) -> anyhow::Result<Vec<Vec<u8>>> {
    let testdata = crate::workspace().join("merger/testdata");
    let cases = files(&testdata.join("merge"));
    let mut paths = files(&testdata.join("scrapes"));
    paths.extend(cases.iter().flat_map(|case| files(case)));
    paths.retain(|path| endings.iter().any(|ending| has_ending(path, ending)));
    let bodies = read(&paths)?;
    let pieces = |(path, body): (&PathBuf, &Vec<u8>)| pieces::of(body, has_ending(path, "pb"));
    Ok(paths.iter().zip(&bodies).flat_map(pieces).collect())
}

/// Each golden case, merged to one output after the other.
fn merges() -> anyhow::Result<Vec<Vec<u8>>> {
    let cases = files(&crate::workspace().join("merger/testdata/merge"));
    let mut seeds = Vec::new();
    for (case, output) in cases.iter().zip((0..N_OUTPUTS).cycle()) {
        let mut sources = Vec::new();
        for path in files(case) {
            let format = FORMATS.iter().find(|(ending, _)| has_ending(&path, ending));
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if let Some((_, format)) = format
                && name.first().is_some_and(u8::is_ascii_digit)
            {
                let body = fs::read(&path).with_context(|| path.display().to_string())?;
                sources.push([&[*format][..], &body].concat());
            }
        }
        let labels = output % 3;
        seeds.push([&[output, labels][..], &sources.join(SOURCE)].concat());
    }
    Ok(seeds)
}

/// Headers, before the beginning of each recorded page.
fn negotiations() -> anyhow::Result<Vec<Vec<u8>>> {
    let bodies = bodies(&["prom", "om", "pb"])?;
    let seed = |(n, body): (usize, &Vec<u8>)| {
        let head = HEADERS[n % HEADERS.len()].as_bytes();
        [head, &body[..body.len().min(300)]].concat()
    };
    Ok(bodies.iter().enumerate().map(seed).collect())
}

/// The files of a directory in order; none where it is not there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    paths.iter().map(|path| fs::read(path).with_context(|| path.display().to_string())).collect()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}
