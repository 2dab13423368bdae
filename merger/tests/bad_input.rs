//! What a bad body costs: the problem that it gives, word by word, and what of the page survives.
//!
//! Beside each bad source stands a good one, which no body of another may touch. The table for
//! people is in `testdata/README.md`; it has a row for each test here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fmt::Write as _;

use merger::{
    exposition::{
        Defect, Escaping,
        Format::{self, OpenMetrics, Protobuf, Text},
        Output,
    },
    merge::{Limits, Merged, Source, merge},
};

/// Merges `body` with a source of text that says `good 1`; gives what stands before that, and what
/// was wrong.
fn survivors(format: Format, body: &[u8], output: Format) -> (String, Vec<String>) {
    let source = |format, body| Source { labels: &[], format, body, only: None };
    let sources = [source(format, body), source(Text, b"good 1\n")];
    let output = Output { format: output, escaping: Escaping::AllowUtf8 };
    let Merged { body, reports } = merge(&sources, &Limits::default(), output);
    assert_eq!((reports[1].samples, reports[1].problems.total()), (1, 0), "the good source");
    let page = String::from_utf8(body).unwrap();
    let end = if output.format == OpenMetrics { "good 1\n# EOF\n" } else { "good 1\n" };
    let rest = page.strip_suffix(end).unwrap_or_else(|| panic!("no {end:?} in {page:?}"));
    let report = &reports[0];
    let failed = report.failed.map(|failure| format!("failed: {failure}"));
    let told = report.problems.kept().iter().map(ToString::to_string);
    (rest.to_owned(), told.chain(failed).collect())
}

#[track_caller]
fn check_bytes(format: Format, body: &[u8], survives: &str, problems: &[&str]) {
    let (page, told) = survivors(format, body, Text);
    assert_eq!(
        (page.as_str(), told),
        (survives, problems.iter().map(ToString::to_string).collect())
    );
}

#[track_caller]
fn check(format: Format, body: &str, survives: &str, problems: &[&str]) {
    check_bytes(format, body.as_bytes(), survives, problems);
}

/// The gauge `m` with the value 1, as a message behind its length.
const MESSAGE: &[u8] = b"\x12\x0a\x01m\x18\x01\x22\x0b\x12\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f";

#[test]
fn a_truncated_body_costs_its_source_where_the_format_tells_its_end() {
    let no_eof = "failed: the last line is not `# EOF`: the page was cut off";
    check(
        OpenMetrics,
        "# TYPE m gauge\nm 1\nm{a=\"b",
        "",
        &["line 3: label value is not closed: `m{a=\"b`", no_eof],
    );
    check(OpenMetrics, "m 1\n", "", &[no_eof]);
    check_bytes(
        Protobuf,
        &[MESSAGE, &MESSAGE[..9]].concat(),
        "",
        &["failed: the message at byte 19 is cut off"],
    );
    // Text does not tell: there a scrape knows by Content-Length or the last chunk.
    check(Text, "m 1\nm{a=\"b", "m 1\n", &["line 2: label value is not closed: `m{a=\"b`"]);
}

#[test]
fn bytes_that_are_no_utf8_cost_their_line() {
    check_bytes(
        Text,
        b"m{a=\"\xff\"} 1\nm 2\n",
        "m 2\n",
        &["line 1: line is not UTF-8: `m{a=\"\u{fffd}\"} 1`"],
    );
    check_bytes(
        Text,
        b"# HELP m \xc3(\n# TYPE m gauge\nm 1\n",
        "# TYPE m gauge\nm 1\n",
        &["line 1: line is not UTF-8: `# HELP m \u{fffd}(`"],
    );
}

#[test]
fn a_nul_costs_its_line() {
    check(
        Text,
        "m{a=\"\0\"} 1\nm 2\n\0\n",
        "m 2\n",
        &[
            "line 1: line holds a NUL byte: `m{a=\"\\0\"} 1`",
            "line 3: line holds a NUL byte: `\\0`",
        ],
    );
}

#[test]
fn crlf_is_a_line_end() {
    check(
        Text,
        "# HELP m Help.\r\n# TYPE m gauge\r\nm{a=\"b\"} 1\r\n\r\nm 2 3\r\n",
        "# HELP m Help.\n# TYPE m gauge\nm{a=\"b\"} 1\nm 2 3\n",
        &[],
    );
    check(OpenMetrics, "# TYPE m gauge\r\nm 1\r\n# EOF\r\n", "# TYPE m gauge\nm 1\n", &[]);
}

#[test]
fn a_line_longer_than_64_kib_costs_its_source() {
    let line = |len: usize| format!("m 1\n# HELP m {}\n", "h".repeat(len - "# HELP m ".len()));
    let long = line(65_536);
    let (help, survives) = (&long["m 1\n".len()..], "m 1\n");
    check(Text, &long, &format!("{help}{survives}"), &[]);
    check(Text, &line(65_537), "", &["failed: line 2: longer than 65536 bytes"]);
    check(
        Text,
        &format!("m{{a=\"{}\"}} 1\n", "v".repeat(65_537)),
        "",
        &["failed: line 1: longer than 65536 bytes"],
    );
}

