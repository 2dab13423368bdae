use super::*;

/// Reads a row of parts, each a role, maybe `=` and its bound, and a value: `le=0.5 3; sum 1`.
fn parts(text: &str) -> Vec<Part<'_>> {
    text.split("; ").filter(|part| !part.is_empty()).map(part_of).collect()
}

fn part_of(text: &str) -> Part<'_> {
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
    Part { role, value: value.as_bytes(), exemplar: None }
}

#[track_caller]
fn check_labels(kind: Kind, label: &str, text: &str, expected: Result<(), Misfit>) {
    let bytes = label.as_bytes();
    let labels: &[_] = &[Label { name: bytes, value: b"x", bytes }];
    let labels = if label.is_empty() { &[] } else { labels };
    let point = Point { labels, timestamp: None, parts: &parts(text) };
    assert_eq!(check(kind, &point), expected, "{kind:?}: {text}");
}

#[track_caller]
fn check_fits(kind: Kind, points: &[&str]) {
    for text in points {
        check_labels(kind, "", text, Ok(()));
    }
}

#[track_caller]
fn check_misfits(kind: Kind, points: &[&str]) {
    for text in points {
        check_labels(kind, "", text, Err(Misfit));
    }
}

#[track_caller]
fn check_sort(text: &str, expected: &str) {
    let mut found = parts(text);
    sort(&mut found);
    assert_eq!(found, parts(expected));
}

#[test]
fn a_counter_is_one_value_that_counts_and_maybe_its_beginning() {
    check_fits(
        Kind::Counter,
        &[
            "value 0",
            "value 1.5",
            "value -0",
            "value +Inf",
            "value 1; created 1763917200.123",
            "created 0; value 1",
        ],
    );
    check_misfits(
        Kind::Counter,
        &["", "value -1", "value NaN", "value -Inf", "value 1; value 2", "created 1", "sum 1"],
    );
}

#[test]
fn a_beginning_is_a_time_that_protobuf_can_say() {
    check_fits(Kind::Counter, &["value 1; created 1.763917200123e+09"]);
    check_fits(Kind::Counter, &["value 1; created 253402300799.999"]);
    check_misfits(
        Kind::Counter,
        &[
            "value 1; created -1",
            "value 1; created NaN",
            "value 1; created +Inf",
            "value 1; created 253402300800",
            "value 1; created 1; created 2",
        ],
    );
}

#[test]
fn a_gauge_and_what_nothing_is_known_of_is_one_value_of_any_size() {
    for kind in [Kind::Gauge, Kind::Untyped, Kind::Unknown] {
        check_fits(kind, &["value 1", "value -1", "value NaN", "value -Inf"]);
        check_misfits(
            kind,
            &["", "value 1; value 2", "value 1; created 1", "count 1", "state=a 1"],
        );
    }
}

#[test]
fn an_info_is_one() {
    check_fits(Kind::Info, &["value 1", "value 1.0", "value 1e0"]);
    check_misfits(Kind::Info, &["", "value 0", "value 2", "value NaN", "value 1; created 1"]);
}

#[test]
fn a_state_set_is_a_row_of_different_states_each_on_or_off() {
    check_fits(Kind::StateSet, &["state=a 1", "state=a 1; state=b 0", "state=a 1.0; state= 0"]);
    check_misfits(
        Kind::StateSet,
        &[
            "",
            "state=a 2",
            "state=a NaN",
            "state=a -1",
            "state=b 1; state=a 0; state=b 1",
            "value 1",
            "state=a 1; created 1",
        ],
    );
}

#[test]
fn a_histogram_is_buckets_up_to_infinity_with_sum_and_count() {
    for kind in [Kind::Histogram, Kind::GaugeHistogram] {
        check_fits(
            kind,
            &[
                "le=+Inf 0; sum 0; count 0",
                "le=0.5 1; le=1 1; le=+Inf 3; sum 1.5; count 3",
                "le=1e-3 1; le=.5 2.0; le=inf 3e0; count 3.0; sum 2",
                "sum 1; count 3; le=1 1; le=+Inf 3",
                "le=-Inf 0; le=-1 1; le=+Inf 3; sum -4; count 3",
                "le=1 9007199254740992; le=+Inf 9007199254740993; sum 1; count 9007199254740993",
                "le=+Inf 1; sum NaN; count 1",
            ],
        );
    }
}

