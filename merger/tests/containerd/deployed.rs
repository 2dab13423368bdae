//! The container of `deploy/base`: what it serves, and which rights its processes have.

use std::net::SocketAddr;

use merger::node::confinement;
use rustix::thread::CapabilitySet;

use super::{
    Clock, Node, asking,
    contained::{Changes, Contained, NODE, PARTS},
    image,
    kubelet::Account,
    meshed, nonces,
    rights::{Rights, table},
    running::until,
    serving, set, up,
};

/// Nobody answers there.
const NO_API_SERVER: SocketAddr = SocketAddr::new(NODE, 1);

#[test]
fn a_container_with_the_rights_of_the_daemonset_serves_its_neighbours_pages() {
    let mut clock = Clock::start("deployed");
    let node = Node::start();
    clock.tell("containerd runs");
    image::import_merger(&node);
    clock.tell("the image is made and imported");
    let mut runtime = node.runtime();
    let plain = runtime.run(&asking(&node, 1, "plain", "9100"));
    runtime.start(&plain, serving("app", "plain", "9100"));
    let meshed = meshed::run(&node, &mut runtime);
    clock.tell("two sandboxes are made");

    let changes = Changes::by_runtime(&node);
    println!("deployed: otherwise than deploy/base: {changes}");
    let account = Account::default();
    let merger = Contained::start(&node, &mut runtime, (9, NO_API_SERVER, &account), &changes);
    merger.wait(&mut runtime);
    until("every source of both pods is up", || {
        let n_up = |pod| up(&merger.page(pod)).values().filter(|up| *up == "1").count();
        n_up("plain") == 1 && n_up("meshed") == 2
    });
    clock.tell("merger runs in a container, and all sources are up");
    let page = merger.page("plain");
    assert_eq!(nonces(&page), set(&["plain"]), "{page}");
    assert!(page.contains("nonce{of=\"plain\",container=\"app\",endpoint=\"http\"} 1"), "{page}");
    let page = merger.page("meshed");
    assert_eq!(nonces(&page), set(&["meshed"]), "{page}");
    let of_proxy = "envoy_server_live{container=\"istio-proxy\",endpoint=\"http-envoy-prom\"} 1";
    assert!(page.contains(of_proxy), "{page}");
    let error = meshed::get_from_outside(&node, meshed.address, 9100).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");

    assert_eq!(merger.namespaces(&mut runtime), [true, true]);
    let [bound, writable] = merger.mounts(&mut runtime);
    println!("deployed: bound {bound:?}, writable are {writable:?}");
    let [account, socket] =
        ["/var/run/secrets/kubernetes.io/serviceaccount", "/run/containerd/containerd.sock"];
    let of_sandbox = ["/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
    assert_eq!(bound, set(&[&of_sandbox[..], &[account, socket]].concat()));
    // Its own, all of them: the root is an overlay, and no cgroup is among them.
    assert!(writable.is_subset(&set(&["devpts", "mqueue", "proc", "tmpfs"])));
    let rights = merger.rights(&mut runtime);
    println!("deployed: rights\n{}", table(&rights));
    check(&rights, &changes);
    clock.tell("every fact holds");
    merger.end(&mut runtime);
    clock.tell("it ended when it was asked to");
}

/// The container is started with what the manifest grants, the broker has no more than that, and who
/// parses and speaks has nothing.
#[track_caller]
pub(crate) fn check(rights: &[Rights], changes: &Changes) {
    let names: Vec<&str> = rights.iter().map(|rights| rights.of.as_str()).collect();
    assert_eq!(names, [&["deploy/base", "container"][..], &PARTS].concat());
    let [granted, started, broker, agent, watcher] = rights else { unreachable!() };
    let nothing = CapabilitySet::empty();
    let withheld = changes.withheld.iter().map(|name| CapabilitySet::from_name(name).unwrap());
    let granted_here = granted.permitted.difference(withheld.collect());
    for rights in [started, broker, agent, watcher] {
        assert_eq!(rights.inheritable | rights.ambient, nothing, "{}", rights.of);
        assert_eq!(rights.bounding, granted_here, "{}", rights.of);
        assert!(rights.no_new_privs, "{}", rights.of);
        assert_eq!(rights.seccomp, 2, "{}", rights.of);
    }
    for rights in [started, broker] {
        assert_eq!((&rights.user, &rights.group), (&granted.user, &granted.group));
        // Runtimes name the group of the user once more.
        let mut groups = rights.groups.clone();
        groups.retain(|group| !rights.group.contains(group));
        assert_eq!(groups, granted.groups, "{}", rights.of);
    }
    assert_eq!(started.permitted, granted_here);
    assert!(granted_here.contains(broker.permitted));
    assert!(broker.permitted.contains(broker.effective));
    for (rights, id) in [(agent, confinement::AGENT), (watcher, confinement::WATCHER)] {
        assert_eq!(rights.permitted | rights.effective, nothing, "{}", rights.of);
        let ids = (&rights.user[..], &rights.group[..], &rights.groups[..]);
        assert_eq!(ids, (&[id][..], &[id][..], &[][..]), "{}", rights.of);
    }
}

/// What is not granted, and what merger says then.
const LACKS: [(&str, &str); 6] = [
    ("SYS_ADMIN", "missing CAP_SYS_ADMIN"),
    ("SYS_PTRACE", "missing CAP_SYS_PTRACE"),
    ("DAC_READ_SEARCH", "missing CAP_DAC_READ_SEARCH"),
    ("KILL", "missing CAP_KILL"),
    ("SETUID", "needs CAP_SETUID and CAP_SETGID"),
    ("SETGID", "needs CAP_SETUID and CAP_SETGID"),
];

#[test]
fn without_a_right_of_the_brokers_it_ends_and_names_it() {
    let mut clock = Clock::start("lacking");
    let node = Node::start();
    image::import_merger(&node);
    let mut runtime = node.runtime();
    let with = |change: &dyn Fn(&mut Changes)| {
        let mut changes = Changes::by_runtime(&node);
        change(&mut changes);
        changes
    };
    let lacks = LACKS.map(|(name, told)| (with(&|c| c.withheld.push(name.to_owned())), told));
    let pids = (with(&|changes| changes.own_pids = true), "hostPID: true");
    let account = Account::default();
    for (n, (changes, told)) in (10..).zip(lacks.into_iter().chain([pids])) {
        let merger = Contained::start(&node, &mut runtime, (n, NO_API_SERVER, &account), &changes);
        let code = merger.ended(&mut runtime);
        let log = merger.log();
        assert!(code != 0 && log.contains(told), "{changes}: {code}:\n{log}");
        clock.tell(&format!("{changes}: it ended with {code}, and said {told}"));
    }
}

#[test]
fn without_the_loaders_rights_the_loader_keeps_the_one_that_has_them_in_it() {
    let mut clock = Clock::start("loading");
    let node = Node::start();
    image::import_merger(&node);
    let mut runtime = node.runtime();
    let mut changes = Changes::by_runtime(&node);
    changes.withheld.extend(["BPF", "PERFMON"].map(str::to_owned));
    let account = Account::default();
    let merger = Contained::start(&node, &mut runtime, (10, NO_API_SERVER, &account), &changes);
    merger.wait(&mut runtime);
    assert!(merger.log().contains("rung=ebpf"), "{}", merger.log());
    clock.tell(&format!("{changes}: the kernel part is loaded"));
    merger.end(&mut runtime);
}
