//! Ten thousand pairs of sources in all formats, merged to all formats: the strict readers of the field
//! accept each page.
//!
//! Needs what `cargo xtask setup` installs, so it runs only by name: `cargo test --test pairs`. Text is
//! read by promtool and by Python's `prometheus_client`, `OpenMetrics` by the latter. Messages are read
//! by a Pushgateway: it is the one reader of protobuf that also has an opinion on what is read, the
//! consistency check of Go's registry; a runtime of protobuf would only see whether fields parse. It
//! refuses timestamps by design, and names that are no identifiers, so it gets none; messages with those
//! are decoded by prost and checked for the same (`support/registry.rs`).
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says what is missing, and one that can says what it counted"
)]

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::SocketAddr,
    panic,
    process::{Command, Stdio},
};

use merger::{
    exposition::{Escaping, Format, Output},
    merge::{self, Limits},
};

#[path = "support/clients.rs"]
mod clients;
#[path = "support/generate/family.rs"]
mod family;
#[path = "support/generate.rs"]
mod generate;
#[path = "support/http.rs"]
mod http;
#[path = "support/generate/lines.rs"]
mod lines;
#[path = "support/messages.rs"]
#[allow(dead_code, reason = "what is not looked at is still decoded")]
mod messages;
#[path = "support/generate/pair.rs"]
mod pair;
#[path = "support/process.rs"]
mod process;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/generate/wire.rs"]
mod wire;

use clients::{Clients, Parser};
use pair::{Pair, Recipe, Source};
use process::Server;

const N_PAIRS: u64 = 10_000;

/// How many pages promtool reads at once: starting it takes longer than reading them.
const N_AT_ONCE: usize = 250;

/// The pages of pairs, those that were refused, and why.
struct Outcome {
    n_samples: usize,
    refused: Vec<(Recipe, String)>,
}

/// Merges each pair, and shows the pages to a reader some at a time: it gives a reason for each that it
/// refuses, by position.
#[track_caller]
fn check(
    what: &str,
    output: Output,
    timestamps: bool,
    n_at_once: usize,
    mut refuse: impl FnMut(&[Vec<u8>]) -> Vec<(usize, String)>,
) {
    let mut outcome = Outcome { n_samples: 0, refused: Vec::new() };
    let seeds: Vec<u64> = (0..N_PAIRS).collect();
    for seeds in seeds.chunks(n_at_once) {
        let recipes: Vec<_> = seeds.iter().map(|seed| Recipe { seed: *seed, timestamps }).collect();
        let pages: Vec<_> = recipes.iter().map(|recipe| outcome.merge(*recipe, output)).collect();
        let refused: Vec<_> =
            refuse(&pages).into_iter().map(|(n, why)| (recipes[n], why)).collect();
        outcome.refused.extend(refused);
    }
    outcome.tell(what, output);
}

#[test]
fn promtool_reads_text() {
    let output = Output { format: Format::Text, escaping: Escaping::Underscores };
    check("promtool check metrics", output, true, N_AT_ONCE, refused_by_promtool);
}

#[test]
fn prometheus_client_reads_text() {
    let mut clients = Clients::start();
    for (format, escaping) in
        [(Format::Text, Escaping::Underscores), (Format::Text1, Escaping::AllowUtf8)]
    {
        check("prometheus_client", Output { format, escaping }, true, 1, |pages| {
            each(pages, |page| clients.count(Parser::Text, page).map(drop))
        });
    }
}

#[test]
fn prometheus_client_reads_openmetrics() {
    let mut clients = Clients::start();
    for (format, escaping) in [
        (Format::OpenMetrics, Escaping::AllowUtf8),
        (Format::OpenMetrics, Escaping::Values),
        (Format::OpenMetrics0, Escaping::Underscores),
    ] {
        check("prometheus_client", Output { format, escaping }, true, 1, |pages| {
            each(pages, |page| clients.count(Parser::OpenMetrics, page).map(drop))
        });
    }
}

#[test]
fn the_pushgateway_takes_messages() {
    let (address, _server) = pushgateway();
    let output = Output { format: Format::Protobuf, escaping: Escaping::Underscores };
    check("prometheus-pushgateway", output, false, 1, |pages| {
        each(pages, |page| push(address, page))
    });
}

#[test]
fn messages_are_as_a_registry_wants_them() {
    for escaping in [Escaping::AllowUtf8, Escaping::Underscores] {
        let output = Output { format: Format::Protobuf, escaping };
        check("prost and the rules of a registry", output, true, 1, |pages| {
            each(pages, |page| registry::check(page).map(drop))
        });
    }
}

