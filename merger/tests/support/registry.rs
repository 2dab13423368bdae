//! What Go's registry asks of messages (`checkMetricConsistency` and `checkSuffixCollisions` in
//! `prometheus/client_golang`, `prometheus/registry.go`), for those that a Pushgateway refuses for another
//! reason: with timestamps, or names that are no identifiers. They are decoded by prost.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::messages::{LabelPair, Metric, MetricFamily};

/// How many metrics a page has, or what is wrong with it.
pub(crate) fn check(mut page: &[u8]) -> Result<usize, String> {
    let mut families = BTreeMap::new();
    let mut n_metrics = 0;
    while !page.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut page).map_err(|e| e.to_string())?;
        let name = family.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("a family without a name: {family:?}"))?;
        n_metrics += family.metric.len();
        check_metrics(&family).map_err(|what| format!("{name}: {what}"))?;
        if families.insert(name.clone(), family.r#type).is_some() {
            return Err(format!("{name}: a family is there twice"));
        }
    }
    for (name, type_) in &families {
        let suffixes: &[&str] = match type_ {
            Some(2) => &["_count", "_sum"],
            Some(4) => &["_count", "_sum", "_bucket"],
            _ => &[],
        };
        for suffix in suffixes {
            if families.contains_key(&format!("{name}{suffix}")) {
                return Err(format!("{name}: its {suffix} is a family of its own"));
            }
        }
    }
    Ok(n_metrics)
}

fn check_metrics(family: &MetricFamily) -> Result<(), String> {
    let mut series = BTreeSet::new();
    for metric in &family.metric {
        if !fits(metric, family.r#type) {
            return Err(format!("not of type {:?}: {metric:?}", family.r#type));
        }
        let mut labels = BTreeMap::new();
        for LabelPair { name, value } in &metric.label {
            let (name, value) =
                (name.clone().unwrap_or_default(), value.clone().unwrap_or_default());
            if name.is_empty() || name == "__name__" || labels.insert(name, value).is_some() {
                return Err(format!("its labels: {metric:?}"));
            }
        }
        labels.retain(|_, value| !value.is_empty());
        if !series.insert((labels, metric.timestamp_ms)) {
            return Err(format!("there twice: {metric:?}"));
        }
    }
    Ok(())
}

/// Whether a metric says what its family's type says, and nothing else.
fn fits(metric: &Metric, type_: Option<i32>) -> bool {
    let Metric { label: _, timestamp_ms: _, counter, gauge, summary, untyped, histogram } = metric;
    let said = [
        (0, counter.is_some()),
        (1, gauge.is_some()),
        (2, summary.is_some()),
        (3, untyped.is_some()),
        (4, histogram.is_some()),
    ];
    // A gauge histogram says itself in the field of a histogram.
    let expected = if type_ == Some(5) { 4 } else { type_.unwrap_or_default() };
    said.iter().all(|(type_, is_said)| *is_said == (*type_ == expected))
}
