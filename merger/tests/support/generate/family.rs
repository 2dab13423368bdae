//! Families as every format can mean them: small vocabularies, so that names, kinds, labels and series
//! clash, and some that are not whole.

use merger::exposition::Kind;

use super::generate::Random;

const NAMES: &[&str] = &[
    "x",
    "x",
    "x",
    "x_total",
    "x_total",
    "x_count",
    "x_sum",
    "x_bucket",
    "x_created",
    "x_info",
    "x_gcount",
    "x_seconds",
    "x_seconds_total",
    "y",
    "n:m",
    "x.total",
    "x__total",
    "é",
    "a b",
    "q\"\\\n",
];
const LABELS: &[&str] = &[
    "a",
    "a",
    "b",
    "container",
    "endpoint",
    "exported_container",
    "my.label",
    "my_label",
    "le",
    "quantile",
    "x",
    "é",
];
const LABEL_VALUES: &[&str] =
    &["", "1", "0.5", "+Inf", "v", "v", "}", ",", "=", "# {", "\n", "\\", "\"", "\\d", "é", " "];
const HELPS: &[&str] = &["It helps.", "", "a \\ and a \n and \"\"", "é ", "# TYPE x counter", " "];
const UNITS: &[&str] = &["seconds", "seconds", "bytes", "é", ""];
const VALUES: &[&str] = &["0", "1", "2.5", "-1e3", "+Inf", "-Inf", "NaN", "17", "1e22", "0.1", "3"];
const BOUNDS: &[f64] = &[-1.0, 0.0, 0.1, 0.5, 1.0, 2.5, 10.0, 1e6, 1e22, f64::INFINITY];
const QUANTILES: &[&str] = &["0", "0.5", "0.9", "1", "NaN", "1.5"];
const STATES: &[&str] = &["on", "off", "", "\"é\""];
const TIMES: &[i64] = &[0, 1, 999, 1_395_066_363_000, 1_763_917_200_123, -1_500];
const CREATED: &[&str] = &["0", "1763917200.123", "1763917200", "1e9", "NaN"];

/// One family of a source.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) help: Option<&'static str>,
    pub(crate) unit: Option<&'static str>,
    pub(crate) metrics: Vec<Metric>,
}

/// One label set of a family.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) labels: Vec<(&'static str, &'static str)>,
    pub(crate) value: Value,
    /// Milliseconds.
    pub(crate) timestamp: Option<i64>,
    /// Seconds.
    pub(crate) created: Option<&'static str>,
    pub(crate) exemplar: Option<Exemplar>,
}

/// What is said of a label set. A number is as a line spells it.
#[derive(Debug)]
pub(crate) enum Value {
    One(&'static str),
    Histogram(Histogram),
    Summary {
        quantiles: Vec<(&'static str, &'static str)>,
        sum: Option<&'static str>,
        count: Option<u64>,
    },
    States(Vec<(&'static str, bool)>),
}

/// Buckets are cumulative.
#[derive(Debug)]
pub(crate) struct Histogram {
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) sum: Option<&'static str>,
    pub(crate) count: Option<u64>,
    /// Whether protobuf says a native one, too, or instead where there are no buckets.
    pub(crate) is_native: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) labels: &'static [(&'static str, &'static str)],
    pub(crate) value: &'static str,
    /// Milliseconds.
    pub(crate) timestamp: Option<i64>,
}

// === impl Family ===

impl Family {
    /// A family as a good library makes it; `n` is its number in its source.
    pub(crate) fn careful(random: &mut Random, prefix: &str, n: usize) -> Self {
        let kind = random.pick(&Kind::ALL);
        let base = ["x_seconds", "x", "y", "é", "z.z"][n];
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            _ => "",
        };
        let metrics = (0..=random.below(3)).map(|n| Metric::careful(random, kind, n)).collect();
        let takes_unit = !matches!(kind, Kind::Info | Kind::StateSet);
        Self {
            name: format!("{prefix}{base}{suffix}"),
            kind,
            help: random.maybe(HELPS),
            unit: if n == 0 && takes_unit { Some("seconds") } else { None },
            metrics,
        }
    }

    pub(crate) fn new(random: &mut Random, prefix: &str) -> Self {
        let kind = random.pick(&Kind::ALL);
        let name = format!("{prefix}{}", random.pick(NAMES));
        let mut metrics: Vec<_> =
            (0..=random.below(4)).map(|_| Metric::new(random, kind)).collect();
        if random.below(3) == 0 {
            for metric in &mut metrics {
                metric.timestamp = None;
            }
        }
        Self {
            name,
            kind,
            help: random.maybe(HELPS),
            unit: if random.below(4) == 0 { random.maybe(UNITS) } else { None },
            metrics,
        }
    }

    pub(crate) fn forget_timestamps(&mut self) {
        for metric in &mut self.metrics {
            metric.timestamp = None;
        }
    }
}

// === impl Metric ===

