//! A socket that is in no table of files, but in a message that nobody has taken yet.

use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Holds what was sent until it is dropped.
pub(crate) struct Message {
    _sender: UnixDatagram,
    _receiver: UnixDatagram,
}

// === impl Message ===

impl Message {
    /// Leaves a socket in a message; the sender still has it as well.
    #[track_caller]
    pub(crate) fn with(socket: impl AsFd) -> Self {
        let (sender, receiver) = UnixDatagram::pair().expect("a pair needs no right");
        let fds = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)), "there is room for one");
        let bytes = [IoSlice::new(b"x")];
        sendmsg(&sender, &bytes, &mut ancillary, SendFlags::empty()).expect("somebody receives");
        Self { _sender: sender, _receiver: receiver }
    }
}
