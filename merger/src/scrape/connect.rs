//! A connection born inside the pod's namespace, its cookie checked.

use std::{io, net::SocketAddr, pin::Pin};

use tokio::net::TcpStream;

use crate::{
    identity::{Cookie, PodUid},
    netns,
    node::{Connect, ConnectError, Node},
};

/// Whoever can begin a connection inside a network namespace.
///
/// The agent's is its [`Node`]; `merger probe` enters by itself.
pub trait Dial: Send + Sync {
    /// Begins to connect to `address` from inside the namespace `netns`. The socket does not block,
    /// and need not be connected yet. In the host's namespace an owner is named, and the listener has
    /// to be that pod's alone.
    fn dial(&self, netns: Cookie, address: SocketAddr, owner: Option<PodUid>) -> Dialling<'_>;

    /// Whether the same would still be begun: in the host's namespace, whether the listener is still that
    /// of the pod `owner` alone, in any other, whether a process is left in it.
    fn confirm(&self, netns: Cookie, address: SocketAddr, owner: Option<PodUid>) -> Confirming<'_>;
}

/// The future of a [`Dial`].
pub type Dialling<'a> =
    Pin<Box<dyn Future<Output = Result<std::net::TcpStream, ConnectError>> + Send + 'a>>;

/// The future of [`Dial::confirm`].
pub type Confirming<'a> = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send + 'a>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The privileged side gave no socket.
    #[error(transparent)]
    Dial(#[from] ConnectError),
    /// The application gave no connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket is not where it should be. Not one byte was sent.
    #[error("the connection is in the network namespace {found} instead of {expected}")]
    WrongNamespace {
        /// The namespace of the socket.
        found: Cookie,
        /// The namespace of the pod.
        expected: Cookie,
    },
    /// The source has no address.
    #[error("no address to connect to")]
    NoAddress,
}

// === impl Error ===

impl Error {
    /// Whether it was tried, and whoever listens there did not take it.
    #[must_use]
    pub fn is_of_the_other_side(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

/// Connects to the first of `addresses` that accepts.
pub async fn connect(
    dial: &dyn Dial,
    netns: Cookie,
    addresses: &[SocketAddr],
    owner: Option<PodUid>,
) -> Result<TcpStream, Error> {
    let mut failed = Error::NoAddress;
    for &address in addresses {
        match connect_to(dial, netns, address, owner).await {
            Err(error @ Error::Connect { .. }) => failed = error,
            done => return done,
        }
    }
    Err(failed)
}

async fn connect_to(
    dial: &dyn Dial,
    netns: Cookie,
    address: SocketAddr,
    owner: Option<PodUid>,
) -> Result<TcpStream, Error> {
    let because = |source| Error::Connect { address, source };
    let socket = match dial.dial(netns, address, owner).await {
        Err(ConnectError::Connect(source)) => return Err(because(source)),
        socket => socket?,
    };
    let stream = TcpStream::from_std(socket).map_err(because)?;
    stream.writable().await.map_err(because)?;
    if let Some(refused) = stream.take_error().map_err(because)? {
        return Err(because(refused));
    }
    if !netns::is_born_in(&stream, netns).map_err(because)? {
        let found = netns::cookie_of(&stream).map_err(because)?;
        return Err(Error::WrongNamespace { found, expected: netns });
    }
    Ok(stream)
}

// === impl Node ===

impl Dial for Node {
    fn dial(&self, netns: Cookie, address: SocketAddr, owner: Option<PodUid>) -> Dialling<'_> {
        Box::pin(self.connect(Connect { netns, address, owner }))
    }

    fn confirm(&self, netns: Cookie, address: SocketAddr, owner: Option<PodUid>) -> Confirming<'_> {
        Box::pin(Node::confirm(self, Connect { netns, address, owner }))
    }
}
