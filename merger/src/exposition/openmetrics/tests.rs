//! The refusals are those of `prometheus_client/openmetrics/parser.py`, in its order.

use super::*;
use crate::exposition::Label;

const NOTHING: Header<'static> = Header { name: b"m", kind: None, help: None, unit: None };

fn header(name: &str, kind: Kind) -> Header<'_> {
    Header { name: name.as_bytes(), kind: Some(kind), ..NOTHING }
}

/// A family with one point: `labels` are rows of `name=value`, and a part is a role, maybe `=` and its
/// bound, a value and maybe `# ` and an exemplar.
#[derive(Clone, Copy)]
struct Family<'t> {
    header: Header<'t>,
    labels: &'t str,
    timestamp: Option<&'t str>,
    parts: &'t [&'t str],
}

fn family<'t>(name: &'t str, kind: Kind, parts: &'t [&'t str]) -> Family<'t> {
    Family { header: header(name, kind), labels: "", timestamp: None, parts }
}

fn labels_of(text: &str) -> Vec<Label<'_>> {
    let pairs = text.split(',').filter_map(|label| label.split_once('='));
    pairs
        .map(|(name, value)| Label { name: name.as_bytes(), value: value.as_bytes(), bytes: b"" })
        .collect()
}

fn part_of(text: &str) -> Part<'_> {
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

impl Family<'_> {
    /// Its lines, and how many exemplars were left out; or nothing if it is a misfit.
    fn write(self) -> Option<(String, usize)> {
        let parts: Vec<_> = self.parts.iter().map(|part| part_of(part)).collect();
        let labels = labels_of(self.labels);
        let timestamp = self.timestamp.map(str::as_bytes);
        let point = Point { labels: &labels, timestamp, parts: &parts };
        check(&self.header, &point).ok()?;
        let (mut out, mut n_left_out) = (Vec::new(), 0);
        push_point(&mut out, &self.header, &point, &mut |_| n_left_out += 1);
        Some((String::from_utf8(out).unwrap(), n_left_out))
    }

    #[track_caller]
    fn check(self, expected: &[&str]) {
        let expected = expected.join("\n") + "\n";
        assert_eq!(self.write(), Some((expected, 0)));
    }
}

#[track_caller]
fn check_misfits(name: &str, kind: Kind, points: &[&[&str]]) {
    for parts in points {
        assert_eq!(family(name, kind, parts).write(), None, "{kind:?}: {parts:?}");
    }
}

/// One part of the family, of which the exemplar is left out.
#[track_caller]
fn check_left_out(name: &str, kind: Kind, parts: &[&str], expected: &[&str]) {
    let (page, n_left_out) = family(name, kind, parts).write().unwrap();
    assert_eq!((page.lines().collect::<Vec<_>>(), n_left_out), (expected.to_vec(), 1));
}

