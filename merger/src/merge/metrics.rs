//! The metrics of a source of protobuf: to rows of their own, or to the lines that they are.
//!
//! On a page of protobuf a metric stays the message that it came as, and the source's labels are put
//! behind its fields. Only where a label has another name on the page is it written anew. On a page of
//! lines, and where its family has another kind there, it is the lines that Prometheus makes of it.

use std::borrow::Cow;

use crate::{
    exposition::{
        Defect, Exceeded, Failure, Fault, Format, Kind, Limit, Place, Step,
        family::Type,
        labels,
        protobuf::{self, Metric},
        text::line,
    },
    merge::{
        conflict,
        declare::Declarations,
        families::Families,
        intake::{Intake, Reading, is_any_twice, is_bad_bound},
        names::Names,
        relabel::Pair,
        report::Report,
        rows::{
            LONGEST, Origin, Row, Rows, begin_line,
            flags::{HAS_LABELS, HAS_MORE, IS_SUSPECT, IS_WRITTEN, when},
            index,
        },
        spell::Speller,
    },
};

/// How many bytes may be written anew for one source, if not its body allows more: each line of a
/// metric repeats all its labels, so that a small body can be a page without end. A source of text
/// may say as much by default.
const MOST_WRITTEN: usize = 16 << 20;

/// Makes lines of metrics.
pub(super) struct Lines<'l, 'a> {
    pub names: &'l mut Names<'a>,
    pub speller: Speller,
    /// The source of the metrics.
    pub position: u32,
    /// No line is begun where more bytes than this were written for the source.
    pub most: usize,
}

/// What is known of the metric before, as long as that of the next is the same.
#[derive(Debug, Default)]
struct Before<'a> {
    /// The name of its family as the source says it, and its number: none where the source may not speak
    /// under it.
    family: Option<(&'a [u8], Option<u32>)>,
    /// The page can have each of its labels under the name that it has.
    has_names_of_page: bool,
}

/// What became of a metric that was made lines of.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    pub rows: Vec<Row>,
    /// What the lines do not say.
    pub lost: Vec<Defect>,
}

// === impl Intake ===

