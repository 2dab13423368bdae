//! A page of messages as text for people: a line for each family and each metric.
//!
//! It is read by prost, so that what is shown is what another reader finds there.

use std::fmt::Write as _;

use prost::Message as _;

use crate::messages::{
    BucketSpan, Exemplar, Histogram, LabelPair, Metric, MetricFamily, Summary, Timestamp,
};

const TYPES: [&str; 6] = ["counter", "gauge", "summary", "untyped", "histogram", "gaugehistogram"];

/// Each message of the page.
pub(crate) fn page(mut body: &[u8]) -> String {
    let mut shown = String::new();
    while !body.is_empty() {
        let MetricFamily { name, help, r#type, metric, unit } =
            MetricFamily::decode_length_delimited(&mut body).unwrap();
        let type_ = TYPES[usize::try_from(r#type.unwrap_or_default()).unwrap()];
        write!(shown, "{} {type_}", name.unwrap_or_default()).unwrap();
        for (what, text) in [("unit", unit), ("help", help)] {
            text.map_or(Ok(()), |text| write!(shown, " {what} {text:?}")).unwrap();
        }
        shown.push('\n');
        for metric in &metric {
            writeln!(shown, "  {}", of_metric(metric)).unwrap();
        }
    }
    shown
}

fn of_metric(metric: &Metric) -> String {
    let Metric { label, gauge, counter, summary, untyped, timestamp_ms, histogram } = metric;
    let mut parts = vec![labels(label)];
    for single in [gauge, untyped].into_iter().flatten() {
        parts.push(single.value.unwrap_or_default().to_string());
    }
    if let Some(counter) = counter {
        parts.push(counter.value.unwrap_or_default().to_string());
        parts.extend(counter.exemplar.as_ref().map(exemplar));
        parts.extend(created(counter.created_timestamp.as_ref()));
    }
    parts.extend(summary.as_ref().map(of_summary));
    parts.extend(histogram.as_ref().map(of_histogram));
    parts.extend(timestamp_ms.map(|millis| format!("at {millis} ms")));
    parts.join(" ")
}

fn of_summary(summary: &Summary) -> String {
    let Summary { sample_count, sample_sum, quantile, created_timestamp } = summary;
    let mut parts = vec![totals(*sample_count, *sample_sum)];
    for quantile in quantile {
        let number = |number: Option<f64>| number.unwrap_or_default();
        parts.push(format!("{}:{}", number(quantile.quantile), number(quantile.value)));
    }
    parts.extend(created(created_timestamp.as_ref()));
    parts.join(" ")
}

fn of_histogram(histogram: &Histogram) -> String {
    let Histogram { sample_count, sample_sum, bucket, created_timestamp, schema, .. } = histogram;
    let mut parts = vec![totals(*sample_count, *sample_sum)];
    for bucket in bucket {
        let (bound, count) = (bucket.upper_bound.unwrap_or_default(), bucket.cumulative_count);
        parts.push(format!("{bound}:{}", count.unwrap_or_default()));
        parts.extend(bucket.exemplar.as_ref().map(exemplar));
    }
    if let Some(schema) = schema {
        let Histogram { positive_span, positive_delta, negative_span, negative_delta, .. } =
            histogram;
        let spans = |spans: &[BucketSpan]| -> Vec<_> {
            spans.iter().map(|span| (span.offset.unwrap(), span.length.unwrap())).collect()
        };
        let (positive, negative) = (spans(positive_span), spans(negative_span));
        parts.push(format!(
            "native schema {schema} positive {positive:?} {positive_delta:?} \
             negative {negative:?} {negative_delta:?}"
        ));
    }
    parts.extend(created(created_timestamp.as_ref()));
    parts.join(" ")
}

fn totals(count: Option<u64>, sum: Option<f64>) -> String {
    format!("count {} sum {}", count.unwrap_or_default(), sum.unwrap_or_default())
}

fn created(timestamp: Option<&Timestamp>) -> Option<String> {
    timestamp.map(|timestamp| format!("created {}", seconds(timestamp)))
}

fn exemplar(exemplar: &Exemplar) -> String {
    let Exemplar { label, value, timestamp } = exemplar;
    let timestamp =
        timestamp.as_ref().map_or(String::new(), |timestamp| format!(" {}", seconds(timestamp)));
    format!("# {} {}{timestamp}", labels(label), value.unwrap_or_default())
}

fn seconds(timestamp: &Timestamp) -> String {
    let Timestamp { seconds, nanos } = timestamp;
    format!("{}.{:09}", seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

fn labels(labels: &[LabelPair]) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let labels: Vec<_> = labels
        .iter()
        .map(|label| format!("{}={:?}", text(&label.name), text(&label.value)))
        .collect();
    format!("{{{}}}", labels.join(","))
}
