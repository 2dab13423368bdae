//! What a kubelet makes of a pod template: the messages to its runtime. Sources, of kubernetes/kubernetes:
//! `pkg/kubelet/kuberuntime/{kuberuntime_sandbox,kuberuntime_container,security_context}.go`.
//!
//! Left out are files that merger does not read: `/etc/hosts`, `/etc/resolv.conf` and the one for a last
//! word.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use merger::target::PodRef;

use super::{
    daemonset::{Container, PodSpec, ProfileKind, SecurityContext, Template},
    messages::{
        Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, KeyValue,
        LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
        LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceMode, NamespaceOption,
        PodSandboxConfig, PortMapping, ProfileType, SecurityProfile,
    },
    runtime::{cgroup_of, labels, metadata},
};

/// What is not of the template: where and for whom the pod is.
pub(crate) struct Binding {
    pub(crate) pod: PodRef,
    pub(crate) uid: String,
    pub(crate) node_name: &'static str,
    /// The pod's directory on the node: its logs, and the volume of its account.
    pub(crate) directory: PathBuf,
    pub(crate) api_server: SocketAddr,
}

/// What is in the volume of a service account.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) token: String,
    pub(crate) authority: String,
}

/// Where that volume is in a container.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// `defaultMaskedPaths` and `defaultReadonlyPaths` of `pkg/securitycontext/util.go`, in 1.30.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The name of the container's log.
const LOG: &str = "merger.log";

// === impl Binding ===

impl Binding {
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    fn account(&self) -> PathBuf {
        self.directory.join("account")
    }
}

/// Writes the volume of the account, as the kubelet does for a pod with `fsGroup`: the token is that
/// group's to read, and else root's alone.
pub(crate) fn write_account(template: &Template, binding: &Binding, account: &Account) {
    let directory = binding.account();
    fs::create_dir_all(&directory).unwrap();
    let group = template.spec.security_context.fs_group;
    for (name, text, mode) in [
        ("token", account.token.as_str(), 0o640),
        ("ca.crt", account.authority.as_str(), 0o644),
        ("namespace", binding.pod.namespace.as_str(), 0o644),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(0), Some(group)).unwrap();
    }
}

/// The sandbox of a pod.
pub(crate) fn sandbox(template: &Template, binding: &Binding) -> PodSandboxConfig {
    let Binding { pod, uid, directory, .. } = binding;
    let mut labels = labels(pod, uid, None);
    labels.extend(template.metadata.labels.clone());
    let port_mappings = template.container().ports.iter().map(|port| PortMapping {
        container_port: port.of_container.into(),
        host_port: port.of_host.into(),
    });
    let security_context = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(&template.spec)),
        supplemental_groups: groups(&template.spec),
        privileged: template.container().security_context.privileged,
        seccomp: Some(profile(ProfileKind::RuntimeDefault)),
    };
    PodSandboxConfig {
        metadata: Some(metadata(pod.clone(), uid.clone())),
        hostname: pod.name.clone(),
        log_directory: directory.display().to_string(),
        port_mappings: port_mappings.collect(),
        labels,
        annotations: [].into(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_of(uid),
            security_context: Some(security_context),
        }),
    }
}

/// Its container.
pub(crate) fn container(template: &Template, binding: &Binding) -> ContainerConfig {
    let spec = &template.spec;
    let Container { name, image, image_pull_policy, args, resources, security_context, .. } =
        template.container();
    assert_ne!(image_pull_policy, "Always", "no registry is asked");
    let resources = LinuxContainerResources {
        // `MilliCPUToShares` of `pkg/kubelet/cm/helpers_linux.go`.
        cpu_shares: quantity(&resources.requests.cpu, "m") * 1024 / 1000,
        memory_limit_in_bytes: quantity(&resources.limits.memory, "Mi") << 20,
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.clone() }),
        image: Some(ImageSpec { image: image.clone() }),
        // The image says it.
        command: vec![],
        args: args.clone(),
        envs: environment(template, binding),
        mounts: account_mount(spec, binding).into_iter().collect(),
        labels: labels(&binding.pod, &binding.uid, Some(name)),
        annotations: [].into(),
        log_path: LOG.to_owned(),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources),
            security_context: Some(security(spec, security_context)),
        }),
    }
}

fn security(spec: &PodSpec, context: &SecurityContext) -> LinuxContainerSecurityContext {
    let strings = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    assert!(!context.run_as_non_root || context.run_as_user != 0, "a kubelet refuses both");
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: context.capabilities.add.clone(),
            drop_capabilities: context.capabilities.drop.clone(),
        }),
        privileged: context.privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: Some(Int64Value { value: context.run_as_user }),
        run_as_group: Some(Int64Value { value: context.run_as_group }),
        readonly_rootfs: context.read_only_root_filesystem,
        supplemental_groups: groups(spec),
        no_new_privs: !context.allow_privilege_escalation,
        masked_paths: strings(&MASKED),
        readonly_paths: strings(&READ_ONLY),
        seccomp: Some(profile(context.seccomp_profile.kind)),
        apparmor: Some(profile(context.app_armor_profile.kind)),
    }
}

/// What is of the node's, and what of the pod's. A PID namespace that is not the node's is a container's.
fn namespaces(spec: &PodSpec) -> NamespaceOption {
    let of = |is_nodes, else_| if is_nodes { NamespaceMode::Node } else { else_ };
    NamespaceOption {
        network: of(spec.host_network, NamespaceMode::Pod).into(),
        pid: of(spec.host_pid, NamespaceMode::Container).into(),
        ipc: NamespaceMode::Pod.into(),
    }
}

fn groups(spec: &PodSpec) -> Vec<i64> {
    vec![spec.security_context.fs_group.into()]
}

fn profile(kind: ProfileKind) -> SecurityProfile {
    let profile_type = match kind {
        ProfileKind::RuntimeDefault => ProfileType::RuntimeDefault,
        ProfileKind::Unconfined => ProfileType::Unconfined,
    };
    SecurityProfile { profile_type: profile_type.into() }
}

/// What the manifest asks for, and where the API server is, which every pod is told.
fn environment(template: &Template, binding: &Binding) -> Vec<KeyValue> {
    let api_server = binding.api_server;
    let mut variables = vec![
        ("KUBERNETES_SERVICE_HOST", api_server.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", api_server.port().to_string()),
    ];
    for variable in &template.container().env {
        let value = match variable.value_from.field_ref.field_path.as_str() {
            "spec.nodeName" => binding.node_name.to_owned(),
            other => panic!("these tests do not know the field {other}"),
        };
        variables.push((&variable.name, value));
    }
    variables.into_iter().map(|(key, value)| KeyValue { key: key.to_owned(), value }).collect()
}

fn account_mount(spec: &PodSpec, binding: &Binding) -> Option<Mount> {
    assert_ne!(spec.service_account_name, "", "the token is that of an account");
    spec.automount_service_account_token.then(|| mount(&binding.account(), ACCOUNT))
}

/// Of the node, for reading, and without what is mounted there later: the `None` of a kubelet.
pub(crate) fn mount(host_path: &Path, container_path: &str) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        readonly: true,
    }
}

/// A number in this unit.
fn quantity(text: &str, unit: &str) -> i64 {
    let number = text.strip_suffix(unit).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{text} is not in {unit}"))
}
