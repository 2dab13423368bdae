//! The numbers of fields and types in `io/prometheus/client/metrics.proto` of
//! [prometheus/client_model](https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto).

use crate::exposition::Kind;

pub(super) const FAMILY_NAME: u32 = 1;
pub(super) const FAMILY_HELP: u32 = 2;
pub(super) const FAMILY_TYPE: u32 = 3;
pub(super) const FAMILY_METRIC: u32 = 4;
pub(super) const FAMILY_UNIT: u32 = 5;

pub(super) const METRIC_LABEL: u32 = 1;
const METRIC_GAUGE: u32 = 2;
const METRIC_COUNTER: u32 = 3;
const METRIC_SUMMARY: u32 = 4;
const METRIC_UNTYPED: u32 = 5;
pub(super) const METRIC_TIMESTAMP: u32 = 6;
const METRIC_HISTOGRAM: u32 = 7;

pub(super) const LABEL_NAME: u32 = 1;
pub(super) const LABEL_VALUE: u32 = 2;

/// Of a gauge, a counter and an untyped value.
pub(super) const SCALAR_VALUE: u32 = 1;
pub(super) const COUNTER_EXEMPLAR: u32 = 2;
pub(super) const COUNTER_CREATED: u32 = 3;

pub(super) const SUMMARY_COUNT: u32 = 1;
pub(super) const SUMMARY_SUM: u32 = 2;
pub(super) const SUMMARY_QUANTILE: u32 = 3;
pub(super) const SUMMARY_CREATED: u32 = 4;

pub(super) const QUANTILE_QUANTILE: u32 = 1;
pub(super) const QUANTILE_VALUE: u32 = 2;

pub(super) const HISTOGRAM_COUNT: u32 = 1;
pub(super) const HISTOGRAM_SUM: u32 = 2;
pub(super) const HISTOGRAM_BUCKET: u32 = 3;
pub(super) const HISTOGRAM_COUNT_FLOAT: u32 = 4;
pub(super) const HISTOGRAM_SCHEMA: u32 = 5;
pub(super) const HISTOGRAM_ZERO_THRESHOLD: u32 = 6;
pub(super) const HISTOGRAM_ZERO_COUNT: u32 = 7;
pub(super) const HISTOGRAM_ZERO_COUNT_FLOAT: u32 = 8;
pub(super) const HISTOGRAM_NEGATIVE_SPAN: u32 = 9;
pub(super) const HISTOGRAM_NEGATIVE_DELTA: u32 = 10;
pub(super) const HISTOGRAM_NEGATIVE_COUNT: u32 = 11;
pub(super) const HISTOGRAM_POSITIVE_SPAN: u32 = 12;
pub(super) const HISTOGRAM_POSITIVE_DELTA: u32 = 13;
pub(super) const HISTOGRAM_POSITIVE_COUNT: u32 = 14;
pub(super) const HISTOGRAM_CREATED: u32 = 15;
pub(super) const HISTOGRAM_EXEMPLAR: u32 = 16;

pub(super) const BUCKET_COUNT: u32 = 1;
pub(super) const BUCKET_BOUND: u32 = 2;
pub(super) const BUCKET_EXEMPLAR: u32 = 3;
pub(super) const BUCKET_COUNT_FLOAT: u32 = 4;

pub(super) const SPAN_OFFSET: u32 = 1;
pub(super) const SPAN_LENGTH: u32 = 2;

pub(super) const EXEMPLAR_LABEL: u32 = 1;
pub(super) const EXEMPLAR_VALUE: u32 = 2;
pub(super) const EXEMPLAR_TIMESTAMP: u32 = 3;

/// Of a `google.protobuf.Timestamp`.
pub(super) const TIMESTAMP_SECONDS: u32 = 1;
pub(super) const TIMESTAMP_NANOS: u32 = 2;

/// The kind of a `MetricType`.
pub(super) fn kind_of(type_: u64) -> Option<Kind> {
    Some(match type_ {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Summary,
        3 => Kind::Untyped,
        4 => Kind::Histogram,
        5 => Kind::GaugeHistogram,
        _ => return None,
    })
}

/// The `MetricType` of a family, and the field of a metric that goes with it. `OpenMetrics` alone has
/// infos and state sets; their samples are gauges to every reader.
pub(super) fn type_of(kind: Option<Kind>) -> (u64, u32) {
    match kind {
        Some(Kind::Counter) => (0, METRIC_COUNTER),
        Some(Kind::Gauge | Kind::Info | Kind::StateSet) => (1, METRIC_GAUGE),
        Some(Kind::Summary) => (2, METRIC_SUMMARY),
        Some(Kind::Untyped | Kind::Unknown) | None => (3, METRIC_UNTYPED),
        Some(Kind::Histogram) => (4, METRIC_HISTOGRAM),
        Some(Kind::GaugeHistogram) => (5, METRIC_HISTOGRAM),
    }
}

/// Whether it is a field of a metric that holds what a type says.
pub(super) fn is_value(field: u32) -> bool {
    matches!(field, METRIC_GAUGE..=METRIC_UNTYPED | METRIC_HISTOGRAM)
}
