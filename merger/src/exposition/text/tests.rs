use super::*;
use crate::exposition::{Problem, Said};

/// What a body says, one line for each item.
fn read(body: &[u8], limits: &Limits) -> Vec<String> {
    read_in(Dialect::Text, body, limits)
}

fn read_in(dialect: Dialect, body: &[u8], limits: &Limits) -> Vec<String> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut reader = Reader::new(body, dialect, limits);
    let mut said = Vec::new();
    while let Some(item) = reader.next() {
        let Place { line, text, .. } = reader.place();
        said.push(match item {
            Ok(Entry::Metadata(Metadata { family, said, is_plain: _ })) => match said {
                Said::Help(help) => format!("help {}: {}", lossy(family), lossy(&help)),
                Said::Type(kind) => format!("type {}: {kind:?}", lossy(family)),
                Said::Unit(unit) => format!("unit {}: {}", lossy(family), lossy(unit)),
            },
            Ok(Entry::Sample(sample)) => {
                let mut words = vec![lossy(sample.name)];
                words.extend(sample.labels.walk().map(|l| lossy(l.name) + "=" + &lossy(l.value)));
                words.push(lossy(sample.value));
                words
                    .extend(sample.timestamp.map(|timestamp| "at ".to_owned() + &lossy(timestamp)));
                words.extend(sample.exemplar.map(|exemplar| "# ".to_owned() + &lossy(exemplar)));
                words.extend(sample.strict.then(|| "strict".to_owned()));
                words.join(" ")
            }
            Ok(Entry::Metric(_)) => unreachable!(),
            Err(Fault::Line(what)) => Problem::new(line, what, text).to_string(),
            Err(Fault::Source(exceeded)) => exceeded.to_string(),
        });
    }
    said
}

#[track_caller]
fn check(body: &str, expected: &[&str]) {
    assert_eq!(read(body.as_bytes(), &Limits::default()), expected);
}

/// The line costs itself with this message, and its neighbours are read.
#[track_caller]
fn check_malformed(line: &[u8], message: &str) {
    let body = [b"before 1\n", line, b"\nafter 2\n"].concat();
    let expected = ["before 1 strict", message, "after 2 strict"];
    assert_eq!(read(&body, &Limits::default()), expected);
}

#[track_caller]
fn check_limit(limits: Limits, body: &str, message: &str) {
    let said = read(body.as_bytes(), &limits);
    assert_eq!(said.last().map(String::as_str), Some(message));
    assert!(!said.iter().any(|said| said.contains("after")), "{said:?}");
}

#[test]
fn help_type_and_samples_are_read() {
    check(
        "# HELP m What it is.\n# TYPE m counter\nm{a=\"b\"} 1 1395066363000\nm 2\n",
        &[
            "help m: What it is.",
            "type m: Counter",
            "m a=b 1 at 1395066363000 strict",
            "m 2 strict",
        ],
    );
}

#[test]
fn blanks_tabs_and_line_ends_of_two_bytes_are_read() {
    check("\r\n \t m\t{ a = \"b\" ,\t} \t 1  2 \r\n\r\n", &["m a=b 1 at 2"]);
    check("#\tHELP\tm  a  b \r\n#  TYPE m\tgauge \r\n", &["help m: a  b ", "type m: Gauge"]);
    check("m 1\r\nm 2\r\r\n# HELP m x\r\r\n", &["m 1 strict", "m 2 strict", "help m: x"]);
    check("m{a=\"b\"}1\nm {a=\"b\"}2\n", &["m a=b 1", "m a=b 2"]);
}

