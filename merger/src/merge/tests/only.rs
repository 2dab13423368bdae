//! Sources of which only some families are taken.

use super::*;
use crate::exposition::{Exceeded, Limit, problem::Problem};

/// A page of an agent, in which an application and a proxy speak as well.
const PAGE: &str = "\
# HELP own_x_total Of x.
# TYPE own_x_total counter
own_x_total{a=\"1\"} 1
own_x_total{a=\"2\"} 2
# TYPE other_total counter
other_total{a=\"own_x\"} 3
# TYPE own_h histogram
own_h_bucket{le=\"+Inf\"} 4
own_h_sum 5
own_h_count 4
# TYPE own histogram
own_bucket{le=\"+Inf\"} 6
own_sum 7
own_count 6
owned 8
# TYPE own_g gauge
own_g 9
# TYPE x_own_g gauge
x_own_g 10
";

/// What is the agent's of it.
const OWN: &str = "\
# HELP own_x_total Of x.
# TYPE own_x_total counter
own_x_total{a=\"1\"} 1
own_x_total{a=\"2\"} 2
# TYPE own_h histogram
own_h_bucket{le=\"+Inf\"} 4
own_h_sum 5
own_h_count 4
# TYPE own_g gauge
own_g 9
";

fn output(format: Format) -> Output {
    Output { format, escaping: Escaping::AllowUtf8 }
}

/// A page that says in this format what a page of text says.
fn said_in(format: Format, text: &str) -> Vec<u8> {
    let source = Source { labels: &[], format: Format::Text, body: text.as_bytes(), only: None };
    let Merged { body, reports } = merge(&[source], &Limits::default(), output(format));
    assert!(reports[0].problems.is_empty(), "{:?}", reports[0]);
    body
}

/// The page of what a source says of families whose names begin with `own_`, and its report.
fn own(format: Format, body: &[u8], limits: &Limits) -> (String, Report) {
    let source = Source { labels: &[("c", "a")], format, body, only: Some("own_") };
    let Merged { body, mut reports } = merge(&[source], limits, output(Format::Text1));
    (String::from_utf8(body).unwrap(), reports.remove(0))
}

/// What is wrong with the lines of a source of which only some are taken.
#[track_caller]
fn check_own(format: Format, body: &[u8], expected: &str, problems: &[(usize, Defect)]) {
    // More than anybody allows the lines that are not taken.
    let limits = Limits { samples: 2, labels: 1, name: 8, value: 8, line: 20 };
    let (page, report) = own(format, body, &limits);
    assert_eq!((page.as_str(), report.failed), (expected, None));
    let told: Vec<_> = report.problems.kept().iter().map(|p: &Problem| (p.line, p.what)).collect();
    assert_eq!(told, problems);
}

#[test]
fn of_every_format_only_what_is_asked_for_is_taken_to_every_format() {
    for from in Format::ALL {
        let (page, alone) = (said_in(from, PAGE), said_in(from, OWN));
        for to in Format::ALL {
            let take = |body: &[u8], only| {
                let source = Source { labels: &[("c", "a")], format: from, body, only };
                merge(&[source], &Limits::default(), output(to))
            };
            let merged = take(&page, Some("own_"));
            assert_eq!(merged, take(&alone, None), "{from:?} to {to:?}");
            assert_eq!(merged.reports[0].samples, 6);
            assert!(merged.reports[0].problems.is_empty(), "{:?}", merged.reports);
        }
    }
}

#[test]
fn what_is_left_out_is_beside_what_another_source_says_of_it() {
    let of = |labels, only| Source { labels, format: Format::Text, body: PAGE.as_bytes(), only };
    let sources = [of(&[("c", "app")], None), of(&[("c", "agent")], Some("own_"))];
    let Merged { body, reports } = merge(&sources, &Limits::default(), Output::default());
    let page = String::from_utf8(body).unwrap();
    assert!(page.contains("# TYPE own histogram\nown_bucket{le=\"+Inf\",c=\"app\"} 6\n"), "{page}");
    assert_eq!(page.matches("c=\"agent\"").count(), 6, "{page}");
    assert_eq!(page.matches("\nowned{").count(), 1, "{page}");
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

#[test]
fn a_recorded_page_gives_what_its_lines_alone_give() {
    let page = include_str!("../../../testdata/scrapes/pilot-agent-merged.prom");
    let named =
        |line: &str| line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")).is_some();
    for (prefix, n) in [("istio_agent_", 48), ("envoy_", 547), ("go_", 33), ("none_", 0)] {
        let is_own = |line: &&str| {
            let name = if named(line) { &line[7..] } else { line };
            name.starts_with(prefix)
        };
        let lines = || page.split_inclusive('\n');
        let alone: String = lines().filter(is_own).collect();
        // A line of another behind each: no two follow each other.
        let others: String = lines()
            .filter(is_own)
            .zip(lines().filter(|line| !is_own(line)).cycle())
            .flat_map(|(own, other)| [other, own])
            .collect();
        let take = |body: &str, only| {
            let source = Source { labels: &[], format: Format::Text, body: body.as_bytes(), only };
            merge(&[source], &Limits::default(), Output::default())
        };
        let expected = take(&alone, None);
        assert_eq!(expected.reports[0].samples, n);
        for body in [page, &alone, &others] {
            assert_eq!(take(body, Some(prefix)), expected, "{prefix}");
        }
    }
}

#[test]
fn what_is_not_taken_has_no_limits_and_no_problems() {
    let body = b"\
other{a=\"1\",b=\"2\",c=\"3\"} 1
a_name_that_is_too_long_for_anybody 1
x{a=\"a value that is too long for anybody\"} 1
x 1\nx 2\nx 3\nx{ 4\nx four\n\xff\nno sample at all

# TYPE x gauge
# TYPE x counter
# TYPE x no_kind
own_a 1
own_a one
{\"other.a\",a=\"b\"} 1
x 1 1 1 # {} 1
own_b 2
";
    let expected = "own_a{c=\"a\"} 1\nown_b{c=\"a\"} 2\n";
    check_own(Format::Text, body, expected, &[(16, Defect::Value)]);
    let with_eof = [body, &b"# EOF\n"[..]].concat();
    check_own(Format::OpenMetrics, &with_eof, expected, &[(16, Defect::Value)]);
}

#[test]
fn what_is_taken_has_its_limits() {
    let limits = Limits { samples: 2, ..Limits::default() };
    let failed = |body: &str| own(Format::Text, body.as_bytes(), &limits).1.failed;
    assert_eq!(failed("own_a 1\nx 1\nown_a{a=\"1\"} 1\nx 1\n"), None);
    let exceeded = Exceeded { limit: Limit::Samples, allowed: 2, line: 5 };
    let body = "own_a 1\nx 1\nown_b 1\nx 1\nown_c 1\nown_d 1\n";
    assert_eq!(failed(body), Some(Failure::Exceeded(exceeded)));
}

#[test]
fn a_body_that_is_cut_off_costs_the_source_whosever_its_end_is() {
    let body = "own_a 1\n# EOF\nown_b 2\n\nother 3\n";
    let limits = Limits::default();
    let (page, report) = own(Format::OpenMetrics, body.as_bytes(), &limits);
    assert_eq!((page.as_str(), report.failed), ("", Some(Failure::NoEof)));
    let whole = format!("{body}# EOF\n");
    check_own(Format::OpenMetrics, whole.as_bytes(), "own_a{c=\"a\"} 1\nown_b{c=\"a\"} 2\n", &[]);
    let messages = said_in(Format::Protobuf, PAGE);
    let (_, report) = own(Format::Protobuf, &messages[..messages.len() - 1], &limits);
    assert!(matches!(report.failed, Some(Failure::CutOff { .. })), "{report:?}");
}

#[test]
fn a_family_of_messages_that_is_not_taken_has_no_limits_and_its_metrics_their_numbers() {
    let others = "other_with_a_long_name 1\nx{a=\"1\",b=\"2\"} 1\nx{a=\"a long value\"} 1\n";
    let mut body = said_in(Format::Protobuf, others);
    // A gauge by its type, of which the second metric has nothing of a gauge.
    body.extend_from_slice(
        b"\x1a\x0a\x05own_a\x18\x01\x22\x0b\x12\x09\x09\0\0\0\0\0\0\xf0\x3f\x22\x02\x1a\0",
    );
    body.extend_from_slice(&said_in(Format::Protobuf, "own_b 2\n"));
    let expected = "# TYPE own_a gauge\nown_a{c=\"a\"} 1\n# TYPE own_b untyped\nown_b{c=\"a\"} 2\n";
    check_own(Format::Protobuf, &body, expected, &[(5, Defect::Message)]);
}
