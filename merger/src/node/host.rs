//! Which network namespace is the host's: the one that no pod is read in.
//!
//! It is that of the first process. What contains a machine may hide that one from everybody; then it
//! is that of the kernel's own threads, which only the first PID namespace has. Inside of a user
//! namespace neither may be seen, but nobody in there can enter the host's, so it is enough that this
//! process' own is no pod's.

use std::{env, fs, io};

use crate::{
    identity::Cookie,
    netns::Netns,
    node::{
        Error,
        processes::{self, Processes},
    },
};

/// The process that all others descend from.
pub(crate) const FIRST: u32 = 1;

/// The first user namespace: `PROC_USER_INIT_INO` in
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h>.
const OUTERMOST: &str = "user:[4026531837]";

/// The first PID namespace: `PROC_PID_INIT_INO` in the same place.
const FIRST_PIDS: &str = "pid:[4026531836]";

/// Whether this process is in no PID namespace but the first. Where that is not said, it is.
pub(crate) fn is_in_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").map_or(true, |pids| *pids == *FIRST_PIDS)
}

/// Whether a kubelet has started this: it tells every container where the API server is.
pub(crate) fn is_in_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether this process is in no user namespace but the first.
pub(crate) fn is_outermost() -> bool {
    fs::read_link("/proc/self/ns/user").is_ok_and(|user| *user == *OUTERMOST)
}

/// The host's namespace, as these processes call it; `before` is what it was known to be. Fails where
/// nobody is seen who would say it.
pub(crate) fn namespace(processes: &Processes, before: Option<Cookie>) -> Result<Cookie, Error> {
    if let Some(first) = processes.iter().find(|process| process.pid == FIRST) {
        return Ok(first.netns);
    }
    if let Some(kernels) = processes::netns_of_kernel() {
        return name(&kernels, processes).map_err(Error::Processes);
    }
    // What was made here is another as soon as nobody is in it who was.
    match before.filter(|before| !before.is_made()) {
        Some(before) => Ok(before),
        None if is_outermost() => {
            Err(Error::Hidden { n_hidden: processes.hidden().count().max(1) })
        }
        None => Netns::own().and_then(|own| name(&own, processes)).map_err(Error::Processes),
    }
}

fn name(netns: &Netns, processes: &Processes) -> io::Result<Cookie> {
    match processes.numbers() {
        Some(_) => Ok(processes.cookie_of_key(Cookie(netns.inode()?))),
        None => netns.cookie(),
    }
}
