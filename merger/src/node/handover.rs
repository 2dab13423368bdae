//! The loader: a process that lives until the kernel part is loaded, and hands it over.
//!
//! It reads the kernel's types and the object's, which takes memory and a large parser, and it alone
//! has the rights for programs. The broker keeps descriptors.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    cause::chain,
    listeners::ebpf::Parts,
    netns::Identity,
    node::{
        channel, confinement, loader,
        protocol::{self, LONGEST_REPLY},
        supervisor,
    },
};

/// How long either side waits for the other, for all that it has to say. To load takes a tenth of a
/// second, on a slow machine a few of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// With the walk over open files, or the hook alone.
    pub(crate) has_walk: bool,
    /// How many namespaces may be marked at once.
    pub(crate) n_marks: u32,
    /// What tells namespaces apart.
    pub(crate) identity: Identity,
}

/// What the loader sends, each descriptor in a message of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Handed {
    Changes,
    Dirty,
    Lost,
    Hook,
    Walk,
    /// All is there; with the number of the program at the hook.
    Done(u32),
    Failed(String),
}

/// Loads the kernel part in a process of its own, which has ended when this returns.
pub(crate) fn load(order: Order) -> Result<Parts, String> {
    let failed = |error: io::Error| format!("the loader cannot be started: {error}");
    let (loader, channel) = supervisor::start_part("loader").map_err(failed)?;
    let sent = channel::send(&channel, &protocol::to_bytes(&order), None).map_err(failed);
    let parts = sent.and_then(|()| receive(&channel));
    drop(channel);
    // Its last words have come over the channel, and are better than its exit code.
    supervisor::wait(loader, "loader", supervisor::END).map_err(failed)?;
    parts
}

/// What the loader does: it gives up its rights but those to load, loads, and hands over.
pub fn serve(channel: &OwnedFd) -> anyhow::Result<()> {
    confinement::become_loader()?;
    let mut buffer = [0; LONGEST_REPLY];
    channel::await_message(channel, Instant::now() + PATIENCE)?;
    let Some(order) = channel::receive_bytes(channel, &mut buffer)? else { return Ok(()) };
    let loaded = protocol::read(order.bytes).map_err(|error| chain(&error)).and_then(make);
    match loaded {
        Ok(parts) => send(channel, &parts)?,
        Err(reason) => tell(channel, &Handed::Failed(protocol::shortened(&reason)), None)?,
    }
    Ok(())
}

/// Loads and attaches in this process.
pub(crate) fn make(Order { has_walk, n_marks, identity }: Order) -> Result<Parts, String> {
    let load = if has_walk { loader::load_for } else { loader::load_changes };
    let kernel = load(n_marks, identity).map_err(|error| chain(&error))?;
    Parts::attach(kernel).map_err(|error| chain(&error))
}

fn send(channel: &OwnedFd, parts: &Parts) -> io::Result<()> {
    let Parts { changes, dirty, lost, hook, walk, program } = parts;
    for (what, part) in [
        (Handed::Changes, Some(changes)),
        (Handed::Dirty, Some(dirty)),
        (Handed::Lost, Some(lost)),
        (Handed::Hook, Some(hook)),
        (Handed::Walk, walk.as_ref()),
    ] {
        if let Some(part) = part {
            tell(channel, &what, Some(part.as_fd()))?;
        }
    }
    tell(channel, &Handed::Done(*program), None)
}

fn tell(channel: &OwnedFd, what: &Handed, part: Option<BorrowedFd<'_>>) -> io::Result<()> {
    channel::send(channel, &protocol::to_bytes(what), part)
}

fn receive(channel: &OwnedFd) -> Result<Parts, String> {
    let [mut changes, mut dirty, mut lost, mut hook, mut walk] = [const { None }; 5];
    let mut buffer = [0; LONGEST_REPLY];
    let deadline = Instant::now() + PATIENCE;
    let program = loop {
        channel::await_message(channel, deadline).map_err(|error| chain(&error))?;
        let received = channel::receive(channel, &mut buffer).map_err(|error| chain(&error))?;
        let received = received.ok_or("the loader has ended without a word")?;
        let part = received.descriptor;
        match protocol::read(received.bytes).map_err(|error| chain(&error))? {
            Handed::Changes => changes = part,
            Handed::Dirty => dirty = part,
            Handed::Lost => lost = part,
            Handed::Hook => hook = part,
            Handed::Walk => walk = part,
            Handed::Done(program) => break program,
            Handed::Failed(reason) => return Err(reason),
        }
    };
    let parts = changes.zip(dirty).zip(lost.zip(hook));
    let ((changes, dirty), (lost, hook)) = parts.ok_or("the loader has handed over too little")?;
    Ok(Parts { changes, dirty, lost, hook, walk, program })
}
