//! Messages in, pods out.

use super::*;
use crate::target::annotations::MAX_VALUE;

fn mk_status(name: &str, uid: &str, created_at: i64) -> api::PodSandboxStatusResponse {
    let metadata = api::PodSandboxMetadata {
        name: name.to_owned(),
        uid: uid.to_owned(),
        namespace: "ns".to_owned(),
    };
    let annotations = BTreeMap::from([
        ("prometheus.io/scrape".to_owned(), "true".to_owned()),
        ("kubernetes.io/config.seen".to_owned(), "2026".to_owned()),
    ]);
    let status = api::PodSandboxStatus { metadata: Some(metadata), created_at, annotations };
    api::PodSandboxStatusResponse { status: Some(status) }
}

fn mk_sandbox(name: &str, uid: &str, created_at: i64) -> Sandbox {
    sandbox(mk_status(name, uid, created_at)).unwrap()
}

fn mk_kept(id: &str, name: &str, ports: &str, info: &str, n_others: usize) -> Kept {
    let metadata = Some(api::ContainerMetadata { name: name.to_owned() });
    let annotations = [(PORTS.to_owned(), ports.to_owned())].into();
    let status = Some(api::ContainerStatus { metadata, annotations });
    let info = [("info".to_owned(), info.to_owned())].into();
    container(id, api::ContainerStatusResponse { status, info }, n_others).unwrap()
}

fn mk_container(id: &str, name: &str, ports: &str, info: &str) -> Kept {
    mk_kept(id, name, ports, info, 0)
}

/// Each pod as `name uid: containers`, each container by its id.
#[track_caller]
fn check(sandboxes: &[(&str, Sandbox)], listed: &[(&str, i64, Kept)], expected: &[&str]) -> Known {
    let shown = |known: &Known| -> Vec<String> {
        let of = |pod: &Arc<Pod>| {
            let ids: Vec<&str> = pod.containers.iter().filter_map(|c| c.id.as_deref()).collect();
            format!("{} {}: {}", pod.name, pod.uid, ids.join(" "))
        };
        known.pods.iter().map(of).collect()
    };
    let sandboxes = || sandboxes.iter().map(|(id, sandbox)| (*id, sandbox));
    let all = |(sandbox, created_at, kept)| Listed { sandbox, created_at, kept };
    let forwards = listed.iter().map(|(sandbox, at, container)| all((*sandbox, *at, container)));
    let known = known(sandboxes(), forwards, vec![]);
    assert_eq!(shown(&known), expected);
    // A runtime lists in any order.
    let backwards =
        listed.iter().rev().map(|(sandbox, at, container)| all((*sandbox, *at, container)));
    assert_eq!(super::known(sandboxes().rev(), backwards, vec![]), known);
    known
}

#[test]
fn a_sandbox_with_its_containers_is_a_pod() {
    let listed = [
        ("s1", 2, mk_container("c2", "b", "", "")),
        ("s1", 3, mk_container("c1", "a", "", "")),
        ("elsewhere", 1, mk_container("c3", "c", "", "")),
    ];
    let sandboxes = [("s1", mk_sandbox("p", "u", 1)), ("s2", mk_sandbox("o", "v", 1))];
    let known = check(&sandboxes, &listed, &["ns/o v: ", "ns/p u: c1 c2"]);
    assert_eq!(known.problems, []);
    let pod = &known.pods[1];
    assert_eq!((pod.node.as_deref(), pod.ended), (None, false));
    assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["prometheus.io/scrape"]);
}

