//! Native histograms: which histograms are, and which a server takes.
//!
//! A server refuses the page that holds one whose parts contradict each other, so such a one costs
//! itself here. Nothing else is known of them: they go from message to message as their bytes.
//! Sources: `isNativeHistogram` in prometheus, `model/textparse/protobufparse.go`, and `Validate`,
//! `checkHistogramSpans` and `checkHistogramBuckets` below `model/histogram`.

use crate::exposition::protobuf::{
    content::Count,
    schema::{
        HISTOGRAM_NEGATIVE_COUNT, HISTOGRAM_NEGATIVE_DELTA, HISTOGRAM_NEGATIVE_SPAN,
        HISTOGRAM_POSITIVE_COUNT, HISTOGRAM_POSITIVE_DELTA, HISTOGRAM_POSITIVE_SPAN,
        HISTOGRAM_SCHEMA, HISTOGRAM_ZERO_COUNT, HISTOGRAM_ZERO_COUNT_FLOAT,
        HISTOGRAM_ZERO_THRESHOLD, SPAN_LENGTH, SPAN_OFFSET,
    },
    wire::{Field, Fields, Malformed, zigzag},
};

/// What a histogram says beside its classic buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Native {
    schema: i64,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

/// The buckets below zero or those above it, as far as they were walked.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    n_spans: usize,
    /// How many buckets the spans speak of.
    n_buckets: u64,
    n_deltas: u64,
    n_counts: u64,
    /// The count of the last bucket: each delta is to the bucket before.
    last: i64,
    /// What all buckets count together.
    in_all: u64,
}

/// The resolutions of buckets that grow by powers of two.
const SCHEMAS: std::ops::RangeInclusive<i64> = -4..=8;

// === impl Native ===

impl Native {
    /// Takes a field of a histogram.
    pub(super) fn take(&mut self, field: Field<'_>) -> Result<(), Malformed> {
        let Field { number, value } = field;
        match number {
            HISTOGRAM_SCHEMA => self.schema = zigzag(value.integer()?),
            HISTOGRAM_ZERO_THRESHOLD => self.zero_threshold = value.double()?,
            HISTOGRAM_ZERO_COUNT => self.zero_count = value.integer()?,
            HISTOGRAM_ZERO_COUNT_FLOAT => self.zero_count_float = value.double()?,
            HISTOGRAM_NEGATIVE_SPAN => self.negative.take_span(value.bytes()?)?,
            HISTOGRAM_POSITIVE_SPAN => self.positive.take_span(value.bytes()?)?,
            HISTOGRAM_NEGATIVE_DELTA => value.integers(|delta| self.negative.take_delta(delta))?,
            HISTOGRAM_POSITIVE_DELTA => value.integers(|delta| self.positive.take_delta(delta))?,
            HISTOGRAM_NEGATIVE_COUNT => value.doubles(|count| self.negative.take_count(count))?,
            HISTOGRAM_POSITIVE_COUNT => value.doubles(|count| self.positive.take_count(count))?,
            _ => {}
        }
        Ok(())
    }

    /// Whether the server takes the histogram for a native one.
    pub(super) fn is_there(&self) -> bool {
        let has_spans = self.positive.n_spans > 0 || self.negative.n_spans > 0;
        has_spans || self.zero_threshold > 0.0 || self.zero_count > 0
    }

    /// Whether the server takes it, with the count and the sum of the histogram.
    pub(super) fn check(&self, count: Count, sum: f64) -> Result<(), Malformed> {
        let sides = [&self.negative, &self.positive];
        let zero_count = Count::new(self.zero_count, self.zero_count_float)?;
        let is_float = [count, zero_count].iter().any(|count| matches!(count, Count::Float(_)));
        if !SCHEMAS.contains(&self.schema) {
            return Err(Malformed);
        }
        if is_float {
            let fits = sides.iter().all(|side| side.n_buckets == side.n_counts);
            return if fits { Ok(()) } else { Err(Malformed) };
        }
        if sides.iter().any(|side| side.n_buckets != side.n_deltas) {
            return Err(Malformed);
        }
        let in_all =
            sides.iter().try_fold(self.zero_count, |sum, side| sum.checked_add(side.in_all));
        match (in_all, count) {
            // An observation of NaN is counted and is in no bucket.
            (Some(in_all), Count::Whole(count)) if sum.is_nan() && in_all <= count => Ok(()),
            (Some(in_all), Count::Whole(count)) if in_all == count => Ok(()),
            _ => Err(Malformed),
        }
    }
}

// === impl Side ===

impl Side {
    fn take_span(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (mut offset, mut length) = (0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                SPAN_OFFSET => offset = zigzag(field.value.integer()?),
                SPAN_LENGTH => length = field.value.integer()?,
                _ => {}
            }
        }
        let offset = i32::try_from(offset).map_err(|_| Malformed)?;
        let length = u32::try_from(length).map_err(|_| Malformed)?;
        // Only the first may begin anywhere; the others begin behind the one before.
        if self.n_spans > 0 && offset < 0 {
            return Err(Malformed);
        }
        self.n_spans += 1;
        self.n_buckets += u64::from(length);
        Ok(())
    }

    fn take_delta(&mut self, delta: u64) -> Result<(), Malformed> {
        self.n_deltas += 1;
        self.last = self.last.checked_add(zigzag(delta)).ok_or(Malformed)?;
        let count = u64::try_from(self.last).map_err(|_| Malformed)?;
        self.in_all = self.in_all.checked_add(count).ok_or(Malformed)?;
        Ok(())
    }

    fn take_count(&mut self, count: f64) -> Result<(), Malformed> {
        self.n_counts += 1;
        if count >= 0.0 { Ok(()) } else { Err(Malformed) }
    }
}
