//! What a body may have wrong, what that costs, and where the reader says it is.

use merger::{
    exposition::{
        Defect, Entry, Exceeded, Failure, Fault, Kind, Limit, Metadata, Said,
        protobuf::{Metric as Read, Reader},
    },
    merge::Limits,
};
use prost::Message as _;

use crate::{
    Item, body, label,
    messages::{
        Bucket, BucketSpan, Counter, Exemplar, Histogram, LabelPair, Metric, MetricFamily,
        Quantile, Single, Summary, Timestamp,
    },
    read,
};

const GAUGE: Metric = Metric {
    label: Vec::new(),
    gauge: Some(Single { value: Some(1.0) }),
    counter: None,
    summary: None,
    untyped: None,
    timestamp_ms: None,
    histogram: None,
};

fn family(name: &str, type_: i32, metric: Vec<Metric>) -> MetricFamily {
    let (name, type_) = (Some(name.into()), Some(type_));
    MetricFamily { name, r#type: type_, metric, ..MetricFamily::default() }
}

fn labelled(label: Vec<LabelPair>) -> Metric {
    Metric { label, ..GAUGE }
}

fn of_histogram(histogram: Histogram) -> Metric {
    Metric { histogram: Some(histogram), ..Metric::default() }
}

/// The first metric of a family of this type is bad, the gauge of the next family is read.
#[track_caller]
fn check(type_: i32, metric: Metric, expected: Defect) {
    let body = body(&[family("bad", type_, vec![metric]), family("good", 1, vec![GAUGE])]);
    let items = read(&body);
    let faults: Vec<_> = items.iter().filter(|item| item.is_err()).collect();
    assert_eq!(faults, [&Err(Fault::Line(expected))]);
    assert!(matches!(items.last(), Some(Ok(Entry::Metric(Read { family: b"good", .. })))));
}

/// With these limits nothing more than this is read.
#[track_caller]
fn check_limit(limits: &Limits, families: &[MetricFamily], exceeded: Option<(Limit, usize)>) {
    let body = body(families);
    let fault = Reader::new(&body, limits).find_map(Result::err);
    let expected = exceeded.map(|(limit, line)| {
        let allowed = match limit {
            Limit::Samples => limits.samples,
            Limit::Metadata => 2 * limits.samples,
            Limit::Labels => limits.labels,
            Limit::Name => limits.name,
            Limit::Value => limits.value,
            Limit::Line | Limit::Body | Limit::Written => limits.line,
        };
        Fault::Source(Failure::Exceeded(Exceeded { limit, allowed, line }))
    });
    assert_eq!(fault, expected);
}

fn said<'a>(family: &'a [u8], said: Said<'a>) -> Entry<'a> {
    Entry::Metadata(Metadata { family, said, is_plain: false })
}

#[test]
fn what_is_said_of_a_family_comes_before_its_metrics() {
    let x = MetricFamily {
        help: Some("what\nit is".into()),
        unit: Some("seconds".into()),
        ..family("x_seconds", 1, vec![GAUGE, labelled(vec![label("a", "")])])
    };
    let body = body(&[x, family("y", 4, vec![])]);
    let gauge = GAUGE.encode_to_vec();
    let labelled = labelled(vec![label("a", "")]).encode_to_vec();
    let (x, kind) = (&b"x_seconds"[..], Kind::Gauge);
    assert_eq!(
        read(&body),
        [
            Ok(said(x, Said::Help(b"what\nit is".into()))),
            Ok(said(x, Said::Type(kind))),
            Ok(said(x, Said::Unit(b"seconds"))),
            Ok(Entry::Metric(Read { family: x, kind, bytes: &gauge })),
            Ok(Entry::Metric(Read { family: x, kind, bytes: &labelled })),
            Ok(said(b"y", Said::Type(Kind::Histogram))),
        ]
    );
}

#[test]
fn fields_stand_in_any_order_and_unknown_ones_are_kept() {
    let metric =
        b"\x3a\x03new\x7a\x02\x08\x01\x12\x09\x09\0\0\0\0\0\0\xf0\x3f\x0a\x06\x12\x01v\x0a\x01l";
    // Field 7 is the histogram in the schema; take another number.
    let metric = [&b"\xc2\x3e\x03new"[..], &metric[5..]].concat();
    let mut message = b"\x22".to_vec();
    message.push(u8::try_from(metric.len()).unwrap());
    message.extend(&metric);
    message.extend(b"\xfa\x01\x01z\x18\x01\x0a\x01x");
    let mut body = vec![u8::try_from(message.len()).unwrap()];
    body.extend(&message);
    let items = read(&body);
    let (family, kind) = (&b"x"[..], Kind::Gauge);
    let expected = Read { family, kind, bytes: &metric };
    assert_eq!(items, [Ok(said(family, Said::Type(kind))), Ok(Entry::Metric(expected))]);
    assert_eq!(expected.labels().collect::<Vec<_>>(), [(&b"l"[..], &b"v"[..])]);
}

#[test]
fn a_type_that_is_not_there_is_the_first_one() {
    let counter = Metric { counter: Some(Counter::default()), ..Metric::default() };
    let metric = vec![counter];
    let body = body(&[MetricFamily { name: Some("x".into()), metric, ..MetricFamily::default() }]);
    assert_eq!(read(&body)[0], Ok(said(b"x", Said::Type(Kind::Counter))));
}

#[test]
fn a_label_that_no_format_can_say_costs_the_metric() {
    check(1, labelled(vec![label("", "1")]), Defect::LabelName);
    check(1, labelled(vec![LabelPair::default()]), Defect::LabelName);
    check(1, labelled(vec![label("__name__", "x")]), Defect::ReservedLabel);
    check(1, labelled(vec![label("a", "1"), label("a", "2")]), Defect::LabelTwice);
    check(1, labelled(vec![label("a\0", "1")]), Defect::Nul);
    check(1, labelled(vec![label("a", "long enough for a word\0")]), Defect::Nul);
    check(
        4,
        Metric { label: vec![label("le", "1")], ..of_histogram(Histogram::default()) },
        Defect::LabelTwice,
    );
    let summary = Some(Summary::default());
    let label = vec![label("quantile", "1")];
    check(2, Metric { label, summary, ..Metric::default() }, Defect::LabelTwice);
}

#[test]
fn a_label_that_is_twice_is_found_behind_one_that_is_alike() {
    let [good, twice] = ["b", "a"].map(|b| labelled(vec![label("a", "1"), label(b, "1")]));
    let body = body(&[family("x", 1, vec![good.clone(), twice.clone(), twice, good])]);
    let faults = read(&body).into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(faults, [Fault::Line(Defect::LabelTwice); 2]);
}

#[test]
fn bytes_that_are_no_utf8_cost_what_they_stand_in() {
    let x = MetricFamily {
        help: Some("HELP".into()),
        ..family("NAME", 1, vec![labelled(vec![label("LABEL", "VALUE")])])
    };
    for (word, n_metrics, n_entries) in
        [("NAME", 0, 0), ("HELP", 1, 2), ("LABEL", 0, 2), ("VALUE", 0, 2)]
    {
        let mut body = body(std::slice::from_ref(&x));
        let at = body.windows(word.len()).position(|found| found == word.as_bytes()).unwrap();
        body[at] = 0xff;
        let items = read(&body);
        assert_eq!(items.iter().filter(|item| item.is_ok()).count(), n_entries, "{word}");
        let is_metric = |item: &&Item<'_>| matches!(item, Ok(Entry::Metric(_)));
        assert_eq!(items.iter().filter(is_metric).count(), n_metrics, "{word}");
        assert!(items.contains(&Err(Fault::Line(Defect::NotUtf8))), "{word}");
    }
}

#[test]
fn a_family_without_a_good_name_or_type_costs_each_of_its_metrics() {
    for (name, type_, what) in [
        ("", 1, Defect::MetricName),
        ("a\0", 1, Defect::Nul),
        ("x", 6, Defect::Type),
        ("x", -1, Defect::Type),
    ] {
        let help = Some("lost with it".into());
        let body = body(&[MetricFamily { help, ..family(name, type_, vec![GAUGE, GAUGE]) }]);
        assert_eq!(read(&body), [Err(Fault::Line(what)), Err(Fault::Line(what))]);
    }
}

#[test]
fn a_value_of_another_type_is_malformed() {
    check(0, GAUGE, Defect::Message);
    check(1, Metric::default(), Defect::Message);
    check(1, Metric { untyped: Some(Single::default()), ..GAUGE }, Defect::Message);
    check(3, GAUGE, Defect::Message);
}

#[test]
fn a_time_that_no_format_can_say_costs_the_metric() {
    check(1, Metric { timestamp_ms: Some(-1), ..GAUGE }, Defect::Timestamp);
    for timestamp in [(i64::MAX, 0), (0, 1_000_000_000), (0, -1), (253_402_300_800, 0)] {
        let created = Timestamp { seconds: Some(timestamp.0), nanos: Some(timestamp.1) };
        let counter = Counter { created_timestamp: Some(created), ..Counter::default() };
        check(0, Metric { counter: Some(counter), ..Metric::default() }, Defect::Message);
    }
}

#[test]
fn buckets_and_quantiles_ascend_and_counts_count() {
    let histogram = |bounds: &[f64]| {
        let bucket = |bound: &f64| Bucket { upper_bound: Some(*bound), ..Bucket::default() };
        of_histogram(Histogram {
            bucket: bounds.iter().map(bucket).collect(),
            ..Histogram::default()
        })
    };
    for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[f64::NAN], &[f64::INFINITY, 1.0]] {
        check(4, histogram(bounds), Defect::Message);
    }
    let quantile = |quantile| Quantile { quantile: Some(quantile), value: None };
    let quantile = vec![quantile(0.5), quantile(0.5)];
    let summary = Some(Summary { quantile, ..Summary::default() });
    check(2, Metric { summary, ..Metric::default() }, Defect::Message);
    for count in [-1.0, f64::NAN] {
        let histogram = Histogram { sample_count_float: Some(count), ..Histogram::default() };
        check(4, of_histogram(histogram), Defect::Message);
    }
}

