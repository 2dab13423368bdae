//! One family with two kinds, samples that do not fit the kind of their family, and kinds that the
//! page has no word for.
//!
//! Two declarations of one name meet where they are taken in; here meet those of two names of
//! which one owns the other: `# TYPE x histogram` and `# TYPE x_count gauge`.

use crate::{
    exposition::{
        Defect, Format, Kind,
        family::{self, Type},
        number, openmetrics,
    },
    merge::{
        families::Families,
        names::Names,
        report::Report,
        rows::{Origin, Row, Rows, index},
    },
};

/// What a kind is on a page of this format; nothing where the format has no word for it or a like one.
pub(super) fn translate(kind: Kind, format: Format) -> Option<Kind> {
    match (format, kind) {
        (format, Kind::Untyped) if format.is_openmetrics() => Some(Kind::Unknown),
        (format, kind) if format.is_openmetrics() => Some(kind),
        (_, Kind::Unknown) => Some(Kind::Untyped),
        (_, Kind::Info | Kind::StateSet) => Some(Kind::Gauge),
        (Format::Text | Format::Text1, Kind::GaugeHistogram) => None,
        (_, kind) => Some(kind),
    }
}

/// Whether a page of this format says less of a family than that it is of this kind.
pub(super) fn is_foreign(kind: Kind, format: Format) -> bool {
    !matches!(kind, Kind::Untyped | Kind::Unknown) && translate(kind, format) != Some(kind)
}

/// Takes the type from both where a name with a kind of its own is owned by another: expfmt
/// rejects a page that says both ("second TYPE line"). All clashes are found before the first is
/// settled, so that their order does not matter.
pub(super) fn settle(names: &mut Names<'_>, format: Format, reports: &mut [Report]) {
    for number in 0..index(names.list.len()) {
        let name = &mut names.list[number as usize];
        let Type::Of(kind) = name.type_ else { continue };
        name.type_ = translate(kind, format).map_or(Type::Absent, Type::Of);
        let is_nameless = matches!(kind, Kind::Counter | Kind::Info)
            && openmetrics::base(&name.bytes, Some(kind)) == &*name.bytes;
        if is_nameless && format.is_openmetrics() {
            name.type_ = Type::Lost;
            if let Some(declared) = names.declared(number) {
                declared.problem(Defect::Nameless, reports);
            }
        }
    }
    let mut lost = Vec::new();
    for (number, name) in names.list.iter().enumerate().filter(|(_, name)| name.type_.is_own()) {
        let owner = family::owner(&name.bytes, |base| names.type_of(base));
        let Some(owner) = owner.and_then(|base| names.find(base)) else { continue };
        lost.extend([number, owner as usize]);
        if let Some(declared) = names.declared(index(number)) {
            declared.problem(Defect::KindConflict, reports);
        }
    }
    for number in lost {
        names.list[number].type_ = Type::Lost;
    }
}

/// Which rows are samples of histograms and summaries whose `le` or `quantile` is no number: expfmt
/// rejects a page that has one (`startLabelValue` in prometheus/common, `expfmt/text_parse.go`).
pub(super) fn misfits(
    rows: &Rows<'_>,
    names: &Names<'_>,
    families: &Families,
) -> Vec<(u32, Defect)> {
    if !rows.list.iter().any(|row| row.is_suspect()) {
        return Vec::new();
    }
    let suspects = rows.list.iter().enumerate().filter(|(_, row)| row.is_suspect());
    let found = suspects.filter_map(|(at, row)| {
        let origin = rows.origin_of(at);
        let what = match names.list[families.of(row.name)].type_ {
            Type::Of(Kind::Histogram | Kind::GaugeHistogram) if is_bad(origin, *row, b"le") => {
                Defect::BucketBound
            }
            Type::Of(Kind::Summary) if is_bad(origin, *row, b"quantile") => Defect::Quantile,
            _ => return None,
        };
        Some((index(at), what))
    });
    found.collect()
}

/// Whether a row has this label, and its value is no number.
fn is_bad(origin: &Origin<'_>, row: Row, name: &[u8]) -> bool {
    let mut labels = origin.line(row).labels().walk();
    labels.any(|label| label.name == name && !number::is_float(label.value))
}
