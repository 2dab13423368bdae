//! Rung 3: the kernel's own answer to who listens in a namespace, `NETLINK_SOCK_DIAG`.
//!
//! A netlink socket belongs to the namespace it was created in and asks about that one, wherever it
//! is used. So it is created inside and all else is done at home; it is closed before the answer is
//! given, since a socket that is held keeps a dead pod's namespace alive.
//!
//! Any process in that namespace with `CAP_NET_ADMIN` may write to a netlink socket there, and would
//! be believed. A socket that is connected to the kernel hears nobody else.
//!
//! Who holds a socket the kernel does not say here; its inode leads there, as on rung 4.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};
use tokio::time::Instant;

use self::message::{Answer, Family, State, Told};
use crate::{listeners::SOCKETS_PER_NETNS, netns::Netns};

pub mod message;

/// Sockets of one family that are kept of one namespace: one more than are looked at, which tells that
/// there are more. The kernel is asked for no more than one datagram beyond.
pub(crate) const LIMIT: usize = SOCKETS_PER_NETNS + 1;

/// The longest datagram that the kernel makes: `netlink_recvmsg` in
/// <https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c>.
const DATAGRAM: usize = 32 * 1024;

/// How often the kernel is asked before an answer is taken that changed while it was given. It is
/// then as good as a table of `/proc`, which says nothing of it, and the next look heals it.
const ATTEMPTS: u32 = 3;

/// What one namespace may take of the time of all. The kernel answers within the call that asks.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why the kernel's answer is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace cannot be entered, or the kernel has no `NETLINK_SOCK_DIAG`.
    #[error("cannot create a socket of sock_diag in the namespace")]
    Socket(#[source] io::Error),
    /// The question or the answer did not get through.
    #[error("cannot ask by sock_diag")]
    Exchange(#[source] io::Error),
    /// The answer took too long.
    #[error("no answer by sock_diag within {DEADLINE:?}")]
    Deadline,
    /// A datagram had more bytes than the kernel ever sends.
    #[error("an answer by sock_diag of {length} bytes, of at most {DATAGRAM}")]
    Truncated {
        /// Its bytes.
        length: usize,
    },
    /// The answer is none.
    #[error("no listeners by sock_diag")]
    Answer(#[from] message::Error),
}

/// A socket of the namespace in question that speaks to its kernel alone.
struct Line {
    socket: OwnedFd,
    deadline: Instant,
}

/// The listening TCP sockets of a namespace, of MPTCP too, in no order. Needs `CAP_SYS_ADMIN`.
pub fn listeners_of(netns: &Netns) -> Result<Vec<Told>, Error> {
    let sockets = netns.within(|| Ok([create()?, create()?])).map_err(Error::Socket)?;
    ask_for_both(sockets)
}

/// The same of the namespace that the calling thread is in. Needs no right.
pub fn listeners_of_own() -> Result<Vec<Told>, Error> {
    let sockets = create().and_then(|v4| Ok([v4, create()?])).map_err(Error::Socket)?;
    ask_for_both(sockets)
}

fn create() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::SOCK_DIAG);
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?)
}

/// Each family has a socket of its own: an answer that is given up would be in the other's way.
fn ask_for_both([v4, v6]: [OwnedFd; 2]) -> Result<Vec<Told>, Error> {
    let deadline = Instant::now() + DEADLINE;
    let mut told = Line::open(v4, deadline)?.ask(Family::V4)?;
    told.append(&mut Line::open(v6, deadline)?.ask(Family::V6)?);
    // A table that changes between two datagrams may have one socket in both.
    told.sort_unstable_by_key(|told| (told.socket.inode, told.socket.address, told.socket.port));
    told.dedup();
    Ok(told)
}

// === impl Line ===

impl Line {
    fn open(socket: OwnedFd, deadline: Instant) -> Result<Self, Error> {
        let kernel = SocketAddrNetlink::new(0, 0);
        connect(&socket, &kernel).map_err(|error| Error::Exchange(error.into()))?;
        Ok(Self { socket, deadline })
    }

    fn ask(&self, family: Family) -> Result<Vec<Told>, Error> {
        let mut buffer = vec![0; DATAGRAM];
        let mut sequence = 1;
        loop {
            let answer = self.attempt(family, sequence, &mut buffer)?;
            // The rest of an answer that is given up would be in the way of another.
            let is_full = answer.told.len() == LIMIT;
            if !answer.interrupted || is_full || sequence == ATTEMPTS {
                return Ok(answer.told);
            }
            sequence += 1;
        }
    }

