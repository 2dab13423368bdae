//! The rights of this process, and what each is for.
//!
//! They are looked at when something was refused, to say which right would have helped. Whether a
//! thing is possible is found out by trying: a user namespace grants rights that the kernel then
//! does not honour everywhere.

use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};

/// A right of this process; the number is the kernel's, in
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// To read the tables of files of other users' processes.
    DacReadSearch = 2,
    /// To end a process of another user.
    Kill = 5,
    /// To become another group.
    SetGid = 6,
    /// To become another user.
    SetUid = 7,
    /// To look into the processes of other users.
    SysPtrace = 19,
    /// To enter network namespaces.
    SysAdmin = 21,
    /// To lock the memory of maps, below 5.11.
    SysResource = 24,
    /// To load programs that read kernel memory.
    Perfmon = 38,
    /// To load programs and make maps.
    Bpf = 39,
}

/// Capabilities, as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

// === impl Capability ===

impl Capability {
    /// The name that a manifest or `setpriv` takes, after `CAP_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::Kill => "CAP_KILL",
            Self::SetGid => "CAP_SETGID",
            Self::SetUid => "CAP_SETUID",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// What cannot be done without it.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::DacReadSearch => "to see which listeners other users' processes hold",
            Self::Kill => "to end what reads metrics, which is another user",
            Self::SetGid | Self::SetUid => "to give up root for what reads metrics",
            Self::SysPtrace => "to open the namespaces and descriptors of other users' processes",
            Self::SysAdmin => "to enter the network namespaces of pods",
            Self::SysResource => "to lock the memory of maps on kernels below 5.11",
            Self::Perfmon => "to load programs that read sockets and processes",
            Self::Bpf => "to load the kernel part and make its maps",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.purpose())
    }
}

// === impl Rights ===

impl Rights {
    /// Those of the calling thread.
    pub fn own() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/thread-self/status")?;
        Self::parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads the line `CapEff` of `/proc/<pid>/status`.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        Self::of_set(status.lines().find_map(|line| line.strip_prefix("CapEff:"))?)
    }

    /// Reads a set as the kernel writes it: a hexadecimal number.
    #[must_use]
    pub fn of_set(words: &str) -> Option<Self> {
        u64::from_str_radix(words.trim(), 16).ok().map(Self)
    }

    /// How many there are.
    #[must_use]
    pub fn n(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set has it. `CAP_SYS_ADMIN` stands for the two that were split from it in 5.8.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        let bit = |capability: Capability| self.0 & (1 << capability as u64) != 0;
        let split = matches!(capability, Capability::Bpf | Capability::Perfmon);
        bit(capability) || (split && bit(Capability::SysAdmin))
    }

    /// Those of a list that the set lacks.
    #[must_use]
    pub fn lacking(self, wanted: &[Capability]) -> Vec<Capability> {
        wanted.iter().copied().filter(|&capability| !self.has(capability)).collect()
    }
}

impl fmt::Display for Rights {
    /// As the kernel writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Capability; 4] =
        [Capability::SysPtrace, Capability::SysAdmin, Capability::Perfmon, Capability::Bpf];

    #[track_caller]
    fn check(bits: &str, lacking: &[Capability]) {
        let status = format!("Name:\tx\nCapPrm:\tffff\nCapEff:\t{bits}\nCapBnd:\t0\n");
        assert_eq!(Rights::parse(&status).unwrap().lacking(&ALL), lacking);
    }

    #[test]
    fn what_is_lacking_is_named() {
        check("000001fffeffffff", &[]);
        check("0000000000000000", &ALL);
        check("000000c000200000", &[Capability::SysPtrace]);
        check("000000c000080000", &[Capability::SysAdmin]);
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        check("0000000000280000", &[]);
    }

    #[test]
    fn a_status_without_the_line_is_none() {
        assert_eq!(Rights::parse("CapPrm:\tffff\n"), None);
        assert_eq!(Rights::parse("CapEff:\tno\n"), None);
    }
}
