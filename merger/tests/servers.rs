//! Real servers on both sides of the merge: a Prometheus that scrapes a merged page, and an Envoy that is
//! a source.
//!
//! Needs what `cargo xtask setup` installs, so it runs only by name: `cargo test --test servers`.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says what is missing, and one that can says what it counted"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use merger::{
    exposition::{Entry, Escaping, Format, Kind, Label, Output},
    merge::{Limits, Source, merge},
};
use serde_json::Value as Json;

#[path = "support/generate/family.rs"]
#[allow(dead_code, reason = "the families of these tests are no random ones")]
mod family;
#[path = "support/generate.rs"]
#[allow(dead_code, reason = "the families of these tests are no random ones")]
mod generate;
#[path = "support/http.rs"]
mod http;
#[path = "support/process.rs"]
mod process;
#[path = "support/generate/wire.rs"]
mod wire;

use family::{Family, Histogram, Metric, Value};
use process::Server;

/// A name and its labels.
type Series = (String, BTreeMap<String, String>);

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const APPLICATION: &[u8] = b"\
# TYPE app_requests_total counter
app_requests_total{path=\"/{id}\"} 7
# TYPE app_seconds histogram
app_seconds_bucket{le=\"0.5\"} 2
app_seconds_bucket{le=\"+Inf\"} 3
app_seconds_sum 4.5
app_seconds_count 3
";

#[test]
fn prometheus_stores_a_native_histogram_from_a_merged_page() {
    let proxy = native_histogram();
    let sources = [
        Source {
            labels: &[("container", "proxy")],
            format: Format::Protobuf,
            body: &proxy,
            only: None,
        },
        Source {
            labels: &[("container", "app")],
            format: Format::Text,
            body: APPLICATION,
            only: None,
        },
    ];
    let output = Output { format: Format::Protobuf, escaping: Escaping::AllowUtf8 };
    let page = merge(&sources, &Limits::default(), output).body;

    let target = serve(page);
    let directory = tempfile::tempdir().unwrap();
    let (address, mut server) = prometheus(directory.path(), target);
    let query = |what: &str| result(address, what);
    let stored = server.wait("the native histogram is stored", || query("rpc_seconds"));
    assert_eq!(stored["metric"]["container"], "proxy", "{stored}");
    let histogram = &stored["histogram"][1];
    assert_eq!((&histogram["count"], &histogram["sum"]), (&"5".into(), &"2.5".into()), "{stored}");
    println!("Prometheus stored {stored}");

    for (series, expected) in [
        ("app_requests_total{path=\"/{id}\",container=\"app\"}", "7"),
        ("app_seconds_bucket{le=\"0.5\",container=\"app\"}", "2"),
        ("app_seconds_bucket{le=\"+Inf\",container=\"app\"}", "3"),
        ("app_seconds_sum{container=\"app\"}", "4.5"),
        ("app_seconds_count{container=\"app\"}", "3"),
        ("count(up == 1)", "1"),
    ] {
        let found = query(series).unwrap_or_else(|| panic!("{series} is not there"));
        assert_eq!(found["value"][1], expected, "{series}: {found}");
    }
}

#[test]
fn envoys_pages_of_text_and_of_messages_merge_to_the_same_samples() {
    let (admin, _server) = envoy();
    // As long as the other one, since Envoy counts the bytes of a request.
    let accept = format!("Accept: text/plain;{:<width$}", "q=1", width = PROTOBUF.len() - 11);
    let text = || envoys_page(admin, &accept);
    let before = text();
    let messages = envoys_page(admin, &format!("Accept: {PROTOBUF}"));
    let after = text();
    for format in [Format::Text, Format::Text1, Format::OpenMetrics, Format::Protobuf] {
        let output = Output { format, escaping: Escaping::Underscores };
        let before = samples(Format::Text, &before, output);
        let after = samples(Format::Text, &after, output);
        let of_messages = samples(Format::Protobuf, &messages, output);
        let names = |samples: &BTreeMap<Series, f64>| samples.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&of_messages), names(&before), "{format:?}");
        // What moved while the pages were read tells nothing.
        let still: Vec<_> =
            before.iter().filter(|(name, value)| after.get(*name) == Some(*value)).collect();
        for (name, value) in &still {
            assert_eq!(of_messages.get(*name), Some(*value), "{format:?}: {name:?}");
        }
        println!("Envoy as {format:?}: {} series, {} of them still", before.len(), still.len());
        assert!(still.len() * 10 > before.len() * 9, "an idle Envoy stands still");
    }
}

/// A family that only protobuf can say, as its message.
fn native_histogram() -> Vec<u8> {
    let histogram =
        Histogram { buckets: Vec::new(), sum: Some("2.5"), count: Some(5), is_native: true };
    let metric = Metric {
        labels: vec![("path", "/{id}")],
        value: Value::Histogram(histogram),
        timestamp: None,
        created: None,
        exemplar: None,
    };
    let family = Family {
        name: "rpc_seconds".to_owned(),
        kind: Kind::Histogram,
        help: Some("How long it took."),
        unit: None,
        metrics: vec![metric],
    };
    wire::write(&mut generate::Random::new(1), &[family])
}

/// Answers every request with this page, for as long as the test runs.
fn serve(page: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Prometheus gives up and comes again.
            let _ = answer(stream, &page);
        }
    });
    address
}

