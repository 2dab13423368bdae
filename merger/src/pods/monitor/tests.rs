use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{share::MAX_MONITORED, *};
use crate::target::monitor::{Monitored, Port, Unmet};

fn read(spec: &Value) -> Result<Monitor, String> {
    let object = json!({"metadata": {"namespace": "shop", "name": "cart"}, "spec": spec});
    Monitor::read(&object.to_string()).map_err(|error| error.to_string())
}

/// One of `testdata/monitors`, by way of the JSON that an API server would say.
fn recorded(name: &str) -> Monitor {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/monitors").join(name);
    let object: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    Monitor::read(&object.to_string()).unwrap()
}

fn labels(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_selector_selects_as_kubernetes_does() {
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let (app, web) = (labels(&[("app", "web")]), labels(&[("app", "web"), ("tier", "")]));
    let (other, none) = (labels(&[("app", "other")]), labels(&[]));
    let all = [&app, &web, &other, &none];
    for (selector, expected) in [
        (json!(null), [true, true, true, true]),
        (json!({}), [true, true, true, true]),
        (json!({"matchLabels": {}, "matchExpressions": null}), [true, true, true, true]),
        (json!({"matchLabels": {"app": "web"}}), [true, true, false, false]),
        (json!({"matchLabels": {"app": "web", "tier": ""}}), [false, true, false, false]),
        (expression("app", "In", &["web", "api"]), [true, true, false, false]),
        (expression("app", "NotIn", &["web", "api"]), [false, false, true, true]),
        (expression("tier", "Exists", &[]), [false, true, false, false]),
        (expression("tier", "DoesNotExist", &[]), [true, false, true, true]),
        (
            json!({"matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
            [true, false, false, false],
        ),
    ] {
        let monitor = read(&json!({"selector": selector})).unwrap();
        assert_eq!(all.map(|labels| monitor.selects("shop", labels)), expected, "{selector}");
    }
}

#[test]
fn its_own_namespace_is_selected_or_those_that_it_names_or_all() {
    for (selector, expected) in [
        (json!(null), [true, false, false]),
        (json!({}), [true, false, false]),
        (json!({"matchNames": []}), [true, false, false]),
        (json!({"any": null, "matchNames": ["a", "b"]}), [false, true, false]),
        (json!({"any": true, "matchNames": ["a"]}), [true, true, true]),
    ] {
        let monitor = read(&json!({"namespaceSelector": selector})).unwrap();
        let selected = ["shop", "a", "c"].map(|namespace| monitor.selects(namespace, &labels(&[])));
        assert_eq!(selected, expected, "{selector}");
    }
}

#[test]
fn what_cannot_be_selected_by_as_a_whole_is_refused_and_never_cut() {
    let many: Vec<String> = (0..300).map(|n| format!("v{n}")).collect();
    let map: BTreeMap<&String, &str> = many.iter().map(|name| (name, "x")).collect();
    let expressions: Vec<Value> =
        many.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
    let expression = |operator: &str, values: &Value| {
        json!({"selector": {"matchExpressions": [
            {"key": "a", "operator": operator, "values": values}]}})
    };
    for (spec, expected) in [
        (json!({"selector": {"matchLabels": map}}), "its matchLabels is longer"),
        (json!({"selector": {"matchExpressions": expressions}}), "its matchExpressions is longer"),
        (expression("In", &json!(many)), "its list of values is longer"),
        (json!({"namespaceSelector": {"matchNames": many}}), "its matchNames is longer"),
        (expression("In", &json!([])), "a requirement of its selector is none"),
        (expression("Exists", &json!(["a"])), "a requirement of its selector is none"),
        (expression("Gt", &json!(["1"])), "a requirement of its selector is none"),
        (expression("In", &json!([7])), "invalid type: integer `7`"),
        (json!({"podMetricsEndpoints": {"port": "metrics"}}), "invalid type: map"),
    ] {
        let error = read(&spec).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(Monitor::read(r#"{"metadata":{"namespace":"shop"}}"#).is_err());
}

#[test]
fn a_monitor_that_is_as_large_as_one_may_be_is_cut_or_refused() {
    // 10,000 endpoints in 1 MiB.
    let endpoint =
        json!({"port": "metrics", "path": "/metrics", "params": {"a": ["x".repeat(50)]}});
    let monitor = read(&json!({"podMetricsEndpoints": vec![endpoint; 10_000]})).unwrap();
    assert!(monitor.n_bytes() < MAX_KEPT, "{}", monitor.n_bytes());
    let asked = monitored([&monitor], "shop", &labels(&[]));
    assert_eq!((asked.endpoints.len(), asked.left_out), (MAX_ENDPOINTS, 10_000 - MAX_ENDPOINTS));

    // One text of 1 MiB is cut, so that its endpoint is at fault and no other.
    let endpoints = json!([{"path": "x".repeat(1 << 20)}, {"path": "/good"}]);
    let monitor = read(&json!({"podMetricsEndpoints": endpoints})).unwrap();
    assert!(monitor.n_bytes() < 2000);
    let [long, good] = monitor.endpoints.as_slice() else { panic!("{monitor:?}") };
    assert!(long.page().is_err());
    assert_eq!(good.page().as_deref(), Ok("/good"));

    // Many of them are too much.
    let endpoints = vec![json!({"path": "x".repeat(1000)}); 40];
    let error = read(&json!({"podMetricsEndpoints": endpoints})).unwrap_err();
    assert!(error.contains("bytes of it would be kept, more than 32768"), "{error}");
}

#[test]
fn parameters_that_are_left_out_are_more_than_is_sent() {
    let values = vec![""; 3000];
    for params in [json!({"": values}), (0..3000).map(|n| (n.to_string(), json!([""]))).collect()] {
        let monitor = read(&json!({"podMetricsEndpoints": [{"params": params}]})).unwrap();
        assert!(monitor.endpoints[0].page().is_err());
    }
}

#[test]
fn several_monitors_share_what_is_kept_for_one_pod() {
    let endpoints = vec![json!({"path": "x".repeat(900)}); 12];
    let one = read(&json!({"podMetricsEndpoints": endpoints})).unwrap();
    let asked = monitored([&one, &one, &one], "shop", &labels(&[]));
    let n_bytes: usize = asked.endpoints.iter().map(|endpoint| spec::kept(endpoint)).sum();
    assert!(n_bytes <= MAX_MONITORED && n_bytes > MAX_MONITORED * 3 / 4, "{n_bytes}");
    assert_eq!(asked.endpoints.len() + asked.left_out, 36);
    assert_eq!(monitored([&one], "elsewhere", &labels(&[])), Monitored::default());
}

/// One of this namespace that selects every pod of the cluster.
fn of_all(namespace: &str, endpoints: &[Value]) -> Monitor {
    let object = json!({
        "metadata": {"namespace": namespace, "name": "x"},
        "spec": {"namespaceSelector": {"any": true}, "selector": {}, "podMetricsEndpoints": endpoints},
    });
    Monitor::read(&object.to_string()).unwrap()
}

/// How many endpoints of each namespace are kept for a pod of `shop`.
fn shares(monitors: &[Monitor]) -> Vec<(String, usize)> {
    let asked = monitored(monitors, "shop", &labels(&[]));
    let n_asked: usize = monitors.iter().map(|m| m.endpoints.len()).sum();
    assert_eq!(asked.endpoints.len() + asked.left_out, n_asked);
    let mut shares: Vec<(String, usize)> = Vec::new();
    for endpoint in &asked.endpoints {
        let namespace = endpoint.monitor.split_once('/').unwrap().0;
        match shares.iter_mut().find(|(known, _)| known == namespace) {
            Some((_, n)) => *n += 1,
            None => shares.push((namespace.to_owned(), 1)),
        }
    }
    shares
}

#[test]
fn whoever_asks_for_much_takes_no_place_of_the_pods_own_namespace_nor_of_another() {
    let many = vec![json!({"port": "metrics"}); 32];
    let large = vec![json!({"path": "x".repeat(1000)}); 20];
    let one = [json!({"port": "metrics"})];
    let share = |namespace: &str, n: usize| (namespace.to_owned(), n);
    for greedy in [&many, &large] {
        let shared = shares(&[
            of_all("aaa", greedy),
            of_all("monitoring", &one),
            of_all("shop", &vec![one[0].clone(); 10]),
            of_all("zzz", greedy),
        ]);
        let [shop, aaa, monitoring, zzz] = shared.as_slice() else { panic!("{shared:?}") };
        assert_eq!((shop, monitoring), (&share("shop", 10), &share("monitoring", 1)));
        assert!(aaa.1.abs_diff(zzz.1) <= 1 && aaa.1 > 1, "{shared:?}");
    }
    // Where nobody else asks it has as much as one namespace may.
    let [(_, alone)] = shares(&[of_all("aaa", &large)])[..] else { panic!("one namespace") };
    assert_eq!(alone, 3);
    // What a pod's own namespace asks for may be all of it.
    assert_eq!(shares(&[of_all("aaa", &one), of_all("shop", &many)]), [share("shop", 32)]);
}

#[test]
fn a_monitor_as_an_api_server_has_it() {
    let monitor = recorded("cart.yaml");
    let cart = labels(&[("app.kubernetes.io/part-of", "cart"), ("tier", "web")]);
    assert!(monitor.selects("shop", &cart) && monitor.selects("shop-canary", &cart));
    assert!(!monitor.selects("monitoring", &cart));
    let asked = monitored([&monitor], "shop", &cart);
    let shown: Vec<_> = asked
        .endpoints
        .iter()
        .map(|e| (e.port.clone(), e.page().unwrap(), e.scheme().unwrap().as_str(), e.unmet))
        .collect();
    let name = |name: &str| Port::Name(name.to_owned());
    assert_eq!(
        shown,
        [
            (name("metrics"), "/metrics".to_owned(), "http", None),
            (name("admin"), "/stats/prometheus?format=prometheus".to_owned(), "https", None),
            (Port::Number(9300), "/metrics".to_owned(), "http", None),
        ]
    );
    assert!(asked.endpoints.iter().all(|e| e.monitor == "monitoring/cart" && !e.chooses));
}

#[test]
fn a_relabeling_that_writes_the_request_is_found_however_it_says_so() {
    let map = |replacement: &str| json!({"action": "labelmap", "regex": "x_(.+)", "replacement": replacement});
    let to = |label: &str| json!({"sourceLabels": ["a"], "targetLabel": label});
    for (relabeling, is_written) in [
        (map("__param_$1"), true),
        (map("__${1}"), true),
        (map("__address__"), true),
        (map("__meta_$1"), false),
        (map("pod_$1"), false),
        (map("$1"), false),
        (json!({"action": "LabelMap", "regex": "x_(.+)", "replacement": "__param_$1"}), true),
        (json!({"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"}), false),
        (to("__param_target"), true),
        (to("__metrics_path__"), true),
        (to("$1"), true),
        (to("${1}"), true),
        (to("__$1"), true),
        (to("pod_$1"), false),
        (to("__address"), false),
        (
            json!({"sourceLabels": ["__address__"], "targetLabel": "a", "replacement": "__param_$1"}),
            false,
        ),
    ] {
        let endpoint = json!({"port": "metrics", "relabelings": [relabeling]});
        let monitor = read(&json!({"podMetricsEndpoints": [endpoint]})).unwrap();
        let expected = is_written.then_some(Unmet::Relabelings);
        assert_eq!(monitor.endpoints[0].unmet, expected, "{endpoint}");
    }
}

#[test]
fn the_monitors_of_meshes_choose_by_relabelings() {
    let istio = recorded("istio.yaml");
    assert!(istio.selects("anywhere", &labels(&[])));
    assert!(!istio.selects("anywhere", &labels(&[("istio-prometheus-ignore", "true")])));
    let endpoint = &istio.endpoints[0];
    assert_eq!((endpoint.unmet, endpoint.chooses), (Some(Unmet::Relabelings), true));
    let linkerd = recorded("linkerd.yaml");
    let endpoint = &linkerd.endpoints[0];
    assert_eq!((&endpoint.port, endpoint.unmet, endpoint.chooses), (&Port::Each, None, true));
}