/// Pairs of which all sources were good would show as little as pairs of which none was.
#[test]
fn the_sources_themselves_are_good_and_bad() {
    let mut clients = Clients::start();
    let (address, _server) = pushgateway();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seed in 0..N_PAIRS / 10 {
        for Source { format, body } in Pair::new(Recipe { seed, timestamps: seed % 2 == 0 }).0 {
            let (reader, is_read) = match format {
                Format::Text | Format::Text1 => {
                    ("text", clients.count(Parser::Text, &body).is_ok())
                }
                Format::OpenMetrics | Format::OpenMetrics0 => {
                    ("OpenMetrics", clients.count(Parser::OpenMetrics, &body).is_ok())
                }
                Format::Protobuf => ("protobuf", push(address, &body).is_ok()),
            };
            let (n_read, n) = counts.entry(reader).or_default();
            *n_read += usize::from(is_read);
            *n += 1;
        }
    }
    for (reader, (n_read, n)) in counts {
        println!("of the sources in {reader} themselves, {n_read} of {n} are accepted");
        assert!(n_read * 20 > n && n_read * 20 < n * 19, "{reader}: {n_read} of {n} are accepted");
    }
}

fn pushgateway() -> (SocketAddr, Server) {
    let address = http::free_address();
    let mut command = Command::new("prometheus-pushgateway");
    command.arg(format!("--web.listen-address={address}")).arg("--persistence.file=");
    (address, Server::start(command, address))
}

/// Puts a page in the place of the one before.
fn push(address: SocketAddr, page: &[u8]) -> Result<(), String> {
    let content_type = "Content-Type: application/vnd.google.protobuf; \
                        proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let head = ["PUT /metrics/job/pairs HTTP/1.1", content_type];
    let (status, body) = http::exchange(address, &head, page).map_err(|error| error.to_string())?;
    let is_taken = (200..300).contains(&status);
    is_taken.then_some(()).ok_or_else(|| format!("{status}: {}", String::from_utf8_lossy(&body)))
}

fn each(
    pages: &[Vec<u8>],
    mut read: impl FnMut(&[u8]) -> Result<(), String>,
) -> Vec<(usize, String)> {
    pages.iter().enumerate().filter_map(|(n, page)| Some((n, read(page).err()?))).collect()
}

/// The pages that promtool refuses alone. All together have no name twice, so that it refuses all if it
/// refuses one; then the culprits are looked for in halves.
fn refused_by_promtool(pages: &[Vec<u8>]) -> Vec<(usize, String)> {
    let Err(why) = promtool(&pages.concat()) else { return Vec::new() };
    if pages.len() == 1 {
        return vec![(0, why)];
    }
    let middle = pages.len() / 2;
    let mut refused = refused_by_promtool(&pages[..middle]);
    let more = refused_by_promtool(&pages[middle..]);
    refused.extend(more.into_iter().map(|(n, why)| (middle + n, why)));
    refused
}

/// It exits with 3 where it read the page and its style could be better, with 1 where it could not
/// read it.
fn promtool(page: &[u8]) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("promtool is installed (Debian: apt-get install prometheus)");
    // It writes nothing until it has read all, or what it does not like; then it reads no further.
    let _ = child.stdin.take().expect("it is piped").write_all(page);
    let output = child.wait_with_output().expect("it ends");
    match output.status.code() {
        Some(0 | 3) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

// === impl Outcome ===

impl Outcome {
    /// The page of a pair. Where the merge panics, that is a refusal.
    ///
    /// The sources have labels of their own, or one of them none, or both none: a drop-in for a page
    /// that has none.
    fn merge(&mut self, recipe: Recipe, output: Output) -> Vec<u8> {
        const LABELS: [[&[(&str, &str)]; 2]; 3] = [
            [&[("container", "a"), ("endpoint", "1")], &[("container", "b"), ("endpoint", "2")]],
            [&[("container", "a"), ("endpoint", "1")], &[]],
            [&[], &[]],
        ];
        let Pair(sources) = Pair::new(recipe);
        let labels = LABELS[usize::try_from(recipe.seed % 3).expect("it is 0, 1 or 2")];
        let sources = [0, 1].map(|n| merge::Source {
            labels: labels[n],
            format: sources[n].format,
            body: &sources[n].body,
            only: None,
        });
        let run = || merge::merge(&sources, &Limits::default(), output);
        let Ok(merged) = panic::catch_unwind(run) else {
            self.refused.push((recipe, "the merge panics".to_owned()));
            return Vec::new();
        };
        self.n_samples += merged.reports.iter().map(|report| report.samples).sum::<usize>();
        merged.body
    }

    #[track_caller]
    fn tell(mut self, what: &str, output: Output) {
        let Output { format, escaping } = output;
        // An OpenMetrics reader refuses the empty page of a panic once more.
        self.refused.dedup_by_key(|(recipe, _)| recipe.seed);
        let (n_samples, n_refused) = (self.n_samples, self.refused.len() as u64);
        let n_accepted = N_PAIRS - n_refused;
        println!(
            "{what}: {n_accepted} of {N_PAIRS} pages as {format:?}, {escaping:?}: {n_samples} samples"
        );
        let mut told = String::new();
        for (recipe, why) in std::mem::take(&mut self.refused).into_iter().take(3) {
            let page = self.merge(recipe, output);
            told += &format!(
                "\n=== {recipe:?}\n{why}\n{}--- page\n{}\n",
                Pair::new(recipe).tell(),
                String::from_utf8_lossy(&page),
            );
        }
        assert_eq!(
            n_refused, 0,
            "pages refused by {what} as {format:?}, {escaping:?}; the first:{told}"
        );
    }
}
