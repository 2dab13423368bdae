//! With which Secret each source of an application is asked, or why with none: then it is not asked at
//! all, since nobody who wants to be shown a token expects to be asked without.
//!
//! What a `PodMonitor` asks for comes after this, and is asked with none: whoever makes one, which may be in
//! another namespace, chooses the path, and a token is for those paths that the pod's owner chose.

use super::Planner;
use crate::target::{
    Container, Refusal, Source, State,
    annotations::secret::{Named, named},
    note::Note,
    secret::{Denied, SecretRef},
};

// === impl Planner ===

impl Planner<'_> {
    /// Names the Secret of each of these sources. That of a container goes before that of the pod.
    ///
    /// Which container a source is of may be a guess; whom a Secret is shown to is none. So where somebody
    /// listens, everybody who does has to be of a container that is known and is asked with that very one.
    pub(super) fn secrets(&self, sources: &mut [Source], notes: &mut Vec<Note>) {
        let containers: Vec<&str> = self.pod.containers.iter().map(|c| &*c.name).collect();
        let named = named(&self.pod.annotations, &containers);
        let named: Vec<_> =
            named.into_iter().map(|one| (self.secret(&one), one.container)).collect();
        let denied = named.iter().filter_map(|(secret, _)| secret.as_ref().err());
        notes.extend(denied.cloned().map(Note::Secret));
        // What is said of a container counts before what is said of all applications.
        let of = |container: &str| {
            let said = |who: Option<&str>| named.iter().find(|(_, said)| said.as_deref() == who);
            let own = said(Some(container));
            let secret = own.or_else(|| said(None).filter(|_| !self.is_sidecar(container)));
            secret.map(|(secret, _)| secret)
        };
        for source in sources {
            let is_ready = matches!(source.state, State::Ready(_));
            match of(&source.container) {
                Some(Ok(secret)) => {
                    let is_that = |holder: Option<&Container>| {
                        holder.and_then(|c| of(&c.name)) == Some(&Ok(secret.clone()))
                    };
                    if is_ready && !self.holders_of(source.port).all(is_that) {
                        source.state = State::Refused(Refusal::UnknownContainer);
                    }
                    source.secret = Some(secret.clone());
                }
                Some(Err(denied)) if !matches!(source.state, State::Refused(_)) => {
                    source.state = State::Refused(Refusal::Secret(denied.clone()));
                }
                None | Some(Err(_)) => {}
            }
        }
    }

    /// Whether it is a sidecar, which may listen where the pod asks for a source: what all applications are
    /// asked with is not its own.
    fn is_sidecar(&self, container: &str) -> bool {
        let mut containers = self.pod.containers.iter().filter(|c| c.name == container);
        containers.any(|container| self.rules.meshes.profile(container).is_some())
    }

    fn secret(
        &self,
        Named { annotation, container: _, name }: &Named,
    ) -> Result<SecretRef, Denied> {
        let namespace = &self.pod.name.namespace;
        self.rules.secrets.check(annotation, namespace)?;
        let name = name.clone().map_err(Denied::Malformed)?;
        Ok(SecretRef { namespace: namespace.clone(), name })
    }
}
