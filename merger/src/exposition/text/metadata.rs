//! One line of metadata to its parts: HELP, TYPE and UNIT.

use crate::exposition::{
    Defect, Kind, Said,
    labels::{self, skip_blanks},
    text::Dialect,
};

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
