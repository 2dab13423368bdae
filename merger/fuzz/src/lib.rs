//! What holds for every input whatever: one function for each target of the fuzzer.
//!
//! The fuzzer looks for an input that breaks one; `merger/tests/regressions.rs` runs all that once did, and
//! needs neither the fuzzer nor its compiler.
#![allow(unreachable_pub, reason = "the test has this file as a module")]

use merger::{
    exposition::{
        Defect, Entry, Escaping, Fault, Format, Label, Labels, Output, Reader, negotiate,
    },
    merge::{Limits, Merged, Report, Source, merge as merge_sources},
    node::protocol::{LONGEST_REQUEST, Request},
};

/// The marker before each source of the target `merge`; the byte behind it says its format. It occurs
/// in no text, and rarely in a message.
const SOURCE: &[u8] = b"\xfe\xffS";

const FORMATS: [Format; 5] =
    [Format::Text, Format::Text1, Format::OpenMetrics0, Format::OpenMetrics, Format::Protobuf];

const ESCAPINGS: [Escaping; 4] =
    [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];

/// The labels of the first source and of the second, the third and so on.
const LABELS: [&[(&str, &str)]; 3] =
    [&[("container", "a"), ("endpoint", "1")], &[("container", "b"), ("endpoint", "")], &[]];

/// What costs a sample, or a metric, that was read.
const DROPPING: [Defect; 10] = [
    Defect::Duplicate,
    Defect::BucketBound,
    Defect::Quantile,
    Defect::LabelTwice,
    Defect::NativeHistogram,
    Defect::MixedTimestamps,
    Defect::ReservedLabel,
    Defect::TooLong,
    Defect::Timestamp,
    Defect::TimestampUnit,
];

/// What may follow the name of a family in those of its samples.
const SUFFIXES: [&[u8]; 8] =
    [b"_total", b"_bucket", b"_sum", b"_count", b"_gsum", b"_gcount", b"_created", b"_info"];

/// A byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A name that no source has; an input may, since a fuzzer learns what it is compared with.
const APART: &str = "zz_apart_zz";

/// So small that a fuzzer reaches each of them.
const SMALL: Limits = Limits { samples: 8, labels: 3, name: 16, value: 24, line: 200 };

/// The agent says this to the broker.
pub fn request(message: &[u8]) {
    let message = &message[..message.len().min(LONGEST_REQUEST)];
    let Ok(request) = Request::read(message) else { return };
    // What was understood can be said, in no more bytes, and is understood again.
    let said = request.to_bytes();
    assert!(said.len() <= message.len(), "{message:?} is {request:?}, and that {said:?}");
    let again = Request::read(&said);
    assert!(again.is_ok_and(|again| again.to_bytes() == said), "{request:?}");
    // Nothing is read behind it, and nothing of it is missing.
    assert!(Request::read(&[&said[..], &[0]].concat()).is_err(), "{request:?}");
    assert!(Request::read(&said[..said.len() - 1]).is_err(), "{request:?}");
}

/// The body is text.
pub fn text(body: &[u8]) {
    for format in [Format::Text, Format::Text1] {
        a_body(format, body);
    }
}

/// The body is `OpenMetrics`.
pub fn openmetrics(body: &[u8]) {
    for format in [Format::OpenMetrics0, Format::OpenMetrics] {
        a_body(format, body);
    }
}

/// The body is messages.
pub fn protobuf(body: &[u8]) {
    a_body(Format::Protobuf, body);
}

/// A byte for the output, a byte for the labels, and the sources.
pub fn merge(data: &[u8]) {
    let [output, labels, rest @ ..] = data else { return };
    let output = output_of(*output);
    let bodies = split(rest);
    let sources: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(n, (format, body))| {
            let labels = LABELS[(usize::from(*labels) + n) % LABELS.len()];
            Source { labels, format: *format, body, only: None }
        })
        .collect();
    the_merge(&sources, output);
}

/// A line with an Accept header, a line with a Content-Type, and a body. The page that answers is of the
/// type that it declares: to whoever accepts just that, and to whoever reads it.
pub fn negotiate(data: &[u8]) {
    let mut parts = data.splitn(3, |b| *b == b'\n');
    let [accept, content_type, body] = [0, 1, 2].map(|_| parts.next().unwrap_or_default());
    let output = negotiate::output(std::str::from_utf8(accept).ok());
    let declared = negotiate::content_type(output);
    assert_eq!(negotiate::output(Some(declared)), output, "{declared} is accepted as itself");
    for content_type in [Some(content_type), None] {
        let Ok(format) = negotiate::format_of(content_type, body) else { continue };
        let source = Source { labels: LABELS[0], format, body, only: None };
        let page = merge_sources(&[source], &Limits::default(), output).body;
        let found = negotiate::format_of(Some(declared.as_bytes()), &page);
        assert_eq!(found, Ok(output.format), "{declared}: {}", shown(&page));
    }
}

