//! What an agent may still do, and what is refused to it.

use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind, IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::chown,
    },
    process::{Child, Command, Stdio},
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

use tempfile::TempDir;

use super::{offered, world};

#[test]
fn an_agent_serves_and_reads_and_does_nothing_else() {
    let test = "confinement::an_agent_serves_and_reads_and_does_nothing_else";
    world::inside(test, &[], "root", async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut dialled = TcpStream::connect(address).unwrap();
        let (_reader, log) = io::pipe().unwrap();
        let unused = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let left = confinement::become_agent(&[]).unwrap();
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
        let left = confinement::become_agent(&[]).unwrap();
        assert_eq!(left.uids, [confinement::AGENT; 4]);
        assert!(left.is_complete(), "{left}");
    });
}

/// A process of the agent's own user, as many images have it, which has a secret in its environment and a
/// token among its files. It ends with this one, which may not signal it any more.
struct Namesake {
    process: Child,
    /// Where the token is.
    directory: TempDir,
}

// === impl Namesake ===

impl Namesake {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let id = confinement::AGENT;
        chown(directory.path(), Some(id), Some(id)).unwrap();
        fs::write(directory.path().join("token"), "token").unwrap();
        let process = as_agent("read end")
            .env("MERGER_TEST_SECRET", "whatever")
            .stdin(Stdio::piped())
            .spawn();
        let process = process.unwrap();
        let namesake = Self { process, directory };
        // Until then it is root's.
        while fs::read(namesake.shown("comm")).unwrap() != b"sh\n" {
            thread::sleep(Duration::from_millis(5));
        }
        namesake
    }

    fn shown(&self, what: &str) -> String {
        format!("/proc/{}/{what}", self.process.id())
    }

    fn token(&self) -> String {
        self.directory.path().join("token").to_str().unwrap().to_owned()
    }

    /// What an agent that was taken over would read.
    fn secrets(&self) -> [String; 3] {
        ["environ", "mem", &format!("root{}", self.token())].map(|what| self.shown(what))
    }
}

/// A shell of the agent's user that is confined by nothing.
fn as_agent(script: &str) -> Command {
    let id = confinement::AGENT.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh", "-c", script]);
    command
}

#[test]
fn an_agent_reads_nothing_of_its_users_other_processes() {
    let test = "confinement::an_agent_reads_nothing_of_its_users_other_processes";
    world::inside(test, &[], "root, setpriv", async || {
        let (namesake, has_landlock) = (Namesake::new(), offered::has_landlock());
        let [environment, _, token] = namesake.secrets();
        let program = env::current_exe().unwrap().display().to_string();
        for secret in [&environment, &token] {
            let status = as_agent(&format!(": < {secret}")).status().unwrap();
            assert!(status.success(), "without a domain {secret} is read by whoever is its user");
        }
        confinement::become_agent(&[namesake.directory.path()]).unwrap();
        assert_eq!(confinement::is_entered(), has_landlock);
        assert_eq!(fs::read_to_string(namesake.token()).unwrap(), "token", "as it was told to");
        assert_eq!(fs::read_dir(namesake.directory.path()).unwrap().count(), 1);
        fs::read_to_string("/proc/thread-self/status").unwrap();
        for secret in namesake.secrets() {
            is_closed(&secret, has_landlock);
        }
        // Not every machine has users.
        let by_own_root = format!("/proc/self/root{program}");
        for other in ["/proc", "/proc/1/status", &program, &by_own_root] {
            is_closed(other, has_landlock);
        }
    });
}

#[test]
fn a_watcher_reads_files_and_nothing_of_its_users_other_processes() {
    let test = "confinement::a_watcher_reads_files_and_nothing_of_its_users_other_processes";
    world::inside(test, &[], "root, setpriv", async || {
        let (namesake, has_landlock) = (Namesake::new(), offered::has_landlock());
        // Its user is another one, unless somebody's image has the same.
        let (uid, gid) = (Uid::from_raw(confinement::AGENT), Gid::from_raw(confinement::AGENT));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        confinement::become_watcher().unwrap();
        assert_eq!(confinement::is_entered(), has_landlock);
        assert_eq!(fs::read_to_string(namesake.token()).unwrap(), "token");
        fs::read_dir("/proc").unwrap();
        for secret in namesake.secrets() {
            is_closed(&secret, has_landlock);
        }
    });
}

/// This may not be opened, where the kernel has Landlock.
#[track_caller]
fn is_closed(path: &str, has_landlock: bool) {
    let opened = File::open(path);
    if has_landlock {
        assert_eq!(
            opened.err().map(|error| error.kind()),
            Some(ErrorKind::PermissionDenied),
            "{path}"
        );
    }
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
        let error = confinement::become_agent(&[]).unwrap_err().to_string();
        assert!(error.contains("65532") && error.contains("--single-process"), "{error}");
    });
}