#[test]
fn a_line_is_strict_only_in_the_one_spelling() {
    check("m 1 2\nm{a=\"1\",b=\"2\"} 1\n", &["m 1 at 2 strict", "m a=1 b=2 1 strict"]);
    for line in [
        "m{} 1",
        " m 1",
        "m  1",
        "m 1 ",
        "m\t1",
        "m 1\t2",
        "m 1  2",
        "m 1 2 ",
        "m {a=\"1\"}1",
        "m {a=\"1\"} 1",
        "m{a=\"1\"}1 ",
        "m{a=\"1\",} 1",
        "m{ a=\"1\"} 1",
        "m{a=\"1\" } 1",
        "m{a =\"1\"} 1",
        "m{a= \"1\"} 1",
        "m{a=\"1\", b=\"2\"} 1",
        "m{a=\"\\d\"} 1",
        "m 1 # {} 1",
    ] {
        let said = read(line.as_bytes(), &Limits::default());
        assert!(said.len() == 1 && !said[0].contains("strict"), "{line}: {said:?}");
    }
}

#[test]
fn comments_and_blank_lines_say_nothing() {
    check("\n#\n# \n#comment\n# EOF\n# UNIT m s\n# HELP\n# TYPE\n# TYPE m\n# HELPm x\n", &[]);
    check("", &[]);
}

#[test]
fn an_empty_help_is_read() {
    check("# HELP m\n# HELP m \n", &["help m: ", "help m: "]);
}

#[test]
fn the_last_line_may_have_no_end() {
    check("m 1\nm 2", &["m 1 strict", "m 2 strict"]);
}

#[test]
fn the_words_of_openmetrics_are_kinds() {
    check(
        "# TYPE a info\n# TYPE a stateset\n# TYPE a gaugehistogram\n# TYPE a unknown\n# TYPE a COUNTER\n",
        &[
            "type a: Info",
            "type a: StateSet",
            "type a: GaugeHistogram",
            "type a: Unknown",
            "type a: Counter",
        ],
    );
}

#[test]
fn an_exemplar_is_read() {
    check("m_bucket{le=\"1\"} 5 # {t=\"x\"} 0.5 1.2\n", &["m_bucket le=1 5 # {t=\"x\"} 0.5 1.2"]);
    check("m 5 7 # {} 1\n", &["m 5 at 7 # {} 1"]);
}

#[test]
fn a_name_may_hold_colons_and_a_value_may_be_utf8() {
    check("job:m:rate5m{a=\"é→\"} NaN\n", &["job:m:rate5m a=é→ NaN strict"]);
}

