//! What `OpenMetrics` 1.0.0 asks of a page beyond its lines.

use crate::exposition::{
    Defect, Header, Kind, Point,
    point::{Misfit, Part},
};

/// The last line of a page.
pub const EOF: &[u8] = b"# EOF\n";

/// The name under which a family stands in `# TYPE`: without `_total`, `_info`.
#[must_use]
pub fn base(name: &[u8], kind: Option<Kind>) -> &[u8] {
    let _ = kind;
    name
}

/// The names that a family of this kind takes for itself: no other family may have one of them.
/// Each is a suffix of [`base`].
#[must_use]
pub fn claims(kind: Option<Kind>) -> &'static [&'static str] {
    let _ = kind;
    &[""]
}

/// Whether the point can be written as one of a family with this header.
pub fn check(header: &Header<'_>, point: &Point<'_>) -> Result<(), Misfit> {
    let _ = (header, point);
    Ok(())
}

/// Writes HELP, TYPE and UNIT; says what had to be left out.
pub fn push_header(out: &mut Vec<u8>, header: &Header<'_>) -> Option<Defect> {
    let _ = (out, header);
    None
}

/// Writes the lines of a point that passed [`check`]; `left_out` is told of each part that lost its
/// exemplar.
pub fn push_point(
    out: &mut Vec<u8>,
    header: &Header<'_>,
    point: &Point<'_>,
    left_out: &mut dyn FnMut(&Part<'_>),
) {
    let _ = (out, header, point, left_out);
}
