//! What the kernel says that a process is held back by.

use std::{fmt, fs, io};

use crate::node::privileges::Rights;

/// What a process is held back by, as the kernel says it in `/proc/<pid>/status`.
///
/// The bounding set is not among it: it bounds what a program that is started gains, and with
/// `NoNewPrivs` that is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// `Uid`: the real one, the effective one, the saved one, and that of the file system.
    pub uids: [u32; 4],
    /// `Gid`, in the same order.
    pub gids: [u32; 4],
    /// `Groups`, beside those.
    pub groups: Vec<u32>,
    /// `CapInh`: what a program that is started could keep.
    pub inheritable: Rights,
    /// `CapPrm`: what could be taken at any time.
    pub permitted: Rights,
    /// `CapEff`: what counts.
    pub effective: Rights,
    /// `CapAmb`: what a program that is started would have.
    pub ambient: Rights,
    /// `NoNewPrivs`.
    pub no_new_privs: bool,
    /// `Seccomp`: 0 is none, 2 is a filter.
    pub seccomp: u8,
}

// === impl Confinement ===

impl Confinement {
    /// That of the calling thread.
    pub fn own() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/thread-self/status")?;
        Self::parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads the lines of `/proc/<pid>/status`. Nothing where one is missing, or is not as expected.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let line = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| *found == name).map(|(_, words)| words.trim())
        };
        let ids = |name: &str| -> Option<Vec<u32>> {
            line(name)?.split_whitespace().map(|id| id.parse().ok()).collect()
        };
        Some(Self {
            uids: ids("Uid")?.try_into().ok()?,
            gids: ids("Gid")?.try_into().ok()?,
            groups: ids("Groups")?,
            inheritable: Rights::of_set(line("CapInh")?)?,
            permitted: Rights::of_set(line("CapPrm")?)?,
            effective: Rights::of_set(line("CapEff")?)?,
            ambient: Rights::of_set(line("CapAmb")?)?,
            no_new_privs: line("NoNewPrivs")?.parse::<u8>().ok()? == 1,
            seccomp: line("Seccomp")?.parse().ok()?,
        })
    }

    /// Whether it is one user and one group alone, neither of them root's.
    #[must_use]
    pub fn is_one_user(&self) -> bool {
        let Self { uids, gids, groups, .. } = self;
        let is_one = |ids: &[u32; 4]| ids[0] != 0 && ids.iter().all(|id| *id == ids[0]);
        is_one(uids) && is_one(gids) && groups.is_empty()
    }

    /// Whether nothing is left that an agent must not have.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let &Self { inheritable, permitted, effective, ambient, no_new_privs, seccomp, .. } = self;
        let n_rights: u32 =
            [inheritable, permitted, effective, ambient].into_iter().map(Rights::n).sum();
        self.is_one_user() && n_rights == 0 && no_new_privs && seccomp == 2
    }
}

impl fmt::Display for Confinement {
    /// As the lines of the file, one behind the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            uids,
            gids,
            groups,
            inheritable,
            permitted,
            effective,
            ambient,
            no_new_privs,
            seccomp,
        } = self;
        let no_new_privs = u8::from(*no_new_privs);
        write!(f, "Uid {uids:?}, Gid {gids:?}, Groups {groups:?}, CapInh {inheritable}, ")?;
        write!(f, "CapPrm {permitted}, CapEff {effective}, CapAmb {ambient}, ")?;
        write!(f, "NoNewPrivs {no_new_privs}, Seccomp {seccomp}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of an agent.
    const AGENT: &str = "\
Name:\tmerger-agent
Uid:\t65532\t65532\t65532\t65532
Gid:\t65532\t65532\t65532\t65532
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
";

    /// The agent's with one line in the place of another, and what is then shown of it.
    #[track_caller]
    fn check(line: &str, other: &str, shown: &str) {
        let left = Confinement::parse(&AGENT.replace(line, other)).unwrap();
        assert!(!left.is_complete(), "{left}");
        assert!(left.to_string().contains(shown), "{left}");
    }

    #[test]
    fn an_agent_has_nothing_left() {
        let left = Confinement::parse(AGENT).unwrap();
        assert!(left.is_complete(), "{left}");
        assert_eq!(
            left.to_string(),
            "Uid [65532, 65532, 65532, 65532], Gid [65532, 65532, 65532, 65532], Groups [], \
             CapInh 0000000000000000, CapPrm 0000000000000000, CapEff 0000000000000000, \
             CapAmb 0000000000000000, NoNewPrivs 1, Seccomp 2"
        );
    }

    #[test]
    fn each_of_the_four_ids_counts() {
        let alike = [65532; 4];
        for place in 0..4 {
            for other in [0, 1000] {
                let mut ids = alike;
                ids[place] = other;
                let words = |ids: [u32; 4]| ids.map(|id| id.to_string()).join("\t");
                for name in ["Uid", "Gid"] {
                    let line = |ids| format!("{name}:\t{}", words(ids));
                    check(&line(alike), &line(ids), &format!("{name} {ids:?}"));
                }
            }
        }
        check("Uid:\t65532\t65532\t65532\t65532", "Uid:\t0\t0\t0\t0", "Uid [0, 0, 0, 0]");
    }

    #[test]
    fn whatever_is_left_is_too_much() {
        check("Groups:\t\n", "Groups:\t4 27 \n", "Groups [4, 27]");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let none = format!("{set}:\t0000000000000000");
            let some = format!("{set}:\t0000000000200000");
            check(&none, &some, &format!("{set} 0000000000200000"));
        }
        check("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs 0");
        check("Seccomp:\t2", "Seccomp:\t0", "Seccomp 0");
        check("Seccomp:\t2", "Seccomp:\t1", "Seccomp 1");
    }

    #[test]
    fn a_status_that_does_not_say_it_is_none() {
        for line in AGENT.lines().filter(|line| !line.starts_with(['N', 'S'])) {
            let without = AGENT.replace(&format!("{line}\n"), "");
            let says_all = Confinement::parse(&without).is_some();
            assert_eq!(says_all, line.starts_with("CapBnd"), "{line}");
        }
        assert_eq!(Confinement::parse(&AGENT.replace("Seccomp:\t2\n", "")), None);
        assert_eq!(Confinement::parse(&AGENT.replace("NoNewPrivs:\t1\n", "")), None);
        let three = AGENT.replace("Uid:\t65532\t", "Uid:\t");
        assert_eq!(Confinement::parse(&three), None);
    }
}
