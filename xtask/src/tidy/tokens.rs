//! Rust's source as words and signs, without comments, strings and characters.
//!
//! It knows only as much of the language as it takes not to be misled by what is quoted.

/// A word, `::`, or one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
}

/// Reads a whole source.
pub(super) fn read(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let quoted = comment(rest).or_else(|| string(rest)).or_else(|| character(rest));
        let length = quoted.unwrap_or_else(|| word_or_sign(rest, first));
        let (text, after) = rest.split_at(length);
        if quoted.is_none() && !first.is_whitespace() {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

fn word_or_sign(rest: &str, first: char) -> usize {
    if is_word(first) {
        return rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// The length of the comment at the start; block comments nest.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match rest.get(at..)? {
            tail if tail.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            _ if depth == 0 => return None,
            tail if tail.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            tail => at += tail.chars().next().map_or(0, char::len_utf8),
        }
        if depth == 0 || at >= rest.len() {
            return Some(at);
        }
    }
}

/// The length of the string at the start, its prefix included: plain, byte, C or raw.
fn string(rest: &str) -> Option<usize> {
    ["br", "cr", "r", "b", "c", ""].into_iter().find_map(|prefix| {
        let body = rest.strip_prefix(prefix)?;
        let length = if prefix.ends_with('r') { raw(body) } else { escaped(body, '"') };
        length.map(|length| prefix.len() + length)
    })
}

/// The length up to the quote with as many hashes as stand before the first.
fn raw(body: &str) -> Option<usize> {
    let inside = body.trim_start_matches('#');
    let hashes = &body[..body.len() - inside.len()];
    // A raw identifier, as in r#type, is a word.
    let inside = inside.strip_prefix('"')?;
    let end = format!("\"{hashes}");
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(hashes.len() + 1 + length)
}

/// The length of the character at the start; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest.strip_prefix('\'')?.chars();
    let first = inside.next()?;
    let closed = inside.next() == Some('\'');
    (first == '\\' || closed).then(|| escaped(rest, '\'')).flatten()
}

/// The length up to the closing quote, where a backslash takes the next character with it.
fn escaped(quoted: &str, quote: char) -> Option<usize> {
    let mut characters = quoted.strip_prefix(quote)?.char_indices();
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return Some(at + 2 * quote.len_utf8());
        }
    }
    Some(quoted.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[&str]) {
        let texts: Vec<&str> = read(source).iter().map(|token| token.text).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn words_and_double_colons_are_tokens() {
        check("use a::b_1;", &["use", "a", "::", "b_1", ";"]);
    }

    #[test]
    fn comments_end_where_they_end() {
        check("a // b\nc /* d /* e */ f */ g / h", &["a", "c", "g", "/", "h"]);
        check("a /* never closed", &["a"]);
    }

    #[test]
    fn strings_of_every_kind_are_passed_over() {
        check(r#"a "b\"c" d b"e" f c"g" h"#, &["a", "d", "f", "h"]);
        check(r##"a r"b\" c r#"d"e"# f br"g" h cr#""# i"##, &["a", "c", "f", "h", "i"]);
        check("a \"never closed", &["a"]);
    }

    #[test]
    fn a_word_that_ends_like_a_prefix_is_a_word() {
        check(r#"number "x" r#type bar"#, &["number", "r", "#", "type", "bar"]);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        check(r"'a 'b' '\'' '\u{41}' 'static", &["'", "a", "'", "static"]);
    }

    #[test]
    fn lines_are_counted_through_what_is_passed_over() {
        let tokens = read("a\n/* b\n*/ \"c\nd\" e");
        assert_eq!(tokens.last(), Some(&Token { text: "e", line: 4 }));
    }
}