#[test]
fn each_malformed_line_costs_itself_and_says_why() {
    for (line, message) in [
        ("{a=\"b\"} 1", "line begins with no metric name: `{a=\"b\"} 1`"),
        ("{} 1", "line begins with no metric name: `{} 1`"),
        ("{\"\"} 1", "line begins with no metric name: `{\"\"} 1`"),
        ("m{\"n\"} 1", "label name is not followed by `=\"`: `m{\"n\"} 1`"),
        ("{\"m\",\"n\"} 1", "label name is not followed by `=\"`: `{\"m\",\"n\"} 1`"),
        ("{\"m} 1", "label has no valid name: `{\"m} 1`"),
        ("m{\"\"=\"b\"} 1", "label has no valid name: `m{\"\"=\"b\"} 1`"),
        ("1m 1", "line begins with no metric name: `1m 1`"),
        ("m-n 1", "line begins with no metric name: `m-n 1`"),
        ("upstream connect error", "value is not a number: `upstream connect error`"),
        ("m", "sample has no value: `m`"),
        ("m ", "sample has no value: `m `"),
        ("m{a=\"b\"}", "sample has no value: `m{a=\"b\"}`"),
        ("m one", "value is not a number: `m one`"),
        ("m 1_000", "value is not a number: `m 1_000`"),
        ("m 0x1p-2", "value is not a number: `m 0x1p-2`"),
        ("m 1e400", "value is not a number: `m 1e400`"),
        ("m{a=\"b} 1", "label value is not closed: `m{a=\"b} 1`"),
        ("m{a=\"b\\\"} 1", "label value is not closed: `m{a=\"b\\\"} 1`"),
        ("m{a=\"b\"", "label set is not closed: `m{a=\"b\"`"),
        ("m{", "label set is not closed: `m{`"),
        ("m{a=\"b\" c=\"d\"} 1", "labels are not separated by a comma: `m{a=\"b\" c=\"d\"} 1`"),
        ("m{,} 1", "label has no valid name: `m{,} 1`"),
        ("m{__name__=\"n\"} 1", "label name is reserved: `m{__name__=\"n\"} 1`"),
        ("m{a=b} 1", "label name is not followed by `=\"`: `m{a=b} 1`"),
        ("m{a.b=\"c\"} 1", "label name is not followed by `=\"`: `m{a.b=\"c\"} 1`"),
        ("m{a=\"1\",b=\"2\",a=\"1\"} 1", "label name occurs twice: `m{a=\"1\",b=\"2\",a=\"1\"} 1`"),
        ("m 1 1.5", "timestamp is not a time since 1970 in the unit of its format: `m 1 1.5`"),
        ("m 1 -5", "timestamp is not a time since 1970 in the unit of its format: `m 1 -5`"),
        ("m 1 2 3", "something follows the timestamp: `m 1 2 3`"),
        ("m 1 # x", "something follows the timestamp: `m 1 # x`"),
        ("# TYPE m number", "type is not a known one: `# TYPE m number`"),
        ("# TYPE m gauge x", "type is not a known one: `# TYPE m gauge x`"),
        ("# TYPE m-n gauge", "HELP or TYPE is for no metric name: `# TYPE m-n gauge`"),
        ("# HELP \"\" x", "HELP or TYPE is for no metric name: `# HELP \"\" x`"),
        ("# TYPE \"m gauge", "HELP or TYPE is for no metric name: `# TYPE \"m gauge`"),
        ("# HELP 1 x", "HELP or TYPE is for no metric name: `# HELP 1 x`"),
        ("m{a=\"\0\"} 1", "line holds a NUL byte: `m{a=\"\\0\"} 1`"),
        ("# HELP m \0", "line holds a NUL byte: `# HELP m \\0`"),
        ("<html>", "line begins with no metric name: `<html>`"),
    ] {
        check_malformed(line.as_bytes(), &format!("line 2: {message}"));
    }
}

#[test]
fn names_in_quotes_are_read() {
    check(
        "{\"a.b\",c=\"1\"} 1\n{ \"a.b\" , \"c.d\" = \"2\" } 1\nm{\"c.d\"=\"3\"} 1\n{c=\"4\",\"é\"} 1 2\n",
        &["a.b c=1 1", "a.b c.d=2 1", "m c.d=3 1 strict", "é c=4 1 at 2"],
    );
    check(
        "# HELP \"a.b\" x\n# TYPE a.b gauge\n",
        &["help a.b: x", "line 2: HELP or TYPE is for no metric name: `# TYPE a.b gauge`"],
    );
    check("# HELP \"a.b\" x\n# TYPE \"a \\\"b\" gauge\n", &["help a.b: x", "type a \\\"b: Gauge"]);
    let mut reader = Reader::new(
        b"m{\"a.b\"=\"1\",c=\"1\"} 1\nm{\"a.b\"=\"1\",c=\"2\"} 1\nm{c=\"2\"} 1\n",
        Dialect::Text,
        &Limits::default(),
    );
    let mut quoted = Vec::new();
    while let Some(Step::Sample) = reader.step() {
        quoted.push(reader.sample().is_quoted);
    }
    assert_eq!(quoted, [true, true, false], "a label that is shared keeps its quotes");
    // An identifier needs no quotes, and quotes are not to be taken for what was said without.
    check("m{\"a\"=\"b\"} 1\n", &["m a=b 1"]);
    check_malformed(
        b"m{a.b=\"c\"} 1",
        "line 2: label name is not followed by `=\"`: `m{a.b=\"c\"} 1`",
    );
    let body = "m{\"a.b\"=\"c\"} 1\nm{a.b=\"c\"} 1\n";
    let problem = "line 2: label name is not followed by `=\"`: `m{a.b=\"c\"} 1`";
    check(body, &["m a.b=c 1 strict", problem]);
}