#[track_caller]
fn check_header(header: &Header<'_>, expected: &[&str], left_out: Option<Defect>) {
    let mut out = Vec::new();
    assert_eq!(push_header(&mut out, header), left_out);
    assert!(out.len() <= most_of_header(header), "{header:?}");
    assert_eq!(String::from_utf8(out).unwrap().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_counter_and_an_info_stand_under_a_shorter_name() {
    let of = |name: &'static str, kind| std::str::from_utf8(base(name.as_bytes(), kind)).unwrap();
    assert_eq!(of("m_total", Some(Kind::Counter)), "m");
    assert_eq!(of("m_info", Some(Kind::Info)), "m");
    assert_eq!(of("m_total_total", Some(Kind::Counter)), "m_total");
    for (name, kind) in [
        ("m", Some(Kind::Counter)),
        ("_total", Some(Kind::Counter)),
        ("m_info", Some(Kind::Counter)),
        ("m_total", Some(Kind::Info)),
        ("_info", Some(Kind::Info)),
        ("m_total", Some(Kind::Gauge)),
        ("m_info", Some(Kind::Unknown)),
        ("m_total", None),
    ] {
        assert_eq!(of(name, kind), name);
    }
}

/// `type_suffixes` in `text_fd_to_metric_families`, and the empty one that `build_metric` adds.
#[test]
fn a_family_claims_the_names_that_its_type_takes() {
    for (kind, expected) in [
        (Some(Kind::Counter), &["", "_total", "_created"][..]),
        (Some(Kind::Summary), &["", "_count", "_sum", "_created"]),
        (Some(Kind::Histogram), &["", "_count", "_sum", "_bucket", "_created"]),
        (Some(Kind::GaugeHistogram), &["", "_gcount", "_gsum", "_bucket"]),
        (Some(Kind::Info), &["", "_info"]),
        (Some(Kind::Gauge), &[""]),
        (Some(Kind::StateSet), &[""]),
        (Some(Kind::Untyped), &[""]),
        (Some(Kind::Unknown), &[""]),
        (None, &[""]),
    ] {
        assert_eq!(claims(kind), expected, "{kind:?}");
    }
}

#[test]
fn a_label_name_may_not_begin_with_two_underscores() {
    assert!(takes_label(b"a") && takes_label(b"_a"));
    assert!(!takes_label(b"__a") && !takes_label(b"__name__"));
}

#[test]
fn a_header_says_help_type_and_unit_of_the_base() {
    let header =
        Header { help: Some(b"h"), unit: Some(b"bytes"), ..header("m_bytes_total", Kind::Counter) };
    let expected = ["# HELP m_bytes h", "# TYPE m_bytes counter", "# UNIT m_bytes bytes"];
    check_header(&header, &expected, None);
}

#[test]
fn a_help_text_has_three_escapes() {
    let help = "a\\b\n\"c\" é";
    let header = Header { help: Some(help.as_bytes()), ..NOTHING };
    check_header(&header, &[r#"# HELP m a\\b\n\"c\" é"#], None);
}

#[test]
fn each_kind_has_its_word_and_none_has_no_line() {
    for (name, kind, expected) in [
        ("m_total", Kind::Counter, "# TYPE m counter"),
        ("m", Kind::Gauge, "# TYPE m gauge"),
        ("m", Kind::Histogram, "# TYPE m histogram"),
        ("m", Kind::Summary, "# TYPE m summary"),
        ("m", Kind::Untyped, "# TYPE m unknown"),
        ("m", Kind::Unknown, "# TYPE m unknown"),
        ("m", Kind::GaugeHistogram, "# TYPE m gaugehistogram"),
        ("m_info", Kind::Info, "# TYPE m info"),
        ("m", Kind::StateSet, "# TYPE m stateset"),
    ] {
        check_header(&header(name, kind), &[expected], None);
    }
    check_header(&NOTHING, &[], None);
}

#[test]
fn a_family_that_would_be_misunderstood_without_a_type_has_one() {
    check_header(&Header { name: b"m.x", ..NOTHING }, &["# TYPE \"m.x\" unknown"], None);
    check_header(&Header { name: b"m_created", ..NOTHING }, &["# TYPE m_created unknown"], None);
}

#[test]
fn a_unit_that_the_name_does_not_end_in_is_left_out() {
    let with = |name, kind, unit| Header { unit: Some(unit), ..header(name, kind) };
    for (name, kind, unit) in [
        ("m", Kind::Gauge, &b"seconds"[..]),
        ("mseconds", Kind::Gauge, b"seconds"),
        ("seconds", Kind::Gauge, b"seconds"),
        ("m_seconds_x", Kind::Gauge, b"seconds"),
        ("m_a b", Kind::Gauge, b"a b"),
        ("m_a\\n", Kind::Gauge, b"a\\n"),
    ] {
        let header = with(name, kind, unit);
        let mut out = Vec::new();
        assert_eq!(push_header(&mut out, &header), Some(Defect::Unit), "{name}");
        assert!(!String::from_utf8(out).unwrap().contains("UNIT"));
    }
    let info = with("m_x_info", Kind::Info, b"x");
    check_header(&info, &["# TYPE m_x info"], Some(Defect::Unit));
    let states = with("m_x", Kind::StateSet, b"x");
    check_header(&states, &["# TYPE m_x stateset"], Some(Defect::Unit));
    let named = with("m_a_b", Kind::Summary, b"a_b");
    check_header(&named, &["# TYPE m_a_b summary", "# UNIT m_a_b a_b"], None);
}

#[test]
fn a_name_that_is_no_identifier_stands_in_quotes() {
    let counter = Header { help: Some(b"h"), ..header(r#"a.\"b\\c_total"#, Kind::Counter) };
    check_header(&counter, &[r#"# HELP "a.\"b\\c" h"#, r#"# TYPE "a.\"b\\c" counter"#], None);
    family("a.b_total", Kind::Counter, &["value 1", "created 2"])
        .check(&["{\"a.b_total\"} 1", "{\"a.b_created\"} 2"]);
    let labels = "x=1,a.b=2,c:d=3,1e=4";
    Family { labels, ..family("a.b", Kind::Gauge, &["value 1"]) }
        .check(&["{\"a.b\",x=\"1\",\"a.b\"=\"2\",\"c:d\"=\"3\",\"1e\"=\"4\"} 1"]);
    family("9", Kind::Gauge, &["value 1"]).check(&["{\"9\"} 1"]);
    family(":a:1", Kind::Gauge, &["value 1"]).check(&[":a:1 1"]);
}

#[test]
fn a_value_travels_as_its_bytes() {
    for value in ["1", "+1", "1.50", "1e3", "NaN", "nan", "+Inf", "-inf", "1e-400", "007"] {
        let part = format!("value {value}");
        family("m", Kind::Gauge, &[&part]).check(&[&format!("m {value}")]);
    }
}

#[test]
fn each_line_of_a_point_has_its_labels_and_its_time() {
    let parts = ["le=1 1", "le=+Inf 2", "sum 1.5", "count 2", "created 1763917200.5"];
    let histogram = family("m", Kind::Histogram, &parts);
    Family { labels: "a=1,b=\\n", timestamp: Some("1763917200.12"), ..histogram }.check(&[
        r#"m_bucket{a="1",b="\n",le="1.0"} 1 1763917200.12"#,
        r#"m_bucket{a="1",b="\n",le="+Inf"} 2 1763917200.12"#,
        r#"m_sum{a="1",b="\n"} 1.5 1763917200.12"#,
        r#"m_count{a="1",b="\n"} 2 1763917200.12"#,
        r#"m_created{a="1",b="\n"} 1763917200.5 1763917200.12"#,
    ]);
}

#[test]
fn each_kind_has_its_lines() {
    family("m_total", Kind::Counter, &["value 1", "created 2"])
        .check(&["m_total 1", "m_created 2"]);
    family("m_info", Kind::Info, &["value 1"]).check(&["m_info 1"]);
    family("m", Kind::Untyped, &["value 1"]).check(&["m 1"]);
    family("m", Kind::Summary, &["quantile=.5 1", "sum 2", "count 3", "created 4"]).check(&[
        "m{quantile=\"0.5\"} 1",
        "m_sum 2",
        "m_count 3",
        "m_created 4",
    ]);
    family("m", Kind::GaugeHistogram, &["le=1e6 1", "le=inf 2", "sum 3", "count 2"]).check(&[
        "m_bucket{le=\"1e+06\"} 1",
        "m_bucket{le=\"+Inf\"} 2",
        "m_gsum 3",
        "m_gcount 2",
    ]);
    family("m", Kind::StateSet, &["state=a 1", "state=b\\n 0"])
        .check(&["m{m=\"a\"} 1", "m{m=\"b\\n\"} 0"]);
    family("m.x", Kind::StateSet, &["state=a 1"]).check(&["{\"m.x\",\"m.x\"=\"a\"} 1"]);
    let nothing = family("m", Kind::Gauge, &["value 1"]);
    Family { header: NOTHING, ..nothing }.check(&["m 1"]);
}

/// `_total` and `_info` make the sample's name; a rename would be another series.
#[test]
fn a_counter_or_an_info_of_another_name_is_a_misfit() {
    check_misfits("m", Kind::Counter, &[&["value 1"]]);
    check_misfits("_total", Kind::Counter, &[&["value 1"]]);
    check_misfits("m_total", Kind::Info, &[&["value 1"]]);
    check_misfits("m", Kind::Info, &[&["value 1"]]);
}

/// "+Inf bucket missing", "Count does not match", "`_count` must be present", "`_sum` must be present",
/// "Buckets out of order", "Bucket values out of order", "Invalid le label", "must be an integer".
#[test]
fn a_histogram_that_is_no_whole_is_a_misfit() {
    for kind in [Kind::Histogram, Kind::GaugeHistogram] {
        check_misfits(
            "m",
            kind,
            &[
                &["le=1 1", "sum 1", "count 1"],
                &["le=+Inf 1", "sum 1", "count 2"],
                &["le=+Inf 1", "sum 1"],
                &["le=+Inf 1", "count 1"],
                &["le=2 1", "le=1 1", "le=+Inf 1", "sum 1", "count 1"],
                &["le=1 2", "le=+Inf 1", "sum 1", "count 1"],
                &["le=x 1", "le=+Inf 1", "sum 1", "count 1"],
                &["le=NaN 1", "le=+Inf 1", "sum 1", "count 1"],
                &["le=1 0.5", "le=+Inf 1", "sum 1", "count 1"],
            ],
        );
    }
}

/// "Cannot have `_sum` with negative buckets", "Counter-like samples cannot be" NaN or negative.
#[test]
fn the_sum_of_a_histogram_counts_up() {
    check_misfits(
        "m",
        Kind::Histogram,
        &[
            &["le=-1 0", "le=+Inf 1", "sum 1", "count 1"],
            &["le=+Inf 1", "sum -1", "count 1"],
            &["le=+Inf 1", "sum NaN", "count 1"],
        ],
    );
    family("m", Kind::Histogram, &["le=-0 0", "le=+Inf 1", "sum -0", "count 1"]).check(&[
        "m_bucket{le=\"0.0\"} 0",
        "m_bucket{le=\"+Inf\"} 1",
        "m_sum -0",
        "m_count 1",
    ]);
}

/// "Cannot have negative `_gsum` with non-negative buckets".
#[test]
fn the_sum_of_a_gauge_histogram_may_be_negative_where_a_bucket_is() {
    check_misfits(
        "m",
        Kind::GaugeHistogram,
        &[
            &["le=0 0", "le=+Inf 1", "sum -1", "count 1"],
            &["le=-1 0", "le=+Inf 1", "sum NaN", "count 1"],
        ],
    );
    family("m", Kind::GaugeHistogram, &["le=-Inf 0", "le=+Inf 1", "sum -1", "count 1"]).check(&[
        "m_bucket{le=\"-Inf\"} 0",
        "m_bucket{le=\"+Inf\"} 1",
        "m_gsum -1",
        "m_gcount 1",
    ]);
}

/// "Invalid quantile label", "Quantile values cannot be negative", and the rules of its sum and count.
#[test]
fn a_summary_has_quantiles_between_0_and_1_of_what_is_not_negative() {
    check_misfits(
        "m",
        Kind::Summary,
        &[
            &["quantile=1.1 1"],
            &["quantile=-0.1 1"],
            &["quantile=+Inf 1"],
            &["quantile=NaN 1"],
            &["quantile=x 1"],
            &["quantile=0.5 -1"],
            &["sum -1"],
            &["sum NaN"],
            &["count 0.5"],
            &["count -1"],
        ],
    );
    family("m", Kind::Summary, &["quantile=0 NaN", "quantile=1 0"])
        .check(&["m{quantile=\"0.0\"} NaN", "m{quantile=\"1.0\"} 0"]);
}

/// "Stateset missing label" cannot be; "Stateset samples can only have values zero and one", "Info samples
/// can only have value one", "Counter-like samples cannot be" NaN or negative.
#[test]
fn counters_states_and_infos_have_no_other_values() {
    check_misfits("m_total", Kind::Counter, &[&["value -1"], &["value NaN"], &["value -Inf"]]);
    check_misfits("m", Kind::StateSet, &[&["state=a 2"], &["state=a NaN"]]);
    check_misfits("m_info", Kind::Info, &[&["value 0"], &["value 2"]]);
}

#[test]
fn a_state_stands_under_a_label_that_is_not_there_and_takes_no_quotes_of_its_own() {
    check_misfits("m:x", Kind::StateSet, &[&["state=a 1"]]);
    let states = family("m", Kind::StateSet, &["state=a 1"]);
    assert_eq!(Family { labels: "m=1", ..states }.write(), None);
    Family { labels: "n=1", ..states }.check(&["m{n=\"1\",m=\"a\"} 1"]);
}

#[test]
fn an_exemplar_follows_a_counter_and_a_bucket() {
    family("m_total", Kind::Counter, &["value 1 # {t=\"x\"} 1 1763917200.123"])
        .check(&["m_total 1 # {t=\"x\"} 1 1763917200.123"]);
    let counter = family("m_total", Kind::Counter, &["value 1 # {} 1"]);
    Family { timestamp: Some("5"), ..counter }.check(&["m_total 1 5 # {} 1"]);
    for (kind, sum, count) in [
        (Kind::Histogram, "m_sum 1", "m_count 1"),
        (Kind::GaugeHistogram, "m_gsum 1", "m_gcount 1"),
    ] {
        family("m", kind, &["le=+Inf 1 # {t=\"x\"} 1", "sum 1", "count 1"]).check(&[
            "m_bucket{le=\"+Inf\"} 1 # {t=\"x\"} 1",
            sum,
            count,
        ]);
    }
}

/// "Invalid line only histogram/gaugehistogram buckets and counters can have exemplars".
#[test]
fn an_exemplar_elsewhere_is_left_out() {
    let exemplar = |part: &str| format!("{part} # {{t=\"x\"}} 1");
    check_left_out("m", Kind::Gauge, &[&exemplar("value 1")], &["m 1"]);
    check_left_out("m_total", Kind::Unknown, &[&exemplar("value 1")], &["m_total 1"]);
    check_left_out("m_info", Kind::Info, &[&exemplar("value 1")], &["m_info 1"]);
    check_left_out("m", Kind::StateSet, &[&exemplar("state=a 1")], &["m{m=\"a\"} 1"]);
    check_left_out("m", Kind::Summary, &[&exemplar("count 1")], &["m_count 1"]);
    check_left_out("m", Kind::Summary, &[&exemplar("quantile=1 1")], &["m{quantile=\"1.0\"} 1"]);
    let counter = ["value 1", &exemplar("created 1")];
    check_left_out("m_total", Kind::Counter, &counter, &["m_total 1", "m_created 1"]);
    let histogram = ["le=+Inf 1", &exemplar("sum 1"), "count 1"];
    let lines = ["m_bucket{le=\"+Inf\"} 1", "m_sum 1", "m_count 1"];
    check_left_out("m", Kind::Histogram, &histogram, &lines);
    let histogram = ["le=+Inf 1", "sum 1", &exemplar("count 1")];
    check_left_out("m", Kind::Histogram, &histogram, &lines);
}

/// "Exemplar labels are too long": more than 128 characters.
#[test]
fn a_long_exemplar_is_left_out() {
    let of = |value: &str| format!("value 1 # {{ab=\"{value}\"}} 1");
    for fits in ["x".repeat(126), "é".repeat(126), "\\n".repeat(126)] {
        let part = of(&fits);
        let line = format!("m_total{}", &part["value".len()..]);
        family("m_total", Kind::Counter, &[&part]).check(&[&line]);
    }
    for is_long in ["x".repeat(127), "é".repeat(127), "\\\\".repeat(127)] {
        check_left_out("m_total", Kind::Counter, &[&of(&is_long)], &["m_total 1"]);
    }
}

/// `_parse_remaining_text` takes each quote of an exemplar for one that begins or ends a value.
#[test]
fn an_exemplar_that_is_misread_for_its_escaped_quotes_is_left_out() {
    for is_misread in [r#"{a="\""} 1"#, r#"{a="\"}\""} 1"#, r#"{a="\"",b="}\""} 1"#] {
        let part = format!("value 1 # {is_misread}");
        check_left_out("m_total", Kind::Counter, &[&part], &["m_total 1"]);
    }
    for is_read in [r#"{a="\"b\""} 1"#, r#"{a="}{#"} 1"#, r#"{a="\\"} 1"#, r#"{"a.b"="}"} 1"#] {
        let line = format!("m_total 1 # {is_read}");
        family("m_total", Kind::Counter, &[&format!("value 1 # {is_read}")]).check(&[&line]);
    }
}

#[test]
fn an_exemplar_that_no_reader_takes_is_left_out() {
    for refused in ["{__t=\"x\"} 1", "{t=\"x\",t=\"y\"} 1", "{t=\"x\"}", "x"] {
        let part = format!("value 1 # {refused}");
        check_left_out("m_total", Kind::Counter, &[&part], &["m_total 1"]);
    }
}
