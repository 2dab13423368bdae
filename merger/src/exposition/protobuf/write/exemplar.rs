//! An exemplar as `OpenMetrics` spells it behind `# `, to a message.
//!
//! It was checked by who read it: `{name="value",…} value`, and maybe a time in seconds. What is no
//! such thing is left out.

use memchr::memchr2;

use crate::exposition::protobuf::{
    schema::{EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, LABEL_NAME, LABEL_VALUE},
    timestamp::Timestamp,
    wire,
    write::plain,
};

/// Writes it as a field.
pub(super) fn push(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    let start = out.len();
    let mut is_whole = false;
    wire::push_message(out, field, |out| is_whole = push_fields(out, text).is_some());
    if !is_whole {
        out.truncate(start);
    }
}

fn push_fields(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let mut rest = text.strip_prefix(b"{")?;
    while !rest.starts_with(b"}") {
        let (name, value);
        (name, value, rest) = split_label(rest)?;
        wire::push_message(out, EXEMPLAR_LABEL, |out| {
            wire::push_bytes(out, LABEL_NAME, &plain(name));
            wire::push_bytes(out, LABEL_VALUE, &plain(value));
        });
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    let mut numbers = std::str::from_utf8(&rest[1..]).ok()?.split_ascii_whitespace();
    wire::push_double(out, EXEMPLAR_VALUE, numbers.next()?.parse().ok()?);
    if let Some(seconds) = numbers.next() {
        let timestamp = Timestamp::from_seconds(seconds.as_bytes())?;
        wire::push_message(out, EXEMPLAR_TIMESTAMP, |out| timestamp.push(out));
    }
    numbers.next().is_none().then_some(())
}

/// A label's name, its value, and what follows it. A name that is no identifier is in quotes.
fn split_label(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = match text {
        [b'"', quoted @ ..] => split_quoted(quoted)?,
        _ => text.split_at(text.iter().position(|byte| *byte == b'=')?),
    };
    let (value, rest) = split_quoted(rest.strip_prefix(b"=\"")?)?;
    Some((name, value, rest))
}

/// What stands before the closing quote, and what follows it.
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
    }
}
