//! A draft to its page: each family once, whole, in the order of first appearance.
//!
//! Everything is settled here, so that nothing can fail. Only what a writer finds to have no place, an
//! exemplar or a unit, still goes into the reports.

use crate::{
    exposition::{Defect, openmetrics, point::Part, protobuf, text::line},
    merge::{draft::Draft, points, report::Report},
};

/// Writes a page of text. What it needs of memory is asked for at once.
pub(super) fn write_text(draft: &Draft<'_>, out: &mut Vec<u8>) {
    let mut headers = Vec::new();
    let mut ends = Vec::with_capacity(draft.families.order.len());
    for family in &draft.families.order {
        // What is said of a family without samples says nothing.
        if !draft.sorted.of(*family).is_empty() {
            line::push_header(&mut headers, &draft.names.list[*family as usize].header());
        }
        ends.push(headers.len());
    }
    out.reserve_exact(headers.len() + n_bytes_of_lines(draft));
    let mut start = 0;
    for (family, end) in draft.families.order.iter().zip(ends) {
        out.extend_from_slice(&headers[start..end]);
        start = end;
        push_lines(draft, *family, out);
    }
}

/// Writes a page of `OpenMetrics` without its last line. Exemplars that have no place are told to the
/// reports.
pub(super) fn write_openmetrics(draft: &Draft<'_>, out: &mut Vec<u8>, reports: &mut [Report]) {
    out.reserve(n_bytes_of_lines(draft));
    for number in &draft.families.order {
        let rows = draft.sorted.of(*number);
        if rows.is_empty() {
            continue;
        }
        let family = draft.family(*number);
        if let Some(what) = openmetrics::push_header(out, &family.header)
            && let Some((_, mark)) = draft.names.list[*number as usize].unit
        {
            mark.problem(what, reports);
        }
        if !points::is_sorted(rows) {
            push_lines(draft, *number, out);
            continue;
        }
        family.each(rows, |point, rows| {
            openmetrics::push_point(out, &family.header, point, &mut |_| {
                report_exemplar(draft, rows, reports);
            });
        });
    }
}

/// Writes a page of protobuf. Exemplars and units that have no place are told to the reports.
pub(super) fn write_protobuf(draft: &Draft<'_>, out: &mut Vec<u8>, reports: &mut [Report]) {
    out.reserve(n_bytes_of_lines(draft));
    for number in &draft.families.order {
        let rows = draft.sorted.of(*number);
        if rows.is_empty() {
            continue;
        }
        let of_points = draft.family(*number);
        let header = &of_points.header;
        if let Some(what) = protobuf::left_out(header)
            && let Some((_, mark)) = draft.names.list[*number as usize].unit
        {
            mark.problem(what, reports);
        }
        let family = protobuf::Family::begin(out, header);
        for run in points::runs(rows) {
            // Metrics that are all of a family are one run, in the order of their sources.
            if of_points.row(run[0]).1.is_metric() {
                for (origin, row) in run.iter().map(|row| of_points.row(*row)) {
                    family.push_metric(out, origin.bytes(row), origin.relabel.fields());
                }
                continue;
            }
            of_points.each(run, |point, rows| {
                family.push_point(out, header, point);
                let is_left_out = |part: &&Part<'_>| {
                    let has_place = protobuf::has_exemplar(header.kind, part.role);
                    part.exemplar.is_some_and(|text| !has_place || !protobuf::takes_exemplar(text))
                };
                for _ in point.parts.iter().filter(is_left_out) {
                    report_exemplar(draft, rows, reports);
                }
            });
        }
        family.end(out);
    }
}

/// Says that a point lost an exemplar.
fn report_exemplar(draft: &Draft<'_>, rows: &[u32], reports: &mut [Report]) {
    let row = points::number(rows[0]) as usize;
    let source = draft.rows.source_of(row);
    let row = draft.rows.list[row];
    let bytes = draft.rows.origins[source].bytes(row);
    reports[source].problems.add(row.line as usize, Defect::Exemplar, bytes);
}

/// Copies the lines of a family.
fn push_lines(draft: &Draft<'_>, family: u32, out: &mut Vec<u8>) {
    let mut origins = draft.rows.origins();
    for row in draft.sorted.of(family) {
        let row = *row as usize;
        origins.of(row).push_line(out, draft.rows.list[row]);
    }
}

/// How many bytes the lines of all rows have on the page.
fn n_bytes_of_lines(draft: &Draft<'_>) -> usize {
    let mut origins = draft.rows.origins();
    let rows = draft.rows.list.iter().enumerate();
    rows.map(|(at, row)| row.len_with(&origins.of(at).relabel)).sum()
}
