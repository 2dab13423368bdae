//! Why something that a pod asks for, or seems to ask for, is not done, or not as it asks.

use std::{fmt, num::NonZeroU16};

use super::{Asker, annotations::Malformed, monitor::Remark, plan::MAX_SOURCES, secret::Denied};

/// One such thing. Names and values of the pod are shortened and escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An annotation that cannot be followed.
    Malformed(Malformed),
    /// One name in two spellings, with two values.
    TwoSpellings {
        /// The spelling that counts.
        counted: String,
        /// What it says.
        value: String,
        /// The spelling that does not.
        ignored: String,
        /// What that one says.
        other: String,
    },
    /// One page is asked for in two ways.
    Contradiction {
        /// The annotation that counts, or who else asks and does.
        counted: String,
        /// What it asks for.
        value: String,
        /// Who asks and does not count.
        ignored: Asker,
        /// What that one asks for.
        other: String,
    },
    /// What a `PodMonitor` asks for that is not done, or not as it asks.
    Monitor(Remark),
    /// `PodMonitor`s ask for more endpoints of the pod than are read.
    MonitorsLeftOut(usize),
    /// A list is longer than anybody needs.
    LongList {
        /// The annotation.
        annotation: String,
        /// How many of its endpoints are not read.
        left_out: usize,
    },
    /// It has more annotations than are kept.
    LeftOut {
        /// How many are not, from the end.
        annotations: String,
    },
    /// An annotation below `merger.io/` that there is not.
    UnknownAnnotation(String),
    /// It is said of a container that the pod has not.
    UnknownContainer {
        /// The annotation.
        annotation: String,
        /// The container.
        container: String,
    },
    /// It is said of a container, and another listens there.
    OtherContainer {
        /// Who asks.
        by: Asker,
        /// The port.
        port: NonZeroU16,
        /// The container that listens.
        holder: String,
    },
    /// It is said of a port by a name that no container gives one.
    UnknownPort {
        /// Who asks.
        by: Asker,
        /// The name.
        port: String,
    },
    /// It is said to be bound where it is not.
    OtherAddress {
        /// Who asks.
        by: Asker,
        /// The port.
        port: NonZeroU16,
        /// The address that it is not bound to.
        address: std::net::IpAddr,
    },
    /// The port that it asks for is the proxy's.
    Reserved {
        /// Who asks.
        by: Asker,
        /// The port that is asked for.
        port: NonZeroU16,
        /// Whose proxy.
        mesh: String,
    },
    /// The port that it asks for is one that a sidecar listens on, whose metrics are read.
    SidecarListens {
        /// Who asks.
        by: Asker,
        /// The port that is asked for.
        port: NonZeroU16,
        /// Whose sidecar.
        mesh: String,
    },
    /// The sidecar's page has it already, where the mesh itself collects what such annotations ask for.
    Repeated {
        /// Who asks.
        by: Asker,
        /// The port that is asked for.
        port: NonZeroU16,
        /// Whose proxy.
        mesh: String,
    },
    /// The sidecar's page may have them as well, by what the mesh is told elsewhere.
    MayRepeat {
        /// The ports of the applications' sources.
        ports: Vec<NonZeroU16>,
        /// Whose sidecar.
        mesh: String,
    },
    /// Its annotations are the injector's, and nothing says what they were before.
    Injected {
        /// Whose injector.
        mesh: String,
    },
    /// A sidecar has no page that could be read.
    NoPage {
        /// Whose sidecar.
        mesh: String,
    },
    /// It asks for a sidecar that it has not.
    NoSidecar {
        /// The annotation.
        annotation: String,
        /// Whose sidecar.
        mesh: String,
        /// The container that a sidecar would be.
        container: String,
    },
    /// It declines its sidecar's metrics.
    SidecarDeclined {
        /// The annotation.
        annotation: String,
        /// Whose sidecar.
        mesh: String,
    },
    /// These are to be probed, and were not yet.
    Unprobed {
        /// Their ports.
        ports: Vec<NonZeroU16>,
    },
    /// It asks for the slow job of Prometheus.
    Slow,
    /// It asks to be scraped and does not say where.
    NoPort,
    /// It asks for nothing, and has no sidecar.
    NotAsked,
    /// It declines.
    Declined,
    /// It declines, and something else asks for it.
    DeclinedAll {
        /// Who asks.
        by: Asker,
    },
    /// A Secret that it names is not read, and what was to be asked with it is not asked.
    Secret(Denied),
    /// It has more sources than [`MAX_SOURCES`].
    TooMany {
        /// How many of its applications' were left out, from the end.
        left_out: usize,
    },
    /// There are more notes than anybody reads.
    TooManyNotes {
        /// How many were left out, from the end.
        left_out: usize,
    },
}

// === impl Note ===

