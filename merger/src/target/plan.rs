//! A pod and its listeners in; its sources, and the reason for each, out.
//!
//! Nothing is guessed: a port is read because the pod asks for it, because its name says metrics
//! in a pod that asks to be scraped, because a `PodMonitor` asks for it, or because it is the sidecar's.
//! Nothing is read twice: the proxy, its agent and the application each give their metrics once.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

use self::monitored::Monitored;
pub use self::probe::{Probed, Verdict};
pub use super::note::Note;
use super::{
    Container, Listener, Pod, Reason, Refusal, Scheme, Source, State,
    annotations::{self, Asked},
    mesh::{Meshes, Profile},
    secret::Rule,
};
use crate::identity::{PodUid, cgroup_path};

mod application;
mod monitored;
mod probe;
mod secret;
mod sidecar;

/// A pod with more sources than this gets the first ones and those of its sidecars, and a note. First is what it
/// asks for itself, then ports that are named like metrics, then what was found by probing where no monitor of
/// its own namespace asks for the port, then what those ask for, then what those of others do.
pub const MAX_SOURCES: usize = 8;

/// Of more notes than this the last ones are only counted.
const MAX_NOTES: usize = 32;

/// What is to be read of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The application's sources, then the sidecars'. The order of the merged page.
    pub sources: Vec<Source>,
    /// What was asked for and is not done.
    pub notes: Vec<Note>,
    /// What is to be asked once whether it is a page of metrics.
    pub probes: Vec<Source>,
}

/// What decides beside the pod: settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The profiles of sidecars.
    pub meshes: Meshes,
    /// The namespaces of the cluster of which pods are probed without saying so themselves.
    pub probed_namespaces: BTreeSet<String>,
    /// Which Secrets a pod may name, to be asked with them.
    pub secrets: Rule,
}

/// Plans `pod` by the rules that hold without settings. Its network namespace has just these
/// `listeners`.
#[must_use]
pub fn plan(pod: &Pod, listeners: &[&Listener]) -> Plan {
    Rules::default().plan(pod, listeners, None, &Probed::default())
}

/// Plans `pod`, which is in the host's namespace: of these `listeners` only those are its own that
/// nobody else holds.
#[must_use]
pub fn plan_on_host(pod: &Pod, listeners: &[&Listener], owner: PodUid) -> Plan {
    Rules::default().plan(pod, listeners, Some(owner), &Probed::default())
}

// === impl Rules ===

impl Rules {
    /// Plans `pod`, whose network namespace has just these `listeners`; in the host's, `owner` is the
    /// pod that has to hold them. `probed` is what is known of listeners that were asked.
    #[must_use]
    pub fn plan(
        &self,
        pod: &Pod,
        listeners: &[&Listener],
        owner: Option<PodUid>,
        probed: &Probed,
    ) -> Plan {
        let planner = Planner { rules: self, pod, listeners, owner };
        let mut asked = planner.asked();
        let mut notes = std::mem::take(&mut asked.notes);
        let is_declined = asked.scrape == Some(false);
        if is_declined {
            let declined = |e: &annotations::Endpoint| Note::DeclinedAll { by: e.by.clone() };
            notes.push(Note::Declined);
            notes.extend(asked.endpoints.first().map(declined));
            asked = Asked { probe: Some(false), ..Asked::default() };
        }
        // They are the last to be told: others may make as many of them as they like.
        let mut remarks = Vec::new();
        let monitored = planner.monitored(&mut remarks);
        let sidecars = if is_declined {
            planner.sidecars_at(&monitored)
        } else {
            planner.sidecars(&mut notes)
        };
        let mut sources = planner.applications_sources(&asked, &sidecars, &mut notes);
        planner.secrets(&mut sources, &mut notes);
        let n_own = sources.len();
        let Monitored { own, foreign, guarded } = &monitored;
        planner.guarded(guarded, &sources, &mut remarks);
        planner.monitored_sources(own, &asked, &sidecars, &mut sources, &mut remarks);
        let (found, probes) = planner.probes(&asked, &sidecars, &sources, probed);
        sources.splice(n_own..n_own, found);
        // The last, so that nothing is left out for them, and no probe.
        planner.monitored_sources(foreign, &asked, &sidecars, &mut sources, &mut remarks);
        let room = MAX_SOURCES.saturating_sub(sidecars.sources.len());
        notes.extend(sidecars.may_repeat(sources.iter().take(room)));
        notes.append(&mut remarks);
        if sources.len() > room {
            notes.push(Note::TooMany { left_out: sources.len() - room });
            sources.truncate(room);
        }
        sources.extend(sidecars.sources);
        sources.truncate(MAX_SOURCES);
        tell_apart(&mut sources);
        if !probes.is_empty() {
            notes.push(Note::Unprobed { ports: probes.iter().map(|probe| probe.port).collect() });
        }
        if sources.is_empty() && notes.is_empty() {
            notes.push(Note::NotAsked);
        }
        Plan { sources, notes: bounded(notes), probes }
    }
}

