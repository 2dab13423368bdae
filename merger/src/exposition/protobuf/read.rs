//! Delimited messages to entries: of a family what is said of it, then each of its metrics.
//!
//! A metric is given out as its bytes, once `verify` let it through. What costs how much is in the
//! table of [`protobuf`](super).

use crate::exposition::{
    Defect, Entry, Exceeded, Failure, Fault, Kind, Limit, Limits, Metadata, Place, Said, Step,
    protobuf::{
        Metric, Pair,
        content::set,
        schema::{self, FAMILY_HELP, FAMILY_METRIC, FAMILY_NAME, FAMILY_TYPE, FAMILY_UNIT},
        verify::{self, Verifier},
        wire::{self, Fields, Malformed},
    },
};

/// Reads messages. Ends behind the last one, and where one is cut off or a limit is reached.
#[derive(Debug)]
pub struct Reader<'a> {
    body: &'a [u8],
    /// The messages that were not begun.
    rest: &'a [u8],
    family: Option<Open<'a>>,
    /// What the names of families begin with that are read.
    only: &'a [u8],
    /// The number of metrics that were met, good or not.
    n_metrics: usize,
    /// The samples that they count as.
    n_counted: usize,
    n_metadata: usize,
    limits: Limits,
    verifier: Verifier<'a>,
    place: Place<'a>,
    metric: Metric<'a>,
}

/// A family, of which some was given out.
#[derive(Debug)]
struct Open<'a> {
    name: &'a [u8],
    kind: Result<Kind, Defect>,
    /// What is to be given out before the metrics.
    help: Option<&'a [u8]>,
    type_: Option<Kind>,
    unit: Option<&'a [u8]>,
    /// What was not walked yet.
    fields: Fields<'a>,
    /// The offset in the body of its first byte, and of what follows it.
    start: usize,
    end: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins at the first message of `body`.
    #[must_use]
    pub fn new(body: &'a [u8], limits: &Limits) -> Self {
        Self {
            body,
            rest: body,
            family: None,
            only: b"",
            n_metrics: 0,
            n_counted: 0,
            n_metadata: 0,
            limits: *limits,
            verifier: Verifier::new(limits),
            place: Place::default(),
            metric: Metric { family: &[], kind: Kind::Untyped, bytes: &[] },
        }
    }

    /// Reads only families whose names begin with `prefix`. The others have no limits, and nothing is wrong
    /// with one that can be walked.
    #[must_use]
    pub fn only(self, prefix: &'a [u8]) -> Self {
        Self { only: prefix, ..self }
    }

    /// Where the last item stood. The line is the number of the metric from 1, of all in the body; of
    /// what is said of a family it is the number of the first metric. The text is the name of the
    /// family, the offset that of the metric, or of the family.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }

    /// The metric that was the last step.
    #[must_use]
    pub fn metric(&self) -> &Metric<'a> {
        &self.metric
    }

    /// How many samples it is in the formats of lines, at least one.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.verifier.found().n_lines
    }

    /// When it was taken, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        self.verifier.found().timestamp
    }

    /// Its labels, in the order of the source.
    #[must_use]
    pub fn labels(&self) -> &[Pair<'a>] {
        self.verifier.labels().pairs()
    }

    /// Whether their names are those of the metric that was lent before, in the same order.
    #[must_use]
    pub fn has_names_as_before(&self) -> bool {
        self.verifier.labels().has_names_as_before()
    }

    /// Goes on to the next thing that is said, or that is wrong.
    #[inline]
    pub fn step(&mut self) -> Option<Step<'a>> {
        // Mostly a metric follows, and so there is nothing to hand over.
        match self.next_metric() {
            Some(Ok(())) => Some(Step::Sample),
            Some(Err(fault)) => Some(self.stop(fault)),
            None => self.step_on(),
        }
    }

    /// Goes on to what is said of a family, behind the last metric of the one before.
    fn step_on(&mut self) -> Option<Step<'a>> {
        loop {
            let found = match self.next_of_header() {
                Some(metadata) => metadata.map(Step::Metadata),
                None => match self.next_metric() {
                    Some(is_good) => is_good.map(|()| Step::Sample),
                    None if self.rest.is_empty() => return None,
                    None => match self.open() {
                        Ok(()) => continue,
                        Err(fault) => Err(fault),
                    },
                },
            };
            return Some(found.unwrap_or_else(|fault| self.stop(fault)));
        }
    }

    /// Nothing more is read behind a fault that costs the source.
    fn stop(&mut self, fault: Fault) -> Step<'a> {
        if let Fault::Source(_) = fault {
            (self.rest, self.family) = (&[], None);
        }
        Step::Fault(fault)
    }

    /// Opens the next family. One that is malformed, or is not to be read, is behind us then.
    fn open(&mut self) -> Result<(), Fault> {
        let at = self.body.len() - self.rest.len();
        self.place = Place { line: self.n_metrics + 1, at, text: &[] };
        let (message, rest) = delimited(self.rest).ok_or(Fault::Source(Failure::CutOff { at }))?;
        self.rest = rest;
        let end = self.body.len() - rest.len();
        let mut family = Open::new(message, end).map_err(|_| Fault::Line(Defect::Message))?;
        if !family.name.starts_with(self.only) {
            while family.next_metric().is_some() {
                self.n_metrics += 1;
            }
            return Ok(());
        }
        self.place = Place { at: family.start, text: family.name, ..self.place };
        match self.verifier.check_name(family.name) {
            Ok(()) => {}
            Err(verify::Error::Defect(what)) => family.kind = Err(what),
            Err(error) => return Err(self.fault(error)),
        }
        if let Ok(kind) = family.kind {
            family.type_ = Some(kind);
        } else {
            // What is said of such a family is lost with its metrics, of which each is a problem.
            (family.help, family.unit) = (None, None);
        }
        self.family = Some(family);
        Ok(())
    }

    /// What the open family says before its metrics, one after the other.
    fn next_of_header(&mut self) -> Option<Result<Metadata<'a>, Fault>> {
        let open = self.family.as_mut()?;
        let family = open.name;
        let (said, is_good) = if let Some(help) = open.help.take() {
            (Said::Help(help.into()), self.check_metadata(help))
        } else if let Some(kind) = open.type_.take() {
            (Said::Type(kind), self.check_metadata(&[]))
        } else {
            let unit = open.unit.take()?;
            let is_good = self.verifier.check_line(unit).map_err(|error| self.fault(error));
            (Said::Unit(unit), is_good)
        };
        Some(is_good.map(|()| Metadata { family, said, is_plain: false }))
    }

    /// The next metric of the open family, once the header was given out.
    fn next_metric(&mut self) -> Option<Result<(), Fault>> {
        let open = self.family.as_mut().filter(|open| !open.has_header())?;
        let (bytes, at) = open.next_metric()?;
        let Open { name: family, kind, .. } = *open;
        self.n_metrics += 1;
        self.place = Place { line: self.n_metrics, at, text: family };
        let kind = match kind {
            Ok(kind) => kind,
            Err(what) => return Some(Err(Fault::Line(what))),
        };
        if let Err(error) = self.verifier.check_metric(bytes, kind) {
            return Some(Err(self.fault(error)));
        }
        self.n_counted = self.n_counted.saturating_add(self.verifier.found().weight);
        if self.n_counted > self.limits.samples {
            let error = verify::Error::Limit(Limit::Samples, self.limits.samples);
            return Some(Err(self.fault(error)));
        }
        self.metric = Metric { family, kind, bytes };
        Some(Ok(()))
    }

    /// Counts what the formats of lines say in a HELP or TYPE line.
    fn check_metadata(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.n_metadata += 1;
        let allowed = self.limits.samples.saturating_mul(2);
        if self.n_metadata > allowed {
            return Err(self.fault(verify::Error::Limit(Limit::Metadata, allowed)));
        }
        self.verifier.check_line(text).map_err(|error| self.fault(error))
    }

    fn fault(&self, error: verify::Error) -> Fault {
        match error {
            verify::Error::Defect(what) => Fault::Line(what),
            verify::Error::Limit(limit, allowed) => {
                Fault::Source(Failure::Exceeded(Exceeded { limit, allowed, line: self.place.line }))
            }
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.step()? {
            Step::Sample => Ok(Entry::Metric(self.metric)),
            Step::Metadata(metadata) => Ok(Entry::Metadata(metadata)),
            Step::Fault(fault) => Err(fault),
        })
    }
}

