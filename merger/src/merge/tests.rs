use super::*;
use crate::exposition::{Defect, Escaping, Failure, Output};

mod formats;
mod only;

/// Merges sources with the label `c`; a source without a name has none.
fn merge_named(sources: &[(&str, &str)], limits: &Limits) -> Merged {
    let labels: Vec<_> = sources.iter().map(|(name, _)| [("c", *name)]).collect();
    let sources: Vec<_> = sources
        .iter()
        .zip(&labels)
        .map(|((name, body), labels)| {
            let labels: &[_] = if name.is_empty() { &[] } else { labels };
            Source { labels, format: Format::Text, body: body.as_bytes(), only: None }
        })
        .collect();
    merge(&sources, limits, Output::default())
}

/// Each problem as `source: problem`.
#[track_caller]
fn check(sources: &[(&str, &str)], expected: &str, problems: &[&str]) {
    let Merged { body, reports } = merge_named(sources, &Limits::default());
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    let mut found = Vec::new();
    for ((name, _), report) in sources.iter().zip(&reports) {
        assert_eq!(report.failed, None);
        found.extend(report.problems.kept().iter().map(|problem| format!("{name}: {problem}")));
    }
    assert_eq!(found, problems);
}

#[test]
fn a_family_is_written_once_and_whole() {
    check(
        &[
            ("a", "# HELP m Of a.\n# TYPE m gauge\nm 1\nn 2\n"),
            ("b", "n 3\n# HELP m Of b.\n# TYPE m gauge\nm 4\n"),
        ],
        "# HELP m Of a.\n# TYPE m gauge\nm{c=\"a\"} 1\nm{c=\"b\"} 4\nn{c=\"a\"} 2\nn{c=\"b\"} 3\n",
        &[],
    );
}

#[test]
fn the_first_help_that_is_not_empty_stands() {
    check(
        &[("", "# HELP m\nm{s=\"1\"} 1\n"), ("", "# HELP m Two.\nm{s=\"2\"} 1\n# HELP m Three.\n")],
        "# HELP m Two.\nm{s=\"1\"} 1\nm{s=\"2\"} 1\n",
        &[],
    );
}

#[test]
fn an_open_kind_joins_and_no_kind_is_not_invented() {
    check(
        &[("", "# TYPE m untyped\nm 1\nn 1\n# TYPE o untyped\no 1\n"), ("", "# TYPE m counter\n")],
        "# TYPE m counter\nm 1\nn 1\n# TYPE o untyped\no 1\n",
        &[],
    );
}

#[test]
fn a_type_after_its_samples_and_a_type_said_twice_are_fine() {
    check(&[("", "m 1\n# TYPE m gauge\n# TYPE m gauge\n")], "# TYPE m gauge\nm 1\n", &[]);
}

#[test]
fn truly_different_kinds_lose_the_type_and_keep_every_sample() {
    check(
        &[
            ("a", "# TYPE m histogram\nm_bucket{le=\"+Inf\"} 1\nm_sum 1\nm_count 1\n"),
            ("b", "# TYPE m counter\nm 1\n# TYPE m counter\n"),
        ],
        "# TYPE m untyped\nm{c=\"b\"} 1\nm_bucket{le=\"+Inf\",c=\"a\"} 1\nm_sum{c=\"a\"} 1\n\
         m_count{c=\"a\"} 1\n",
        &[
            "b: line 1: type differs from an earlier one, now untyped: `# TYPE m counter`",
            "b: line 3: type differs from an earlier one, now untyped: `# TYPE m counter`",
        ],
    );
}

#[test]
fn a_kind_that_changes_within_a_source_is_a_conflict() {
    check(
        &[("", "# TYPE m gauge\nm 1\n# TYPE m counter\n")],
        "# TYPE m untyped\nm 1\n",
        &[": line 3: type differs from an earlier one, now untyped: `# TYPE m counter`"],
    );
}

