//! What a process of merger gives up before it does its work, and the proof that it did.
//!
//! Rights belong to threads. All of this is called while the process has but one, and those that come
//! later begin with what it has left.
#![expect(unsafe_code, reason = "the proof makes system calls that no wrapper lets fail")]

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{BorrowedFd, RawFd},
    path::Path,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    process::{
        DumpableBehavior, Gid, Signal, Uid, set_dumpable_behavior, set_parent_process_death_signal,
    },
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        set_capabilities, set_name, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use self::domain::Domain;
pub use self::{domain::is_entered, status::Confinement};
use crate::node::{
    privileges::Capability,
    seccomp::{self, Filter},
};

mod domain;
mod status;

/// The user and the group of the agent: no mesh's. It is that of many images that do not run as root, and
/// what protects these from an agent is the Landlock domain that it enters.
pub const AGENT: u32 = 65532;

/// The user and the group of the watcher: another one, so that the credentials of this group, such as the
/// token of a service account, are none of the agent's.
pub const WATCHER: u32 = 65531;

/// What the broker works with. The processes of pods are other users', and what these hold is seen by
/// whoever may read what is theirs alone and look into their processes. An agent is another user, so
/// that to end it is a right, too: with the broker the kernel ends it in the broker's name.
const BROKER: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::KILL);

/// What it has in store, for the agents that it starts: they become another user.
const FOR_AGENTS: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);

/// What the loader works with. To lock the memory of maps is a right of its own below 5.11.
const LOADER: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::SYS_RESOURCE);

/// All that merger is to be started with: what any of its processes works with.
pub const GRANTED: CapabilitySet = BROKER.union(FOR_AGENTS).union(LOADER);

