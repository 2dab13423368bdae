//! What every exposition format says, as one stream of entries that borrow from the buffer.
//!
//! A reader is lenient: what it cannot read costs the line, is named, and the next line is read.
//! A writer is strict: what it writes is read by `promtool check metrics`, by the server and by
//! `prometheus_client`. A reader gives each [`Entry`], a writer takes a [`Header`] and strict lines,
//! a [`Point`] or a metric as it came; they know nothing else of each other, and who combines several
//! expositions knows the insides of neither. Which source an entry came from is left to that one.
//! What becomes of what one format says in another is the table in [`merge`](crate::merge).

use std::{borrow::Cow, fmt};

pub mod escaping;
pub mod exemplar;
pub mod family;
pub mod float;
pub mod labels;
pub mod negotiate;
pub mod number;
pub mod openmetrics;
pub mod point;
pub mod problem;
pub mod protobuf;
mod scan;
pub mod text;
pub mod timestamp;

use self::text::Dialect;
pub use self::{
    escaping::Escaping,
    exemplar::Exemplar,
    labels::{Label, Labels},
    point::Point,
    problem::{Defect, Problem},
};

/// A format that is read and written. The table stays open: each format is one more variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Prometheus text format 0.0.4.
    Text,
    /// The Prometheus text format 1.0.0: 0.0.4, and names in quotes may be any UTF-8.
    Text1,
    /// `OpenMetrics` 0.0.1, which differs from 1.0.0 in nothing that is read or written here.
    OpenMetrics0,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// Messages `io.prometheus.client.MetricFamily`, each behind its length.
    Protobuf,
}

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The format of the page.
    pub format: Format,
    /// What becomes of names that are no identifiers. Text 0.0.4 has no place for them, so that
    /// [`Escaping::AllowUtf8`] means [`Escaping::Underscores`] there.
    pub escaping: Escaping,
}

/// What stands before the samples of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name in the words of text and protobuf: a counter has its `_total`, an info its `_info`.
    /// In the strict spelling, as all names.
    pub name: &'a [u8],
    /// The kind that all sources together come to; nothing where none said one.
    pub kind: Option<Kind>,
    /// What it is for: plain UTF-8, not empty.
    pub help: Option<&'a [u8]>,
    /// Its unit.
    pub unit: Option<&'a [u8]>,
}

/// The kind of a family, in the words of all formats together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, except at a restart.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Cumulative buckets with `le`, and `_sum` and `_count`.
    Histogram,
    /// Quantiles, and `_sum` and `_count`.
    Summary,
    /// Nothing is known, as text 0.0.4 says it.
    Untyped,
    /// Nothing is known, as `OpenMetrics` says it.
    Unknown,
    /// A histogram whose buckets shrink: `OpenMetrics` alone.
    GaugeHistogram,
    /// Labels with the value 1: `OpenMetrics` alone.
    Info,
    /// A row of booleans: `OpenMetrics` alone.
    StateSet,
}

/// One statement of an exposition. All slices are slices of the source's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// What is said of a family beside its samples.
    Metadata(Metadata<'a>),
    /// One sample of one series, as the formats of lines say it.
    Sample(Sample<'a>),
    /// All that is said of one label set at one time, as protobuf says it.
    Metric(protobuf::Metric<'a>),
}

/// One thing that is said of a family: a line, or a field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// A metric name. One that stood in quotes is without them, escaped as the source did it.
    pub family: &'a [u8],
    /// What is said of it.
    pub said: Said<'a>,
    /// The name is an identifier, and nothing in a help is escaped in any format: it is all plain bytes,
    /// without a quote or a backslash.
    pub is_plain: bool,
}

/// What can be said of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// What it is for: plain UTF-8, for which an escape has to be taken out; may be empty.
    Help(Cow<'a, [u8]>),
    /// What kind it is of, as the source says it.
    Type(Kind),
    /// What unit it is in; not empty.
    Unit(&'a [u8]),
}

/// One sample of one series. What is not parsed cannot be altered, so its parts stay bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample<'a> {
    /// A metric name. One that stood in quotes is without them, escaped as the source did it.
    pub name: &'a [u8],
    /// The label set, in the order of the source; no name occurs twice.
    pub labels: Labels<'a>,
    /// A number, as [`number::is_float`] knows it.
    pub value: &'a [u8],
    /// The time since 1970: in text milliseconds in digits, in `OpenMetrics` seconds.
    pub timestamp: Option<&'a [u8]>,
    /// What follows the `#` of an exemplar, unchecked.
    pub exemplar: Option<&'a [u8]>,
    /// The name, or that of a label, stands in quotes.
    pub is_quoted: bool,
    /// Whether its line, without its end, is byte for byte what the strict writer of its format writes.
    pub strict: bool,
    /// It would be strict, were there no comma behind the last label.
    pub has_comma: bool,
}

/// What a reader has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A sample or a metric, which the reader lends: moving it would cost as much as reading it.
    Sample,
    /// What is said of a family.
    Metadata(Metadata<'a>),
    /// Something that cannot be read.
    Fault(Fault),
}

/// Where in a body the last item of a reader stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The line, from 1.
    pub line: usize,
    /// The offset of its first byte in the body.
    pub at: usize,
    /// Its bytes, without the line end.
    pub text: &'a [u8],
}