impl Note {
    /// Whether it comes and goes with what listens, which a pod may change as often as it likes.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Contradiction { .. }
                | Self::OtherContainer { .. }
                | Self::OtherAddress { .. }
                | Self::Reserved { .. }
                | Self::SidecarListens { .. }
                | Self::Repeated { .. }
                | Self::MayRepeat { .. }
                | Self::NoPage { .. }
                | Self::Unprobed { .. }
                | Self::NotAsked
                | Self::TooMany { .. }
                | Self::TooManyNotes { .. }
        )
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TwoSpellings { counted, value, ignored, other } => write!(
                f,
                "annotation {ignored}: \"{other}\" does not count, {counted} says \"{value}\": to \
                 Prometheus they are one name, so leave one of them out"
            ),
            Self::Contradiction { counted, value, ignored, other } => write!(
                f,
                "{ignored}: {other} contradicts {counted}, which asks for {value} and \
                 counts: leave one of them out"
            ),
            Self::Monitor(remark) => remark.fmt(f),
            Self::MonitorsLeftOut(left_out) => write!(
                f,
                "PodMonitors ask for more endpoints of it than are read: the last {left_out} are not"
            ),
            Self::LongList { annotation, left_out } => {
                write!(f, "annotation {annotation}: the last {left_out} endpoints are not read")
            }
            Self::LeftOut { annotations } => {
                write!(f, "has more than 32 KiB of annotations: the last {annotations} are not read")
            }
            Self::UnknownAnnotation(annotation) => write!(
                f,
                "annotation {annotation}: there is none of that name, but merger.io/endpoints and \
                 merger.io/secret, both also as <container>.merger.io/…, and merger.io/probe"
            ),
            Self::UnknownContainer { annotation, container } => {
                write!(f, "annotation {annotation}: the pod has no container \"{container}\"")
            }
            Self::OtherContainer { by, port, holder } => {
                write!(f, "{by}: container {holder} listens on {port}")
            }
            Self::UnknownPort { by, port } => {
                write!(f, "{by}: no container has a port named \"{port}\"")
            }
            Self::OtherAddress { by, port, address } => {
                write!(f, "{by}: {port} is not bound to {address}")
            }
            Self::Reserved { by, port, mesh } => reserved(f, by, *port, mesh),
            Self::SidecarListens { by, port, mesh } => write!(
                f,
                "{by}: {mesh}'s sidecar listens on {port}, and its metrics are read already, each once: \
                 ask for a port of the application"
            ),
            Self::Repeated { by, port, mesh } => repeated(f, by, *port, mesh),
            Self::MayRepeat { ports, mesh } => may_repeat(f, ports, mesh),
            Self::Injected { mesh } => write!(
                f,
                "its annotations prometheus.io/port and path are those of {mesh}'s injector, and \
                 nothing names a port of the application: set merger.io/endpoints, or its own \
                 annotations before injection"
            ),
            Self::NoPage { mesh } => {
                write!(f, "{mesh}'s sidecar listens on none of the ports that its metrics are on")
            }
            Self::NoSidecar { annotation, mesh, container } => write!(
                f,
                "annotation {annotation}: asks for {mesh}'s sidecar, and there is no container \
                 {container}"
            ),
            Self::SidecarDeclined { annotation, mesh } => {
                write!(f, "annotation {annotation}: declines the metrics of {mesh}'s sidecar")
            }
            Self::Unprobed { ports } => {
                write!(f, "is being asked whether there are metrics: port {}", listed(ports))
            }
            Self::Slow => f.write_str(
                "annotation prometheus.io/scrape-slow: it is on each page, and how often a page is \
                 asked for is its reader's decision",
            ),
            Self::NoPort => f.write_str(
                "asks to be scraped, but names no port: set prometheus.io/port, or name a container \
                 port \"metrics\"",
            ),
            Self::NotAsked => {
                f.write_str("does not ask to be scraped: set prometheus.io/scrape to \"true\"")
            }
            Self::Declined => f.write_str("declines to be scraped by prometheus.io/scrape"),
            Self::DeclinedAll { by } => {
                write!(f, "{by}: contradicts prometheus.io/scrape, which declines and counts")
            }
            Self::Secret(denied) => denied.fmt(f),
            Self::TooMany { left_out } => {
                write!(f, "has more than {MAX_SOURCES} sources: the last {left_out} are left out")
            }
            Self::TooManyNotes { left_out } => write!(f, "and {left_out} more of the like"),
        }
    }
}

fn reserved(f: &mut fmt::Formatter<'_>, by: &Asker, port: NonZeroU16, mesh: &str) -> fmt::Result {
    let instead = match by {
        Asker::Annotation(_) => "which is no application's: set the application's port",
        Asker::Monitor(_) => "whose metrics are read as the sidecar's, each once",
    };
    write!(f, "{by}: {port} is a port of {mesh}'s proxy, {instead}")
}

fn repeated(f: &mut fmt::Formatter<'_>, by: &Asker, port: NonZeroU16, mesh: &str) -> fmt::Result {
    write!(
        f,
        "{by}: {port} is on the page of {mesh}'s sidecar where the mesh collects what such annotations ask \
         for, and is not read again; where it does not (in Kuma, with a MeshMetric that has not this \
         application), ask for it by merger.io/endpoints"
    )
}

fn may_repeat(f: &mut fmt::Formatter<'_>, ports: &[NonZeroU16], mesh: &str) -> fmt::Result {
    write!(
        f,
        "what the page of {mesh}'s sidecar has of applications no pod shows (in Kuma, a MeshMetric does): \
         if that is port {} as well, its series are there twice, so take it out there",
        listed(ports)
    )
}

/// The first of these ports.
fn listed(ports: &[NonZeroU16]) -> String {
    let shown: Vec<String> = ports.iter().take(8).map(ToString::to_string).collect();
    let more = if ports.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}
