//! The rights of processes: those that a container is started with, and those that the kernel says each of
//! its processes has, beside those that the manifest grants.

use std::{fmt::Write as _, fs};

use merger::node::confinement::Confinement;
use rustix::thread::CapabilitySet;
use serde_json::Value as Json;

use super::daemonset::Template;

/// What a process holds, or may.
pub(crate) struct Rights {
    /// A column's head.
    pub(crate) of: String,
    pub(crate) user: Vec<u32>,
    pub(crate) group: Vec<u32>,
    pub(crate) groups: Vec<u32>,
    pub(crate) inheritable: CapabilitySet,
    pub(crate) permitted: CapabilitySet,
    pub(crate) effective: CapabilitySet,
    pub(crate) bounding: CapabilitySet,
    pub(crate) ambient: CapabilitySet,
    pub(crate) no_new_privs: bool,
    /// As the kernel counts: 0 is no filter of system calls, 2 is one.
    pub(crate) seccomp: u8,
}

// === impl Rights ===

impl Rights {
    /// What the manifest grants to the first process.
    pub(crate) fn granted(template: &Template) -> Self {
        let context = &template.container().security_context;
        assert_eq!(context.capabilities.drop, ["ALL"], "what is added is all that there is");
        let capabilities = set(context.capabilities.add.iter().map(String::as_str));
        let id = |id: i64| vec![u32::try_from(id).unwrap()];
        Self {
            of: "deploy/base".to_owned(),
            user: id(context.run_as_user),
            group: id(context.run_as_group),
            groups: vec![template.spec.security_context.fs_group],
            inheritable: CapabilitySet::empty(),
            permitted: capabilities,
            effective: capabilities,
            bounding: capabilities,
            ambient: CapabilitySet::empty(),
            no_new_privs: !context.allow_privilege_escalation,
            seccomp: 2,
        }
    }

    /// What the runtime has started it with: `process` of the specification of the OCI, in
    /// <https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md>.
    pub(crate) fn started_with(spec: &Json) -> Self {
        let process = &spec["process"];
        let of = |name: &str| {
            let names = process["capabilities"][name].as_array();
            set(names.into_iter().flatten().map(|name| name.as_str().unwrap()))
        };
        let id = |id: &Json| u32::try_from(id.as_u64().unwrap_or_default()).unwrap();
        let groups = process["user"]["additionalGids"].as_array();
        let groups = groups.into_iter().flatten().map(id).collect();
        Self {
            of: "container".to_owned(),
            user: vec![id(&process["user"]["uid"])],
            group: vec![id(&process["user"]["gid"])],
            groups,
            inheritable: of("inheritable"),
            permitted: of("permitted"),
            effective: of("effective"),
            bounding: of("bounding"),
            ambient: of("ambient"),
            no_new_privs: process["noNewPrivileges"] == true,
            seccomp: if spec["linux"]["seccomp"].is_object() { 2 } else { 0 },
        }
    }

    /// What the kernel says.
    pub(crate) fn of_process(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| *found == name).expect("the kernel says it").1.trim()
        };
        let of = |name| {
            let bits = u64::from_str_radix(line(name), 16).unwrap();
            CapabilitySet::from_bits_retain(bits)
        };
        let Confinement { uids, gids, groups, no_new_privs, seccomp, .. } =
            Confinement::parse(&status).unwrap();
        Self {
            of: line("Name").to_owned(),
            user: distinct(&uids),
            group: distinct(&gids),
            groups,
            inheritable: of("CapInh"),
            permitted: of("CapPrm"),
            effective: of("CapEff"),
            bounding: of("CapBnd"),
            ambient: of("CapAmb"),
            no_new_privs,
            seccomp,
        }
    }

    /// Of a capability: in which sets it is.
    fn held(&self, capability: CapabilitySet) -> String {
        let sets = [
            ('e', self.effective),
            ('p', self.permitted),
            ('b', self.bounding),
            ('i', self.inheritable),
            ('a', self.ambient),
        ];
        let sets = sets.iter().filter(|(_, set)| set.contains(capability));
        sets.map(|(letter, _)| *letter).collect()
    }
}

/// A column for each, a row for each right that any has.
pub(crate) fn table(columns: &[Rights]) -> String {
    let numbers = |all: &[u32]| all.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let mut rows = vec![("", columns.iter().map(|rights| rights.of.clone()).collect::<Vec<_>>())];
    let mut row = |name: &'static str, cell: &dyn Fn(&Rights) -> String| {
        rows.push((name, columns.iter().map(cell).collect()));
    };
    row("Uid", &|rights| numbers(&rights.user));
    row("Gid", &|rights| numbers(&rights.group));
    row("Groups", &|rights| numbers(&rights.groups));
    row("NoNewPrivs", &|rights| u8::from(rights.no_new_privs).to_string());
    row("Seccomp", &|rights| rights.seccomp.to_string());
    row("CapEff", &|rights| format!("{:x}", rights.effective.bits()));
    row("CapPrm", &|rights| format!("{:x}", rights.permitted.bits()));
    row("CapBnd", &|rights| format!("{:x}", rights.bounding.bits()));
    for (name, capability) in CapabilitySet::all().iter_names() {
        if columns.iter().any(|rights| !rights.held(capability).is_empty()) {
            row(name, &|rights| rights.held(capability));
        }
    }
    let mut shown = String::new();
    for (name, cells) in rows {
        write!(shown, "  {name:<16}").unwrap();
        for cell in cells {
            let cell = if cell.is_empty() { "-".to_owned() } else { cell };
            write!(shown, "{cell:<16}").unwrap();
        }
        shown.truncate(shown.trim_end().len());
        shown.push('\n');
    }
    shown + "  e effective, p permitted, b bounding, i inheritable, a ambient\n"
}

/// Capabilities by their names, with the prefix or without.
fn set<'a>(names: impl Iterator<Item = &'a str>) -> CapabilitySet {
    let of = |name: &'a str| {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        CapabilitySet::from_name(name).unwrap_or_else(|| panic!("no capability {name}"))
    };
    names.map(of).collect()
}

/// One number where all are one.
fn distinct(ids: &[u32; 4]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.dedup();
    ids
}