#[test]
fn a_histogram_that_is_no_whole_is_a_misfit() {
    for kind in [Kind::Histogram, Kind::GaugeHistogram] {
        check_misfits(
            kind,
            &[
                "",
                "sum 1; count 1",
                "le=1 1; sum 1; count 1",
                "le=+Inf 1; sum 1",
                "le=+Inf 1; count 1",
                "le=+Inf 1; sum 1; count 2",
                "le=+Inf 9007199254740992; sum 1; count 9007199254740993",
                "le=1 2; le=+Inf 1; sum 1; count 1",
                "le=2 1; le=1 1; le=+Inf 1; sum 1; count 1",
                "le=1 1; le=1.0 1; le=+Inf 1; sum 1; count 1",
                "le=+Inf 1; le=inf 1; sum 1; count 1",
                "le=x 1; le=+Inf 1; sum 1; count 1",
                "le=NaN 1; le=+Inf 1; sum 1; count 1",
                "le= 1; le=+Inf 1; sum 1; count 1",
                "le=1 0.5; le=+Inf 1; sum 1; count 1",
                "le=1 -1; le=+Inf 1; sum 1; count 1",
                "le=+Inf NaN; sum 1; count NaN",
                "le=+Inf +Inf; sum 1; count +Inf",
                "le=+Inf 18446744073709551616; sum 1; count 18446744073709551616",
                "le=+Inf 1; sum 1; sum 1; count 1",
                "le=+Inf 1; sum 1; count 1; count 1",
                "le=+Inf 1; sum 1; count 1; value 1",
                "le=+Inf 1; sum 1; count 1; quantile=0.5 1",
            ],
        );
    }
}

#[test]
fn only_a_histogram_that_counts_up_has_a_beginning() {
    check_fits(Kind::Histogram, &["le=+Inf 1; sum 1; count 1; created 1"]);
    check_misfits(Kind::GaugeHistogram, &["le=+Inf 1; sum 1; count 1; created 1"]);
}

#[test]
fn a_summary_may_lack_quantiles_or_sum_or_count_but_not_all() {
    check_fits(
        Kind::Summary,
        &[
            "quantile=0.5 1; quantile=0.9 NaN; sum 1; count 2",
            "quantile=0 1; quantile=1 1",
            "sum 1; count 2; created 7",
            "count 2",
            "sum -1",
        ],
    );
    check_misfits(
        Kind::Summary,
        &[
            "",
            "created 1",
            "quantile=0.5 1; quantile=0.50 1",
            "quantile=0.9 1; quantile=0.5 1",
            "quantile=x 1",
            "quantile=NaN 1",
            "count 0.5",
            "count -1",
            "count NaN",
            "count 1; count 1",
            "sum 1; sum 1",
            "le=+Inf 1; sum 1; count 1",
            "value 1",
        ],
    );
}

#[test]
fn the_label_that_tells_parts_apart_is_no_label_of_the_point() {
    let histogram = "le=+Inf 1; sum 1; count 1";
    check_labels(Kind::Histogram, "le", histogram, Err(Misfit));
    check_labels(Kind::GaugeHistogram, "le", histogram, Err(Misfit));
    check_labels(Kind::Histogram, "quantile", histogram, Ok(()));
    check_labels(Kind::Summary, "quantile", "count 1", Err(Misfit));
    check_labels(Kind::Summary, "le", "count 1", Ok(()));
    check_labels(Kind::Gauge, "le", "value 1", Ok(()));
}

#[test]
fn parts_are_put_in_order_by_their_numbers() {
    check_sort(
        "created 1; count 3; le=10 2; le=+Inf 3; sum 1; le=2 1; le=0.5 0; le=-1 0",
        "le=-1 0; le=0.5 0; le=2 1; le=10 2; le=+Inf 3; sum 1; count 3; created 1",
    );
    check_sort("quantile=0.9 2; quantile=0.5 1", "quantile=0.5 1; quantile=0.9 2");
    check_sort("state=b 1; state=a 0", "state=b 1; state=a 0");
    check_sort("created 1; value 2", "value 2; created 1");
    check_sort("", "");
}

#[test]
fn a_point_knows_its_values() {
    let parts = parts("le=1 1; le=+Inf 2; sum 3; count 2");
    let point = Point { labels: &[], timestamp: None, parts: &parts };
    assert_eq!(point.value(Role::Sum), Some(&b"3"[..]));
    assert_eq!(point.value(Role::Bucket(b"1")), Some(&b"1"[..]));
    assert_eq!(point.value(Role::Created), None);
}
