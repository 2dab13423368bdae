//! Containers that end, pods that terminate, and a pod with more annotations than anybody needs.

use std::{collections::BTreeSet, thread, time::Duration};

use super::{
    Clock, Container, Node, Pod, agent::Agent, annotations, asking, nonces, running::until, script,
    serving, set,
};

/// Serves on after SIGTERM for as long as it may, and says so.
const TERMINATING: &str = r#"
say() { echo "nonce{of=\"$1\"} 1" > /tmp/www/metrics.txt; }
trap 'say ending; busybox sleep 2; say last; busybox sleep 2; exit' TERM
busybox mkdir -p /tmp/www
say long
busybox httpd -f -p 9100 -h /tmp/www &
wait
"#;

#[test]
fn a_container_that_ends_is_gone_and_a_pod_that_terminates_is_read_to_its_end() {
    let mut clock = Clock::start("ends");
    let node = Node::start();
    let mut runtime = node.runtime();
    let endpoints = "http://:9100/metrics.txt, http://:9101/metrics.txt";
    // What a user may write into one pod, and of which nothing is wanted.
    let filling = ("merger.io/filling", "x".repeat(255 << 10));
    let asked = [("merger.io/endpoints", endpoints), (filling.0, filling.1.as_str())];
    let pod = Pod { annotations: annotations(&asked), ..asking(&node, 1, "ending", "") };
    let sandbox = runtime.run(&pod);
    let long = Container { command: script(TERMINATING), ..serving("long", "", "") };
    let long = runtime.start(&sandbox, long);
    let short = serving("short", "short", "9101");
    let short = runtime.start(&sandbox, Container { ports: vec![("http", 9101)], ..short });
    let agent = Agent::start(&node);
    until("both are read", || nonces(&agent.page("ending")) == set(&["long", "short"]));
    clock.tell("both containers are read, beside an annotation of 255 KiB");

    runtime.stop_container(&short, 0);
    until("the one that ended is gone", || {
        let sources = agent.belief("ending")["sources"].as_array().cloned().unwrap_or_default();
        let of_short: Vec<_> = sources.iter().filter(|s| s["container"] == "short").collect();
        of_short.is_empty() && nonces(&agent.page("ending")) == set(&["long"])
    });
    clock.tell("the container that ended is gone");

    let mut terminating = node.runtime();
    let stop = thread::spawn(move || terminating.stop_container(&long, 8));
    let mut read = BTreeSet::new();
    while !stop.is_finished() {
        read.extend(nonces(&agent.page("ending")));
        thread::sleep(Duration::from_millis(20));
    }
    stop.join().unwrap();
    assert!(read.is_superset(&set(&["ending", "last"])), "only {read:?} from SIGTERM to the end");
    clock.tell("the terminating pod was read to its end");
    runtime.stop(&sandbox);
    until("the pod has ended", || agent.belief("ending").get("uid").is_none());
    clock.tell("the pod has ended");
}
