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

/// The name of a label that tells the samples of a point apart, and what its value makes of a sample.
type Bound<'f> = (&'f [u8], fn(&'f [u8]) -> Role<'f>);

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
            let key = self.hashes(origin, row_at, format, hashers);
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
            let labels: Vec<_> = self.shared_labels(origin, first).collect();
            parts.clear();
            for row in run {
                let (origin, row) = self.row(*row);
                let Tail { value, timestamp: _, exemplar } = origin.line(row).tail();
                parts.push(Part { role: self.role(origin, row), value, exemplar });
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

    /// The hashes of the labels that a row shares with the others of its point.
    fn hashes(
        &self,
        origin: &'f Origin<'a>,
        row: Row,
        format: Format,
        hashers: &[Hasher; 2],
    ) -> [u64; 2] {
        let mut sums = [0_u64; 2];
        let mut add = |hash: &dyn Fn(&Hasher) -> u64| {
            for (sum, hasher) in sums.iter_mut().zip(hashers) {
                *sum = sum.wrapping_add(hash(hasher));
            }
        };
        if row.is_metric() {
            for pair in origin.metric(row).labels().chain(origin.relabel.pairs()) {
                add(&|hasher| hasher.spelled(pair));
            }
            return sums;
        }
        for label in self.shared_labels(origin, row) {
            // To `prometheus_client` a label with an empty value makes another label set.
            if format.is_openmetrics() {
                add(&|hasher| hasher.bytes(label.bytes));
            } else {
                add(&|hasher| hasher.label(&label));
            }
        }
        sums
    }

    /// The labels that a row has in common with the others of its point.
    fn shared_labels(
        &self,
        origin: &'f Origin<'a>,
        row: Row,
    ) -> impl Iterator<Item = Label<'f>> + use<'f, 'a> {
        let bound = self.bound(row).map(|(name, _)| name);
        let own = origin.line(row).labels().walk();
        own.filter(move |label| bound != Some(label.name)).chain(origin.relabel.walk())
    }

    /// The row of a number, and its source.
    pub(super) fn row(&self, row: u32) -> (&'f Origin<'a>, Row) {
        let row = number(row) as usize;
        (self.rows.origin_of(row), self.rows.list[row])
    }

    /// What a sample says of its point.
    fn role(&self, origin: &'f Origin<'a>, row: Row) -> Role<'f> {
        if let Some((name, role)) = self.bound(row) {
            let bound = origin.line(row).labels().walk().find(|label| label.name == name);
            return bound.map_or(Role::Value, |bound| role(bound.value));
        }
        match self.suffix(row) {
            Some(b"_sum" | b"_gsum") => Role::Sum,
            Some(b"_count" | b"_gcount") => Role::Count,
            Some(b"") => Role::Value,
            // The name of a counter is no beginning of that of its creation.
            _ => Role::Created,
        }
    }

    /// The name of the label with which a sample says what it says of its point, if there is one, and
    /// what that is.
    fn bound(&self, row: Row) -> Option<Bound<'f>> {
        match (self.header.kind, self.suffix(row)) {
            (Some(Kind::Histogram | Kind::GaugeHistogram), Some(b"_bucket")) => {
                Some((b"le", Role::Bucket))
            }
            (Some(Kind::Summary), Some(b"")) => Some((b"quantile", Role::Quantile)),
            (Some(Kind::StateSet), Some(b"")) => Some((self.header.name, Role::State)),
            _ => None,
        }
    }

    /// What follows the name of the family in that of a sample.
    fn suffix(&self, row: Row) -> Option<&'f [u8]> {
        self.names.list[row.name as usize].bytes.strip_prefix(self.header.name)
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
