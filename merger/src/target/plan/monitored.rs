//! What `PodMonitor`s ask of the pod: which of its ports, and how each is read.
//!
//! As for the operator, a port is one that a container declares; what one endpoint asks of several is
//! one endpoint for each here. Whether they become sources is decided as for those of annotations.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

use super::{Planner, sidecar::Sidecars};
use crate::target::{
    Asker, Container, Source,
    annotations::{Asked, At, Endpoint},
    monitor::{self, Remark, Unmet, What},
    note::Note,
};

/// Of more endpoints with their ports the last ones are not read: many more than become sources.
const MAX_ASKED: usize = 64;

/// The endpoints that `PodMonitor`s ask for, by the numbers of their ports: [`MAX_ASKED`] at most.
#[derive(Debug, Default)]
pub(super) struct Monitored<'a> {
    /// Of monitors in the pod's own namespace.
    pub(super) own: Vec<Endpoint>,
    /// Of others: one of each namespace, then the second of each.
    pub(super) foreign: Vec<Endpoint>,
    /// Of any, those that want to know who asks.
    pub(super) guarded: Vec<&'a monitor::Endpoint>,
}

// === impl Planner ===

impl<'a> Planner<'a> {
    /// What is asked for, and what of it is not done, but for what is `guarded`.
    pub(super) fn monitored(&self, notes: &mut Vec<Note>) -> Monitored<'a> {
        let (mut of, mut remarks) = (BTreeMap::<&str, Vec<Endpoint>>::new(), Vec::new());
        let monitor::Monitored { endpoints: all, left_out } = &self.pod.monitored;
        let (mut left_out, mut guarded) = (*left_out, Vec::new());
        for asked in all {
            let endpoints = of.entry(asked.namespace()).or_default();
            let room = MAX_ASKED - endpoints.len();
            if room == 0 {
                left_out += 1;
                continue;
            }
            if asked.unmet.is_some_and(Unmet::has_remedy) {
                guarded.push(&**asked);
                continue;
            }
            match self.endpoints_of(asked, &mut remarks) {
                Ok(found) => {
                    left_out += found.len().saturating_sub(room);
                    endpoints.extend(found.into_iter().take(room));
                }
                Err(remark) => remarks.push(Note::Monitor(remark)),
            }
        }
        let own = of.remove(self.pod.name.namespace.as_str()).unwrap_or_default();
        let n_foreign: usize = of.values().map(Vec::len).sum();
        let foreign = in_turns(of.into_values(), MAX_ASKED - own.len());
        left_out += n_foreign - foreign.len();
        // What is wrong with a monitor is wrong with each of its endpoints, mostly.
        for remark in remarks {
            if !notes.contains(&remark) {
                notes.push(remark);
            }
        }
        notes.extend((left_out > 0).then_some(Note::MonitorsLeftOut(left_out)));
        Monitored { own, foreign, guarded }
    }

    /// Notes which endpoints are not read as nobody is asked with a password for a monitor. A page that the
    /// pod itself has asked with a Secret is among its `own` sources, and then there is nothing to be said.
    pub(super) fn guarded(
        &self,
        guarded: &[&monitor::Endpoint],
        own: &[Source],
        notes: &mut Vec<Note>,
    ) {
        for asked in guarded {
            let Some(unmet) = asked.unmet else { continue };
            let remark = Note::Monitor(asked.remark(What::Unmet(unmet)));
            if !self.is_asked_with_secret(asked, own) && !notes.contains(&remark) {
                notes.push(remark);
            }
        }
    }

    fn is_asked_with_secret(&self, asked: &monitor::Endpoint, own: &[Source]) -> bool {
        let (Ok(at), Ok(path)) = (asked.at(), asked.page()) else { return false };
        let ports = self.ports(at.as_ref());
        let is_asked = |port: &NonZeroU16| {
            own.iter().any(|s| s.port == *port && s.path == path && s.secret.is_some())
        };
        !ports.is_empty() && ports.iter().all(is_asked)
    }

    /// The ports that an endpoint is at.
    fn ports(&self, at: Option<&At>) -> BTreeSet<NonZeroU16> {
        let all = self.pod.containers.iter();
        match at {
            None => declared(self.applications(), |_, _| true),
            Some(At::Name(said)) => declared(all, |name, _| name == Some(said)),
            Some(At::Number(said)) => declared(all, |_, number| number == *said),
        }
    }

    fn endpoints_of(
        &self,
        asked: &monitor::Endpoint,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Endpoint>, Remark> {
        if let Some(unmet) = asked.unmet {
            return Err(asked.remark(What::Unmet(unmet)));
        }
        let (at, scheme, path) = (asked.at()?, asked.scheme()?, asked.page()?);
        if asked.chooses && at.is_some() {
            notes.push(Note::Monitor(asked.remark(What::Chooses)));
        }
        let by = Asker::Monitor(asked.shown_monitor());
        if asked.chooses && at.is_none() {
            return Err(asked.remark(What::ChoosesPort));
        }
        let ports = self.ports(at.as_ref());
        if ports.is_empty() {
            let remark = |what| Note::Monitor(asked.remark(what));
            notes.push(match at {
                None => remark(What::NoPort),
                Some(At::Name(port)) => Note::UnknownPort { by, port },
                Some(At::Number(port)) => remark(What::Undeclared(port)),
            });
            return Ok(Vec::new());
        }
        let endpoint = |port| {
            let (at, path, by) = (At::Number(port), path.clone(), by.clone());
            Endpoint { at, scheme, path, by, container: None, address: None }
        };
        Ok(ports.into_iter().map(endpoint).collect())
    }

    /// The sources that `monitored` endpoints are beside those that are `known`.
    pub(super) fn monitored_sources(
        &self,
        monitored: &[Endpoint],
        asked: &Asked,
        sidecars: &Sidecars,
        known: &mut Vec<Source>,
        notes: &mut Vec<Note>,
    ) {
        for endpoint in monitored {
            let At::Number(port) = endpoint.at else { continue };
            // It is on the sidecar's page already, whoever asks for it.
            let is_same = |other: &&Endpoint| {
                self.number(&other.at, None) == Some(port) && other.path == endpoint.path
            };
            let held = asked.endpoints.iter().filter(is_same);
            let is_read = known.iter().any(|s| s.port == port && s.path == endpoint.path);
            if !is_read && let Some(mesh) = { held }.find_map(|other| sidecars.holding(&other.by)) {
                let (by, mesh) = (endpoint.by.clone(), mesh.to_owned());
                notes.push(Note::Repeated { by, port, mesh });
                continue;
            }
            // Asked for by its own port a sidecar's page is read, as the sidecar's.
            if !sidecars.has(port)
                && let Some(source) = self.asked_source(endpoint, sidecars, known, notes)
            {
                known.push(source);
            }
        }
    }
}

/// The first of each list, then the second of each, as many as there is `room` for.
fn in_turns<T>(lists: impl Iterator<Item = Vec<T>>, room: usize) -> Vec<T> {
    let mut lists: Vec<_> = lists.map(Vec::into_iter).collect();
    let mut all = Vec::new();
    while !lists.is_empty() && all.len() < room {
        lists.retain_mut(|list| {
            let next = list.next();
            let is_there = next.is_some();
            all.extend(next);
            is_there
        });
    }
    all.truncate(room);
    all
}

/// The ports that `containers` declare, each once, whose name and number are right.
fn declared<'c>(
    containers: impl Iterator<Item = &'c Container>,
    is_right: impl Fn(Option<&String>, NonZeroU16) -> bool,
) -> BTreeSet<NonZeroU16> {
    let ports = containers.flat_map(|container| &container.ports);
    let right = ports.filter(|port| is_right(port.name.as_ref(), port.number));
    right.map(|port| port.number).collect()
}
