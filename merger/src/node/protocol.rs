//! What the agent and the broker say to each other: messages to bytes and back.
//!
//! The agent may be taken over, so what it says is hostile: a request has a largest size, holds
//! nothing that has to be allocated by a number in it, and one that cannot be read ends the agent.
//! The broker is believed.

use std::{io, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    identity::{Cookie, PodUid},
    node::{Connect, ConnectError, Counters, Rung, policy::Refusal},
};

/// The longest request, in bytes.
pub const LONGEST_REQUEST: usize = 256;

/// The longest reply, in bytes. A snapshot comes in a file of its own.
pub(crate) const LONGEST_REPLY: usize = 4096;

/// Requests that may be under way at once. An agent that has one more waits for room, so the broker's
/// answers always find theirs.
pub(crate) const UNDER_WAY: usize = 64;

/// Nobody who keeps to the protocol has so many requests under way.
#[derive(Debug, thiserror::Error)]
#[error("more than {UNDER_WAY} answers of one kind are asked for at once")]
pub(crate) struct TooMany;

/// What words of the broker may take of a reply, in bytes.
const LONGEST_REASON: usize = 2048;

/// The agent to the broker, which answers each request: in their order, but that snapshots, and what
/// names an owner, may have to wait for the pause that follows the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The answer has the same number. It means nothing to the broker.
    pub id: u64,
    /// What is asked for.
    pub wish: Wish,
}

/// What the agent asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// A `Reply::Snapshot`.
    Snapshot,
    /// A `Reply::Watched`.
    Pods,
    /// A `Reply::Connected`.
    Connect {
        /// [`Connect::netns`].
        netns: Cookie,
        /// [`Connect::address`].
        address: SocketAddr,
        /// [`Connect::owner`].
        owner: Option<PodUid>,
    },
    /// A `Reply::Confirmed` where the same connection would be begun now.
    Confirm {
        /// [`Connect::netns`].
        netns: Cookie,
        /// [`Connect::address`].
        address: SocketAddr,
        /// [`Connect::owner`].
        owner: Option<PodUid>,
    },
}

/// The broker to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first one, and again where another way is in use by then. Nobody asked for it.
    Hello(Hello),
    /// Something may have changed: take a snapshot. Not said again until one was taken.
    Look,
    /// Nobody needs the agent any more: drain, and end.
    Stop,
    /// The snapshot is in the file that comes along.
    Snapshot { id: u64, counters: Counters },
    /// A watcher was started, and what it is heard by comes along.
    Watched { id: u64 },
    /// None was.
    Unwatched { id: u64, why: String },
    /// The connection was begun, and comes along.
    Connected { id: u64 },
    /// It would be begun again.
    Confirmed { id: u64 },
    /// It was not, or would not be.
    Unconnected { id: u64, why: Unconnected },
    /// There is no snapshot. That it failed is counted.
    Unseen { id: u64, why: String, counters: Counters },
}

/// How the broker knows the listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) rung: Rung,
    pub(crate) fallback: Option<String>,
}

/// [`ConnectError`] as it travels: errors of the kernel are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unconnected {
    Refused(Refusal),
    Gone(Cookie),
    Namespace(i32),
    Connect(i32),
}

/// The bytes are no message.
#[derive(Debug, thiserror::Error)]
#[error("a message of {length} bytes that cannot be read")]
pub struct Malformed {
    length: usize,
}

// === impl Request ===

impl Request {
    /// Reads what came. Nothing may follow it.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        read(bytes)
    }

    /// The bytes that [`Self::read`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        read(bytes)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

// === impl Hello ===

impl Hello {
    /// With no more words than fit into a message.
    pub(crate) fn new(rung: Rung, fallback: Option<&str>) -> Self {
        Self { rung, fallback: fallback.map(shortened) }
    }
}

// === impl Unconnected ===

