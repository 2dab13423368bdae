//! Sources of one format on a page of another.

use super::*;
use crate::exposition::{
    Escaping,
    Format::{OpenMetrics, Protobuf, Text, Text1},
    Header, Kind, protobuf,
};

const UTF8: Escaping = Escaping::AllowUtf8;

/// The page of sources without labels, and each problem as it is told.
fn page(sources: &[(Format, &[u8])], format: Format, escaping: Escaping) -> (Vec<u8>, Vec<String>) {
    let sources: Vec<_> = sources
        .iter()
        .map(|(format, body)| Source { labels: &[], format: *format, body, only: None })
        .collect();
    let Merged { body, reports } = merge(&sources, &Limits::default(), Output { format, escaping });
    let told = reports.iter().flat_map(|report| {
        let failed = report.failed.map(|failure| failure.to_string());
        failed.into_iter().chain(report.problems.kept().iter().map(ToString::to_string))
    });
    (body, told.collect())
}

#[track_caller]
fn check(sources: &[(Format, &str)], format: Format, expected: &str, problems: &[&str]) {
    let sources: Vec<_> = sources.iter().map(|(format, body)| (*format, body.as_bytes())).collect();
    let (body, told) = page(&sources, format, UTF8);
    assert_eq!(String::from_utf8_lossy(&body), expected);
    assert_eq!(told, problems);
}

/// A message that says what these lines say.
fn messages(text: &str) -> Vec<u8> {
    let (body, told) = page(&[(OpenMetrics, text.as_bytes())], Protobuf, UTF8);
    assert_eq!(told, [""; 0]);
    body
}

/// Metrics of one gauge, each as its labels; its value is its number.
fn metrics(sets: &[&[(&str, &str)]]) -> Vec<u8> {
    let header = Header { name: b"m", kind: Some(Kind::Gauge), help: None, unit: None };
    let mut body = Vec::new();
    let family = protobuf::Family::begin(&mut body, &header);
    for (n, set) in (1_u32..).zip(sets) {
        let mut metric = Vec::new();
        for (name, value) in *set {
            protobuf::push_label(&mut metric, name.as_bytes(), value.as_bytes());
        }
        // The gauge: a message that has a double as its first field.
        metric.extend_from_slice(&[0x12, 9, 9]);
        metric.extend_from_slice(&f64::from(n).to_le_bytes());
        family.push_metric(&mut body, &metric, b"");
    }
    family.end(&mut body);
    body
}

#[test]
fn a_creation_that_lost_its_kind_is_as_one_that_had_none() {
    // On the page it is one of which no kind is known, and so it is read again.
    for declared in ["", "# TYPE x_created histogram\n", "# TYPE x_created gauge\n"] {
        let body =
            format!("# TYPE x counter\nx_total 3\n{declared}x_created{{c=\"1\"}} 2\n# EOF\n");
        let (there, _) = page(&[(OpenMetrics, body.as_bytes())], Protobuf, UTF8);
        let (again, told) = page(&[(Protobuf, &there)], Protobuf, UTF8);
        assert_eq!(told, [""; 0]);
        assert_eq!(again, there, "{declared}");
    }
}

#[test]
fn a_metric_is_told_by_its_number() {
    let body = metrics(&[&[("a", "1")], &[("a", "2")], &[("a", "1")], &[("b", "1"), ("b", "2")]]);
    let (page, told) = page(&[(Protobuf, &body)], Protobuf, UTF8);
    assert_eq!(page, metrics(&[&[("a", "1")], &[("a", "2")]]));
    assert_eq!(
        told,
        [
            "line 3: series is there already, the first is kept: `m`",
            "line 4: label name occurs twice: `m`",
        ]
    );
}

