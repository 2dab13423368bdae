//! One source to rows and names: all of it, or nothing where the source cannot be read.
//!
//! What a source says is first only collected. Not before its end is reached does it count: then
//! its declarations meet those of the others.

use std::borrow::Cow;

use crate::{
    exposition::{
        Defect, Exceeded, Failure, Fault, Format, Label, Limit, Limits, Metadata, Output, Place,
        Reader, Said, Sample, Step, labels, number,
        text::{self, N_RECENT},
        timestamp,
    },
    merge::{
        Source,
        declare::Declarations,
        names::Names,
        relabel::Pair,
        report::Report,
        rows::{
            LARGEST_BODY, LONGEST, Row, Rows, begin_line,
            flags::{HAS_LABELS, HAS_MORE, IS_SUSPECT, IS_WRITTEN, when},
        },
        series::Hasher,
        spell::Speller,
    },
};

/// What all sources so far have said.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    pub names: Names<'a>,
    pub rows: Rows<'a>,
    /// The hash of each row's series.
    pub hashes: Vec<u32>,
    pub hasher: Hasher,
    pub speller: Speller,
    /// The format of the page.
    pub format: Format,
    /// The names of the samples before that are not forgotten yet, by the places that the reader gave them.
    sampled: [Option<u32>; N_RECENT],
    /// The place of the name of the last sample, if it has one.
    place: Option<usize>,
    /// The name of the sample before, if the page has its line as it is.
    copied: Option<u32>,
    /// What is known of the labels of the sample before: by position, of that label and all before.
    known: Vec<Known>,
}

/// What is known of some labels together.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The sum of their hashes.
    sum: u64,
    /// Of a row: [`HAS_LABELS`], and [`IS_SUSPECT`] if one is a bound that is no number.
    flags: u32,
    /// Not zero if one has the name of a label of the source, or one that the page may not have.
    n_clashing: u32,
}

/// What of a source is asked for again and again while it is read.
pub(super) struct Reading<'s, 'a> {
    pub source: &'s Source<'a>,
    pub position: u32,
    /// The sum of the hashes of its labels.
    pub sum: u64,
    /// The same for labels as protobuf has them.
    pub sum_of_pairs: u64,
    /// What a name begins with under which it may not speak.
    reserved: &'s [u8],
}

/// How long a line is on most pages, or longer.
const LINE: usize = 100;

/// How many names many pages have; more take more memory when they come.
const N_NAMES: usize = 64;

// === impl Known ===

impl Known {
    /// Takes in what one more label says by itself.
    #[inline]
    fn add(&mut self, label: &Label<'_>, hasher: &Hasher) {
        self.sum = self.sum.wrapping_add(hasher.label(label));
        self.flags |= HAS_LABELS | when(is_bad_bound(label.name, label.value), IS_SUSPECT);
    }
}

// === impl Reading ===

impl Reading<'_, '_> {
    /// Whether there are names under which it may not speak.
    pub(super) fn has_reserved(&self) -> bool {
        !self.reserved.is_empty()
    }

    /// Whether a source may not speak under this name, which is in the spelling of the page. A family
    /// that lacks but the last underscore would say its `_count` under a reserved name.
    #[inline]
    pub(super) fn is_reserved(&self, name: &[u8]) -> bool {
        let Self { reserved, .. } = *self;
        let stem = reserved.strip_suffix(b"_").unwrap_or(reserved);
        !reserved.is_empty()
            && name.starts_with(stem)
            && (name.len() == stem.len() || name.starts_with(reserved))
    }

    /// Whether this is no time that anybody means in the unit of the source's format.
    #[inline]
    fn is_of_another_unit(&self, timestamp: Option<&[u8]>) -> bool {
        let dialect = self.source.format.dialect();
        let millis = timestamp.and_then(|timestamp| dialect.milliseconds(timestamp));
        millis.is_some_and(|millis| millis >= timestamp::END)
    }
}

// === impl Intake ===

impl<'a> Intake<'a> {
    pub(super) fn new(output: Output) -> Self {
        let speller = Speller::new(output);
        let names = Names::new(speller.escaping());
        let (rows, hashes, hasher, sampled, place, copied) = Default::default();
        let known = Vec::with_capacity(labels::N_USUAL);
        let format = output.format;
        Self { names, rows, hashes, hasher, speller, format, sampled, place, copied, known }
    }

