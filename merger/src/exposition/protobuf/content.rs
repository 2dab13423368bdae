//! What a metric holds, as numbers: the one place that takes it apart.
//!
//! Who checks a metric and who shows it as lines both read it by this, so that they cannot disagree
//! on what is there. A string or message that may occur once and occurs twice is malformed: readers
//! would have to join the two, and no writer makes them. Of a number that occurs twice the last
//! counts. Fields that the schema does not have are walked over.

use crate::exposition::{
    Kind,
    protobuf::{
        native::Native,
        schema::{
            BUCKET_BOUND, BUCKET_COUNT, BUCKET_COUNT_FLOAT, BUCKET_EXEMPLAR, COUNTER_CREATED,
            COUNTER_EXEMPLAR, EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, HISTOGRAM_BUCKET,
            HISTOGRAM_COUNT, HISTOGRAM_COUNT_FLOAT, HISTOGRAM_CREATED, HISTOGRAM_EXEMPLAR,
            HISTOGRAM_SUM, LABEL_NAME, LABEL_VALUE, METRIC_LABEL, METRIC_TIMESTAMP,
            QUANTILE_QUANTILE, QUANTILE_VALUE, SCALAR_VALUE, SUMMARY_COUNT, SUMMARY_CREATED,
            SUMMARY_QUANTILE, SUMMARY_SUM, is_value, type_of,
        },
        timestamp::Timestamp,
        wire::{Fields, Malformed, varint},
    },
};

/// A metric without its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    /// The message that holds what the type of the family says.
    pub value: &'a [u8],
    pub timestamp: Option<i64>,
}

/// A gauge, a counter or an untyped value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar<'a> {
    pub value: f64,
    pub exemplar: Option<&'a [u8]>,
    pub created: Option<Timestamp>,
}

/// A summary without its quantiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub count: u64,
    pub sum: f64,
    pub created: Option<Timestamp>,
}

/// A histogram without its buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Histogram {
    pub count: Count,
    pub sum: f64,
    pub created: Option<Timestamp>,
    /// What it says beside classic buckets.
    pub native: Native,
}

/// What a histogram may have many of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// A classic bucket.
    Bucket(Bucket<'a>),
    /// An exemplar that is in no classic bucket.
    Exemplar(&'a [u8]),
}

/// A classic bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<'a> {
    pub bound: f64,
    pub count: Count,
    pub exemplar: Option<&'a [u8]>,
}

/// An exemplar without its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub value: f64,
    pub timestamp: Option<Timestamp>,
}

/// How many. A field for floats stands beside each one for integers and overrides it if above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Count {
    Whole(u64),
    Float(f64),
}

/// Name and value of a label pair.
#[inline]
pub(super) fn label(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    // Every client writes the one and then the other, and mostly both are short.
    if let [0x0a, len @ ..0x80, rest @ ..] = message
        && let Some((name, rest)) = rest.split_at_checked(usize::from(*len))
        && let [0x12, len @ ..0x80, value @ ..] = rest
        && usize::from(*len) == value.len()
    {
        return Ok((name, value));
    }
    any_label(message)
}

#[cold]
fn any_label(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value) = (None, None);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            LABEL_NAME => set(&mut name, field.value.bytes()?)?,
            LABEL_VALUE => set(&mut value, field.value.bytes()?)?,
            _ => {}
        }
    }
    Ok((name.unwrap_or_default(), value.unwrap_or_default()))
}

/// Puts in what may be there once.
pub(super) fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

// === impl Content ===

impl<'a> Content<'a> {
    /// Reads a metric of a family of this kind, and shows each message of a label pair.
    #[inline]
    pub(super) fn read<E: From<Malformed>>(
        metric: &'a [u8],
        kind: Kind,
        mut each_label: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (_, expected) = type_of(Some(kind));
        let mut fields = Fields::new(metric);
        while let Some(label) = fields.next_of(METRIC_LABEL) {
            each_label(label)?;
        }
        // Mostly this is all. What else there is may stand anywhere.
        let (mut value, mut timestamp) = (fields.next_of(expected), None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                METRIC_LABEL => each_label(field.value.bytes()?)?,
                METRIC_TIMESTAMP => timestamp = Some(field.value.integer()?.cast_signed()),
                number if number == expected => set(&mut value, field.value.bytes()?)?,
                number if is_value(number) => return Err(Malformed.into()),
                _ => {}
            }
        }
        Ok(Self { value: value.ok_or(Malformed)?, timestamp })
    }
}

// === impl Scalar ===

impl<'a> Scalar<'a> {
    #[inline]
    pub(super) fn read(message: &'a [u8], kind: Kind) -> Result<Self, Malformed> {
        // Mostly the value is all there is.
        if let [0x09, bits @ ..] = message
            && let Ok(bits) = bits.try_into()
        {
            return Ok(Self { value: f64::from_le_bytes(bits), exemplar: None, created: None });
        }
        Self::read_any(message, kind)
    }

