//! All sets at once: what a source of pods keeps, and what hostile annotations cost.

use super::*;

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_source_of_pods_keeps_what_is_read_and_cuts_what_is_too_long() {
    let long = "\u{e9}".repeat(1 << 17);
    let kept = pruned(annotations(&[
        ("prometheus-io/port", "1"),
        ("prometheus.io/param_x", &long),
        ("cart.merger.io/endpoints", ":1"),
        ("io.opentelemetry.discovery.metrics.1/enabled", "true"),
        ("kubectl.kubernetes.io/last-applied-configuration", &long),
    ]));
    let lengths: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value.len())).collect();
    let expected = [
        ("cart.merger.io/endpoints", 2),
        ("io.opentelemetry.discovery.metrics.1/enabled", 4),
        ("prometheus-io/port", 1),
        ("prometheus.io/param_x", MAX_VALUE + 2),
    ];
    assert_eq!(lengths, expected);
}

#[test]
fn no_value_of_256_kib_says_anything_or_is_repeated() {
    let names = [
        "prometheus.io/scrape",
        "prometheus.io/scrape-slow",
        "prometheus.io/port",
        "prometheus.io/path",
        "prometheus.io/scheme",
        "prometheus.io/param_x",
        "prometheus.istio.io/scrape-targets",
        "consul.hashicorp.com/service-metrics-port",
        "prometheus.metrics.kuma.io/aggregate-a-port",
        "io.opentelemetry.discovery.metrics.9100/enabled",
        "merger.io/endpoints",
        "merger.io/probe",
    ];
    for piece in ["1", "1,", "/", ":1/m,", "\u{1f980}", "%41", "{", "- "] {
        let value = piece.repeat((1 << 18) / piece.len());
        for name in names {
            let asked = read(&annotations(&[(name, &value)]), std::iter::empty(), &[]);
            assert!(asked.endpoints.is_empty(), "{name}: {piece}");
            let [note] = &asked.notes[..] else { panic!("{name}: {piece}: {:?}", asked.notes) };
            let note = note.to_string();
            assert!(note.starts_with(&format!("annotation {name}: \"")), "{note}");
            assert!(note.len() < 700 && note.contains('…'), "{note}");
        }
    }
}

#[test]
fn a_list_without_end_is_read_to_its_limit() {
    let listed: Vec<String> = (1..=40).map(|port| format!(":{port}")).collect();
    let list = listed.join(",");
    let asked = read(&annotations(&[("merger.io/endpoints", &list)]), std::iter::empty(), &[]);
    assert_eq!(asked.endpoints.len(), MAX_ENDPOINTS);
    assert_eq!(
        asked.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["annotation merger.io/endpoints: the last 8 endpoints are not read"]
    );
}

#[test]
fn of_annotations_without_end_32_kib_are_kept_and_the_rest_is_counted() {
    let name = |n: usize| format!("prometheus.metrics.kuma.io/aggregate-{n:05}-port");
    let many = (0..5000).map(|n| (name(n), "1".to_owned())).collect();
    let kept = pruned(many);
    let n_bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len() + ENTRY).sum();
    assert!((30 << 10..=33 << 10).contains(&n_bytes), "{n_bytes}");
    let asked = read(&kept, std::iter::empty(), &[]);
    let left_out = 5000 - (kept.len() - 1);
    let expected = format!("has more than 32 KiB of annotations: the last {left_out} are not read");
    assert_eq!(asked.notes[0].to_string(), expected);
    assert_eq!(asked.endpoints.len(), MAX_ENDPOINTS);
}
