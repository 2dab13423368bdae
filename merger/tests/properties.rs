//! The laws of the merge, on generated, recorded and damaged pages.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;

use merger::{
    exposition::{Defect, Entry, Escaping, Format, Output},
    merge::{Limits, Merged, Report, Source, merge},
};
use prometheus_parse::{Sample, Scrape, Value};

#[path = "support/generate.rs"]
mod generate;

use generate::Random;

const N_PAGES: u64 = 3_000;
const ENVOY: &[u8] = include_bytes!("../testdata/scrapes/envoy-text.prom");
const NODE: &[u8] = include_bytes!("../testdata/scrapes/node-exporter.prom");
const ISTIO: &[u8] = include_bytes!("../testdata/scrapes/pilot-agent-merged.prom");
const CADVISOR: &[u8] = include_bytes!("../testdata/scrapes/kubelet-cadvisor.prom");
const PLAIN_ENVOY: &[u8] = include_bytes!("../testdata/scrapes/generated-envoy.prom");
const PLAIN_GO: &[u8] = include_bytes!("../testdata/scrapes/generated-go.prom");
const JAVA: &[u8] = include_bytes!("../testdata/scrapes/generated-java-full.prom");
const SCRAPES: [&[u8]; 7] = [ENVOY, NODE, ISTIO, CADVISOR, PLAIN_ENVOY, PLAIN_GO, JAVA];

/// The labels of a source and its body.
type Labelled<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

