//! A draft to its page: each family once, whole, in the order of first appearance.
//!
//! Everything is settled here, so that nothing can fail. Only what a writer finds to have no place, an
//! exemplar or a unit, still goes into the reports.

use std::borrow::Cow;

use crate::{
    exposition::{
        Defect, Header, Kind, openmetrics,
        point::Part,
        protobuf,
        text::line::{self, Needs},
    },
    merge::{
        copy::{self, SLACK},
        draft::Draft,
        names::Name,
        points,
        report::Report,
        rows::{Origin, Placed},
    },
};

/// What stands before the lines of a family, without the rest that was known of its name.
struct Heading<'a> {
    name: Cow<'a, [u8]>,
    kind: Option<Kind>,
    help: Option<Cow<'a, [u8]>>,
    needs: Needs,
}

// === impl Heading ===

impl<'a> Heading<'a> {
    fn take(name: &mut Name<'a>) -> Self {
        let Header { kind, .. } = name.header();
        let (help, is_plain) =
            name.help.take().map_or((None, true), |help| (Some(help.text), help.is_plain));
        let needs = Needs { quotes: name.is_quoted, escapes: !is_plain };
        Self { name: std::mem::take(&mut name.bytes), kind, help, needs }
    }

    fn header(&self) -> Header<'_> {
        let Self { name, kind, help, needs: _ } = self;
        Header { name, kind: *kind, help: help.as_deref(), unit: None }
    }
}

/// Writes a page of text. What it needs of memory is asked for at once, and what is not needed any more
/// is given back before.
pub(super) fn write_text(draft: Draft<'_>, out: &mut Vec<u8>) {
    let Draft { mut names, mut rows, families, .. } = draft;
    let n_bytes = rows.n_bytes();
    let (lines, ends) = families.place(&mut rows);
    let origins = rows.origins;
    let mut start = 0;
    let spans = ends.into_iter().map(|end| std::mem::replace(&mut start, end)..end);
    // What is said of a family without samples says nothing.
    let written = families.order.iter().zip(spans).filter(|(_, span)| !span.is_empty());
    let headings =
        written.map(|(family, span)| (Heading::take(&mut names.list[*family as usize]), span));
    let mut written = Vec::with_capacity(families.order.len());
    written.extend(headings);
    written.shrink_to_fit();
    drop((names, families));

    let most = |heading: &Heading<'_>| line::most_of_header(&heading.header(), heading.needs);
    let most_of_headers: usize = written.iter().map(|(heading, _)| most(heading)).sum();
    out.reserve_exact(most_of_headers + n_bytes + SLACK);
    for (heading, span) in written {
        line::push_header(out, &heading.header(), heading.needs);
        push_placed(out, &origins, &lines[span]);
    }
}