    /// Takes one more source: sources are taken in their order. What it says under a name that
    /// begins with `reserved` is a problem, unless that is empty.
    pub(super) fn take(&mut self, source: &Source<'a>, limits: &Limits, reserved: &str) -> Report {
        let position = self.rows.begin(source, self.format.dialect());
        self.names.source = position;
        let mut report = Report::default();
        let (n_names, n_rows) = (self.names.list.len(), self.rows.list.len());
        let relabel = &self.rows.origins[position as usize].relabel;
        let sum = self.hasher.set(relabel.walk());
        let pairs = relabel.pairs().map(|pair| self.hasher.pair(pair));
        let sum_of_pairs = pairs.fold(0, u64::wrapping_add);
        let reserved = reserved.as_bytes();
        let reading = Reading { source, position, sum, sum_of_pairs, reserved };
        match self.collect(&reading, limits, &mut report) {
            Ok(declarations) => {
                declarations.declare(&mut self.names, position, self.format, &mut report);
            }
            Err(failure) => {
                self.names.truncate(n_names);
                self.rows.discard();
                self.hashes.truncate(n_rows);
                report.samples = 0;
                report.failed = Some(failure);
            }
        }
        report
    }

    /// Reads a source to its end.
    fn collect(
        &mut self,
        reading: &Reading<'_, 'a>,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<Declarations<'a>, Failure> {
        let Reading { source, .. } = *reading;
        if source.body.len() > LARGEST_BODY {
            let exceeded = Exceeded { limit: Limit::Body, allowed: LARGEST_BODY, line: 0 };
            return Err(Failure::Exceeded(exceeded));
        }
        // A guess, since to count the lines would take a look at all of them. A source that says
        // more than is allowed fails, so more is not needed. One of which not all is taken is left to
        // what comes.
        let n_lines = match source.only {
            Some(_) => 0,
            None => (source.body.len() / LINE).min(limits.samples),
        };
        self.rows.list.reserve(n_lines);
        self.hashes.reserve(n_lines);
        let n_names = N_NAMES.min(n_lines);
        self.names.reserve(n_names);
        let mut declarations = Declarations::with_capacity(n_names);
        let limits = Limits { line: limits.line.min(LONGEST), ..*limits };
        let mut reader = source.format.read(source.body, &limits);
        if let Some(prefix) = source.only {
            reader = reader.only(prefix);
        }
        match reader {
            Reader::Text(reader) => {
                self.collect_lines(reading, reader, &mut declarations, report)?;
            }
            Reader::Protobuf(reader) => {
                self.collect_messages(reading, reader, &mut declarations, report)?;
            }
        }
        Ok(declarations)
    }

