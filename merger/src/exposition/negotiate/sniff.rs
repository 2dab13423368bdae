//! What a body plainly is, by its first bytes and its last line.

/// How many bytes at the beginning are looked at for what no line holds.
const LOOKED_AT: usize = 512;

/// What a body plainly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A web page.
    Html,
    /// A JSON object.
    Json,
    /// Messages `MetricFamily`.
    Protobuf,
    /// Lines of which the last is `# EOF`.
    OpenMetrics,
    /// Lines that begin with HELP, TYPE or UNIT.
    Text,
    /// Lines, of whatever.
    Lines,
    /// Nothing, or bytes that no line begins with.
    Unknown,
}

/// What `body` plainly is.
pub(super) fn content(body: &[u8]) -> Content {
    let start = body.trim_ascii_start();
    // Before the others: the length of a message may be any byte, also a brace or a blank.
    if is_protobuf(body) {
        return Content::Protobuf;
    }
    match start.first() {
        Some(b'<') => Content::Html,
        Some(b'{') if is_json(start) => Content::Json,
        _ if ends_with_eof(body) => Content::OpenMetrics,
        Some(b'#') if is_metadata(start) => Content::Text,
        Some(_) if body.iter().take(LOOKED_AT).all(|b| is_of_lines(*b)) => Content::Lines,
        _ => Content::Unknown,
    }
}

/// A delimited `MetricFamily`: its length as a varint, then field 1 (tag 0x0a) with the name of
/// the family, then the tag of one of the other fields. No line of text has these bytes there.
fn is_protobuf(body: &[u8]) -> bool {
    let Some((_, [0x0a, rest @ ..])) = varint(body) else { return false };
    let Some((len, rest)) = varint(rest) else { return false };
    let Some((name, rest)) = rest.split_at_checked(len) else { return false };
    let is_of_name = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-' | b'/') || *b >= 0x80
    };
    name.iter().all(is_of_name) && matches!(rest, [0x12 | 0x18 | 0x22 | 0x2a, ..])
}

/// A number of 32 bits at most, seven bits in a byte, the last of which has no top bit.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|b| *b < 0x80)?;
    let (digits, rest) = bytes.split_at(end + 1);
    let number = digits.iter().rev().fold(0, |n, digit| n << 7 | usize::from(digit & 0x7f));
    Some((number, rest))
}

/// A text line may begin with `{"` in text 1.0.0, where no colon follows the first string.
fn is_json(start: &[u8]) -> bool {
    let rest = start[1..].trim_ascii_start();
    let Some(key) = rest.strip_prefix(b"\"") else { return rest.starts_with(b"}") };
    let Some(end) = memchr::memchr(b'"', key) else { return false };
    key[end + 1..].trim_ascii_start().starts_with(b":")
}

fn ends_with_eof(body: &[u8]) -> bool {
    let before = body.trim_ascii_end().strip_suffix(b"# EOF");
    before.is_some_and(|before| before.is_empty() || before.ends_with(b"\n"))
}

/// A comment of another program may begin so too, but not of one that answers with a web page.
fn is_metadata(start: &[u8]) -> bool {
    [&b"# HELP "[..], b"# TYPE ", b"# UNIT "].iter().any(|word| start.starts_with(word))
}

fn is_of_lines(byte: u8) -> bool {
    byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r')
}
