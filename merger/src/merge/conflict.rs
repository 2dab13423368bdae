//! One family with two kinds, and samples that do not fit the kind of their family.
//!
//! Two declarations of one name meet where they are taken in; here meet those of two names of
//! which one owns the other: `# TYPE x histogram` and `# TYPE x_count gauge`.

use crate::{
    exposition::{
        Defect, Kind,
        family::{self, Type},
    },
    merge::{names::Names, page::Families, report::Report, rows::Rows},
};

/// Takes the type from both where a name with a kind of its own is owned by another: expfmt
/// rejects a page that says both ("second TYPE line"). All clashes are found before the first is
/// settled, so that their order does not matter.
pub(super) fn settle(names: &mut Names<'_>, reports: &mut [Report]) {
    let mut lost = Vec::new();
    for (number, name) in names.list.iter().enumerate().filter(|(_, name)| name.type_.is_own()) {
        let owner = family::owner(name.bytes, |base| names.type_of(base));
        let Some(owner) = owner.and_then(|base| names.find(base)) else { continue };
        lost.extend([number, owner as usize]);
        if let Some(declared) = name.declared {
            let problems = &mut reports[declared.source as usize].problems;
            problems.add(declared.line, Defect::KindConflict, declared.text);
        }
    }
    for number in lost {
        names.list[number].type_ = Type::Lost;
    }
}

/// Drops the samples of histograms and summaries whose `le` or `quantile` is no number: expfmt
/// rejects a page that has one (`startLabelValue` in prometheus/common, `expfmt/text_parse.go`).
pub(super) fn drop_misfits(
    rows: &mut Rows<'_>,
    names: &Names<'_>,
    families: &Families,
    reports: &mut [Report],
) {
    if !rows.list.iter().any(|row| row.has_bad_bound || row.has_bad_quantile) {
        return;
    }
    let mut list = std::mem::take(&mut rows.list);
    list.retain(|row| {
        let what = match names.list[families.of(row.name)].type_ {
            Type::Of(Kind::Histogram) if row.has_bad_bound => Defect::BucketBound,
            Type::Of(Kind::Summary) if row.has_bad_quantile => Defect::Quantile,
            _ => return true,
        };
        let report = &mut reports[row.source as usize];
        report.samples -= 1;
        report.problems.add(row.line as usize, what, rows.line(row).bytes);
        false
    });
    rows.list = list;
}