#[test]
fn an_exemplar_is_checked_wherever_it_stands() {
    let exemplar = |name: &str| Exemplar { label: vec![label(name, "1")], ..Exemplar::default() };
    let counter = Some(Counter { exemplar: Some(exemplar("")), ..Counter::default() });
    check(0, Metric { counter, ..Metric::default() }, Defect::LabelName);
    let bucket = vec![Bucket { exemplar: Some(exemplar("__name__")), ..Bucket::default() }];
    check(4, of_histogram(Histogram { bucket, ..Histogram::default() }), Defect::ReservedLabel);
    let exemplars = vec![exemplar("\0")];
    check(4, of_histogram(Histogram { exemplars, ..Histogram::default() }), Defect::Nul);
}

#[test]
fn a_native_histogram_that_contradicts_itself_is_malformed() {
    let span = |offset, length| BucketSpan { offset: Some(offset), length: Some(length) };
    let good = Histogram {
        sample_count: Some(4),
        schema: Some(8),
        zero_count: Some(1),
        positive_span: vec![span(-7, 1), span(0, 1)],
        positive_delta: vec![2, -1],
        ..Histogram::default()
    };
    let body = body(&[family("x", 4, vec![of_histogram(good.clone())])]);
    assert!(read(&body).iter().all(Result::is_ok));
    let nan = Histogram { sample_count: Some(9), sample_sum: Some(f64::NAN), ..good.clone() };
    assert!(
        read(&crate::body(&[family("x", 4, vec![of_histogram(nan)])])).iter().all(Result::is_ok)
    );
    for bad in [
        Histogram { sample_count: Some(5), ..good.clone() },
        Histogram { sample_count: Some(3), sample_sum: Some(f64::NAN), ..good.clone() },
        Histogram { schema: Some(9), ..good.clone() },
        Histogram { schema: Some(-53), ..good.clone() },
        Histogram { positive_span: vec![span(0, 1), span(-1, 1)], ..good.clone() },
        Histogram { positive_span: vec![span(0, 3)], ..good.clone() },
        Histogram { positive_delta: vec![2, -3], ..good.clone() },
        Histogram { positive_delta: vec![i64::MAX, i64::MAX], ..good.clone() },
        Histogram { negative_delta: vec![0], ..good.clone() },
        Histogram { zero_count_float: Some(f64::NAN), ..good.clone() },
        // A float histogram has counts, no deltas.
        Histogram { sample_count_float: Some(4.0), ..good.clone() },
        Histogram { sample_count_float: Some(4.0), positive_count: vec![1.0, -1.0], ..good },
    ] {
        check(4, of_histogram(bad), Defect::Message);
    }
}

