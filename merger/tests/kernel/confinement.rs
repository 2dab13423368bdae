//! What an agent may still do, and what is refused to it.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    process::Command,
    thread,
    time::Duration,
};

use merger::node::confinement;
use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::ioctl_fionbio,
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, bind, connect, listen, sendmsg, sendto, socket, socketpair,
        sockopt::set_socket_linger,
    },
    process::{Gid, Pid, Signal, Uid, kill_process},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::world;

#[test]
fn an_agent_serves_and_reads_and_does_nothing_else() {
    let test = "confinement::an_agent_serves_and_reads_and_does_nothing_else";
    world::inside(test, &[], "root", async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut dialled = TcpStream::connect(address).unwrap();
        let (_reader, log) = io::pipe().unwrap();
        let unused = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let left = confinement::become_agent().unwrap();
        assert!(left.is_complete(), "{left}");

        let (mut accepted, _) = listener.accept().unwrap();
        dialled.write_all(b"it speaks").unwrap();
        let mut heard = [0; 9];
        accepted.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"it speaks");
        fs::read_to_string("/proc/self/status").unwrap();
        thread::spawn(|| ()).join().unwrap();

        // Whoever has no right would be refused none of these.
        refused("to make a socket", TcpListener::bind("127.0.0.1:0").err());
        refused("to lead one elsewhere", connect(&dialled, &address).err());
        refused("to connect one", connect(&unused, &address).err());
        refused("to name one", bind(&unused, &address).err());
        refused("to listen", listen(&unused, 1).err());
        let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
        refused("to connect by sending", sendto(&unused, b"x", flags, &address).err());
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let [one, _other] = <[_; 2]>::from(pair(SocketType::STREAM).unwrap());
        refused("to send to whom it likes", pair(SocketType::DGRAM).err());
        refused("the same by another name", pair(SocketType::RAW).err());
        refused("to hand one on", hand_on(&one, &dialled).err());
        let linger = Some(Duration::from_secs(9));
        refused("to let whoever closes one wait", set_socket_linger(&dialled, linger).err());
        refused(
            "to let a log fail that is others' as well",
            fcntl_setfl(&log, OFlags::NONBLOCK).err(),
        );
        refused("the same by another name", ioctl_fionbio(&log, true).err());
        refused("to start a program", Command::new("true").spawn().err());
        refused("to make a file", File::create("/tmp/merger-agent").err());
        refused("to remove a file", fs::remove_file("/tmp/merger-agent").err());
        let other = Pid::from_raw(1);
        refused("to signal another", kill_process(other.unwrap(), Signal::CONT).err());
    });
}

#[test]
fn an_agent_keeps_no_id_that_it_could_go_back_to() {
    let test = "confinement::an_agent_keeps_no_id_that_it_could_go_back_to";
    world::inside(test, &[], "root", async || {
        let (uid, gid) = (Uid::from_raw(confinement::AGENT), Gid::from_raw(confinement::AGENT));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, Uid::ROOT).unwrap();
        let left = confinement::become_agent().unwrap();
        assert_eq!(left.uids, [confinement::AGENT; 4]);
        assert!(left.is_complete(), "{left}");
    });
}

/// Sends a socket along.
fn hand_on(by: &OwnedFd, socket: &TcpStream) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket.as_fd()];
    assert!(along.push(SendAncillaryMessage::ScmRights(&sockets)));
    sendmsg(by, &[IoSlice::new(b"x")], &mut along, SendFlags::DONTWAIT)
}

#[track_caller]
fn refused(what: &str, error: Option<impl Into<io::Error>>) {
    let error = error.unwrap_or_else(|| panic!("{what} is not refused")).into();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
}

#[test]
fn in_a_user_namespace_without_the_agents_user_it_is_said_what_to_do() {
    let test = "confinement::in_a_user_namespace_without_the_agents_user_it_is_said_what_to_do";
    world::inside(test, &["unshare", "--user", "--map-root-user"], "root", async || {
        let error = confinement::become_agent().unwrap_err().to_string();
        assert!(error.contains("65532") && error.contains("--single-process"), "{error}");
    });
}
