//! What one annotation says: a port, a path, a scheme, yes or no; and how a bad one is told.

use std::{fmt, num::NonZeroU16};

use crate::target::Scheme;

/// A path longer than this is nobody's metrics page.
pub(in crate::target) const MAX_PATH: usize = 1024;

/// Name and value of an annotation.
pub(super) type Entry<'a> = (&'a str, &'a str);

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

/// The value of an annotation by `parser`, or what would be right.
pub(super) fn parse<T>(
    (annotation, value): Entry<'_>,
    parser: fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, Malformed> {
    parser(value).ok_or_else(|| Malformed::new(annotation, value, expected))
}

/// The port of an annotation.
pub fn port_of(entry: Entry<'_>) -> Result<NonZeroU16, Malformed> {
    parse(entry, port, "a port from 1 to 65535, in digits")
}

/// The path and query of an annotation, which must be no command.
pub fn page_of(entry: Entry<'_>) -> Result<String, Malformed> {
    let path = parse(entry, path, "a path like /metrics in a URL's ASCII, up to 1024 bytes")?;
    if is_command(&path) {
        let what = "a page of metrics: to many a server it is a command";
        return Err(Malformed::new(entry.0, entry.1, what));
    }
    Ok(path)
}

/// Yes or no, in an annotation that Go's `ParseBool` reads, or Dapr's `IsTruthy`.
pub fn truth_of(entry: Entry<'_>) -> Result<bool, Malformed> {
    parse(entry, truth, "\"true\" or \"false\"")
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Digits alone: `str::parse` would take a sign as well.
#[must_use]
pub fn port(value: &str) -> Option<NonZeroU16> {
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

/// Whether a name, as Prometheus sanitises it, is this one.
pub(super) fn sanitised_eq(spelled: &str, sanitised: &str) -> bool {
    spelled.chars().map(self::sanitised).eq(sanitised.chars())
}

/// What stands behind `sanitised` in a name, where the name begins so to Prometheus.
pub(super) fn after<'a>(spelled: &'a str, sanitised: &str) -> Option<&'a str> {
    let mut chars = spelled.chars();
    let begins = sanitised.chars().all(|c| chars.next().map(self::sanitised) == Some(c));
    begins.then_some(chars.as_str())
}

/// What Prometheus makes of a character of a name.
pub(super) fn sanitised(character: char) -> char {
    if character.is_ascii_alphanumeric() { character } else { '_' }
}

/// Appends `value` to a query, escaped but for what no reader takes for anything else.
pub(in crate::target) fn escape_into(query: &mut String, value: &str) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in value.bytes() {
        // What would not fit a path has been refused before it is sent, so it need not be whole.
        if query.len() > MAX_PATH {
            return;
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(byte.into());
        } else {
            query.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// As much of a hostile text as fits a line of a log.
#[must_use]
pub fn shortened(value: &str) -> String {
    begin(value, 40)
}

/// The name of an annotation, as a rule whole: most are longer than a value needs to be shown.
pub(super) fn shown_name(name: &str) -> String {
    begin(name, 80)
}

/// Namespace and name of an object, whole: that is what it is found by.
pub(in crate::target) fn shown_object(name: &str) -> String {
    begin(name, 320)
}

fn begin(text: &str, n_shown: usize) -> String {
    // Nearly all are as they are shown.
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'\\' | b'\'' | b'"');
    if text.len() <= n_shown && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(n_shown).flat_map(char::escape_default).collect();
    if text.chars().nth(n_shown).is_some() {
        shown.push('…');
    }
    shown
}

// === impl Malformed ===

impl Malformed {
    pub(crate) fn new(annotation: &str, value: &str, expected: &'static str) -> Self {
        Self { annotation: shown_name(annotation), value: shortened(value), expected }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { annotation, value, expected } = self;
        write!(f, "annotation {annotation}: \"{value}\" is not {expected}")
    }
}
