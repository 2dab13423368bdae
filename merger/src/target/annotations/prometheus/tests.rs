//! Pairs of name and value in, what they ask for or the exact words out.

use super::*;

fn read_pairs(pairs: &[(&str, &str)]) -> Result<Asked, String> {
    let annotations = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    read(&annotations).map_err(|malformed| malformed.to_string())
}

#[track_caller]
fn check(pairs: &[(&str, &str)], port: Option<u16>, path: &str, scheme: Scheme) {
    let port = port.and_then(NonZeroU16::new);
    let pairs = [&[("prometheus.io/scrape", "true")], pairs].concat();
    let asked = read_pairs(&pairs).unwrap();
    assert_eq!(asked.scrape, Some(true));
    assert_eq!((asked.port, &*asked.path, asked.scheme), (port, path, scheme));
}

#[track_caller]
fn check_malformed(annotation: &str, value: &str, message: &str) {
    let pairs = [("prometheus.io/scrape", "true"), (annotation, value)];
    assert_eq!(read_pairs(&pairs), Err(message.to_owned()));
}

#[test]
fn what_is_not_said_has_the_conventions_default() {
    check(&[], None, "/metrics", Scheme::Http);
    check(&[("prometheus.io/path", "")], None, "/metrics", Scheme::Http);
}

#[test]
fn each_annotation_is_followed() {
    let pairs = [
        ("prometheus.io/port", "8080"),
        ("prometheus.io/path", "/admin/metrics?all=1"),
        ("prometheus.io/scheme", "https"),
    ];
    check(&pairs, Some(8080), "/admin/metrics?all=1", Scheme::Https);
}

#[test]
fn a_name_may_be_spelled_as_prometheus_lets_it() {
    check(&[("prometheus-io/port", "1")], Some(1), "/metrics", Scheme::Http);
    check(&[("prometheus.io.port", "1")], Some(1), "/metrics", Scheme::Http);
    check(&[("prometheus_io_port", "1")], Some(1), "/metrics", Scheme::Http);
}

#[test]
fn a_path_gets_the_slash_that_it_lacks() {
    check(&[("prometheus.io/path", "stats")], None, "/stats", Scheme::Http);
}

#[test]
fn parameters_go_into_the_query_escaped() {
    let one = ("prometheus.io/param_format", "a b&c=\r\n\u{e9}/%");
    check(&[one], None, "/metrics?format=a%20b%26c%3D%0D%0A%C3%A9%2F%25", Scheme::Http);
    let pairs = [("prometheus.io/path", "/m?all=1"), ("prometheus-io/param_match[]", "up"), one];
    let path = "/m?all=1&match__=up&format=a%20b%26c%3D%0D%0A%C3%A9%2F%25";
    check(&pairs, None, path, Scheme::Http);
    let long = "x".repeat(1 << 18);
    let error = read_pairs(&[("prometheus.io/param_x", &long)]).unwrap_err();
    let begin = format!("annotation prometheus.io/param_x: \"{}…\" is not short", "x".repeat(40));
    assert!(error.starts_with(&begin), "{error}");
}

#[test]
fn of_two_spellings_the_first_in_byte_order_counts_and_that_is_said() {
    let pairs = [("prometheus.io/port", "1"), ("prometheus-io/port", "2")];
    check(&pairs, Some(2), "/metrics", Scheme::Http);
    let annotations = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let said: Vec<String> = twice(&annotations).iter().map(|note| note.to_string()).collect();
    let expected = "annotation prometheus.io/port: \"1\" does not count, prometheus-io/port says \"2\": \
                    to Prometheus they are one name, so leave one of them out";
    assert_eq!(said, [expected]);
    let pairs = [("prometheus.io/param_x", "1"), ("prometheus-io/param_x", "2")];
    check(&pairs, None, "/metrics?x=2", Scheme::Http);
    let annotations = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(twice(&annotations).len(), 1);
}

#[test]
fn a_pod_that_says_nothing_asks_for_nothing() {
    assert_eq!(read_pairs(&[]).unwrap().scrape, None);
}

#[test]
fn a_pod_that_declines_is_not_read_further() {
    for declined in ["false", "False", "FALSE", "f", "F", "0"] {
        let pairs = [("prometheus.io/scrape", declined), ("prometheus.io/port", "eighty")];
        assert_eq!(read_pairs(&pairs).unwrap().scrape, Some(false));
    }
}

#[test]
fn a_malformed_annotation_is_named_with_what_would_be_right() {
    let message = |annotation: &str, value: &str, expected: &str| {
        format!("annotation {annotation}: \"{value}\" is not {expected}")
    };
    for value in ["0", "65536", "+80", "-1", "80@10.0.0.1:80", "8 0", ""] {
        let expected = "a port from 1 to 65535, in digits";
        let message = message("prometheus.io/port", value, expected);
        check_malformed("prometheus.io/port", value, &message);
    }
    for value in ["//host/metrics", "/a b", "/a#b", "/a<b", "/a?b=`c`", "/\u{e9}"] {
        let shown: String = value.chars().flat_map(char::escape_default).collect();
        let expected = "a path like /metrics in a URL's ASCII, up to 1024 bytes";
        let message = message("prometheus.io/path", &shown, expected);
        check_malformed("prometheus.io/path", value, &message);
    }
    check_malformed(
        "prometheus.io/path",
        "/\r\nHost: evil",
        "annotation prometheus.io/path: \"/\\r\\nHost: evil\" is not a path like /metrics in a URL's ASCII, up to 1024 bytes",
    );
    check_malformed(
        "prometheus-io/scheme",
        "ftp",
        "annotation prometheus-io/scheme: \"ftp\" is not \"http\" or \"https\"",
    );
    let pairs = [("prometheus.io/scrape", "True")];
    let message = "annotation prometheus.io/scrape: \"True\" is not \"true\" or \"false\"";
    assert_eq!(read_pairs(&pairs), Err(message.to_owned()));
}

#[test]
fn a_long_value_is_shortened_in_the_message() {
    let long = format!("/{}", "x".repeat(MAX_PATH));
    let error = read_pairs(&[("prometheus.io/path", &long)]).unwrap_err();
    assert!(error.contains(&format!("\"/{}…\"", "x".repeat(39))), "{error}");
}

#[test]
fn a_command_is_no_page() {
    for value in ["/quitquitquit", "/%71uitquitquit?x", "/healthcheck/fail", "/-/quit"] {
        let message = format!(
            "annotation prometheus.io/path: \"{value}\" is not a page of metrics: to many a server it is a command"
        );
        check_malformed("prometheus.io/path", value, &message);
    }
}

#[test]
fn a_name_that_only_looks_right_is_escaped_in_the_message() {
    let message = "annotation prometheus\\nio/port: \"x\" is not a port from 1 to 65535, in digits";
    check_malformed("prometheus\nio/port", "x", message);
}