    #[cold]
    fn read_any(message: &'a [u8], kind: Kind) -> Result<Self, Malformed> {
        let is_counter = kind == Kind::Counter;
        let (mut value, mut exemplar, mut created) = (0.0, None, None);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                SCALAR_VALUE => value = field.value.double()?,
                COUNTER_EXEMPLAR if is_counter => set(&mut exemplar, field.value.bytes()?)?,
                COUNTER_CREATED if is_counter => {
                    set(&mut created, Timestamp::read(field.value.bytes()?)?)?;
                }
                _ => {}
            }
        }
        Ok(Self { value, exemplar, created })
    }
}

// === impl Summary ===

impl Summary {
    /// Shows each quantile and its value.
    pub(super) fn read<E: From<Malformed>>(
        message: &[u8],
        mut each: impl FnMut(f64, f64) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (mut count, mut sum, mut created) = (0, 0.0, None);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                SUMMARY_COUNT => count = field.value.integer()?,
                SUMMARY_SUM => sum = field.value.double()?,
                SUMMARY_QUANTILE => {
                    let (quantile, value) = quantile(field.value.bytes()?)?;
                    each(quantile, value)?;
                }
                SUMMARY_CREATED => set(&mut created, Timestamp::read(field.value.bytes()?)?)?,
                _ => {}
            }
        }
        Ok(Self { count, sum, created })
    }
}

fn quantile(message: &[u8]) -> Result<(f64, f64), Malformed> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            QUANTILE_QUANTILE => quantile = field.value.double()?,
            QUANTILE_VALUE => value = field.value.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

// === impl Histogram ===

impl Histogram {
    /// Shows each of its pieces.
    pub(super) fn read<'a, E: From<Malformed>>(
        message: &'a [u8],
        mut each: impl FnMut(Piece<'a>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (mut count, mut count_float, mut sum, mut created) = (0, 0.0, 0.0, None);
        let mut native = Native::default();
        let mut fields = Fields::new(message);
        loop {
            while let Some(bucket) = fields.next_of(HISTOGRAM_BUCKET) {
                each(Piece::Bucket(Bucket::read(bucket)?))?;
            }
            let Some(field) = fields.next_field()? else { break };
            match field.number {
                HISTOGRAM_BUCKET => each(Piece::Bucket(Bucket::read(field.value.bytes()?)?))?,
                HISTOGRAM_COUNT => count = field.value.integer()?,
                HISTOGRAM_COUNT_FLOAT => count_float = field.value.double()?,
                HISTOGRAM_SUM => sum = field.value.double()?,
                HISTOGRAM_CREATED => set(&mut created, Timestamp::read(field.value.bytes()?)?)?,
                HISTOGRAM_EXEMPLAR => each(Piece::Exemplar(field.value.bytes()?))?,
                _ => native.take(field)?,
            }
        }
        let count = Count::new(count, count_float)?;
        Ok(Self { count, sum, created, native })
    }
}

// === impl Bucket ===

impl<'a> Bucket<'a> {
    #[inline]
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        // Mostly there is a count and then a bound.
        if let [0x08, rest @ ..] = message
            && let Some((count, [0x11, bound @ ..])) = varint(rest)
            && let Ok(bound) = bound.try_into()
        {
            let bound = f64::from_le_bytes(bound);
            return Ok(Self { bound, count: Count::Whole(count), exemplar: None });
        }
        Self::read_any(message)
    }

    #[cold]
    fn read_any(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut bound, mut count, mut count_float, mut exemplar) = (0.0, 0, 0.0, None);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                BUCKET_COUNT => count = field.value.integer()?,
                BUCKET_BOUND => bound = field.value.double()?,
                BUCKET_EXEMPLAR => set(&mut exemplar, field.value.bytes()?)?,
                BUCKET_COUNT_FLOAT => count_float = field.value.double()?,
                _ => {}
            }
        }
        Ok(Self { bound, count: Count::new(count, count_float)?, exemplar })
    }
}

// === impl Exemplar ===

impl Exemplar {
    /// Shows each message of a label pair.
    pub(super) fn read<'a, E: From<Malformed>>(
        message: &'a [u8],
        mut each_label: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (mut value, mut timestamp) = (0.0, None);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next_field()? {
            match field.number {
                EXEMPLAR_LABEL => each_label(field.value.bytes()?)?,
                EXEMPLAR_VALUE => value = field.value.double()?,
                EXEMPLAR_TIMESTAMP => set(&mut timestamp, Timestamp::read(field.value.bytes()?)?)?,
                _ => {}
            }
        }
        Ok(Self { value, timestamp })
    }
}

// === impl Count ===

impl Count {
    /// A count below zero, or none, is malformed: readers disagree on what it is.
    pub(super) fn new(whole: u64, float: f64) -> Result<Self, Malformed> {
        match float {
            _ if float > 0.0 => Ok(Self::Float(float)),
            _ if float == 0.0 => Ok(Self::Whole(whole)),
            _ => Err(Malformed),
        }
    }
}
