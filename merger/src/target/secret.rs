//! What a source is asked with where it does not answer just anybody: a Secret of the pod's own namespace.
//!
//! The pod names it, the settings say of which namespaces any may be named, and of its keys only those
//! are kept that say how to ask. What stands in it is shown nowhere: no message, log or page can have it, as
//! [`Hidden`] is all that it is ever printed as.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::annotations::{Malformed, shortened};

/// The most bytes of a token.
pub const MAX_TOKEN: usize = 16 << 10;

/// The most bytes of a username and its password together.
pub const MAX_LOGIN: usize = 4 << 10;

/// The most bytes of the certificates of authorities.
pub const MAX_CA: usize = 64 << 10;

/// The most Secrets that are read for the pods of one namespace of the cluster.
pub const MAX_OF_NAMESPACE: usize = 32;

/// The most that are read for the pods of a node.
pub const MAX_OF_NODE: usize = 128;

/// A Secret's name, unique on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// The namespace, that of the pod.
    pub namespace: String,
    /// Its own name.
    pub name: String,
}

/// What is used of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Who asks.
    pub identity: Option<Identity>,
    /// The authorities that vouch for a server's certificate, in PEM. They are no secret, and are
    /// printed nowhere all the same.
    pub ca: Option<Hidden>,
    /// Why it could not be read again since, if it could not: it may be another one by now.
    pub stale: Option<Unread>,
}

/// As whom a source is asked: `Authorization` of RFC 9110, section 11.6.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// `Bearer`, RFC 6750: of visible ASCII, up to [`MAX_TOKEN`] bytes.
    Bearer(Hidden),
    /// `Basic`, RFC 7617: a username, a colon and a password, up to [`MAX_LOGIN`] bytes.
    Basic(Hidden),
}

/// Bytes that are printed nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden(pub Vec<u8>);

/// The Secrets that are named on this node, or why there is nothing to ask with.
pub type Secrets = BTreeMap<SecretRef, Result<Secret, Unread>>;

/// Of the keys of a Secret, those that are read.
#[derive(Debug, Default)]
pub struct Keys {
    /// `token`
    pub token: Option<Hidden>,
    /// `username`
    pub username: Option<Hidden>,
    /// `password`
    pub password: Option<Hidden>,
    /// `ca.crt`
    pub ca: Option<Hidden>,
}

/// Why nothing is known of a Secret. Of what stands in it this says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unread {
    /// It was not asked for, or not answered yet.
    #[error(
        "it is not read yet (of one namespace {MAX_OF_NAMESPACE} are read, of a node {MAX_OF_NODE})"
    )]
    NotYet,
    /// The API server cannot be reached, or cannot answer.
    #[error("the API server could not be asked for it: the log of merger says why")]
    Away,
    /// The API server does not know it.
    #[error("the API server knows none of that name: create it in the namespace of the pod")]
    Missing,
    /// It has said so once, and has not been asked again: one may be deleted to be made anew.
    #[error("the API server knows none of that name: create it in the namespace of the pod")]
    MissingOnce,
    /// The API server knows who asks, and does not let him.
    #[error(
        "the account of merger may not read it: grant it the verb get of secrets, with this name in \
         resourceNames, by a Role and a RoleBinding in this namespace"
    )]
    Forbidden,
    /// The API server says anything else.
    #[error("the API server answers with HTTP status {0} where it is asked for it")]
    Status(u16),
    /// The answer of the API server cannot be read.
    #[error("what the API server says of it is too large, or no Secret")]
    Garbled,
    /// It is of no use.
    #[error(transparent)]
    Unusable(#[from] Fault),
}

/// What is wrong with a Secret, without a byte of what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// Of no key that it has anything is known.
    #[error("it has no key token, no username with a password, and no ca.crt")]
    Nothing,
    /// One key of two.
    #[error("it has only one of the keys username and password")]
    HalfLogin,
    /// Nobody needs as much.
    #[error("its {key} has more than {limit} bytes")]
    Long {
        /// The key.
        key: Key,
        /// How many it may have.
        limit: usize,
    },
    /// It would end the header in the midst of it.
    #[error(
        "its token has a line break in it, as a file mostly has at its end: put it in without \
         (`kubectl create secret generic --from-literal`, or `printf` in place of `echo`)"
    )]
    LineBreak,
    /// A header cannot have it.
    #[error("its token is empty, or has bytes other than visible ASCII")]
    Token,
    /// RFC 7617, section 2: a username has no colon, and neither has a control character.
    #[error("its username has a colon, or its username or password a control character")]
    Login,
    /// Nothing could chain to it.
    #[error("its ca.crt has no certificate in PEM, or one that cannot be read")]
    Ca,
}

