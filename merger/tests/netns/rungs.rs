//! The rungs that read one namespace at a time, `sock_diag` and `/proc`, tell the same.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use merger::listeners::{Socket, proc, sock_diag};
use rustix::{
    io::Result,
    net::{
        AddressFamily, Protocol, Shutdown, SocketFlags, SocketType, bind, ipproto, listen,
        shutdown, socket_with,
        sockopt::{set_ipv6_v6only, set_socket_reuseport},
    },
};

use super::{check, message::Message, namespace::own, offered::has_mptcp, pod::Pod};

/// Listens inside, by a socket with something special to it.
#[track_caller]
fn listen_as(
    pod: &Pod,
    address: &str,
    protocol: Protocol,
    prepare: impl FnOnce(&OwnedFd) -> Result<()>,
) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let made = pod.netns().within(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(protocol))?;
        prepare(&socket)?;
        bind(&socket, &address)?;
        listen(&socket, 8)?;
        Ok(socket.into())
    });
    made.unwrap_or_else(|error| panic!("{address}: {error}"))
}

fn reuse_port(socket: &OwnedFd) -> Result<()> {
    set_socket_reuseport(socket, true)
}

/// What both rungs tell of a namespace, if it is the same.
#[track_caller]
fn both(pod: &Pod) -> Vec<Socket> {
    let mut by_proc = proc::listeners_of(&pod.netns()).unwrap();
    by_proc.sort_by_key(|socket| socket.inode);
    let told = sock_diag::listeners_of(&pod.netns()).unwrap();
    let by_sock_diag: Vec<_> = told.iter().map(|told| told.socket).collect();
    assert_eq!(by_sock_diag, by_proc);
    by_proc
}

#[track_caller]
fn check_both(pod: &Pod, expected: &[&str]) {
    let mut found: Vec<_> = both(pod)
        .iter()
        .map(|socket| SocketAddr::new(socket.address, socket.port.get()).to_string())
        .collect();
    // Inodes are given out by each processor for itself: their order says nothing.
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_namespace_without_listeners_has_none() {
    check("rungs::a_namespace_without_listeners_has_none", async || check_both(&Pod::new(), &[]));
}

#[test]
fn both_tell_the_same_of_each_namespace() {
    check("rungs::both_tell_the_same_of_each_namespace", async || {
        let (first, second) = (Pod::new(), Pod::new());
        let bound = ["127.0.0.1:80", "0.0.0.0:81", "[::1]:80", "[::]:82"];
        let _first: Vec<_> = bound.iter().map(|address| first.listen(address)).collect();
        let _second = second.listen("127.0.0.1:83");
        check_both(&first, &bound);
        check_both(&second, &["127.0.0.1:83"]);
    });
}

#[test]
fn both_tell_the_same_of_ipv6_with_and_without_ipv4() {
    check("rungs::both_tell_the_same_of_ipv6_with_and_without_ipv4", async || {
        let pod = Pod::new();
        let only = |v6only| move |socket: &OwnedFd| set_ipv6_v6only(socket, v6only);
        let _open = [
            listen_as(&pod, "[::]:80", ipproto::TCP, only(true)),
            listen_as(&pod, "0.0.0.0:80", ipproto::TCP, |_| Ok(())),
            listen_as(&pod, "[::]:81", ipproto::TCP, only(false)),
            listen_as(&pod, "[::ffff:127.0.0.1]:82", ipproto::TCP, only(false)),
        ];
        check_both(&pod, &["[::]:80", "0.0.0.0:80", "[::]:81", "127.0.0.1:82"]);
        let told = sock_diag::listeners_of(&pod.netns()).unwrap();
        let mut v6only: Vec<_> =
            told.iter().map(|told| (told.socket.port.get(), told.v6only)).collect();
        v6only.sort_unstable();
        let expected = [(80, None), (80, Some(true)), (81, Some(false)), (82, Some(false))];
        assert_eq!(v6only, expected);
    });
}

#[test]
fn both_tell_each_socket_of_a_shared_port() {
    check("rungs::both_tell_each_socket_of_a_shared_port", async || {
        let pod = Pod::new();
        let _open = [
            listen_as(&pod, "127.0.0.1:80", ipproto::TCP, reuse_port),
            listen_as(&pod, "127.0.0.1:80", ipproto::TCP, reuse_port),
            listen_as(&pod, "0.0.0.0:80", ipproto::TCP, reuse_port),
        ];
        check_both(&pod, &["127.0.0.1:80", "127.0.0.1:80", "0.0.0.0:80"]);
    });
}

#[test]
fn both_tell_an_mptcp_listener_once() {
    check("rungs::both_tell_an_mptcp_listener_once", async || {
        if !has_mptcp() {
            return;
        }
        let pod = Pod::new();
        let _open = [
            listen_as(&pod, "127.0.0.1:80", ipproto::MPTCP, |_| Ok(())),
            listen_as(&pod, "[::]:81", ipproto::MPTCP, |_| Ok(())),
        ];
        check_both(&pod, &["127.0.0.1:80", "[::]:81"]);
    });
}

#[test]
fn both_tell_no_connection_and_no_listener_that_was_closed() {
    check("rungs::both_tell_no_connection_and_no_listener_that_was_closed", async || {
        let pod = Pod::new();
        let (stays, address) = pod.listen("127.0.0.1:80");
        let (closed, _) = pod.listen("127.0.0.1:81");
        let _client = pod.netns().within(|| TcpStream::connect(address)).unwrap();
        let _accepted = stays.accept().unwrap();
        drop(closed);
        check_both(&pod, &["127.0.0.1:80"]);
    });
}

#[test]
fn a_listener_that_was_shut_down_is_told_when_it_listens_again() {
    check("rungs::a_listener_that_was_shut_down_is_told_when_it_listens_again", async || {
        let pod = Pod::new();
        let (listener, _) = pod.listen("127.0.0.1:80");
        shutdown(&listener, Shutdown::Both).unwrap();
        check_both(&pod, &[]);
        listen(&listener, 8).unwrap();
        check_both(&pod, &["127.0.0.1:80"]);
    });
}

#[test]
fn a_socket_that_listens_from_elsewhere_is_told_where_it_was_made() {
    check("rungs::a_socket_that_listens_from_elsewhere_is_told_where_it_was_made", async || {
        let (made, elsewhere) = (Pod::new(), Pod::new());
        let flags = SocketFlags::CLOEXEC;
        let create = || Ok(socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?);
        let socket = made.netns().within(create).unwrap();
        let begin = || {
            bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 80)))?;
            Ok(listen(&socket, 8)?)
        };
        elsewhere.netns().within(begin).unwrap();
        check_both(&made, &["127.0.0.1:80"]);
        check_both(&elsewhere, &[]);
    });
}

