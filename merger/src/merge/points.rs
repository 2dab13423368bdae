//! The rows of a family to its points: what `OpenMetrics` and protobuf say together.
//!
//! A point is a label set, less the label that tells its samples apart, at one time. Rows are put
//! into the order of their points, so that each point is a run of rows. Two label sets are taken for
//! one where two seeded hashes of 64 bits each agree.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    exposition::{
        Defect, Format, Header, Kind, Label, Point, openmetrics,
        point::{self, Part, Role},
        protobuf,
        text::line::Tail,
    },
    merge::{
        names::Names,
        rows::{Origin, Row, Rows, index},
        series::Hasher,
    },
};

/// Set in the number of a row that begins a point. A page has fewer rows.
const FIRST: u32 = 1 << 31;

/// A family whose rows are looked at as points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<'f, 'a> {
    pub header: Header<'f>,
    pub names: &'f Names<'a>,
    pub rows: &'f Rows<'a>,
}

/// Which point a row belongs to, and the order of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    /// The label set, by its first appearance.
    set: u32,
    timestamp: Option<i64>,
}

// === impl Family ===

impl<'f, 'a> Family<'f, 'a> {
    /// Whether its rows have to be looked at as points. Where each is a point of its own that
    /// the page can have as it is, lines or metrics are copied.
    pub(super) fn is_of_points(&self, rows: &[u32], format: Format) -> bool {
        let is_simple = |row: &u32| {
            let (origin, row) = self.row(*row);
            let is_counted =
                || origin.line(row).tail().value.first().is_some_and(u8::is_ascii_digit);
            match self.header.kind {
                _ if row.has_more() => false,
                Some(Kind::Gauge | Kind::Untyped | Kind::Unknown) | None => true,
                Some(Kind::Counter) => self.is_of_family_name(row) && is_counted(),
                _ => false,
            }
        };
        let is_copied = |row: &u32| match format {
            Format::Protobuf => self.rows.list[number(*row) as usize].is_metric(),
            _ => is_simple(row),
        };
        !rows.iter().all(is_copied)
    }

    fn is_of_family_name(&self, row: Row) -> bool {
        *self.names.list[row.name as usize].bytes == *self.header.name
    }

    /// Whether each point can be written as one of its kind. The rows are in their order.
    pub(super) fn fits(&self, rows: &[u32], format: Format) -> bool {
        let mut fits = true;
        // A strict reader takes all label sets of an info for one, which has times or has none.
        let mut is_info_timed = None;
        self.each(rows, |point, _| {
            let is_timed = point.timestamp.is_some();
            let is_info = self.header.kind == Some(Kind::Info);
            fits = fits
                && (!is_info || *is_info_timed.get_or_insert(is_timed) == is_timed)
                && match format {
                    Format::Protobuf => protobuf::check(&self.header, point).is_ok(),
                    _ => openmetrics::check(&self.header, point).is_ok(),
                };
        });
        fits
    }

    /// Puts the rows into the order of their points: label sets in the order of their first
    /// appearance, in each the times rising. Gives how many rows there then are: `left_out` is told of
    /// those that are taken out. In `OpenMetrics` all samples of a label set have a time or none has,
    /// and those of a histogram one time;
    /// and of a metric and lines that are the same point those stay that were there first.
    pub(super) fn sort(
        &self,
        rows: &mut [u32],
        format: Format,
        hashers: &[Hasher; 2],
        mut left_out: impl FnMut(u32, Defect),
    ) -> usize {
        let mut sets: HashMap<[u64; 2], (u32, bool), RandomState> = HashMap::default();
        // Whether the point is a metric, where some rows of the family are.
        let mut kinds: HashMap<Place, bool, RandomState> = HashMap::default();
        let has_metrics = rows.iter().any(|row| self.row(*row).1.is_metric());
        let mut placed = Vec::with_capacity(rows.len());
        for &row in rows.iter() {
            let (origin, row_at) = self.row(row);
            let timestamp = origin.timestamp(row_at);
            let is_timed = timestamp.is_some();
            let new = (index(sets.len()), is_timed);
            let key = hashers.each_ref().map(|hasher| self.hash(origin, row_at, format, hasher));
            let (set, is_set_timed) = *sets.entry(key).or_insert(new);
            let place = Place { set, timestamp };
            let is_metric = row_at.is_metric();
            if is_timed != is_set_timed && format.is_openmetrics() {
                left_out(row, Defect::MixedTimestamps);
            } else if has_metrics && *kinds.entry(place).or_insert(is_metric) != is_metric {
                left_out(row, Defect::Duplicate);
            } else {
                placed.push((place, row));
            }
        }
        if !placed.is_sorted_by_key(|(place, _)| *place) {
            placed.sort_by_key(|(place, _)| *place);
        }
        if format.is_openmetrics() && self.is_composite(rows) {
            keep_last_time(&mut placed, &mut left_out);
        }
        let mut before = None;
        for (to, (place, row)) in rows.iter_mut().zip(&placed) {
            *to = if before.replace(*place) == Some(*place) { *row } else { row | FIRST };
        }
        placed.len()
    }