impl From<ConnectError> for Unconnected {
    fn from(error: ConnectError) -> Self {
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        match error {
            ConnectError::Refused(refusal) => Self::Refused(refusal),
            ConnectError::Gone(netns) => Self::Gone(netns),
            ConnectError::Namespace(error) => Self::Namespace(number(error)),
            ConnectError::Connect(error) => Self::Connect(number(error)),
            ConnectError::Ended => Self::Namespace(libc::EIO),
        }
    }
}

impl From<Unconnected> for ConnectError {
    fn from(why: Unconnected) -> Self {
        match why {
            Unconnected::Refused(refusal) => Self::Refused(refusal),
            Unconnected::Gone(netns) => Self::Gone(netns),
            Unconnected::Namespace(number) => Self::Namespace(io::Error::from_raw_os_error(number)),
            Unconnected::Connect(number) => Self::Connect(io::Error::from_raw_os_error(number)),
        }
    }
}

impl From<Connect> for Wish {
    fn from(Connect { netns, address, owner }: Connect) -> Self {
        Self::Connect { netns, address, owner }
    }
}

/// Words as a message can hold them.
pub(crate) fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

/// A value as it travels.
pub(crate) fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // It fails where a length is not known before, which no sequence here is without.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// The value that travelled. Nothing may follow it.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Malformed { length: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(id: u64, netns: u64, address: &str) -> Request {
        let (netns, address) = (Cookie(netns), address.parse().unwrap());
        Request { id, wish: Wish::Connect { netns, address, owner: None } }
    }

    fn requests() -> Vec<Request> {
        vec![
            Request { id: 0, wish: Wish::Snapshot },
            Request { id: 0, wish: Wish::Pods },
            connect(u64::MAX, u64::MAX, "127.0.0.1:80"),
            connect(1, 2, "[fe80::1%3]:65535"),
            Request {
                id: u64::MAX,
                wish: Wish::Confirm {
                    netns: Cookie(u64::MAX),
                    address: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
                    owner: "f".repeat(64).parse().ok(),
                },
            },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for request in requests() {
            let bytes = request.to_bytes();
            assert!(bytes.len() <= LONGEST_REQUEST, "{request:?}: {}", bytes.len());
            let read = Request::read(&bytes).unwrap();
            // A scope is no part of a message: an address with one is nobody's here.
            assert_eq!(read.to_bytes(), bytes);
            assert_eq!(read.id, request.id);
        }
    }

    #[test]
    fn what_is_shorter_or_longer_is_no_request() {
        for request in requests() {
            let bytes = request.to_bytes();
            for end in 0..bytes.len() {
                Request::read(&bytes[..end]).unwrap_err();
            }
            Request::read(&[&bytes[..], b"\0"].concat()).unwrap_err();
        }
        Request::read(&[0xff; LONGEST_REQUEST]).unwrap_err();
    }

    #[test]
    fn the_longest_words_fit_into_a_message() {
        let long = "\u{1f980}".repeat(5000);
        let hello = Reply::Hello(Hello::new(Rung::Proc, Some(&long)));
        let counters = Counters { snapshots_failed: u64::MAX, ..Counters::default() };
        let unseen = Reply::Unseen { id: u64::MAX, why: shortened(&long), counters };
        for reply in [hello, unseen] {
            let bytes = reply.to_bytes();
            assert!(bytes.len() <= LONGEST_REPLY, "{}", bytes.len());
            assert_eq!(Reply::read(&bytes).unwrap(), reply);
        }
    }

    #[test]
    fn an_error_of_the_kernel_keeps_its_number() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        for error in [ConnectError::Connect(refused()), ConnectError::Namespace(refused())] {
            let said = error.to_string();
            let told = ConnectError::from(Unconnected::from(error));
            assert_eq!(told.to_string(), said);
            let (ConnectError::Connect(source) | ConnectError::Namespace(source)) = told else {
                panic!("{told:?}")
            };
            assert_eq!(source.raw_os_error(), Some(libc::ECONNREFUSED));
        }
    }
}
