//! The sidecars' sources: of each profile the pages that have nothing which is read elsewhere, and what is
//! their own of those that have.

use std::{collections::BTreeSet, num::NonZeroU16};

use super::{Planner, monitored::Monitored};
use crate::target::{
    Asker, Container, Reason, Scheme, Source,
    annotations::{self, At, Malformed},
    mesh::{Page, Part, Profile, Repeat, When},
    note::Note,
};

/// What is read of the sidecars.
#[derive(Debug, Default)]
pub(super) struct Sidecars {
    /// Their pages.
    pub(super) sources: Vec<Source>,
    /// What the names of annotations begin with that ask for what is on a page: with whose it is.
    held: Vec<(String, String)>,
}

// === impl Sidecars ===

impl Sidecars {
    /// Whether a page of theirs is at `port`.
    pub(super) fn has(&self, port: NonZeroU16) -> bool {
        self.sources.iter().any(|source| source.port == port)
    }

    /// Whether the page of theirs at `port` is this one, with whatever query the settings add, and read whole.
    pub(super) fn reads(&self, port: NonZeroU16, path: &str) -> bool {
        let is_it =
            |page: &str| page == path || page.split_once('?').is_some_and(|(p, _)| p == path);
        let mut whole = self.sources.iter().filter(|source| source.only.is_none());
        whole.any(|source| source.port == port && is_it(&source.path))
    }

    /// The mesh whose sidecar has on its page what an annotation asks for.
    pub(super) fn holding(&self, by: &Asker) -> Option<&str> {
        let Asker::Annotation(annotation) = by else { return None };
        let held = self.held.iter().find(|(prefix, _)| annotation.starts_with(prefix))?;
        Some(&held.1)
    }

    /// Where a page of theirs has what the mesh has chosen, which of the applications' sources may stand there
    /// as well.
    pub(super) fn may_repeat<'a>(
        &self,
        applications: impl Iterator<Item = &'a Source>,
    ) -> Option<Note> {
        let (_, mesh) = self.held.first()?;
        let ports: BTreeSet<NonZeroU16> = applications.map(|source| source.port).collect();
        let ports = Vec::from_iter(ports);
        (!ports.is_empty()).then(|| Note::MayRepeat { ports, mesh: mesh.clone() })
    }
}

// === impl Planner ===

impl Planner<'_> {
    pub(super) fn sidecars(&self, notes: &mut Vec<Note>) -> Sidecars {
        let mut sidecars = Sidecars::default();
        for container in &self.pod.containers {
            if let Some(profile) = self.rules.meshes.profile(container) {
                self.sidecar(container, profile, &mut sidecars, notes);
            }
        }
        for profile in self.rules.meshes.profiles() {
            let Some(annotation) = &profile.asked_by else { continue };
            let is_there = self.pod.containers.iter().any(|c| c.name == profile.container);
            if !is_there && self.truth(annotation, notes) == Some(true) {
                let (mesh, container) = (profile.mesh.clone(), profile.container.clone());
                notes.push(Note::NoSidecar { annotation: annotation.clone(), mesh, container });
            }
        }
        sidecars
    }

    /// Of a pod that declines to be scraped, the pages that are asked for all the same, by their ports.
    pub(super) fn sidecars_at(
        &self,
        Monitored { own, foreign, guarded: _ }: &Monitored<'_>,
    ) -> Sidecars {
        let Sidecars { mut sources, held: _ } = self.sidecars(&mut Vec::new());
        let is_asked = |port| own.iter().chain(foreign).any(|e| e.at == At::Number(port));
        sources.retain(|source| is_asked(source.port));
        Sidecars { sources, held: Vec::new() }
    }

    fn sidecar(
        &self,
        container: &Container,
        profile: &Profile,
        sidecars: &mut Sidecars,
        notes: &mut Vec<Note>,
    ) {
        let mesh = || profile.mesh.clone();
        if let Some(annotation) = &profile.switch
            && self.truth(annotation, notes) == Some(false)
        {
            notes.push(Note::SidecarDeclined { annotation: annotation.clone(), mesh: mesh() });
            return;
        }
        let mut taken: Vec<Part> = Vec::new();
        for page in &profile.pages {
            // By that a pod says that there is none: `status.sidecar.istio.io/port` is documented so.
            if self.says(page.port_annotation.as_deref()) == Some("0") {
                continue;
            }
            let port = self.moved(page.port_annotation.as_deref(), annotations::port_of, notes);
            let port = port.unwrap_or(page.port);
            let is_expected = page.when == When::Always || self.has_listener(container, port);
            if !is_expected || taken.contains(&page.of) {
                continue;
            }
            let repeated = self.repeated(page, container);
            let only = if self.is_elsewhere(&repeated, &taken) {
                let Some(own) = page.own.as_ref().filter(|_| profile.takes_own) else { continue };
                Some(own.clone())
            } else {
                sidecars.held.extend(page.holds.iter().map(|prefix| (prefix.clone(), mesh())));
                taken.extend(repeated);
                None
            };
            taken.push(page.of);
            let path = self.moved(page.path_annotation.as_deref(), annotations::page_of, notes);
            let path = path.as_deref().unwrap_or(&page.path);
            let reason = Reason::Sidecar(mesh());
            let source = self.source(Some(container), port, Scheme::Http, path, reason);
            sidecars.sources.push(Source { only, ..source });
        }
        if taken.is_empty() && !profile.pages.is_empty() {
            notes.push(Note::NoPage { mesh: mesh() });
        }
    }

    /// Whether a sidecar listens on `port`, as far as can be seen: what an application listens on there
    /// is not the sidecar's page.
    fn has_listener(&self, sidecar: &Container, port: NonZeroU16) -> bool {
        let is_its_own = self.holder_of(port).is_none_or(|holder| holder.name == sidecar.name);
        is_its_own && self.on(port).next().is_some()
    }

    /// Whose metrics are on a page of this pod as well.
    fn repeated(&self, page: &Page, sidecar: &Container) -> Vec<Part> {
        let repeats = page.repeats.iter().filter(|repeat| !self.is_off(repeat, sidecar));
        repeats.map(|repeat| repeat.what).collect()
    }

    /// Whether one of these is read elsewhere: on a page that is `taken`, or of the application itself.
    fn is_elsewhere(&self, parts: &[Part], taken: &[Part]) -> bool {
        let has_application = || self.applications().next().is_some();
        parts
            .iter()
            .any(|part| taken.contains(part) || *part == Part::Application && has_application())
    }

    fn is_off(&self, Repeat { what: _, unless }: &Repeat, sidecar: &Container) -> bool {
        let Some((name, off)) = unless.as_deref().and_then(|unless| unless.split_once('=')) else {
            return false;
        };
        let said = if name.contains('/') { &self.pod.annotations } else { &sidecar.env };
        said.get(name).is_some_and(|said| said == off)
    }

    fn truth(&self, annotation: &str, notes: &mut Vec<Note>) -> Option<bool> {
        self.moved(Some(annotation), annotations::truth_of, notes)
    }

    fn says(&self, annotation: Option<&str>) -> Option<&str> {
        self.pod.annotations.get(annotation?).map(String::as_str)
    }

    /// What an annotation says; a malformed one is noted, and says nothing.
    fn moved<T>(
        &self,
        annotation: Option<&str>,
        read: fn((&str, &str)) -> Result<T, Malformed>,
        notes: &mut Vec<Note>,
    ) -> Option<T> {
        let said = read((annotation?, self.says(annotation)?));
        said.map_err(|malformed| notes.push(Note::Malformed(malformed))).ok()
    }
}
