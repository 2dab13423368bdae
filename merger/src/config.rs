//! Flags, environment and file to a checked [`Config`]. They are read here and nowhere else.
//!
//! Each setting has one name in three spellings: the flag `--scrape-timeout`, the environment
//! variable `MERGER_SCRAPE_TIMEOUT`, and the field `scrape_timeout` of the file. The flag goes
//! before the environment, the environment before the file, the file before the default.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::{
    merge,
    node::{Rung, Rungs},
    pods::kube::{Access, List, Monitors},
    scrape,
    serve::pages,
    target::{
        mesh::{self, Meshes},
        plan::Rules,
        secret,
    },
};

mod source;

use source::Surroundings;
pub use source::{KubeList, PodSource};

/// The settings of `merger run` as a person gives them, each one optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the pods of this node come from: `kube`, the API server of a cluster; `cri` or `cri:SOCKET`,
    /// the container runtime; or `manifests:DIR`, a directory of Pod manifests, outside of which the agent
    /// opens no file
    /// (default: kube in a pod, which is where KUBERNETES_SERVICE_HOST is set; else cri where a container
    /// runtime has its socket; else one is to be named)
    #[arg(long, value_name = "SOURCE", env = "MERGER_PODS")]
    pub pods: Option<PodSource>,

    /// For --pods kube: the kubeconfig that names the API server (default: in a pod its service
    /// account, else KUBECONFIG or ~/.kube/config). Its user has a token or a certificate: a program that gets
    /// one (exec) is started with --single-process alone
    #[arg(long, value_name = "FILE", env = "MERGER_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// For --pods kube: how it is asked for the pods that there are: `pages`, which every API server
    /// knows, or `streaming`, which costs those that know it, as Kubernetes 1.34 does, less memory
    /// (default: pages)
    #[arg(long, value_name = "HOW", env = "MERGER_KUBE_LIST")]
    pub kube_list: Option<KubeList>,

    /// For --pods kube: also read what the `PodMonitor`s of the cluster (monitoring.coreos.com/v1) ask of
    /// this node's pods, where there are any (default: true)
    #[arg(long, env = "MERGER_POD_MONITORS", num_args = 0..=1, default_missing_value = "true")]
    pub pod_monitors: Option<bool>,

    /// The address to serve on; any but loopback also takes --insecure-plaintext
    /// (default: 127.0.0.1:15990)
    #[arg(long, value_name = "ADDRESS", env = "MERGER_LISTEN", value_parser = address)]
    pub listen: Option<SocketAddr>,

    /// Serve without TLS on an address that others can reach: everybody on the network can then
    /// read every metric of this node
    #[arg(long, env = "MERGER_INSECURE_PLAINTEXT", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,

    /// The name of this node: pods bound to another are left out (default: the name of the host; in a
    /// pod set MERGER_NODE_NAME from the field spec.nodeName)
    #[arg(long, value_name = "NAME", env = "MERGER_NODE_NAME")]
    pub node_name: Option<String>,

    /// How listeners are found: `auto`, `ebpf` or `ebpf_sock_diag` (at once), `sock_diag` or `proc`
    /// (a look every 10 s)
    /// (default: auto, the first that works here)
    #[arg(long, value_name = "RUNG", env = "MERGER_LISTENERS")]
    pub listeners: Option<Listeners>,

    /// Run everything in one process that holds all rights, for debugging; else what reads metrics
    /// runs as user 65532 without any
    #[arg(long, env = "MERGER_SINGLE_PROCESS", num_args = 0..=1, default_missing_value = "true")]
    pub single_process: Option<bool>,

    /// Also read pods that are in the host's network namespace: of its listeners those that a pod's
    /// containers alone hold, which is looked at before and after each scrape (default: false)
    #[arg(long, env = "MERGER_HOST_NETWORK", num_args = 0..=1, default_missing_value = "true")]
    pub host_network: Option<bool>,

    /// Namespaces of the cluster of which each listening port of a pod is asked once whether it is a page
    /// of metrics, as the annotation `merger.io/probe` asks for one pod; with commas between (default: none)
    #[arg(long, value_name = "NAMESPACES", env = "MERGER_PROBE_NAMESPACES", value_delimiter = ',')]
    pub probe_namespaces: Option<Vec<String>>,

    /// For --pods kube: namespaces of the cluster of which a pod may name a Secret in the annotation
    /// `merger.io/secret`, by which its sources are asked: a token, a username and a password, a CA. The
    /// account of merger has to be granted `get` of these Secrets; with commas between (default: none)
    #[arg(
        long,
        value_name = "NAMESPACES",
        env = "MERGER_SECRET_NAMESPACES",
        value_delimiter = ','
    )]
    pub secret_namespaces: Option<Vec<String>>,

    /// The longest wait for one source; a reader's shorter timeout goes before it (default: 10s)
    #[arg(long, value_name = "DURATION", env = "MERGER_SCRAPE_TIMEOUT")]
    pub scrape_timeout: Option<Timeout>,

    /// The most bytes of one source's decompressed body (default: 16777216)
    #[arg(long, value_name = "BYTES", env = "MERGER_MAX_BODY_BYTES")]
    pub max_body_bytes: Option<usize>,

    /// The most bytes of all bodies that are read or merged at one time (default: 67108864)
    #[arg(long, value_name = "BYTES", env = "MERGER_MAX_BYTES_IN_FLIGHT")]
    pub max_bytes_in_flight: Option<usize>,

    /// The most bytes of the page of all pods and of the bodies that it is made of, together; pods
    /// beyond it are left out as down (default: 268435456)
    #[arg(long, value_name = "BYTES", env = "MERGER_MAX_PAGE_BYTES")]
    pub max_page_bytes: Option<usize>,

    /// The most samples of one source (default: 50000)
    #[arg(long, value_name = "COUNT", env = "MERGER_MAX_SAMPLES")]
    pub max_samples: Option<usize>,

    /// Meshes of whose sidecars the agent's own metrics are read also where they stand on a page with what is
    /// read elsewhere, as `istio` for `istio_agent_*` at 15020: of that page they alone are taken. For each
    /// such page the agent asks the proxy and the application again, so that both answer twice; with commas
    /// between (default: none)
    #[arg(long, value_name = "MESHES", env = "MERGER_MESH_AGENTS", value_delimiter = ',')]
    pub mesh_agents: Option<Vec<String>>,

    /// Profiles of sidecars that merger does not know, or knows otherwise. Only in the file.
    #[arg(skip)]
    pub meshes: Option<Vec<mesh::Profile>>,

    /// A query for the proxies of a mesh, by its name: `usedonly` asks Envoy for only what was used.
    /// Only in the file.
    #[arg(skip)]
    pub mesh_queries: Option<BTreeMap<String, String>>,

    /// What to log: error, warn, info, debug, trace, or directives like merger=debug,info
    /// (default: info)
    #[arg(long, value_name = "FILTER", env = "MERGER_LOG", help_heading = "Logging")]
    pub log: Option<String>,

    /// How to log (default: text)
    #[arg(long, value_name = "FORMAT", env = "MERGER_LOG_FORMAT", help_heading = "Logging")]
    pub log_format: Option<LogFormat>,
}