/// Copies lines that are in their place. By itself it has the registers for what a line needs.
#[inline(never)]
fn push_placed(out: &mut Vec<u8>, origins: &[Origin<'_>], lines: &[Placed]) {
    let mut copy = copy::Lines::new(out);
    for line in lines {
        origins[line.source()].push_line(&mut copy, line.row());
    }
    copy.flush();
}

/// Writes a page of `OpenMetrics` without its last line. Exemplars that have no place are told to the
/// reports.
pub(super) fn write_openmetrics(draft: &Draft<'_>, out: &mut Vec<u8>, reports: &mut [Report]) {
    let most_of_headers: usize =
        headers(draft).map(|header| openmetrics::most_of_header(&header)).sum();
    // A bound may get `.0`.
    let most_of_lines = draft.rows.n_bytes() + 2 * draft.rows.list.len();
    out.reserve_exact(most_of_headers + most_of_lines + openmetrics::EOF.len() + SLACK);
    for number in &draft.families.order {
        let rows = draft.sorted.of(*number);
        if rows.is_empty() {
            continue;
        }
        let family = draft.family(*number);
        if let Some(what) = openmetrics::push_header(out, &family.header)
            && let Some((_, mark)) = draft.names.list[*number as usize].unit.as_deref()
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

/// Writes a page of protobuf. Exemplars and units that have no place are told to the reports. Of metrics,
/// what the page needs of memory is asked for at once; what a point takes is not known before it is
/// written, and mostly is less than its lines.
pub(super) fn write_protobuf(draft: &Draft<'_>, out: &mut Vec<u8>, reports: &mut [Report]) {
    let order = &draft.families.order;
    let sizes: Vec<_> = order.iter().map(|number| n_bytes_of_messages(draft, *number)).collect();
    let most_of_headers: usize =
        headers(draft).map(|header| protobuf::most_of_header(&header)).sum();
    out.reserve_exact(most_of_headers + sizes.iter().sum::<usize>());
    for (number, n_bytes) in order.iter().copied().zip(sizes) {
        let rows = draft.sorted.of(number);
        if rows.is_empty() {
            continue;
        }
        let header = &draft.names.list[number as usize].header();
        if let Some(what) = protobuf::left_out(header)
            && let Some((_, mark)) = draft.names.list[number as usize].unit.as_deref()
        {
            mark.problem(what, reports);
        }
        if points::is_sorted(rows) {
            push_points(draft, number, out, reports);
        } else {
            let family = protobuf::Family::begin_with(out, header, n_bytes);
            push_metrics(draft, rows, &family, out);
        }
    }
}

/// Writes a family of which some rows are lines, and so parts of points.
fn push_points(draft: &Draft<'_>, number: u32, out: &mut Vec<u8>, reports: &mut [Report]) {
    let of_points = draft.family(number);
    let header = &of_points.header;
    let family = protobuf::Family::begin(out, header);
    for run in points::runs(draft.sorted.of(number)) {
        if of_points.row(run[0]).1.is_metric() {
            push_metrics(draft, run, &family, out);
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

/// Copies metrics, which are in the order of their sources.
fn push_metrics(draft: &Draft<'_>, rows: &[u32], family: &protobuf::Family, out: &mut Vec<u8>) {
    let mut origins = draft.rows.origins_from(points::number(rows[0]) as usize);
    for row in rows.iter().map(|row| points::number(*row) as usize) {
        let (origin, row) = (origins.of(row), draft.rows.list[row]);
        family.push_metric(out, origin.bytes(row), origin.relabel.fields());
    }
}

/// The headers of the families that have samples.
fn headers<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = Header<'d>> {
    let written =
        draft.families.order.iter().filter(|family| !draft.sorted.of(**family).is_empty());
    written.map(|family| draft.names.list[*family as usize].header())
}

/// Says that a point lost an exemplar.
fn report_exemplar(draft: &Draft<'_>, rows: &[u32], reports: &mut [Report]) {
    let row = points::number(rows[0]) as usize;
    let source = draft.rows.source_of(row);
    let (origin, row) = (&draft.rows.origins[source], draft.rows.list[row]);
    let problems = &mut reports[source].problems;
    problems.add_at(|| origin.line_number(row), Defect::Exemplar, origin.bytes(row));
}

/// Copies the lines of a family.
fn push_lines(draft: &Draft<'_>, family: u32, out: &mut Vec<u8>) {
    let mut origins = draft.rows.origins();
    let mut copy = copy::Lines::new(out);
    for row in draft.sorted.of(family) {
        let row = *row as usize;
        origins.of(row).push_line(&mut copy, draft.rows.list[row]);
    }
    copy.flush();
}

/// How many bytes the rows of a family have on the page, if those of points take as many as in text.
fn n_bytes_of_messages(draft: &Draft<'_>, family: u32) -> usize {
    let rows = draft.sorted.of(family);
    let Some(first) = rows.first() else { return 0 };
    if points::is_sorted(rows) {
        let of_points = draft.family(family);
        let rows = rows.iter().map(|row| of_points.row(*row));
        return rows.map(|(origin, row)| row.len_with(&origin.relabel)).sum();
    }
    let mut origins = draft.rows.origins_from(*first as usize);
    let rows = rows.iter().map(|row| (origins.of(*row as usize), draft.rows.list[*row as usize]));
    let metrics = rows.map(|(origin, row)| row.len() + origin.relabel.fields().len());
    metrics.map(protobuf::len_of_metric).sum()
}