    /// Shows each point of rows that were put into order, and its rows. Those that are metrics are
    /// left out.
    pub(super) fn each(&self, rows: &[u32], mut each: impl FnMut(&Point<'_>, &[u32])) {
        let mut parts = Vec::new();
        for run in runs(rows) {
            let (origin, first) = self.row(run[0]);
            if first.is_metric() {
                continue;
            }
            let (_, bound) = self.role(origin, first);
            let labels: Vec<_> = shared_labels(origin, first, bound).collect();
            parts.clear();
            for row in run {
                let (origin, row) = self.row(*row);
                let Tail { value, timestamp: _, exemplar } = origin.line(row).tail();
                parts.push(Part { role: self.role(origin, row).0, value, exemplar });
            }
            point::sort(&mut parts);
            let timestamp = origin.line(first).timestamp();
            each(&Point { labels: &labels, timestamp, parts: &parts }, run);
        }
    }

    /// Whether a point has more than one sample.
    fn is_composite(&self, rows: &[u32]) -> bool {
        match self.header.kind {
            Some(Kind::Gauge | Kind::Untyped | Kind::Unknown | Kind::Info) | None => false,
            Some(Kind::Counter) => rows.iter().any(|row| !self.is_of_family_name(self.row(*row).1)),
            _ => true,
        }
    }

    /// The hash of the labels that a row shares with the others of its point.
    fn hash(&self, origin: &'f Origin<'a>, row: Row, format: Format, hasher: &Hasher) -> u64 {
        if row.is_metric() {
            let pairs = origin.metric(row).labels().chain(origin.relabel.pairs());
            return pairs.map(|pair| hasher.spelled(pair)).fold(0, u64::wrapping_add);
        }
        let (_, bound) = self.role(origin, row);
        let labels = shared_labels(origin, row, bound);
        if format.is_openmetrics() {
            // To `prometheus_client` a label with an empty value makes another label set.
            labels.map(|label| hasher.bytes(label.bytes)).fold(0, u64::wrapping_add)
        } else {
            hasher.set(labels)
        }
    }

    /// The row of a number, and its source.
    pub(super) fn row(&self, row: u32) -> (&'f Origin<'a>, Row) {
        let row = number(row) as usize;
        (self.rows.origin_of(row), self.rows.list[row])
    }

    /// What a sample says of its point, and the name of the label with which it says it.
    fn role(&self, origin: &'f Origin<'a>, row: Row) -> (Role<'f>, Option<&'f [u8]>) {
        let Header { name: family, kind, .. } = self.header;
        let name: &'f [u8] = &self.names.list[row.name as usize].bytes;
        let by = |label: &'f [u8], role: fn(&'f [u8]) -> Role<'f>| {
            let found = origin.line(row).labels().walk().find(|found| found.name == label);
            found.map_or((Role::Value, None), |found| (role(found.value), Some(label)))
        };
        match (kind, name.strip_prefix(family)) {
            (Some(Kind::Histogram | Kind::GaugeHistogram), Some(b"_bucket")) => {
                by(b"le", Role::Bucket)
            }
            (Some(Kind::Summary), Some(b"")) => by(b"quantile", Role::Quantile),
            (Some(Kind::StateSet), Some(b"")) => by(family, Role::State),
            (_, Some(b"_sum" | b"_gsum")) => (Role::Sum, None),
            (_, Some(b"_count" | b"_gcount")) => (Role::Count, None),
            (_, Some(b"")) => (Role::Value, None),
            // The name of a counter is no beginning of that of its creation.
            _ => (Role::Created, None),
        }
    }
}

/// Keeps of each label set what was taken last: `prometheus_client` takes the samples of a second time
/// for repetitions, and finds the histogram incomplete.
fn keep_last_time(placed: &mut Vec<(Place, u32)>, left_out: &mut impl FnMut(u32, Defect)) {
    let last: HashMap<u32, Option<i64>, RandomState> =
        placed.iter().map(|(place, _)| (place.set, place.timestamp)).collect();
    placed.retain(|(place, row)| {
        let is_last = last.get(&place.set) == Some(&place.timestamp);
        if !is_last {
            left_out(*row, Defect::MixedTimestamps);
        }
        is_last
    });
}

/// The labels of a row but the one of this name.
fn shared_labels<'r>(
    origin: &'r Origin<'_>,
    row: Row,
    bound: Option<&'r [u8]>,
) -> impl Iterator<Item = Label<'r>> {
    origin.labels(row).filter(move |label| bound != Some(label.name))
}

/// The rows of each point.
pub(super) fn runs(rows: &[u32]) -> impl Iterator<Item = &[u32]> {
    rows.chunk_by(|_, next| next & FIRST == 0)
}

/// Whether rows were put into the order of their points.
pub(super) fn is_sorted(rows: &[u32]) -> bool {
    rows.first().is_some_and(|row| row & FIRST != 0)
}

/// The number of a row without the mark.
pub(super) fn number(row: u32) -> u32 {
    row & !FIRST
}