#[test]
fn labels_are_looked_at_again_where_they_have_other_names() {
    let sets: [&[(&str, &str)]; 4] =
        [&[("a", "1")], &[("c", "x"), ("c", "y")], &[("c", "1")], &[("c", "2")]];
    let body = metrics(&sets);
    let source = Source { labels: &[("c", "own")], format: Protobuf, body: &body, only: None };
    let output = Output { format: Protobuf, escaping: UTF8 };
    let page = merge(&[source], &Limits::default(), output).body;
    let page = Source { labels: &[], format: Protobuf, body: &page, only: None };
    let text = merge(&[page], &Limits::default(), Output::default()).body;
    assert_eq!(
        String::from_utf8_lossy(&text),
        "# TYPE m gauge\nm{a=\"1\",c=\"own\"} 1\nm{exported_c=\"1\",c=\"own\"} 3\nm{exported_c=\"2\",c=\"own\"} 4\n"
    );
}

#[test]
fn a_counter_of_text_meets_that_of_openmetrics() {
    let text = "# HELP x_total Of text.\n# TYPE x_total counter\nx_total{s=\"1\"} 1\n";
    let open = "# TYPE x counter\n# HELP x Of the other.\nx_total{s=\"2\"} 2 1.5\n# EOF\n";
    let both = [(Text, text), (OpenMetrics, open)];
    check(
        &both,
        Text,
        "# HELP x_total Of text.\n# TYPE x_total counter\nx_total{s=\"1\"} 1\nx_total{s=\"2\"} 2 1500\n",
        &[],
    );
    check(
        &both,
        OpenMetrics,
        "# HELP x Of text.\n# TYPE x counter\nx_total{s=\"1\"} 1\nx_total{s=\"2\"} 2 1.5\n# EOF\n",
        &[],
    );
}

#[test]
fn a_counter_without_total_keeps_its_name_and_loses_its_type_in_openmetrics() {
    check(
        &[(Text, "# TYPE x counter\nx 1\n")],
        OpenMetrics,
        "# TYPE x unknown\nx 1\n# EOF\n",
        &[
            "line 1: type is left out, its samples do not end in `_total` or `_info` as OpenMetrics \
           has it: `# TYPE x counter`",
        ],
    );
}

#[test]
fn of_two_families_that_claim_one_name_the_larger_loses_its_type() {
    check(
        &[(Text, "# TYPE x gauge\nx 1\n# TYPE x_total counter\nx_total 2\n")],
        OpenMetrics,
        "# TYPE x gauge\nx 1\n# TYPE x_total unknown\nx_total 2\n# EOF\n",
        &["line 3: type differs from an earlier one, now untyped: `# TYPE x_total counter`"],
    );
}

#[test]
fn a_histogram_is_one_run_of_lines_with_canonical_bounds() {
    check(
        &[(
            Text,
            "# TYPE x histogram\nx_sum{a=\"1\"} 3\nx_bucket{a=\"2\",le=\"+Inf\"} 1\n\
             x_bucket{a=\"1\",le=\"1\"} 1\nx_bucket{a=\"1\",le=\"+Inf\"} 2\nx_count{a=\"1\"} 2\n\
             x_sum{a=\"2\"} 4\nx_count{a=\"2\"} 1\n",
        )],
        OpenMetrics,
        "# TYPE x histogram\nx_bucket{a=\"1\",le=\"1.0\"} 1\nx_bucket{a=\"1\",le=\"+Inf\"} 2\n\
         x_sum{a=\"1\"} 3\nx_count{a=\"1\"} 2\nx_bucket{a=\"2\",le=\"+Inf\"} 1\nx_sum{a=\"2\"} 4\n\
         x_count{a=\"2\"} 1\n# EOF\n",
        &[],
    );
}

#[test]
fn a_histogram_that_is_not_whole_loses_its_type_and_keeps_its_samples() {
    check(
        &[(Text, "# TYPE x histogram\nx_bucket{le=\"1\"} 1\nx_sum 1\nx_count 1\n")],
        OpenMetrics,
        "x_bucket{le=\"1\"} 1\nx_sum 1\nx_count 1\n# EOF\n",
        &[
            "line 1: sample does not fit the type of its family, now without one: `# TYPE x histogram`",
        ],
    );
}

