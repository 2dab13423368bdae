//! A pod and its listeners in; its sources, and the reason for each, out.
//!
//! Nothing is guessed: a port is read because the pod asks for it, because its name says metrics
//! in a pod that asks to be scraped, or because it is the sidecar's.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

use super::{
    Container, Listener, Pod, Reason, Refusal, Scheme, Source, State,
    annotations::{self, Asked, Malformed},
    mesh,
};
use crate::identity::{PodUid, cgroup_path};

/// A pod with more sources than this gets the first ones, and a note.
pub const MAX_SOURCES: usize = 8;

/// What is to be read of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The application's sources, then the sidecars'. The order of the merged page.
    pub sources: Vec<Source>,
    /// What was asked for and is not done.
    pub notes: Vec<Note>,
}

/// Why something that the pod asks for, or seems to ask for, is not a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An annotation that cannot be followed.
    Malformed(Malformed),
    /// The port that it asks for is the proxy's.
    Reserved {
        /// The port of the annotation.
        port: NonZeroU16,
        /// Whose proxy.
        mesh: &'static str,
    },
    /// It asks to be scraped and does not say where.
    NoPort,
    /// It asks for nothing, and has no sidecar.
    NotAsked,
    /// It declines.
    Declined,
    /// It has more sources than [`MAX_SOURCES`].
    TooMany {
        /// How many were left out, from the end.
        left_out: usize,
    },
}

/// Plans `pod`, whose network namespace has just these `listeners`.
#[must_use]
pub fn plan(pod: &Pod, listeners: &[&Listener]) -> Plan {
    plan_with(pod, listeners, None)
}

/// Plans `pod`, which is in the host's namespace: of these `listeners` only those are its own that
/// nobody else holds.
#[must_use]
pub fn plan_on_host(pod: &Pod, listeners: &[&Listener], owner: PodUid) -> Plan {
    plan_with(pod, listeners, Some(owner))
}

fn plan_with(pod: &Pod, listeners: &[&Listener], owner: Option<PodUid>) -> Plan {
    let planner = Planner { pod, listeners, owner };
    let mut notes = Vec::new();
    let asked = annotations::read(&pod.annotations).unwrap_or_else(|malformed| {
        notes.push(Note::Malformed(malformed));
        Asked::default()
    });

    let mut sources = match (asked.scrape, asked.port) {
        (Some(true), Some(port)) => planner.annotated(&asked, port, &mut notes),
        (Some(true), None) => planner.named(&asked, &mut notes),
        _ => Vec::new(),
    };
    if asked.scrape == Some(false) {
        notes.push(Note::Declined);
    } else {
        sources.extend(planner.sidecars());
    }
    if sources.is_empty() && notes.is_empty() {
        notes.push(Note::NotAsked);
    }
    if sources.len() > MAX_SOURCES {
        notes.push(Note::TooMany { left_out: sources.len() - MAX_SOURCES });
        sources.truncate(MAX_SOURCES);
    }
    Plan { sources, notes }
}

struct Planner<'a> {
    pod: &'a Pod,
    listeners: &'a [&'a Listener],
    /// [`Source::owner`].
    owner: Option<PodUid>,
}

// === impl Planner ===

impl<'a> Planner<'a> {
    fn annotated(&self, asked: &Asked, port: NonZeroU16, notes: &mut Vec<Note>) -> Vec<Source> {
        if let Some(mesh) = self.reserving(port) {
            notes.push(Note::Reserved { port, mesh });
            return Vec::new();
        }
        let container = self.container_behind(port);
        vec![self.source(container, port, asked.scheme, &asked.path, Reason::Annotation)]
    }