#[test]
fn a_name_with_a_kind_of_its_own_takes_the_type_from_who_would_own_it() {
    check(
        &[
            ("a", "# TYPE x histogram\nx_sum 1\nx_count 1\n"),
            ("b", "# TYPE x_count gauge\nx_count 2\n"),
        ],
        "x_sum{c=\"a\"} 1\n# TYPE x_count untyped\nx_count{c=\"a\"} 1\nx_count{c=\"b\"} 2\n",
        &["b: line 1: type differs from an earlier one, now untyped: `# TYPE x_count gauge`"],
    );
}

#[test]
fn all_samples_of_a_name_are_in_the_family_that_any_source_gives_it() {
    check(
        &[
            ("a", "# HELP x_count Own.\nx_count 1\n"),
            ("b", "# TYPE x summary\nx{quantile=\"0.5\"} 1\nx_count 2\n"),
        ],
        "# TYPE x summary\nx_count{c=\"a\"} 1\nx{quantile=\"0.5\",c=\"b\"} 1\nx_count{c=\"b\"} 2\n",
        &[],
    );
}

#[test]
fn a_kind_without_a_word_in_text_is_a_gauge_or_none_and_counted() {
    check(
        &[("", "# TYPE m info\nm 1\n# TYPE n gaugehistogram\nn_gsum 1\n")],
        "# TYPE m gauge\nm 1\nn_gsum 1\n",
        &[
            ": line 1: type has no word in the page's format: `# TYPE m info`",
            ": line 3: type has no word in the page's format: `# TYPE n gaugehistogram`",
        ],
    );
}

#[test]
fn the_labels_of_the_source_win() {
    check(
        &[("a", "m{c=\"x\",d=\"y\"} 1\nm{c=\"\"} 2\n")],
        "m{d=\"y\",exported_c=\"x\",c=\"a\"} 1\nm{c=\"a\"} 2\n",
        &[],
    );
}

#[test]
fn a_comma_behind_the_labels_is_left_out() {
    let lines = "m{a=\"1\",} 1\n m{a=\"2\",} 2\nm{a=\"3\", } 3\nm{a=\"4\",} 4 5\nm{a=\"1\"} 6\n";
    check(
        &[("x", lines), ("", lines)],
        "m{a=\"1\",c=\"x\"} 1\nm{a=\"2\",c=\"x\"} 2\nm{a=\"3\",c=\"x\"} 3\n\
         m{a=\"4\",c=\"x\"} 4 5\nm{a=\"1\"} 1\nm{a=\"2\"} 2\nm{a=\"3\"} 3\nm{a=\"4\"} 4 5\n",
        &[
            "x: line 5: series is there already, the first is kept: `m{a=\"1\"} 6`",
            ": line 5: series is there already, the first is kept: `m{a=\"1\"} 6`",
        ],
    );
}

#[test]
fn the_label_of_a_source_is_escaped() {
    check(&[("\"}\n\\", "m 1\n")], "m{c=\"\\\"}\\n\\\\\"} 1\n", &[]);
}

#[test]
fn a_series_that_is_there_is_kept_from_the_first() {
    let again = |source: &str, line: usize, text: &str| {
        format!("{source}: line {line}: series is there already, the first is kept: `{text}`")
    };
    check(
        &[
            ("", "m{a=\"1\",b=\"2\"} 1\nm{b=\"2\",a=\"1\"} 2\nm{a=\"1\",b=\"2\"} 3 4\nm 5\n"),
            (
                "",
                "m{ b=\"2\",a=\"1\",d=\"\"} 6\nm{} 7\nm{a=\"2\",b=\"1\"} 8\nm{a=\"1\",b=\"2\"} 9 4\n",
            ),
        ],
        "m{a=\"1\",b=\"2\"} 1\nm{a=\"1\",b=\"2\"} 3 4\nm 5\nm{a=\"2\",b=\"1\"} 8\n",
        &[
            &again("", 2, "m{b=\"2\",a=\"1\"} 2"),
            &again("", 1, "m{b=\"2\",a=\"1\",d=\"\"} 6"),
            &again("", 2, "m 7"),
            &again("", 4, "m{a=\"1\",b=\"2\"} 9 4"),
        ],
    );
}