#[test]
fn a_name_in_quotes_that_is_shared_is_one_still() {
    let body = b"m{\"a.b\"=\"1\",c=\"1\"} 1\nm{\"a.b\"=\"1\",c=\"2\"} 1\nm{a=\"1\",c=\"2\"} 1\n";
    let mut reader = Reader::new(body, Dialect::Text, &Limits::default());
    let mut quoted = Vec::new();
    while let Some(Step::Sample) = reader.step() {
        quoted.push((reader.n_shared(), reader.sample().is_quoted));
    }
    assert_eq!(quoted, [(0, true), (1, true), (0, false)]);
}

#[test]
fn a_set_is_read_against_the_one_before_it() {
    check(
        "m{a=\"1\",b=\"22\",c=\"3\"} 1\nm{a=\"1\",b=\"2\",c=\"3\"} 1\nm{a=\"1\",b=\"2\"} 1\nm{a=\"1\"} 1\nm 1\nm{a=\"1\",b=\"2\\\\\"} 1\nm{a=\"1\",b=\"2\\\"\"} 1\nn{a=\"1\",bb=\"2\"} 1\n",
        &[
            "m a=1 b=22 c=3 1 strict",
            "m a=1 b=2 c=3 1 strict",
            "m a=1 b=2 1 strict",
            "m a=1 1 strict",
            "m 1 strict",
            "m a=1 b=2\\\\ 1 strict",
            "m a=1 b=2\\\" 1 strict",
            "n a=1 bb=2 1 strict",
        ],
    );
    let open = |line: usize| format!("line {line}: label value is not closed: `m{{a=\"1\",b=\"2`");
    check(
        "m{a=\"1\",b=\"2\"} 1\nm{a=\"1\",b=\"2\nm{a=\"1\",b=\"2\"} x\nm{a=\"1\",b=\"2\"} 3\n",
        &[
            "m a=1 b=2 1 strict",
            &open(2),
            "line 3: value is not a number: `m{a=\"1\",b=\"2\"} x`",
            "m a=1 b=2 3 strict",
        ],
    );
}

/// Which of the lines are read as the one before with other values.
#[track_caller]
fn check_again(body: &str, expected: &[bool]) {
    let mut reader = Reader::new(body.as_bytes(), Dialect::Text, &Limits::default());
    let mut found = Vec::new();
    while reader.place().line < body.lines().count() {
        let is_again = reader.again();
        if !is_again {
            reader.step();
        }
        found.push(is_again);
    }
    assert_eq!(found, expected);
}

#[test]
fn a_line_that_differs_in_values_alone_is_read_as_the_one_before() {
    check_again("m{a=\"1\"} 1\nm{a=\"2\"} 2\nm{a=\"2\"} 1.5e+06\n", &[false, true, true]);
    check_again("m{a=\"1\",b=\"2\"} 1\n# HELP m x\nm{a=\"11\",b=\"\"} 2", &[false, false, true]);
    // Old Java clients write a comma behind each.
    let of_java = "m{a=\"1\",b=\"2\",} 1\nm{a=\"1\",b=\"3\",} 2\nm{a=\"2\",b=\"2\",} 1\nm{a=\"2\",b=\"2\"} 1\n";
    check_again(of_java, &[false, true, true, false]);
    // Alone in the last one, which gets longer, shorter, empty and the same.
    for value in ["22", "2345678901234567890", "", "2"] {
        check_again(
            &format!(
                "m{{a=\"1\",b=\"2\"}} 1\nm{{a=\"1\",b=\"{value}\"}} 1\nm{{a=\"1\",b=\"3\"}} 1\n"
            ),
            &[false, true, true],
        );
    }
    // What the next one has in common with a line that is not as it would be written is not enough.
    for line in
        ["m{a=\"1\",} 1", " m{a=\"1\"} 1", "m{a=\"1\"} 1 2", "m{a=\"1\"} 1 # {} 1", "m{a=\"1\"} x"]
    {
        check_again(&format!("{line}\nm{{a=\"1\"}} 1\n"), &[false, false]);
    }
    for line in [
        "m{a=\"1\",b=\"2\"} 1",
        "m{b=\"1\"} 1",
        "mm{a=\"1\"} 1",
        "m{a=\"\\\\\"} 1",
        "m{a=\"é\"} 1",
        "m{a=\"1\"} +1",
        "m{a=\"1\"} 1 2",
        "m{a=\"1\"}  1",
        "m{a=\"1\"} 1\r",
        "m{a=\"1\",} 1",
        "m{a=\"1\\\\\"} 1",
        "m{a=\"11",
        "m 1",
        "{a=\"1\"} 1",
    ] {
        check_again(&format!("m{{a=\"1\"}} 1\n{line}\n"), &[false, false]);
    }
}

