//! That nothing is left behind, whatever ends a test.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Clock, Node, asking, node::left_behind, running::until, serving};

/// Set in the copy that is killed.
const VICTIM: &str = "MERGER_TEST_VICTIM";

#[test]
fn a_test_that_is_killed_leaves_nothing_behind() {
    if env::var_os(VICTIM).is_some() {
        let node = Node::start();
        let mut runtime = node.runtime();
        let sandbox = runtime.run(&asking(&node, 1, "victim", "9100"));
        runtime.start(&sandbox, serving("app", "victim", "9100"));
        println!("\nnode {} {}", node.directory.display(), node.uid(0).split_at(24).0);
        loop {
            std::thread::park();
        }
    }
    let mut clock = Clock::start("killed");
    let test = "janitor::a_test_that_is_killed_leaves_nothing_behind";
    let mut victim = Command::new(env::current_exe().unwrap());
    let victim = victim.args(["--exact", test, "--nocapture"]).env(VICTIM, "1");
    let mut victim = victim.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.find_map(|line| line.strip_prefix("node ").map(str::to_owned));
    let told = told.expect("the copy has a node with a pod");
    let (directory, uids) = told.split_once(' ').unwrap();
    let directory = PathBuf::from(directory);
    // Containerd, a shim, and the two containers.
    assert!(left_behind(&directory, uids).len() >= 4);
    clock.tell("a test has a pod");
    victim.kill().unwrap();
    victim.wait().unwrap();
    until("nothing is left", || left_behind(&directory, uids).is_empty());
    clock.tell("it was killed, and nothing is left");
}
