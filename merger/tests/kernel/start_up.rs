//! What the start finds out: offsets, rights, and whose processes can be seen.

use std::{fs, net::SocketAddr, os::unix::process::parent_id};

use merger::{
    listeners::Rung,
    netns::Netns,
    node::{self, Options, Rungs, loader, offsets},
};
use rustix::process::Signal;

use super::{
    cgroup::Root,
    namespace::{self, identities, look},
    offered::{has_walk, locks_maps, rungs},
    pod::Pod,
    running::{Running, directory, signal, until},
    start_with, world,
};

#[test]
fn offsets_are_found_through_anonymous_members_and_typedefs() {
    let btf = loader::types().unwrap();
    let offset = |structure, path| offsets::offset_of(&btf, structure, path);
    // `struct sock_common` begins with the addresses, a hash and the ports: 16 bytes, everywhere.
    assert_eq!(offset("sock", "__sk_common.skc_rcv_saddr"), Some(4));
    assert_eq!(offset("sock", "__sk_common.skc_num"), Some(14));
    assert_eq!(offset("sock", "__sk_common.skc_family"), Some(16));
    assert_eq!(offset("sock", "__sk_common.skc_state"), Some(18));
    assert!(offset("sock", "__sk_common.skc_net.net").is_some_and(|bytes| bytes % 8 == 0));
    assert_eq!(offset("sock", "__sk_common.no_such_member"), None);
    assert_eq!(offset("no_such_struct", "member"), None);
    let all = offsets::resolve(&btf).unwrap();
    let zero: Vec<_> = all.iter().filter(|offset| offset.bytes == 0).map(|o| o.global).collect();
    assert!(zero.is_empty(), "{zero:?} {all:?}");
}

#[test]
fn a_kernel_without_btf_is_told_and_read_by_sock_diag() {
    let test = "start_up::a_kernel_without_btf_is_told_and_read_by_sock_diag";
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let without = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    world::inside(test, &without, "root", async || {
        let (node, _changes) = start_with(Options::default());
        assert_eq!(node.rung(), Rung::SockDiag);
        let reason = node.fallback().unwrap();
        let next_step =
            "no BTF at /sys/kernel/btf/vmlinux: needs a kernel with CONFIG_DEBUG_INFO_BTF";
        assert!(reason.contains(next_step), "{reason}");
        let options = Options { rung: Rungs::Only(Rung::Ebpf), ..Options::default() };
        let error = node::start(options).err().unwrap().to_string();
        assert!(error.contains(next_step), "{error}");
    });
}

#[test]
fn a_foreign_pid_namespace_is_told_and_not_used() {
    let test = "start_up::a_foreign_pid_namespace_is_told_and_not_used";
    let foreign = ["unshare", "--pid", "--fork", "--mount-proc"];
    world::inside(test, &foreign, "root", async || {
        let (node, _changes) = start_with(Options::default());
        assert_eq!(node.rung(), Rung::EbpfSockDiag);
        let reason = node.fallback().unwrap();
        let missing = if has_walk() { "hostPID: true" } else { "it came with Linux 5.11" };
        assert!(reason.contains(missing), "{reason}");
    });
}

#[test]
fn a_pod_without_the_hosts_processes_is_told_at_the_start() {
    let test = "start_up::a_pod_without_the_hosts_processes_is_told_at_the_start";
    let in_pod = "export KUBERNETES_SERVICE_HOST=10.96.0.1; exec \"$@\"";
    let foreign =
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", in_pod, "sh"];
    world::inside(test, &foreign, "root", async || {
        let error = node::start(Options::default()).err().unwrap().to_string();
        assert!(error.contains("hostPID: true"), "{error}");
        // A node that is a container has a kubelet, which is in another cgroup.
        let (root, kubelet) = (Root::new(usize::MAX), Pod::new());
        root.container("6d657267-6572-4000-8000-000000000000", "0123456789ab").join(kubelet.pid());
        let (node, _changes) = start_with(Options::default());
        assert!(look(&node).await.processes.iter().any(|process| process.pid == kubelet.pid()));
        drop(kubelet);
    });
}

