//! merger as `deploy/base` runs it: a container of the image that `cargo xtask image` makes, with the rights
//! that its `DaemonSet` grants and no others, in a pod beside those that it reads.

use std::{
    collections::BTreeSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use merger::target::PodRef;

use super::{
    Node,
    daemonset::{Probe, Template},
    kubelet::{self, Account, Binding},
    messages::{ContainerConfig, Mount, NamespaceMode},
    rights::Rights,
    running::{self, until},
    runtime::{NAMESPACE, Runtime, Sandbox},
};

/// The node's end of the pods' network, of `bridge.json`: an address of the node.
pub(crate) const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 7, 1));

/// What the node is called: as `requests.rs` has it.
pub(crate) const NODE_NAME: &str = "n1";

/// Its processes, by what each is trusted with.
pub(crate) const PARTS: [&str; 3] = ["merger-broker", "merger-agent", "merger-watcher"];

/// What is done otherwise than the manifest says.
#[derive(Default)]
pub(crate) struct Changes {
    /// An argument, and the one in its place.
    pub(crate) argument: Option<(&'static str, &'static str)>,
    pub(crate) mount: Option<Mount>,
    /// Capabilities that are not granted.
    pub(crate) withheld: Vec<String>,
    /// The container has a PID namespace of its own.
    pub(crate) own_pids: bool,
}

/// The pod of merger.
pub(crate) struct Contained<'a> {
    node: &'a Node,
    template: Template,
    sandbox: Sandbox,
    container: String,
    log: PathBuf,
}

// === impl Changes ===

impl Changes {
    /// What this machine cannot grant: below Linux 5.11 alone it matters.
    pub(crate) fn of_machine() -> Self {
        let own = Rights::of_process(std::process::id());
        let granted = Rights::granted(&Template::read()).bounding;
        let missing = granted.difference(own.permitted);
        let withheld: Vec<_> = missing.iter_names().map(|(name, _)| name.to_owned()).collect();
        assert!(
            withheld.iter().all(|name| name == "SYS_RESOURCE"),
            "{withheld:?}: root of this machine has not got them"
        );
        Self { withheld, ..Self::default() }
    }

    /// Pods by the node's runtime, whose socket is mounted for it.
    pub(crate) fn by_runtime(node: &Node) -> Self {
        Self {
            argument: Some(("--pods=kube", "--pods=cri")),
            mount: Some(kubelet::mount(&node.socket(), "/run/containerd/containerd.sock")),
            ..Self::of_machine()
        }
    }

    #[track_caller]
    fn apply(&self, config: &mut ContainerConfig) {
        if let Some((there, here)) = self.argument {
            let argument = config.args.iter_mut().find(|argument| *argument == there);
            here.clone_into(argument.expect("the manifest has it"));
        }
        config.mounts.extend(self.mount.clone());
        let context = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
        let context = context.expect("the manifest has one");
        let capabilities = context.capabilities.as_mut().expect("the manifest has some");
        for name in &self.withheld {
            let at = capabilities.add_capabilities.iter().position(|added| added == name);
            capabilities.add_capabilities.remove(at.expect("the manifest grants it"));
        }
        let namespaces = context.namespace_options.as_mut().expect("the manifest has some");
        if self.own_pids {
            assert_eq!(namespaces.pid(), NamespaceMode::Node);
            namespaces.set_pid(NamespaceMode::Container);
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argument, mount, withheld, own_pids } = self;
        let mut changes = vec![];
        changes.extend(argument.map(|(there, here)| format!("{here} for {there}")));
        changes.extend(mount.as_ref().map(|mount| format!("{} mounted", mount.container_path)));
        changes.extend(withheld.iter().map(|name| format!("no {name}")));
        changes.extend(own_pids.then(|| "no hostPID".to_owned()));
        if changes.is_empty() {
            changes.push("nothing".to_owned());
        }
        f.write_str(&changes.join(", "))
    }
}

// === impl Contained ===

impl<'a> Contained<'a> {
    /// Begins to run, as pod `n` of the node, which has the image.
    #[track_caller]
    pub(crate) fn start(
        node: &'a Node,
        runtime: &mut Runtime,
        (n, api_server, account): (u32, SocketAddr, &Account),
        changes: &Changes,
    ) -> Self {
        let template = Template::read();
        let uid = node.uid(n);
        let binding = Binding {
            pod: PodRef { namespace: "merger".to_owned(), name: format!("merger-{n}") },
            directory: node.directory.join(&uid),
            uid,
            node_name: NODE_NAME,
            api_server,
        };
        kubelet::write_account(&template, &binding, account);
        let sandbox = runtime.run_as(kubelet::sandbox(&template, &binding));
        let mut config = kubelet::container(&template, &binding);
        changes.apply(&mut config);
        let container = runtime.start_as(&sandbox, config);
        Self { node, template, sandbox, container, log: binding.log() }
    }