/// A key of a Secret, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// `token`
    Token,
    /// `username` and `password`
    Login,
    /// `ca.crt`
    Ca,
}

/// Which Secrets may be named: a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Those of these namespaces.
    Of(BTreeSet<String>),
    /// None: the pods come from where there is nothing to read them from.
    Nowhere,
}

/// Why a Secret that a pod names is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The settings do not name its namespace.
    #[error(
        "annotation {annotation}: Secrets of namespace \"{namespace}\" are not read: have merger run with \
         --secret-namespaces={namespace}, and let its account get this one"
    )]
    Namespace {
        /// The annotation.
        annotation: String,
        /// The namespace of the pod, shortened and escaped.
        namespace: String,
    },
    /// Only the API server has Secrets.
    #[error(
        "annotation {annotation}: Secrets are read from the API server, so by --pods kube alone"
    )]
    Nowhere {
        /// The annotation.
        annotation: String,
    },
    /// It is no name of a Secret.
    #[error("{0}")]
    Malformed(Malformed),
}

// === impl SecretRef ===

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Hidden ===

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

// === impl Secret ===

impl Secret {
    /// What these keys say. A token goes before a username. Whether `ca.crt` holds certificates is
    /// known to whoever uses them.
    pub fn of(Keys { token, username, password, ca }: Keys) -> Result<Self, Fault> {
        let ca = ca.map(|ca| short(ca, Key::Ca, MAX_CA)).transpose()?;
        let identity = match (token, username, password) {
            (Some(token), _, _) => Some(Identity::Bearer(checked_token(token)?)),
            (None, Some(username), Some(password)) => {
                Some(Identity::Basic(checked_login(username, password)?))
            }
            (None, None, None) => None,
            (None, _, _) => return Err(Fault::HalfLogin),
        };
        let secret = Self { identity, ca, stale: None };
        if secret.identity.is_none() && secret.ca.is_none() {
            return Err(Fault::Nothing);
        }
        Ok(secret)
    }

    /// The same, which could not be read again.
    #[must_use]
    pub fn unread_since(self, why: Unread) -> Self {
        Self { stale: Some(why), ..self }
    }
}

fn short(value: Hidden, key: Key, limit: usize) -> Result<Hidden, Fault> {
    if value.0.len() > limit { Err(Fault::Long { key, limit }) } else { Ok(value) }
}

fn checked_token(token: Hidden) -> Result<Hidden, Fault> {
    let token = short(token, Key::Token, MAX_TOKEN)?;
    let Hidden(bytes) = &token;
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(Fault::LineBreak);
    }
    let is_sound = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    is_sound.then_some(token).ok_or(Fault::Token)
}

fn checked_login(Hidden(mut login): Hidden, Hidden(password): Hidden) -> Result<Hidden, Fault> {
    if login.contains(&b':') || login.iter().chain(&password).any(u8::is_ascii_control) {
        return Err(Fault::Login);
    }
    login.push(b':');
    login.extend(password);
    short(Hidden(login), Key::Login, MAX_LOGIN)
}

// === impl Key ===

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token",
            Self::Login => "username and password",
            Self::Ca => "ca.crt",
        })
    }
}

// === impl Rule ===

impl Rule {
    /// Whether `annotation` of a pod in `namespace` may name a Secret.
    pub fn check(&self, annotation: &str, namespace: &str) -> Result<(), Denied> {
        let annotation = || annotation.to_owned();
        match self {
            Self::Nowhere => Err(Denied::Nowhere { annotation: annotation() }),
            Self::Of(namespaces) if namespaces.contains(namespace) => Ok(()),
            Self::Of(_) => {
                let namespace = shortened(namespace);
                Err(Denied::Namespace { annotation: annotation(), namespace })
            }
        }
    }
}

impl Default for Rule {
    /// None may be named.
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests;
