//! What the formats of lines say of a metric.

use crate::{
    body, label,
    messages::{
        Bucket, BucketSpan, Counter, Exemplar, Histogram, Metric, MetricFamily, Quantile, Single,
        Summary, Timestamp,
    },
    metrics, spell,
};

/// The lines of a metric in a family of this type, and whether they say all of it.
#[track_caller]
fn check(type_: i32, metric: Metric, expected: &[&str], is_incomplete: bool) {
    let family = MetricFamily {
        name: Some("x".into()),
        r#type: Some(type_),
        metric: vec![metric],
        ..MetricFamily::default()
    };
    let body = body(&[family]);
    let metrics = metrics(&body);
    assert_eq!(metrics.len(), 1);
    assert_eq!(spell(&metrics[0]), (expected.iter().map(|&l| l.into()).collect(), is_incomplete));
}

fn bucket(upper_bound: f64, cumulative_count: u64) -> Bucket {
    Bucket {
        upper_bound: Some(upper_bound),
        cumulative_count: Some(cumulative_count),
        ..Bucket::default()
    }
}

fn of_histogram(histogram: Histogram) -> Metric {
    Metric { histogram: Some(histogram), ..Metric::default() }
}

#[test]
fn one_value_is_one_line() {
    let single = Some(Single { value: Some(1e6) });
    check(1, Metric { gauge: single.clone(), ..Metric::default() }, &[" 1e+06"], false);
    check(3, Metric { untyped: single, ..Metric::default() }, &[" 1e+06"], false);
    // A number that is not there is zero.
    let counter = Some(Counter::default());
    check(0, Metric { counter, ..Metric::default() }, &[" 0"], false);
}

#[test]
fn a_counter_has_an_exemplar_and_a_beginning() {
    let exemplar = Exemplar {
        label: vec![label("trace_id", "a\"\\\n"), label("a.b", "é")],
        value: Some(0.5),
        timestamp: Some(Timestamp { seconds: Some(1_763_917_200), nanos: Some(123_000_000) }),
    };
    let counter = Some(Counter {
        value: Some(2.0),
        exemplar: Some(exemplar),
        created_timestamp: Some(Timestamp { seconds: Some(1_763_917_100), nanos: Some(1) }),
    });
    check(
        0,
        Metric { counter, ..Metric::default() },
        &[
            r#" 2 # {trace_id="a\"\\\n","a.b"="é"} 0.5 1763917200.123"#,
            "_created 1763917100.000000001",
        ],
        false,
    );
}

#[test]
fn an_exemplar_may_have_neither_labels_nor_a_time() {
    let exemplar = Some(Exemplar { value: Some(f64::INFINITY), ..Exemplar::default() });
    let counter = Some(Counter { exemplar, ..Counter::default() });
    check(0, Metric { counter, ..Metric::default() }, &[" 0 # {} +Inf"], false);
}

#[test]
fn a_summary_is_its_quantiles_a_sum_and_a_count() {
    let quantile = |quantile, value| Quantile { quantile: Some(quantile), value: Some(value) };
    let summary = Some(Summary {
        sample_count: Some(u64::MAX),
        sample_sum: Some(-1.5),
        quantile: vec![quantile(0.5, f64::NAN), quantile(0.99, 2.5e-7)],
        created_timestamp: Some(Timestamp { seconds: Some(7), nanos: None }),
    });
    check(
        2,
        Metric { summary, ..Metric::default() },
        &[
            r#"{quantile="0.5"} NaN"#,
            r#"{quantile="0.99"} 2.5e-07"#,
            "_sum -1.5",
            "_count 18446744073709551615",
            "_created 7",
        ],
        false,
    );
}

#[test]
fn a_histogram_gets_the_bucket_that_holds_all() {
    let histogram = Histogram {
        sample_count: Some(3),
        sample_sum: Some(4.0),
        bucket: vec![bucket(1.0, 1), bucket(1e6, 2)],
        ..Histogram::default()
    };
    let buckets = [r#"_bucket{le="1"} 1"#, r#"_bucket{le="1e+06"} 2"#, r#"_bucket{le="+Inf"} 3"#];
    let [a, b, c] = buckets;
    check(4, of_histogram(histogram.clone()), &[a, b, c, "_sum 4", "_count 3"], false);
    check(5, of_histogram(histogram), &[a, b, c, "_gsum 4", "_gcount 3"], false);
}

#[test]
fn a_histogram_keeps_the_bucket_that_it_says_holds_all() {
    let exemplar =
        Some(Exemplar { label: vec![label("t", "1")], value: Some(9.0), timestamp: None });
    let histogram = Histogram {
        sample_count: Some(3),
        bucket: vec![bucket(1.0, 1), Bucket { exemplar, ..bucket(f64::INFINITY, 3) }],
        ..Histogram::default()
    };
    check(
        4,
        of_histogram(histogram),
        &[r#"_bucket{le="1"} 1"#, r#"_bucket{le="+Inf"} 3 # {t="1"} 9"#, "_sum 0", "_count 3"],
        false,
    );
}

#[test]
fn a_count_that_is_a_float_overrides_the_other() {
    let first = Bucket { cumulative_count_float: Some(0.5), ..bucket(1.0, 7) };
    let histogram = Histogram {
        sample_count: Some(7),
        sample_count_float: Some(1.5),
        bucket: vec![first, Bucket { cumulative_count_float: Some(0.0), ..bucket(2.0, 1) }],
        ..Histogram::default()
    };
    check(
        4,
        of_histogram(histogram),
        &[
            r#"_bucket{le="1"} 0.5"#,
            r#"_bucket{le="2"} 1"#,
            r#"_bucket{le="+Inf"} 1.5"#,
            "_sum 0",
            "_count 1.5",
        ],
        false,
    );
}

#[test]
fn a_histogram_without_buckets_is_a_classic_one() {
    check(
        4,
        of_histogram(Histogram::default()),
        &[r#"_bucket{le="+Inf"} 0"#, "_sum 0", "_count 0"],
        false,
    );
}

#[test]
fn a_native_histogram_is_said_by_its_classic_buckets_or_not_at_all() {
    let native = Histogram {
        sample_count: Some(3),
        schema: Some(3),
        positive_span: vec![BucketSpan { offset: Some(-2), length: Some(2) }],
        positive_delta: vec![1, 1],
        ..Histogram::default()
    };
    check(4, of_histogram(native.clone()), &[], true);
    let both = Histogram { bucket: vec![bucket(1.0, 1)], ..native };
    check(
        4,
        of_histogram(both),
        &[r#"_bucket{le="1"} 1"#, r#"_bucket{le="+Inf"} 3"#, "_sum 0", "_count 3"],
        false,
    );
}

#[test]
fn a_span_of_nothing_or_a_zero_bucket_makes_a_histogram_native() {
    let span = vec![BucketSpan { offset: Some(0), length: Some(0) }];
    let empty = Histogram { positive_span: span, ..Histogram::default() };
    check(4, of_histogram(empty), &[], true);
    let zero = Histogram { zero_threshold: Some(1e-128), ..Histogram::default() };
    check(4, of_histogram(zero), &[], true);
}
