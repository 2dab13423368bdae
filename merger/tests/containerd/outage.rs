//! A containerd that is killed and comes back.

use super::{Clock, Node, agent::Agent, asking, nonces, running::until, serving, set};

#[test]
fn pods_stay_known_while_containerd_is_gone_and_new_ones_are_found_when_it_is_back() {
    let mut clock = Clock::start("outage");
    let mut node = Node::start();
    let mut runtime = node.runtime();
    let sandbox = runtime.run(&asking(&node, 1, "steady", "9100"));
    runtime.start(&sandbox, serving("app", "steady", "9100"));
    let agent = Agent::start(&node);
    until("it is read", || nonces(&agent.page("steady")) == set(&["steady"]));
    clock.tell("a pod is read");

    node.kill_containerd();
    let gone = "the container runtime does not answer";
    until("it is noticed", || agent.n_told(gone) == 1);
    for _ in 0..20 {
        assert_eq!(nonces(&agent.page("steady")), set(&["steady"]));
    }
    clock.tell("it is read without containerd");

    node.start_containerd();
    until("it is asked again", || agent.n_told("the watcher is started") > 1);
    let mut runtime = node.runtime();
    let another = runtime.run(&asking(&node, 2, "another", "9100"));
    runtime.start(&another, serving("app", "another", "9100"));
    until("a new pod is found", || nonces(&agent.page("another")) == set(&["another"]));
    assert_eq!(nonces(&agent.page("steady")), set(&["steady"]));
    assert_eq!(agent.n_told(gone), 1, "however often it was tried");
    clock.tell("it is back, and a new pod is read");
    runtime.remove(&sandbox);
    until("a pod that is removed is gone", || agent.belief("steady").get("uid").is_none());
    clock.tell("a pod that is removed is gone");
}
