//! Why a source gave nothing.

use std::{error::Error as StdError, io, time::Duration};

use hyper::StatusCode;

use super::connect;
use crate::{exposition::negotiate, node::ConnectError, target::Refusal};

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
    /// In the host's namespace: when the body was there, the listener was no longer the pod's alone.
    #[error("the listener changed hands during the scrape")]
    Owner(#[source] ConnectError),
    /// No TLS on a port whose scheme is https.
    #[error("no TLS handshake: does the port speak https?")]
    Tls(#[source] io::Error),
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
    /// The variant, as a label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Refused(_) => "refused",
            Self::Connect(_) => "connect",
            Self::Owner(_) => "owner",
            Self::Tls(_) => "tls",
            Self::Deadline(_) => "deadline",
            Self::Gone(_) => "gone",
            Self::Status(_) => "status",
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
