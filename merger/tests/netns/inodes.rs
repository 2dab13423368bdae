//! Namespaces told apart by inode number and process, as on kernels that have no cookies for them.

use std::io::{Read, Write};

use merger::{
    identity::Cookie,
    listeners::Rung,
    netns::Identity,
    node::{self, Changes, ConnectError, Node, Options, Refusal, Rungs},
};

use super::{
    called, check, connect, leads_nowhere_once_moved,
    namespace::{self, of_socket, own},
    pod::Pod,
};

fn start() -> (Node, Changes) {
    let (rung, identity) = (Rungs::Only(Rung::Proc), Some(Identity::Inode));
    node::start(Options { rung, identity, strangers: true, ..Options::default() }).unwrap()
}

#[test]
fn a_connection_is_born_inside() {
    check("inodes::a_connection_is_born_inside", async || {
        let (pod, other) = (Pod::new(), Pod::new());
        let (listener, bound) = pod.listen("127.0.0.1:0");
        let (node, _changes) = start();
        let snapshot = node.snapshot().await.unwrap();
        let [netns, other] = [pod.pid(), other.pid()].map(|pid| namespace::called(&snapshot, pid));
        assert!(netns.is_made() && netns != snapshot.host && netns != other);
        let found = snapshot.listeners.iter().find(|one| one.netns == netns).unwrap();
        assert_eq!(found.port.get(), bound.port());
        let mut stream = connect(&node, netns, bound).await.unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"pong").unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(of_socket(&stream), pod.cookie);
        assert_ne!(pod.cookie, own());
    });
}

#[test]
fn a_namespace_keeps_its_cookie_while_it_lives() {
    check("inodes::a_namespace_keeps_its_cookie_while_it_lives", async || {
        let pod = Pod::new();
        let (node, _changes) = start();
        let first = called(&node, &pod).await;
        let _other = Pod::new();
        assert_eq!(called(&node, &pod).await, first);
    });
}

#[test]
fn an_inode_that_is_used_again_leads_nowhere_and_then_to_another_namespace() {
    let name = "inodes::an_inode_that_is_used_again_leads_nowhere_and_then_to_another_namespace";
    check(name, async || {
        let (node, _changes) = start();
        let mut n_again = 0;
        let mut old: Vec<(u64, Cookie)> = vec![];
        for _ in 0..40 {
            let pod = Pod::new();
            let (_listener, bound) = pod.listen("127.0.0.1:0");
            let inode = pod.netns().inode().unwrap();
            let before =
                old.iter().filter(|(number, _)| *number == inode).map(|(_, called)| *called);
            for called in before.clone() {
                n_again += 1;
                let error = connect(&node, called, bound).await.unwrap_err();
                let is_gone = matches!(
                    error,
                    ConnectError::Gone(_) | ConnectError::Refused(Refusal::Unknown(_))
                );
                assert!(is_gone, "{error:?}");
            }
            let now = called(&node, &pod).await;
            assert!(before.clone().all(|called| called != now));
            let stream = connect(&node, now, bound).await.unwrap();
            assert_eq!(of_socket(&stream), pod.cookie);
            old.push((inode, now));
        }
        assert!(n_again > 0, "no number was used again: {old:?}");
    });
}

#[test]
fn a_process_that_has_moved_leads_nowhere() {
    check("inodes::a_process_that_has_moved_leads_nowhere", async || {
        leads_nowhere_once_moved(start).await;
    });
}
