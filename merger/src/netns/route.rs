//! Whether an address is a namespace's own, by how its kernel would send there.
//!
//! Not asked by binding to it: a namespace may allow binding to any (`ip_nonlocal_bind`). Not by a list
//! of all addresses either: a pod may make that long. The answer is one message, and it is the kernel's:
//! whoever has `CAP_NET_ADMIN` in there may write to a netlink socket, and one that is connected to
//! the kernel hears nobody else. Layouts are `nlmsghdr`, `rtmsg` and `rtattr` in
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/rtnetlink.h>.

use std::{io, net::IpAddr, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect,
    netlink::SocketAddrNetlink,
    recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

/// The kernel answers within the call that asks.
const PATIENCE: Duration = Duration::from_secs(1);

const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;

/// The kernel delivers what is sent there to its own sockets.
const RTN_LOCAL: u8 = 2;

/// Bytes of `nlmsghdr`, of `rtmsg` and of `rtattr`.
const HEADER: usize = 16;
const MESSAGE: usize = 12;
const ATTRIBUTE: usize = 4;

/// Where in an answer the kind of the route stands: `rtm_type`.
const KIND: usize = HEADER + 7;

/// A socket that asks about the namespace that the calling thread is in, wherever it is used later.
pub(super) fn create() -> io::Result<OwnedFd> {
    // `NETLINK_ROUTE` is protocol 0.
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, None)?;
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// Whether the kernel at the other end of `socket` would keep what is sent to this address.
pub(super) fn is_local(socket: &OwnedFd, address: IpAddr) -> io::Result<bool> {
    send(socket, &request(address), SendFlags::empty())?;
    let mut buffer = [0; 4096];
    let (_, length) = recv(socket, &mut buffer, RecvFlags::TRUNC)?;
    read(buffer.get(..length).unwrap_or_default())
}

fn request(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    // All of these fit: a message has tens of bytes, an address 32 or 128 bits.
    let narrow = |n: usize| u16::try_from(n).unwrap_or_default();
    let length = u32::from(narrow(HEADER + MESSAGE + ATTRIBUTE + octets.len()));
    let bits = u8::try_from(octets.len() * 8).unwrap_or_default();
    let mut request = length.to_ne_bytes().to_vec();
    request.extend([RTM_GETROUTE, NLM_F_REQUEST].map(u16::to_ne_bytes).as_flattened());
    request.extend([1_u32, 0].map(u32::to_ne_bytes).as_flattened());
    request.extend([u8::try_from(family).unwrap_or_default(), bits]);
    request.extend([0; MESSAGE - 2]);
    request
        .extend([narrow(ATTRIBUTE + octets.len()), RTA_DST].map(u16::to_ne_bytes).as_flattened());
    request.extend(octets);
    request
}

/// No way there is no error: such an address is somebody else's.
fn read(answer: &[u8]) -> io::Result<bool> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(RTM_NEWROUTE) if answer.len() >= HEADER + MESSAGE => Ok(answer[KIND] == RTN_LOCAL),
        Some(NLMSG_ERROR) => Ok(false),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: bool) {
        let socket = create().unwrap();
        assert_eq!(is_local(&socket, address.parse().unwrap()).unwrap(), expected, "{address}");
    }

    #[test]
    fn loopback_is_every_namespaces_own() {
        check("127.0.0.1", true);
        check("127.8.9.10", true);
    }

    #[test]
    fn what_is_sent_out_or_nowhere_is_not() {
        for address in ["192.0.2.1", "224.0.0.1", "255.255.255.255", "2001:db8::1", "ff02::1"] {
            check(address, false);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for answer in [&[][..], &[0; 5], &[0; 40]] {
            assert!(read(answer).is_err(), "{answer:?}");
        }
        let mut cut = [0; HEADER];
        cut[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        assert!(read(&cut).is_err());
    }
}
