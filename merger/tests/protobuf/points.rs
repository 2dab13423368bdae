//! Points to messages: what is written is what prost reads, and what it is read as.

use merger::exposition::{
    Defect, Header, Kind, Label, Point,
    point::{Misfit, Part, Role},
    protobuf::{self, Family, has_exemplar, left_out},
};

use crate::{
    families, label,
    messages::{
        Bucket, Counter, Exemplar, Histogram, Metric, MetricFamily, Quantile, Single, Summary,
        Timestamp,
    },
};

const X: Header<'_> = Header { name: b"x", kind: None, help: None, unit: None };

/// A part: a role, maybe `=` and its bound, a value, maybe ` # ` and an exemplar.
fn part(text: &str) -> Part<'_> {
    let (text, exemplar) = text.split_once(" # ").map_or((text, None), |(t, e)| (t, Some(e)));
    let (role, value) = text.rsplit_once(' ').unwrap();
    let (role, bound) = role.split_once('=').unwrap_or((role, ""));
    let bound = bound.as_bytes();
    let role = match role {
        "value" => Role::Value,
        "le" => Role::Bucket(bound),
        "quantile" => Role::Quantile(bound),
        "state" => Role::State(bound),
        "sum" => Role::Sum,
        "count" => Role::Count,
        "created" => Role::Created,
        _ => panic!("{role} is no role"),
    };
    Part { role, value: value.as_bytes(), exemplar: exemplar.map(str::as_bytes) }
}

fn is_good(kind: Option<Kind>, parts: &[&str]) -> Result<(), Misfit> {
    let parts: Vec<_> = parts.iter().map(|text| part(text)).collect();
    protobuf::check(&Header { kind, ..X }, &Point { labels: &[], timestamp: None, parts: &parts })
}

