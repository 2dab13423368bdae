//! Which network namespace is which pod's: the rule, over plain values.
//!
//! A wrong answer here would publish one pod's samples under another's name, so the rule gives an
//! answer only where every fact agrees, and a reason everywhere else.

use std::fmt;

pub mod cgroup_path;

/// A network namespace, for as long as the machine runs.
///
/// The kernel never gives a cookie twice, unlike the inode number that `/proc/<pid>/ns/net` shows.
/// Source: `net_cookie` in `include/net/net_namespace.h`, read by `SO_NETNS_COOKIE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// A process, as one sweep of the node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in the host's PID namespace. Reused by the kernel: an identity only with `started`.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
    /// The network namespace that it is in.
    pub netns: Cookie,
    /// Its cgroup, as the first line of `/proc/<pid>/cgroup` that names a pod says, else the last.
    pub cgroup: String,
}

// === impl Cookie ===

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