#[test]
fn a_million_series_cost_their_source_unless_they_are_allowed() {
    let mut body = String::new();
    for n in 0..1_000_000 {
        writeln!(body, "m{{a=\"{n}\"}} 1").unwrap();
    }
    check(Text, &body, "", &["failed: line 50001: more than 50000 samples"]);
    let limits = Limits { samples: 1_000_000, ..Limits::default() };
    let source = Source { labels: &[], format: Text, body: body.as_bytes(), only: None };
    let merged = merge(&[source], &limits, Output::default());
    assert!(merged.body == body.as_bytes(), "all of them are on the page");
}

#[test]
fn a_label_set_that_never_closes_costs_its_line() {
    check(
        Text,
        "m{a=\"b\",\nm{a=\"b\" 1\nm{a=\"b 1\nm{a 1\nm 2\n",
        "m 2\n",
        &[
            "line 1: label set is not closed: `m{a=\"b\",`",
            "line 2: labels are not separated by a comma: `m{a=\"b\" 1`",
            "line 3: label value is not closed: `m{a=\"b 1`",
            "line 4: label name is not followed by `=\"`: `m{a 1`",
        ],
    );
    let endless: Vec<_> = (0..65).map(|n| format!("l{n}=\"b\"")).collect();
    let endless = endless.join(",");
    check(Text, &format!("m{{{endless}\nm 2\n"), "", &["failed: line 1: more than 64 labels"]);
}

#[test]
fn a_type_said_twice_is_one_unless_it_is_another() {
    check(
        Text,
        "# TYPE m gauge\nm 1\n# TYPE m gauge\nm 2 3\n",
        "# TYPE m gauge\nm 1\nm 2 3\n",
        &[],
    );
    check(
        Text,
        "# TYPE m gauge\nm 1\n# TYPE m counter\nm 2 3\n",
        "# TYPE m untyped\nm 1\nm 2 3\n",
        &["line 3: type differs from an earlier one, now untyped: `# TYPE m counter`"],
    );
}

#[test]
fn a_type_after_the_samples_is_one_before_them() {
    check(
        Text,
        "m_count 1\nm_sum 1\n# TYPE m summary\n",
        "# TYPE m summary\nm_count 1\nm_sum 1\n",
        &[],
    );
}

#[test]
fn a_type_that_no_format_knows_costs_its_line() {
    check(
        Text,
        "# TYPE m stopwatch\nm 1\n",
        "m 1\n",
        &["line 1: type is not a known one: `# TYPE m stopwatch`"],
    );
    check(Text, "# TYPE m COUNTER\nm 1\n", "# TYPE m counter\nm 1\n", &[]);
}

#[test]
fn a_timestamp_in_the_wrong_unit_costs_its_line_where_it_can_be_told() {
    check(
        OpenMetrics,
        "m 1 1763917200123\nm{a=\"b\"} 2 1763917200.123\n# EOF\n",
        "m{a=\"b\"} 2 1763917200123\n",
        &[
            "line 1: timestamp is behind the year 9999, so it is in another unit: `m 1 1763917200123`",
        ],
    );
    check(
        Text,
        "m 1 1763917200123456\nm 2 1763917200.123\n",
        "",
        &[
            "line 1: timestamp is behind the year 9999, so it is in another unit: `m 1 1763917200123456`",
            "line 2: timestamp is not a time since 1970 in the unit of its format: `m 2 1763917200.123`",
        ],
    );
    // The same as MESSAGE, and a `timestamp_ms` in microseconds.
    let head = b"\x1b\x0a\x01m\x18\x01\x22\x14";
    let timed = [&head[..], &MESSAGE[8..], b"\x30\xc0\xcc\x81\xd1\xdf\x88\x91\x03"].concat();
    check_bytes(
        Protobuf,
        &timed,
        "",
        &["line 1: timestamp is behind the year 9999, so it is in another unit: `m`"],
    );
    // A time in January 1970 is a time: a server says of it that it is too old.
    check(Text, "m 1 1763917200\n", "m 1 1763917200\n", &[]);
}

#[test]
fn an_exemplar_in_text_is_left_out_of_text_and_read_nevertheless() {
    let body = "# TYPE m_total counter\nm_total 1 # {trace_id=\"x\"} 0.5\n";
    check(
        Text,
        body,
        "# TYPE m_total counter\nm_total 1\n",
        &[
            "line 2: exemplar is left out, the page's format has no place for it: `m_total 1 # {trace_id=\"x\"} 0.5`",
        ],
    );
    let (page, told) = survivors(Text, body.as_bytes(), OpenMetrics);
    assert_eq!(page, "# TYPE m counter\nm_total 1 # {trace_id=\"x\"} 0.5\n");
    assert_eq!(told, [""; 0]);
}

