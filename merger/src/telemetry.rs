//! Starts the logs, and gathers each part's counters as one more exposition.

use std::{
    fmt, fs,
    io::{self, IsTerminal as _},
    sync::Arc,
};

use tracing_subscriber::EnvFilter;

use crate::{
    config::LogFormat,
    inventory::{self, Targets},
    node::{
        Counters, Node,
        confinement::{self, Confinement},
    },
    scrape::Scraper,
    serve::pages::Pages,
    tally::Tally,
    target::State,
};

/// The parts that count something.
pub struct Parts {
    /// Counts what the privileged side did.
    pub node: Node,
    /// Counts scrapes by outcome.
    pub scraper: Arc<Scraper>,
    /// Counts problems by kind.
    pub pages: Arc<Pages>,
    /// Knows the targets.
    pub targets: inventory::Reader,
}

/// The client of the API server logs each failed try, and bodies that it cannot read, with whatever a pod
/// has in its environment. What a person should know of it, `pods::kube` says.
const QUIET: &str = "kube_client=off,kube_runtime=off";

/// Starts the logs on standard error; whether that takes them is nobody's concern. `filter` is a level, or
/// directives like `merger=debug,info`; the client of the API server is heard where they name it, as in
/// `info,kube_client=debug`.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // Of two directives for one part the last counts.
    let directives = format!("{QUIET},{filter}");
    // Each layer of the reason says the same again.
    let filter = EnvFilter::builder().parse(directives).map_err(|_| {
        anyhow::anyhow!("--log {filter}: neither a level nor directives like merger=debug,info")
    })?;
    let terminal = io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A line that cannot be written is lost. To say so in the same place would end the program, and
    // agents have the broker's own descriptor of it.
    let logs = logs.log_internal_errors(false);
    let started = match format {
        LogFormat::Text => logs.with_ansi(terminal).with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}

// === impl Parts ===

impl Parts {
    /// The agent's own metrics, as text 0.0.4.
    #[must_use]
    pub fn gather(&self) -> String {
        let Self { node, scraper, pages, targets } = self;
        let mut page = Page::default();
        let version = env!("CARGO_PKG_VERSION");
        page.family("merger_build_info", "gauge", "The version of this program.");
        page.sample("merger_build_info", &format!("version=\"{version}\""), 1);

        let number = node.rung().number();
        page.family("merger_rung", "gauge", "Which rung tells of listeners; 1 is the best.");
        page.sample("merger_rung", &format!("name=\"{}\"", node.rung().as_str()), number);
        page.node(node);
        page.targets(&targets.borrow().clone().unwrap_or_default());

        page.family("merger_scrapes_total", "counter", "Scrapes of sources by outcome.");
        page.tally("merger_scrapes_total", "outcome", scraper.outcomes());
        page.family("merger_problems_total", "counter", "Problems of scraped lines by kind.");
        page.tally("merger_problems_total", "problem", pages.problems());
        let help = "Sources left out of a page, by the limit that they ran into.";
        page.family("merger_limits_hit_total", "counter", help);
        page.tally("merger_limits_hit_total", "limit", pages.limits_hit());
        let help = "Bodies left out since their end is missing, by what shows it.";
        page.family("merger_bodies_cut_off_total", "counter", help);
        page.tally("merger_bodies_cut_off_total", "sign", pages.cut_off());
        page.confinement();
        page.process();
        page.0
    }
}

/// A page of text 0.0.4 that grows. Labels come from closed lists and need no escape.
#[derive(Default)]
struct Page(String);

