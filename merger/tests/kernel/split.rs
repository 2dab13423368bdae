//! `merger run` as it runs on a node: a broker and an agent, each with its rights, each killed.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::dup,
    process::Signal,
};
use tempfile::TempDir;

use super::{
    offered::has_landlock,
    part::n_programs,
    running::{Running, directory, is_there, signal, until},
    world,
};

/// The words behind a name of `/proc/<pid>/status`.
type Status = BTreeMap<String, String>;

fn status(pid: u32) -> Status {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, words)| (name.to_owned(), words.trim().to_owned())).collect()
}

#[track_caller]
fn check(status: &Status, expected: &[(&str, &str)]) {
    for (name, words) in expected {
        assert_eq!(status[*name], *words, "{name}");
    }
}

/// No capability.
const NONE: &str = "0000000000000000";

/// The process is this user alone, holds no right, and gains none.
#[track_caller]
pub(crate) fn check_confined(pid: u32, user: u32) {
    let ids = format!("{user}\t{user}\t{user}\t{user}");
    let expected = [
        ("Uid", &*ids),
        ("Gid", &*ids),
        ("Groups", ""),
        ("CapInh", NONE),
        ("CapPrm", NONE),
        ("CapEff", NONE),
        ("CapAmb", NONE),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ];
    check(&status(pid), &expected);
}

#[test]
fn the_agent_holds_no_right_and_the_broker_what_namespaces_take() {
    world::here(async || {
        let pods = directory();
        // Of what it finds open nobody knows what it is good for.
        let left = dup(fs::File::open("/dev/zero").unwrap()).unwrap();
        let running = Running::start(pods.path());
        drop(left);
        check_confined(running.agent().unwrap(), 65532);
        // CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_KILL; CAP_SETUID and CAP_SETGID in
        // store.
        let broker = status(running.broker());
        let (effective, permitted) = ("0000000000280024", "00000000002800e4");
        let expected =
            [("CapInh", NONE), ("CapPrm", permitted), ("CapEff", effective), ("NoNewPrivs", "1")];
        check(&broker, &expected);
        check(&broker, &[("Threads", "1")]);
        assert!(Running::descriptors(running.broker()).contains(&"/dev/zero".to_owned()));
        for descriptor in Running::descriptors(running.agent().unwrap()) {
            let of_broker = ["/dev/zero", "anon_inode:bpf", "net:[", "/memfd:", "/proc/", "/sys/"];
            // Its own directory it keeps open: see `confinement::domain`.
            let is_own = descriptor == format!("/proc/{}", running.agent().unwrap());
            let is_brokers = of_broker.iter().any(|kind| descriptor.starts_with(kind));
            assert!(is_own || !is_brokers, "{descriptor}");
        }
        let metrics = running.get("/metrics").unwrap();
        let landlock = format!("landlock {}", u8::from(has_landlock()));
        for sample in ["capabilities 0", "no_new_privs 1", "seccomp_mode 2", &landlock] {
            assert!(metrics.contains(&format!("\nmerger_agent_{sample}\n")), "{sample}: {metrics}");
        }
    });
}

#[test]
fn an_agent_that_is_killed_is_followed_by_another() {
    world::here(async || {
        let pods = directory();
        let running = Running::start(pods.path());
        let (first, programs) = (running.agent().unwrap(), running.programs());
        signal(first, Signal::KILL);
        until("another agent", || running.agent().is_some_and(|agent| agent != first));
        until("it serves", || running.get("/ready").as_deref() == Some("ready\n"));
        assert_eq!(running.programs(), programs, "nothing is loaded anew");
        assert_eq!(programs.len(), n_programs(), "{programs:?}");
    });
}

#[test]
fn a_log_that_takes_nothing_ends_nobody() {
    world::here(async || {
        let (pods, (_reader, mut log)) = (directory(), io::pipe().unwrap());
        // Whoever has a descriptor of the log may do this to all who have one.
        fcntl_setfl(&log, OFlags::NONBLOCK).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let mut running =
            Running::start_telling(free.unwrap(), pods.path(), &[], log.try_clone().unwrap());
        until("it is ready", || running.is_ready());
        let first = running.agent().unwrap();
        while log.write(&[b'x'; 4096]).is_ok() {}
        while log.write(b"x").is_ok() {}
        signal(first, Signal::KILL);
        until("another agent", || running.agent().is_some_and(|agent| agent != first));
        until("it serves", || running.is_ready());
        signal(running.broker(), Signal::TERM);
        assert_eq!(running.end().code(), Some(0));
    });
}

#[test]
fn everything_ends_with_the_broker() {
    world::here(async || {
        let pods = directory();
        let mut running = Running::start(pods.path());
        let (agent, programs) = (running.agent().unwrap(), running.programs());
        let is_loaded = |program: &String| {
            let mut loaded = aya::programs::loaded_programs().flatten();
            loaded.any(|one| one.id().to_string() == *program)
        };
        assert!(programs.iter().all(is_loaded));
        // One that does not do as it is told ends as well.
        signal(agent, Signal::STOP);
        signal(running.broker(), Signal::KILL);
        running.end();
        until("the agent is gone", || !is_there(agent));
        // The kernel frees them a moment later.
        until("the programs are gone", || !programs.iter().any(is_loaded));
    });
}

#[test]
fn a_signal_to_the_broker_drains_the_agent_and_ends_both() {
    world::here(async || {
        let pods = directory();
        for stop in [Signal::TERM, Signal::INT] {
            let mut running = Running::start(pods.path());
            let agent = running.agent().unwrap();
            signal(running.broker(), stop);
            assert_eq!(running.end().code(), Some(0));
            assert!(!is_there(agent));
        }
    });
}

#[test]
fn a_second_signal_ends_both_at_once() {
    world::here(async || {
        let pods = directory();
        let mut running = Running::start(pods.path());
        let agent = running.agent().unwrap();
        signal(agent, Signal::STOP);
        signal(running.broker(), Signal::TERM);
        thread::sleep(Duration::from_millis(50));
        signal(running.broker(), Signal::TERM);
        assert_eq!(running.end().code(), Some(130));
        until("the agent is gone", || !is_there(agent));
    });
}

#[test]
fn a_port_that_is_taken_ends_it_before_anything_is_loaded() {
    world::here(async || {
        let pods = directory();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut running = Running::start_with(taken.local_addr().unwrap(), pods.path(), &[]);
        assert_eq!(running.end().code(), Some(1));
    });
}

#[test]
fn pods_that_the_agent_may_not_read_are_named() {
    world::here(async || {
        let pods = TempDir::new().unwrap();
        fs::set_permissions(pods.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_merger"));
        command.arg("run").arg(format!("--pods=manifests:{}", pods.path().display()));
        let output = command.arg("--listen=127.0.0.1:0").output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("user 65532") && log.contains(pods.path().to_str().unwrap()), "{log}");
    });
}
