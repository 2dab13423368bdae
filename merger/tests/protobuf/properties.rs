//! What holds for every body: prost and the reader see the same, what is written reads back, and
//! damage costs no more than it must.

use merger::{
    exposition::{
        Entry, Fault, Header, Kind, Label, Point,
        point::{Part, Role},
        protobuf::{Family, Metric, Reader, check, left_out, push_label, push_without_labels},
    },
    merge::Limits,
};
use prost::Message as _;

use crate::{
    body, families, generate::Random, label, messages, messages::MetricFamily, metrics, read,
};

const N_BODIES: u64 = 3_000;
const ENVOY: &[u8] = include_bytes!("../../testdata/scrapes/envoy-protobuf.pb");

fn generated(seed: u64) -> Vec<MetricFamily> {
    let mut random = Random::new(seed);
    (0..random.below(6)).map(|_| random.family()).collect()
}

fn kind(family: &MetricFamily) -> Kind {
    use Kind::{Counter, Gauge, GaugeHistogram, Histogram, Summary, Untyped};
    [Counter, Gauge, Summary, Untyped, Histogram, GaugeHistogram]
        [usize::try_from(family.r#type.unwrap()).unwrap()]
}

/// A name or value in the strict spelling of text.
fn escaped(plain: &str) -> String {
    plain.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The family as it is written by `push` for each of its metrics.
fn written(
    family: &MetricFamily,
    mut push: impl FnMut(&Family, &mut Vec<u8>, &Header<'_>, &messages::Metric),
) -> (MetricFamily, bool) {
    let name = escaped(family.name.as_ref().unwrap());
    let header = Header {
        name: name.as_bytes(),
        kind: Some(kind(family)),
        help: family.help.as_ref().map(String::as_bytes),
        unit: family.unit.as_ref().map(String::as_bytes),
    };
    let mut out = Vec::new();
    let open = Family::begin(&mut out, &header);
    for metric in &family.metric {
        push(&open, &mut out, &header, metric);
    }
    open.end(&mut out);
    (families(&out).remove(0), left_out(&header).is_some())
}

/// The parts of a point: the suffix, the bound and the value of a line, and its exemplar.
type Owned = (&'static str, Option<(&'static str, String)>, String, Option<Vec<u8>>);

fn part(line: &Owned) -> Part<'_> {
    let (suffix, bound, value, exemplar) = line;
    let role = match (*suffix, bound) {
        (_, Some(("le", bound))) => Role::Bucket(bound.as_bytes()),
        (_, Some((_, bound))) => Role::Quantile(bound.as_bytes()),
        ("_sum" | "_gsum", _) => Role::Sum,
        ("_count" | "_gcount", _) => Role::Count,
        ("_created", _) => Role::Created,
        _ => Role::Value,
    };
    Part { role, value: value.as_bytes(), exemplar: exemplar.as_deref() }
}

/// Writes the lines of a metric as a point.
fn fold(family: &Family, out: &mut Vec<u8>, header: &Header<'_>, metric: &Metric<'_>) {
    let mut lines: Vec<Owned> = Vec::new();
    metric.lines(|line| {
        let bound = line.bound.map(|(name, bound)| (name, bound.to_owned()));
        lines.push((line.suffix, bound, line.value.into(), line.exemplar.map(<[u8]>::to_vec)));
    });
    let labels: Vec<_> =
        metric.labels().map(|(n, v)| (escaped(&string(n)), escaped(&string(v)))).collect();
    let label = |(n, v): &'_ (String, String)| -> (Vec<u8>, Vec<u8>) {
        (n.clone().into(), v.clone().into())
    };
    let labels: Vec<_> = labels.iter().map(label).collect();
    let labels: Vec<_> =
        labels.iter().map(|(name, value)| Label { name, value, bytes: &[] }).collect();
    let timestamp = metric.timestamp().map(|timestamp| timestamp.to_string());
    let parts: Vec<_> = lines.iter().map(part).collect();
    let timestamp = timestamp.as_ref().map(String::as_bytes);
    let point = Point { labels: &labels, timestamp, parts: &parts };
    // A gauge histogram has no beginning in `OpenMetrics`, so no point of one is asked for.
    if kind_has_created(header.kind) {
        assert_eq!(check(header, &point), Ok(()));
    }
    family.push_point(out, header, &point);
}

fn kind_has_created(kind: Option<Kind>) -> bool {
    kind != Some(Kind::GaugeHistogram)
}

/// What holds for bytes of any origin: reading ends, what was read is whole, and its lines are shown.
fn check_any(body: &[u8]) {
    let items = read(body);
    let is_end = |item: &_| matches!(item, Err(Fault::Source(_)));
    assert!(items.iter().rev().skip(1).all(|item| !is_end(item)), "nothing follows the end");
    for metric in metrics(body) {
        assert!(messages::Metric::decode(metric.bytes).is_ok(), "prost reads what we read");
        let mut n_lines = 0;
        let is_incomplete = metric.lines(|line| {
            n_lines += 1;
            assert!(merger::exposition::number::is_float(line.value.as_bytes()), "{line:?}");
        });
        assert!(is_incomplete == (n_lines == 0));
    }
}

#[test]
fn prost_and_the_reader_see_the_same() {
    for seed in 0..N_BODIES {
        let families = generated(seed);
        let body = body(&families);
        let read = metrics(&body);
        let mut expected = Vec::new();
        for family in &families {
            for metric in &family.metric {
                expected.push((family.name.clone().unwrap(), kind(family), metric.clone()));
            }
        }
        let found: Vec<_> = read
            .iter()
            .map(|m| (string(m.family), m.kind, messages::Metric::decode(m.bytes).unwrap()))
            .collect();
        assert_eq!(found, expected, "{seed}");
        for (metric, (_, _, expected)) in read.iter().zip(expected) {
            let labels = metric.labels().map(|(name, value)| label(&string(name), &string(value)));
            assert_eq!(labels.collect::<Vec<_>>(), expected.label, "{seed}");
            assert_eq!(metric.timestamp(), expected.timestamp_ms, "{seed}");
        }
        assert!(crate::read(&body).iter().all(Result::is_ok), "{seed}");
    }
}

#[test]
fn a_metric_that_is_written_as_it_came_changes_nothing_but_its_labels() {
    let mut more = Vec::new();
    push_label(&mut more, b"more", b"1");
    for family in (0..N_BODIES).flat_map(generated) {
        let (written, is_unit_lost) = written(&family, |open, out, _, metric| {
            open.push_metric(out, &metric.encode_to_vec(), &more);
        });
        let mut expected = family;
        expected.metric.iter_mut().for_each(|metric| metric.label.push(label("more", "1")));
        expected.unit = expected.unit.filter(|_| !is_unit_lost);
        assert_eq!(written, expected);
    }
}

#[test]
fn a_metric_without_its_labels_is_the_rest_of_it() {
    for metric in (0..N_BODIES).flat_map(generated).flat_map(|family| family.metric) {
        let mut out = Vec::new();
        push_without_labels(&mut out, &metric.encode_to_vec());
        let expected = messages::Metric { label: Vec::new(), ..metric };
        assert_eq!(messages::Metric::decode(&out[..]), Ok(expected));
    }
}

#[test]
fn what_lines_say_of_a_metric_makes_the_same_metric() {
    let mut n_metrics = 0;
    for mut family in (0..N_BODIES).flat_map(generated) {
        let is_native = |metric: &messages::Metric| {
            metric.histogram.as_ref().is_some_and(|h| h.schema.is_some())
        };
        family.metric.retain(|metric| !is_native(metric));
        let (name, kind) = (family.name.clone().unwrap(), kind(&family));
        let (written, is_unit_lost) = written(&family, |open, out, header, metric| {
            let bytes = metric.encode_to_vec();
            fold(open, out, header, &Metric { family: name.as_bytes(), kind, bytes: &bytes });
            n_metrics += 1;
        });
        let unit = family.unit.clone().filter(|_| !is_unit_lost);
        assert_eq!(written, MetricFamily { unit, ..family });
    }
    assert!(n_metrics > 5_000, "{n_metrics}");
}

#[test]
fn a_body_that_is_cut_anywhere_is_read_up_to_there() {
    for seed in 0..100 {
        let families = generated(seed);
        let body = body(&families);
        let whole = metrics(&body);
        let ends: Vec<_> =
            (0..=families.len()).map(|n| crate::body(&families[..n]).len()).collect();
        for len in 0..body.len() {
            check_any(&body[..len]);
            let cut = metrics(&body[..len]);
            let is_start = |(a, b): (&Metric<'_>, &Metric<'_>)| a.bytes == b.bytes;
            assert!(cut.iter().zip(&whole).all(is_start), "{seed} {len}");
            let is_between = ends.contains(&len);
            let is_cut = |item: &_| matches!(item, Err(Fault::Source(_)));
            assert_eq!(read(&body[..len]).last().is_some_and(is_cut), !is_between, "{seed} {len}");
        }
    }
}

#[test]
fn a_body_with_any_byte_changed_is_read_without_a_panic() {
    for seed in 0..12 {
        let mut body = body(&generated(seed));
        for at in 0..body.len() {
            let before = body[at];
            for byte in [0, 1, 0x7f, 0x80, 0xff, before ^ 1, before ^ 8, before.wrapping_add(1)] {
                body[at] = byte;
                check_any(&body);
            }
            body[at] = before;
        }
    }
}

#[test]
fn a_recorded_body_with_bytes_changed_is_read_without_a_panic() {
    let mut random = Random::new(1);
    for _ in 0..100 {
        let mut body = ENVOY[..10_000].to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(body.len());
            body[at] = u8::try_from(random.below(256)).unwrap();
        }
        check_any(&body);
    }
}

#[test]
fn random_bytes_are_read_without_a_panic() {
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        let len = random.below(64);
        let body: Vec<u8> = (0..len).map(|_| u8::try_from(random.below(32)).unwrap()).collect();
        check_any(&body);
    }
}

#[test]
fn any_value_of_a_double_is_carried() {
    let mut bits = 1_u64;
    for _ in 0..2_000 {
        bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(7);
        let value = f64::from_bits(bits);
        let gauge = Some(messages::Single { value: Some(value) });
        let metric = messages::Metric { gauge, ..messages::Metric::default() };
        let name = Some("x".into());
        let body = body(&[MetricFamily {
            name,
            r#type: Some(1),
            metric: vec![metric],
            ..MetricFamily::default()
        }]);
        let items: Vec<_> = Reader::new(&body, &Limits::default()).collect();
        let Ok(Entry::Metric(metric)) = &items[1] else { panic!("{items:?}") };
        metric.lines(|line| {
            let read: f64 = line.value.parse().unwrap();
            assert!(read.to_bits() == bits || value.is_nan(), "{value:e}");
        });
    }
}