#[test]
fn what_was_created_stands_beside_its_counter_or_is_a_sample_of_text() {
    let open = "# TYPE x counter\nx_total 1\nx_created 2.5\n# EOF\n";
    check(&[(OpenMetrics, open)], OpenMetrics, open, &[]);
    check(&[(OpenMetrics, open)], Text, "# TYPE x_total counter\nx_total 1\nx_created 2.5\n", &[]);
    let text = "# TYPE x_total counter\nx_total 1\n# TYPE x_created gauge\nx_created 2.5\n";
    check(&[(Text, text)], OpenMetrics, open, &[]);
    let (body, told) = page(&[(Protobuf, &messages(open))], OpenMetrics, UTF8);
    assert_eq!((String::from_utf8_lossy(&body).as_ref(), told.len()), (open, 0));
}

#[test]
fn an_exemplar_stays_where_it_may_stand() {
    let open =
        "# TYPE x counter\nx_total 1 # {t=\"a\"} 0.5 1.25\n# TYPE y gauge\ny 1 # {} 1\n# EOF\n";
    check(
        &[(OpenMetrics, open)],
        OpenMetrics,
        "# TYPE x counter\nx_total 1 # {t=\"a\"} 0.5 1.25\n# TYPE y gauge\ny 1\n# EOF\n",
        &["line 4: exemplar is left out, the page's format has no place for it: `y 1 # {} 1`"],
    );
}

#[test]
fn units_and_kinds_of_openmetrics_are_left_out_of_text_and_counted() {
    let open = "# TYPE x_seconds gauge\n# UNIT x_seconds seconds\nx_seconds 1\n# TYPE b info\n\
                b_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"on\"} 1\n# EOF\n";
    check(&[(OpenMetrics, open)], OpenMetrics, open, &[]);
    check(
        &[(OpenMetrics, open)],
        Text,
        "# TYPE x_seconds gauge\nx_seconds 1\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
         # TYPE s gauge\ns{s=\"on\"} 1\n",
        &[
            "line 2: unit is left out, the page's format has no place for it: `# UNIT x_seconds seconds`",
            "line 4: type has no word in the page's format: `# TYPE b info`",
            "line 6: type has no word in the page's format: `# TYPE s stateset`",
        ],
    );
}

#[test]
fn all_samples_of_a_label_set_have_a_time_in_openmetrics_or_none_has() {
    check(
        &[(Text, "x{a=\"1\"} 1\nx{a=\"1\"} 2 2000\nx{a=\"2\"} 3 9000\nx{a=\"2\"} 4 1000\n")],
        OpenMetrics,
        "x{a=\"1\"} 1\nx{a=\"2\"} 4 1\nx{a=\"2\"} 3 9\n# EOF\n",
        &[
            "line 2: sample is left out: in OpenMetrics the samples of a metric have one time, or none \
           has one: `x{a=\"1\"} 2 2`",
        ],
    );
}

#[test]
fn names_in_quotes_stay_so_or_are_escaped() {
    let text = "# TYPE \"a.b\" histogram\n{\"a.b_bucket\",\"c.d\"=\"1\",le=\"+Inf\"} 1\n\
                {\"a.b_sum\",\"c.d\"=\"1\"} 1\n{\"a.b_count\",\"c.d\"=\"1\"} 1\n";
    check(&[(Text1, text)], Text1, text, &[]);
    let escaped = |format, escaping| {
        let (body, told) = page(&[(Text1, text.as_bytes())], format, escaping);
        assert_eq!(told, [""; 0]);
        String::from_utf8_lossy(&body).into_owned()
    };
    let underscores = "# TYPE a_b histogram\na_b_bucket{c_d=\"1\",le=\"+Inf\"} 1\n\
                       a_b_sum{c_d=\"1\"} 1\na_b_count{c_d=\"1\"} 1\n";
    assert_eq!(escaped(Text, UTF8), underscores);
    assert_eq!(escaped(Text1, Escaping::Underscores), underscores);
    assert!(
        escaped(Text, Escaping::Dots).contains("\na_dot_b_bucket{c_dot_d=\"1\",le=\"+Inf\"} 1\n")
    );
    let values = escaped(Text, Escaping::Values);
    assert!(values.contains("\nU__a_2e_b_sum{U__c_2e_d=\"1\"} 1\n"), "{values}");
}

