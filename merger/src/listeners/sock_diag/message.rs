//! What is said to `NETLINK_SOCK_DIAG` and what it says: a request, and datagrams to sockets.
//!
//! Bytes in, values out. A datagram is read to its end or refused whole: the kernel writes none that
//! is cut, so after one nothing of the answer can be believed. What is whole and is no listening
//! socket of what was asked for is left out.
//!
//! Numbers are in the order of the machine, ports and addresses in that of the network. The records
//! are `nlmsghdr`, `inet_diag_req_v2` and `inet_diag_msg` in
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/netlink.h> and
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>.

use std::{io, net::IpAddr, num::NonZeroU16};

use crate::listeners::Socket;

/// Bytes of a request: a header and `inet_diag_req_v2`.
pub const REQUEST: usize = HEADER + 56;

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;

/// Bytes of `inet_diag_msg`, behind which stand attributes.
const RECORD: usize = 72;

/// Bytes of `nlattr`.
const ATTRIBUTE: usize = 4;

/// Messages and attributes begin at multiples of this.
const ALIGNMENT: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;

/// The table changed while it was told.
const NLM_F_DUMP_INTR: u16 = 0x10;

const IPPROTO_TCP: u8 = 6;

/// `TCP_LISTEN`.
const LISTEN: u8 = 10;

const INET_DIAG_SKV6ONLY: u16 = 11;

/// Whose sockets are asked for. Those of the other are not in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, with the sockets that also take IPv4.
    V6,
}

/// A listening socket as the kernel told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What each rung knows of a socket.
    pub socket: Socket,
    /// Whether it takes no IPv4: `::` alone does not say. The kernel also says it of an address that
    /// could take none, and says nothing of a socket of IPv4.
    pub v6only: Option<bool>,
}

/// An answer while it comes in.
#[derive(Debug)]
pub struct Answer {
    /// In the order of the kernel's table; twice, where one was told twice.
    pub told: Vec<Told>,
    /// The table changed while it was told: ask again.
    pub interrupted: bool,
    family: Family,
    sequence: u32,
    limit: usize,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The answer is not at its end.
    More,
    /// That was all.
    Done,
    /// There are more sockets than are wanted.
    Full,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer this. `ENOENT`: it has no `tcp_diag`.
    #[error("the kernel refused")]
    Refused(#[source] io::Error),
    /// The kernel had no room for all of the answer.
    #[error("a part of the answer was lost")]
    Overrun,
    /// A length leads out of what was received, or is too small for what it is the length of.
    #[error("a message is not as long as it says")]
    Length,
}

/// Asks for the listening TCP sockets of a family; those of MPTCP are among them, since each listens
/// by a TCP socket that has the number of the MPTCP socket's inode.
#[must_use]
pub fn request(family: Family, sequence: u32) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let length = u32::try_from(REQUEST).unwrap_or_default();
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request[HEADER] = family.number();
    request[HEADER + 1] = IPPROTO_TCP;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
    request
}

// === impl Family ===

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The answer to the request of this family and sequence, of at most this many sockets.
    #[must_use]
    pub fn new(family: Family, sequence: u32, limit: usize) -> Self {
        Self { told: vec![], interrupted: false, family, sequence, limit }
    }

    /// Reads one datagram. After another state than [`State::More`], and after an error, nothing more
    /// is to be read.
    pub fn take(&mut self, datagram: &[u8]) -> Result<State, Error> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let (length, header) = match rest.first_chunk::<HEADER>() {
                Some(header) => (u32_at(header, 0)?, header),
                None => return Err(Error::Length),
            };
            let (message, after) = split(rest, length, HEADER)?;
            let (kind, flags) = (u16_at(header, 4)?, u16_at(header, 6)?);
            rest = after;
            if u32_at(header, 8)? != self.sequence {
                continue;
            }
            self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
            match kind {
                NLMSG_ERROR => refused(message)?,
                NLMSG_DONE => return refused(message).map(|()| State::Done),
                NLMSG_OVERRUN => return Err(Error::Overrun),
                SOCK_DIAG_BY_FAMILY => {
                    let told = told(message, self.family)?;
                    if told.is_some() && self.told.len() == self.limit {
                        return Ok(State::Full);
                    }
                    self.told.extend(told);
                }
                _ => {}
            }
        }
        Ok(State::More)
    }
}

/// Both messages begin with a negative error number, or zero where all is well. The end of a dump
/// has it too: a kernel without `tcp_diag` says so there.
fn refused(message: &[u8]) -> Result<(), Error> {
    let number = u32_at(message, 0)?.cast_signed();
    if number >= 0 {
        return Ok(());
    }
    Err(Error::Refused(io::Error::from_raw_os_error(number.saturating_neg())))
}

/// One record with its attributes; nothing where it is not what was asked for.
fn told(message: &[u8], asked: Family) -> Result<Option<Told>, Error> {
    let (record, attributes) = message.split_first_chunk::<RECORD>().ok_or(Error::Length)?;
    let v6only = v6only(attributes)?;
    let [family, state, ..] = *record;
    let port = u16::from_be_bytes([record[4], record[5]]);
    let (Some(port), LISTEN) = (NonZeroU16::new(port), state) else { return Ok(None) };
    if family != asked.number() {
        return Ok(None);
    }
    let address = match asked {
        Family::V4 => record[8..].first_chunk::<4>().copied().map(IpAddr::from),
        Family::V6 => record[8..].first_chunk::<16>().copied().map(IpAddr::from),
    };
    let address = address.ok_or(Error::Length)?.to_canonical();
    let inode = u64::from(u32_at(record, 68)?);
    Ok(Some(Told { socket: Socket { address, port, inode }, v6only }))
}

/// Reads all attributes for the one that is of interest.
fn v6only(attributes: &[u8]) -> Result<Option<bool>, Error> {
    let (mut rest, mut v6only) = (attributes, None);
    while !rest.is_empty() {
        let length = u32::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let (value, after) = split(rest, length, ATTRIBUTE)?;
        if kind == INET_DIAG_SKV6ONLY {
            v6only = Some(*value.first().ok_or(Error::Length)? != 0);
        }
        rest = after;
    }
    Ok(v6only)
}

/// Takes off the first piece, which has this length with its header, and its padding: what is in it,
/// and what comes after, which is less than there was. The last piece needs no padding.
fn split(bytes: &[u8], length: u32, header: usize) -> Result<(&[u8], &[u8]), Error> {
    let length = usize::try_from(length).map_err(|_| Error::Length)?;
    let inside = bytes.get(header..length).ok_or(Error::Length)?;
    let padded = length.next_multiple_of(ALIGNMENT);
    Ok((inside, bytes.get(padded..).unwrap_or_default()))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::Length)?;
    Ok(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::Length)?;
    Ok(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