#[test]
fn an_exemplar_with_a_time_in_the_wrong_unit_costs_itself() {
    let sample = "# TYPE m counter\nm_total 1";
    let body = format!("{sample} # {{trace_id=\"x\"}} 0.5 1763917200123\n# EOF\n");
    let (page, told) = survivors(OpenMetrics, body.as_bytes(), OpenMetrics);
    assert_eq!((page, told.len()), (format!("{sample}\n"), 1));
    let source = Source { labels: &[], format: OpenMetrics, body: body.as_bytes(), only: None };
    let output = Output { format: Protobuf, escaping: Escaping::AllowUtf8 };
    let merged = merge(&[source], &Limits::default(), output);
    assert_eq!(merged.reports[0].problems.total(), 1);
}

#[test]
fn blank_lines_and_comments_in_openmetrics_cost_nothing() {
    check(
        OpenMetrics,
        "\nm 1\n# Of m.\n \nn 2\n# EOF\n",
        "m 1\nn 2\n",
        &[
            "line 1: line is blank, which OpenMetrics forbids: ``",
            "line 3: line is a comment, which OpenMetrics forbids: `# Of m.`",
            "line 4: line is blank, which OpenMetrics forbids: ` `",
        ],
    );
    check(Text, "\nm 1\n# Of m.\n \nn 2\n", "m 1\nn 2\n", &[]);
}

#[test]
fn data_after_eof_are_read() {
    check(
        OpenMetrics,
        "m 1\n# EOF\nn 2\n# EOF\n",
        "m 1\nn 2\n",
        &["line 2: `# EOF` is not the last line: `# EOF`"],
    );
    check(
        OpenMetrics,
        "m 1\n# EOF\nn 2\n",
        "",
        &[
            "line 2: `# EOF` is not the last line: `# EOF`",
            "failed: the last line is not `# EOF`: the page was cut off",
        ],
    );
    check(Text, "m 1\n# EOF\nn 2\n", "m 1\nn 2\n", &[]);
}

#[test]
fn an_empty_page_says_nothing() {
    check(Text, "", "", &[]);
    check(Text, "\n\n", "", &[]);
    check(Protobuf, "", "", &[]);
    check(OpenMetrics, "# EOF\n", "", &[]);
    check(OpenMetrics, "", "", &["failed: the last line is not `# EOF`: the page was cut off"]);
}

#[test]
fn every_problem_has_its_row_in_the_table_for_people() {
    let table = include_str!("../../ARCHITECTURE.md");
    for what in Defect::ALL {
        assert!(table.contains(&format!("`{}`", what.as_str())), "{}", what.as_str());
    }
}

/// A pod that gives itself the labels of another, plainly or by breaking out of a value.
#[test]
fn no_label_makes_a_series_another_pods() {
    let labels = [("namespace", "shop"), ("pod", "cart"), ("container", "app")];
    let body = "m{namespace=\"bank\",pod=\"vault\",container=\"db\"} 1\n\
                m{a=\"x\\\",pod=\\\"vault\"} 2\nm{a=\"x\\n\",pod=\"vault\\n\"} 3\n\
                m{\"pod\"=\"vault\"} 4\nm{exported_pod=\"a\",pod=\"vault\"} 5\n\
                m{pod=\"vault\",pod=\"cart\"} 6\nm{a=\"x\"} 7\",pod=\"vault\"} 8\n\
                {\"m\\\",pod=\\\"vault\"} 9\n";
    let source = Source { labels: &labels, format: Text, body: body.as_bytes(), only: None };
    let output = Output { format: Format::Text1, escaping: Escaping::AllowUtf8 };
    let Merged { body, reports } = merge(&[source], &Limits::default(), output);
    let page = String::from_utf8(body).unwrap();
    let own = ",namespace=\"shop\",pod=\"cart\",container=\"app\"}";
    let expected = [
        "m{exported_pod=\"vault\",exported_namespace=\"bank\",exported_container=\"db\"",
        "m{a=\"x\\\",pod=\\\"vault\"",
        "m{a=\"x\\n\",exported_pod=\"vault\\n\"",
        "m{exported_pod=\"vault\"",
        "m{exported_pod=\"a\",exported_exported_pod=\"vault\"",
        "{\"m\\\",pod=\\\"vault\"",
    ];
    let found: Vec<_> = page.lines().map(|line| line.rsplit_once(own).unwrap().0).collect();
    assert_eq!(found, expected);
    let told: Vec<_> = reports[0].problems.kept().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 6: label name occurs twice: `m{pod=\"vault\",pod=\"cart\"} 6`",
            "line 7: value is not a number: `m{a=\"x\"} 7\",pod=\"vault\"} 8`",
        ]
    );
}