impl Metric {
    /// A label tells it from the others of its family.
    fn careful(random: &mut Random, kind: Kind, n: usize) -> Self {
        let label = random.pick(&["a", "b", "container", "my.label", "é"]);
        let exemplar = Exemplar {
            labels: &[("trace_id", "abc")],
            value: "0.5",
            timestamp: Some(1_763_917_200_123),
        };
        let takes_exemplar = matches!(kind, Kind::Counter | Kind::Histogram);
        Self {
            labels: vec![("n", ["1", "2", "3"][n]), (label, random.pick(LABEL_VALUES))],
            value: Value::careful(random, kind),
            timestamp: if random.below(4) == 0 { Some(1_763_917_200_123) } else { None },
            created: if random.below(2) == 0 { Some("1763917200.123") } else { None },
            exemplar: (takes_exemplar && random.below(2) == 0).then_some(exemplar),
        }
    }

    fn new(random: &mut Random, kind: Kind) -> Self {
        let mut labels: Vec<(&str, &str)> = Vec::new();
        for _ in 0..random.below(4) {
            let label = (random.pick(LABELS), random.pick(LABEL_VALUES));
            // Rarely the same name twice, which is a mistake.
            if random.below(30) == 0 || labels.iter().all(|(name, _)| *name != label.0) {
                labels.push(label);
            }
        }
        Self {
            labels,
            value: Value::new(random, kind),
            timestamp: random.maybe(TIMES),
            created: if random.below(3) == 0 { random.maybe(CREATED) } else { None },
            exemplar: (random.below(4) == 0).then(|| Exemplar::new(random)),
        }
    }
}

// === impl Value ===

impl Value {
    fn careful(random: &mut Random, kind: Kind) -> Self {
        const NUMBERS: &[&str] = &["0", "1", "2.5", "17", "1e22", "0.1", "+Inf"];
        let mut number = || random.pick(NUMBERS);
        match kind {
            Kind::Histogram | Kind::GaugeHistogram => {
                let n = 1 + random.below(BOUNDS.len() - 1);
                Self::Histogram(Histogram::whole(random, n))
            }
            Kind::Summary => Self::Summary {
                quantiles: vec![("0.5", number()), ("0.9", number())],
                sum: Some(number()),
                count: Some(17),
            },
            Kind::StateSet | Kind::Info => Self::new(random, kind),
            _ => Self::One(number()),
        }
    }

    fn new(random: &mut Random, kind: Kind) -> Self {
        match kind {
            Kind::Histogram | Kind::GaugeHistogram => Self::Histogram(Histogram::new(random)),
            Kind::Summary => {
                let n = random.below(4);
                Self::Summary {
                    quantiles: (0..n)
                        .map(|_| (random.pick(QUANTILES), random.pick(VALUES)))
                        .collect(),
                    sum: random.mostly(VALUES),
                    count: random.mostly(&[0, 1, 17]),
                }
            }
            Kind::StateSet => {
                let n = random.below(3);
                Self::States((0..=n).map(|n| (STATES[n], random.below(2) == 0)).collect())
            }
            Kind::Info => Self::One(random.pick(&["1", "1", "1", "1", "1", "2"])),
            _ => Self::One(random.pick(VALUES)),
        }
    }
}

// === impl Histogram ===

impl Histogram {
    /// The bounds from this one on, of which none is negative where `n` is not 0.
    fn whole(random: &mut Random, n: usize) -> Self {
        let mut count = 0;
        let buckets = BOUNDS[n..].iter().map(|bound| {
            count += random.below(3) as u64;
            (*bound, count)
        });
        let buckets = buckets.collect();
        Self { buckets, sum: Some("2.5"), count: Some(count), is_native: random.below(2) == 0 }
    }

    /// Mostly whole: bounds grow up to `+Inf`, counts do not fall, the count is that of the last.
    fn new(random: &mut Random) -> Self {
        let is_whole = random.below(4) != 0;
        let mut count = 0;
        let mut buckets = Vec::new();
        let n = random.below(BOUNDS.len() + 1);
        for bound in &BOUNDS[n..] {
            count += random.below(3) as u64;
            if is_whole || random.below(4) != 0 {
                buckets.push((*bound, count));
            }
        }
        if !is_whole && random.below(3) == 0 {
            buckets.reverse();
        }
        let count = if is_whole { Some(count) } else { random.mostly(&[count, 0, 17]) };
        let sum = if is_whole && n > 1 { Some("2.5") } else { random.mostly(VALUES) };
        Self { buckets, sum, count, is_native: random.below(2) == 0 }
    }
}

// === impl Exemplar ===

impl Exemplar {
    fn new(random: &mut Random) -> Self {
        const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";
        const LABELS: &[&[(&str, &str)]] = &[
            &[("trace_id", "abc")],
            &[("trace_id", "\"\\\n}"), ("span.id", "é")],
            &[],
            &[("a", LONG), ("b", LONG)],
        ];
        Self {
            labels: random.pick(LABELS),
            value: random.pick(&["1", "0.5", "1e3", "NaN", "+Inf"]),
            timestamp: random.maybe(TIMES),
        }
    }
}

// === impl Random ===

impl Random {
    /// One of these, every second time.
    fn maybe<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (self.below(2) == 0).then(|| self.pick(from))
    }

    /// One of these, but not every sixth time.
    fn mostly<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (self.below(6) != 0).then(|| self.pick(from))
    }
}
