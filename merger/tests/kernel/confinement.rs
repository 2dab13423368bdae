//! What an agent may still do, and what is refused to it.

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::Command,
    thread,
};

use merger::{
    netns::Netns,
    node::{confinement, loader},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::world;

#[test]
fn an_agent_serves_and_reads_and_does_nothing_else() {
    let test = "confinement::an_agent_serves_and_reads_and_does_nothing_else";
    world::inside(test, &[], "root", async || {
        let own = Netns::own().unwrap();
        let left = confinement::become_agent().unwrap();
        assert!(left.is_complete(), "{left}");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        fs::read_to_string("/proc/self/status").unwrap();
        thread::spawn(|| ()).join().unwrap();

        let refused = |what: &str, error: Option<io::Error>| {
            let error = error.unwrap_or_else(|| panic!("{what} is not refused"));
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
        };
        refused("to start a program", Command::new("true").spawn().err());
        refused("to make a file", File::create("/tmp/merger-agent").err());
        refused("to remove a file", fs::remove_file("/tmp/merger-agent").err());
        refused("to enter a namespace", own.within(|| Ok(())).err());
        refused("to make a raw socket", packet_socket().err());
        assert!(loader::load(1).is_err());
    });
}

/// A packet socket would hear the whole node.
fn packet_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

#[test]
fn in_a_user_namespace_without_the_agents_user_it_is_said_what_to_do() {
    let test = "confinement::in_a_user_namespace_without_the_agents_user_it_is_said_what_to_do";
    world::inside(test, &["unshare", "--user", "--map-root-user"], "root", async || {
        let error = confinement::become_agent().unwrap_err().to_string();
        assert!(error.contains("65532") && error.contains("--single-process"), "{error}");
    });
}