/// The message behind its length, and what follows it.
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = wire::varint(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

// === impl Open ===

impl<'a> Open<'a> {
    /// Walks over the message once, since what is said of the family may stand behind its metrics.
    fn new(message: &'a [u8], end: usize) -> Result<Self, Malformed> {
        let (mut name, mut help, mut unit, mut type_) = (None, None, None, 0);
        let mut fields = Fields::new(message);
        loop {
            while fields.next_of(FAMILY_METRIC).is_some() {}
            let Some(field) = fields.next_field()? else { break };
            match field.number {
                FAMILY_METRIC => drop(field.value.bytes()?),
                FAMILY_NAME => set(&mut name, field.value.bytes()?)?,
                FAMILY_HELP => set(&mut help, field.value.bytes()?)?,
                FAMILY_TYPE => type_ = field.value.integer()?,
                FAMILY_UNIT => set(&mut unit, field.value.bytes()?)?,
                _ => {}
            }
        }
        Ok(Self {
            name: name.unwrap_or_default(),
            kind: schema::kind_of(type_).ok_or(Defect::Type),
            help: help.filter(|help| !help.is_empty()),
            type_: None,
            unit: unit.filter(|unit| !unit.is_empty()),
            fields: Fields::new(message),
            start: end - message.len(),
            end,
        })
    }

    /// Whether something is still to be given out before the metrics.
    fn has_header(&self) -> bool {
        self.help.is_some() || self.type_.is_some() || self.unit.is_some()
    }

    /// The next metric and its offset in the body.
    fn next_metric(&mut self) -> Option<(&'a [u8], usize)> {
        let bytes = loop {
            if let Some(bytes) = self.fields.next_of(FAMILY_METRIC) {
                break bytes;
            }
            // All fields were walked before, so none of them is malformed.
            let field = self.fields.next_field().ok()??;
            if field.number == FAMILY_METRIC {
                break field.value.bytes().ok()?;
            }
        };
        Some((bytes, self.end - self.fields.rest().len() - bytes.len()))
    }
}