impl<'a> Intake<'a> {
    /// Reads a source of messages to its end.
    pub(super) fn collect_messages(
        &mut self,
        reading: &Reading<'_, 'a>,
        mut reader: protobuf::Reader<'a>,
        declarations: &mut Declarations<'a>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let mut before = Before::default();
        while let Some(step) = reader.step() {
            let place = || reader.place();
            match step {
                Step::Sample => self.take_metric(reading, &reader, &mut before, report)?,
                Step::Metadata(said) => match self.family(reading, &mut before, said.family) {
                    Some(name) => declarations.add(name, (said.said, said.is_plain), place),
                    None => {
                        report.problems.add(place().line, Defect::ReservedName, place().text);
                    }
                },
                Step::Fault(Fault::Line(what)) => {
                    report.problems.add(place().line, what, place().text);
                }
                Step::Fault(Fault::Source(failure)) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Takes in the metric that a reader has come to.
    #[inline]
    fn take_metric(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &protobuf::Reader<'a>,
        before: &mut Before<'a>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if !reader.has_names_as_before() {
            before.has_names_of_page = self.takes_names(reading, reader.labels());
        }
        let Some(name) = self.family(reading, before, reader.metric().family) else {
            let Place { line, text, .. } = reader.place();
            report.problems.add(line, Defect::ReservedName, text);
            return Ok(());
        };
        self.add_metric(reading, reader, name, before.has_names_of_page, report)
    }

    /// The number of the name of a family, unless the source may not speak under it.
    #[inline]
    fn family(
        &mut self,
        reading: &Reading<'_, 'a>,
        before: &mut Before<'a>,
        plain: &'a [u8],
    ) -> Option<u32> {
        // The reader lends the name of one family as the same slice.
        if let Some((name, number)) = before.family
            && (std::ptr::eq(name, plain) || name == plain)
        {
            return number;
        }
        let name = labels::escaped(plain);
        let is_reserved =
            reading.has_reserved() && reading.is_reserved(&self.speller.metric_name(&name));
        let number = (!is_reserved).then(|| self.names.number(name, false));
        before.family = Some((plain, number));
        number
    }

    /// Whether the page can have all labels under these names.
    fn takes_names(&self, reading: &Reading<'_, 'a>, labels: &[protobuf::Pair<'a>]) -> bool {
        let relabel = &self.rows.origins[reading.position as usize].relabel;
        labels.iter().all(|(name, _)| !relabel.has(name) && self.speller.takes_name(name))
    }

    /// Makes a row of a metric of a family of this name, or a row of each of its lines.
    fn add_metric(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &protobuf::Reader<'a>,
        name: u32,
        is_as_is: bool,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let (metric, place) = (reader.metric(), reader.place());
        if metric.bytes.len() > LONGEST {
            let exceeded = Exceeded { limit: Limit::Line, allowed: LONGEST, line: place.line };
            return Err(Failure::Exceeded(exceeded));
        }
        self.names.list[name as usize].sampled_by = Some(reading.position);
        if self.format == Format::Protobuf
            && conflict::translate(metric.kind, self.format) == Some(metric.kind)
        {
            match self.row_of(reading, reader, name, is_as_is) {
                Ok(row) => {
                    self.rows.list.push(row);
                    report.samples += reader.n_samples();
                }
                Err(what) => report.problems.add(place.line, what, place.text),
            }
            return Ok(());
        }
        let Self { names, rows, speller, .. } = self;
        let origin = &mut rows.origins[reading.position as usize];
        let most = most_written(origin);
        let mut lines = Lines { names, speller: *speller, position: reading.position, most };
        match lines.of(metric, name, origin, place.line) {
            Ok(Spoken { rows: spoken, lost }) => {
                for what in lost {
                    report.problems.add(place.line, what, place.text);
                }
                report.samples += spoken.len();
                for row in spoken {
                    let hash = self.rows.origins[reading.position as usize].hash(row, &self.hasher);
                    self.hashes.push(hash);
                    self.rows.list.push(row);
                }
            }
            Err(Defect::TooLong) => {
                let exceeded = Exceeded { limit: Limit::Written, allowed: most, line: place.line };
                return Err(Failure::Exceeded(exceeded));
            }
            Err(what) => report.problems.add(place.line, what, place.text),
        }
        Ok(())
    }

    /// The row of a metric that stays one: with its labels as they are, or written anew. Its hash is
    /// added.
    #[inline]
    fn row_of(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &protobuf::Reader<'a>,
        name: u32,
        is_as_is: bool,
    ) -> Result<Row, Defect> {
        let origin = &mut self.rows.origins[reading.position as usize];
        let (metric, place) = (reader.metric(), reader.place());
        let pairs = reader.labels().iter().map(|pair| self.hasher.pair(*pair));
        let mut sum = pairs.fold(reading.sum_of_pairs, u64::wrapping_add);
        let mut span = [place.at, metric.bytes.len()];
        if !is_as_is {
            let pairs = metric.labels().map(|pair| self.speller.plain_pair(pair)).collect();
            let pairs = origin.relabel.resolve(pairs);
            if is_any_twice(&pairs) {
                return Err(Defect::LabelTwice);
            }
            sum = reading.sum_of_pairs;
            let start = origin.written.len();
            for (name, value) in &pairs {
                let [name, value] = [name, value].map(|text| labels::unescape(text, b"\""));
                sum = sum.wrapping_add(self.hasher.pair((&name, &value)));
                protobuf::push_label(&mut origin.written, &name, &value);
            }
            protobuf::push_without_labels(&mut origin.written, metric.bytes);
            span = [start, origin.written.len() - start];
        }
        self.hashes.push(self.hasher.series(name, reader.timestamp(), sum));
        let flags = when(!is_as_is, IS_WRITTEN);
        Ok(Row::of_metric(span, flags, name, (place.line, metric.kind)))
    }
}

/// Makes lines of each metric whose family is of another kind on the page; says whether there was one.
pub(super) fn explode<'a>(
    rows: &mut Rows<'a>,
    names: &mut Names<'a>,
    families: &Families,
    speller: Speller,
    reports: &mut [Report],
) -> bool {
    let mut unfit = unfit(rows, names, families).into_iter().peekable();
    if unfit.peek().is_none() {
        return false;
    }
    let old = std::mem::take(&mut rows.list);
    for (source, report) in reports.iter_mut().enumerate() {
        let end = rows.origins.get(source + 1).map_or(old.len(), |next| next.first);
        let origin = &mut rows.origins[source];
        let start = std::mem::replace(&mut origin.first, rows.list.len());
        for (at, row) in old.iter().enumerate().take(end).skip(start) {
            if unfit.next_if_eq(&at).is_none() {
                rows.list.push(*row);
                continue;
            }
            let bytes = origin.bytes(*row).to_vec();
            let kind = origin.metric(*row).kind;
            let metric = Metric { family: b"", kind, bytes: &bytes };
            report.samples -= origin.n_samples(*row);
            let most = most_written(origin);
            let mut lines = Lines { names, speller, position: index(source), most };
            let line = origin.line_number(*row);
            let spoken = lines.of(&metric, row.name, origin, line);
            let Spoken { rows: spoken, lost } =
                spoken.unwrap_or_else(|what| Spoken { rows: Vec::new(), lost: vec![what] });
            let name = &names.list[row.name as usize].bytes;
            for what in lost {
                report.problems.add(line, what, name);
            }
            report.samples += spoken.len();
            rows.list.extend(spoken);
        }
    }
    true
}

/// How many bytes may be written anew for a source: a body of lines may be four times as long, too.
fn most_written(origin: &Origin<'_>) -> usize {
    MOST_WRITTEN.max(origin.body.len().saturating_mul(4))
}

/// The metrics whose family is of another kind.
fn unfit(rows: &Rows<'_>, names: &Names<'_>, families: &Families) -> Vec<usize> {
    // By the number of a name: the kind of its family, which is asked for by each row.
    let types: Vec<_> =
        (0..index(names.list.len())).map(|name| names.list[families.of(name)].type_).collect();
    let is_unfit = |row: &Row| types[row.name as usize] != Type::Of(row.kind());
    let rows = rows.list.iter().enumerate();
    rows.filter(|(_, row)| row.is_metric() && is_unfit(row)).map(|(at, _)| at).collect()
}

// === impl Lines ===

impl Lines<'_, '_> {
    /// The lines of a metric of the family with the number `family`, written behind what was written
    /// for its source. None is written where they are too many bytes.
    pub(super) fn of(
        &mut self,
        metric: &Metric<'_>,
        family: u32,
        origin: &mut Origin<'_>,
        line: usize,
    ) -> Result<Spoken, Defect> {
        let pairs = metric.labels().map(|pair| self.speller.plain_pair(pair)).collect();
        let mut pairs = origin.relabel.resolve(pairs);
        if is_any_twice(&pairs) {
            return Err(Defect::LabelTwice);
        }
        if pairs.iter().any(|(name, _)| self.speller.refuses(name)) {
            return Err(Defect::ReservedLabel);
        }
        let n_pairs = pairs.len();
        let timestamp = metric.timestamp().map(|millis| self.speller.milliseconds(millis));
        let name = self.names.list[family as usize].bytes.clone();
        let mut spoken = Spoken::default();
        let start = origin.written.len();
        let is_lost = metric.lines(|sample| {
            if origin.written.len() > self.most {
                return;
            }
            pairs.truncate(n_pairs);
            if let Some((bound, value)) = sample.bound {
                let value = Cow::Owned(value.as_bytes().to_vec());
                pairs.push((Cow::Borrowed(bound.as_bytes()), value));
            }
            let (exemplar, lost) = self.speller.exemplar(sample.exemplar);
            spoken.lost.extend(lost);
            let name = self.name(&name, metric.kind, sample.suffix);
            spoken.rows.push(self.push(
                &mut origin.written,
                name,
                &pairs,
                [Some(sample.value.as_bytes()), timestamp.as_deref(), exemplar.as_deref()],
                line,
            ));
        });
        if origin.written.len() > self.most {
            origin.written.truncate(start);
            return Err(Defect::TooLong);
        }
        spoken.lost.extend(is_lost.then_some(Defect::NativeHistogram));
        Ok(spoken)
    }

    /// The number of the name of a line.
    fn name(&mut self, family: &[u8], kind: Kind, suffix: &str) -> u32 {
        let is_created = kind == Kind::Counter && suffix == "_created";
        let base = family.strip_suffix(b"_total").filter(|_| is_created).unwrap_or(family);
        let name = self.names.number(Cow::Owned([base, suffix.as_bytes()].concat()), false);
        self.names.list[name as usize].sampled_by = Some(self.position);
        name
    }

    /// Writes a line, and gives its row.
    fn push(
        &self,
        out: &mut Vec<u8>,
        name: u32,
        pairs: &[Pair<'_>],
        [value, timestamp, exemplar]: [Option<&[u8]>; 3],
        line: usize,
    ) -> Row {
        let start = begin_line(out, line);
        let spelled = &*self.names.list[name as usize].bytes;
        let insert = line::push_head(out, spelled, pairs);
        for (separator, part) in [(" ", value), (" ", timestamp), (" # ", exemplar)] {
            let Some(part) = part else { continue };
            out.extend_from_slice(separator.as_bytes());
            out.extend_from_slice(part);
        }
        let is_bad = |(name, value): &Pair<'_>| is_bad_bound(name, value);
        let flags = when(pairs.iter().any(is_bad), IS_SUSPECT)
            | when(!pairs.is_empty() || !labels::is_metric_name(spelled), HAS_LABELS)
            | when(timestamp.is_some() || exemplar.is_some(), HAS_MORE)
            | IS_WRITTEN;
        Row::new([start, out.len() - start, insert], flags, name)
    }
}