    fn named(&self, asked: &Asked, notes: &mut Vec<Note>) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for container in self.applications() {
            for port in container.ports.iter().filter(|port| says_metrics(port.name.as_deref())) {
                let known = sources.iter().any(|source| source.port == port.number);
                if !known && self.reserving(port.number).is_none() {
                    let (scheme, path) = (asked.scheme, &asked.path);
                    let container = Some(container);
                    let reason = Reason::NamedPort;
                    sources.push(self.source(container, port.number, scheme, path, reason));
                }
            }
        }
        if sources.is_empty() {
            notes.push(Note::NoPort);
        }
        sources
    }

    fn sidecars(&self) -> impl Iterator<Item = Source> {
        self.pod.containers.iter().filter_map(|container| {
            let profile = mesh::profile(container)?;
            let port = NonZeroU16::new(profile.port)?;
            let reason = Reason::Sidecar(profile.mesh);
            Some(self.source(Some(container), port, Scheme::Http, profile.path, reason))
        })
    }

    fn source(
        &self,
        container: Option<&Container>,
        port: NonZeroU16,
        scheme: Scheme,
        path: &str,
        reason: Reason,
    ) -> Source {
        let declared = container
            .into_iter()
            .flat_map(|container| &container.ports)
            .find(|declared| declared.number == port);
        let endpoint =
            declared.and_then(|declared| declared.name.clone()).unwrap_or_else(|| port.to_string());
        Source {
            // An empty label is an absent one: better none than a guess.
            container: container.map(|container| container.name.clone()).unwrap_or_default(),
            endpoint,
            port,
            scheme,
            path: path.to_owned(),
            reason,
            state: self.state(port),
            owner: self.owner,
        }
    }

    fn applications(&self) -> impl Iterator<Item = &'a Container> {
        self.pod.containers.iter().filter(|container| mesh::profile(container).is_none())
    }

    fn reserving(&self, port: NonZeroU16) -> Option<&'static str> {
        self.pod.containers.iter().find_map(|container| mesh::reserving(container, port))
    }

    /// The container that holds a listener on `port`; before it listens, the one that declares the
    /// port, or the only one that there is. None where somebody else holds one.
    fn container_behind(&self, port: NonZeroU16) -> Option<&'a Container> {
        if self.foreign_on(port).is_some() {
            return None;
        }
        self.holder_of(port)
            .or_else(|| {
                let declares = |c: &&Container| c.ports.iter().any(|p| p.number == port);
                self.applications().find(declares)
            })
            .or_else(|| {
                let mut applications = self.applications();
                applications.next().filter(|_| applications.next().is_none())
            })
    }

    fn holder_of(&self, port: NonZeroU16) -> Option<&'a Container> {
        let mut ids = self
            .on(port)
            .flat_map(|listener| &listener.holders)
            .filter_map(|holder| cgroup_path::owner(&holder.cgroup))
            .filter(|owner| owner.pod_uid == self.pod.uid)
            .filter_map(|owner| owner.container_id);
        ids.find_map(|id| self.pod.containers.iter().find(|c| c.id.as_ref() == Some(&id)))
    }

    fn state(&self, port: NonZeroU16) -> State {
        if let Some(foreign) = self.foreign_on(port) {
            return State::Refused(foreign);
        }
        if let Some(doubt) = self.on(port).find_map(|listener| listener.doubt.clone()) {
            return State::Refused(Refusal::Doubt(doubt));
        }
        if self.on(port).any(|listener| listener.holders.is_empty()) {
            return State::Refused(Refusal::NoHolder);
        }
        let bound: Vec<IpAddr> = self.on(port).map(|listener| listener.address).collect();
        reachable(&bound, port)
    }

    fn on(&self, port: NonZeroU16) -> impl Iterator<Item = &'a Listener> {
        self.listeners.iter().copied().filter(move |listener| listener.port == port)
    }

    /// The first holder of a socket on `port` that is not of this pod. One such socket is enough: the
    /// kernel would choose it wherever it is bound closer.
    fn foreign_on(&self, port: NonZeroU16) -> Option<Refusal> {
        self.on(port).flat_map(|listener| &listener.holders).find_map(|holder| {
            let pod_uid = cgroup_path::owner(&holder.cgroup).map(|owner| owner.pod_uid);
            let foreign = pod_uid.as_ref() != Some(&self.pod.uid);
            foreign.then_some(Refusal::ForeignHolder { pid: holder.pid, pod_uid })
        })
    }
}

/// How to reach a port that is `bound` to these addresses: 127.0.0.1 first, then `::1`, then the
/// namespace's own addresses.
#[must_use]
pub fn reachable(bound: &[IpAddr], port: NonZeroU16) -> State {
    let bound = || bound.iter().map(IpAddr::to_canonical);
    let mut addresses: Vec<IpAddr> =
        bound().filter(|address| !is_odd_loopback(*address)).flat_map(dialled).collect();
    addresses.sort_by_key(|address| (!address.is_loopback(), *address));
    addresses.dedup();
    match (addresses.is_empty(), bound().next()) {
        (true, None) => State::Pending,
        (true, Some(odd)) => State::Refused(Refusal::OddLoopback(odd)),
        (false, _) => {
            let at_port = |ip| SocketAddr::new(ip, port.get());
            State::Ready(addresses.into_iter().map(at_port).collect())
        }
    }
}

fn says_metrics(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        matches!(name, "metrics" | "http-metrics" | "prometheus") || name.ends_with("-metrics")
    })
}

/// Where to dial what is bound to `bound`. A socket bound to `::` serves IPv4 as well, unless it
/// says otherwise, and `::1` is missing where IPv6 is switched off: so both, 127.0.0.1 first.
fn dialled(bound: IpAddr) -> Vec<IpAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match bound {
        IpAddr::V4(address) if address.is_unspecified() => vec![V4],
        IpAddr::V6(address) if address.is_unspecified() => vec![V4, V6],
        address => vec![address],
    }
}

fn is_odd_loopback(address: IpAddr) -> bool {
    address.is_loopback() && address != Ipv4Addr::LOCALHOST && address != Ipv6Addr::LOCALHOST
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Reserved { port, mesh } => write!(
                f,
                "annotation prometheus.io/port: {port} is a port of {mesh}'s proxy, which is no \
                 application's: set the application's port"
            ),
            Self::NoPort => f.write_str(
                "asks to be scraped, but names no port: set prometheus.io/port, or name a container \
                 port \"metrics\"",
            ),
            Self::NotAsked => {
                f.write_str("does not ask to be scraped: set prometheus.io/scrape to \"true\"")
            }
            Self::Declined => f.write_str("declines to be scraped by prometheus.io/scrape"),
            Self::TooMany { left_out } => {
                write!(f, "has more than {MAX_SOURCES} sources: the last {left_out} are left out")
            }
        }
    }
}

#[cfg(test)]
mod tests;
