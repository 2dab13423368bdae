//! What a kubelet asks of its runtime, by the client that merger has.

use std::{collections::HashMap, net::IpAddr, path::Path};

use merger::{pods::cri::client::Client, target::PodRef};
use serde_json::Value as Json;
use tokio::{net::UnixStream, runtime};

use super::{
    image::BUSYBOX,
    messages::{
        ContainerConfig, ContainerId, ContainerMetadata, ContainerStatus, ContainerStatusRequest,
        ContainerStatusResponse, CreateContainerRequest, ImageSpec, Int64Value, KeyValue,
        LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, Mount, Nothing,
        PodSandboxConfig, PodSandboxId, PodSandboxMetadata, PodSandboxStatusResponse,
        RunPodSandboxRequest, StatusResponse,
    },
};

/// The Kubernetes namespace of all pods here.
pub(crate) const NAMESPACE: &str = "shop";

/// A pod, as its spec has it.
#[derive(Clone, Default)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) annotations: Vec<(String, String)>,
}

/// A container, as the pod's spec has it.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) name: &'static str,
    pub(crate) command: Vec<String>,
    /// Names and numbers.
    pub(crate) ports: Vec<(&'static str, u16)>,
    pub(crate) env: Vec<(&'static str, String)>,
    /// Of the node, and where in the container: for reading.
    pub(crate) mounts: Vec<(String, &'static str)>,
    /// User and group.
    pub(crate) user: Option<i64>,
}

/// A sandbox that runs.
#[derive(Clone)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    config: PodSandboxConfig,
    pub(crate) address: IpAddr,
    /// The process that keeps it.
    pub(crate) pid: u32,
}

/// The runtime of a node.
pub(crate) struct Runtime {
    tokio: runtime::Runtime,
    client: Client,
}

// === impl Runtime ===

impl Runtime {
    #[track_caller]
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).expect("containerd runs")
    }

    pub(crate) fn try_connect(socket: &Path) -> Option<Self> {
        let tokio = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = tokio.block_on(async {
            let stream = UnixStream::connect(socket).await.ok()?;
            Client::new(stream).await.ok()
        });
        Some(Self { tokio, client: client? })
    }

    /// Whether it can make pods, and their network.
    pub(crate) fn is_ready(&mut self) -> bool {
        let status = self.client.call("/runtime.v1.RuntimeService/Status", Nothing {});
        let status: Result<StatusResponse, _> = self.tokio.block_on(status);
        let conditions = status.ok().and_then(|s| s.status).unwrap_or_default().conditions;
        !conditions.is_empty() && conditions.iter().all(|condition| condition.status)
    }

    #[track_caller]
    pub(crate) fn run(&mut self, pod: &Pod) -> Sandbox {
        let Pod { name, uid, annotations } = pod.clone();
        let pod = PodRef { namespace: NAMESPACE.into(), name: name.clone() };
        self.run_as(PodSandboxConfig {
            labels: labels(&pod, &uid, None),
            hostname: name,
            annotations: annotations.into_iter().collect(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: cgroup_of(&uid),
                ..LinuxPodSandboxConfig::default()
            }),
            metadata: Some(metadata(pod, uid)),
            ..PodSandboxConfig::default()
        })
    }

    /// Makes a sandbox, and what it needs.
    #[track_caller]
    pub(crate) fn run_as(&mut self, config: PodSandboxConfig) -> Sandbox {
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let PodSandboxId { id, .. } =
            self.call("/runtime.v1.RuntimeService/RunPodSandbox", request);
        let asked = PodSandboxId { id: id.clone(), verbose: true };
        let told: PodSandboxStatusResponse =
            self.call("/runtime.v1.RuntimeService/PodSandboxStatus", asked);
        let address = told.status.unwrap().network.unwrap().ip.parse().unwrap();
        let info: Json = serde_json::from_str(&told.info["info"]).unwrap();
        let pid = info["pid"].as_u64().unwrap().try_into().unwrap();
        Sandbox { id, config, address, pid }
    }

    /// Makes a container and starts it. Gives its id.
    #[track_caller]
    pub(crate) fn start(&mut self, sandbox: &Sandbox, container: Container) -> String {
        let Container { name, command, ports, env, mounts, user } = container;
        let PodSandboxMetadata { name: pod, uid, namespace } =
            sandbox.config.metadata.clone().unwrap();
        let ports: Vec<_> = ports
            .into_iter()
            .map(|(name, port)| {
                serde_json::json!({"name": name, "containerPort": port, "protocol": "TCP"})
            })
            .collect();
        let ports = ("io.kubernetes.container.ports", Json::from(ports).to_string());
        let id = |value| Some(Int64Value { value });
        let security_context = LinuxContainerSecurityContext {
            run_as_user: user.and_then(id),
            run_as_group: user.and_then(id),
            ..LinuxContainerSecurityContext::default()
        };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned() }),
            image: Some(ImageSpec { image: BUSYBOX.name().to_owned() }),
            command,
            envs: env
                .into_iter()
                .map(|(key, value)| KeyValue { key: key.to_owned(), value })
                .collect(),
            mounts: mounts
                .into_iter()
                .map(|(host_path, path)| Mount {
                    container_path: path.to_owned(),
                    host_path,
                    readonly: true,
                })
                .collect(),
            labels: labels(&PodRef { namespace, name: pod }, &uid, Some(name)),
            annotations: [(ports.0.to_owned(), ports.1)].into(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(security_context),
                resources: None,
            }),
            ..ContainerConfig::default()
        };
        self.start_as(sandbox, config)
    }

    /// Makes a container and starts it. Gives its id.
    #[track_caller]
    pub(crate) fn start_as(&mut self, sandbox: &Sandbox, config: ContainerConfig) -> String {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox.config.clone()),
        };
        let created: ContainerId = self.call("/runtime.v1.RuntimeService/CreateContainer", request);
        let id = created.id.clone();
        let Nothing {} = self.call("/runtime.v1.RuntimeService/StartContainer", created);
        id
    }

    /// The exit code of a container, if it has ended; its process, and what that was started with, by the
    /// specification of the OCI.
    #[track_caller]
    pub(crate) fn status(&mut self, id: &str) -> (Option<i32>, Json) {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let told: ContainerStatusResponse =
            self.call("/runtime.v1.RuntimeService/ContainerStatus", request);
        let ContainerStatus { finished_at, exit_code } = told.status.unwrap();
        let info = serde_json::from_str(&told.info["info"]).unwrap();
        ((finished_at > 0).then_some(exit_code), info)
    }

    /// Asks a container to end, and kills it after so many seconds.
    #[track_caller]
    pub(crate) fn stop_container(&mut self, id: &str, timeout: i64) {
        let request = ContainerId { id: id.to_owned(), timeout };
        let Nothing {} = self.call("/runtime.v1.RuntimeService/StopContainer", request);
    }

    #[track_caller]
    pub(crate) fn stop(&mut self, sandbox: &Sandbox) {
        let request = PodSandboxId { id: sandbox.id.clone(), verbose: false };
        let Nothing {} = self.call("/runtime.v1.RuntimeService/StopPodSandbox", request);
    }

    #[track_caller]
    pub(crate) fn remove(&mut self, sandbox: &Sandbox) {
        self.stop(sandbox);
        let request = PodSandboxId { id: sandbox.id.clone(), verbose: false };
        let Nothing {} = self.call("/runtime.v1.RuntimeService/RemovePodSandbox", request);
    }

    #[track_caller]
    fn call<Q, A>(&mut self, method: &'static str, request: Q) -> A
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let answer = self.tokio.block_on(self.client.call(method, request));
        answer.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Who a sandbox is.
pub(crate) fn metadata(pod: PodRef, uid: String) -> PodSandboxMetadata {
    let PodRef { namespace, name } = pod;
    PodSandboxMetadata { name, uid, namespace }
}

/// Where a kubelet with cgroupfs puts a pod that has less than it may have.
pub(crate) fn cgroup_of(uid: &str) -> String {
    format!("/kubepods/burstable/pod{uid}")
}

/// As a kubelet labels a sandbox and its containers.
pub(crate) fn labels(pod: &PodRef, uid: &str, container: Option<&str>) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        ("io.kubernetes.pod.name".to_owned(), pod.name.clone()),
        ("io.kubernetes.pod.namespace".to_owned(), pod.namespace.clone()),
        ("io.kubernetes.pod.uid".to_owned(), uid.to_owned()),
    ]);
    let container =
        container.map(|name| ("io.kubernetes.container.name".to_owned(), name.to_owned()));
    labels.extend(container);
    labels
}
