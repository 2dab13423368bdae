use super::*;

/// What is read of an exemplar, written again; or nothing.
#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    check_escaped(text, Escaping::AllowUtf8, expected);
    if let Some(expected) = expected {
        check_escaped(expected, Escaping::AllowUtf8, Some(expected));
    }
}

#[track_caller]
fn check_escaped(text: &str, escaping: Escaping, expected: Option<&str>) {
    let written = Exemplar::read(text.as_bytes()).map(|exemplar| {
        let mut out = Vec::new();
        exemplar.push(&mut out, escaping);
        String::from_utf8(out).unwrap()
    });
    assert_eq!(written.as_deref(), expected, "{text}");
}

#[track_caller]
fn check_chars(labels: &str, expected: usize) {
    let text = format!("{{{labels}}} 1");
    assert_eq!(Exemplar::read(text.as_bytes()).unwrap().n_chars(), expected, "{labels}");
}

#[test]
fn a_strict_exemplar_stays_as_it_is() {
    for text in [
        "{} 1",
        "{trace_id=\"x\"} 0.5",
        "{trace_id=\"x\",span_id=\"y\"} 0.5 1763917200.123",
        "{a=\"}, {=#\"} NaN 1.5e9",
        r#"{a="\"\\\n"} +Inf 0"#,
        r#"{"trace.id"="x","a\"b\\c"="y"} 1"#,
    ] {
        check(text, Some(text));
    }
}

#[test]
fn blanks_a_trailing_comma_and_needless_quotes_are_read() {
    check(" \t{ a = \"1\" ,\tb=\"2\" , }\t0.5  7 ", Some("{a=\"1\",b=\"2\"} 0.5 7"));
    check("{a=\"1\",}1", Some("{a=\"1\"} 1"));
    check("{ }1 2\t", Some("{} 1 2"));
    check("{\"a\"=\"1\"} 1", Some("{a=\"1\"} 1"));
}

#[test]
fn an_unknown_escape_is_a_backslash() {
    check(r#"{a="\d"} 1"#, Some(r#"{a="\\d"} 1"#));
}

#[test]
fn a_name_is_written_as_the_reader_of_the_page_knows_names() {
    let text = r#"{trace_id="x"} 1"#;
    check_escaped(text, Escaping::Underscores, Some(text));
    let text = r#"{"trace.\"id\""="x"} 1"#;
    check_escaped(text, Escaping::AllowUtf8, Some(text));
    check_escaped(text, Escaping::Underscores, Some(r#"{trace__id_="x"} 1"#));
    check_escaped(text, Escaping::Values, Some(r#"{U__trace_2e__22_id_22_="x"} 1"#));
}

#[test]
fn what_is_no_exemplar_is_refused() {
    for text in [
        "",
        "1",
        "a",
        "{",
        "{}",
        "{} ",
        "{a=\"1\"}",
        "{a=\"1\"",
        "{a=\"1} 1",
        "{a=\"1\\",
        "{a=1} 1",
        "{a} 1",
        "{=\"1\"} 1",
        "{,} 1",
        "{a=\"1\",,} 1",
        "{,a=\"1\"} 1",
        "{a=\"1\" b=\"2\"} 1",
        "{a=\"1\",a=\"1\"} 1",
        "{a=\"1\",\"a\"=\"1\"} 1",
        "{\"\"=\"1\"} 1",
        "{\"a\"} 1",
        "{1a=\"1\"} 1",
        "{a.b=\"1\"} 1",
        "{__name__=\"1\"} 1",
        "{} one",
        "{} 1_0",
        "{} 1 x",
        "{} 1 -1",
        "{} 1 NaN",
        "{} 1 Inf",
        "{} 1 2 3",
        "{} 1 # {} 1",
    ] {
        check(text, None);
    }
}

#[test]
fn a_row_of_labels_without_an_end_is_refused() {
    let labels = |n: usize| (0..n).map(|n| format!("a{n}=\"\"")).collect::<Vec<_>>().join(",");
    let text = format!("{{{}}} 1", labels(64));
    check(&text, Some(&text));
    check(&format!("{{{}}} 1", labels(65)), None);
}

#[test]
fn characters_are_counted_without_escapes() {
    check_chars("", 0);
    check_chars("ab=\"cde\",f=\"\"", 6);
    check_chars("a=\"é→\"", 3);
    check_chars(r#"a="\"\\\n""#, 4);
    check_chars(r#"a="\d""#, 3);
    check_chars(r#""a.\"b"="c""#, 5);
}
