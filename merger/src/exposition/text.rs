//! The formats of lines, text 0.0.4 and 1.0.0 and `OpenMetrics`: lines to entries.
//!
//! The reader takes what the servers take, and more: CRLF, blanks around everything, comments,
//! blank lines, exemplars, the kinds of `OpenMetrics`, names in quotes, in whichever of the formats a
//! page is. The formats differ in the unit of a timestamp and in what the end of a page is
//! ([`Dialect`]). Strict lines are written by [`mod@line`].

#![expect(
    clippy::inline_always,
    reason = "what is handed over by reference is worth as much as reading it: measured, a sixth of a merge"
)]

use memchr::memchr;

use crate::exposition::{
    Defect, Entry, Exceeded, Failure, Fault, Label, Limit, Limits, Metadata, Place, Sample, Step,
    labels, number, scan, timestamp,
};

use self::only::{Found, Only};
pub use self::{recent::N_RECENT, run::Run};

pub mod line;
mod metadata;
mod only;
mod recent;
mod run;
mod sample;
mod set;

/// What the formats of lines differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Timestamps in milliseconds; comments and blank lines say nothing.
    Text,
    /// Timestamps in seconds; the last line is `# EOF`, without which the page was cut off.
    OpenMetrics,
}

/// Reads lines. Ends behind the last one, and where nothing of the source is to be read.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Up to where it is read now.
    body: &'a [u8],
    /// The offset of the next line.
    at: usize,
    place: Place<'a>,
    dialect: Dialect,
    limits: Limits,
    n_samples: usize,
    n_metadata: usize,
    /// Nothing more has to be seen for the page to be whole.
    is_whole: bool,
    before: sample::Before<'a>,
    sample: Sample<'a>,
    /// What the last line of metadata was for that was [plain](metadata::read_plain).
    family: &'a [u8],
    /// What else is to be read, where that is not all.
    only: Option<Only<'a>>,
}

// === impl Dialect ===

impl Dialect {
    /// A timestamp of a line in milliseconds. None where it does not fit.
    #[must_use]
    pub fn milliseconds(self, timestamp: &[u8]) -> Option<i64> {
        match self {
            Self::Text => number::milliseconds(timestamp),
            Self::OpenMetrics => timestamp::millis(timestamp),
        }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins at the first line of `body`.
    #[must_use]
    pub fn new(body: &'a [u8], dialect: Dialect, limits: &Limits) -> Self {
        Self {
            body,
            // A byte order mark is no part of the first line.
            at: if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 },
            place: Place::default(),
            dialect,
            limits: *limits,
            n_samples: 0,
            n_metadata: 0,
            is_whole: dialect == Dialect::Text,
            before: sample::Before::new(),
            sample: Sample::default(),
            family: b"",
            only: None,
        }
    }

    /// Reads only what is said of families whose names begin with `prefix`, which is all or a part of an
    /// identifier. What else stands there has no limits, and nothing is wrong with it.
    #[must_use]
    pub fn only(mut self, prefix: &'a [u8]) -> Self {
        self.only = Some(Only::new(self.body, self.dialect, prefix));
        (self.body, self.is_whole) = (&self.body[..self.at], true);
        self
    }

    /// Where the last item stood.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }

