//! The kernel part as descriptors, which one process may hand to another.
//!
//! Programs and maps live while a descriptor refers to them, so whoever holds these holds all of it.

use std::os::fd::{AsFd, OwnedFd};

use aya::{
    Ebpf,
    maps::{Map, MapData},
    programs::{BtfTracePoint, Iter},
};

use super::{Error, command};

/// The kernel part, attached.
#[derive(Debug)]
pub struct Parts {
    /// The ring of what changed.
    pub changes: OwnedFd,
    /// The marks.
    pub dirty: OwnedFd,
    /// How many found no room.
    pub lost: OwnedFd,
    /// While it is open, the marks are set.
    pub hook: OwnedFd,
    /// Of the program that walks the tables of files, if it is loaded.
    pub walk: Option<OwnedFd>,
    /// The number of the program at the hook, by which its log is found.
    pub program: u32,
}

// === impl Parts ===

impl Parts {
    /// Attaches the programs of an object that are loaded. Needs the rights of the loader.
    pub fn attach(mut ebpf: Ebpf) -> Result<Self, Error> {
        let map = |name| match ebpf.map(name) {
            Some(Map::RingBuf(map) | Map::HashMap(map) | Map::PerCpuArray(map)) => copy(map.fd()),
            _ => Err(Error::Absent(name)),
        };
        let [changes, dirty, lost] = [map("CHANGES")?, map("DIRTY")?, map("LOST")?];
        let walk: &mut Iter = program(&mut ebpf, "task_file")?;
        // On some rungs it is not loaded.
        let walk = walk.fd().ok().map(command::link).transpose()?;
        let hook: &mut BtfTracePoint = program(&mut ebpf, "inet_sock_set_state")?;
        let number = hook.info()?.id();
        let hook = command::attach(hook.fd()?)?;
        Ok(Self { changes, dirty, lost, hook, walk, program: number })
    }
}

fn program<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<P, Error>
where
    P: TryFrom<&'e mut aya::programs::Program>,
{
    let program = ebpf.program_mut(name).ok_or(Error::Absent(name))?;
    P::try_from(program).map_err(|_| Error::Absent(name))
}

fn copy(descriptor: &impl AsFd) -> Result<OwnedFd, Error> {
    Ok(descriptor.as_fd().try_clone_to_owned()?)
}

/// The map that a descriptor refers to.
pub(super) fn map(descriptor: OwnedFd) -> Result<MapData, Error> {
    Ok(MapData::from_fd(descriptor)?)
}