/// How listeners are found, as a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listeners(pub Rungs);

/// A duration as a setting: a number with `ms`, `s` or `m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Timeout(pub Duration);

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people, coloured on a terminal
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The settings of `merger run`, checked and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the pods come from.
    pub pods: PodSource,
    /// Why from there.
    pub pods_reason: &'static str,
    /// How the API server is found, where they come from it.
    pub access: Access,
    /// How it is asked for what there is.
    pub list: List,
    /// What becomes of its `PodMonitor`s.
    pub pod_monitors: Monitors,
    /// The address to serve on.
    pub listen: SocketAddr,
    /// The name of this node.
    pub node_name: String,
    /// Whether that is the name of the host, for want of another.
    pub is_host_name: bool,
    /// How listeners are found.
    pub listeners: Rungs,
    /// Whether everything is done in one process.
    pub single_process: bool,
    /// Whether pods in the host's network namespace are read.
    pub host_network: bool,
    /// What decides on the sources of a pod.
    pub rules: Rules,
    /// What one scrape may cost.
    pub scrape: scrape::Limits,
    /// The most bytes of the page of all pods and of its bodies.
    pub max_page_bytes: usize,
    /// The most samples of one source.
    pub max_samples: usize,
}

/// Why settings cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    File {
        /// The file of `--config`.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not one of settings.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file of `--config`.
        path: PathBuf,
        /// Line, column, and what was expected there.
        message: String,
    },
    /// Nobody said where the pods come from.
    #[error("no source of pods: name one by --pods kube, --pods cri or --pods manifests:DIR")]
    NoPods,
    /// Everybody could read everything.
    #[error(
        "{0} can be reached from outside this node, and there is no TLS yet: listen on a loopback \
         address, or say --insecure-plaintext"
    )]
    Plaintext(SocketAddr),
    /// A limit of zero would refuse everything.
    #[error("--{0} is 0: nothing could be scraped")]
    Zero(&'static str),
    /// A profile of the file cannot be followed.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// No pod is bound to a node without a name.
    #[error("--node-name is empty: name the node as `kubectl get nodes` does")]
    NoNode,
    /// Not one body of the largest size could be read.
    #[error("--max-bytes-in-flight is {in_flight}, less than one body of --max-body-bytes, {body}")]
    InFlight {
        /// The bytes of all bodies.
        in_flight: usize,
        /// The bytes of one.
        body: usize,
    },
    /// The host has no name.
    #[error("the name of this host cannot be read: name the node by --node-name")]
    NodeName(#[source] io::Error),
}

// === impl Settings ===

impl Settings {
    /// Reads the settings of a YAML file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        serde_saphyr::from_str(&text).map_err(|error| {
            let message = error.to_string();
            let line = message.lines().next().unwrap_or_default();
            let message = line.strip_prefix("error: ").unwrap_or(line).to_owned();
            Error::Syntax { path: path.to_owned(), message }
        })
    }

    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let Self {
            pods,
            kubeconfig,
            kube_list,
            pod_monitors,
            listen,
            insecure_plaintext,
            node_name,
            listeners,
            single_process,
            host_network,
            probe_namespaces,
            secret_namespaces,
            scrape_timeout,
            max_body_bytes,
            max_bytes_in_flight,
            max_page_bytes,
            max_samples,
            mesh_agents,
            meshes,
            mesh_queries,
            log,
            log_format,
        } = self;
        Self {
            pods: pods.or(other.pods),
            kubeconfig: kubeconfig.or(other.kubeconfig),
            kube_list: kube_list.or(other.kube_list),
            pod_monitors: pod_monitors.or(other.pod_monitors),
            listen: listen.or(other.listen),
            insecure_plaintext: insecure_plaintext.or(other.insecure_plaintext),
            node_name: node_name.or(other.node_name),
            listeners: listeners.or(other.listeners),
            single_process: single_process.or(other.single_process),
            host_network: host_network.or(other.host_network),
            probe_namespaces: probe_namespaces.or(other.probe_namespaces),
            secret_namespaces: secret_namespaces.or(other.secret_namespaces),
            scrape_timeout: scrape_timeout.or(other.scrape_timeout),
            max_body_bytes: max_body_bytes.or(other.max_body_bytes),
            max_bytes_in_flight: max_bytes_in_flight.or(other.max_bytes_in_flight),
            max_page_bytes: max_page_bytes.or(other.max_page_bytes),
            max_samples: max_samples.or(other.max_samples),
            mesh_agents: mesh_agents.or(other.mesh_agents),
            meshes: meshes.or(other.meshes),
            mesh_queries: mesh_queries.or(other.mesh_queries),
            log: log.or(other.log),
            log_format: log_format.or(other.log_format),
        }
    }

    /// Checks the settings and puts in the defaults.
    pub fn check(self) -> Result<Config, Error> {
        self.check_in(&Surroundings::look())
    }

    fn check_in(self, surroundings: &Surroundings) -> Result<Config, Error> {
        let listen = self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 15990).into());
        if !listen.ip().is_loopback() && !self.insecure_plaintext.unwrap_or_default() {
            return Err(Error::Plaintext(listen));
        }
        let default = scrape::Limits::default();
        let timeout = self.scrape_timeout.map_or(default.timeout, |Timeout(timeout)| timeout);
        let body = self.max_body_bytes.unwrap_or(default.body);
        let in_flight = self.max_bytes_in_flight.unwrap_or(default.in_flight);
        let max_page_bytes = self.max_page_bytes.unwrap_or(pages::MAX_BYTES);
        let max_samples = self.max_samples.unwrap_or(merge::Limits::default().samples);
        for (name, is_zero) in [
            ("scrape-timeout", timeout.is_zero()),
            ("max-body-bytes", body == 0),
            ("max-bytes-in-flight", in_flight == 0),
            ("max-page-bytes", max_page_bytes == 0),
            ("max-samples", max_samples == 0),
        ] {
            if is_zero {
                return Err(Error::Zero(name));
            }
        }
        let is_host_name = self.node_name.is_none();
        let node_name = self.node_name.map_or_else(surroundings.host_name, Ok);
        let node_name = node_name.map_err(Error::NodeName)?;
        if node_name.is_empty() {
            return Err(Error::NoNode);
        }
        if in_flight < body {
            return Err(Error::InFlight { in_flight, body });
        }
        let queries = self.mesh_queries.unwrap_or_default();
        let agents = self.mesh_agents.unwrap_or_default();
        let meshes = Meshes::with(self.meshes.unwrap_or_default(), &queries, &agents)?;
        let (pods, pods_reason) = surroundings.source(self.pods).ok_or(Error::NoPods)?;
        let secret_namespaces = self.secret_namespaces.into_iter().flatten().collect();
        let secrets = match pods {
            PodSource::Kube => secret::Rule::Of(secret_namespaces),
            PodSource::Cri(_) | PodSource::Manifests(_) => secret::Rule::Nowhere,
        };
        Ok(Config {
            pods,
            pods_reason,
            access: surroundings.access(self.kubeconfig),
            list: self.kube_list.map_or_else(List::default, List::from),
            pod_monitors: match self.pod_monitors {
                None | Some(true) => Monitors::Watched,
                Some(false) => Monitors::Ignored,
            },
            listen,
            node_name,
            is_host_name,
            listeners: self.listeners.map_or(Rungs::Auto, |Listeners(rungs)| rungs),
            single_process: self.single_process.unwrap_or_default(),
            host_network: self.host_network.unwrap_or_default(),
            rules: Rules {
                meshes,
                probed_namespaces: self.probe_namespaces.into_iter().flatten().collect(),
                secrets,
            },
            scrape: scrape::Limits { timeout, body, in_flight },
            max_page_bytes,
            max_samples,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let right = "an address is an IP address and a port, as in 127.0.0.1:15990 or [::1]:15990";
    text.parse().map_err(|_| right.to_owned())
}

// === impl Listeners ===

impl FromStr for Listeners {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self(Rungs::Auto)),
            name => {
                let rung = Rung::ALL.into_iter().find(|rung| rung.as_str() == name);
                rung.map(|rung| Self(Rungs::Only(rung))).ok_or_else(|| {
                    let names = Rung::ALL.map(Rung::as_str).join(", ");
                    format!("listeners are found by auto, or by one of {names}")
                })
            }
        }
    }
}

impl TryFrom<String> for Listeners {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

// === impl Timeout ===

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_mins(1)),
            _ => None,
        };
        let timeout = unit.zip(digits.parse().ok()).and_then(|(unit, n)| unit.checked_mul(n));
        timeout
            .map(Self)
            .ok_or_else(|| "a duration is a number with ms, s or m, as in 10s".to_owned())
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