#[test]
fn a_label_of_a_source_counts_for_what_is_there() {
    check(
        &[("a", "m 1\n"), ("", "m{c=\"a\"} 2\nm 3\n")],
        "m{c=\"a\"} 1\nm 3\n",
        &[": line 1: series is there already, the first is kept: `m{c=\"a\"} 2`"],
    );
}

#[test]
fn a_bound_that_is_no_number_costs_its_line_in_a_histogram_only() {
    check(
        &[
            ("", "m_bucket{le=\"x\"} 1\nm_bucket{le=\"1\"} 2\ng{le=\"x\"} 3\n"),
            ("", "# TYPE m histogram\n# TYPE s summary\ns{quantile=\"\"} 4\ns{le=\"x\"} 5\n"),
        ],
        "# TYPE m histogram\nm_bucket{le=\"1\"} 2\ng{le=\"x\"} 3\n# TYPE s summary\ns{le=\"x\"} 5\n",
        &[
            ": line 1: label `le` of a histogram is not a number: `m_bucket{le=\"x\"} 1`",
            ": line 3: label `quantile` of a summary is not a number: `s{quantile=\"\"} 4`",
        ],
    );
}

#[test]
fn an_exemplar_is_left_out_and_counted() {
    check(
        &[("", "m 1 # {t=\"x\"} 1\n")],
        "m 1\n",
        &[
            ": line 1: exemplar is left out, the page's format has no place for it: `m 1 # {t=\"x\"} 1`",
        ],
    );
}

#[test]
fn what_is_not_parsed_is_not_altered() {
    let page = "m{a=\"\\n\\\\\\\"é\"} 1.50e+01 0007\nm 1E5\nn nAn\n";
    check(&[("", page)], page, &[]);
}

