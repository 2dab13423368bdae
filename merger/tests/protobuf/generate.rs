//! Families by a deterministic generator: small vocabularies, each kind, everything optional.

use crate::{
    label,
    messages::{
        Bucket, BucketSpan, Counter, Exemplar, Histogram, LabelPair, Metric, MetricFamily,
        Quantile, Single, Summary, Timestamp,
    },
};

/// Marsaglia's xorshift: the same seed gives the same families on every machine.
pub(crate) struct Random(u64);

const NAMES: &[&str] = &["x", "x_total", "x_seconds", "a.b", "é", "q\"\\\n"];
const LABELS: &[&str] = &["a", "b", "pod", "é", "q\"\\\n", "x"];
const VALUES: &[&str] = &["", "1", "a\"b", "\\", "\n", "}", ",=#", "été", "a value of some length"];
const FLOATS: &[f64] =
    &[0.0, 1.0, 0.5, 1e6, 1e-5, -1.5, 1e300, 1_763_917_200.123, f64::INFINITY, f64::MAX];

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }

    fn number<T: TryFrom<usize>>(&mut self, below: usize) -> T {
        T::try_from(self.below(below)).ok().unwrap()
    }

    /// A family that the reader takes as it is, with what `OpenMetrics` can say of it and what not.
    pub(crate) fn family(&mut self) -> MetricFamily {
        let type_ = self.below(6);
        MetricFamily {
            name: Some(self.pick(NAMES).into()),
            help: self.maybe(|random| random.pick(VALUES).into()),
            r#type: i32::try_from(type_).ok(),
            metric: (0..self.below(4)).map(|_| self.metric(type_)).collect(),
            unit: self.maybe(|random| random.pick(&["seconds", "bytes"]).into()),
        }
    }

    fn metric(&mut self, type_: usize) -> Metric {
        let mut metric = Metric {
            label: self.labels(),
            timestamp_ms: self.maybe(|random| random.number(1 << 30)),
            ..Metric::default()
        };
        match type_ {
            0 => metric.counter = Some(self.counter()),
            1 => metric.gauge = Some(Single { value: Some(self.float()) }),
            2 => metric.summary = Some(self.summary()),
            3 => metric.untyped = Some(Single { value: Some(self.float()) }),
            _ => metric.histogram = Some(self.histogram()),
        }
        metric
    }

    fn counter(&mut self) -> Counter {
        Counter {
            value: Some(self.float().abs()),
            exemplar: self.maybe(Self::exemplar),
            created_timestamp: self.maybe(Self::timestamp),
        }
    }

    fn summary(&mut self) -> Summary {
        let quantiles = [0.0, 0.5, 0.99, 1.0];
        let quantile = |n, random: &mut Self| Quantile {
            quantile: Some(quantiles[n]),
            value: Some(random.float()),
        };
        Summary {
            sample_count: Some(self.number(1 << 30)),
            sample_sum: Some(self.float()),
            quantile: (0..self.below(5)).map(|n| quantile(n, self)).collect(),
            created_timestamp: self.maybe(Self::timestamp),
        }
    }

    /// With classic buckets up to the one that holds all, or native, or both.
    fn histogram(&mut self) -> Histogram {
        let is_native = self.below(3) == 0;
        let mut histogram = if is_native { self.native() } else { Histogram::default() };
        histogram.sample_sum = Some(self.float());
        histogram.created_timestamp = self.maybe(Self::timestamp);
        let count = histogram.sample_count.unwrap_or(self.number(1 << 20));
        histogram.sample_count = Some(count);
        if !is_native || self.below(2) == 0 {
            let n_bounds = self.below(4);
            let bounds = [-1.0, 0.5, 1e6].into_iter().take(n_bounds);
            histogram.bucket = bounds.map(|bound| self.bucket(bound, count / 2)).collect();
            histogram.bucket.push(self.bucket(f64::INFINITY, count));
        }
        histogram
    }

    fn native(&mut self) -> Histogram {
        let (a, b): (u32, u32) = (self.number(100), self.number(100));
        let span = BucketSpan { offset: Some(-7), length: Some(2) };
        Histogram {
            sample_count: Some(u64::from(a + b + 3)),
            schema: Some(self.number::<i32>(13) - 4),
            zero_threshold: self.maybe(|_| 1e-128),
            zero_count: Some(3),
            negative_span: vec![span],
            negative_delta: vec![i64::from(a), i64::from(b) - i64::from(a)],
            exemplars: (0..self.below(3)).map(|_| self.exemplar()).collect(),
            ..Histogram::default()
        }
    }

    fn bucket(&mut self, bound: f64, count: u64) -> Bucket {
        Bucket {
            upper_bound: Some(bound),
            cumulative_count: Some(count),
            exemplar: self.maybe(Self::exemplar),
            ..Bucket::default()
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            label: self.labels(),
            value: Some(self.float()),
            timestamp: self.maybe(Self::timestamp),
        }
    }

    fn timestamp(&mut self) -> Timestamp {
        let nanos = [0, 1, 123_000_000, 999_999_999][self.below(4)];
        Timestamp { seconds: Some(self.number(1 << 31)), nanos: Some(nanos) }
    }

    /// Different names, in any order.
    fn labels(&mut self) -> Vec<LabelPair> {
        let (first, n_labels) = (self.below(LABELS.len()), self.below(4));
        let names = LABELS.iter().cycle().skip(first).take(n_labels);
        names.map(|name| label(name, self.pick(VALUES))).collect()
    }

    fn float(&mut self) -> f64 {
        FLOATS[self.below(FLOATS.len())]
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }
}
