//! The tables: which module may use which, and where foreign crates and unsafe code belong.

use std::path::Path;

/// The modules of the agent in the order of dependency, each with its layer.
///
/// A module may use what stands before it. The layer of the edges is the exception: there the
/// order says nothing, and one may use another only where [`EDGES`] says so.
const MODULES: &[(u8, &str)] = &[
    (0, "exposition"),
    (0, "merge"),
    (0, "identity"),
    (0, "target"),
    (0, "cause"),
    (0, "tally"),
    (EDGE, "pods"),
    (EDGE, "listeners"),
    (EDGE, "netns"),
    (EDGE, "node"),
    (EDGE, "lifecycle"),
    (2, "relay"),
    (2, "scrape"),
    (2, "inventory"),
    (3, "serve"),
    (4, "config"),
    (4, "telemetry"),
    (4, "app"),
    (4, "command"),
];

/// The layer of the modules that each know one outside thing.
const EDGE: u8 = 1;

/// The edges that use another: the privileged side reads the listeners, and both enter namespaces.
const EDGES: &[(&str, &str)] = &[("node", "listeners"), ("node", "netns"), ("listeners", "netns")];

/// Foreign crates, with those that belong to them by prefix, and the modules that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("aya", &["listeners/ebpf", "node/loader"]),
    ("kube", &["pods/kube", "serve/access"]),
    ("k8s_openapi", &["pods/kube", "serve/access"]),
    ("hyper", &["pods/cri", "pods/kube", "scrape", "serve"]),
    ("prost", &["pods/cri"]),
    ("tonic", &["pods/cri"]),
];

/// Files and directories whose subject needs unsafe code.
const UNSAFE: &[&str] = &[
    "merger-common/src",
    "merger-ebpf/src",
    "merger/src/exposition/scan/sse2.rs",
    // bpf(2), and calls that must be refused: neither has a wrapper.
    "merger/src/listeners/ebpf/command.rs",
    "merger/src/node/confinement.rs",
    // Memory that is given back under a program that runs in it.
    "merger/src/node/footprint.rs",
    "merger/src/netns.rs",
    // kcmp(2), which says whether two threads share their files.
    "merger/src/node/processes/files.rs",
    // Tests and benchmarks make the namespaces and the processes that the code under test looks at.
    "merger/benches/cost.rs",
    "merger/benches/listen.rs",
    // The bench of the merge counts what is allocated.
    "merger/benches/merge/heap.rs",
    "merger/tests",
];

/// Why this module may not name that path, if so. The path is from the root of the crate, starting
/// with `crate`, or from that of a foreign one.
pub(super) fn fault(module: &[String], path: &[String]) -> Option<String> {
    let (from, root) = (module.first()?, path.first()?);
    if root == "crate" {
        let to = path.get(1)?;
        return order(from, to);
    }
    let belongs = |name: &str| {
        root.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let (name, places) = CRATES.iter().find(|(name, _)| belongs(name))?;
    let here = module.join("/");
    let inside = |place: &&str| Path::new(&here).starts_with(place);
    (!places.iter().any(inside))
        .then(|| format!("{name} is named outside of {}", places.join(", ")))
}

/// Whether the table has a place for this module.
pub(super) fn has_place(module: &[String]) -> bool {
    MODULES.iter().any(|(_, name)| module.first().is_some_and(|module| module == name))
}

/// Whether a file below the workspace may hold unsafe code.
pub(super) fn may_be_unsafe(name: &Path) -> bool {
    UNSAFE.iter().any(|place| name.starts_with(place))
}

fn order(from: &str, to: &str) -> Option<String> {
    let place = |name: &str| MODULES.iter().position(|(_, module)| *module == name);
    // An item at the root of the crate is no module; a module without a place is its file's fault.
    let (from_at, to_at) = (place(from)?, place(to)?);
    if from == to {
        return None;
    }
    let both_edges = MODULES[from_at].0 == EDGE && MODULES[to_at].0 == EDGE;
    if both_edges {
        return (!EDGES.contains(&(from, to)))
            .then(|| format!("{from} may not use {to}: edges do not use each other"));
    }
    (to_at > from_at).then(|| format!("{from} may not use {to}, which stands after it"))
}
