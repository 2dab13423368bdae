//! Delimited messages `io.prometheus.client.MetricFamily`.
//!
//! The reader walks the wire format itself and lends slices; a metric goes from page to page as the
//! bytes that it came as, native histogram, unknown fields and all. It is lenient in what does not
//! matter: fields stand in any order, unknown ones are walked over, repeated numbers are packed or not,
//! and of a number that is there twice the last counts.
//!
//! What costs how much:
//!
//! | what is wrong | costs |
//! |---|---|
//! | a message is longer than what is left; a limit | the source |
//! | the fields of a family cannot be walked | the family, one problem |
//! | the name of a family, or its type | the family, a problem for each metric |
//! | its help or unit | that |
//! | anything in a metric, exemplars included | the metric |
//!
//! A metric is malformed where its type's field is missing, or another type's is there; where buckets
//! or quantiles do not ascend, a count is below zero or no number, a time is outside of the years 1 to
//! 9999; and where the parts of a native histogram contradict each other, for which a server
//! would refuse the page.

mod content;
mod metric;
mod native;
mod read;
mod schema;
mod set;
mod timestamp;
mod verify;
mod wire;
mod write;

pub use self::{
    metric::{Line, Metric, Pair},
    read::Reader,
    write::{
        Family, check, claims, has_exemplar, left_out, len_of_metric, most_of_header, push_label,
        push_without_labels, takes_exemplar,
    },
};