/// What prost reads of a family with one point that has a label and a time.
#[track_caller]
fn check(kind: Option<Kind>, parts: &[&str], expected: &[Metric]) {
    assert_eq!(is_good(kind, parts), Ok(()));
    let parts: Vec<_> = parts.iter().map(|text| part(text)).collect();
    let labels = &[Label { name: b"a", value: br#"q\"\\\n"#, bytes: br#"a="q\"\\\n""# }];
    let point = Point { labels, timestamp: Some(b"1763917200123"), parts: &parts };
    let header = Header { kind, ..X };
    let mut out = Vec::new();
    let family = Family::begin(&mut out, &header);
    family.push_point(&mut out, &header, &point);
    family.end(&mut out);
    let metrics = families(&out).remove(0).metric;
    assert_eq!(metrics, expected);
    assert!(crate::read(&out).iter().all(Result::is_ok), "our reader takes it");
}

fn metric() -> Metric {
    let label = vec![label("a", "q\"\\\n")];
    Metric { label, timestamp_ms: Some(1_763_917_200_123), ..Metric::default() }
}

#[track_caller]
fn check_misfit(kind: Kind, points: &[&[&str]]) {
    for parts in points {
        assert_eq!(is_good(Some(kind), parts), Err(Misfit), "{parts:?}");
    }
}

#[test]
fn a_family_is_its_header_metrics_as_they_came_and_points() {
    let header = Header {
        name: br#"a\"b_seconds_total"#,
        kind: Some(Kind::Counter),
        help: Some(b"plain \\ text\n"),
        unit: Some(b"seconds"),
    };
    let mut out = b"before".to_vec();
    let family = Family::begin(&mut out, &header);
    let mut more = Vec::new();
    protobuf::push_label(&mut more, b"pod", "é".repeat(100).as_bytes());
    family.push_metric(&mut out, b"\x1a\x00\x30\x07", &more);
    let parts = &[part("value 3")];
    family.push_point(&mut out, &header, &Point { labels: &[], timestamp: None, parts });
    family.end(&mut out);
    let as_it_came = Metric {
        label: vec![label("pod", &"é".repeat(100))],
        counter: Some(Counter::default()),
        timestamp_ms: Some(7),
        ..Metric::default()
    };
    let counter = Some(Counter { value: Some(3.0), ..Counter::default() });
    let expected = MetricFamily {
        name: Some("a\"b_seconds_total".into()),
        help: Some("plain \\ text\n".into()),
        r#type: Some(0),
        metric: vec![as_it_came, Metric { counter, ..Metric::default() }],
        unit: Some("seconds".into()),
    };
    assert_eq!(families(&out[6..]), [expected]);
}

#[test]
fn a_value_alone_is_a_gauge_or_untyped() {
    let single = |value| Some(Single { value: Some(value) });
    for kind in [Kind::Gauge, Kind::Info] {
        check(Some(kind), &["value 1"], &[Metric { gauge: single(1.0), ..metric() }]);
    }
    for kind in [None, Some(Kind::Unknown), Some(Kind::Untyped)] {
        check(kind, &["value +Inf"], &[Metric { untyped: single(f64::INFINITY), ..metric() }]);
    }
}

#[test]
fn a_state_set_is_a_gauge_for_each_state() {
    let state = |state, value| {
        let mut metric = metric();
        metric.label.push(label("x", state));
        Metric { gauge: Some(Single { value: Some(value) }), ..metric }
    };
    check(
        Some(Kind::StateSet),
        &["state=on 1", r"state=\n 0"],
        &[state("on", 1.0), state("\n", 0.0)],
    );
}

#[test]
fn a_counter_keeps_its_exemplar_and_its_beginning() {
    let exemplar = Exemplar {
        label: vec![label("t", "a\"}, # "), label("a.b", "")],
        value: Some(0.5),
        timestamp: Some(Timestamp { seconds: Some(1_763_917_200), nanos: Some(123_000_000) }),
    };
    let created_timestamp = Some(Timestamp { seconds: Some(1_763_917_100), nanos: Some(0) });
    let counter = Some(Counter { value: Some(2.0), exemplar: Some(exemplar), created_timestamp });
    check(
        Some(Kind::Counter),
        &[r#"value 2 # {t="a\"}, # ","a.b"=""} 0.5 1763917200.123"#, "created 1.7639171e+09"],
        &[Metric { counter, ..metric() }],
    );
}

#[test]
fn what_is_no_exemplar_is_left_out() {
    let counter = Some(Counter { value: Some(2.0), ..Counter::default() });
    for text in ["{", "{} ", "{} x", "{} 1 x", "{} 1 2 3", "{a=1} 1", "{a=\"1} 1", "1"] {
        check(
            Some(Kind::Counter),
            &[&format!("value 2 # {text}")],
            &[Metric { counter: counter.clone(), ..metric() }],
        );
    }
}

#[test]
fn a_summary_is_folded() {
    let quantile = vec![Quantile { quantile: Some(0.5), value: Some(f64::MAX) }];
    let summary = Some(Summary {
        sample_count: Some(u64::MAX),
        sample_sum: Some(-0.5),
        quantile,
        created_timestamp: Some(Timestamp { seconds: Some(0), nanos: Some(1) }),
    });
    check(
        Some(Kind::Summary),
        &[
            "quantile=0.5 1.7976931348623157e308",
            "sum -.5",
            "count 18446744073709551615",
            "created 0.000000001",
        ],
        &[Metric { summary, ..metric() }],
    );
}

#[test]
fn a_histogram_is_folded() {
    let exemplar = Some(Exemplar { label: vec![], value: Some(3.0), timestamp: None });
    let bucket = |bound, count| Bucket {
        upper_bound: Some(bound),
        cumulative_count: Some(count),
        ..Bucket::default()
    };
    let histogram = Some(Histogram {
        sample_count: Some(3),
        sample_sum: Some(4.0),
        bucket: vec![bucket(0.5, 1), Bucket { exemplar, ..bucket(f64::INFINITY, 3) }],
        ..Histogram::default()
    });
    for kind in [Kind::Histogram, Kind::GaugeHistogram] {
        check(
            Some(kind),
            &["le=0.5 1", "le=+Inf 3 # {} 3", "sum 4", "count 3"],
            &[Metric { histogram: histogram.clone(), ..metric() }],
        );
    }
}

#[test]
fn a_part_without_a_place_is_a_misfit() {
    check_misfit(
        Kind::Counter,
        &[
            &["created 1"],
            &["value 1", "value 2"],
            &["value 1", "sum 1"],
            &["value 1", "created NaN"],
        ],
    );
    check_misfit(Kind::Gauge, &[&["value 1", "created 1"], &["le=1 1"], &[]]);
    check_misfit(Kind::StateSet, &[&[], &["value 1"], &["state=a 1", "sum 1"]]);
}

#[test]
fn what_readers_would_make_up_is_a_misfit() {
    check_misfit(
        Kind::Summary,
        &[&["quantile=0.5 1"], &["sum 1"], &["count 1"], &["sum 1", "count 0.5"]],
    );
    check_misfit(
        Kind::Histogram,
        &[
            &["le=+Inf 1", "sum 1"],
            &["le=+Inf 1", "count 1"],
            &["le=+Inf -1", "sum 1", "count -1"],
            &["le=+Inf NaN", "sum 1", "count NaN"],
            &["le=2 1", "le=1 1", "le=+Inf 1", "sum 1", "count 1"],
            &["le=1 1", "le=1.0 1", "le=+Inf 1", "sum 1", "count 1"],
            &["le=NaN 1", "sum 1", "count 1"],
            &["le=x 1", "sum 1", "count 1"],
        ],
    );
}

#[test]
fn exemplars_stand_at_counters_and_buckets() {
    assert!(has_exemplar(Some(Kind::Counter), Role::Value));
    assert!(has_exemplar(Some(Kind::GaugeHistogram), Role::Bucket(b"1")));
    assert!(!has_exemplar(Some(Kind::Gauge), Role::Value));
    assert!(!has_exemplar(None, Role::Value));
    assert!(!has_exemplar(Some(Kind::Histogram), Role::Count));
}

#[test]
fn a_unit_is_the_end_of_the_name() {
    let left = |name: &str, kind| {
        let header =
            Header { name: name.as_bytes(), kind: Some(kind), help: None, unit: Some(b"s") };
        let mut out = Vec::new();
        Family::begin(&mut out, &header).end(&mut out);
        assert_eq!(families(&out)[0].unit.is_none(), left_out(&header).is_some());
        left_out(&header)
    };
    assert_eq!(left("x_s", Kind::Gauge), None);
    assert_eq!(left("x_s_total", Kind::Counter), None);
    assert_eq!(left("x_s_total", Kind::Gauge), Some(Defect::Unit));
    assert_eq!(left("xs", Kind::Gauge), Some(Defect::Unit));
    assert_eq!(left("s", Kind::Gauge), Some(Defect::Unit));
    assert_eq!(left_out(&X), None);
}