#[test]
fn limits_hold_where_a_line_is_read_as_the_one_before() {
    let value = Limits { value: 1, ..Limits::default() };
    check_limit(
        value,
        "m{a=\"1\"} 1\nm{a=\"11\"} 1\nafter 1\n",
        "line 2: a label value longer than 1 bytes",
    );
    let line = Limits { line: 10, ..Limits::default() };
    check_limit(line, "m{a=\"1\"} 1\nm{a=\"1\"} 11\nafter 1\n", "line 2: longer than 10 bytes");
    let samples = Limits { samples: 1, ..Limits::default() };
    check_limit(samples, "m{a=\"1\"} 1\nm{a=\"1\"} 1\nafter 1\n", "line 2: more than 1 samples");
}

#[test]
fn a_set_is_not_read_against_one_that_was_not_read() {
    // What the third line has in common with the first is no longer known from the second.
    let body = b"m{a=\"1\",b=\"22\"} 1\nm{a=\"\xff1\",b=\"22\"} 1\nm{a=\"1\",b=\"2\"} 1\n\
                 m{a=\"\xff1\"} x\nm{a=\"\xff1\"} 1\nm{a=\"\xc3\xa9\"} 1\nm{a=\"\xc3(\"} 1\n";
    let bad = |line: usize, text: &str| format!("line {line}: line is not UTF-8: `m{{a=\"{text}\"");
    let found: Vec<_> = read(body, &Limits::default())
        .into_iter()
        .map(|said| said.split_once('}').map_or(said.clone(), |(said, _)| said.to_owned()))
        .collect();
    assert_eq!(
        found,
        [
            "m a=1 b=22 1 strict".to_owned(),
            bad(2, "\u{fffd}1\",b=\"22"),
            "m a=1 b=2 1 strict".to_owned(),
            bad(4, "\u{fffd}1"),
            bad(5, "\u{fffd}1"),
            "m a=é 1 strict".to_owned(),
            bad(7, "\u{fffd}("),
        ]
    );
}

#[test]
fn labels_that_are_shared_are_counted_from_the_last_sample_that_was_read() {
    let body = b"m{a=\"1\",b=\"2\",c=\"3\"} 1\nm{a=\"1\",b=\"2\",c=\"4\"} 1\nm{a=\"1\",b=\"x\",c=\"4\"} x\n\
                 m{a=\"1\",b=\"2\",c=\"4\"} 1\nm 1\nm{a=\"1\"} 1\n";
    let mut reader = Reader::new(body, Dialect::Text, &Limits::default());
    let mut shared = Vec::new();
    while let Some(item) = reader.next() {
        shared.extend(item.is_ok().then(|| reader.n_shared()));
    }
    assert_eq!(shared, [0, 2, 1, 0, 0]);
}