#[test]
fn a_float_native_histogram_has_a_count_for_each_bucket() {
    let histogram = Histogram {
        sample_count_float: Some(1.5),
        zero_count_float: Some(0.5),
        negative_span: vec![BucketSpan { offset: Some(1), length: Some(2) }],
        negative_count: vec![0.5, 0.5],
        ..Histogram::default()
    };
    let body = body(&[family("x", 5, vec![of_histogram(histogram)])]);
    assert!(read(&body).iter().all(Result::is_ok));
}

#[test]
fn a_family_that_cannot_be_walked_costs_itself() {
    let mut body = b"\x03\x0a\x02x".to_vec();
    body.extend(crate::body(&[family("good", 1, vec![GAUGE])]));
    let items = read(&body);
    assert_eq!(items[0], Err(Fault::Line(Defect::Message)));
    assert_eq!(items.len(), 3);
    // A name twice: readers would take the last one, others join them.
    assert_eq!(read(b"\x06\x0a\x01x\x0a\x01y"), [Err(Fault::Line(Defect::Message))]);
}

#[test]
fn a_message_that_is_cut_off_ends_the_source() {
    let whole = body(&[family("x", 1, vec![]), family("y", 1, vec![GAUGE])]);
    let at = body(&[family("x", 1, vec![])]).len();
    for len in at + 1..whole.len() {
        let items = read(&whole[..len]);
        assert_eq!(items.last(), Some(&Err(Fault::Source(Failure::CutOff { at }))));
        assert_eq!(items.len(), 2);
    }
    let endless = [0xff; 11];
    assert_eq!(read(&endless), [Err(Fault::Source(Failure::CutOff { at: 0 }))]);
}