#[test]
fn names_that_escaping_makes_equal_cost_the_sample() {
    let text = b"m{\"a.b\"=\"1\",a_b=\"2\"} 1\n{\"x.y\"} 1\nx_y 2\n";
    let (body, told) = page(&[(Text1, text)], Text, UTF8);
    assert_eq!(String::from_utf8_lossy(&body), "x_y 1\n");
    assert_eq!(
        told,
        [
            "line 1: label name occurs twice: `m{\"a.b\"=\"1\",a_b=\"2\"} 1`",
            "line 3: series is there already, the first is kept: `x_y 2`",
        ]
    );
}

#[test]
fn a_label_that_begins_with_two_underscores_costs_its_sample_in_openmetrics_alone() {
    let text = "x{a=\"1\"} 1\nx{a=\"1\",__b=\"2\"} 2\nx{a=\"1\",c=\"3\"} 3\n";
    check(&[(Text, text)], Text, text, &[]);
    check(
        &[(Text, text)],
        OpenMetrics,
        "x{a=\"1\"} 1\nx{a=\"1\",c=\"3\"} 3\n# EOF\n",
        &["line 2: label name is reserved: `x{a=\"1\",__b=\"2\"} 2`"],
    );
    let (body, _) = page(&[(Text, text.as_bytes())], Protobuf, UTF8);
    let (body, told) = page(&[(Protobuf, &body)], OpenMetrics, UTF8);
    assert_eq!(String::from_utf8_lossy(&body).matches("\nx{").count(), 2);
    assert_eq!(told, ["line 2: label name is reserved: `x`"]);
    // Two characters that each become an underscore.
    let (body, told) =
        page(&[(Text, "x{\"é°\"=\"1\"} 1\n".as_bytes())], OpenMetrics, Escaping::Underscores);
    assert_eq!(body, b"# EOF\n");
    assert_eq!(told, ["line 1: label name is reserved: `x{\"é°\"=\"1\"} 1`"]);
}

#[test]
fn lines_and_messages_are_the_same_family() {
    let open = "# TYPE x histogram\nx_bucket{a=\"1\",le=\"1.0\"} 1\nx_bucket{a=\"1\",le=\"+Inf\"} 2\n\
                x_sum{a=\"1\"} 1.5\nx_count{a=\"1\"} 2\n# EOF\n";
    let other = open.replace("a=\"1\"", "a=\"2\"");
    let (body, told) = page(&[(Protobuf, &messages(open)), (Text, other.as_bytes())], Text, UTF8);
    assert_eq!(told, [""; 0]);
    let bounds = |page: &str| page.replace("1.0", "1");
    let expected = bounds(open).replace("# EOF\n", "") + &other["# TYPE x histogram\n".len()..];
    assert_eq!(String::from_utf8_lossy(&body), expected.replace("# EOF\n", ""));
    // Both as messages are one family of two metrics, and the same as if both had been messages.
    let (mixed, _) = page(&[(Protobuf, &messages(open)), (Text, other.as_bytes())], Protobuf, UTF8);
    let (plain, _) =
        page(&[(Protobuf, &messages(open)), (Protobuf, &messages(&other))], Protobuf, UTF8);
    assert_eq!(mixed, plain);
}

#[test]
fn a_metric_and_lines_of_one_series_are_not_both_there() {
    let open = "# TYPE x counter\nx_total 1\n# EOF\n";
    let both =
        [(Protobuf, messages(open)), (OpenMetrics, open.replace(" 1\n", " 2\n").into_bytes())];
    let sources: Vec<(Format, &[u8])> =
        both.iter().map(|(format, body)| (*format, &**body)).collect();
    let (body, told) = page(&sources, Protobuf, UTF8);
    assert_eq!(body, messages(open));
    assert_eq!(told, ["line 2: series is there already, the first is kept: `x_total 2`"]);
}