fn answer(mut stream: TcpStream, page: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let length = page.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), page].concat())
}

fn prometheus(directory: &Path, target: SocketAddr) -> (SocketAddr, Server) {
    let configuration = directory.join("prometheus.yml");
    let scrape = format!(
        "scrape_configs:\n- job_name: merged\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{target}']\n"
    );
    fs::write(&configuration, scrape).unwrap();
    let address = http::free_address();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", configuration.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    command.args(["--enable-feature=native-histograms", "--log.level=error"]);
    (address, Server::start(command, address))
}

/// The one series that a query gives.
fn result(prometheus: SocketAddr, query: &str) -> Option<Json> {
    let mut request = "GET /api/v1/query?query=".to_owned();
    for byte in query.bytes() {
        request += &format!("%{byte:02X}");
    }
    request += " HTTP/1.1";
    let (_, body) = http::exchange(prometheus, &[&request], b"").ok()?;
    let answer: Json = serde_json::from_slice(&body).ok()?;
    let all = answer["data"]["result"].as_array()?;
    assert!(all.len() <= 1, "one series: {answer}");
    all.first().cloned()
}

/// An Envoy that has proxied a request, and the address of its admin.
fn envoy() -> (SocketAddr, Server) {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/envoy/envoy/_bin/envoy");
    let (admin, inbound) = (http::free_address(), http::free_address());
    let configuration = include_str!("support/envoy.yaml")
        .replace("ADMIN", &admin.port().to_string())
        .replace("INBOUND", &inbound.port().to_string());
    let mut command = Command::new(program);
    command.args(["--config-yaml", &configuration, "--concurrency", "1", "--disable-hot-restart"]);
    let mut server = Server::start(command, admin);
    server.wait("Envoy proxies a request", || {
        let (status, _) = http::exchange(inbound, &["GET /ready HTTP/1.1"], b"").ok()?;
        (status == 200).then_some(())
    });
    (admin, server)
}

fn envoys_page(admin: SocketAddr, accept: &str) -> Vec<u8> {
    let (status, page) = http::exchange(admin, &["GET /stats/prometheus HTTP/1.1", accept], b"")
        .expect("it answers");
    assert_eq!(status, 200, "{}", page.escape_ascii());
    page
}

/// The samples of a page that was merged to this output, by series. What is no text is made text by one
/// more merge.
fn samples(format: Format, page: &[u8], output: Output) -> BTreeMap<Series, f64> {
    let labels = &[("container", "istio-proxy")];
    let merged =
        merge(&[Source { labels, format, body: page, only: None }], &Limits::default(), output);
    let source = Source { labels: &[], format: output.format, body: &merged.body, only: None };
    let text = merge(&[source], &Limits::default(), Output::default()).body;
    let mut samples = BTreeMap::new();
    for entry in Format::Text.read(&text, &Limits::NONE) {
        if let Entry::Sample(sample) = entry.expect("what is written can be read") {
            let labels = sample.labels.walk().map(|label| (string(label.name), bound(label)));
            let value = string(sample.value).parse().expect("it is a number");
            samples.insert((string(sample.name), labels.collect()), value);
        }
    }
    samples
}

/// The value of a label. A bound is a number, which Envoy spells in one way and Go in another.
fn bound(label: Label<'_>) -> String {
    let value = string(label.value);
    let number = value.parse::<f64>().ok().filter(|_| label.name == b"le");
    number.map_or(value, |number| number.to_string())
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is text")
}
