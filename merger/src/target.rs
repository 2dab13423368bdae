//! Who is scraped: the pods, the listeners, and the sources that follow from both.

use std::{net::IpAddr, num::NonZeroU16};

use crate::identity::Cookie;

/// A TCP socket that accepts connections, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The namespace of the socket, which need not be that of its holders.
    pub netns: Cookie,
    /// The address it is bound to; unspecified where it is bound to all.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: NonZeroU16,
    /// The processes that have it open, oldest first. None where no table of files holds it.
    pub holders: Vec<Holder>,
}

/// A process that holds a listener open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id in the host's PID namespace.
    pub pid: u32,
    /// Its cgroup, read as [`crate::identity::Process::cgroup`] is.
    pub cgroup: String,
}