#[test]
fn a_metric_gets_the_labels_of_its_source_and_gives_up_its_own() {
    let body = messages("# TYPE x counter\nx_total{c=\"pod\",d=\"1\"} 1\n# EOF\n");
    let labels = [("c", "source")];
    let source = Source { labels: &labels, format: Protobuf, body: &body, only: None };
    let merged = |format| {
        let output = Output { format, escaping: UTF8 };
        merge(&[source], &Limits::default(), output).body
    };
    let line = "x_total{d=\"1\",exported_c=\"pod\",c=\"source\"} 1\n";
    assert_eq!(
        String::from_utf8_lossy(&merged(OpenMetrics)),
        format!("# TYPE x counter\n{line}# EOF\n")
    );
    let (again, _) = page(&[(Protobuf, &merged(Protobuf))], OpenMetrics, UTF8);
    assert_eq!(String::from_utf8_lossy(&again), format!("# TYPE x counter\n{line}# EOF\n"));
}

/// A native histogram: schema 0, one observation in one bucket.
fn native(name: &str) -> Vec<u8> {
    let header =
        Header { name: name.as_bytes(), kind: Some(Kind::Histogram), help: None, unit: None };
    let mut body = Vec::new();
    let family = protobuf::Family::begin(&mut body, &header);
    let histogram: &[u8] = &[
        0x08, 1, // sample_count
        0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // sample_sum 1
        0x28, 0, // schema
        0x62, 4, 0x08, 0, 0x10, 1, // positive_span {offset 0, length 1}
        0x68, 2, // positive_delta 1
    ];
    let len = u8::try_from(histogram.len()).unwrap();
    family.push_metric(&mut body, &[&[0x3a, len], histogram].concat(), &[]);
    family.end(&mut body);
    body
}

#[test]
fn a_native_histogram_stays_in_protobuf_and_is_left_out_of_lines_and_counted() {
    let body = native("n");
    let (kept, told) = page(&[(Protobuf, &body), (Text, b"m 1\n")], Protobuf, UTF8);
    assert!(kept.starts_with(&body) && told.is_empty());
    for format in [Text, Text1, OpenMetrics] {
        let (page, told) = page(&[(Protobuf, &body), (Text, b"m 1\n")], format, UTF8);
        assert!(String::from_utf8_lossy(&page).ends_with(if format == OpenMetrics {
            "m 1\n# EOF\n"
        } else {
            "m 1\n"
        }));
        assert_eq!(
            told,
            [
                "line 1: native histogram without classic buckets is left out, the page's format has no \
              place for it: `n`"
            ]
        );
    }
}

#[test]
fn a_metric_whose_family_lost_its_type_is_the_lines_that_it_is() {
    let open = "# TYPE x histogram\nx_bucket{le=\"+Inf\"} 2\nx_sum 1.5\nx_count 2\n# EOF\n";
    let (body, told) =
        page(&[(Protobuf, &messages(open)), (Text, b"# TYPE x gauge\nx 1\n")], Protobuf, UTF8);
    assert_eq!(told, ["line 1: type differs from an earlier one, now untyped: `# TYPE x gauge`"]);
    let (text, _) = page(&[(Protobuf, &body)], Text, UTF8);
    let mut lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().collect();
    lines.retain(|line| !line.starts_with('#'));
    lines.sort_unstable();
    assert_eq!(lines, ["x 1", "x_bucket{le=\"+Inf\"} 2", "x_count 2", "x_sum 1.5"]);
}

#[test]
fn a_page_that_is_cut_off_costs_its_source_only() {
    let whole = messages("# TYPE x counter\nx_total 1\n# EOF\n");
    let (body, told) = page(
        &[(Protobuf, &whole[..whole.len() - 1]), (OpenMetrics, b"m 1\n"), (Text, b"n 1\n")],
        Text,
        UTF8,
    );
    assert_eq!(String::from_utf8_lossy(&body), "n 1\n");
    assert_eq!(
        told,
        ["the message at byte 0 is cut off", "the last line is not `# EOF`: the page was cut off"]
    );
}

