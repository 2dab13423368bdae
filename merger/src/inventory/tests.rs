//! Pods and a snapshot in, targets out.

use super::*;
use crate::{
    identity::Process,
    target::{Container, Holder},
};

fn mk_pod(name: &str, node: Option<&str>) -> Arc<Pod> {
    let annotations = [("prometheus.io/scrape", "true"), ("prometheus.io/port", "8080")];
    Arc::new(Pod {
        name: PodRef { namespace: "ns".to_owned(), name: name.to_owned() },
        uid: format!("uid-{name}"),
        node: node.map(str::to_owned),
        annotations: annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        containers: vec![Container { name: "app".to_owned(), ..Container::default() }],
        monitored: crate::target::monitor::Monitored::default(),
        ended: false,
    })
}

fn cgroup(pod: &str) -> Arc<str> {
    format!("/kubepods/poduid-{pod}/0123456789ab").into()
}

fn mk_process(pid: u32, netns: u64, pod: &str) -> Process {
    Process { pid, started: u64::from(pid), netns: Cookie(netns), cgroup: cgroup(pod) }
}

fn mk_listener(netns: u64, pod: &str) -> Listener {
    Listener {
        netns: Cookie(netns),
        address: [0, 0, 0, 0].into(),
        port: 8080.try_into().unwrap(),
        holders: vec![Holder { pid: 9, cgroup: cgroup(pod) }],
        doubt: None,
    }
}

/// Each target as `pod netns|reason: state of its first source`.
#[track_caller]
fn check(pods: Vec<Arc<Pod>>, snapshot: &Snapshot, expected: &[&str]) {
    let known = Known { pods, problems: vec![], ..Known::default() };
    let shown = targets(&known, snapshot, "here", false, &Rules::default(), &Probed::default())
        .into_iter()
        .map(|(name, target)| {
            let netns = match &target.netns {
                Ok(netns) => netns.to_string(),
                Err(unclear) => unclear.to_string(),
            };
            let state = match target.plan.sources.first().map(|source| &source.state) {
                Some(State::Ready(addresses)) => addresses[0].to_string(),
                other => format!("{other:?}"),
            };
            format!("{name} {netns}: {state}")
        });
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn each_pod_gets_the_listeners_of_its_own_namespace() {
    let snapshot = Snapshot {
        host: Cookie(1),
        processes: vec![mk_process(10, 7, "a"), mk_process(20, 8, "b")],
        listeners: vec![mk_listener(7, "a"), mk_listener(1, "")],
    };
    check(
        vec![mk_pod("a", None), mk_pod("b", Some("here"))],
        &snapshot,
        &["ns/a 7: 127.0.0.1:8080", "ns/b 8: Some(Pending)"],
    );
}

#[test]
fn of_what_nobody_has_seen_for_long_nothing_is_read() {
    let snapshot = Snapshot {
        host: Cookie(1),
        processes: vec![mk_process(10, 7, "a"), mk_process(20, 8, "b")],
        listeners: vec![mk_listener(7, "a")],
    };
    let known = Known {
        pods: vec![mk_pod("a", None), mk_pod("b", None)],
        problems: vec![],
        ..Known::default()
    };
    let targets = targets(&known, &snapshot, "here", false, &Rules::default(), &Probed::default());
    let states: Vec<State> =
        outdated(targets).values().map(|target| target.plan.sources[0].state.clone()).collect();
    assert_eq!(states, [State::Refused(Refusal::Outdated), State::Pending]);
}

#[test]
fn a_listener_that_comes_and_goes_is_no_news_and_a_namespace_is() {
    let of = |listeners| {
        let processes = vec![mk_process(10, 7, "a")];
        let snapshot = Snapshot { host: Cookie(1), processes, listeners };
        let known = Known { pods: vec![mk_pod("a", None)], problems: vec![], ..Known::default() };
        targets(&known, &snapshot, "here", false, &Rules::default(), &Probed::default())
            .into_values()
            .next()
            .unwrap()
    };
    let (closed, open) = (of(vec![]), of(vec![mk_listener(7, "a")]));
    assert_ne!(closed, open);
    assert!(differ_in_state_alone(&closed, &open));
    let mut elsewhere = (*open).clone();
    elsewhere.netns = Ok(Cookie(8));
    assert!(!differ_in_state_alone(&open, &elsewhere));
}

#[test]
fn a_pod_without_a_namespace_is_shown_with_the_reason() {
    let snapshot = Snapshot {
        host: Cookie(1),
        processes: vec![mk_process(20, 1, "b")],
        listeners: vec![mk_listener(1, "b")],
    };
    check(
        vec![mk_pod("a", None), mk_pod("b", None)],
        &snapshot,
        &[
            "ns/a no process runs in the pod's cgroup: it does not run, or its uid is another by now: Some(Pending)",
            "ns/b the pod is in the host's network namespace, which is not scraped without --host-network: Some(Pending)",
        ],
    );
}

#[test]
fn a_pod_of_the_host_has_what_it_alone_holds_where_that_is_opted_in() {
    let mut listeners = vec![mk_listener(1, "b")];
    let processes = vec![mk_process(1, 1, ""), mk_process(20, 1, "b"), mk_process(30, 1, "c")];
    let known = Known {
        pods: vec![mk_pod("b", None), mk_pod("c", None)],
        problems: vec![],
        ..Known::default()
    };
    let states = |listeners: &[Listener]| {
        let snapshot = Snapshot {
            host: Cookie(1),
            processes: processes.clone(),
            listeners: listeners.to_vec(),
        };
        let targets =
            targets(&known, &snapshot, "here", true, &Rules::default(), &Probed::default())
                .into_values();
        targets
            .map(|target| {
                assert_eq!(target.netns, Ok(Cookie(1)));
                let source = &target.plan.sources[0];
                assert_eq!(source.owner.unwrap().as_str(), target.pod.uid);
                matches!(source.state, State::Ready(_))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&listeners), [true, false]);
    listeners[0].holders.push(Holder { pid: 31, cgroup: cgroup("c") });
    assert_eq!(states(&listeners), [false, false]);
}

#[test]
fn pods_of_another_node_and_pods_that_ended_are_left_out() {
    let snapshot = Snapshot { host: Cookie(1), processes: vec![], listeners: vec![] };
    let mut ended = (*mk_pod("b", None)).clone();
    ended.ended = true;
    check(vec![mk_pod("a", Some("elsewhere")), Arc::new(ended)], &snapshot, &[]);
}
