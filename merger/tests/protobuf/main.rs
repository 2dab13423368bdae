//! Messages as prost reads and writes them, against the reader and the writer of the library.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod faults;
mod generate;
mod lines;
#[path = "../support/messages.rs"]
mod messages;
mod points;
mod properties;
mod recorded;

use merger::{
    exposition::{
        Entry, Fault,
        protobuf::{Metric, Reader},
    },
    merge::Limits,
};
use prost::Message as _;

use self::messages::{LabelPair, MetricFamily};

type Item<'a> = Result<Entry<'a>, Fault>;

/// A body of these families, as a client with prost writes it.
fn body(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(|family| family.encode_length_delimited_to_vec()).collect()
}

fn families(mut body: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !body.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut body).unwrap());
    }
    families
}

fn read(body: &[u8]) -> Vec<Item<'_>> {
    Reader::new(body, &Limits::default()).collect()
}

fn metrics(body: &[u8]) -> Vec<Metric<'_>> {
    let metric = |item| match item {
        Ok(Entry::Metric(metric)) => Some(metric),
        _ => None,
    };
    read(body).into_iter().filter_map(metric).collect()
}

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: Some(name.into()), value: Some(value.into()) }
}

/// The lines of a metric in the spelling of `OpenMetrics`, less the labels that all of them share.
fn spell(metric: &Metric<'_>) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let is_incomplete = metric.lines(|line| {
        let mut text = line.suffix.to_owned();
        if let Some((name, value)) = line.bound {
            text += &format!("{{{name}=\"{value}\"}}");
        }
        text += &format!(" {}", line.value);
        if let Some(exemplar) = line.exemplar {
            text += &format!(" # {}", String::from_utf8(exemplar.to_vec()).unwrap());
        }
        lines.push(text);
    });
    (lines, is_incomplete)
}
