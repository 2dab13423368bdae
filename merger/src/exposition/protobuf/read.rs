//! Delimited messages to entries: of a family what is said of it, then each of its metrics.
//!
//! A metric is given out as its bytes, once `verify` let it through. What costs how much is in the
//! table of [`protobuf`](super).

use crate::exposition::{
    Defect, Entry, Exceeded, Failure, Fault, Kind, Limit, Limits, Place,
    protobuf::{
        Metric,
        content::set,
        schema::{self, FAMILY_HELP, FAMILY_METRIC, FAMILY_NAME, FAMILY_TYPE, FAMILY_UNIT},
        verify::{self, Size, Verifier},
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
    /// The number of metrics that were met, good or not.
    n_metrics: usize,
    /// The samples that they count as.
    n_counted: usize,
    /// How many lines the last metric makes.
    n_last: usize,
    n_metadata: usize,
    limits: Limits,
    verifier: Verifier<'a>,
    place: Place<'a>,
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
            n_metrics: 0,
            n_counted: 0,
            n_last: 0,
            n_metadata: 0,
            limits: *limits,
            verifier: Verifier::new(limits),
            place: Place::default(),
        }
    }

    /// Where the last item stood. The line is the number of the metric from 1, of all in the body; of
    /// what is said of a family it is the number of the first metric. The text is the name of the
    /// family, the offset that of the metric, or of the family.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }

    /// How many samples the metric that was the last item is in the formats of lines, at least one.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.n_last
    }

    /// Opens the next family. One that is malformed is behind us then.
    fn open(&mut self) -> Result<(), Fault> {
        let at = self.body.len() - self.rest.len();
        self.place = Place { line: self.n_metrics + 1, at, text: &[] };
        let (message, rest) = delimited(self.rest).ok_or(Fault::Source(Failure::CutOff { at }))?;
        self.rest = rest;
        let end = self.body.len() - rest.len();
        let mut family = Open::new(message, end).map_err(|_| Fault::Line(Defect::Message))?;
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
    fn next_of_header(&mut self) -> Option<Result<Entry<'a>, Fault>> {
        let open = self.family.as_mut()?;
        let family = open.name;
        if let Some(help) = open.help.take() {
            let is_good = self.check_metadata(help);
            return Some(is_good.map(|()| Entry::Help { family, help: help.into() }));
        }
        if let Some(kind) = open.type_.take() {
            return Some(self.check_metadata(&[]).map(|()| Entry::Type { family, kind }));
        }
        let unit = open.unit.take()?;
        let is_good = self.verifier.check_line(unit).map_err(|error| self.fault(error));
        Some(is_good.map(|()| Entry::Unit { family, unit }))
    }

    /// The next metric of the open family.
    fn next_metric(&mut self) -> Option<Result<Metric<'a>, Fault>> {
        let open = self.family.as_mut()?;
        let (bytes, at) = open.next_metric()?;
        let Open { name: family, kind, .. } = *open;
        self.n_metrics += 1;
        self.place = Place { line: self.n_metrics, at, text: family };
        let kind = match kind {
            Ok(kind) => kind,
            Err(what) => return Some(Err(Fault::Line(what))),
        };
        match self.verifier.check_metric(bytes, kind) {
            Ok(Size { n_lines, n_samples }) => {
                self.n_last = n_lines;
                self.n_counted = self.n_counted.saturating_add(n_samples);
            }
            Err(error) => return Some(Err(self.fault(error))),
        }
        if self.n_counted > self.limits.samples {
            let error = verify::Error::Limit(Limit::Samples, self.limits.samples);
            return Some(Err(self.fault(error)));
        }
        Some(Ok(Metric { family, kind, bytes }))
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
        loop {
            let item = match self.next_of_header() {
                None => self.next_metric().map(|metric| metric.map(Entry::Metric)),
                item => item,
            };
            let item = match item {
                None if self.rest.is_empty() => return None,
                None => self.open().err().map(Err),
                item => item,
            };
            if let Some(Err(Fault::Source(_))) = item {
                (self.rest, self.family) = (&[], None);
            }
            if item.is_some() {
                return item;
            }
        }
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
        while let Some(field) = fields.next_field()? {
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

    /// The next metric and its offset in the body.
    fn next_metric(&mut self) -> Option<(&'a [u8], usize)> {
        // All fields were walked before, so none of them is malformed.
        while let Ok(Some(field)) = self.fields.next_field() {
            if field.number == FAMILY_METRIC {
                let bytes = field.value.bytes().ok()?;
                return Some((bytes, self.end - self.fields.rest().len() - bytes.len()));
            }
        }
        None
    }
}
