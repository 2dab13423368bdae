//! Families to delimited messages `io.prometheus.client.MetricFamily`, by a writer of its own.
//!
//! Source of the numbers: `io/prometheus/client/metrics.proto` in `prometheus/client_model`.

use merger::exposition::Kind;

use super::{
    family::{Exemplar, Family, Histogram, Metric, Value},
    generate::Random,
};

/// A message to be.
#[derive(Default)]
struct Message(Vec<u8>);

pub(crate) fn write(random: &mut Random, families: &[Family]) -> Vec<u8> {
    let mut body = Vec::new();
    for family in families {
        let message = family_message(random, family);
        push_varint(&mut body, message.0.len() as u64);
        body.extend(message.0);
    }
    body
}

fn family_message(random: &mut Random, family: &Family) -> Message {
    let Family { name, kind, help, unit, metrics } = family;
    let mut message = Message::default();
    message.bytes(1, name.as_bytes());
    if let Some(help) = help {
        message.bytes(2, help.as_bytes());
    }
    let type_ = match kind {
        Kind::Counter => 0,
        Kind::Gauge | Kind::Info | Kind::StateSet => 1,
        Kind::Summary => 2,
        Kind::Untyped | Kind::Unknown => 3,
        Kind::Histogram => 4,
        Kind::GaugeHistogram => 5,
    };
    // Only a counter may leave its type out: it is the first.
    if type_ != 0 || random.below(2) == 0 {
        message.varint(3, type_);
    }
    for metric in metrics {
        for part in parts(metric) {
            message.message(4, &metric_message(random, *kind, metric, part));
        }
    }
    if let Some(unit) = unit {
        message.bytes(5, unit.as_bytes());
    }
    message
}

/// A state set has a metric for each state; every other kind one for all.
fn parts(metric: &Metric) -> Vec<Option<(&'static str, bool)>> {
    match &metric.value {
        Value::States(states) => states.iter().copied().map(Some).collect(),
        _ => vec![None],
    }
}

fn metric_message(
    random: &mut Random,
    kind: Kind,
    metric: &Metric,
    state: Option<(&'static str, bool)>,
) -> Message {
    let mut message = Message::default();
    let state_label = state.map(|(name, _)| ("state", name));
    for (name, value) in metric.labels.iter().copied().chain(state_label) {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.bytes(2, value.as_bytes());
        message.message(1, &pair);
    }
    if let Some(timestamp) = metric.timestamp {
        message.varint(6, timestamp.cast_unsigned());
    }
    let mut value = Message::default();
    match &metric.value {
        Value::One(one) => value.double(1, float(one)),
        Value::States(_) => value.double(1, state.map_or(0.0, |(_, on)| f64::from(u8::from(on)))),
        Value::Histogram(histogram) => value.histogram(random, histogram, metric),
        Value::Summary { quantiles, sum, count } => {
            value.varint(1, count.unwrap_or(0));
            value.double(2, sum.map_or(0.0, float));
            for (at, of) in quantiles {
                let mut quantile = Message::default();
                quantile.double(1, float(at));
                quantile.double(2, float(of));
                value.message(3, &quantile);
            }
        }
    }
    let (field, created) = match kind {
        Kind::Counter => (3, Some(3)),
        Kind::Gauge | Kind::Info | Kind::StateSet => (2, None),
        Kind::Summary => (4, Some(4)),
        Kind::Untyped | Kind::Unknown => (5, None),
        Kind::Histogram | Kind::GaugeHistogram => (7, Some(15)),
    };
    if kind == Kind::Counter
        && let Some(exemplar) = &metric.exemplar
    {
        value.message(2, &exemplar_message(exemplar));
    }
    if let (Some(number), Some(seconds)) = (created, metric.created) {
        value.message(number, &created_message(seconds));
    }
    message.message(field, &value);
    message
}

fn exemplar_message(exemplar: &Exemplar) -> Message {
    let mut message = Message::default();
    for (name, value) in exemplar.labels {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.bytes(2, value.as_bytes());
        message.message(1, &pair);
    }
    message.double(2, float(exemplar.value));
    if let Some(timestamp) = exemplar.timestamp {
        message.message(3, &milliseconds(timestamp));
    }
    message
}

/// `google.protobuf.Timestamp`: its nanoseconds count forward.
fn milliseconds(all: i64) -> Message {
    let mut message = Message::default();
    message.varint(1, all.div_euclid(1000).cast_unsigned());
    message.varint(2, all.rem_euclid(1000).cast_unsigned() * 1_000_000);
    message
}

/// What is no time is a time far away.
fn created_message(seconds: &str) -> Message {
    let milliseconds_of = |seconds: f64| (seconds * 1000.0).to_string().parse().ok();
    milliseconds(milliseconds_of(float(seconds)).unwrap_or(i64::MAX))
}

fn float(spelled: &str) -> f64 {
    spelled.parse().expect("the vocabulary holds numbers")
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

// === impl Message ===

impl Message {
    fn varint(&mut self, field: u64, value: u64) {
        push_varint(&mut self.0, field << 3);
        push_varint(&mut self.0, value);
    }

    fn double(&mut self, field: u64, value: f64) {
        push_varint(&mut self.0, field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        push_varint(&mut self.0, field << 3 | 2);
        push_varint(&mut self.0, bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn signed(&mut self, field: u64, value: i64) {
        self.varint(field, (value << 1 ^ value >> 63).cast_unsigned());
    }

    fn histogram(&mut self, random: &mut Random, histogram: &Histogram, metric: &Metric) {
        let Histogram { buckets, sum, count, is_native } = histogram;
        let count = count.unwrap_or(0);
        self.varint(1, count);
        self.double(2, sum.map_or(0.0, float));
        for (bound, count) in buckets {
            let mut bucket = Self::default();
            bucket.varint(1, *count);
            bucket.double(2, *bound);
            if let Some(exemplar) = &metric.exemplar {
                bucket.message(3, &exemplar_message(exemplar));
            }
            self.message(3, &bucket);
        }
        if *is_native {
            self.native(random, count);
        }
        if let Some(exemplar) = metric.exemplar.filter(|_| *is_native) {
            self.message(16, &exemplar_message(&exemplar));
        }
    }

    /// All observations in one bucket, or none; the bucket's fields packed or not.
    fn native(&mut self, random: &mut Random, count: u64) {
        self.signed(5, random.pick(&[0, 3, -4, 8]));
        self.double(6, 1e-128);
        self.varint(7, 0);
        if count > 0 {
            let mut span = Self::default();
            span.signed(1, random.pick(&[0, -3, 17]));
            span.varint(2, 1);
            self.message(12, &span);
            let mut deltas = Self::default();
            deltas.signed(13, count.cast_signed());
            if random.below(2) == 0 {
                self.bytes(13, &deltas.0[1..]);
            } else {
                self.0.extend(deltas.0);
            }
        }
    }
}
