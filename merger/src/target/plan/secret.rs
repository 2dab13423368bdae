//! With which Secret each source of an application is asked, or why with none: then it is not asked at
//! all, since nobody who wants to be shown a token expects to be asked without.
//!
//! What a `PodMonitor` asks for is asked with none: whoever makes one, which may be in another namespace, chooses
//! the path, and a token is for those paths that the pod's owner chose.

use super::Planner;
use crate::target::{
    Reason, Refusal, Source, State,
    annotations::secret::{Named, named},
    note::Note,
    secret::{Denied, SecretRef},
};

// === impl Planner ===

impl Planner<'_> {
    /// Names the Secret of each of these sources. That of a container goes before that of the pod.
    pub(super) fn secrets(&self, sources: &mut [Source], notes: &mut Vec<Note>) {
        let containers: Vec<&str> = self.pod.containers.iter().map(|c| &*c.name).collect();
        let named = named(&self.pod.annotations, &containers);
        let named: Vec<_> =
            named.into_iter().map(|one| (self.secret(&one), one.container)).collect();
        let denied = named.iter().filter_map(|(secret, _)| secret.as_ref().err());
        notes.extend(denied.cloned().map(Note::Secret));
        for source in sources {
            if matches!(source.reason, Reason::Monitor(_)) {
                continue;
            }
            let of = |who: Option<&str>| named.iter().find(|(_, said)| said.as_deref() == who);
            let container = containers.iter().find(|name| **name == source.container);
            let own = container.and_then(|name| of(Some(name)));
            let of_all = of(None).filter(|_| !self.is_sidecars(source));
            match own.or(of_all) {
                Some((Ok(secret), _)) => source.secret = Some(secret.clone()),
                Some((Err(denied), _)) if !matches!(source.state, State::Refused(_)) => {
                    source.state = State::Refused(Refusal::Secret(denied.clone()));
                }
                None | Some((Err(_), _)) => {}
            }
        }
    }

    /// Whether a sidecar listens where the pod asks for a source: what all applications are asked with is
    /// not its own.
    fn is_sidecars(&self, source: &Source) -> bool {
        let mut containers = self.pod.containers.iter().filter(|c| c.name == source.container);
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