fn a_body(format: Format, body: &[u8]) {
    for limits in [Limits::default(), SMALL] {
        the_reader(format, body, &limits);
    }
    the_reader_of_some(format, body);
    // One output for each body, and another for the next: five times as many bodies are tried.
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    the_merge(&[Source { labels: LABELS[0], format, body, only: None }], output_of(sum));
    let is_free = !body.windows(APART.len()).any(|name| name == APART.as_bytes());
    if format == Format::Text && is_free && !body.starts_with(MARK) {
        the_merge_of_lines_apart(body);
    }
}

/// The page is the same where no line stands behind another that it could be read against.
fn the_merge_of_lines_apart(body: &[u8]) {
    let mut apart = Vec::new();
    for (n, line) in body.split_inclusive(|byte| *byte == b'\n').enumerate() {
        apart.extend_from_slice(format!("{APART}{{n=\"{n}\"}} 1\n").as_bytes());
        apart.extend_from_slice(line);
    }
    let [together, mut apart] = [body, &apart].map(|body| {
        let source = Source { labels: LABELS[0], format: Format::Text, body, only: None };
        merge_sources(&[source], &Limits::default(), Output::default())
    });
    if together.reports[0].failed.is_some() || apart.reports[0].failed.is_some() {
        return;
    }
    let lines = apart.body.split_inclusive(|byte| *byte == b'\n');
    apart.body =
        lines.filter(|line| !line.starts_with(APART.as_bytes())).flatten().copied().collect();
    assert_eq!(shown(&apart.body), shown(&together.body), "lines apart, and together");
    let [of_apart, of_together] =
        [&apart, &together].map(|it| it.reports[0].problems.counts().collect::<Vec<_>>());
    assert_eq!(of_apart, of_together, "{}", shown(body));
}

/// Lines only grow, each says what it says alone, no more is read than is allowed, and what costs the
/// source ends it.
fn the_reader(format: Format, body: &[u8], limits: &Limits) {
    let mut reader = format.read(body, limits);
    let (mut line, mut n_samples) = (0, 0);
    let mut before = Vec::new();
    while let Some(item) = reader.next() {
        let place = reader.place();
        assert!(place.line >= line, "line {line}, then {}", place.line);
        line = place.line;
        if let Reader::Text(_) = reader {
            assert_alone(format, place.text, limits, &item);
            let labels = reader.labels();
            let n_shared = reader.n_shared();
            if item.as_ref().is_ok_and(|entry| matches!(entry, Entry::Sample(_))) {
                assert_eq!(labels[..n_shared], before[..n_shared], "{}", shown(place.text));
                assert!(labels.iter().copied().eq(walked(&item)), "{}", shown(place.text));
                before = labels.to_vec();
            }
        }
        match item {
            Ok(entry) => {
                assert!(!entry.name().is_empty(), "an entry has a name: {entry:?}");
                n_samples += usize::from(matches!(entry, Entry::Sample(_)));
            }
            Err(Fault::Line(_)) => {}
            Err(Fault::Source(_)) => {
                assert!(reader.next().is_none(), "a fault of the source is its last item");
            }
        }
    }
    assert!(n_samples <= limits.samples, "{n_samples} samples");
}

/// Of families whose names begin alike the same is read where the others are not.
fn the_reader_of_some(format: Format, body: &[u8]) {
    let read = |mut reader: Reader<'_>, prefix: &str| {
        let (stem, mut found) = (prefix.len() - 1, Vec::new());
        while let Some(item) = reader.next() {
            // Of the names that a family without the underscore may take for itself it is its kind that tells.
            let is_told = |name: &[u8]| {
                name.starts_with(prefix.as_bytes()) && !SUFFIXES.contains(&&name[stem..])
            };
            match item {
                Ok(mut entry) if is_told(entry.name()) => {
                    // Whether it is seen at once depends on what stands before it.
                    if let Entry::Metadata(metadata) = &mut entry {
                        metadata.is_plain = false;
                    }
                    found.push(format!("{}: {entry:?}", reader.place().line));
                }
                Err(Fault::Source(failure)) => found.push(format!("{failure:?}")),
                Ok(_) | Err(Fault::Line(_)) => {}
            }
        }
        found
    };
    let names = format.read(body, &Limits::NONE).flatten().map(|entry| entry.name());
    let Some(prefix) = { names }.find_map(beginning) else { return };
    let whole = read(format.read(body, &Limits::NONE), prefix);
    let some = read(format.read(body, &Limits::NONE).only(prefix), prefix);
    assert_eq!(some, whole, "{prefix} alone, and with the rest");
}

