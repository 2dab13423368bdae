//! One line of metadata to its parts: HELP, TYPE and UNIT.

use std::borrow::Cow;

use crate::exposition::{
    Defect, Kind, Metadata, Said,
    labels::{self, skip_blanks},
    scan::plain_end,
    text::Dialect,
};

/// The line at the beginning, if it is one of HELP or TYPE with a name without quotes, one blank between
/// words and nothing but plain bytes up to a line end: that is the same in every format. Gives how long it
/// is without its end, too. Mostly it is for the family of the line `before`, which then is given again: the
/// same bytes in the same place need no second look.
pub(super) fn read_plain<'a>(text: &'a [u8], before: &'a [u8]) -> Option<(Metadata<'a>, usize)> {
    let (word, rest) = text.split_first_chunk()?;
    let is_help = word == b"# HELP ";
    if !is_help && word != b"# TYPE " {
        return None;
    }
    let known = if rest.starts_with(before) { before.len() } else { 0 };
    let (family, rest) = rest.split_at(labels::metric_name_len(rest, known));
    let family = if known > 0 && family.len() == known { before } else { family };
    let [b' ', said @ ..] = rest else { return None };
    let said = &said[..plain_end(said, 0).filter(|end| said[*end] == b'\n')?];
    let len = word.len() + family.len() + 1 + said.len();
    let said = match said {
        _ if family.is_empty() => return None,
        [] | [b' ', ..] => return None,
        help if is_help => Said::Help(Cow::Borrowed(help)),
        word => Said::Type(Kind::from_word(word)?),
    };
    Some((Metadata { family, said, is_plain: true }, len))
}

/// The name at the beginning, maybe in quotes, and what follows it.
pub(super) fn family(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.starts_with(b"\"") {
        let (end, _) = labels::closing_quote(text, 1)?;
        return (end > 1).then(|| (&text[1..end], skip_blanks(&text[end + 1..])));
    }
    let (name, rest) = text.split_at(labels::metric_name_len(text, 0));
    let is_name = !name.is_empty() && matches!(rest, [] | [b' ' | b'\t', ..]);
    is_name.then(|| (name, skip_blanks(rest)))
}

/// What is said of a family, if anything.
pub(super) fn read<'a>(
    word: &[u8],
    rest: &'a [u8],
    dialect: Dialect,
) -> Result<Option<Said<'a>>, Defect> {
    match (word, rest.trim_ascii_end()) {
        (b"HELP", _) => {
            let quote: &[u8] = if dialect == Dialect::Text { b"" } else { b"\"" };
            Ok(Some(Said::Help(labels::unescape(rest, quote))))
        }
        // expfmt takes a TYPE line that ends here for a comment.
        (_, []) => Ok(None),
        (b"UNIT", unit) => Ok(Some(Said::Unit(unit))),
        (_, word) => Kind::from_word(word).map(Said::Type).map(Some).ok_or(Defect::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a line with and without what most lines have in common.
    #[track_caller]
    fn check(line: &str, is_plain: bool) {
        let body = format!("{line}\nm 1\n");
        for known in ["", "m", "mm", "other"] {
            let plain = read_plain(body.as_bytes(), known.as_bytes());
            assert_eq!(plain.is_some(), is_plain, "{line}");
            let Some((metadata, len)) = plain else { continue };
            assert_eq!(len, line.len());
            let (word, rest) = (&line.as_bytes()[2..6], &line.as_bytes()[7..]);
            let (family, rest) = family(rest).unwrap();
            for dialect in [Dialect::Text, Dialect::OpenMetrics] {
                let said = read(word, rest, dialect).unwrap().unwrap();
                assert_eq!(metadata, Metadata { family, said, is_plain: true });
            }
        }
    }

    #[test]
    fn most_lines_are_read_in_one_look() {
        for line in [
            "# HELP m What it is.",
            "# HELP m_total {}# ",
            "# HELP mm:m a  b",
            "# TYPE m gauge",
            "# TYPE mm HISTOGRAM",
            "# TYPE other_m stateset",
        ] {
            check(line, true);
        }
    }

    #[test]
    fn a_line_that_says_it_otherwise_is_left_to_a_closer_look() {
        for line in [
            "# HELP m",
            "# HELP m ",
            "# HELP m  a",
            "# HELP  m a",
            "#HELP m a",
            "# HELP m\ta",
            "# HELP m-m a",
            "# HELP 1 a",
            "# HELP \"m\" a",
            "# HELP m a\\nb",
            "# HELP m \"a\"",
            "# HELP m \u{e9}",
            "# HELP m a\r",
            "# TYPE m gauge ",
            "# TYPE m what",
            "# UNIT m s",
            "# EOF",
            "# HELP m a\0",
        ] {
            check(line, false);
        }
        assert_eq!(read_plain(b"# TYPE m gauge", b""), None);
    }
}
