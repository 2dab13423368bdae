//! What of the file system a process of merger may open: a Landlock domain
//! (<https://docs.kernel.org/userspace-api/landlock.html>).
//!
//! Many images run as the agent's user, and to the kernel's own rules one user's processes are open to each
//! other: their environments, and by `/proc/<pid>/root` their files, the tokens of service accounts among
//! them. Whoever is in a domain is refused all of that of whoever is not in it, whatever the domain lets it
//! read; and an agent's lets it read what it needs, and nothing else.
//!
//! Kernels below 5.13, and those that were told to do without, have no such thing. Then it is said, and
//! all else holds.

use std::{
    mem,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

/// What is asked for. Older kernels have less of it, and what they have is taken.
const NEWEST: ABI = ABI::V5;

/// Where every agent reads what it is held back by and what memory it takes.
const OWN: &str = "/proc/self";

/// And how many processors it has.
const CGROUPS: &str = "/sys/fs/cgroup";

static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// What a domain is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain<'p> {
    /// Beneath these paths files are read, and nowhere anything else is done.
    Reading(&'p [&'p Path]),
    /// Files are read anywhere, and nothing else is done. That other processes are closed is what it is for.
    ReadingAll,
}

/// Whether this process is in one.
pub fn is_entered() -> bool {
    IS_ENTERED.load(Ordering::Relaxed)
}

/// Enters it, for good, with what is started later. It does nothing on a kernel that has none.
pub(super) fn enter(domain: Domain<'_>) -> Result<(), RulesetError> {
    let reads = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let all = AccessFs::from_all(NEWEST);
    let (handled, paths) = match domain {
        Domain::Reading(paths) => (all, paths),
        Domain::ReadingAll => (all & !reads, &[][..]),
    };
    let own = [OWN, CGROUPS].into_iter().map(Path::new).filter(|_| handled == all);
    let mut rules = Ruleset::default().handle_access(handled)?.create()?;
    for path in own.chain(paths.iter().copied()) {
        // Whoever reads it later says that it is not there, or for whom it is not.
        let Ok(opened) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(&opened, reads_of(path, reads)))?;
        if path == Path::new(OWN) {
            // It would be another directory once the kernel has forgotten it, which it does not while it is open.
            mem::forget(opened);
        }
    }
    let entered = rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced;
    IS_ENTERED.store(entered, Ordering::Relaxed);
    Ok(())
}

/// Of what is no directory none can be listed.
fn reads_of(path: &Path, reads: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { reads } else { reads & AccessFs::from_file(NEWEST) }
}