#[test]
fn a_source_that_hits_a_limit_leaves_nothing() {
    let limits = Limits { samples: 2, ..Limits::default() };
    let good = ("a", "# TYPE m gauge\nm 1\n");
    let bad = ("b", "x\nm 1\n# HELP m Bad.\n# TYPE m counter\nnew 1\nnew{ a=\"\"} 2\n");
    let Merged { body, reports } = merge_named(&[good, bad, ("c", "new 1\n")], &limits);
    assert_eq!(String::from_utf8(body).unwrap(), "# TYPE m gauge\nm{c=\"a\"} 1\nnew{c=\"c\"} 1\n");
    let failed = reports[1].failed.map(|failure| failure.to_string());
    assert_eq!(failed.as_deref(), Some("line 6: more than 2 samples"));
    assert_eq!(reports[1].problems.count(Defect::NoValue), 1);
    assert_eq!(reports.iter().map(|report| report.samples).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn a_body_whose_offsets_do_not_fit_is_not_read() {
    let body = vec![b'\0'; LARGEST_BODY + 1];
    let source = Source { labels: &[], format: Format::Text, body: &body, only: None };
    let reports = merge(&[source], &Limits::default(), Output::default()).reports;
    let failed = reports[0].failed.map(|failure| failure.to_string());
    assert_eq!(failed.as_deref(), Some("body larger than 134217727 bytes"));
}

#[test]
fn an_empty_source_has_no_samples_and_no_problem() {
    check(&[("a", "")], "", &[]);
    assert_eq!(
        merge(&[], &Limits::default(), Output::default()),
        Merged { body: Vec::new(), reports: Vec::new() }
    );
}

#[test]
fn samples_are_counted_where_they_are_in_the_page() {
    let Merged { reports, .. } =
        merge_named(&[("", "m 1\nm 2\nx\n"), ("", "m 3\nn 4\n")], &Limits::default());
    assert_eq!(reports.iter().map(|report| report.samples).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_statement_stands_last_and_has_no_labels() {
    let labels = [("c", "1")];
    let source = |body| Source { labels: &labels, format: Format::Text, body, only: None };
    let bodies: [&[u8]; 2] = [b"m 1\nm 2\nn 3\n", b"m{ 1\n"];
    let sources = bodies.map(source);
    let state = |reports: &[Report]| {
        let samples: Vec<String> = reports.iter().map(|r| format!("s {}\n", r.samples)).collect();
        samples[0].clone().into_bytes()
    };
    let Merged { body, reports } =
        merge_with(&sources, &Limits::default(), Output::default(), "", state);
    assert_eq!(String::from_utf8_lossy(&body), "m{c=\"1\"} 1\nn{c=\"1\"} 3\ns 2\n");
    assert_eq!(reports.len(), 2);
}

#[test]
fn a_source_does_not_speak_under_a_reserved_name() {
    let body = b"# TYPE own_up counter\n# HELP own_up Lie.\nown_up 0\nown_up 0 7\nowner 1\n";
    let labels = [("c", "1")];
    let source = Source { labels: &labels, format: Format::Text, body, only: None };
    let state = |reports: &[Report]| {
        assert_eq!((reports[0].samples, reports[0].problems.count(Defect::ReservedName)), (1, 4));
        b"# TYPE own_up gauge\nown_up{c=\"1\"} 1\n".to_vec()
    };
    let Merged { body, .. } =
        merge_with(&[source], &Limits::default(), Output::default(), "own_", state);
    let expected = "owner{c=\"1\"} 1\n# TYPE own_up gauge\nown_up{c=\"1\"} 1\n";
    assert_eq!(String::from_utf8_lossy(&body), expected);
}

#[test]
fn what_escaping_makes_a_reserved_name_is_one() {
    let text: &[u8] =
        b"# TYPE \"own.up\" gauge\n{\"own.up\"} 0\n{\"own up\",a=\"1\"} 0\nown 0\nowner 1\n";
    let text = Source { labels: &[], format: Format::Text1, body: text, only: None };
    let utf8 = Output { format: Format::Protobuf, escaping: Escaping::AllowUtf8 };
    let messages = merge(&[text], &Limits::default(), utf8).body;
    let messages =
        Source { labels: &[("c", "2")], format: Format::Protobuf, body: &messages, only: None };
    let state = |reports: &[Report]| {
        let found = reports.iter().map(|r| (r.samples, r.problems.count(Defect::ReservedName)));
        assert_eq!(found.collect::<Vec<_>>(), [(1, 4), (1, 6)]);
        Vec::new()
    };
    let Merged { body, .. } =
        merge_with(&[text, messages], &Limits::default(), Output::default(), "own_", state);
    assert_eq!(String::from_utf8_lossy(&body), "# TYPE owner untyped\nowner 1\nowner{c=\"2\"} 1\n");
}

#[test]
fn a_series_is_known_again_whatever_its_lines_are_read_against() {
    // Each line is the one before with other values, and the third and the fourth were there.
    check(
        &[(
            "a",
            "m{x=\"1\",y=\"1\"} 1\nm{x=\"2\",y=\"1\"} 2\nm{x=\"2\",y=\"1\"} 3\nm{x=\"1\",y=\"1\"} 4\nm{x=\"1\",y=\"2\"} 5\n",
        )],
        "m{x=\"1\",y=\"1\",c=\"a\"} 1\nm{x=\"2\",y=\"1\",c=\"a\"} 2\nm{x=\"1\",y=\"2\",c=\"a\"} 5\n",
        &[
            "a: line 3: series is there already, the first is kept: `m{x=\"2\",y=\"1\"} 3`",
            "a: line 4: series is there already, the first is kept: `m{x=\"1\",y=\"1\"} 4`",
        ],
    );
    // The same samples from two sources are not the same series.
    check(
        &[("a", "m{x=\"1\"} 1\nm{x=\"2\"} 2\n"), ("b", "m{x=\"2\"} 3\nm{x=\"1\"} 4\n")],
        "m{x=\"1\",c=\"a\"} 1\nm{x=\"2\",c=\"a\"} 2\nm{x=\"2\",c=\"b\"} 3\nm{x=\"1\",c=\"b\"} 4\n",
        &[],
    );
    check(
        &[("", "m{x=\"1\"} 1\nm{x=\"2\",c=\"a\"} 2\n"), ("a", "m{x=\"1\"} 3\nm{x=\"2\"} 4\n")],
        "m{x=\"1\"} 1\nm{x=\"2\",c=\"a\"} 2\nm{x=\"1\",c=\"a\"} 3\n",
        &["a: line 2: series is there already, the first is kept: `m{x=\"2\"} 4`"],
    );
}

#[test]
fn what_is_wrong_with_a_line_is_wrong_with_the_next_that_is_like_it() {
    check(
        &[("a", "m{c=\"x\"} 1\nm{c=\"y\"} 2\n")],
        "m{exported_c=\"x\",c=\"a\"} 1\nm{exported_c=\"y\",c=\"a\"} 2\n",
        &[],
    );
    check(
        &[(
            "a",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"x\"} 2\nh_bucket{le=\"2\"} 3\n",
        )],
        "# TYPE h histogram\nh_bucket{le=\"1\",c=\"a\"} 1\nh_bucket{le=\"2\",c=\"a\"} 3\n",
        &["a: line 3: label `le` of a histogram is not a number: `h_bucket{le=\"x\"} 2`"],
    );
    let body = b"m{a=\"1\"} 1\nown_x{a=\"1\"} 1\nown_x{a=\"2\"} 2\nm{a=\"3\"} 3\n";
    let source = Source { labels: &[], format: Format::Text, body, only: None };
    let state = |reports: &[Report]| {
        assert_eq!(reports[0].problems.count(Defect::ReservedName), 2);
        Vec::new()
    };
    let Merged { body, .. } =
        merge_with(&[source], &Limits::default(), Output::default(), "own_", state);
    assert_eq!(String::from_utf8_lossy(&body), "m{a=\"1\"} 1\nm{a=\"3\"} 3\n");
}

#[test]
fn names_that_would_have_neighbouring_hashes_but_for_the_seed_are_spread() {
    // Numbers of names whose hashes lie side by side where a name is only multiplied. Where there are
    // no labels a pod chooses them: HELP lines take numbers, too.
    let near = |name: &u32| {
        let product = u64::from(*name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product.wrapping_mul(0xa076_1d64_78bd_642f) >> 58 == 0
    };
    let names: Vec<u32> = (0..100_000).filter(near).collect();
    let hasher = series::Hasher::default();
    let mut n_by_part = [0; 64];
    for name in &names {
        n_by_part[(hasher.series(*name, None, 0) >> 26) as usize] += 1;
    }
    let most = n_by_part.into_iter().max().unwrap();
    assert!(most < names.len() / 8, "{most} of {} names are in one part of 64", names.len());
}

#[test]
fn a_line_that_could_not_be_a_row_where_it_is_written_anew_is_not_read() {
    let mut body = b"m{a=\"".to_vec();
    body.resize(rows::LONGEST, b'x');
    body.extend_from_slice(b"\"} 1\n");
    let source = Source { labels: &[], format: Format::Text, body: &body, only: None };
    let Merged { reports, .. } = merge(&[source], &Limits::NONE, Output::default());
    assert_eq!(reports[0].failed.map(Failure::as_str), Some("line"));
}

#[test]
fn times_that_would_have_one_hash_but_for_the_seed_are_told_apart() {
    // One and the same hash each, where a time is only multiplied and there are no labels.
    let inverse =
        |odd: u64| (0..6).fold(odd, |x, _| x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x))));
    let (of_time, of_hash) = (inverse(0xd6e8_feb8_6659_fd93), inverse(0xa076_1d64_78bd_642f));
    let times = (0..2_000_u64).filter_map(|low| {
        let time = ((1 << 32) | low).wrapping_mul(of_hash).rotate_right(31).wrapping_mul(of_time);
        i64::try_from(time).ok()
    });
    let hasher = series::Hasher::default();
    let hashes: std::collections::HashSet<u32> =
        times.clone().map(|time| hasher.series(0, Some(time), 0)).collect();
    assert!(hashes.len() > times.count() * 9 / 10, "{}", hashes.len());
}
