//! The processes that cannot be looked into.
//!
//! They are there, so they are told from those that have ended: what they hold is not closed, and whose
//! it is nobody knows.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU16};

use crate::{
    identity::Cookie,
    listeners::{Held, Row},
    node::{
        Error, host,
        privileges::{Capability, Rights},
        processes::{Hidden, Processes, Unseen},
    },
    target::Doubt,
};

/// Whether it is all right that some processes cannot be looked into when the broker starts. Later on,
/// nothing is asked while it is not.
pub(super) fn admit(processes: &Processes) -> Result<(), Error> {
    let cgroups = processes.iter().map(|process| &*process.cgroup);
    if is_alone(cgroups, host::is_in_first_pid_namespace(), host::is_in_pod()) {
        return Err(Error::Alone);
    }
    let n_hidden = processes.hidden().count();
    if n_hidden == 0 {
        return Ok(());
    }
    let has_right = Rights::own().is_ok_and(|rights| rights.has(Capability::SysPtrace));
    if !has_right || unseen(processes).is_some() {
        return Err(Error::Hidden { n_hidden });
    }
    tracing::warn!(n_hidden, "processes cannot be looked into, and are nobody's");
    Ok(())
}

/// Whether nobody is seen but the pod that merger is in: `hostPID` was forgotten. A node that is itself a
/// container, as kind's are, has no first PID namespace either, but a kubelet, in another cgroup.
fn is_alone<'p>(
    cgroups: impl IntoIterator<Item = &'p str>,
    is_first: bool,
    is_in_pod: bool,
) -> bool {
    let mut cgroups = cgroups.into_iter();
    let first = cgroups.next();
    !is_first && is_in_pod && first.is_none_or(|first| cgroups.all(|cgroup| cgroup == first))
}

/// The first of the processes that cannot be looked into and ought to be.
///
/// Whose a namespace is, its oldest process decides, and whoever is hidden may hold any listener. The
/// right to see it may be there and be refused by a security module; inside a user namespace it says
/// nothing of those outside, which has no pods of ours. The first process of all may be hidden from
/// everybody by what contains this machine, and is no pod's.
pub(super) fn unseen(processes: &Processes) -> Option<Hidden> {
    let pid = processes.hidden().filter(|&pid| pid != host::FIRST).min()?;
    host::is_outermost().then_some(Hidden { pid, why: Unseen::Missing(Capability::SysPtrace) })
}

/// The listeners that a process holds which cannot be looked into. Whose that is nobody knows, but it is
/// there: they are not closed, and others have them not for themselves.
pub(super) fn holders(
    rows: &mut [Row],
    is_hidden: impl Fn(u32) -> bool,
) -> HashMap<(Cookie, IpAddr, NonZeroU16), Hidden> {
    let mut found = HashMap::new();
    for Row { netns, address, port, held_by } in rows {
        if let Some(Held { pid, .. }) = held_by.take_if(|held| is_hidden(held.pid)) {
            found.insert(
                (*netns, *address, *port),
                Hidden { pid, why: Unseen::Missing(Capability::SysPtrace) },
            );
        }
    }
    found
}

// === impl Doubt ===

impl From<Hidden> for Doubt {
    fn from(Hidden { pid, why }: Hidden) -> Self {
        Self::HolderHidden { pid, why: why.to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners;

    #[test]
    fn a_listener_that_a_hidden_process_holds_as_well_is_no_pods_alone() {
        let port = NonZeroU16::MIN;
        let (netns, address) = (Cookie(2), IpAddr::from([127, 0, 0, 1]));
        let row = |pid| Row { netns, address, port, held_by: Some(Held { started: 5, pid }) };
        let mut rows = vec![row(7), row(8)];
        let hidden = holders(&mut rows, |pid| pid == 8);
        assert_eq!(hidden.get(&(netns, address, port)).map(|hidden| hidden.pid), Some(8));
        // Without the other, it is listened on still.
        for (rows, expected) in [(&rows[..], vec![7]), (&rows[1..], vec![])] {
            let joined = listeners::join(rows, |held| (held.pid == 7).then(|| "".into()));
            let holders = joined.iter().map(|one| one.holders.iter().map(|holder| holder.pid));
            assert_eq!(holders.map(Iterator::collect::<Vec<_>>).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn only_the_first_process_may_be_hidden() {
        let hiding = |pid| Processes::default().hiding(pid);
        assert_eq!(unseen(&hiding(host::FIRST)), None);
        let found = unseen(&hiding(host::FIRST).hiding(7)).map(|hidden| hidden.pid);
        assert_eq!(found, host::is_outermost().then_some(7));
    }

    const POD: &str = "/kubepods/pod6d657267-6572-4000-8000-000000000000/0123456789ab";

    #[track_caller]
    fn check(cgroups: &[&str], [is_first, is_in_pod]: [bool; 2], expected: bool) {
        assert_eq!(is_alone(cgroups.iter().copied(), is_first, is_in_pod), expected, "{cgroups:?}");
    }

    #[test]
    fn a_pod_that_sees_itself_alone_was_not_given_the_hosts_processes() {
        // With a cgroup namespace of its own, and without.
        check(&["/", "/"], [false, true], true);
        check(&[POD], [false, true], true);
        check(&[], [false, true], true);
        // The first PID namespace is the host's, whoever runs there.
        check(&["/", "/"], [true, true], false);
        // A node in a container has a kubelet, and somebody's machine is no pod.
        check(&["/", "/../../../kubelet.slice/kubelet.service"], [false, true], false);
        check(&["/", "/"], [false, false], false);
    }
}
