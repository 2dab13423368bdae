//! The `DaemonSet` of `deploy/base`, as far as a kubelet reads it.
//!
//! A field that is not here is refused, and one that is here and not read does not compile: what the
//! manifest says, a test follows or fails.

use std::collections::HashMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value as Json;

use super::base;

/// What its pods are made of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    pub(crate) metadata: Metadata,
    pub(crate) spec: PodSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) labels: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodSpec {
    pub(crate) service_account_name: String,
    pub(crate) automount_service_account_token: bool,
    #[serde(rename = "hostPID")]
    pub(crate) host_pid: bool,
    pub(crate) host_network: bool,
    #[serde(rename = "nodeSelector")]
    _node_selector: SchedulersAlone,
    #[serde(rename = "tolerations")]
    _tolerations: SchedulersAlone,
    pub(crate) termination_grace_period_seconds: i64,
    pub(crate) security_context: PodSecurityContext,
    pub(crate) containers: [Container; 1],
}

/// What decides where a pod is to be, and not how.
type SchedulersAlone = IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodSecurityContext {
    pub(crate) fs_group: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_pull_policy: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<Variable>,
    pub(crate) ports: Vec<Port>,
    pub(crate) liveness_probe: Probe,
    pub(crate) readiness_probe: Probe,
    pub(crate) resources: Resources,
    pub(crate) security_context: SecurityContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value_from: ValueFrom,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ValueFrom {
    pub(crate) field_ref: FieldRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FieldRef {
    pub(crate) field_path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    pub(crate) name: String,
    #[serde(rename = "containerPort")]
    pub(crate) of_container: u16,
    #[serde(rename = "hostPort")]
    pub(crate) of_host: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Probe {
    pub(crate) http_get: HttpGet,
    #[serde(rename = "periodSeconds")]
    _period: PaceAlone,
    #[serde(rename = "timeoutSeconds")]
    _timeout: PaceAlone,
    #[serde(rename = "failureThreshold")]
    _failures: Option<PaceAlone>,
}

/// How often a probe is tried, which tests do until it answers.
type PaceAlone = IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HttpGet {
    pub(crate) path: String,
    pub(crate) port: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    pub(crate) requests: Requests,
    pub(crate) limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requests {
    pub(crate) cpu: String,
    #[serde(rename = "memory")]
    _memory: SchedulersAlone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) memory: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "that is how Kubernetes has it")]
pub(crate) struct SecurityContext {
    pub(crate) privileged: bool,
    pub(crate) allow_privilege_escalation: bool,
    pub(crate) read_only_root_filesystem: bool,
    pub(crate) run_as_user: i64,
    pub(crate) run_as_group: i64,
    pub(crate) run_as_non_root: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp_profile: Profile,
    pub(crate) app_armor_profile: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capabilities {
    pub(crate) drop: Vec<String>,
    pub(crate) add: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    #[serde(rename = "type")]
    pub(crate) kind: ProfileKind,
}

/// A profile of the node's files is another thing.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
pub(crate) enum ProfileKind {
    RuntimeDefault,
    Unconfined,
}

// === impl Template ===

impl Template {
    /// As it stands in `deploy/base`.
    #[track_caller]
    pub(crate) fn read() -> Self {
        Self::parse(document()).unwrap_or_else(|error| {
            panic!("deploy/base/daemonset.yaml says what these tests do not follow: {error}")
        })
    }

    fn parse(template: Json) -> serde_json::Result<Self> {
        serde_json::from_value(template)
    }

    pub(crate) fn container(&self) -> &Container {
        let [container] = &self.spec.containers;
        container
    }
}

/// What it is read from.
fn document() -> Json {
    let mut documents = base::documents();
    documents.retain(|document| document["kind"] == "DaemonSet");
    let [mut daemonset]: [Json; 1] = documents.try_into().unwrap();
    daemonset["spec"]["template"].take()
}

#[test]
fn what_the_manifest_grants_and_these_tests_do_not_follow_is_refused() {
    for (at, field) in [
        ("/spec", "hostIPC"),
        ("/spec", "volumes"),
        ("/spec", "initContainers"),
        ("/spec/securityContext", "supplementalGroups"),
        ("/spec/containers/0", "volumeMounts"),
        ("/spec/containers/0", "command"),
        ("/spec/containers/0/securityContext", "procMount"),
        ("/spec/containers/0/securityContext/seccompProfile", "localhostProfile"),
    ] {
        let mut template = document();
        template.pointer_mut(at).unwrap()[field] = Json::Bool(true);
        let error = Template::parse(template).err().unwrap().to_string();
        assert!(error.contains(&format!("unknown field `{field}`")), "{at}: {error}");
    }
    let mut template = document();
    let containers = template.pointer_mut("/spec/containers").unwrap().as_array_mut().unwrap();
    containers.push(containers[0].clone());
    assert!(Template::parse(template).is_err(), "a container that is not run");
}
