//! What a pod asks for in its annotations.
//!
//! Names are compared as Prometheus compares them, with every character outside `[a-zA-Z0-9_]`
//! replaced by `_`: `prometheus.io/port`, `prometheus-io/port` and `prometheus_io_port` are one.
//! Source: `SanitizeLabelName` in `util/strutil/strconv.go` of prometheus/prometheus, and the job
//! `kubernetes-pods` of the Prometheus chart, whose conventions these are.

use std::{collections::BTreeMap, fmt, num::NonZeroU16};

use super::Scheme;

/// A path longer than this is nobody's metrics page.
const MAX_PATH: usize = 1024;

/// What the annotations `prometheus.io/…` of a pod say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `true` and `false`; none where the pod says nothing, or nothing that is understood.
    pub scrape: Option<bool>,
    /// The port to scrape.
    pub port: Option<NonZeroU16>,
    /// Path and query; `/metrics` where the pod says nothing.
    pub path: String,
    /// `http` where the pod says nothing.
    pub scheme: Scheme,
}

/// An annotation that cannot be followed, and why. What it asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The annotation, spelled as the pod has it.
    pub annotation: String,
    /// Its value, shortened and escaped.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

/// Reads the annotations of a pod. Of two spellings of one name, the first in byte order counts.
pub fn read(annotations: &BTreeMap<String, String>) -> Result<Asked, Malformed> {
    let find = |name: &str| annotations.iter().find(|(spelled, _)| sanitised_eq(spelled, name));

    let scrape = find("prometheus_io_scrape")
        .map(|entry| parse(entry, scrape, "\"true\" or \"false\""))
        .transpose()?;
    // What is not to be scraped may say of the rest what it likes.
    if scrape == Some(false) {
        return Ok(Asked { scrape, ..Asked::default() });
    }
    let port = find("prometheus_io_port")
        .map(|entry| parse(entry, port, "a port from 1 to 65535, in digits"))
        .transpose()?;
    let path = find("prometheus_io_path")
        .map(|entry| parse(entry, path, "a path like /metrics in a URL's ASCII, up to 1024 bytes"))
        .transpose()?;
    let scheme = find("prometheus_io_scheme")
        .map(|entry| parse(entry, scheme, "\"http\" or \"https\""))
        .transpose()?;

    let path = path.unwrap_or_else(|| "/metrics".to_owned());
    Ok(Asked { scrape, port, path, scheme: scheme.unwrap_or_default() })
}

fn parse<T>(
    (annotation, value): (&String, &String),
    parser: fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, Malformed> {
    parser(value).ok_or_else(|| Malformed {
        annotation: annotation.clone(),
        value: shortened(value),
        expected,
    })
}

fn scrape(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        // As Go's `ParseBool` reads it for Istio: whoever declines is not asked for the spelling.
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Digits alone: `str::parse` would take a sign as well.
fn port(value: &str) -> Option<NonZeroU16> {
    value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// Path and query of a request; `None` for what is not to be sent.
///
/// A leading `/` is put in where it is missing, as Go's `url.URL` does for Prometheus. Two of them
/// would name a host to some servers. Quotes and angle brackets are in no URL: the client would refuse
/// to send them.
#[must_use]
pub fn path(value: &str) -> Option<String> {
    let path = match value.as_bytes() {
        [] => return Some("/metrics".to_owned()),
        [b'/', ..] => value.to_owned(),
        _ => format!("/{value}"),
    };
    let sound = path.len() <= MAX_PATH
        && !path.starts_with("//")
        && path.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>`".contains(&b));
    sound.then_some(path)
}

/// `http` or `https`.
#[must_use]
pub fn scheme(value: &str) -> Option<Scheme> {
    match value {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

fn sanitised_eq(spelled: &str, sanitised: &str) -> bool {
    spelled.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).eq(sanitised.chars())
}

/// As much of a hostile text as fits a line of a log.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

// === impl Malformed ===

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { annotation, value, expected } = self;
        write!(f, "annotation {annotation}: \"{value}\" is not {expected}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let annotations = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        read(&annotations).map_err(|malformed| malformed.to_string())
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], port: Option<u16>, path: &str, scheme: Scheme) {
        let port = port.and_then(NonZeroU16::new);
        let expected = Asked { scrape: Some(true), port, path: path.to_owned(), scheme };
        let pairs = [&[("prometheus.io/scrape", "true")], pairs].concat();
        assert_eq!(read_pairs(&pairs), Ok(expected));
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
}
