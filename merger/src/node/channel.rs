//! The socket between agent and broker: whole messages, and at most one descriptor with each.
//!
//! `SOCK_SEQPACKET` keeps messages apart, so nobody has to find where one ends. To send and to receive
//! waits for nobody: whether the other side is ready is asked by poll or by the runtime.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair,
    },
};

/// A message, and what came with it.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) descriptor: Option<OwnedFd>,
}

/// Both ends.
pub(crate) fn pair() -> io::Result<[OwnedFd; 2]> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let (one, other) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    Ok([one, other])
}

/// Waits until something can be received, be it the end. `TimedOut` where nothing came until then; a
/// signal ends no wait.
pub(crate) fn await_message(socket: impl AsFd, deadline: Instant) -> io::Result<()> {
    let mut polled = [PollFd::new(&socket, PollFlags::IN)];
    let n_ready = retry_on_intr(|| {
        let left = deadline.saturating_duration_since(Instant::now());
        poll(&mut polled, Timespec::try_from(left).ok().as_ref())
    })?;
    if n_ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

/// Sends a message. `WouldBlock` where the other side has not read what came before.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let Some(descriptor) = descriptor else {
        // The agent may make this call, and not the other: it has nothing to hand on.
        rustix::net::send(socket, bytes, flags)?;
        return Ok(());
    };
    let descriptor = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    // There is room for one.
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptor));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?;
    Ok(())
}

/// Receives a message with the descriptor that came along. Nothing where the other side is closed,
/// `WouldBlock` where there is none yet, `InvalidData` where it is longer than the buffer.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Received<'_>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    receive_with(socket, buffer, &mut RecvAncillaryBuffer::new(&mut space))
}

/// The same, where no descriptor is wanted: the kernel closes what is sent along.
pub(crate) fn receive_bytes(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<Received<'_>>> {
    receive_with(socket, buffer, &mut RecvAncillaryBuffer::default())
}

fn receive_with<'a>(
    socket: impl AsFd,
    buffer: &'a mut [u8],
    ancillary: &mut RecvAncillaryBuffer<'_>,
) -> io::Result<Option<Received<'a>>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], ancillary, flags) {
        // It was closed before it had read what it was sent.
        Err(Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // No message is empty, and that is what the end looks like.
    let bytes = &buffer[..received.bytes];
    Ok((!bytes.is_empty()).then_some(Received { bytes, descriptor }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Write as _},
        os::fd::AsRawFd as _,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_message_comes_whole_with_its_descriptor() {
        let [here, there] = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&here, b"first", Some(writer.as_fd())).unwrap();
        send(&here, b"second", None).unwrap();
        drop(writer);
        let mut buffer = [0; 8];
        let first = receive(&there, &mut buffer).unwrap().unwrap();
        assert_eq!(first.bytes, b"first");
        File::from(first.descriptor.unwrap()).write_all(b"through it").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through it");
        let second = receive(&there, &mut buffer).unwrap().unwrap();
        assert_eq!((second.bytes, second.descriptor.is_none()), (&b"second"[..], true));
    }

    #[test]
    fn nobody_waits() {
        let [here, there] = pair().unwrap();
        let none = receive(&here, &mut [0; 8]).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        while send(&here, &[0; 4096], None).is_ok() {}
        drop(there);
        assert!(receive(&here, &mut [0; 8]).unwrap().is_none());
    }

    #[test]
    fn a_wait_ends_with_a_message_or_the_end_or_its_time() {
        let [here, there] = pair().unwrap();
        let soon = || Instant::now() + Duration::from_millis(1);
        let late = await_message(&here, soon()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        send(&there, b"x", None).unwrap();
        await_message(&here, soon()).unwrap();
        receive(&here, &mut [0; 8]).unwrap();
        drop(there);
        await_message(&here, soon()).unwrap();
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_and_the_next_is_read() {
        let [here, there] = pair().unwrap();
        send(&here, &[1; 9], None).unwrap();
        send(&here, &[2; 8], None).unwrap();
        let error = receive(&there, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(&there, &mut [0; 8]).unwrap().unwrap().bytes, [2; 8]);
    }

    #[test]
    fn a_descriptor_that_nobody_wants_is_closed() {
        let [here, there] = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&here, b"x", Some(writer.as_fd())).unwrap();
        let number = writer.as_raw_fd();
        drop(writer);
        let mut buffer = [0; 8];
        assert!(receive_bytes(&there, &mut buffer).unwrap().unwrap().descriptor.is_none());
        // The pipe has no other end any more.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "descriptor {number} is open elsewhere");
    }
}