/// The first word of a name, where all of it is one of an identifier.
fn beginning(name: &[u8]) -> Option<&str> {
    let end = name.iter().position(|b| *b == b'_')?;
    let prefix = std::str::from_utf8(&name[..=end]).ok()?;
    prefix
        .starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some(prefix)
        .filter(|prefix| prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// A line says the same whatever stood before it, although it is read against that.
fn assert_alone(format: Format, line: &[u8], limits: &Limits, item: &Result<Entry<'_>, Fault>) {
    let is_by_line = match item {
        Ok(entry) => matches!(entry, Entry::Sample(_)),
        // That a page is over, or says nothing here, is not said by one line.
        Err(Fault::Line(what)) => !matches!(what, Defect::EarlyEof | Defect::BlankLine),
        Err(Fault::Source(_)) => false,
    };
    // At the beginning of a body that is a byte order mark.
    if is_by_line && !line.starts_with(MARK) {
        assert_eq!(format.read(line, limits).next().as_ref(), Some(item), "{}", shown(line));
    }
}

/// The labels of a sample, walked from the bytes of its set.
fn walked<'a>(item: &Result<Entry<'a>, Fault>) -> impl Iterator<Item = Label<'a>> {
    let labels = match item {
        Ok(Entry::Sample(sample)) => sample.labels,
        _ => Labels::default(),
    };
    labels.walk()
}

fn the_merge(sources: &[Source<'_>], output: Output) {
    let merged = merge_sources(sources, &Limits::default(), output);
    let again = merge_sources(sources, &Limits::default(), output);
    assert!(merged == again, "equal input gives equal bytes: {}", differ(&merged, &again));
    let Merged { body: page, reports } = merged;
    let page = Source { labels: &[], format: output.format, body: &page, only: None };
    assert_eq!(faults(&page), Vec::<String>::new(), "it is read back: {}", shown(page.body));

    let in_reports: usize = reports.iter().map(|report| report.samples).sum();
    assert_eq!(n_samples(&page), in_reports, "the reports tell the page: {}", shown(page.body));
    for (source, report) in sources.iter().zip(&reports) {
        none_is_lost(source, report);
    }

    let of_page = merge_sources(&[page], &Limits::NONE, output);
    assert_eq!(shown(&of_page.body), shown(page.body), "a merged page is merged to itself");
    assert!(of_page.reports[0].problems.is_empty(), "{:?}", of_page.reports[0].problems);
}

/// Each sample of a source is on the page, or a problem says why not. A problem of lines is of one
/// sample, one of a message of all that it says.
fn none_is_lost(source: &Source<'_>, report: &Report) {
    if report.failed.is_some() {
        assert_eq!(report.samples, 0, "nothing of a failed source is on the page");
        return;
    }
    let n_dropped: usize = DROPPING.map(|what| report.problems.count(what)).iter().sum();
    let lost = n_samples(source).checked_sub(report.samples);
    let is_told = match source.format {
        Format::Protobuf => lost.is_some_and(|lost| lost == 0 || n_dropped > 0),
        _ => lost.is_some_and(|lost| lost <= n_dropped),
    };
    let problems: Vec<_> = report.problems.counts().collect();
    assert!(
        is_told,
        "{lost:?} lost, {} there, {problems:?}: {}",
        report.samples,
        shown(source.body)
    );
}

/// How many samples the source has in the formats of lines; what these cannot say counts as one.
fn n_samples(source: &Source<'_>) -> usize {
    let entries = source.format.read(source.body, &Limits::NONE);
    entries
        .map(|entry| match entry {
            Ok(Entry::Sample(_)) => 1,
            Ok(Entry::Metric(metric)) => {
                let mut n_lines = 0;
                metric.lines(|_| n_lines += 1);
                n_lines.max(1)
            }
            _ => 0,
        })
        .sum()
}

fn faults(page: &Source<'_>) -> Vec<String> {
    let mut reader = page.format.read(page.body, &Limits::NONE);
    let mut faults = Vec::new();
    while let Some(item) = reader.next() {
        faults
            .extend(item.err().map(|fault| format!("{fault:?} in {}", shown(reader.place().text))));
    }
    faults
}

fn differ(one: &Merged, two: &Merged) -> String {
    format!("{}\n---\n{}", shown(&one.body), shown(&two.body))
}

fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown += chunk.valid();
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

fn output_of(byte: u8) -> Output {
    let byte = usize::from(byte);
    Output {
        format: FORMATS[byte % FORMATS.len()],
        escaping: ESCAPINGS[byte / FORMATS.len() % ESCAPINGS.len()],
    }
}

fn split(mut data: &[u8]) -> Vec<(Format, &[u8])> {
    let mut sources = Vec::new();
    while let Some((format, rest)) = data.split_first() {
        let end = rest.windows(SOURCE.len()).position(|window| window == SOURCE);
        let (body, next) = match end {
            Some(end) => (&rest[..end], &rest[end + SOURCE.len()..]),
            None => (rest, &[][..]),
        };
        sources.push((FORMATS[usize::from(*format) % FORMATS.len()], body));
        data = next;
    }
    sources
}