#[test]
fn a_missing_right_is_named() {
    let test = "start_up::a_missing_right_is_named";
    let without = ["setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon"];
    world::inside(test, &without, "root", async || {
        let options = Options { rung: Rungs::Only(Rung::Ebpf), ..Options::default() };
        let error = node::start(options).err().unwrap().to_string();
        assert!(error.contains("CAP_BPF") && error.contains("CAP_PERFMON"), "{error}");
        let error = node::start(Options::default()).err().unwrap().to_string();
        assert!(error.contains("CAP_SYS_ADMIN"), "{error}");
    });
}

#[test]
fn the_right_to_the_memory_of_maps_is_named_where_it_is_one() {
    let test = "start_up::the_right_to_the_memory_of_maps_is_named_where_it_is_one";
    let without = "ulimit -l 64 && exec setpriv --bounding-set -sys_resource \"$@\"";
    world::inside(test, &["sh", "-c", without, "sh"], "root", async || {
        let options = Options { rung: Rungs::Only(rungs()[0]), ..Options::default() };
        let error = node::start(options).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), locks_maps(), "{error:?}");
        assert!(error.is_none_or(|error| error.contains("CAP_SYS_RESOURCE")));
    });
}

#[test]
fn without_the_right_to_see_processes_nothing_is_attributed() {
    let test = "start_up::without_the_right_to_see_processes_nothing_is_attributed";
    let without = ["setpriv", "--bounding-set", "-sys_ptrace"];
    world::inside(test, &without, "root", async || {
        let error = node::start(Options::default()).err().unwrap().to_string();
        assert!(error.contains("processes are hidden"), "{error}");
        assert!(error.contains("CAP_SYS_PTRACE"), "{error}");
    });
}

#[test]
fn the_host_is_not_where_merger_is_whoever_is_hidden() {
    let test = "start_up::the_host_is_not_where_merger_is_whoever_is_hidden";
    // What contains the machine that this is written on hides the first process; others do not.
    world::inside(test, &["unshare", "--net"], "root", async || {
        // The program of tests that has started this copy of it.
        let outside = namespace::identity(&Netns::of_pid(parent_id()).unwrap()).unwrap();
        assert_ne!(outside, namespace::own());
        for (rung, identity) in
            rungs().into_iter().flat_map(|rung| identities().into_iter().map(move |of| (rung, of)))
        {
            let (rung, identity) = (Rungs::Only(rung), Some(identity));
            let (node, _changes) = start_with(Options { rung, identity, ..Options::default() });
            assert_eq!(look(&node).await.host, outside, "{rung:?} {identity:?}");
        }
    });
}

#[test]
fn a_group_of_a_meshs_proxy_is_refused_at_the_start() {
    let test = "start_up::a_group_of_a_meshs_proxy_is_refused_at_the_start";
    let proxy = ["setpriv", "--regid=1337", "--clear-groups"];
    world::inside(test, &proxy, "root", async || {
        let error = node::start(Options::default()).err().unwrap().to_string();
        let next_step =
            "running as user or group 1337, which belongs to a mesh's proxy: run as another";
        assert_eq!(error, next_step);
    });
}

/// A process that goes on when this is dropped.
struct Stopped(u32);

impl Stopped {
    fn of(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

#[test]
fn a_signal_while_the_kernel_part_is_loaded_is_no_reason_to_do_without() {
    world::here(async || {
        let (pods, rung) = (directory(), format!("--listeners={}", rungs()[0]));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Running::start_with(address, pods.path(), &[&rung]);
        // It cannot go on, and the broker waits for it.
        until("the loader is there", || running.child("merger-loader").is_some());
        let loader = Stopped::of(running.child("merger-loader").unwrap());
        let status = format!("/proc/{}/status", running.broker());
        let has = |name: &str, signal: Signal| {
            let status = fs::read_to_string(&status).unwrap();
            let set = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(set.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
        };
        assert!(has("SigCgt:", Signal::TERM), "it has begun to listen for signals before");
        signal(running.broker(), Signal::TERM);
        until("the signal is taken", || !has("ShdPnd:", Signal::TERM));
        drop(loader);
        // It loads, and then does as it was told.
        assert_eq!(running.end().code(), Some(0));
    });
}
