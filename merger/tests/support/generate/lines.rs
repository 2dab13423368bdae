//! Families to text and `OpenMetrics`, as applications write them: mostly well, sometimes leniently.

use std::fmt::Write as _;

use merger::exposition::{Format, Kind};

use super::{
    family::{Exemplar, Family, Metric, Value},
    generate::Random,
};

const GARBAGE: &[&str] = &[
    "",
    "#",
    "# a comment",
    "# EOF",
    "{}",
    "x{",
    "x{a=\"",
    "# TYPE",
    "# HELP x\\",
    "<br>",
    "x 1 2 3",
];

/// What the lines of a page have in common.
struct Page<'r> {
    random: &'r mut Random,
    is_open: bool,
    /// Nothing is amiss.
    is_careful: bool,
    text: String,
}

/// One line to be.
struct Line<'a> {
    suffix: &'a str,
    more: Option<(&'a str, String)>,
    value: String,
    has_exemplar: bool,
}

pub(crate) fn write(
    random: &mut Random,
    format: Format,
    families: &[Family],
    is_careful: bool,
) -> String {
    let is_open = matches!(format, Format::OpenMetrics | Format::OpenMetrics0);
    let mut page = Page { random, is_open, is_careful, text: String::new() };
    for family in families {
        page.push_family(family);
        if page.errs(12) {
            let garbage = page.random.pick(GARBAGE);
            page.text += garbage;
            page.text.push('\n');
        }
    }
    if is_open && !page.errs(16) {
        page.text += "# EOF\n";
    }
    page.text
}

// === impl Page ===

impl Page<'_> {
    /// Whether something is done wrong that is wrong once in `n` times.
    fn errs(&mut self, n: usize) -> bool {
        !self.is_careful && self.random.below(n) == 0
    }

    fn push_family(&mut self, family: &Family) {
        let Family { name, kind, help, unit, metrics } = family;
        // In OpenMetrics a counter is called without the suffix of its samples.
        let (base, kind) = match kind {
            Kind::Counter if self.is_open => (name.strip_suffix("_total").unwrap_or(name), *kind),
            Kind::Info if self.is_open => (name.strip_suffix("_info").unwrap_or(name), *kind),
            // Some programs write its words into text.
            _ if self.is_open || kind.is_said_in_text() || self.errs(4) => (name.as_str(), *kind),
            _ => (name.as_str(), Kind::Untyped),
        };
        let is_late = self.errs(12);
        let mut header = String::new();
        let quoted = quoted_name(base);
        if let Some(help) = help {
            header += &format!("# HELP {quoted} {}\n", escaped(help, self.is_open));
        }
        if !self.errs(6) {
            header += &format!("# TYPE {quoted} {}\n", kind.as_str());
        }
        if let Some(unit) = unit.filter(|_| self.is_open) {
            header += &format!("# UNIT {quoted} {unit}\n");
        }
        if !is_late {
            self.text += &header;
        }
        for metric in metrics {
            self.push_metric(base, kind, metric);
        }
        if is_late {
            self.text += &header;
        }
    }

    fn push_metric(&mut self, base: &str, kind: Kind, metric: &Metric) {
        let mut lines = lines(base, kind, metric, self.is_open);
        if let Some(created) = metric.created
            && matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary)
        {
            lines.push(Line {
                suffix: "_created",
                more: None,
                value: created.to_owned(),
                has_exemplar: false,
            });
        }
        for line in lines {
            self.push_line(base, metric, &line);
        }
    }

    fn push_line(&mut self, base: &str, metric: &Metric, line: &Line<'_>) {
        let Line { suffix, more, value, has_exemplar } = line;
        let name = format!("{base}{suffix}");
        let mut labels: Vec<String> =
            metric.labels.iter().map(|(name, value)| label(name, value)).collect();
        labels.extend(more.iter().map(|(name, value)| label(name, value)));
        let is_plain = is_identifier(&name, true);
        if !is_plain {
            labels.insert(0, quoted_name(&name));
        }
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let name = if is_plain { name.as_str() } else { "" };
        self.text += &format!("{name}{labels} {value}");
        if let Some(timestamp) = metric.timestamp {
            self.text.push(' ');
            let timestamp = self.timestamp(timestamp);
            self.text += &timestamp;
        }
        if let Some(exemplar) =
            metric.exemplar.filter(|_| *has_exemplar && (self.is_open || self.errs(2)))
        {
            self.push_exemplar(&exemplar);
        }
        self.text += "\n";
    }

    fn push_exemplar(&mut self, exemplar: &Exemplar) {
        let Exemplar { labels, value, timestamp } = exemplar;
        let labels: Vec<_> = labels.iter().map(|(name, value)| label(name, value)).collect();
        let timestamp =
            timestamp.map_or(String::new(), |timestamp| format!(" {}", seconds(timestamp)));
        write!(self.text, " # {{{}}} {value}{timestamp}", labels.join(","))
            .expect("a string takes all");
    }

    fn timestamp(&mut self, timestamp: i64) -> String {
        // Some take the one unit for the other.
        if self.is_open && !self.errs(20) { seconds(timestamp) } else { timestamp.to_string() }
    }
}