// === impl Page ===

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl fmt::Display) {
        self.0.push_str(&match labels {
            "" => format!("{name} {value}\n"),
            labels => format!("{name}{{{labels}}} {value}\n"),
        });
    }

    fn tally(&mut self, name: &str, label: &str, tally: &Tally) {
        for (value, count) in tally.counts() {
            self.sample(name, &format!("{label}=\"{value}\""), count);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn node(&mut self, node: &Node) {
        let Counters {
            snapshots,
            snapshots_failed,
            sweeps,
            namespaces_read,
            changes,
            changes_lost,
            rows_left_out,
            comparisons,
            listeners_differing,
            listeners_differed,
            connects,
            connects_refused,
            connects_failed,
        } = node.counters();
        for (name, help, value) in [
            ("merger_snapshots_total", "Looks at the listeners of this node.", snapshots),
            ("merger_snapshots_failed_total", "Such looks that failed.", snapshots_failed),
            ("merger_process_sweeps_total", "Sweeps over the processes of this node.", sweeps),
            (
                "merger_namespaces_read_total",
                "Times that a namespace was asked for its listeners.",
                namespaces_read,
            ),
            ("merger_changes_total", "Namespaces found changed by the kernel part.", changes),
            (
                "merger_changes_lost_total",
                "Changes it had no room for; all was read again.",
                changes_lost,
            ),
            (
                "merger_listeners_left_out_total",
                "Holders of listeners past the limit of their pod.",
                rows_left_out,
            ),
            (
                "merger_listener_comparisons_total",
                "Comparisons of the listeners with what the kernel says by another way.",
                comparisons,
            ),
            (
                "merger_listeners_differed_total",
                "Listeners that differed in any of them; it is to stay 0.",
                listeners_differed,
            ),
            ("merger_connects_total", "Connections begun inside namespaces.", connects),
            (
                "merger_connects_refused_total",
                "Connections that the rule forbade.",
                connects_refused,
            ),
            ("merger_connects_failed_total", "Connections that failed otherwise.", connects_failed),
        ] {
            self.counter(name, help, value);
        }
        let name = "merger_listeners_differing";
        self.family(name, "gauge", "Listeners that differed in the last comparison.");
        self.sample(name, "", listeners_differing);
        if let Some(age) = node.snapshot_age() {
            let name = "merger_snapshot_age_seconds";
            self.family(name, "gauge", "How long ago the listeners were looked at.");
            self.sample(name, "", age.as_secs_f64());
        }
    }

    fn targets(&mut self, targets: &Targets) {
        let attributed = targets.values().filter(|target| target.netns.is_ok()).count();
        self.family(
            "merger_pods",
            "gauge",
            "Pods of this node, by whether their namespace is known.",
        );
        self.sample("merger_pods", "namespace=\"known\"", attributed);
        self.sample("merger_pods", "namespace=\"unclear\"", targets.len() - attributed);

        let [mut ready, mut pending, mut refused] = [0; 3];
        for source in targets.values().flat_map(|target| &target.plan.sources) {
            *match source.state {
                State::Ready(_) => &mut ready,
                State::Pending => &mut pending,
                State::Refused(_) => &mut refused,
            } += 1;
        }
        self.family("merger_sources", "gauge", "Sources of the pods of this node, by state.");
        for (state, count) in [("ready", ready), ("pending", pending), ("refused", refused)] {
            self.sample("merger_sources", &format!("state=\"{state}\""), count);
        }
    }

    /// What this process is held back by. Left out where `/proc` does not say.
    fn confinement(&mut self) {
        let Ok(left) = Confinement::own() else { return };
        let Confinement { effective, no_new_privs, seccomp, .. } = left;
        for (name, help, value) in [
            ("merger_agent_capabilities", "Effective capabilities of the agent.", effective.n()),
            (
                "merger_agent_no_new_privs",
                "Whether the agent can gain no rights.",
                u32::from(no_new_privs),
            ),
            (
                "merger_agent_seccomp_mode",
                "2 where the agent's system calls are filtered.",
                u32::from(seccomp),
            ),
            (
                "merger_agent_landlock",
                "Whether the agent is in a Landlock domain.",
                u32::from(confinement::is_entered()),
            ),
        ] {
            self.family(name, "gauge", help);
            self.sample(name, "", value);
        }
    }

    /// Memory of this process, as every client library names it. Left out where `/proc` has none.
    fn process(&mut self) {
        let Ok(status) = fs::read_to_string("/proc/self/status") else { return };
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            kilobytes.and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
        if let Some(kilobytes) = kilobytes {
            let name = "process_resident_memory_bytes";
            self.family(name, "gauge", "Resident memory size in bytes.");
            self.sample(name, "", kilobytes * 1024);
        }
    }
}