fn bounded(mut notes: Vec<Note>) -> Vec<Note> {
    if notes.len() > MAX_NOTES {
        let left_out = notes.len() - MAX_NOTES;
        notes.truncate(MAX_NOTES);
        notes.push(Note::TooManyNotes { left_out });
    }
    // A plan stays as long as its pod, and the room for notes that were not kept with it.
    notes.shrink_to_fit();
    notes
}

/// Two pages of one port are two endpoints: the first has the name of the port, the others their path
/// behind it.
fn tell_apart(sources: &mut [Source]) {
    for at in 1..sources.len() {
        let (before, rest) = sources.split_at_mut(at);
        let source = &mut rest[0];
        let same =
            |s: &Source| (&s.container, &s.endpoint) == (&source.container, &source.endpoint);
        if before.iter().any(same) {
            source.endpoint += &source.path;
        }
    }
}

struct Planner<'a> {
    rules: &'a Rules,
    pod: &'a Pod,
    listeners: &'a [&'a Listener],
    /// [`Source::owner`].
    owner: Option<PodUid>,
}

// === impl Planner ===

impl<'a> Planner<'a> {
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
            secret: None,
            only: None,
        }
    }

    fn applications(&self) -> impl Iterator<Item = &'a Container> {
        let meshes = &self.rules.meshes;
        self.pod.containers.iter().filter(|container| meshes.profile(container).is_none())
    }

    /// The mesh whose proxy has `port`, where the pod has such a proxy.
    fn reserving(&self, port: NonZeroU16) -> Option<&'a str> {
        let mut profiles = self.pod.containers.iter().filter_map(|c| self.rules.meshes.profile(c));
        let moved =
            |name: &String| self.pod.annotations.get(name).and_then(|p| annotations::port(p));
        let profile = profiles.find(|Profile { reserved, reserved_by, .. }| {
            reserved.contains(&port.get()) || reserved_by.iter().any(|by| moved(by) == Some(port))
        })?;
        Some(&profile.mesh)
    }

    /// The container that holds a listener on `port`; before it listens, the one that is `said` to, the
    /// one that declares the port, or the only one that there is. None where somebody else holds one.
    fn container_behind(
        &self,
        port: NonZeroU16,
        said: Option<&'a Container>,
    ) -> Option<&'a Container> {
        if self.foreign_on(port).is_some() {
            return None;
        }
        self.holder_of(port)
            .or(said)
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
        self.holders_of(port).flatten().next()
    }

    /// The container of each process that holds a listener on `port`. None for one whose container is not
    /// known: the pod's status lags behind one that was started again.
    fn holders_of(&self, port: NonZeroU16) -> impl Iterator<Item = Option<&'a Container>> {
        self.on(port).flat_map(|listener| &listener.holders).map(move |holder| {
            let owner = cgroup_path::owner(&holder.cgroup)?;
            let id = owner.container_id.filter(|_| owner.pod_uid == self.pod.uid)?;
            self.pod.containers.iter().find(|c| c.id.as_ref() == Some(&id))
        })
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
        match (reachable(&bound, port), self.intercepting()) {
            (State::Ready(addresses), Some(mesh)) => not_intercepted(addresses, mesh),
            (state, _) => state,
        }
    }

    /// The mesh whose sidecar takes what is sent to the pod's own address from within.
    fn intercepting(&self) -> Option<&'a str> {
        let profiles = self.pod.containers.iter().filter_map(|c| self.rules.meshes.profile(c));
        let mut found = profiles.filter(|profile| profile.intercepts(&self.pod.annotations));
        found.next().map(|profile| profile.mesh.as_str())
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

/// Those of these addresses that a sidecar of `mesh` leaves alone, which are those of loopback.
fn not_intercepted(mut addresses: Vec<SocketAddr>, mesh: &str) -> State {
    let intercepted = addresses.iter().map(SocketAddr::ip).find(|ip| !ip.is_loopback());
    addresses.retain(|address| address.ip().is_loopback());
    match intercepted.filter(|_| addresses.is_empty()) {
        Some(ip) => State::Refused(Refusal::Intercepted(ip, mesh.to_owned())),
        None => State::Ready(addresses),
    }
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

#[cfg(test)]
mod tests;