    /// The labels of the sample that was the last item.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        self.before.set.labels()
    }

    /// How many of these, from the first on, are byte for byte those of the sample before.
    #[must_use]
    pub fn n_shared(&self) -> usize {
        self.before.set.n_shared()
    }

    /// Which of [`N_RECENT`] places the name of the sample that was the last item has, and whether it has it
    /// only now. A name in quotes has none.
    #[inline]
    #[must_use]
    pub fn name_place(&self) -> Option<(usize, bool)> {
        self.before.name_place.map(|place| (place, self.before.is_new_name))
    }

    /// The sample that was the last step.
    #[must_use]
    pub fn sample(&self) -> &Sample<'a> {
        &self.sample
    }

    /// Goes on to the next thing that is said, or that is wrong.
    #[inline(always)]
    pub fn step(&mut self) -> Option<Step<'a>> {
        match self.body.get(self.at) {
            Some(b'#') => match self.read_plain_metadata() {
                Some(metadata) => Some(Step::Metadata(metadata)),
                None => self.step_on(),
            },
            None | Some(b' ' | b'\t' | b'\n' | b'\r') => self.step_on(),
            // Mostly a sample begins here, and so there is nothing to hand over.
            Some(_) => Some(match self.read_sample_line() {
                Ok(()) => Step::Sample,
                Err(fault) => self.stop(fault),
            }),
        }
    }

    /// Begins to read lines that are the one before with another value of the last label and another
    /// number, if there may be such.
    #[inline]
    #[must_use]
    pub fn run(&self) -> Option<Run<'a>> {
        let Limits { samples, .. } = self.limits;
        let limits = Limits { samples: samples.saturating_sub(self.n_samples), ..self.limits };
        Run::new(self.body, self.at, &self.before, limits)
    }

    /// Goes on behind the last line of a run that began here.
    #[inline]
    pub fn resume(&mut self, run: &Run<'a>) {
        let (n_lines, line) = run.lines();
        if n_lines == 0 {
            return;
        }
        let text = &self.body[line.at..];
        self.before.keep_last(text, run.label(&line), line.labels_end);
        let sample = &mut self.sample;
        sample.labels = self.before.set.as_labels();
        // A blank stands before the number, and behind the brace that closes the labels.
        let brace = line.labels_end + usize::from(sample.has_comma);
        sample.value = &text[brace + 2..line.len];
        let number = self.place.line + n_lines;
        self.place = Place { line: number, at: line.at, text: &text[..line.len] };
        self.at = run.at();
        self.n_samples += n_lines;
    }

    /// Goes on to the next sample, if it is the one before with other values of labels and another number:
    /// its name, the names of its labels and all else that is known of a sample are the same. What is
    /// said over and over needs no second look.
    #[inline(always)]
    pub fn again(&mut self) -> bool {
        let Self { body, at, place, limits, n_samples, before, sample, .. } = self;
        if *n_samples >= limits.samples {
            return false;
        }
        let text = &body[*at..];
        let Some(len) = sample::read_again(text, limits, before, sample) else { return false };
        *place = Place { line: place.line + 1, at: *at, text: &text[..len] };
        *at += len + usize::from(len < text.len());
        *n_samples += 1;
        true
    }

    /// Goes on to the next line that says something, whatever it says.
    #[inline(never)]
    fn step_on(&mut self) -> Option<Step<'a>> {
        loop {
            let found = match self.body.get(self.at) {
                None if self.go_on() => continue,
                None => break,
                Some(b'#' | b' ' | b'\t' | b'\n' | b'\r') => self.read(),
                Some(_) => self.read_sample_line().map(|()| Some(Step::Sample)),
            };
            match found {
                Ok(None) => {}
                Ok(Some(step)) => return Some(step),
                Err(fault) => return Some(self.stop(fault)),
            }
        }
        if self.is_whole {
            return None;
        }
        self.is_whole = true;
        Some(Step::Fault(Fault::Source(Failure::NoEof)))
    }

    /// Goes on to the next lines of those that alone are to be read, if there are more.
    fn go_on(&mut self) -> bool {
        let Some(only) = &mut self.only else { return false };
        let Some(Found { n_passed, at, body }) = only.next(self.at) else {
            self.is_whole = only.is_whole;
            self.only = None;
            return false;
        };
        self.place.line += n_passed;
        (self.at, self.body) = (at, body);
        true
    }

    /// Sees to it that nothing is read behind what costs the source.
    fn stop(&mut self, fault: Fault) -> Step<'a> {
        if let Fault::Source(_) = fault {
            (self.at, self.is_whole, self.only) = (self.body.len(), true, None);
        }
        Step::Fault(fault)
    }

    /// What the next line says, if anything.
    fn read(&mut self) -> Result<Option<Step<'a>>, Fault> {
        self.begin_line();
        let line = self.take_line(&self.body[self.at..]);
        self.check_length(line)?;
        match labels::skip_blanks(line) {
            [] if self.dialect == Dialect::OpenMetrics => Err(Fault::Line(Defect::BlankLine)),
            [] => Ok(None),
            [b'#', comment @ ..] => Ok(self.read_comment(comment)?.map(Step::Metadata)),
            indented => {
                let read = self.read_sample(indented);
                read.map_err(|error| self.fault(error))?;
                (self.sample.strict, self.sample.has_comma) = (false, false);
                self.before.is_plain = false;
                self.count_sample().map(|()| Some(Step::Sample))
            }
        }
    }

    /// Reads the next line, which begins with a sample.
    #[inline(always)]
    fn read_sample_line(&mut self) -> Result<(), Fault> {
        self.begin_line();
        let rest = &self.body[self.at..];
        let Self { limits, before, sample, family, .. } = self;
        if let Some(len) = sample::read_lone(rest, family, limits, before, sample) {
            self.take(len, &rest[..len]);
            return self.count_sample();
        }
        match self.read_sample(rest) {
            Ok(len) => {
                self.take(len, &rest[..len]);
                self.check_length(&rest[..len])?;
                self.count_sample()
            }
            Err(error) => {
                let line = self.take_line(rest);
                self.check_length(line)?;
                Err(self.fault(error))
            }
        }
    }

    /// Reads the sample at the beginning of `text`, and gives how long it is.
    #[inline(always)]
    fn read_sample(&mut self, text: &'a [u8]) -> Result<usize, sample::Error> {
        let Self { dialect, limits, before, sample, family, .. } = self;
        sample::read(text, (*dialect, family), limits, before, sample)
    }

    #[inline]
    fn begin_line(&mut self) {
        self.place = Place { line: self.place.line + 1, at: self.at, text: &[] };
    }

    #[inline]
    fn count_sample(&mut self) -> Result<(), Fault> {
        self.n_samples += 1;
        if self.n_samples > self.limits.samples {
            return Err(self.exceeded(Limit::Samples, self.limits.samples));
        }
        Ok(())
    }

    /// Reads the next line if it is one of metadata as most of them are; otherwise nothing has happened.
    fn read_plain_metadata(&mut self) -> Option<Metadata<'a>> {
        let text = &self.body[self.at..];
        let (metadata, len) = metadata::read_plain(text, self.family)?;
        let Limits { samples, name, line, .. } = self.limits;
        let has_room = self.n_metadata < samples.saturating_mul(2);
        if !has_room || metadata.family.len() > name || len > line {
            return None;
        }
        self.n_metadata += 1;
        self.family = metadata.family;
        self.place = Place { line: self.place.line + 1, at: self.at, text: &text[..len] };
        self.at += len + 1;
        Some(metadata)
    }

    /// HELP, TYPE and UNIT say something, every other comment does not.
    fn read_comment(&mut self, comment: &'a [u8]) -> Result<Option<Metadata<'a>>, Fault> {
        let (word, rest) = split_word(labels::skip_blanks(comment));
        let is_openmetrics = self.dialect == Dialect::OpenMetrics;
        match word {
            b"HELP" | b"TYPE" if !rest.is_empty() => self.read_metadata(word, rest),
            b"UNIT" if is_openmetrics && !rest.is_empty() => self.read_metadata(word, rest),
            b"EOF" if is_openmetrics && rest.is_empty() => {
                self.is_whole = self.body[self.at..].trim_ascii_start().is_empty();
                if self.is_whole { Ok(None) } else { Err(Fault::Line(Defect::EarlyEof)) }
            }
            _ if is_openmetrics => Err(Fault::Line(Defect::Comment)),
            _ => Ok(None),
        }
    }

    fn read_metadata(
        &mut self,
        word: &[u8],
        rest: &'a [u8],
    ) -> Result<Option<Metadata<'a>>, Fault> {
        scan::check_text(rest).map_err(Fault::Line)?;
        self.n_metadata += 1;
        let allowed = self.limits.samples.saturating_mul(2);
        if self.n_metadata > allowed {
            return Err(self.exceeded(Limit::Metadata, allowed));
        }
        let (family, rest) = metadata::family(rest).ok_or(Fault::Line(Defect::FamilyName))?;
        if family.len() > self.limits.name {
            return Err(self.exceeded(Limit::Name, self.limits.name));
        }
        let said = metadata::read(word, rest, self.dialect).map_err(Fault::Line)?;
        Ok(said.map(|said| Metadata { family, said, is_plain: false }))
    }

    /// Goes behind the line at the beginning of `rest`, and gives it without its end.
    fn take_line(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let mut line = &rest[..end];
        // All of them: what is written of a line must not end in what is a line end to a reader.
        while let [text @ .., b'\r'] = line {
            line = text;
        }
        self.take(end, line);
        line
    }

    /// Goes behind a line that says `text`, and that is `len` bytes long without its end.
    #[inline(always)]
    fn take(&mut self, len: usize, text: &'a [u8]) {
        self.place.text = text;
        self.at += len;
        while self.body.get(self.at) == Some(&b'\r') {
            self.at += 1;
        }
        self.at += usize::from(self.at < self.body.len());
    }

    fn check_length(&self, line: &[u8]) -> Result<(), Fault> {
        if line.len() > self.limits.line {
            return Err(self.exceeded(Limit::Line, self.limits.line));
        }
        Ok(())
    }

    /// What is wrong with the line that was taken.
    #[cold]
    fn fault(&self, error: sample::Error) -> Fault {
        if let Err(what) = scan::check_text(self.place.text) {
            return Fault::Line(what);
        }
        match error {
            sample::Error::Defect(what) => Fault::Line(what),
            sample::Error::Limit(limit, allowed) => self.exceeded(limit, allowed),
        }
    }

    fn exceeded(&self, limit: Limit, allowed: usize) -> Fault {
        let exceeded = Exceeded { limit, allowed, line: self.place.line };
        Fault::Source(Failure::Exceeded(exceeded))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(mut run) = self.run()
            && run.next().is_some()
        {
            self.resume(&run);
            return Some(Ok(Entry::Sample(self.sample)));
        }
        if self.again() {
            return Some(Ok(Entry::Sample(self.sample)));
        }
        Some(match self.step()? {
            Step::Sample => Ok(Entry::Sample(self.sample)),
            Step::Metadata(metadata) => Ok(Entry::Metadata(metadata)),
            Step::Fault(fault) => Err(fault),
        })
    }
}

/// What stands before the first blank, and what follows the blanks.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    (&text[..end], labels::skip_blanks(&text[end..]))
}

#[cfg(test)]
mod tests;