#[test]
fn a_metric_that_would_be_lines_without_end_costs_its_source() {
    let value = "v".repeat(2048);
    let labels: Vec<String> = (0..60).map(|n| format!("l{n}=\"{value}\"")).collect();
    let labels = labels.join(",");
    let mut text = "# TYPE x histogram\n".to_owned();
    for bound in 0..600 {
        text += &format!("x_bucket{{{labels},le=\"{bound}\"}} 0\n");
    }
    text += &format!(
        "x_bucket{{{labels},le=\"+Inf\"}} 0\nx_sum{{{labels}}} 0\nx_count{{{labels}}} 0\n# EOF\n"
    );
    let limits = Limits { line: 1 << 20, ..Limits::default() };
    let output = |format| Output { format, escaping: UTF8 };
    let source = |format, body| Source { labels: &[], format, body, only: None };
    let small = merge(&[source(OpenMetrics, text.as_bytes())], &limits, output(Protobuf)).body;
    assert!(small.len() < 200_000, "{}", small.len());
    let limits = Limits { samples: usize::MAX, ..limits };
    let merged = merge(&[source(Protobuf, &small), source(Text, b"m 1\n")], &limits, output(Text));
    assert_eq!(String::from_utf8_lossy(&merged.body), "m 1\n");
    let failed = merged.reports[0].failed.map(|failure| failure.to_string());
    assert_eq!(
        failed.as_deref(),
        Some("line 1: more than 16777216 bytes in the format of the page")
    );
}

#[test]
fn an_exemplar_whose_labels_escaping_makes_equal_is_left_out() {
    let open = b"# TYPE x counter\nx_total 1 # {\"a.b\"=\"1\",a_b=\"2\"} 1\n# EOF\n";
    let (body, told) = page(&[(OpenMetrics, open)], OpenMetrics, Escaping::Underscores);
    assert_eq!(String::from_utf8_lossy(&body), "# TYPE x counter\nx_total 1\n# EOF\n");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("line 2: exemplar is malformed and left out"), "{told:?}");
    let (body, told) = page(&[(OpenMetrics, open)], OpenMetrics, UTF8);
    assert_eq!((&*body, told.len()), (&open[..], 0));
}

#[test]
fn a_name_in_quotes_is_spelled_alike_whichever_source_comes_first() {
    let histogram: &[u8] = b"# TYPE \"a.b\" histogram\n{\"a.b_count\",c=\"1\"} 1\n";
    let other: &[u8] = b"{\"a.b_count\"} 2\n";
    let series = |sources: [&[u8]; 2]| {
        let (body, told) = page(&sources.map(|body| (Text1, body)), Text, Escaping::Dots);
        assert_eq!(told, [""; 0]);
        let page = String::from_utf8_lossy(&body).into_owned();
        let mut lines: Vec<_> = page.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let expected = ["# TYPE a_dot_b histogram", "a_dot_b__count 2", "a_dot_b_count{c=\"1\"} 1"];
    assert_eq!(series([histogram, other]), expected);
    assert_eq!(series([other, histogram]), expected);
}

#[test]
fn an_info_with_and_without_times_loses_its_type_and_no_sample() {
    let timed = "# TYPE b info\nb_info{v=\"1\"} 1 5\n# EOF\n";
    let untimed = "# TYPE b info\nb_info{v=\"2\"} 1\n# EOF\n";
    let told =
        "line 1: sample does not fit the type of its family, now without one: `# TYPE b info`";
    check(
        &[(OpenMetrics, timed), (OpenMetrics, untimed)],
        OpenMetrics,
        "# TYPE b_info unknown\nb_info{v=\"1\"} 1 5\nb_info{v=\"2\"} 1\n# EOF\n",
        &[told],
    );
}

#[test]
fn an_exemplar_of_a_time_that_messages_cannot_say_is_left_out_and_counted() {
    let open = b"# TYPE x counter\nx_total 1 # {t=\"a\"} 0.5 1e12\n# EOF\n";
    let (body, told) = page(&[(OpenMetrics, open)], Protobuf, UTF8);
    assert_eq!(body, messages("# TYPE x counter\nx_total 1\n# EOF\n"));
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("line 2: exemplar is malformed and left out"), "{told:?}");
}
