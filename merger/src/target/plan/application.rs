//! The applications' sources: what the pod's annotations ask for, and ports that are named like
//! metrics.

use std::{collections::BTreeMap, num::NonZeroU16};

use super::{Planner, sidecar::Sidecars};
use crate::target::{
    Asker, Container, Reason, Scheme, Source,
    annotations::{self, Asked, At, Endpoint, istio, prometheus},
    mesh::Profile,
    note::Note,
};

/// The path that most applications have, and some sidecars.
const EVERYBODYS: &str = "/metrics";

// === impl Planner ===

impl Planner<'_> {
    /// What the pod asks for by its own will: where an injector has written over its annotations, what
    /// they were before.
    pub(super) fn asked(&self) -> Asked {
        let Some((container, profile)) = self.injected() else {
            return self.read(&self.pod.annotations);
        };
        match container.env.get(istio::ORIGINALS) {
            Some(originals) => match istio::recovered(&self.pod.annotations, originals) {
                Ok(own) => self.read_recovered(&own),
                Err(malformed) => self.read_injected(Note::Malformed(malformed)),
            },
            None => self.read_injected(Note::Injected { mesh: profile.mesh.clone() }),
        }
    }

    /// The sidecar whose injector has written the pod's port and path. What Istio's has put aside says so
    /// whatever the port: it writes that of the mesh's settings, which no pod shows.
    fn injected(&self) -> Option<(&Container, &Profile)> {
        let (port, path) = prometheus::page(&self.pod.annotations)?;
        self.pod.containers.iter().find_map(|container| {
            let profile = self.rules.meshes.profile(container)?;
            let page = profile.injected.as_ref()?;
            let said = |name: &Option<String>| self.pod.annotations.get(name.as_ref()?);
            let moved = said(&page.port_annotation).and_then(|p| annotations::port(p));
            let is_port =
                port == moved.unwrap_or(page.port) || container.env.contains_key(istio::ORIGINALS);
            let is_path = path == *said(&page.path_annotation).unwrap_or(&page.path);
            (is_port && is_path).then_some((container, profile))
        })
    }

    fn read(&self, annotations: &BTreeMap<String, String>) -> Asked {
        let declared = self.applications().flat_map(|c| c.ports.iter().map(|port| port.number));
        let containers: Vec<&str> = self.pod.containers.iter().map(|c| &*c.name).collect();
        annotations::read(annotations, declared, &containers)
    }

    fn read_recovered(&self, own: &BTreeMap<String, String>) -> Asked {
        let mut asked = self.read(own);
        let endpoints = asked.endpoints.iter_mut().filter_map(|endpoint| match &mut endpoint.by {
            Asker::Annotation(annotation) => Some(annotation),
            Asker::Monitor(_) => None,
        });
        let malformed = asked.notes.iter_mut().filter_map(|note| match note {
            Note::Malformed(malformed) => Some(&mut malformed.annotation),
            _ => None,
        });
        for annotation in endpoints.chain(malformed) {
            // The pod has a port and a path of these names as well, which are the injector's.
            let is_recovered = match annotation.as_str() {
                prometheus::PORT | prometheus::PATH => true,
                istio::TARGETS => !self.pod.annotations.contains_key(istio::TARGETS),
                _ => false,
            };
            if is_recovered {
                *annotation += " in ";
                *annotation += istio::ORIGINALS;
            }
        }
        asked
    }

    /// What is asked for beside the injector's port and path. Where that is nothing, `why`.
    fn read_injected(&self, why: Note) -> Asked {
        let mut asked = self.read(&istio::without_page(&self.pod.annotations));
        // That it is to be scraped is the injector's word as well.
        asked.named = None;
        let is_told = asked.endpoints.is_empty() && self.applications().next().is_some();
        if is_told || matches!(why, Note::Malformed(_)) {
            asked.notes.push(why);
        }
        asked
    }

    pub(super) fn applications_sources(
        &self,
        asked: &Asked,
        sidecars: &Sidecars,
        notes: &mut Vec<Note>,
    ) -> Vec<Source> {
        let mut sources = Vec::new();
        for endpoint in &asked.endpoints {
            if let Some(source) = self.asked_source(endpoint, sidecars, &sources, notes) {
                sources.push(source);
            }
        }
        if let Some((scheme, path)) = &asked.named {
            sources = self.named(*scheme, path, sidecars);
            if sources.is_empty() {
                notes.push(Note::NoPort);
            }
        }
        sources
    }

    /// The source of an endpoint, unless it is one already, or is not to be one.
    pub(super) fn asked_source(
        &self,
        endpoint: &Endpoint,
        sidecars: &Sidecars,
        known: &[Source],
        notes: &mut Vec<Note>,
    ) -> Option<Source> {
        let Endpoint { at, scheme, path, by, container, address: _ } = endpoint;
        let by = || by.clone();
        let named =
            container.as_ref().and_then(|n| self.pod.containers.iter().find(|c| c.name == *n));
        let Some(port) = self.number(at, named) else {
            let At::Name(port) = at else { return None };
            notes.push(Note::UnknownPort { by: by(), port: port.clone() });
            return None;
        };
        // It is asked for, and it is read: as the sidecar's.
        if sidecars.reads(port, path) {
            return None;
        }
        if let Some(mesh) = self.reserving(port) {
            notes.push(Note::Reserved { by: by(), port, mesh: mesh.to_owned() });
            return None;
        }
        if sidecars.has(port) {
            return None;
        }
        if let Some(first) = known.iter().find(|s| s.port == port && s.path == *path) {
            if first.scheme != *scheme {
                notes.push(contradiction(first, endpoint, port));
            }
            return None;
        }
        if let Some(mesh) = sidecars.holding(&by()) {
            notes.push(Note::Repeated { by: by(), port, mesh: mesh.to_owned() });
            return None;
        }
        if let Some(mesh) = self.sidecar_on(port, endpoint, sidecars) {
            notes.push(Note::SidecarListens { by: by(), port, mesh: mesh.to_owned() });
            return None;
        }
        self.note_place(endpoint, port, notes);
        let behind = self.container_behind(port, named);
        Some(self.source(behind, port, *scheme, path, by().into()))
    }

    /// The mesh whose sidecar, and no application, listens on `port`, where its injector writes a port of the
    /// sidecar's over the application's: the mesh's settings may have moved that to any. Not where nothing is
    /// read of the sidecar, nor where `endpoint` is said to be of it.
    fn sidecar_on(
        &self,
        port: NonZeroU16,
        endpoint: &Endpoint,
        sidecars: &Sidecars,
    ) -> Option<&str> {
        let profile = |container: &Container| {
            let profile = self.rules.meshes.profile(container)?;
            Some((profile, profile.injected.as_ref()?))
        };
        let holders: Vec<&Container> = self.holders_of(port).flatten().collect();
        if holders.iter().any(|holder| profile(holder).is_none()) {
            return None;
        }
        // Where the pod's status does not name who listens, a path tells that no application has.
        let has_path = |container: &&Container| {
            let injected = profile(container).map(|(_, injected)| &*injected.path);
            injected == Some(&*endpoint.path) && injected != Some(EVERYBODYS)
        };
        let unknown = || self.pod.containers.iter().filter(|_| self.on(port).next().is_some());
        let sidecar = holders.first().copied().or_else(|| unknown().find(has_path))?;
        let is_read = sidecars.sources.iter().any(|source| source.container == sidecar.name);
        let is_said = endpoint.container.as_ref() == Some(&sidecar.name);
        profile(sidecar).filter(|_| is_read && !is_said).map(|(profile, _)| &*profile.mesh)
    }

    /// Notes where what listens is not where, or whose, who asks for it says.
    fn note_place(&self, endpoint: &Endpoint, port: NonZeroU16, notes: &mut Vec<Note>) {
        let by = || endpoint.by.clone();
        let holder = self.holder_of(port).map(|container| &container.name);
        if let (Some(said), Some(holder)) = (&endpoint.container, holder)
            && said != holder
        {
            let holder = holder.clone();
            notes.push(Note::OtherContainer { by: by(), port, holder });
        }
        if let Some(address) = endpoint.address {
            let mut bound =
                self.on(port).map(|listener| listener.address.to_canonical()).peekable();
            let listens = bound.peek().is_some();
            if listens && !bound.any(|bound| bound.is_unspecified() || bound == address) {
                notes.push(Note::OtherAddress { by: by(), port, address });
            }
        }
    }

    /// The number of a port, by name that of `container` or of the first that has one.
    pub(super) fn number(&self, at: &At, container: Option<&Container>) -> Option<NonZeroU16> {
        let name = match at {
            At::Number(number) => return Some(*number),
            At::Name(name) => name,
        };
        let of = |container: &Container| {
            let mut ports = container.ports.iter();
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.number)
        };
        match container {
            Some(container) => of(container),
            None => self.pod.containers.iter().find_map(of),
        }
    }

    fn named(&self, scheme: Scheme, path: &str, sidecars: &Sidecars) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for container in self.applications() {
            for port in container.ports.iter().filter(|port| says_metrics(port.name.as_deref())) {
                let is_known = sources.iter().any(|source| source.port == port.number)
                    || sidecars.has(port.number);
                if !is_known && self.reserving(port.number).is_none() {
                    let container = Some(container);
                    let reason = Reason::NamedPort;
                    sources.push(self.source(container, port.number, scheme, path, reason));
                }
            }
        }
        sources
    }
}

fn contradiction(first: &Source, second: &Endpoint, port: NonZeroU16) -> Note {
    let url = |scheme: Scheme, path: &str| {
        annotations::shortened(&format!("{}://:{port}{path}", scheme.as_str()))
    };
    let counted = match &first.reason {
        Reason::Annotation(annotation) => annotation.clone(),
        other => other.to_string(),
    };
    Note::Contradiction {
        counted,
        value: url(first.scheme, &first.path),
        ignored: second.by.clone(),
        other: url(second.scheme, &second.path),
    }
}

fn says_metrics(name: Option<&str>) -> bool {
    name.is_some_and(|name| {
        matches!(name, "metrics" | "http-metrics" | "prometheus") || name.ends_with("-metrics")
    })
}