#[test]
fn of_two_sandboxes_of_one_name_the_newer_counts_and_another_pods_is_told() {
    let listed =
        [("old", 1, mk_container("c1", "a", "", "")), ("new", 2, mk_container("c2", "a", "", ""))];
    // The sandbox of a pod has died, and a second one was made.
    let sandboxes = [("old", mk_sandbox("p", "u", 1)), ("new", mk_sandbox("p", "u", 2))];
    assert_eq!(check(&sandboxes, &listed, &["ns/p u: c2"]).problems, []);
    // The pod was deleted by force, and is still running.
    let sandboxes = [("old", mk_sandbox("p", "u", 1)), ("new", mk_sandbox("p", "v", 2))];
    let problems = check(&sandboxes, &listed, &["ns/p v: c2"]).problems;
    let expected = "pod sandbox old: pod ns/p of uid u runs still beside the one that is read";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn of_two_containers_of_one_name_the_newer_counts() {
    let listed =
        [("s", 2, mk_container("new", "a", "", "")), ("s", 1, mk_container("old", "a", "", ""))];
    check(&[("s", mk_sandbox("p", "u", 1))], &listed, &["ns/p u: new"]);
}

#[test]
fn containers_count_when_they_run_or_are_about_to() {
    let is_live = |state| is_live(&api::Container { state, ..api::Container::default() });
    assert_eq!([0, 1, 2, 3, 7].map(is_live), [true, true, false, false, false]);
}

#[test]
fn what_no_kubelet_has_made_is_no_pod() {
    for (name, uid) in [("", "u"), ("p", "")] {
        let error = sandbox(mk_status(name, uid, 1)).unwrap_err();
        assert_eq!(error, "has no name, namespace or uid: no kubelet has made it");
    }
    let nothing = api::PodSandboxStatusResponse { status: None };
    assert_eq!(sandbox(nothing).unwrap_err(), "the runtime says nothing of it");
}

#[test]
fn ports_are_those_of_tcp_in_the_kubelets_json() {
    let json = r#"[{"name":"http","hostPort":1,"containerPort":8080,"protocol":"TCP"},
        {"name":"dns","containerPort":53,"protocol":"UDP"},{"containerPort":9090},
        {"name":"zero","containerPort":0}]"#;
    let ports = |json| -> Vec<(Option<String>, u16)> {
        let ports = mk_container("c", "a", json, "").container.ports;
        ports.into_iter().map(|port| (port.name, port.number.get())).collect()
    };
    assert_eq!(ports(json), [(Some("http".to_owned()), 8080), (None, 9090)]);
    for bad in
        ["", "{", "7", "null", r#"[{"containerPort":"8080"}]"#, r#"[{"containerPort":99999}]"#]
    {
        assert_eq!(ports(bad), [], "{bad}");
    }
}

#[test]
fn of_the_environment_that_is_kept_which_is_read_and_no_more_than_a_value_may_say() {
    let long = "y".repeat(256 << 10);
    let json = format!(
        r#"{{"pid":7,"config":{{"envs":[]}},"runtimeSpec":{{"process":{{"terminal":false,"env":[
        "PASSWORD=secret","ISTIO_PROMETHEUS_ANNOTATIONS={{\"port\":\"8080\"}}",
        "PILOT_AGENT_MERGE_ENVOY_STATS={long}","NOTHING"]}}}}}}"#
    );
    let env = mk_container("c", "istio-proxy", "", &json).container.env;
    assert_eq!(
        env.keys().collect::<Vec<_>>(),
        ["ISTIO_PROMETHEUS_ANNOTATIONS", "PILOT_AGENT_MERGE_ENVOY_STATS"]
    );
    assert_eq!(env["ISTIO_PROMETHEUS_ANNOTATIONS"], r#"{"port":"8080"}"#);
    assert_eq!(env["PILOT_AGENT_MERGE_ENVOY_STATS"].len(), MAX_VALUE + 1);
    for bad in
        ["", "{", "[]", r#"{"runtimeSpec":null}"#, r#"{"runtimeSpec":{"process":{"env":[7]}}}"#]
    {
        assert_eq!(mk_container("c", "a", "", bad).container.env, BTreeMap::new(), "{bad}");
    }
}

#[test]
fn of_hostile_annotations_no_more_is_kept_than_of_others() {
    let mut status = mk_status("p", "u", 1);
    let annotations = &mut status.status.as_mut().unwrap().annotations;
    annotations.insert("filling".to_owned(), "x".repeat(256 << 10));
    annotations.insert("merger.io/endpoints".to_owned(), "x".repeat(256 << 10));
    for n in 0..1000 {
        annotations.insert(format!("{n}.merger.io/endpoints"), "x".repeat(256));
    }
    let kept = sandbox(status).unwrap().annotations;
    let n_bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len()).sum();
    // Of 32 KiB a quarter is what it takes to keep so many.
    assert!((23 << 10..33 << 10).contains(&n_bytes), "{n_bytes}");
}

/// The kubelet's JSON of so many ports, which need not be different ones.
fn mk_ports(n: usize) -> String {
    format!("[{}{{}}]", r#"{"containerPort":80},"#.repeat(n))
}

#[test]
fn a_pod_that_declares_more_than_is_kept_costs_itself() {
    // As many as by a manifest.
    let fits = [("s", 1, mk_container("c", "a", &mk_ports(2000), ""))];
    let sandbox = || mk_sandbox("p", "u", 1);
    assert_eq!(
        check(&[("s", sandbox())], &fits, &["ns/p u: c"]).pods[0].containers[0].ports.len(),
        2000
    );

    let hostile = mk_container("c", "a", &mk_ports(60_000), "");
    assert_eq!((hostile.container.ports.capacity(), hostile.n_bytes() > 60_000 * 32), (0, true));
    // One that is older, of the same pod, does not take its place.
    let sandboxes =
        [("new", mk_sandbox("p", "u", 2)), ("o", mk_sandbox("o", "v", 1)), ("old", sandbox())];
    let known = check(&sandboxes, &[("new", 1, hostile)], &["ns/o v: "]);
    let told = known.problems[0].to_string();
    let begin = "pod sandbox new: pod ns/p: its containers declare so much that 192";
    assert!(told.starts_with(begin), "{told}");
    assert!(
        told.ends_with("more than 65536: have it declare fewer TCP ports and containers"),
        "{told}"
    );
}

#[test]
fn what_the_containers_of_a_pod_declare_counts_together() {
    let first = mk_container("c1", "a", &mk_ports(1500), "");
    let second = mk_kept("c2", "b", &mk_ports(1500), "", first.n_bytes());
    assert_eq!((first.container.ports.len(), second.container.ports.len()), (1500, 0));
    let sandboxes = [("s", mk_sandbox("p", "u", 1))];
    let both = [("s", 1, first), ("s", 1, second.clone())];
    assert_eq!(check(&sandboxes, &both, &[]).problems.len(), 1);
    // What was dropped of it is not known any more.
    assert_eq!(check(&sandboxes, &[("s", 1, second)], &[]).problems.len(), 1);
}
