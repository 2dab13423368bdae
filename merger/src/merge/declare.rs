//! What a source declares of its families, and which names that is about.
//!
//! `OpenMetrics` names a counter without the `_total` of its samples, and an info without `_info`;
//! text and protobuf name them with it. Here a declaration is about the name that its source's
//! samples have, so that a family of one format meets that of another.

use std::borrow::Cow;

use crate::{
    exposition::{Defect, Format, Kind, Place, Said, family::Type},
    merge::{
        conflict,
        names::{Declared, Help, Mark, Names},
        report::Report,
    },
};

/// The declarations of one source, in their order: of which name, as the source says it, and what.
#[derive(Debug, Default)]
pub(super) struct Declarations<'a> {
    helps: Vec<(u32, Help<'a>)>,
    units: Vec<(u32, &'a [u8], Place<'a>)>,
    kinds: Vec<(u32, Kind, Place<'a>)>,
}

// === impl Declarations ===

impl<'a> Declarations<'a> {
    /// With room for this many families.
    pub(super) fn with_capacity(n: usize) -> Self {
        Self { helps: Vec::with_capacity(n), kinds: Vec::with_capacity(n), units: Vec::new() }
    }

    /// Takes in what is said of the family whose name has this number; `is_plain` is that of the
    /// [metadata](crate::exposition::Metadata).
    #[inline]
    pub(super) fn add(
        &mut self,
        family: u32,
        (said, is_plain): (Said<'a>, bool),
        place: impl Fn() -> Place<'a>,
    ) {
        match said {
            Said::Help(text) => self.add_help(family, Help { text, is_plain }),
            Said::Unit(unit) => self.units.push((family, unit, place())),
            Said::Type(kind) => self.kinds.push((family, kind, place())),
        }
    }

    fn add_help(&mut self, family: u32, help: Help<'a>) {
        let text = match help.text {
            Cow::Borrowed(text) => Cow::Borrowed(trimmed(text)),
            Cow::Owned(text) => Cow::Owned(trimmed(&text).to_vec()),
        };
        if !text.is_empty() {
            self.helps.push((family, Help { text, ..help }));
        }
    }

    /// Lets them meet those of the sources before: the first help and the first unit stand, and
    /// kinds join. What a page of `format` cannot say is a problem.
    pub(super) fn declare(
        self,
        names: &mut Names<'a>,
        source: u32,
        format: Format,
        report: &mut Report,
    ) {
        let Self { helps, units, kinds } = self;
        // A family that is said to be of a kind with a suffix is that suffix's name from here on.
        let mut longer: Vec<(u32, u32)> = Vec::new();
        for (said, kind, Place { line, text, .. }) in kinds {
            let number = named(names, said, kind, source);
            if number != said {
                longer.push((said, number));
            }
            let name = &mut names.list[number as usize];
            name.type_ = name.type_.join(kind);
            if matches!(kind, Kind::Untyped | Kind::Unknown) {
                continue;
            }
            if conflict::is_foreign(kind, format) {
                report.problems.add(line, Defect::ForeignKind, text);
            }
            let mark = Mark { source, line, text };
            let first = names.declare(number, Declared { kind, mark });
            if Type::Of(first.kind).join(kind) == Type::Lost {
                report.problems.add(line, Defect::KindConflict, text);
            }
        }
        longer.sort_unstable();
        longer.dedup();
        let meant = |said: u32| {
            let at = longer.binary_search_by_key(&said, |(said, _)| *said);
            at.map_or(said, |at| longer[at].1)
        };
        for (family, help) in helps {
            let name = meant(family);
            names.list[name as usize].help.get_or_insert(help);
        }
        for (family, unit, Place { line, text, .. }) in units {
            let name = meant(family);
            let mark = Mark { source, line, text };
            names.list[name as usize].unit.get_or_insert_with(|| Box::new((unit, mark)));
            if matches!(format, Format::Text | Format::Text1) {
                report.problems.add(line, Defect::Unit, text);
            }
        }
    }
}

/// A help text as every format can say it: in a line, blanks before it and CRs behind it are no part of
/// it.
fn trimmed(mut help: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b'\r'] = help {
        help = rest;
    }
    help
}

/// The name that a family of this kind has on the page: with the suffix of its samples, if the
/// source has samples of that name and none of the name without it.
fn named(names: &Names<'_>, said: u32, kind: Kind, source: u32) -> u32 {
    let suffix: &[u8] = match kind {
        Kind::Counter => b"_total",
        Kind::Info => b"_info",
        _ => return said,
    };
    let is_sampled = |number: u32| names.list[number as usize].sampled_by == Some(source);
    if is_sampled(said) {
        return said;
    }
    let longer = names.find_joined(&names.list[said as usize].bytes, suffix);
    longer.filter(|longer| is_sampled(*longer)).unwrap_or(said)
}
