//! Probing: which listeners are asked whether they are a page of metrics, and what is known of those
//! that were.
//!
//! Only where the pod or its namespace asks for it, only once for each listener, and never a port of a
//! proxy. Here it is decided; who asks, and remembers, is somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU16,
};

use super::{Planner, sidecar::Sidecars};
use crate::{
    identity::Cookie,
    target::{Listener, Reason, Scheme, Source, State, annotations::Asked},
};

/// What a page is asked for that nobody has described.
const PATH: &str = "/metrics";

/// Of more ports than this the others are planned when these were asked.
const MAX_PROBES: usize = 16;

/// What a listener was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered with an exposition: it is a source.
    Metrics,
    /// It answered with anything else, or not at all: it is left alone.
    Other,
}

/// What is known of listeners that were asked. A listener is the same one as long as any process that held
/// it at the last look still does: workers come and go. One that is gone, or held by others alone, is not
/// known any more: whoever listens anew is asked anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed(BTreeMap<Place, Known>);

/// Where a listener is: there is one at each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    netns: Cookie,
    port: NonZeroU16,
    address: IpAddr,
}

/// A listener that was asked. A process that closes its socket and opens it again between two looks is not
/// seen to have done so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// Who held it at the last look.
    pids: BTreeSet<u32>,
    verdict: Verdict,
}

// === impl Probed ===

impl Probed {
    /// Remembers what came of asking a port: each of the listeners that may have answered.
    pub fn record<'a>(
        &mut self,
        listeners: impl IntoIterator<Item = &'a Listener>,
        verdict: Verdict,
    ) {
        let known = |one: &'a Listener| (Place::of(one), Known { pids: pids(one), verdict });
        self.0.extend(listeners.into_iter().map(known));
    }

    /// Forgets all that are not among `listeners`, and takes note of who holds the others by now.
    pub fn retain<'a>(&mut self, listeners: impl IntoIterator<Item = &'a Listener>) {
        if self.0.is_empty() {
            return;
        }
        let before = std::mem::take(self);
        for listener in listeners {
            if let Some(verdict) = before.verdict(listener) {
                self.0.insert(Place::of(listener), Known { pids: pids(listener), verdict });
            }
        }
    }

    /// What is known of `listener`.
    #[must_use]
    pub fn verdict(&self, listener: &Listener) -> Option<Verdict> {
        let Known { pids, verdict } = self.0.get(&Place::of(listener))?;
        listener.holders.iter().any(|holder| pids.contains(&holder.pid)).then_some(*verdict)
    }
}

fn pids(listener: &Listener) -> BTreeSet<u32> {
    listener.holders.iter().map(|holder| holder.pid).collect()
}

// === impl Place ===

impl Place {
    fn of(listener: &Listener) -> Self {
        let Listener { netns, address, port, holders: _, doubt: _ } = listener;
        Self { netns: *netns, port: *port, address: *address }
    }
}

// === impl Planner ===

impl Planner<'_> {
    /// The sources that probing has found, and what is still to be asked.
    pub(super) fn probes(
        &self,
        asked: &Asked,
        sidecars: &Sidecars,
        known: &[Source],
        probed: &Probed,
    ) -> (Vec<Source>, Vec<Source>) {
        let (mut sources, mut probes) = (Vec::new(), Vec::new());
        let by_namespace = || self.rules.probed_namespaces.contains(&self.pod.name.namespace);
        if !asked.probe.unwrap_or_else(by_namespace) {
            return (sources, probes);
        }
        let ports: BTreeSet<NonZeroU16> = self.listeners.iter().map(|l| l.port).collect();
        for port in ports {
            let is_known = known.iter().any(|source| source.port == port);
            if is_known || sidecars.has(port) || !self.may_be_probed(port) {
                continue;
            }
            let verdicts: Vec<_> = self.on(port).map(|listener| probed.verdict(listener)).collect();
            let source = self.source(self.holder_of(port), port, Scheme::Http, PATH, Reason::Probe);
            if verdicts.contains(&Some(Verdict::Metrics)) {
                sources.push(source);
            } else if verdicts.contains(&None)
                && matches!(source.state, State::Ready(_))
                && probes.len() < MAX_PROBES
            {
                probes.push(source);
            }
        }
        (sources, probes)
    }

    /// A proxy's port is nobody's page, and what nobody is seen to hold is not tried.
    fn may_be_probed(&self, port: NonZeroU16) -> bool {
        let holder = self.holder_of(port);
        let is_proxys = holder.is_some_and(|c| self.rules.meshes.profile(c).is_some());
        holder.is_some() && !is_proxys && self.reserving(port).is_none()
    }
}

#[cfg(test)]
mod tests;