#[test]
fn a_listener_that_is_only_in_a_message_is_told() {
    check("rungs::a_listener_that_is_only_in_a_message_is_told", async || {
        let pod = Pod::new();
        let (listener, _) = pod.listen("127.0.0.1:80");
        let message = Message::with(&listener);
        drop(listener);
        check_both(&pod, &["127.0.0.1:80"]);
        drop(message);
        check_both(&pod, &[]);
    });
}

#[test]
fn both_tell_more_listeners_than_one_datagram_has_room_for() {
    check("rungs::both_tell_more_listeners_than_one_datagram_has_room_for", async || {
        let pod = Pod::new();
        // 32 KiB have room for 264 of IPv4 and 248 of IPv6; a process may open 1024 files.
        let v4 = (1..=400).map(|port| pod.listen(&format!("127.0.0.1:{port}")));
        let v6 = (1..=400).map(|port| pod.listen(&format!("[::1]:{port}")));
        let open: Vec<_> = v4.chain(v6).collect();
        let found: BTreeSet<_> = both(&pod)
            .iter()
            .map(|socket| SocketAddr::new(socket.address, socket.port.get()))
            .collect();
        assert_eq!(found, open.iter().map(|(_, address)| *address).collect());
    });
}

#[test]
fn a_listener_that_stays_is_told_while_others_come_and_go() {
    check("rungs::a_listener_that_stays_is_told_while_others_come_and_go", async || {
        let pod = Pod::new();
        let (_stays, address) = pod.listen("127.0.0.1:80");
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Whoever walks over the open files of this machine holds each for a moment. A port
                // whose last user that is would be in use for those who do not share it.
                let listen = |address| listen_as(&pod, address, ipproto::TCP, reuse_port);
                while !ended.load(Ordering::Relaxed) {
                    drop(["127.0.0.1:81", "[::1]:81"].map(listen));
                }
            });
            let is_told = || {
                let told = sock_diag::listeners_of(&pod.netns()).unwrap_or_default();
                told.iter().any(|told| told.socket.port.get() == address.port())
            };
            let n_told = (0..200).filter(|_| is_told()).count();
            ended.store(true, Ordering::Relaxed);
            assert_eq!(n_told, 200);
        });
    });
}

#[test]
fn nothing_of_a_question_stays() {
    check("rungs::nothing_of_a_question_stays", async || {
        let n_open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (pod, home) = (Pod::new(), own());
        let before = n_open();
        for _ in 0..10 {
            sock_diag::listeners_of(&pod.netns()).unwrap();
        }
        assert_eq!((n_open(), own()), (before, home));
    });
}