/// Why an entry could not be read, by what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It costs this line; the next is read.
    Line(Defect),
    /// It costs the source; nothing more is read.
    Source(Failure),
}

/// Why nothing of a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It says too much.
    Exceeded(Exceeded),
    /// A page of `OpenMetrics` whose last line is not `# EOF`: it was cut off.
    NoEof,
    /// The last message is shorter than it says.
    CutOff {
        /// Where the message begins in the body.
        at: usize,
    },
}

/// How much one source may say. The defaults are those of the design, section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples in a source; of HELP and TYPE lines there may be twice as many.
    pub samples: usize,
    /// Labels of a sample.
    pub labels: usize,
    /// Bytes of a metric name or a label name.
    pub name: usize,
    /// Bytes of a label value, as escaped by the source.
    pub value: usize,
    /// Bytes of a line, without its end.
    pub line: usize,
}

/// A limit that a source ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which one.
    pub limit: Limit,
    /// How much it allows, in the unit of the limit.
    pub allowed: usize,
    /// The line that was one too many, from 1.
    pub line: usize,
}

/// The name of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Bytes of a body: an offset in it has 32 bits.
    Body,
    /// Bytes of a line.
    Line,
    /// Samples of a source.
    Samples,
    /// HELP and TYPE lines of a source.
    Metadata,
    /// Labels of a sample.
    Labels,
    /// Bytes of a name.
    Name,
    /// Bytes of a label value.
    Value,
    /// Bytes that the source is in the format of the page.
    Written,
}

/// Reads one body in its format: an iterator of entries and faults.
#[derive(Debug)]
pub enum Reader<'a> {
    /// Lines.
    Text(text::Reader<'a>),
    /// Messages.
    Protobuf(protobuf::Reader<'a>),
}

// === impl Entry ===

impl<'a> Entry<'a> {
    /// The metric name that it is about.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Metadata(Metadata { family: name, .. })
            | Self::Sample(Sample { name, .. })
            | Self::Metric(protobuf::Metric { family: name, .. }) => name,
        }
    }
}

// === impl Format ===

impl Format {
    /// Every format, for tables and tests.
    pub const ALL: [Self; 5] =
        [Self::Text, Self::Text1, Self::OpenMetrics0, Self::OpenMetrics, Self::Protobuf];

    /// Whose unit the timestamps of its lines have; those of protobuf are in milliseconds, too.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Text | Self::Text1 | Self::Protobuf => Dialect::Text,
            Self::OpenMetrics0 | Self::OpenMetrics => Dialect::OpenMetrics,
        }
    }

    /// Whether it is one of the versions of `OpenMetrics`.
    #[must_use]
    pub fn is_openmetrics(self) -> bool {
        self.dialect() == Dialect::OpenMetrics
    }

    /// Begins to read `body`, which must not be truncated: that is seen by who fetched it.
    #[must_use]
    pub fn read<'a>(self, body: &'a [u8], limits: &Limits) -> Reader<'a> {
        match self {
            Self::Protobuf => Reader::Protobuf(protobuf::Reader::new(body, limits)),
            _ => Reader::Text(text::Reader::new(body, self.dialect(), limits)),
        }
    }
}

// === impl Output ===

