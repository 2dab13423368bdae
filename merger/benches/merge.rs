//! The complete merge of a sidecar's page and an application's page, with two labels put in,
//! against prometheus-parse that only parses them, and against a copy of their bytes.
//!
//! `cargo bench --bench merge` takes the recorded pages, made longer; `cargo bench --bench merge --
//! SIDECAR APP` takes two files. The three alternate, and the median of nine rounds is shown. Two
//! states of the code are compared by the ratios, each from its own run on a quiet machine.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says what is missing")]

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant, SystemTime},
};

use merger::{
    exposition::{Format, Output},
    merge::{Limits, Source, merge},
};
use prometheus_parse::Scrape;

const N_ROUNDS: usize = 9;
const ENVOY: &str = include_str!("../testdata/scrapes/generated-envoy.prom");
const GO: &str = include_str!("../testdata/scrapes/generated-go.prom");

fn main() {
    let files: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [sidecar, app] = match &files[..] {
        [sidecar, app] => [sidecar, app].map(|path| fs::read_to_string(path).expect("a page")),
        [] => [lengthened(ENVOY, 1_000_000), lengthened(GO, 50_000)],
        _ => panic!("no file, or a sidecar's page and an application's page"),
    };
    let n_bytes = sidecar.len() + app.len();
    let n_samples: usize = merged(&sidecar, &app).1;

    let rows = [
        ("complete merge", &(|| drop(black_box(merged(&sidecar, &app)))) as &dyn Fn()),
        ("prometheus-parse, parsing only", &|| {
            parse(&sidecar);
            parse(&app);
        }),
        ("memcpy", &|| drop(black_box([sidecar.as_bytes(), app.as_bytes()].concat()))),
    ];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..N_ROUNDS {
        for ((_, run), times) in rows.iter().zip(&mut times) {
            times.push(time(run));
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[N_ROUNDS / 2]
    });

    println!("{n_bytes} bytes, {n_samples} samples, median of {N_ROUNDS} alternated rounds");
    println!("{:<32} {:>10} {:>8} {:>11} {:>16}", "", "ms", "MB/s", "ns/sample", "times as fast");
    for ((name, _), median) in rows.iter().zip(medians) {
        let seconds = median.as_secs_f64();
        println!(
            "{name:<32} {:>10.3} {:>8.0} {:>11.1} {:>16.4}",
            seconds * 1e3,
            float(n_bytes) / seconds / 1e6,
            seconds * 1e9 / float(n_samples),
            seconds / medians[0].as_secs_f64(),
        );
    }
}

/// The mean of as many runs as take some milliseconds, so that the clock does not matter.
fn time(run: &dyn Fn()) -> Duration {
    let (start, mut n_runs) = (Instant::now(), 0);
    while n_runs == 0 || start.elapsed() < Duration::from_millis(50) {
        run();
        n_runs += 1;
    }
    start.elapsed() / n_runs
}

fn merged(sidecar: &str, app: &str) -> (Vec<u8>, usize) {
    let [sidecar_labels, app_labels] = [
        [("container", "istio-proxy"), ("endpoint", "http-envoy-prom")],
        [("container", "cart"), ("endpoint", "8080")],
    ];
    let source = |labels, body| Source { labels, format: Format::Text, body };
    let sources =
        [source(&sidecar_labels, sidecar.as_bytes()), source(&app_labels, app.as_bytes())];
    let merged = merge(&sources, &Limits::default(), Output::default());
    assert!(merged.reports.iter().all(|report| report.failed.is_none()), "{:?}", merged.reports);
    let n_samples = merged.reports.iter().map(|report| report.samples).sum();
    (merged.body, n_samples)
}

fn parse(page: &str) {
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse_at(lines, SystemTime::UNIX_EPOCH.into());
    black_box(scrape.expect("it reads the page"));
}

/// The page as often as it takes, each time with other names, so that no series is there twice.
fn lengthened(page: &str, n_bytes: usize) -> String {
    let mut long = String::new();
    for n in 0.. {
        for line in page.lines() {
            if long.len() >= n_bytes {
                return long;
            }
            let name = ["# HELP ", "# TYPE ", ""]
                .into_iter()
                .find(|word| line.starts_with(word))
                .map_or(0, str::len);
            let (word, rest) = line.split_at(name);
            long.extend([word, &format!("r{n}_"), rest, "\n"]);
        }
    }
    long
}

#[expect(clippy::cast_precision_loss, reason = "what is printed has few digits")]
fn float(n: usize) -> f64 {
    n as f64
}