/// Why a process could not give up what it has.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the rights to do so. Who is another user than root already needs them for the stranger.
    #[error(
        "cannot become user {id}: needs {} and {}, and a user namespace that knows this user; \
         --single-process runs without",
        Capability::SetUid.name(),
        Capability::SetGid.name()
    )]
    User {
        /// The user.
        id: u32,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel does not take rights away.
    #[error("cannot give up rights")]
    Rights(#[source] io::Error),
    /// The filter of system calls was not taken.
    #[error("cannot filter system calls: needs a kernel with CONFIG_SECCOMP_FILTER")]
    Seccomp(#[source] seccomp::Error),
    /// The kernel has Landlock, and does not take what is to be refused.
    #[error("cannot enter a Landlock domain")]
    Landlock(#[source] landlock::RulesetError),
    /// The kernel does not say what is left.
    #[error("cannot read what rights are left")]
    Status(#[source] io::Error),
    /// It says that something is.
    #[error("this process is not confined: {0}")]
    Unconfined(Confinement),
    /// What is forbidden can be done.
    #[error("this process is not confined: {0} is not refused")]
    Allowed(&'static str),
}

/// Makes the calling process an agent: another user without rights, who gains none and has few
/// system calls; of files it may read what it needs itself, and what is beneath these paths. It ends with
/// its parent.
pub fn become_agent(read: &[&Path]) -> Result<Confinement, Error> {
    call(c"merger-agent")?;
    confine(AGENT, Domain::Reading(read), Filter::Agent)
}

/// Makes the calling process a watcher: the same, but for its user, its connections, and the files that it
/// reads. What names the API server names other files in its turn, wherever these are, and they are replaced
/// from time to time; its user is no image's.
pub fn become_watcher() -> Result<Confinement, Error> {
    call(c"merger-watcher")?;
    confine(WATCHER, Domain::ReadingAll, Filter::Watcher)
}

fn confine(user: u32, domain: Domain<'_>, filter: Filter) -> Result<Confinement, Error> {
    let before = Confinement::own().map_err(Error::Status)?;
    if !before.is_one_user() {
        change_user(&before, user)?;
    }
    keep(CapabilitySet::empty(), CapabilitySet::empty())?;
    // Both are forgotten with a change of user. Nobody else may look into the agent.
    let rights = |error: Errno| Error::Rights(error.into());
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(rights)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(rights)?;
    domain::enter(domain).map_err(Error::Landlock)?;
    seccomp::apply(filter).map_err(Error::Seccomp)?;
    prove(domain)
}

/// Makes the calling process another user's, like those of pods: who has the rights sees into it, and
/// who is the same user would without them.
pub fn become_stranger() -> Result<(), Error> {
    call(c"merger-stranger")?;
    let before = Confinement::own().map_err(Error::Status)?;
    let is_agent = [before.uids, before.gids].as_flattened().contains(&AGENT);
    change_user(&before, if is_agent { WATCHER } else { AGENT })?;
    keep(CapabilitySet::empty(), CapabilitySet::empty())?;
    // A change of user makes what it has root's, as if it held a secret.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(|error| Error::Rights(error.into()))
}

/// Becomes a user, and a group of the same number.
fn change_user(before: &Confinement, id: u32) -> Result<(), Error> {
    let user = |source: Errno| Error::User { id, source: source.into() };
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    if !before.groups.is_empty() {
        set_thread_groups(&[]).map_err(user)?;
    }
    set_thread_res_gid(gid, gid, gid).map_err(user)?;
    set_thread_res_uid(uid, uid, uid).map_err(user)
}

/// From here on the calling process works with a broker's rights alone, so what it tries is what it
/// will be able to. Programs that it starts have what it has had.
pub fn act_as_broker() -> Result<(), Error> {
    let held = held()?;
    let sets = CapabilitySets { effective: BROKER & held.permitted, ..held };
    set_capabilities(None, sets).map_err(|error| Error::Rights(error.into()))
}

/// Makes the calling process a broker: it keeps what namespaces take, and nothing else.
pub fn become_broker() -> Result<(), Error> {
    call(c"merger-broker")?;
    keep(BROKER, BROKER | FOR_AGENTS)
}

/// Makes the calling process a loader. Where it has not the rights that were split from
/// `CAP_SYS_ADMIN` in 5.8, it keeps that.
pub fn become_loader() -> Result<(), Error> {
    call(c"merger-loader")?;
    let held = held()?.permitted;
    let split = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let whole = if held.contains(split) { LOADER } else { LOADER | CapabilitySet::SYS_ADMIN };
    keep(whole, whole)
}

/// The name in lists of processes, of fifteen bytes at most.
fn call(name: &CStr) -> Result<(), Error> {
    set_name(name).map_err(|error| Error::Rights(error.into()))
}

/// Sees to it that no program that is started from here inherits a descriptor but its input and outputs:
/// whoever started this one may have left it others.
pub fn keep_descriptors() -> io::Result<()> {
    let mut directory = fs::read_dir("/proc/self/fd")?;
    // By reference: what is read from is among what is found, and open until the last was dealt with.
    for entry in directory.by_ref() {
        let number: Option<RawFd> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number| *number > 2) else { continue };
        // SAFETY: the kernel has just listed it, and nobody runs in this process but this thread, which
        // closes nothing before the loop is over.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    }
    Ok(())
}

fn held() -> Result<CapabilitySets, Error> {
    capabilities(None).map_err(|error| Error::Rights(error.into()))
}

/// Keeps of what there is what is effective and what is permitted, and no more is ever gained.
fn keep(effective: CapabilitySet, permitted: CapabilitySet) -> Result<(), Error> {
    let held = held()?.permitted;
    let (effective, permitted) = (effective & held, permitted & held);
    let sets = CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() };
    clear_ambient_capability_set()
        .and_then(|()| set_capabilities(None, sets))
        .and_then(|()| set_no_new_privs(true))
        .map_err(|error| Error::Rights(error.into()))
}

/// Tries what must not be possible, and asks the kernel what is left.
fn prove(domain: Domain<'_>) -> Result<Confinement, Error> {
    // Each of these would fail without a filter, too, and mostly not as refused: there is no descriptor
    // -1, no process 0, and no command of that number. That there is a filter the kernel says below.
    let forbidden = [
        ("setns", libc::SYS_setns, [-1, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [0x4200, 0, 0]),
        ("bpf", libc::SYS_bpf, [i64::from(u16::MAX), 0, 0]),
    ];
    for (name, number, arguments) in forbidden {
        if !is_refused(number, arguments) {
            return Err(Error::Allowed(name));
        }
    }
    // Everybody may list it, but whoever is in such a domain.
    if is_entered() && domain != Domain::ReadingAll && fs::read_dir("/proc").is_ok() {
        return Err(Error::Allowed("to list /proc"));
    }
    let left = Confinement::own().map_err(Error::Status)?;
    if left.is_complete() { Ok(left) } else { Err(Error::Unconfined(left)) }
}

fn is_refused(number: libc::c_long, [a, b, c]: [i64; 3]) -> bool {
    // SAFETY: the arguments are numbers that no call takes for anything of this process: each is
    // refused by the filter, or fails before it reads a pointer.
    let result = unsafe { libc::syscall(number, a, b, c) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
