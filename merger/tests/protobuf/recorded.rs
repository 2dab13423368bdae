//! A page that a real Envoy wrote as messages, against the same as text, taken a moment apart.

use std::collections::BTreeMap;

use merger::{
    exposition::{Entry, Format},
    merge::Limits,
};

use crate::{families, metrics, read};

const TEXT: &[u8] = include_bytes!("../../testdata/scrapes/envoy-text.prom");
const PROTOBUF: &[u8] = include_bytes!("../../testdata/scrapes/envoy-protobuf.pb");

/// A name with its labels in order, and a value. Envoy's text spells a bound as `1800000`, Go and so
/// protobuf's readers as `1.8e+06`.
type Samples = BTreeMap<(String, Vec<(String, String)>), f64>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn spelled(name: &str, value: String) -> String {
    if name == "le" { format!("{:e}", value.parse::<f64>().unwrap()) } else { value }
}

fn of_text() -> Samples {
    let mut samples = Samples::new();
    for item in Format::Text.read(TEXT, &Limits::default()) {
        let Entry::Sample(sample) = item.unwrap() else { continue };
        let label = |l: merger::exposition::Label<'_>| (text(l.name), text(l.value));
        let labels = sample.labels.walk().map(label).map(|(n, v)| (n.clone(), spelled(&n, v)));
        let mut labels: Vec<_> = labels.collect();
        labels.sort();
        let value = text(sample.value).parse().unwrap();
        assert_eq!(samples.insert((text(sample.name), labels), value), None);
    }
    samples
}

fn of_protobuf() -> Samples {
    let mut samples = Samples::new();
    for metric in metrics(PROTOBUF) {
        let is_incomplete = metric.lines(|line| {
            let name = text(metric.family) + line.suffix;
            let mut labels: Vec<_> = metric.labels().map(|(n, v)| (text(n), text(v))).collect();
            labels.extend(line.bound.map(|(n, v)| (n.to_owned(), spelled(n, v.to_owned()))));
            labels.sort();
            let value = line.value.parse().unwrap();
            assert_eq!(samples.insert((name, labels), value), None);
        });
        assert!(!is_incomplete);
    }
    samples
}

#[test]
fn a_recorded_page_is_read_without_a_problem() {
    let items = read(PROTOBUF);
    assert!(items.iter().all(Result::is_ok));
    let n_metrics: usize = families(PROTOBUF).iter().map(|family| family.metric.len()).sum();
    assert_eq!((n_metrics, metrics(PROTOBUF).len()), (890, 890));
}

/// Between the two somebody asked for the first page: there are counters of requests that only the
/// second has, and values that went on.
#[test]
fn its_samples_are_those_of_the_text() {
    let (text, protobuf) = (of_text(), of_protobuf());
    let is_there = text.keys().all(|series| protobuf.contains_key(series));
    assert!(is_there, "no series of the text is missing");
    let n_equal = text
        .iter()
        .filter(|(series, value)| protobuf[*series].to_bits() == value.to_bits())
        .count();
    assert_eq!((text.len(), protobuf.len(), n_equal), (1492, 1541, 1461));
}