#[test]
fn openmetrics_says_units_and_seconds_and_ends() {
    let check = |body: &str, expected: &[&str]| {
        let said = read_in(Dialect::OpenMetrics, body.as_bytes(), &Limits::default());
        assert_eq!(said, expected, "{body}");
    };
    check(
        "# HELP m a\\\"b\\\\n\\n\n# UNIT m s\nm 1 1.5\nm 1 2\n# EOF\n",
        &["help m: a\"b\\n\n", "unit m: s", "m 1 at 1.5 strict", "m 1 at 2 strict"],
    );
    check("# EOF", &[]);
    let cut_off = "the last line is not `# EOF`: the page was cut off";
    check("m 1\n", &["m 1 strict", cut_off]);
    check("", &[cut_off]);
    check(
        "m 1\n\n# x\n# EOF\nn 1\n# EOF\n\n",
        &[
            "m 1 strict",
            "line 2: line is blank, which OpenMetrics forbids: ``",
            "line 3: line is a comment, which OpenMetrics forbids: `# x`",
            "line 4: `# EOF` is not the last line: `# EOF`",
            "n 1 strict",
            "line 7: line is blank, which OpenMetrics forbids: ``",
        ],
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_page() {
    check("\u{feff}m 1\n", &["m 1 strict"]);
}

#[test]
fn a_label_that_occurs_twice_is_found_in_each_of_two_lines() {
    let twice = "m{a=\"1\",b=\"2\",a=\"3\"} 1";
    let problem = |line: usize| format!("line {line}: label name occurs twice: `{twice}`");
    check(&format!("{twice}\n{twice}\n"), &[&problem(1), &problem(2)]);
    let body = format!("m{{a=\"1\",b=\"2\",c=\"3\"}} 1\n{twice}\n");
    check(&body, &["m a=1 b=2 c=3 1 strict", &problem(2)]);
}

#[test]
fn bytes_that_are_no_utf8_cost_their_line() {
    check_malformed(b"m{a=\"\xff\"} 1", "line 2: line is not UTF-8: `m{a=\"\u{fffd}\"} 1`");
    check_malformed(b"# HELP m \xff", "line 2: line is not UTF-8: `# HELP m \u{fffd}`");
    // A comment is not read, so it may hold anything.
    let said = read(b"# \xff\0\nm{a=\"\xc3\xa9\"} 1\n", &Limits::default());
    assert_eq!(said, ["m a=é 1 strict"]);
}

#[test]
fn a_limit_ends_the_source() {
    let limits = Limits { samples: 2, labels: 2, name: 8, value: 4, line: 40 };
    check_limit(limits, "m 1\nm 2\nm 3\nafter 1\n", "line 3: more than 2 samples");
    let body = "# HELP m\n".repeat(5) + "after 1\n";
    check_limit(limits, &body, "line 5: more than 4 HELP and TYPE lines");
    check_limit(limits, "m{a=\"\",b=\"\",c=\"\"} 1\nafter 1\n", "line 1: more than 2 labels");
    check_limit(limits, "mmmmmmmmm 1\nafter 1\n", "line 1: a name longer than 8 bytes");
    check_limit(limits, "m{aaaaaaaaa=\"\"} 1\nafter 1\n", "line 1: a name longer than 8 bytes");
    check_limit(limits, "# TYPE mmmmmmmmm gauge\nafter 1\n", "line 1: a name longer than 8 bytes");
    check_limit(limits, "m{a=\"12345\"} 1\nafter 1\n", "line 1: a label value longer than 4 bytes");
    let body = format!("#{}\nafter 1\n", "x".repeat(40));
    check_limit(limits, &body, "line 1: longer than 40 bytes");
}

#[test]
fn what_just_fits_a_limit_is_read() {
    let limits = Limits { samples: 1, labels: 2, name: 8, value: 4, line: 38 };
    let body = "# TYPE mmmmmmmm gauge\nmmmmmmmm{aaaaaaaa=\"1234\",b=\"1234\"} 123\n";
    assert_eq!(
        read(body.as_bytes(), &limits),
        ["type mmmmmmmm: Gauge", "mmmmmmmm aaaaaaaa=1234 b=1234 123 strict"]
    );
}
