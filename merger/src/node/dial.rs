//! One connection, born inside the namespace that the thread is in for that moment.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, socket_with,
        sockopt::{self, set_socket_linger},
    },
    process::{getegid, geteuid},
};

use crate::{
    identity::Cookie,
    netns,
    node::{ConnectError, policy::Caller},
};

/// As whom the connections of this process are made.
pub(crate) fn caller() -> Caller {
    Caller { uid: geteuid().as_raw(), gid: getegid().as_raw() }
}

/// Tries what keeps a connection inside its namespace, on a socket that goes nowhere.
pub(crate) fn try_loopback() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    netns::bind_to_loopback(&socket)
}

/// Begins a connection in the namespace that the thread is in now, if it is `netns`.
///
/// The stream does not block, is not yet connected, and breaks off where it is closed.
pub fn begin(netns: Cookie, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|error| ConnectError::Connect(error.into()))?;
    // The process that led here may have changed its namespace since the sweep.
    if !netns::is_born_in(&socket, netns).map_err(ConnectError::Namespace)? {
        return Err(ConnectError::Gone(netns));
    }
    keep_inside(&socket, address.ip()).map_err(ConnectError::Connect)?;
    // Whoever closes it breaks it off. The kernel would take minutes to say goodbye to a pod that does
    // not answer, and hold its namespace as long.
    set_socket_linger(&socket, Some(Duration::ZERO))
        .map_err(|error| ConnectError::Connect(error.into()))?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(ConnectError::Connect(error.into())),
    }
}

/// Keeps what is sent to an address of the namespace inside it, against whoever has `CAP_NET_ADMIN` in
/// there and redirects it.
///
/// By loopback nothing leaves. An address of another interface has to be ours in the moment that the
/// kernel looks for the way, since it is the source as well, and no router takes the packets further.
fn keep_inside(socket: &OwnedFd, address: IpAddr) -> io::Result<()> {
    if address.is_loopback() {
        return netns::bind_to_loopback(socket);
    }
    match address {
        IpAddr::V4(_) => sockopt::set_ip_ttl(socket, 1)?,
        IpAddr::V6(_) => sockopt::set_ipv6_unicast_hops(socket, Some(1))?,
    }
    Ok(bind(socket, &SocketAddr::new(address, 0))?)
}