    /// Reads a source of lines to its end.
    fn collect_lines(
        &mut self,
        reading: &Reading<'_, 'a>,
        mut reader: text::Reader<'a>,
        declarations: &mut Declarations<'a>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        loop {
            if let Some(name) = self.copied {
                if let Some(run) = reader.run() {
                    self.add_run(reading, &mut reader, run, name, report);
                }
                if reader.again() {
                    self.add_again(reading, &reader, name, report);
                    continue;
                }
            }
            let Some(step) = reader.step() else { return Ok(()) };
            let place = || reader.place();
            match step {
                Step::Sample => self.take_sample(reading, &reader, report),
                Step::Metadata(metadata)
                    if reading.has_reserved()
                        && reading.is_reserved(&self.speller.metric_name(metadata.family)) =>
                {
                    report.problems.add(place().line, Defect::ReservedName, place().text);
                }
                Step::Metadata(metadata) => self.declare(metadata, declarations, place),
                Step::Fault(Fault::Line(what)) => {
                    report.problems.add(place().line, what, place().text);
                }
                Step::Fault(Fault::Source(failure)) => return Err(failure),
            }
        }
    }

    /// Takes in the sample that a reader has come to.
    #[inline]
    fn take_sample(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &text::Reader<'a>,
        report: &mut Report,
    ) {
        let known = self.know(reading.position, reader.labels(), reader.n_shared());
        self.copied = None;
        self.place = reader.name_place().map(|(place, is_new)| {
            if is_new {
                self.sampled[place] = None;
            }
            place
        });
        // A name without quotes is an identifier, which stays as it is.
        let sample = reader.sample();
        let is_respelled = || reading.is_reserved(&self.speller.metric_name(sample.name));
        if reading.has_reserved()
            && (reading.is_reserved(sample.name) || sample.is_quoted && is_respelled())
        {
            let place = reader.place();
            report.problems.add(place.line, Defect::ReservedName, place.text);
        } else if reading.is_of_another_unit(reader.sample().timestamp) {
            let place = reader.place();
            report.problems.add(place.line, Defect::TimestampUnit, place.text);
        } else if known.n_clashing > 0
            || !self.speller.is_as_is(reading.source.format, reader.sample())
        {
            let place = reader.place();
            self.add_anew(reading, reader.sample(), reader.labels(), place, report);
        } else {
            self.add(reading, reader, known, report);
        }
    }

    /// Takes in a sample that is the one before with other values, of which the page has the line as
    /// it is: so it has this one's, too.
    #[inline]
    fn add_again(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &text::Reader<'a>,
        name: u32,
        report: &mut Report,
    ) {
        let Known { sum, flags, .. } = self.know_values(reader.labels(), reader.n_shared());
        let hash = self.hasher.series(name, None, sum.wrapping_add(reading.sum));
        self.copy(reader, flags, name, hash, report);
    }

    /// Takes in the samples behind one of which the page has the line as it is, as long as they have
    /// all but the last value of its labels.
    #[inline(never)]
    fn add_run(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &mut text::Reader<'a>,
        mut run: text::Run<'a>,
        name: u32,
        report: &mut Report,
    ) {
        let Self { rows, hashes, hasher, known, .. } = self;
        let [others @ .., last] = &mut known[..] else { return };
        let others = others.last().copied().unwrap_or_default();
        let is_bound = is_bound(run.label_name());
        let has_comma = reader.sample().has_comma;
        let n_before = rows.list.len();
        while let Some(line) = run.next() {
            let label = run.label(&line);
            let is_suspect = is_bound && !run.is_number(&line);
            let sum = others.sum.wrapping_add(hasher.label(&label));
            let flags = others.flags | HAS_LABELS | when(is_suspect, IS_SUSPECT);
            *last = Known { sum, flags, ..others };
            let row = Row::new([line.at, line.len, line.labels_end], flags, name);
            rows.list.push(if has_comma { row.with_comma() } else { row });
            hashes.push(hasher.series(name, None, sum.wrapping_add(reading.sum)));
        }
        report.samples += rows.list.len() - n_before;
        reader.resume(&run);
    }

    /// Takes in what is said of a family.
    fn declare(
        &mut self,
        Metadata { family, said, is_plain }: Metadata<'a>,
        declarations: &mut Declarations<'a>,
        place: impl Fn() -> Place<'a>,
    ) {
        let name = self.names.number(Cow::Borrowed(family), is_plain);
        if let Said::Type(kind) = said {
            self.names.list[name as usize].said_by = Some((self.names.source, kind));
        }
        declarations.add(name, (said, is_plain), place);
    }

    /// What is known of these labels, of which the first `n_shared` are those of the sample before.
    #[inline]
    fn know(&mut self, position: u32, labels: &[Label<'_>], n_shared: usize) -> Known {
        let Self { rows, hasher, known, speller, .. } = self;
        let relabel = &rows.origins[position as usize].relabel;
        let n = n_shared.min(known.len());
        known.truncate(n);
        let mut all = known.last().copied().unwrap_or_default();
        for label in &labels[n..] {
            all.add(label, hasher);
            all.n_clashing += u32::from(relabel.has(label.name) || speller.refuses(label.name));
            known.push(all);
        }
        all
    }

    /// The same of labels that have the names of those before, and clash with no other.
    #[inline]
    fn know_values(&mut self, labels: &[Label<'_>], n_shared: usize) -> Known {
        let Self { known, hasher, .. } = self;
        let mut all = n_shared.checked_sub(1).map_or(Known::default(), |last| known[last]);
        for at in n_shared..labels.len().min(known.len()) {
            all.add(&labels[at], hasher);
            known[at] = all;
        }
        all
    }

    /// Makes a row of a sample whose line the page can have as it is.
    #[inline]
    fn add(
        &mut self,
        reading: &Reading<'_, 'a>,
        reader: &text::Reader<'a>,
        known: Known,
        report: &mut Report,
    ) {
        let Known { sum, flags, .. } = known;
        let Sample { name, timestamp, is_quoted, .. } = *reader.sample();
        let name = self.sampled_name(reading.position, name, !is_quoted);
        let flags = flags | when(timestamp.is_some(), HAS_MORE);
        let timestamp = timestamp.and_then(|t| self.format.dialect().milliseconds(t));
        let hash = self.hasher.series(name, timestamp, sum.wrapping_add(reading.sum));
        self.copy(reader, flags, name, hash, report);
        self.copied = Some(name);
    }

    /// Makes a row of the line that a reader has come to.
    #[inline]
    fn copy(
        &mut self,
        reader: &text::Reader<'a>,
        flags: u32,
        name: u32,
        hash: u32,
        report: &mut Report,
    ) {
        let (sample, place) = (reader.sample(), reader.place());
        let has_labels = flags & HAS_LABELS != 0;
        let insert =
            sample.name.len() + if has_labels { 1 + sample.labels.as_bytes().len() } else { 0 };
        let row = Row::new([place.at, place.text.len(), insert], flags, name);
        self.rows.list.push(if sample.has_comma { row.with_comma() } else { row });
        self.hashes.push(hash);
        report.samples += 1;
    }

    /// The number of the name of a sample, which mostly is known by its place.
    #[inline]
    fn sampled_name(&mut self, position: u32, bytes: &'a [u8], is_identifier: bool) -> u32 {
        if let Some(number) = self.place.and_then(|place| self.sampled[place]) {
            return number;
        }
        let number = self.names.number(Cow::Borrowed(bytes), is_identifier);
        self.names.list[number as usize].sampled_by = Some(position);
        if let Some(place) = self.place {
            self.sampled[place] = Some(number);
        }
        number
    }

    /// Makes a row of a sample whose line is written anew.
    #[cold]
    fn add_anew(
        &mut self,
        reading: &Reading<'_, 'a>,
        sample: &Sample<'a>,
        labels: &[Label<'a>],
        place: Place<'a>,
        report: &mut Report,
    ) {
        let Reading { source, position, .. } = *reading;
        let relabel = &self.rows.origins[position as usize].relabel;
        let pairs = labels.iter().map(|label| self.speller.pair(label)).collect();
        let pairs = relabel.resolve(pairs);
        if is_any_twice(&pairs) {
            report.problems.add(place.line, Defect::LabelTwice, place.text);
            return;
        }
        if pairs.iter().any(|(name, _)| self.speller.refuses(name)) {
            report.problems.add(place.line, Defect::ReservedLabel, place.text);
            return;
        }
        let (times, lost) = match self.speller.times(source.format, sample) {
            Ok(times) => times,
            Err(what) => return report.problems.add(place.line, what, place.text),
        };
        if let Some(what) = lost {
            report.problems.add(place.line, what, place.text);
        }
        let name = self.sampled_name(position, sample.name, !sample.is_quoted);
        let spelled = &*self.names.list[name as usize].bytes;
        let written = &mut self.rows.origins[position as usize].written;
        let start = begin_line(written, place.line);
        let insert = times.push(written, spelled, &pairs, sample.value);
        let has_labels = !pairs.is_empty() || !labels::is_metric_name(spelled);
        let flags = when(has_labels, HAS_LABELS) | when(times.is_any(), HAS_MORE) | IS_WRITTEN;
        let span = [start, written.len() - start, insert];
        self.push_written(reading, span, flags, name);
        report.samples += 1;
    }

    /// Makes a row of a line that was written anew.
    fn push_written(&mut self, reading: &Reading<'_, 'a>, span: [usize; 3], flags: u32, name: u32) {
        let origin = &self.rows.origins[reading.position as usize];
        let row = Row::new(span, flags, name);
        let is_bad = |label: Label<'_>| is_bad_bound(label.name, label.value);
        let is_suspect = origin.line(row).labels().walk().any(is_bad);
        let row = Row::new(span, flags | when(is_suspect, IS_SUSPECT), name);
        self.hashes.push(origin.hash(row, &self.hasher));
        self.rows.list.push(row);
    }
}

/// Whether a label would be a bound in some family, and is no number.
#[inline]
pub(super) fn is_bad_bound(name: &[u8], value: &[u8]) -> bool {
    is_bound(name) && !number::is_float(value)
}

/// Whether a label of this name is a bound in some family.
#[inline]
fn is_bound(name: &[u8]) -> bool {
    matches!(name, b"le" | b"quantile")
}

/// Whether two labels have one name.
pub(super) fn is_any_twice(pairs: &[Pair<'_>]) -> bool {
    pairs
        .iter()
        .enumerate()
        .any(|(at, (name, _))| pairs[..at].iter().any(|(other, _)| other == name))
}
