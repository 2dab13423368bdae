//! A process of another user, on which the broker tries its rights when it starts.
//!
//! The processes of pods are mostly other users', and what cannot be seen of them may be anything. So
//! whether it can be seen is found out before a pod is read, by a process that holds one socket.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::{
    cause::chain,
    netns::Netns,
    node::{
        Error, channel, confinement,
        privileges::Capability,
        processes::{self, Hidden, Unseen},
        protocol::{self, LONGEST_REPLY},
        supervisor,
    },
};

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries what is done with the processes of other users. Nothing of it is left when this returns.
pub(crate) fn try_rights() -> Result<(), Error> {
    let (stranger, channel) = supervisor::start_part("stranger").map_err(Error::Stranger)?;
    let tried = await_stranger(&channel).and_then(|()| try_on(stranger.id()));
    drop(channel);
    supervisor::wait(stranger, "stranger", supervisor::END).map_err(Error::Stranger)?;
    tried
}

fn await_stranger(channel: &OwnedFd) -> Result<(), Error> {
    let mut buffer = [0; LONGEST_REPLY];
    let words = channel::await_message(channel, Instant::now() + PATIENCE)
        .and_then(|()| channel::receive_bytes(channel, &mut buffer));
    let words = words.map_err(Error::Stranger)?.ok_or(Error::Ended)?;
    let became: Result<(), String> =
        protocol::read(words.bytes).map_err(|error| Error::Stranger(io::Error::other(error)))?;
    became.map_err(|reason| Error::Stranger(io::Error::other(reason)))
}

fn try_on(pid: u32) -> Result<(), Error> {
    Netns::of_pid(pid).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Strangers(Capability::SysPtrace),
        _ => Error::Stranger(error),
    })?;
    let open = processes::open_sockets(pid, &mut { usize::MAX }).map_err(
        |Hidden { why, .. }| match why {
            Unseen::Missing(right) => Error::Strangers(right),
            Unseen::Failed(error) => Error::Stranger(io::Error::from_raw_os_error(error)),
        },
    )?;
    if open.is_none_or(|(_, sockets)| sockets.is_empty()) {
        return Err(Error::Stranger(io::Error::other("its socket is not seen")));
    }
    if let Err(error) = processes::compare_tables(pid, pid) {
        tracing::warn!(
            %error,
            "the kernel does not tell which threads share a table of files (CONFIG_KCMP), so that of \
             every thread is read"
        );
    }
    // Without a signal: whether there may be one.
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Error::Ended)?;
    test_kill_process(id).map_err(|error| match error {
        Errno::PERM => Error::Strangers(Capability::Kill),
        error => Error::Stranger(error.into()),
    })
}

/// Is the stranger, until the other end of `channel` is closed.
pub fn serve(channel: &OwnedFd) -> anyhow::Result<()> {
    let became = confinement::become_stranger();
    let words = became.map_err(|error| protocol::shortened(&chain(&error)));
    channel::send(channel, &protocol::to_bytes(&words), None)?;
    Ok(channel::await_message(channel, Instant::now() + PATIENCE)?)
}