fn merged(sources: &[Labelled<'_>]) -> Merged {
    let sources: Vec<_> = sources
        .iter()
        .map(|(labels, body)| Source { labels, format: Format::Text, body, only: None })
        .collect();
    merge(&sources, &Limits::default(), Output::default())
}

fn merged_alone(body: &[u8]) -> (Vec<u8>, Report) {
    let Merged { body, mut reports } = merged(&[(&[], body)]);
    (body, reports.remove(0))
}

fn n_samples(body: &[u8]) -> usize {
    let entries = Format::Text.read(body, &Limits::default());
    entries.filter(|entry| matches!(entry, Ok(Entry::Sample(_)))).count()
}

/// How many of a source's samples the problems account for.
fn n_dropped(report: &Report) -> usize {
    [Defect::Duplicate, Defect::BucketBound, Defect::Quantile]
        .into_iter()
        .map(|what| report.problems.count(what))
        .sum()
}

fn sample_lines(body: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> =
        body.split(|b| *b == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').collect();
    lines.sort_unstable();
    lines
}

/// The laws that hold for every body whatever it is.
#[track_caller]
fn check(body: &[u8]) {
    let shown = String::from_utf8_lossy(body);
    let (page, report) = merged_alone(body);

    let strict = Format::Text.read(&page, &Limits::default()).map(|entry| match entry {
        Ok(Entry::Sample(sample)) => sample.strict,
        entry => entry.is_ok(),
    });
    assert!({ strict }.all(|strict| strict), "what is written is read back as strict: {shown}");
    assert_eq!(n_samples(&page), report.samples, "the page has what the report says: {shown}");
    assert_eq!(n_samples(body), report.samples + n_dropped(&report), "none is lost: {shown}");

    let (again, report_again) = merged_alone(&page);
    let (page, again) = (String::from_utf8(page).unwrap(), String::from_utf8(again).unwrap());
    assert_eq!(again, page, "a merged page is merged to itself: {shown}");
    assert!(report_again.problems.is_empty(), "{:?}", report_again.problems);

    let Merged { body: twice, reports } = merged(&[(&[], body), (&[], body)]);
    assert_eq!(String::from_utf8(twice).unwrap(), page, "a source twice adds nothing: {shown}");
    assert_eq!(reports[1].samples, 0);
    assert_eq!(reports[1].problems.count(Defect::Duplicate), n_samples(body), "{shown}");
}

#[test]
fn the_laws_hold_for_generated_pages() {
    let mut random = Random::new(1);
    for _ in 0..N_PAGES {
        check(random.page().as_bytes());
    }
}

#[test]
fn the_laws_hold_for_recorded_pages() {
    SCRAPES.into_iter().for_each(check);
}

#[test]
fn the_laws_hold_for_damaged_pages() {
    let mut random = Random::new(2);
    for _ in 0..N_PAGES {
        let scrape = SCRAPES[random.below(SCRAPES.len())];
        let start = random.below(scrape.len());
        let piece = &scrape[start..scrape.len().min(start + 3_000)];
        check(&random.mutate(piece));
        let page = random.page();
        check(&random.mutate(page.as_bytes()));
    }
}

#[test]
fn the_laws_hold_for_bytes_that_are_nothing() {
    const ALPHABET: &[u8] = b"ab_1 \t\n\r{}\"\\=,#.-+eEn\0\xff\xc3\xa9";
    let mut random = Random::new(3);
    for _ in 0..N_PAGES {
        let n = random.below(60);
        let body: Vec<_> = (0..n).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect();
        check(&body);
    }
}

#[test]
fn the_order_of_sources_does_not_change_the_samples_nor_the_types() {
    let mut random = Random::new(4);
    let is_type = |line: &&[u8]| line.starts_with(b"# TYPE");
    for _ in 0..N_PAGES {
        let (one, two) = (random.page(), random.page());
        let one: Labelled<'_> = (&[("container", "one")], one.as_bytes());
        let two: Labelled<'_> = (&[("container", "two")], two.as_bytes());
        let pages = [merged(&[one, two]), merged(&[two, one])];
        assert_eq!(sample_lines(&pages[0].body), sample_lines(&pages[1].body));
        let types = pages.each_ref().map(|page| {
            let mut types: Vec<_> = page.body.split(|b| *b == b'\n').filter(is_type).collect();
            types.sort_unstable();
            types
        });
        assert_eq!(types[0], types[1]);
    }
}

#[test]
fn each_sample_of_each_source_is_in_the_page_or_a_problem() {
    let mut random = Random::new(5);
    for _ in 0..N_PAGES {
        let pages = [random.page(), random.page(), random.page()];
        let sources = pages.each_ref().map(|page| (&[][..], page.as_bytes()));
        let Merged { body, reports } = merged(&sources);
        for (page, report) in pages.iter().zip(&reports) {
            assert_eq!(n_samples(page.as_bytes()), report.samples + n_dropped(report));
        }
        let in_reports: usize = reports.iter().map(|report| report.samples).sum();
        assert_eq!(n_samples(&body), in_reports);
    }
}

#[test]
fn recorded_pages_of_one_exporter_lose_nothing() {
    for scrape in [ENVOY, NODE, CADVISOR, PLAIN_ENVOY, PLAIN_GO] {
        let (page, report) = merged_alone(scrape);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let without_braces = String::from_utf8(scrape.to_vec()).unwrap().replace("{} ", " ");
        assert_eq!(sample_lines(&page), sample_lines(without_braces.as_bytes()));
    }
}

/// What prometheus-parse reads: each series with its labels in order, and its value.
fn read_by_another(body: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(body).unwrap().lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse_at(lines, std::time::UNIX_EPOCH.into()).unwrap();
    let mut read: Vec<_> = scrape
        .samples
        .into_iter()
        .map(|sample| {
            let labels: BTreeMap<_, _> = sample.labels.iter().collect();
            format!("{} {labels:?} {:?}", sample.metric, sample.value)
        })
        .collect();
    read.sort();
    read
}

/// A histogram or summary of that reader holds a sample for each bucket or quantile.
fn n_samples_by_another(body: &[u8]) -> usize {
    let lines = std::str::from_utf8(body).unwrap().lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse_at(lines, std::time::UNIX_EPOCH.into()).unwrap();
    scrape
        .samples
        .iter()
        .map(|sample| match &sample.value {
            Value::Histogram(buckets) => buckets.len(),
            Value::Summary(quantiles) => quantiles.len(),
            _ => 1,
        })
        .sum()
}

#[test]
fn another_reader_reads_the_same_from_the_page_as_from_its_source() {
    for body in [PLAIN_ENVOY, PLAIN_GO, NODE] {
        let (page, report) = merged_alone(body);
        assert_eq!(read_by_another(&page), read_by_another(body));
        assert_eq!(n_samples_by_another(&page), report.samples);
    }
}

#[test]
fn another_reader_reads_as_many_samples_from_the_page_as_from_both_sources() {
    let Merged { body, .. } = merged(&[
        (&[("container", "istio-proxy"), ("endpoint", "http-envoy-prom")], PLAIN_ENVOY),
        (&[("container", "app"), ("endpoint", "8080")], PLAIN_GO),
    ]);
    let n_sources = n_samples_by_another(PLAIN_ENVOY) + n_samples_by_another(PLAIN_GO);
    assert_eq!(n_samples_by_another(&body), n_sources);
    assert_eq!(n_samples(&body), n_sources);
}

/// The same without the kinds: `OpenMetrics` has none for a counter without `_total`, nor for a histogram
/// whose last buckets are missing, as where a page was cut.
fn read_by_another_without_kinds(body: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(body).unwrap().lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse_at(lines, std::time::UNIX_EPOCH.into()).unwrap();
    let mut read = Vec::new();
    for sample in &scrape.samples {
        for (name, bound, value) in flat(sample) {
            let mut labels: BTreeMap<String, String> =
                sample.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            labels.extend(bound.map(|(label, bound)| (label.to_owned(), bound.to_string())));
            if let Some(Ok(bound)) = labels.get("le").map(|bound| bound.parse::<f64>()) {
                labels.insert("le".to_owned(), bound.to_string());
            }
            read.push(format!("{name} {labels:?} {value:?}"));
        }
    }
    read.sort();
    read
}

/// Name, bound, value.
type Flat<'a> = (String, Option<(&'a str, f64)>, f64);

/// The samples of what that reader calls one.
fn flat(sample: &Sample) -> Vec<Flat<'_>> {
    let name = &sample.metric;
    match &sample.value {
        Value::Histogram(buckets) => buckets
            .iter()
            .map(|bucket| (format!("{name}_bucket"), Some(("le", bucket.less_than)), bucket.count))
            .collect(),
        Value::Summary(quantiles) => quantiles
            .iter()
            .map(|it| (name.clone(), Some(("quantile", it.quantile)), it.count))
            .collect(),
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => {
            vec![(name.clone(), None, *value)]
        }
    }
}

#[test]
fn another_reader_reads_the_same_after_a_detour_by_each_format() {
    for format in [Format::Text1, Format::OpenMetrics0, Format::OpenMetrics, Format::Protobuf] {
        for body in [PLAIN_ENVOY, PLAIN_GO, NODE] {
            let output = Output { format, escaping: Escaping::Underscores };
            let there = Source { labels: &[], format: Format::Text, body, only: None };
            let there = merge(&[there], &Limits::default(), output).body;
            let back = Source { labels: &[], format, body: &there, only: None };
            let back = merge(&[back], &Limits::default(), Output::default()).body;
            let [found, expected] = [&back, body].map(read_by_another_without_kinds);
            assert_eq!(found, expected, "{format:?}");
        }
    }
}