    fn attempt(&self, family: Family, sequence: u32, buffer: &mut [u8]) -> Result<Answer, Error> {
        let request = message::request(family, sequence);
        retry_on_intr(|| send(&self.socket, &request, SendFlags::empty()))
            .map_err(|error| Error::Exchange(error.into()))?;
        let mut answer = Answer::new(family, sequence, LIMIT);
        while answer.take(self.receive(buffer)?)? == State::More {}
        Ok(answer)
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let length = loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline);
            }
            let received = set_socket_timeout(&self.socket, Timeout::Recv, Some(left))
                .and_then(|()| recv(&self.socket, &mut *buffer, RecvFlags::TRUNC));
            match received {
                Ok((_, length)) => break length,
                Err(Errno::AGAIN) => return Err(Error::Deadline),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Exchange(error.into())),
            }
        };
        buffer.get(..length).ok_or(Error::Truncated { length })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use rustix::net::{bind, getsockname, sendto, socketpair};

    use super::*;

    fn line(left: Duration) -> Line {
        Line::open(create().unwrap(), Instant::now() + left).unwrap()
    }

    /// Ends of answers to the attempts in order, each saying that the table changed or did not; and
    /// how many attempts were made of them.
    #[track_caller]
    fn check_attempts(interrupted: &[bool], expected: usize) {
        let (flags, kind) = (SocketFlags::NONBLOCK, SocketType::DGRAM);
        let (socket, kernel) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        for (sequence, &interrupted) in (1_u32..).zip(interrupted) {
            let kind = [3_u16, if interrupted { 0x12 } else { 2 }].map(u16::to_ne_bytes);
            let rest = [sequence, 0, 0].map(u32::to_ne_bytes);
            let done = [&20_u32.to_ne_bytes(), kind.as_flattened(), rest.as_flattened()].concat();
            send(&kernel, &done, SendFlags::empty()).unwrap();
        }
        let told = Line { socket, deadline: Instant::now() + DEADLINE }.ask(Family::V4).unwrap();
        assert_eq!(told, []);
        let mut request = [0; message::REQUEST];
        let asked = std::iter::from_fn(|| recv(&kernel, &mut request, RecvFlags::empty()).ok());
        assert_eq!(asked.count(), expected, "{interrupted:?}");
    }

    #[test]
    fn an_answer_that_changed_while_it_was_given_is_asked_for_again_but_not_for_ever() {
        check_attempts(&[false], 1);
        check_attempts(&[true, false], 2);
        check_attempts(&[true, true, true, true], 3);
    }

    #[test]
    fn a_listener_of_our_own_is_told() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = listeners_of_own().unwrap();
        let address = |told: &Told| SocketAddr::new(told.socket.address, told.socket.port.get());
        let bound = own.local_addr().unwrap();
        assert_eq!(told.iter().filter(|told| address(told) == bound).count(), 1);
    }

    #[test]
    fn nobody_but_the_kernel_is_heard() {
        let line = line(DEADLINE);
        let address = SocketAddrNetlink::try_from(getsockname(&line.socket).unwrap()).unwrap();
        let foreign = create().unwrap();
        bind(&foreign, &SocketAddrNetlink::new(0, 0)).unwrap();
        let end = message::request(Family::V4, 1);
        let error = sendto(&foreign, &end, SendFlags::empty(), &address).unwrap_err();
        // With `CAP_NET_ADMIN`, and without.
        assert!(matches!(error, Errno::CONNREFUSED | Errno::PERM), "{error}");
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_awaited() {
        let mut buffer = vec![0; DATAGRAM];
        let nothing_was_asked = line(Duration::from_millis(20)).receive(&mut buffer).unwrap_err();
        assert!(matches!(nothing_was_asked, Error::Deadline), "{nothing_was_asked}");
        let late = line(Duration::ZERO).ask(Family::V4).unwrap_err();
        assert!(matches!(late, Error::Deadline), "{late}");
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_refused() {
        let _own = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = line(DEADLINE).attempt(Family::V4, 1, &mut [0; 100]).unwrap_err();
        assert!(matches!(error, Error::Truncated { length } if length > 100), "{error}");
    }
}