    /// Waits as a kubelet does, by the probes of the manifest at the address of the pod.
    #[track_caller]
    pub(crate) fn wait(&self, runtime: &mut Runtime) {
        let container = self.template.container();
        let [port] = container.ports.as_slice() else { panic!("one port") };
        let ask = |Probe { http_get, .. }: &Probe| {
            assert_eq!(http_get.port, port.name);
            let address = SocketAddr::new(self.sandbox.address, port.of_container);
            self.get_at(address, &http_get.path)
        };
        until("merger is ready", || {
            let (ended, _) = runtime.status(&self.container);
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log());
            ask(&container.readiness_probe).as_deref() == Some("ready\n")
        });
        assert_eq!(ask(&container.liveness_probe).as_deref(), Some("live\n"));
    }

    /// The answer at the node's own port, which the manifest opens.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let [port] = self.template.container().ports.as_slice() else { panic!("one port") };
        self.get_at(SocketAddr::new(NODE, port.of_host), path)
    }

    /// The page of a pod, or why there is none.
    pub(crate) fn page(&self, pod: &str) -> String {
        self.get(&format!("/pods/{NAMESPACE}/{pod}/metrics")).unwrap_or_default()
    }

    fn get_at(&self, address: SocketAddr, path: &str) -> Option<String> {
        self.node.netns().within(|| Ok(running::get(address, path))).unwrap()
    }

    /// What the runtime has bound into it, of the node or of its own; and of what kind the file systems are
    /// that the kernel lets it write to.
    #[track_caller]
    pub(crate) fn mounts(&self, runtime: &mut Runtime) -> [BTreeSet<String>; 2] {
        let (_, info) = runtime.status(&self.container);
        let bound = info["runtimeSpec"]["mounts"].as_array().unwrap().iter();
        let bound = bound.filter(|mount| mount["type"] == "bind");
        let bound = bound.map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect();
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", info["pid"])).unwrap();
        let writable = mounts.lines().filter_map(|line| {
            // `proc_pid_mountinfo(5)`: the sixth word is the options of this mount, and the first after
            // the dash the kind.
            let (mount, file_system) = line.split_once(" - ")?;
            let is_writable = mount.split(' ').nth(5)?.split(',').any(|option| option == "rw");
            is_writable.then_some(file_system.split(' ').next()?.to_owned())
        });
        [bound, writable.collect()]
    }

    /// Whether its processes are among the node's, and whether its network is its sandbox's.
    #[track_caller]
    pub(crate) fn namespaces(&self, runtime: &mut Runtime) -> [bool; 2] {
        let (_, info) = runtime.status(&self.container);
        let of = |pid: &str, kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let own = info["pid"].to_string();
        let sandbox = self.sandbox.pid.to_string();
        [of(&own, "pid") == of("self", "pid"), of(&own, "net") == of(&sandbox, "net")]
    }

    /// What the manifest grants, what the runtime has started it with, and what the kernel says of each of
    /// its processes, by their names.
    #[track_caller]
    pub(crate) fn rights(&self, runtime: &mut Runtime) -> Vec<Rights> {
        let (_, info) = runtime.status(&self.container);
        let mut columns =
            vec![Rights::granted(&self.template), Rights::started_with(&info["runtimeSpec"])];
        let mut processes: Vec<_> = self.processes().into_iter().map(Rights::of_process).collect();
        processes.sort_by_key(|rights| PARTS.iter().position(|part| *part == rights.of));
        columns.extend(processes);
        columns
    }

    /// All that are in its cgroup.
    fn processes(&self) -> Vec<u32> {
        let is_here = |pid: &u32| {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroup.contains(&self.container)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_here).collect()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it ends by itself, and gives its exit code.
    #[track_caller]
    pub(crate) fn ended(&self, runtime: &mut Runtime) -> i32 {
        let mut ended = None;
        until("merger ends", || {
            (ended, _) = runtime.status(&self.container);
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Ends as a kubelet ends it: with the time of the manifest, which it does not need.
    #[track_caller]
    pub(crate) fn end(self, runtime: &mut Runtime) {
        runtime
            .stop_container(&self.container, self.template.spec.termination_grace_period_seconds);
        let (ended, _) = runtime.status(&self.container);
        assert_eq!(ended, Some(0), "137 would be that it was killed:\n{}", self.log());
        runtime.remove(&self.sandbox);
    }
}
