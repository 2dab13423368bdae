//! Why a source gave nothing.

use std::{error::Error as StdError, io, time::Duration};

use hyper::StatusCode;

use super::{connect, tls};
use crate::{
    exposition::negotiate,
    node::ConnectError,
    target::{
        Reason, Refusal, Source,
        annotations::secret::SECRET,
        secret::{SecretRef, Unread},
    },
};

/// Why a source gave nothing. The label of the agent's failure counter is the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens on its port.
    #[error("nothing listens on port {0} yet")]
    Pending(u16),
    /// What listens on its port is not to be asked.
    #[error(transparent)]
    Refused(Refusal),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// In the host's namespace: before it was shown a Secret, or when the body was there, the listener was no
    /// longer the pod's alone.
    #[error("the listener changed hands during the scrape")]
    Owner(#[source] ConnectError),
    /// No TLS on a port whose scheme is https.
    #[error("no TLS handshake: does the port speak https?")]
    Tls(#[source] io::Error),
    /// Who has to vouch for the certificate does not.
    #[error("its certificate is none that ca.crt of Secret {secret} vouches for")]
    Certificate {
        /// The Secret that says who has to.
        secret: SecretRef,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// There is nothing to ask with. Not one byte was sent.
    #[error("not asked without Secret {secret}: {why}")]
    Secret {
        /// The Secret that it is to be asked with.
        secret: SecretRef,
        /// Why it is not known.
        why: Unread,
    },
    /// It wants to know who asks.
    #[error(
        "answered with HTTP status {0}: name a Secret by the annotation {SECRET} that has a token, or a \
         username and a password"
    )]
    Unauthorized(StatusCode),
    /// It wants to know who asks, and whoever made the `PodMonitor` that asks for it has no Secret of the pod.
    #[error(
        "answered with HTTP status {0}: what a PodMonitor asks for is asked with no Secret: have the pod ask for \
         this page by the annotation merger.io/endpoints, with {SECRET}"
    )]
    UnauthorizedMonitor(StatusCode),
    /// It does not let in who asks.
    #[error(
        "answered with HTTP status {status}: it does not let in who shows what Secret {secret} has, of which \
         that is its token, else its username and password{}",
        stale.map(|why| format!("; that may be an old one, as it could not be read again: {why}")).unwrap_or_default()
    )]
    NotLetIn {
        /// 401 or 403.
        status: StatusCode,
        /// The Secret that it was asked with.
        secret: SecretRef,
        /// Why that could not be read again, if it could not.
        stale: Option<Unread>,
    },
    /// Too slow.
    #[error("no whole answer within {0:?}")]
    Deadline(Duration),
    /// Its pod ended meanwhile, as far as anybody knows.
    #[error("the pod has ended, or nothing in it has listened for {0:?}")]
    Gone(Duration),
    /// Any status but 200.
    #[error("answered with HTTP status {0}")]
    Status(StatusCode),
    /// A body, or what carries it, past the limit.
    #[error("body larger than {limit} bytes")]
    TooLarge {
        /// The limit of the decompressed body.
        limit: usize,
    },
    /// All the memory for bodies, or the pod's half of it, is in use.
    #[error("too many bytes are in flight, of this pod or of all")]
    Busy,
    /// The body is no exposition.
    #[error(transparent)]
    Content(#[from] negotiate::Error),
    /// A Content-Encoding that was not offered.
    #[error("compressed as \"{0}\", which was not offered")]
    Encoding(String),
    /// The compressed body is broken.
    #[error("body cannot be decompressed")]
    Corrupt(#[source] io::Error),
    /// The connection ended before the body did.
    #[error("the connection closed before the end of the answer")]
    Truncated,
    /// No HTTP.
    #[error("no valid HTTP")]
    Http(#[source] hyper::Error),
}

// === impl Error ===

impl Error {
    /// Why there is no TLS, where `secret` may say who has to vouch for the certificate.
    pub(super) fn of_tls(error: io::Error, secret: Option<&SecretRef>) -> Self {
        match (tls::bad_certificate(&error), secret) {
            (Some(source), Some(secret)) => Self::Certificate { secret: secret.clone(), source },
            _ => Self::Tls(error),
        }
    }

    /// What a status but 200 says of `source`. A sidecar's is asked with nothing, and so is what is probed.
    pub(super) fn of_status(status: StatusCode, source: &Source, stale: Option<Unread>) -> Self {
        let is_shut = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match (&source.secret, &source.reason) {
            (Some(secret), _) if is_shut => {
                Self::NotLetIn { status, secret: secret.clone(), stale }
            }
            (None, Reason::Sidecar(_) | Reason::Probe) => Self::Status(status),
            (None, Reason::Monitor(_)) if is_shut => Self::UnauthorizedMonitor(status),
            (None, _) if is_shut => Self::Unauthorized(status),
            _ => Self::Status(status),
        }
    }

    /// The variant, as a label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Refused(_) => "refused",
            Self::Connect(_) => "connect",
            Self::Owner(_) => "owner",
            Self::Tls(_) | Self::Certificate { .. } => "tls",
            Self::Secret { .. } => "secret",
            Self::Deadline(_) => "deadline",
            Self::Gone(_) => "gone",
            Self::Status(_)
            | Self::Unauthorized(_)
            | Self::UnauthorizedMonitor(_)
            | Self::NotLetIn { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::Busy => "busy",
            Self::Content(_) => "content",
            Self::Encoding(_) => "encoding",
            Self::Corrupt(_) => "corrupt",
            Self::Truncated => "truncated",
            Self::Http(_) => "http",
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        let is_early_end = |cause: &(dyn StdError + 'static)| {
            let cause = cause.downcast_ref::<io::Error>();
            cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
        };
        if error.is_incomplete_message() || caused_by(&error, is_early_end) {
            return Self::Truncated;
        }
        Self::Http(error)
    }
}

/// Whether any of the causes is one, also where an [`io::Error`] hides it.
pub(super) fn caused_by(
    error: &hyper::Error,
    is_one: impl Fn(&(dyn StdError + 'static)) -> bool,
) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if is_one(error) || hidden.is_some_and(|hidden| is_one(hidden)) {
            return true;
        }
        next = error.source();
    }
    false
}