fn lines<'a>(base: &'a str, kind: Kind, metric: &Metric, is_open: bool) -> Vec<Line<'a>> {
    let line =
        |suffix, more, value: String, has_exemplar| Line { suffix, more, value, has_exemplar };
    let is_gauge = kind == Kind::GaugeHistogram;
    let (sum_suffix, count_suffix) =
        if is_gauge { ("_gsum", "_gcount") } else { ("_sum", "_count") };
    match &metric.value {
        Value::One(value) => {
            let suffix = match kind {
                Kind::Counter if is_open => "_total",
                Kind::Info if is_open => "_info",
                _ => "",
            };
            vec![line(suffix, None, (*value).to_owned(), true)]
        }
        Value::Histogram(histogram) => {
            let bucket = |(bound, count): &(f64, u64)| {
                let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
                line("_bucket", Some(("le", bound)), count.to_string(), true)
            };
            let sum = histogram.sum.map(|sum| line(sum_suffix, None, sum.to_owned(), false));
            let count =
                histogram.count.map(|count| line(count_suffix, None, count.to_string(), false));
            histogram.buckets.iter().map(bucket).chain(sum).chain(count).collect()
        }
        Value::Summary { quantiles, sum, count } => {
            let quantile = |(at, value): &(&str, &str)| {
                line("", Some(("quantile", (*at).to_owned())), (*value).to_owned(), false)
            };
            let sum = sum.map(|sum| line("_sum", None, sum.to_owned(), false));
            let count = count.map(|count| line("_count", None, count.to_string(), false));
            quantiles.iter().map(quantile).chain(sum).chain(count).collect()
        }
        Value::States(states) => {
            let state = |(state, is_on): &(&str, bool)| {
                line("", Some((base, (*state).to_owned())), u8::from(*is_on).to_string(), false)
            };
            states.iter().map(state).collect()
        }
    }
}

fn label(name: &str, value: &str) -> String {
    let name = if is_identifier(name, false) {
        name.to_owned()
    } else {
        format!("\"{}\"", escaped(name, true))
    };
    format!("{name}=\"{}\"", escaped(value, true))
}

fn quoted_name(name: &str) -> String {
    if is_identifier(name, true) { name.to_owned() } else { format!("\"{}\"", escaped(name, true)) }
}

fn is_identifier(name: &str, takes_colon: bool) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || takes_colon && c == ':';
    !name.is_empty() && name.chars().all(is_fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', r"\\").replace('\n', r"\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

fn seconds(milliseconds: i64) -> String {
    let (sign, all) = (if milliseconds < 0 { "-" } else { "" }, milliseconds.unsigned_abs());
    format!("{sign}{}.{:03}", all / 1000, all % 1000)
}
