//! Texts of manifests, and a directory that changes.

use super::*;

const CART: &str = "\
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: cart
  uid: u-1
  annotations: {prometheus.io/scrape: \"true\"}
spec:
  nodeName: n1
  initContainers:
  - name: istio-init
  - name: istio-proxy
    restartPolicy: Always
    ports: [{name: http-envoy-prom, containerPort: 15090, protocol: TCP}]
  containers:
  - name: cart
    ports: [{containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
status:
  phase: Running
  containerStatuses: [{name: cart, containerID: containerd://abc}]
  initContainerStatuses: [{name: istio-proxy, containerID: cri-o://def}]
";

/// The pod of a manifest that has one.
#[track_caller]
fn pod(text: &str) -> Pod {
    parse::pods(text).remove(0).unwrap().pod
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let shown = |one: Result<Stated, parse::Error>| match one {
        Ok(Stated { pod, .. }) => format!("{} {}", pod.name, pod.uid),
        Err(error) => error.to_string(),
    };
    let found: Vec<String> = parse::pods(text).into_iter().map(shown).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_manifest_says_all_that_is_used_of_a_pod() {
    let pod = pod(CART);
    assert_eq!(pod.name.to_string(), "shop/cart");
    assert_eq!(pod.uid, "u-1");
    assert_eq!(pod.node.as_deref(), Some("n1"));
    assert_eq!(pod.annotations["prometheus.io/scrape"], "true");
    assert!(!pod.ended);
    let containers: Vec<(&str, Option<&str>, usize)> =
        pod.containers.iter().map(|c| (&*c.name, c.id.as_deref(), c.ports.len())).collect();
    assert_eq!(containers, [("cart", Some("abc"), 1), ("istio-proxy", Some("def"), 1)]);
}

#[test]
fn several_pods_may_stand_in_one_file() {
    let pod = |name: &str| format!("kind: Pod\nmetadata: {{name: {name}, uid: u}}\n");
    check(&format!("{}---\n{}", pod("a"), pod("b")), &["default/a u", "default/b u"]);
    let list = r#"{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a","uid":"u"}},{"kind":"Service"}]}"#;
    check(
        list,
        &["default/a u", "kind Service is no Pod: a manifest holds a Pod, or a List of Pods"],
    );
    check(r#"{"kind":"PodList","items":[{"metadata":{"name":"a","uid":"u"}}]}"#, &["default/a u"]);
    // One of them is none.
    let list = r#"{"kind":"PodList","items":[{"metadata":{"name":"a","uid":"u"}},{"metadata":{"name":"b","uid":[]}}]}"#;
    assert_eq!(parse::pods(list).iter().filter(|one| one.is_ok()).count(), 1);
}

#[test]
fn what_is_no_pod_is_told_what_is_missing() {
    let no_kind = "kind is missing: a manifest holds a Pod, or a List of Pods";
    check("metadata: {name: a}", &[no_kind]);
    check(
        "kind: Deployment\nmetadata: {name: a}",
        &["kind Deployment is no Pod: a manifest holds a Pod, or a List of Pods"],
    );
    check(
        "kind: Pod\nmetadata: {uid: u}",
        &["metadata.name is missing: the pod's pages are found by it"],
    );
    check(
        "kind: Pod\nmetadata: {name: a}",
        &[
            "pod default/a: metadata.uid is missing: it ties the pod to its cgroup; `kubectl get pods -o yaml` has it",
        ],
    );
}

#[test]
fn what_is_no_object_is_a_syntax_error() {
    for text in ["kind: [", "- a\n- b", "just words", "kind: Pod\nspec: 7", "kind: List\nitems: 7"]
    {
        let found = parse::pods(text);
        let [Err(error)] = found.as_slice() else { panic!("{text:?} gave {found:?}") };
        let is_told = matches!(error, parse::Error::Syntax(_) | parse::Error::Item { .. });
        assert!(is_told, "{text:?} gave {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn one_that_is_no_pod_costs_itself_alone() {
    let pod = |name: &str, rest: &str| {
        format!("- {{kind: Pod, metadata: {{name: {name}, namespace: shop, uid: {name}{rest}}}\n")
    };
    let ports = |port: &str| {
        format!("}}, spec: {{containers: [{{name: c, ports: [{{containerPort: {port}}}]}}]}}")
    };
    let good = |name: &str| pod(name, &ports("80"));
    let annotated =
        pod("c", ", annotations: {prometheus.io/port: 9100, prometheus.io/scrape: true}}");
    let list = format!(
        "kind: List\nitems:\n{}{}{annotated}- 7\n{}---\nkind: Pod\nmetadata: {{name: e, uid: e}}\nspec: no\n---\nkind: Pod\nmetadata: {{name: f, uid: f}}\n",
        good("a"),
        pod("b", &ports("70000")),
        good("d"),
    );
    let found = parse::pods(&list);
    let shown: Vec<String> = found
        .iter()
        .map(|one| one.as_ref().map_or_else(ToString::to_string, |one| one.pod.name.to_string()))
        .collect();
    let [_, port, _, number, _, spec, _] = shown.as_slice() else { panic!("{shown:#?}") };
    let pods: Vec<&str> = shown.iter().step_by(2).map(String::as_str).collect();
    assert_eq!(pods, ["shop/a", "shop/c", "shop/d", "default/f"]);
    // Of the first it is known where in the file it is.
    assert!(port.starts_with("pod shop/b is no Pod: line 4"), "{port}");
    assert!(port.ends_with("invalid u16"), "{port}");
    assert!(number.starts_with("item 4 is no Pod: "), "{number}");
    assert!(spec.starts_with("pod default/e is no Pod: "), "{spec}");
}

#[test]
fn a_bomb_of_anchors_is_refused() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text.push_str("kind: Pod\nmetadata: {name: a, uid: *a11}\n");
    assert!(matches!(parse::pods(&text).as_slice(), [Err(parse::Error::Syntax(_))]));
}

#[test]
fn null_is_unset() {
    check(
        "kind: Pod\nmetadata: {name: a, uid: u}\nspec: {containers: [{name: c, ports: null}], initContainers: null}\nstatus: null",
        &["default/a u"],
    );
}

#[test]
fn a_pod_that_ended_says_so() {
    let has_ended = |phase: &str| {
        let text = format!("kind: Pod\nmetadata: {{name: a, uid: u}}\nstatus: {{phase: {phase}}}");
        pod(&text).ended
    };
    assert!(has_ended("Succeeded") && has_ended("Failed"));
    assert!(!has_ended("Running") && !has_ended("Pending"));
}

#[test]
fn containers_count_that_may_run_for_long_or_run_now() {
    let text = "\
kind: Pod
metadata: {name: a, uid: u}
spec:
  containers: [{name: app}]
  initContainers: [{name: done}, {name: native, restartPolicy: Always}, {name: running}, {name: later}]
  ephemeralContainers: [{name: debugger}, {name: left}]
status:
  containerStatuses: [{name: app, containerID: containerd://1, state: {terminated: {exitCode: 1}}}]
  initContainerStatuses:
  - {name: done, containerID: containerd://2, state: {terminated: {exitCode: 0}}}
  - {name: native, containerID: containerd://3, state: {running: {startedAt: x}}}
  - {name: running, containerID: containerd://4, state: {running: {}}}
  - {name: later, state: {waiting: {reason: PodInitializing}}}
  ephemeralContainerStatuses:
  - {name: debugger, containerID: containerd://5, state: {running: {}}}
  - {name: left, containerID: containerd://6, state: {terminated: {}}}
";
    let pod = pod(text);
    let containers: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.id.as_deref())).collect();
    let expected = [("app", "1"), ("native", "3"), ("running", "4"), ("debugger", "5")]
        .map(|(n, i)| (n, Some(i)));
    assert_eq!(containers, expected);
}

#[test]
fn of_environment_and_annotations_only_what_is_used_is_kept() {
    let long = "x".repeat(1 << 18);
    let text = format!(
        "kind: Pod\nmetadata: {{name: a, uid: u, annotations: {{x/y: {long}, prometheus.io/path: {long}}}}}\n\
         spec:\n  containers:\n  - name: c\n    env:\n    - {{name: SECRET, value: s}}\n    \
         - {{name: PILOT_AGENT_MERGE_ENVOY_STATS, value: \"false\"}}\n    \
         - {{name: ISTIO_PROMETHEUS_ANNOTATIONS, valueFrom: {{fieldRef: {{fieldPath: x}}}}}}\n"
    );
    let pod = pod(&text);
    let env: Vec<_> = pod.containers[0].env.iter().collect();
    assert_eq!(env, [(&"PILOT_AGENT_MERGE_ENVOY_STATS".to_owned(), &"false".to_owned())]);
    let kept: Vec<_> = pod.annotations.iter().map(|(name, value)| (&**name, value.len())).collect();
    assert_eq!(kept, [("prometheus.io/path", 4097)]);
}

#[test]
fn a_pod_that_declares_more_than_is_kept_costs_itself() {
    let pod = |n_ports: usize, protocol: &str| {
        let port = format!("{{containerPort: 1, protocol: {protocol}}},");
        format!(
            "kind: Pod\nmetadata: {{name: a, uid: u}}\nspec: {{containers: [{{name: c, ports: [{}]}}]}}\n",
            port.repeat(n_ports)
        )
    };
    check(&pod(2000, "TCP"), &["default/a u"]);
    check(&pod(5000, "UDP"), &["default/a u"]);
    let found = parse::pods(&pod(2100, "TCP"));
    let [Err(error)] = found.as_slice() else { panic!("{found:?}") };
    let error = error.to_string();
    assert!(error.starts_with("pod default/a: its containers declare so much that 67"), "{error}");
    assert!(error.ends_with("more than 65536: have it declare fewer TCP ports and containers"));
}

fn names(known: &Known) -> Vec<String> {
    known.pods.iter().map(|pod| pod.name.to_string()).collect()
}

#[test]
fn a_broken_manifest_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("1.yaml"), CART).unwrap();
    fs::write(dir.path().join("2.yaml"), "kind: [").unwrap();
    fs::write(dir.path().join("3.json"), CART.replace("u-1", "u-2")).unwrap();
    fs::write(dir.path().join("3.yml"), CART.replace("name: cart", "name: card")).unwrap();
    fs::write(dir.path().join("4.txt"), "not looked at").unwrap();
    fs::write(dir.path().join("5.yml"), [0xff, 0xfe]).unwrap();
    let known = read(dir.path()).unwrap();
    assert_eq!(names(&known), ["shop/cart"]);
    let problems: Vec<String> = known.problems.iter().map(ToString::to_string).collect();
    let [broken, twice, one_uid, binary] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(broken.contains("2.yaml: is neither YAML nor JSON of a Pod"), "{broken}");
    assert!(
        twice.ends_with("3.json: pod shop/cart stands in an earlier manifest already"),
        "{twice}"
    );
    assert!(one_uid.ends_with("3.yml: uid u-1 stands in an earlier manifest already"), "{one_uid}");
    assert!(binary.contains("5.yml: cannot be read"), "{binary}");
}

#[test]
fn a_static_pod_has_the_uid_of_its_mirror_unless_another_has_it() {
    const HASH: &str = "0d5f1c3a6c8a4f2b9e7d6c5b4a392817";
    let mirror = |name: &str, uid: &str| {
        format!(
            "kind: Pod\nmetadata:\n  name: {name}\n  uid: {uid}\n  \
             ownerReferences: [{{apiVersion: v1, kind: Node, name: n1, uid: n}}]\n  \
             annotations: {{kubernetes.io/config.mirror: {HASH}}}\n"
        )
    };
    let own =
        |name: &str, uid: &str| format!("kind: Pod\nmetadata: {{name: {name}, uid: {uid}}}\n");
    let read = |texts: &[String]| {
        let dir = tempfile::tempdir().unwrap();
        for (n, text) in texts.iter().enumerate() {
            fs::write(dir.path().join(format!("{n}.yaml")), text).unwrap();
        }
        let known = read(dir.path()).unwrap();
        let pods: Vec<_> =
            known.pods.iter().map(|pod| format!("{} {}", pod.name, pod.uid)).collect();
        (pods, known.problems)
    };
    let (pods, problems) = read(&[mirror("etcd", "1"), own("other", "2")]);
    assert_eq!(
        (pods, problems),
        (vec![format!("default/etcd {HASH}"), "default/other 2".to_owned()], vec![])
    );
    // Two that claim it, and one whose own it is, whatever the order.
    let (pods, problems) = read(&[mirror("a", "1"), mirror("etcd", "2"), own("other", "3")]);
    assert_eq!((pods, problems.len()), (vec!["default/other 3".to_owned()], 2));
    assert!(
        problems[0].what.starts_with("pod default/a: it says by kubernetes.io/config.mirror"),
        "{problems:?}"
    );
    for texts in [[mirror("a", "1"), own("etcd", HASH)], [own("etcd", HASH), mirror("a", "1")]] {
        let (pods, problems) = read(&texts);
        assert_eq!((pods, problems.len()), (vec![format!("default/etcd {HASH}")], 1));
    }
    // It is there twice.
    let (pods, problems) = read(&[mirror("etcd", "1"), mirror("etcd", "1")]);
    assert_eq!((pods, problems.len()), (vec![format!("default/etcd {HASH}")], 1));
    assert!(problems[0].what.ends_with("stands in an earlier manifest already"));
}

#[test]
fn a_manifest_that_is_too_large_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("huge.yaml")).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    let known = read(dir.path()).unwrap();
    assert!(known.problems[0].what.contains("more than the 4194304 of the largest manifest"));
}

#[test]
fn a_missing_directory_is_an_error_that_names_the_flag() {
    let Err(error) = watch(PathBuf::from("/nowhere/at/all")) else { panic!("it was watched") };
    assert_eq!(
        error.to_string(),
        "cannot read the manifests in /nowhere/at/all: name a directory of Pod manifests, as in --pods manifests:DIR"
    );
}

#[tokio::test]
async fn a_change_of_the_directory_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, publish) = watch(dir.path().to_owned()).unwrap();
    let publish = tokio::spawn(publish);
    let mut until = async |expected: &[&str]| {
        let known =
            reader.wait_for(|known| known.as_ref().is_some_and(|known| names(known) == expected));
        time::timeout(Duration::from_secs(10), known).await.expect("published").unwrap();
    };
    until(&[]).await;
    fs::write(dir.path().join("new"), CART).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("cart.yaml")).unwrap();
    until(&["shop/cart"]).await;
    fs::write(dir.path().join("cart.yaml"), CART.replace("name: cart", "name: card")).unwrap();
    until(&["shop/card"]).await;
    fs::remove_file(dir.path().join("cart.yaml")).unwrap();
    until(&[]).await;
    drop(reader);
    time::timeout(Duration::from_secs(10), publish).await.expect("ended").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_made_again_is_watched_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("pods");
    fs::create_dir(&dir).unwrap();
    let (mut reader, publish) = watch(dir.clone()).unwrap();
    tokio::spawn(publish);
    reader.wait_for(Option::is_some).await.unwrap();
    fs::remove_dir(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("1.yaml"), CART).unwrap();
    let mut until = async |n_pods| {
        let known = reader.wait_for(|k| k.as_ref().is_some_and(|known| known.pods.len() == n_pods));
        known.await.unwrap();
    };
    until(1).await;
    // From here on it cannot be the clock that makes it look.
    time::resume();
    let other = CART.replace("name: cart", "name: card").replace("u-1", "u-2");
    fs::write(dir.join("2.yaml"), other).unwrap();
    time::timeout(LOOK_ANYWAY / 3, until(2)).await.expect("published");
}
