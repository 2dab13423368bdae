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
    /// The annotation, spelled as the pod has it, shortened and escaped.
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
        .map(|entry| {
            let path =
                parse(entry, path, "a path like /metrics in a URL's ASCII, up to 1024 bytes");
            let is_page = |path: &String| !is_command(path);
            let what = "a page of metrics: to many a server it is a command";
            path.and_then(|path| Some(path).filter(is_page).ok_or_else(|| malformed(entry, what)))
        })
        .transpose()?;
    let scheme = find("prometheus_io_scheme")
        .map(|entry| parse(entry, scheme, "\"http\" or \"https\""))
        .transpose()?;

    let path = path.unwrap_or_else(|| "/metrics".to_owned());
    Ok(Asked { scrape, port, path, scheme: scheme.unwrap_or_default() })
}

fn parse<T>(
    entry: (&String, &String),
    parser: fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, Malformed> {
    parser(entry.1).ok_or_else(|| malformed(entry, expected))
}

fn malformed((annotation, value): (&String, &String), expected: &'static str) -> Malformed {
    Malformed { annotation: shortened(annotation), value: shortened(value), expected }
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
/// would name a host to some servers. Quotes, angle brackets and backslashes are in no URL: the client
/// would refuse to send them, or a server would take them for something else. Nor is there a page that
/// is only reached by `..` or `//`: servers send whoever asks for it elsewhere.
#[must_use]
pub fn path(value: &str) -> Option<String> {
    let path = match value.as_bytes() {
        [] => return Some("/metrics".to_owned()),
        [b'/', ..] => value.to_owned(),
        _ => format!("/{value}"),
    };
    let sound = path.len() <= MAX_PATH
        && path.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>`\\".contains(&b));
    (sound && has_whole_escapes(&path) && is_direct(&decoded(before_query(&path)))).then_some(path)
}

fn before_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(before, _)| before)
}

/// Whether no segment of a path is empty or a dot, but for what follows its last `/`.
fn is_direct(path: &str) -> bool {
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/').skip(1);
    segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Whether every `%` begins an escape, of anything but a control character.
fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| escaped(rest).is_some_and(|byte| !byte.is_ascii_control()))
}

/// Whether a path is one by which something is ended, drained or reset: at Envoy's administration,
/// pilot-agent, ztunnel, `linkerd-proxy`, Prometheus. They take POST, but older ones took GET as well.
fn is_command(path: &str) -> bool {
    const ANYWHERE: [&str; 4] =
        ["quitquitquit", "abortabortabort", "drain_listeners", "reset_counters"];
    const WHOLE: [&str; 6] =
        ["/shutdown", "/healthcheck/fail", "/healthcheck/ok", "/logging", "/-/quit", "/-/reload"];
    // Decoded twice: a proxy in front may be the first to do it.
    let said = decoded(&decoded(before_query(path))).to_ascii_lowercase();
    let said = said.trim_end_matches('/');
    WHOLE.contains(&said) || said.split(['/', ';']).any(|segment| ANYWHERE.contains(&segment))
}

/// With the escapes of a URL replaced; what is none stays.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(escaped(piece).unwrap_or(b'%'));
        let n_digits = if escaped(piece).is_some() { 2 } else { 0 };
        bytes.extend_from_slice(&piece.as_bytes()[n_digits..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte whose two digits follow a `%`.
fn escaped(after: &str) -> Option<u8> {
    let digits = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
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
mod tests;
