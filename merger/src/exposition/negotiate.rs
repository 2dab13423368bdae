//! Content-Type and Accept: which format a source is asked for, and which one it gave.
//!
//! A source is believed in what it declares. A body that is plainly something else is refused with
//! its name: read as text it would give thousands of problems and no sample.

use crate::exposition::Format;

/// What a source is asked for.
pub const ACCEPT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Why a body is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source declares a format that is not read.
    #[error("answered with Content-Type `{0}`, but {READ}; make it follow the Accept header")]
    ContentType(String),
    /// The body is a web page, whatever was declared.
    #[error("answered with an HTML page, but {READ}; check the path")]
    Html,
    /// The body is JSON, whatever was declared.
    #[error("answered with JSON, but {READ}; check the path")]
    Json,
    /// The body is protobuf, whatever was declared.
    #[error("answered with protobuf, but {READ}; make the endpoint follow the Accept header")]
    Protobuf,
}

const READ: &str = "only text/plain (Prometheus text 0.0.4) is read";

/// How many characters of a foreign Content-Type are shown.
const SHOWN: usize = 80;

/// The format of a body, by what its source declared and how it begins.
///
/// A missing or blank Content-Type means text, as in the servers before Prometheus 3.
pub fn format_of(content_type: Option<&[u8]>, body: &[u8]) -> Result<Format, Error> {
    let declared = content_type.unwrap_or_default();
    let media = declared.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if !media.is_empty() && !media.eq_ignore_ascii_case(b"text/plain") {
        return Err(Error::ContentType(printable(declared)));
    }
    sniff(body).map_or(Ok(Format::Text), Err)
}

/// The Content-Type of a page in this format.
#[must_use]
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::Text1 => "text/plain; version=1.0.0; charset=utf-8",
        Format::OpenMetrics0 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Protobuf => {
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        }
    }
}

/// What a body is that cannot be text: by its first bytes, since no line begins so.
fn sniff(body: &[u8]) -> Option<Error> {
    match body.trim_ascii_start().first()? {
        b'<' => Some(Error::Html),
        b'{' if is_json(body) => Some(Error::Json),
        _ if is_protobuf(body) => Some(Error::Protobuf),
        _ => None,
    }
}

/// A text line may begin with `{"` in text 1.0, where no colon follows the first string.
fn is_json(body: &[u8]) -> bool {
    let rest = body.trim_ascii_start()[1..].trim_ascii_start();
    let Some(key) = rest.strip_prefix(b"\"") else { return rest.starts_with(b"}") };
    let Some(end) = memchr::memchr(b'"', key) else { return false };
    key[end + 1..].trim_ascii_start().starts_with(b":")
}

/// A delimited `MetricFamily`: its length as a varint, then field 1 (tag 0x0a) with the name of
/// the family, then the tag of one of the other fields. No line of text has these bytes there.
fn is_protobuf(body: &[u8]) -> bool {
    let Some(end) = body.iter().take(5).position(|b| *b < 0x80) else { return false };
    let [0x0a, len, rest @ ..] = &body[end + 1..] else { return false };
    let Some((name, rest)) = rest.split_at_checked(usize::from(*len)) else { return false };
    let is_name_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    name.iter().all(is_name_byte) && matches!(rest, [0x12 | 0x18 | 0x22 | 0x2a, ..])
}

fn printable(declared: &[u8]) -> String {
    let declared = String::from_utf8_lossy(&declared[..declared.len().min(4 * SHOWN)]);
    declared.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: Option<&str>, body: &[u8], expected: Result<Format, &str>) {
        let found = format_of(content_type.map(str::as_bytes), body);
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn text_of_any_version_and_a_missing_type_are_text() {
        for declared in [
            None,
            Some(""),
            Some(" "),
            Some("text/plain"),
            Some("text/plain; version=0.0.4; charset=utf-8"),
            Some("Text/Plain;charset=latin-1"),
            Some(" text/plain ;version=1.0.0; escaping=underscores"),
        ] {
            check(declared, b"m 1\n", Ok(Format::Text));
        }
        check(None, b"", Ok(Format::Text));
        check(None, b"\n\n# HELP m\n", Ok(Format::Text));
        check(None, b"a\n\n1\n", Ok(Format::Text));
        check(None, b"{\"quoted name\", a=\"1\"} 1\n", Ok(Format::Text));
    }

    #[test]
    fn a_declared_other_format_is_refused_by_name() {
        check(
            Some("application/openmetrics-text; version=1.0.0"),
            b"m 1\n",
            Err("answered with Content-Type `application/openmetrics-text; version=1.0.0`, \
                 but only text/plain (Prometheus text 0.0.4) is read; \
                 make it follow the Accept header"),
        );
        for declared in [
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            "text/html",
            "application/json",
            "text/plainer",
        ] {
            let found = format_of(Some(declared.as_bytes()), b"m 1\n");
            assert!(matches!(found, Err(Error::ContentType(_))), "{declared}: {found:?}");
        }
    }

    #[test]
    fn a_body_that_is_no_text_is_refused_whatever_was_declared() {
        for declared in [None, Some("text/plain")] {
            check(
                declared,
                b"\n <!DOCTYPE html>",
                Err("answered with an HTML page, but only text/plain (Prometheus text 0.0.4) is \
                     read; check the path"),
            );
            check(
                declared,
                b"{ \"status\" : 404 }",
                Err("answered with JSON, but only text/plain (Prometheus text 0.0.4) is read; \
                     check the path"),
            );
            check(
                declared,
                b"\x11\x0a\x07go_info\x18\x01\x22\x04\x12\x02\x09\x00",
                Err(
                    "answered with protobuf, but only text/plain (Prometheus text 0.0.4) is read; \
                     make the endpoint follow the Accept header",
                ),
            );
        }
    }

    #[test]
    fn a_hostile_type_is_shown_shortened_and_escaped() {
        let declared = format!("text/\x1b{}", "x".repeat(200));
        let found = format_of(Some(declared.as_bytes()), b"").map_err(|error| error.to_string());
        let shown = "x".repeat(74);
        assert_eq!(
            found,
            Err(format!(
                "answered with Content-Type `text/\\u{{1b}}{shown}`, but {READ}; \
                 make it follow the Accept header"
            ))
        );
    }
}