#[test]
fn an_empty_body_and_an_empty_message_say_nothing() {
    assert_eq!(read(b""), []);
    assert_eq!(read(b"\0\0"), []);
}

#[test]
fn the_place_is_the_number_of_the_metric_and_the_name_of_its_family() {
    let body = body(&[family("x", 1, vec![GAUGE, Metric::default()]), family("y", 1, vec![GAUGE])]);
    let mut reader = Reader::new(&body, &Limits::default());
    let mut places = Vec::new();
    while let Some(item) = reader.next() {
        let place = reader.place();
        if let Ok(Entry::Metric(Read { bytes, .. })) = item {
            assert_eq!(&body[place.at..][..bytes.len()], bytes);
        }
        places.push((place.line, std::str::from_utf8(place.text).unwrap(), item.is_ok()));
    }
    let expected =
        [(1, "x", true), (1, "x", true), (2, "x", false), (3, "y", true), (3, "y", true)];
    assert_eq!(places, expected);
}

#[test]
fn each_limit_fails_the_source() {
    let limits = Limits { samples: 3, labels: 1, name: 4, value: 2, line: 8 };
    let good = labelled(vec![label("name", "12")]);
    let x = |metric: Metric| [family("x", 1, vec![good.clone(), metric])];
    check_limit(&limits, &x(good.clone()), None);
    check_limit(&limits, &x(labelled(vec![label("names", "1")])), Some((Limit::Name, 2)));
    check_limit(&limits, &x(labelled(vec![label("name", "123")])), Some((Limit::Value, 2)));
    check_limit(
        &limits,
        &x(labelled(vec![label("a", ""), label("b", "")])),
        Some((Limit::Labels, 2)),
    );
    check_limit(&limits, &[family("xxxxx", 1, vec![])], Some((Limit::Name, 1)));
    check_limit(&limits, &[family("x", 1, vec![GAUGE; 4])], Some((Limit::Samples, 4)));
    let families: Vec<_> = (0..7).map(|n| family(&format!("x{n}"), 1, vec![])).collect();
    check_limit(&limits, &families, Some((Limit::Metadata, 1)));
    check_limit(&limits, &families[..6], None);
    let help = |help: &str| MetricFamily { help: Some(help.into()), ..family("x", 1, vec![]) };
    check_limit(&limits, &[help("12345678")], None);
    check_limit(&limits, &[help("123456789")], Some((Limit::Line, 1)));
}

#[test]
fn a_metric_counts_as_its_lines() {
    let limits = Limits { samples: 4, ..Limits::default() };
    let bucket = vec![Bucket { upper_bound: Some(1.0), ..Bucket::default() }];
    let classic = of_histogram(Histogram { bucket, ..Histogram::default() });
    check_limit(&limits, &[family("x", 4, vec![classic.clone()])], None);
    let limits = Limits { samples: 3, ..limits };
    check_limit(&limits, &[family("x", 4, vec![classic.clone()])], Some((Limit::Samples, 1)));
    let native = of_histogram(Histogram { zero_threshold: Some(1.0), ..Histogram::default() });
    check_limit(&limits, &[family("x", 4, vec![native; 3])], None);
    // Its four lines would repeat three times 4 KiB of labels.
    let label = vec![label("a", &"1".repeat(2_000)), label("b", &"2".repeat(2_000))];
    let long = Metric { label, ..classic };
    let limits = Limits { samples: 12, ..limits };
    check_limit(&limits, &[family("x", 4, vec![long.clone()])], Some((Limit::Samples, 1)));
    check_limit(&Limits { samples: 13, ..limits }, &[family("x", 4, vec![long])], None);
}