impl Default for Output {
    /// Text 0.0.4: what every reader takes.
    fn default() -> Self {
        Self { format: Format::Text, escaping: Escaping::Underscores }
    }
}

// === impl Kind ===

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::Summary,
        Self::Untyped,
        Self::Unknown,
        Self::GaugeHistogram,
        Self::Info,
        Self::StateSet,
    ];

    /// The word for it after `# TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
            Self::Unknown => "unknown",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// The kind of a word. Case does not matter: expfmt reads `COUNTER`, too.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let is_it = |kind: &Self| word.eq_ignore_ascii_case(kind.as_str().as_bytes());
        match word {
            b"counter" => Some(Self::Counter),
            b"gauge" => Some(Self::Gauge),
            b"histogram" => Some(Self::Histogram),
            _ => Self::ALL.into_iter().find(is_it),
        }
    }

    /// Whether text 0.0.4 has a word for it: a page with another word is rejected as a whole.
    #[must_use]
    pub fn is_said_in_text(self) -> bool {
        use Kind::{Counter, Gauge, Histogram, Summary, Untyped};
        matches!(self, Counter | Gauge | Histogram | Summary | Untyped)
    }
}

// === impl Limits ===

impl Limits {
    /// What this program says itself has no limits.
    pub const NONE: Self = Self {
        samples: usize::MAX,
        labels: usize::MAX,
        name: usize::MAX,
        value: usize::MAX,
        line: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 50_000, labels: 64, name: 256, value: 2048, line: 65_536 }
    }
}

// === impl Failure ===

impl Failure {
    /// Why, as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exceeded(Exceeded { limit, .. }) => limit.as_str(),
            Self::NoEof => "no_eof",
            Self::CutOff { .. } => "cut_off",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exceeded(exceeded) => exceeded.fmt(f),
            Self::NoEof => f.write_str("the last line is not `# EOF`: the page was cut off"),
            Self::CutOff { at } => write!(f, "the message at byte {at} is cut off"),
        }
    }
}

// === impl Exceeded ===

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, allowed, line } = self;
        match limit {
            Limit::Body => write!(f, "body larger than {allowed} bytes"),
            Limit::Line => write!(f, "line {line}: longer than {allowed} bytes"),
            Limit::Samples => write!(f, "line {line}: more than {allowed} samples"),
            Limit::Metadata => write!(f, "line {line}: more than {allowed} HELP and TYPE lines"),
            Limit::Labels => write!(f, "line {line}: more than {allowed} labels"),
            Limit::Name => write!(f, "line {line}: a name longer than {allowed} bytes"),
            Limit::Written => {
                write!(f, "line {line}: more than {allowed} bytes in the format of the page")
            }
            Limit::Value => write!(f, "line {line}: a label value longer than {allowed} bytes"),
        }
    }
}

// === impl Limit ===

impl Limit {
    /// The name of the limit as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Line => "line",
            Self::Samples => "samples",
            Self::Metadata => "metadata",
            Self::Labels => "labels",
            Self::Name => "name",
            Self::Value => "value",
            Self::Written => "written",
        }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Reads only what is said of families whose names begin with `prefix`, which is all or a part of an
    /// identifier. What else stands there has no limits, and nothing is wrong with it, unless a message
    /// cannot be walked or the body is cut off.
    #[must_use]
    pub fn only(self, prefix: &'a str) -> Self {
        match self {
            Self::Text(reader) => Self::Text(reader.only(prefix.as_bytes())),
            Self::Protobuf(reader) => Self::Protobuf(reader.only(prefix.as_bytes())),
        }
    }

    /// Where the last item stood.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        match self {
            Self::Text(reader) => reader.place(),
            Self::Protobuf(reader) => reader.place(),
        }
    }

    /// The labels of the sample that was the last item: who needs them need not walk.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        match self {
            Self::Text(reader) => reader.labels(),
            Self::Protobuf(_) => &[],
        }
    }

    /// How many of [`Self::labels`], from the first on, are byte for byte those of the sample before.
    #[must_use]
    pub fn n_shared(&self) -> usize {
        match self {
            Self::Text(reader) => reader.n_shared(),
            Self::Protobuf(_) => 0,
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Text(reader) => reader.next(),
            Self::Protobuf(reader) => reader.next(),
        }
    }
}
