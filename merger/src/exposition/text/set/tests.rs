use super::*;

/// The labels, whether they are strict, and what follows them.
type Expected<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);

#[track_caller]
fn check(text: &str, expected: Result<Expected<'_>, Defect>) {
    let mut set = Set::default();
    let found = set.read(text.as_bytes(), 0, false, &Limits::default());
    let found = found.map(|len| {
        let (labels, rest) = (set.as_labels(), &text.as_bytes()[len..]);
        let pairs = labels.walk().map(|l| (l.name, l.value)).collect::<Vec<_>>();
        (pairs, labels.is_strict(), rest)
    });
    let expected = expected.map(|(pairs, is_strict, rest)| {
        let pairs = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        (pairs, is_strict, rest.as_bytes())
    });
    let found = found.map_err(|error| match error {
        Error::Defect(what) => what,
        Error::Limit(..) => unreachable!(),
    });
    assert_eq!(found, expected);
}

#[test]
fn a_label_value_may_hold_a_closing_brace() {
    check("path=\"/{id}\"} 1", Ok((&[("path", "/{id}")], true, " 1")));
}

#[test]
fn a_label_value_may_hold_a_comma_an_equals_sign_a_hash_and_escaped_quotes() {
    check(r#"a=",=#",b="\"}\\"} 1"#, Ok((&[("a", ",=#"), ("b", r#"\"}\\"#)], true, " 1")));
}

#[test]
fn blanks_are_read_and_are_not_strict() {
    check("\ta = \"1\" , b=\"2\" , }", Ok((&[("a", "1"), ("b", "2")], false, "")));
    check("a=\"1\", }", Ok((&[("a", "1")], false, "")));
}

#[test]
fn a_comma_behind_the_last_label_is_no_part_of_the_labels() {
    let mut set = Set::default();
    let mut read = |text: &'static str| {
        let shared = set.n_same(text.as_bytes());
        let len = set.read(text.as_bytes(), shared, false, &Limits::default());
        let labels = String::from_utf8_lossy(set.as_labels().as_bytes()).into_owned();
        (len.ok(), labels, set.as_labels().is_strict(), set.has_comma(), set.n_shared())
    };
    let both = "a=\"1\",b=\"2\"".to_owned();
    // The first is read anew, the others against the one before them.
    assert_eq!(read("a=\"1\",b=\"2\",} 1"), (Some(13), both.clone(), true, true, 0));
    assert_eq!(read("a=\"1\",b=\"2\",} 2"), (Some(13), both.clone(), true, true, 2));
    assert_eq!(read("a=\"1\",b=\"2\"} 3"), (Some(12), both.clone(), true, false, 2));
    assert_eq!(read("a=\"1\",} 4"), (Some(7), "a=\"1\"".to_owned(), true, true, 1));
    assert_eq!(read("a=\"1\",b=\"2\", } 5"), (Some(14), format!("{both}, "), false, false, 1));
}

#[test]
fn an_empty_set_is_read_and_is_not_strict() {
    check("} 1", Ok((&[], false, " 1")));
}

#[test]
fn an_unknown_escape_is_read_and_is_not_strict() {
    check(r#"a="\d"}"#, Ok((&[("a", r"\d")], false, "")));
}

#[test]
fn what_is_no_label_set_is_named() {
    check("", Err(Defect::LabelsOpen));
    check("a=\"1\"", Err(Defect::LabelsOpen));
    check("a=\"1\",", Err(Defect::LabelsOpen));
    check("a=\"1\" b=\"2\"}", Err(Defect::LabelComma));
    check(",}", Err(Defect::LabelName));
    check("1a=\"1\"}", Err(Defect::LabelName));
    check("a:b=\"1\"}", Err(Defect::LabelValue));
    check("a=1}", Err(Defect::LabelValue));
    check("a}", Err(Defect::LabelValue));
    check("a=\"1}", Err(Defect::LabelValueOpen));
    check("a=\"1\\", Err(Defect::LabelValueOpen));
    check("a=\"1\\\"", Err(Defect::LabelValueOpen));
}
