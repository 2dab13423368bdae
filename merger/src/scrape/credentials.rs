//! What sources are asked with: the Secrets that are known, made ready to be shown.
//!
//! This is the only place where the agent has them by name: a source says which one it is asked with, and
//! what it says is in no target, plan or page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;

use super::{Error, tls::Tls};
use crate::target::secret::{Fault, Hidden, Identity, Secret, SecretRef, Secrets, Unread};

/// All of them.
pub(super) struct Credentials {
    /// For sources that say nothing.
    bare: Arc<Credential>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What was told last.
    told: Arc<Secrets>,
    ready: BTreeMap<SecretRef, Result<Arc<Credential>, Unread>>,
}

/// How one source is asked.
pub(super) struct Credential {
    /// The value of `Authorization`.
    pub(super) authorization: Option<HeaderValue>,
    /// For sources that speak TLS.
    pub(super) tls: Tls,
    /// [`Secret::stale`].
    pub(super) stale: Option<Unread>,
}

// === impl Credentials ===

impl Credentials {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let bare = Credential { authorization: None, tls: Tls::new()?, stale: None };
        Ok(Self { bare: Arc::new(bare), known: Mutex::default() })
    }

    /// Takes what is known by now in the place of what was. Of a Secret that is as it was, what was made
    /// of it stays.
    pub(super) fn tell(&self, secrets: &Arc<Secrets>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { told, ready } = &mut *known;
        if Arc::ptr_eq(told, secrets) {
            return;
        }
        let mut before = std::mem::take(ready);
        for (name, secret) in &**secrets {
            let same = before.remove(name).filter(|_| told.get(name) == Some(secret));
            let made = same.unwrap_or_else(|| match secret {
                Ok(secret) => self.made(secret).map(Arc::new).map_err(Unread::from),
                Err(unread) => Err(*unread),
            });
            ready.insert(name.clone(), made);
        }
        *told = Arc::clone(secrets);
    }

    /// What a source is asked with that names `secret`.
    pub(super) fn of(&self, secret: Option<&SecretRef>) -> Result<Arc<Credential>, Error> {
        let Some(secret) = secret else { return Ok(Arc::clone(&self.bare)) };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = known.ready.get(secret).cloned().unwrap_or(Err(Unread::NotYet));
        ready.map_err(|why| Error::Secret { secret: secret.clone(), why })
    }

    fn made(&self, Secret { identity, ca, stale }: &Secret) -> Result<Credential, Fault> {
        let authorization = identity.as_ref().map(header).transpose()?;
        let tls = match ca {
            None => self.bare.tls.clone(),
            Some(Hidden(ca)) => Tls::trusting(ca).map_err(|_| Fault::Ca)?,
        };
        Ok(Credential { authorization, tls, stale: *stale })
    }
}

/// The value of `Authorization`, which nobody prints.
fn header(identity: &Identity) -> Result<HeaderValue, Fault> {
    let (value, fault) = match identity {
        Identity::Bearer(Hidden(token)) => ([b"Bearer ", &**token].concat(), Fault::Token),
        Identity::Basic(Hidden(login)) => {
            (format!("Basic {}", STANDARD.encode(login)).into_bytes(), Fault::Login)
        }
    };
    let mut value =
        HeaderValue::from_maybe_shared(hyper::body::Bytes::from(value)).map_err(|_| fault)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SecretRef {
        SecretRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn hidden(text: &str) -> Hidden {
        Hidden(text.as_bytes().to_vec())
    }

    fn bearer(token: &str) -> Secret {
        Secret { identity: Some(Identity::Bearer(hidden(token))), ca: None, stale: None }
    }

    #[track_caller]
    fn check(credentials: &Credentials, named: &str, expected: Result<&str, Unread>) {
        let found = credentials.of(Some(&name(named)));
        let found = found.map(|credential| credential.authorization.clone());
        match (found, expected) {
            (Ok(Some(found)), Ok(expected)) => assert_eq!(found.as_bytes(), expected.as_bytes()),
            (Err(Error::Secret { secret, why }), Err(expected)) => {
                assert_eq!((secret, why), (name(named), expected));
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_source_is_asked_with_the_newest_of_what_it_names_and_else_not_at_all() {
        let credentials = Credentials::new().unwrap();
        check(&credentials, "a", Err(Unread::NotYet));
        let login = Secret {
            identity: Some(Identity::Basic(hidden("Aladdin:open sesame"))),
            ca: None,
            stale: None,
        };
        let told = [
            (name("a"), Ok(bearer("one"))),
            (name("b"), Ok(login)),
            (name("c"), Err(Unread::Missing)),
        ];
        credentials.tell(&Arc::new(told.into()));
        check(&credentials, "a", Ok("Bearer one"));
        // RFC 7617, section 2.
        check(&credentials, "b", Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        check(&credentials, "c", Err(Unread::Missing));
        let before = credentials.of(Some(&name("a"))).unwrap();
        credentials.tell(&Arc::new(
            [(name("a"), Ok(bearer("one"))), (name("c"), Ok(bearer("two")))].into(),
        ));
        assert!(
            Arc::ptr_eq(&before, &credentials.of(Some(&name("a"))).unwrap()),
            "it is as it was"
        );
        check(&credentials, "b", Err(Unread::NotYet));
        check(&credentials, "c", Ok("Bearer two"));
        assert!(credentials.of(None).unwrap().authorization.is_none());
    }

    #[test]
    fn a_header_is_printed_by_nobody() {
        let header = header(&Identity::Bearer(hidden("hunter2"))).unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[test]
    fn authorities_that_are_none_are_a_fault() {
        let credentials = Credentials::new().unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for ca in ["", "hunter2", broken] {
            let secret = Secret { identity: None, ca: Some(hidden(ca)), stale: None };
            credentials.tell(&Arc::new([(name("a"), Ok(secret))].into()));
            check(&credentials, "a", Err(Unread::Unusable(Fault::Ca)));
        }
    }
}
