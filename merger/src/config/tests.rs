//! Files and flags in, a config or the exact words out.

use super::*;

fn read(text: &str) -> Result<Settings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let shown = file.path().display().to_string();
    Settings::read(file.path()).map_err(|error| error.to_string().replace(&shown, "FILE"))
}

fn with_pods() -> Settings {
    Settings { pods: Some(PodSource::Manifests("/d".into())), ..Settings::default() }
}

fn surroundings(in_cluster: bool) -> Surroundings {
    Surroundings { in_cluster, has_runtime: false, host_name: || Ok("host".to_owned()) }
}

#[track_caller]
fn check_refused(settings: Settings, message: &str) {
    let error = settings.check_in(&surroundings(false)).expect_err("it cannot be followed");
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_file_says_what_flags_say() {
    let settings = read(
        "pods: manifests:/etc/pods\nlisten: 127.0.0.1:1\nscrape_timeout: 1500ms\nlisteners: proc\n\
         probe_namespaces: [shop, lab]\nsecret_namespaces: [shop]\n",
    );
    let config = settings.unwrap().check().unwrap();
    assert_eq!(config.pods, PodSource::Manifests("/etc/pods".into()));
    assert_eq!(config.listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(config.scrape.timeout, Duration::from_millis(1500));
    assert_eq!(config.listeners, Rungs::Only(Rung::Proc));
    assert_eq!(config.rules.probed_namespaces, ["lab".to_owned(), "shop".to_owned()].into());
    assert_eq!(config.rules.secrets, secret::Rule::Nowhere, "manifests have none");
}

#[test]
fn secrets_are_read_of_the_namespaces_that_are_named() {
    let secrets = |text: &str| read(text).unwrap().check().unwrap().rules.secrets;
    let shop = secret::Rule::Of(["shop".to_owned()].into());
    assert_eq!(secrets("pods: kube\nsecret_namespaces: [shop]\n"), shop);
    assert_eq!(secrets("pods: kube\n"), secret::Rule::default());
    assert_eq!(secrets("pods: cri\nsecret_namespaces: [shop]\n"), secret::Rule::Nowhere);
}

#[test]
fn monitors_are_read_unless_somebody_says_otherwise() {
    assert_eq!(with_pods().check().unwrap().pod_monitors, Monitors::Watched);
    let said = read("pod_monitors: false\n").unwrap();
    let config = with_pods().or(said.clone()).check().unwrap();
    assert_eq!(config.pod_monitors, Monitors::Ignored);
    // A flag goes before the file.
    let flag = Settings { pod_monitors: Some(true), ..with_pods() };
    assert_eq!(flag.or(said).check().unwrap().pod_monitors, Monitors::Watched);
}

#[test]
fn a_rung_is_asked_for_by_the_name_that_logs_and_metrics_have() {
    for rung in Rung::ALL {
        assert_eq!(rung.as_str().parse(), Ok(Listeners(Rungs::Only(rung))));
    }
    assert_eq!("auto".parse(), Ok(Listeners(Rungs::Auto)));
}

#[test]
fn a_file_with_an_unknown_field_is_refused_by_name() {
    let error = read("scrape_timeuot: 10s\n").unwrap_err();
    assert!(
        error.starts_with("FILE: line 1 column 1: ") && error.contains("scrape_timeuot"),
        "{error}"
    );
}

#[test]
fn a_file_with_a_bad_value_is_told_what_is_right() {
    let error = read("scrape_timeout: soon\n").unwrap_err();
    assert!(error.contains("a duration is a number with ms, s or m, as in 10s"), "{error}");
}

#[test]
fn a_file_adds_profiles_and_queries_or_is_told_why_not() {
    let text = "pods: manifests:/d\nmesh_queries: {istio: usedonly}\nmeshes:\n\
                - {mesh: m, container: c, pages: [{of: proxy, port: 1, path: /m}]}\n";
    let rules = read(text).unwrap().check().unwrap().rules;
    let mut profiles = rules.meshes.profiles();
    assert_eq!(profiles.next().unwrap().mesh, "m");
    let istio = profiles.find(|profile| profile.mesh == "istio").unwrap();
    assert_eq!(istio.pages[0].path, "/stats/prometheus?usedonly");
    assert!(!istio.takes_own, "which doubles what Envoy and the application are asked");
    let bad = read("pods: manifests:/d\nmeshes: [{mesh: m, container: c, reserved: [0]}]\n");
    check_refused(bad.unwrap(), "mesh \"m\": reserved is \"0\": a port is from 1 to 65535");
    let error = read("meshes: [{mesh: m, container: c, pagess: []}]\n").unwrap_err();
    assert!(error.contains("pagess"), "{error}");
}

#[test]
fn the_meshes_whose_agents_are_asked_are_named_in_the_file_or_by_a_flag() {
    let takes = |settings: Settings| {
        let meshes = settings.check().unwrap().rules.meshes;
        meshes.profiles().find(|profile| profile.mesh == "istio").unwrap().takes_own
    };
    let said = read("mesh_agents: [istio]\n").unwrap();
    assert!(takes(with_pods().or(said.clone())));
    let flag = Settings { mesh_agents: Some(vec![]), ..with_pods() };
    assert!(!takes(flag.or(said)));
    check_refused(
        Settings { mesh_agents: Some(vec!["linkerd".to_owned()]), ..with_pods() },
        "mesh \"linkerd\": mesh_agents is \"linkerd\": no page of its sidecar says what is its own",
    );
}

#[test]
fn what_is_said_first_goes_before_the_rest() {
    let flags = Settings { max_samples: Some(1), ..Settings::default() };
    let file = Settings {
        max_samples: Some(2),
        max_body_bytes: Some(3),
        max_page_bytes: Some(4),
        ..with_pods()
    };
    let config = flags.or(file).check().unwrap();
    assert_eq!((config.max_samples, config.scrape.body, config.max_page_bytes), (1, 3, 4));
}

#[test]
fn settings_that_cannot_be_followed_are_told_why() {
    check_refused(
        Settings::default(),
        "no source of pods: name one by --pods kube, --pods cri or --pods manifests:DIR",
    );
    check_refused(
        Settings { listen: Some(([0, 0, 0, 0], 15990).into()), ..with_pods() },
        "0.0.0.0:15990 can be reached from outside this node, and there is no TLS yet: listen on \
         a loopback address, or say --insecure-plaintext",
    );
    check_refused(
        Settings { max_samples: Some(0), ..with_pods() },
        "--max-samples is 0: nothing could be scraped",
    );
    check_refused(
        Settings { max_page_bytes: Some(0), ..with_pods() },
        "--max-page-bytes is 0: nothing could be scraped",
    );
    check_refused(
        Settings { node_name: Some(String::new()), ..with_pods() },
        "--node-name is empty: name the node as `kubectl get nodes` does",
    );
    check_refused(
        Settings { max_bytes_in_flight: Some(1 << 20), ..with_pods() },
        "--max-bytes-in-flight is 1048576, less than one body of --max-body-bytes, 16777216",
    );
}

#[test]
fn plaintext_off_loopback_takes_so_many_words() {
    let listen = Some(([0, 0, 0, 0], 15990).into());
    let settings = Settings { listen, insecure_plaintext: Some(true), ..with_pods() };
    assert!(settings.check().is_ok());
}

#[test]
fn a_duration_has_a_unit() {
    let parsed = |text: &str| text.parse().ok().map(|Timeout(timeout)| timeout);
    assert_eq!(parsed("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(parsed("2m"), Some(Duration::from_mins(2)));
    for text in ["10", "s", "", "-1s", "1h", "99999999999m", "1.5s"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn in_a_pod_the_pods_come_from_the_api_server_by_the_service_account() {
    let config = Settings::default().check_in(&surroundings(true)).unwrap();
    assert_eq!(
        (config.pods, config.pods_reason),
        (PodSource::Kube, "KUBERNETES_SERVICE_HOST is set")
    );
    assert_eq!((config.access, config.list), (Access::InCluster, List::Pages));
    assert_eq!((config.node_name.as_str(), config.is_host_name), ("host", true));

    let config = with_pods().check_in(&surroundings(true)).unwrap();
    assert_eq!(config.pods, PodSource::Manifests("/d".into()));
    assert_eq!(config.pods_reason, "the setting pods says so");
}

#[test]
fn a_kubeconfig_goes_before_the_service_account() {
    let text = "pods: kube\nkubeconfig: /etc/kube\nkube_list: streaming\nnode_name: n1\n";
    for in_cluster in [true, false] {
        let config = read(text).unwrap().check_in(&surroundings(in_cluster)).unwrap();
        assert_eq!(config.pods, PodSource::Kube);
        assert_eq!(config.access, Access::Kubeconfig(Some("/etc/kube".into())));
        assert_eq!(config.list, List::Streaming);
        assert_eq!((config.node_name.as_str(), config.is_host_name), ("n1", false));
    }
    let config = read("pods: kube\n").unwrap().check_in(&surroundings(false)).unwrap();
    assert_eq!(config.access, Access::Kubeconfig(None));
}

#[test]
fn a_source_is_shown_as_it_is_named() {
    for (text, source) in [
        ("kube", PodSource::Kube),
        ("cri", PodSource::Cri(None)),
        ("cri:/run/x.sock", PodSource::Cri(Some("/run/x.sock".into()))),
        ("manifests:/etc/pods", PodSource::Manifests("/etc/pods".into())),
    ] {
        assert_eq!((text.parse(), source.to_string().as_str()), (Ok(source), text));
    }
    for text in ["", "kube:", "kube:x", "manifests", "manifests:", "cri:", "crio", "docker:/x"] {
        let right = "the source of pods is kube, the API server of a cluster, cri or cri:SOCKET, the \
                     container runtime, or manifests:DIR, a directory of Pod manifests";
        assert_eq!(text.parse::<PodSource>().unwrap_err(), right, "{text}");
    }
}

#[test]
fn where_nobody_says_it_pods_come_from_what_is_here() {
    for (in_cluster, has_runtime, expected) in [
        (true, true, Some(PodSource::Kube)),
        (true, false, Some(PodSource::Kube)),
        (false, true, Some(PodSource::Cri(None))),
        (false, false, None),
    ] {
        let found = Surroundings { has_runtime, ..surroundings(in_cluster) }.source(None);
        assert_eq!(found.map(|(source, _)| source), expected);
    }
}
