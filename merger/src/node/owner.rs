//! Whose a listener in the host's namespace is: the rule, and a fresh look for it.
//!
//! There every listener is everybody's, so a pod of the host's network is read only where, at that
//! moment, all who hold the socket are of that pod. It is asked before the connection is begun, again
//! before a Secret is shown, and after the body was read. What happens between two looks and is undone
//! before the second is not seen: nothing that lives on the host can be kept from that.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use crate::{
    identity::{PodUid, Process, cgroup_path},
    listeners::{Socket, proc, sock_diag},
    netns::Netns,
    node::{
        ConnectError,
        host::FIRST,
        policy::Refusal,
        processes::{self, Hidden, Processes},
        protocol::Unconnected,
        sight::files::{OF_EACH, OF_ONE, pod_or_cgroup},
    },
    target::Holder,
};

/// Who holds the sockets that may answer at some addresses of the host, at one moment.
pub(crate) struct Owners(Result<Vec<(Socket, Vec<Holder>)>, Unconnected>);

// === impl Owners ===

impl Owners {
    /// Where nothing was looked for, nobody is seen to hold anything.
    pub(crate) fn unknown() -> Self {
        Self(Ok(vec![]))
    }

    /// Looks who holds the sockets that would answer at these addresses in the namespace `host`, now.
    pub(crate) fn look(host: &Netns, addresses: &[SocketAddr], known: &Processes) -> Self {
        Self(look(host, addresses, known).map_err(Unconnected::from))
    }

    /// Whether this pod alone holds what would answer at an address.
    pub(crate) fn check(&self, address: SocketAddr, uid: PodUid) -> Result<(), ConnectError> {
        let held = self.0.as_ref().map_err(|&why| ConnectError::from(why))?;
        let here = held.iter().filter(|(socket, _)| answers(socket, address));
        let holders: Vec<&[Holder]> = here.map(|(_, holders)| &holders[..]).collect();
        Ok(judge(&holders, uid)?)
    }
}

fn look(
    host: &Netns,
    addresses: &[SocketAddr],
    known: &Processes,
) -> Result<Vec<(Socket, Vec<Holder>)>, ConnectError> {
    let told = match sock_diag::listeners_of(host) {
        Ok(told) => told.into_iter().map(|one| one.socket).collect(),
        Err(_) => proc::listeners_of(host).map_err(ConnectError::Namespace)?,
    };
    let mut sockets = whole(told)?;
    sockets.retain(|socket| addresses.iter().any(|&address| answers(socket, address)));
    let held = holders(&sockets, known, OF_ONE)?;
    Ok(sockets.into_iter().zip(held).collect())
}

/// What was told, if that is all. A family of which not all was told has [`sock_diag::LIMIT`] sockets, less
/// those that were told twice, and that is not half of them; a table of `/proc` that was cut has more.
fn whole(told: Vec<Socket>) -> Result<Vec<Socket>, Refusal> {
    if told.len() < sock_diag::LIMIT / 2 { Ok(told) } else { Err(Refusal::Overfull) }
}

/// All holders of each socket that may answer have to be of this pod, and there has to be one.
fn judge(held: &[&[Holder]], uid: PodUid) -> Result<(), Refusal> {
    if held.is_empty() {
        return Err(Refusal::NoListener);
    }
    for holders in held {
        let is_own = |holder: &Holder| {
            cgroup_path::owner(&holder.cgroup).is_some_and(|owner| owner.pod_uid == uid.as_str())
        };
        match holders.iter().find(|holder| !is_own(holder)) {
            Some(foreign) => return Err(Refusal::ForeignHolder { pid: foreign.pid }),
            None if holders.is_empty() => return Err(Refusal::NoHolder),
            None => {}
        }
    }
    Ok(())
}

/// Whether the kernel may give a connection to `address` to this socket. Of several it chooses one,
/// and which one is not relied on.
fn answers(socket: &Socket, address: SocketAddr) -> bool {
    let Socket { address: bound, port, .. } = socket;
    let is_there = |bound: IpAddr| bound.is_unspecified() || bound == address.ip().to_canonical();
    port.get() == address.port() && is_there(bound.to_canonical())
}

/// The holders of each of these sockets. Of the files of one pod, or of one cgroup outside of pods, so many
/// are looked at as `share` says, by the rule of `sight/files.rs`, so that whoever has more costs itself. All
/// that no sweep has seen yet have one share together. Fails where somebody's files cannot be seen.
fn holders(
    sockets: &[Socket],
    known: &Processes,
    share: usize,
) -> Result<Vec<Vec<Holder>>, ConnectError> {
    if sockets.is_empty() {
        return Ok(vec![]);
    }
    let wanted: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut held: HashMap<u64, Vec<u32>> = HashMap::new();
    let whose: HashMap<u32, &Process> =
        known.iter().map(|process| (process.pid, process)).collect();
    let mut shares: HashMap<String, usize> = HashMap::new();
    for pid in processes::pids().map_err(ConnectError::Namespace)? {
        let of = whose.get(&pid).map(|process| pod_or_cgroup(process)).unwrap_or_default();
        let left = shares.entry(of).or_insert(share);
        let most = (*left / 2).max(OF_EACH);
        let mut room = most;
        let open = match processes::open_sockets(pid, &mut room) {
            Ok(open) => open,
            // Whatever contains this machine hides it from everybody, and that was admitted.
            Err(_) if pid == FIRST && !known.iter().any(|process| process.pid == FIRST) => None,
            Err(Hidden { pid, why }) => {
                return Err(Refusal::HolderHidden { pid, why }.into());
            }
        };
        *left = left.saturating_sub(most - room);
        let inodes = open.into_iter().flat_map(|(_, inodes)| inodes);
        for inode in inodes.filter(|inode| wanted.contains(inode)) {
            held.entry(inode).or_default().push(pid);
        }
    }
    let found = known.some(held.values().flatten().copied());
    let found = found.map_err(ConnectError::Namespace)?;
    let cgroups: HashMap<u32, &str> =
        found.iter().map(|process| (process.pid, &*process.cgroup)).collect();
    // One that has ended meanwhile is nobody, as its id may be another's: then it is refused.
    let holder = |pid: &u32| {
        let cgroup = cgroups.get(pid).copied().unwrap_or_default();
        Holder { pid: *pid, cgroup: cgroup.into() }
    };
    let of = |socket: &Socket| held.get(&socket.inode).into_iter().flatten().map(holder).collect();
    Ok(sockets.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        net::TcpListener,
        os::{
            fd::{AsRawFd as _, OwnedFd},
            unix::fs::MetadataExt as _,
        },
        process::Command,
    };

    use super::*;

    /// Each socket as the pods of its holders, `-` for one that is of none.
    #[track_caller]
    fn check(held: &[&str], expected: Result<(), Refusal>) {
        let holder = |(n, pod): (usize, &str)| {
            let cgroup = match pod {
                "-" => "/system.slice/x.service".into(),
                pod => format!("/kubepods/pod{pod}/0123456789ab").into(),
            };
            Holder { pid: u32::try_from(n).unwrap() + 1, cgroup }
        };
        let held: Vec<Vec<Holder>> = held
            .iter()
            .map(|holders| holders.split_whitespace().enumerate().map(holder).collect())
            .collect();
        let held: Vec<&[Holder]> = held.iter().map(|holders| &holders[..]).collect();
        assert_eq!(judge(&held, "a".parse().unwrap()), expected);
    }

    #[test]
    fn all_holders_are_of_the_pod_or_it_is_not_asked() {
        check(&["a"], Ok(()));
        check(&["a a", "a"], Ok(()));
        check(&["b"], Err(Refusal::ForeignHolder { pid: 1 }));
        check(&["-"], Err(Refusal::ForeignHolder { pid: 1 }));
        check(&["a b"], Err(Refusal::ForeignHolder { pid: 2 }));
        check(&["a", "b"], Err(Refusal::ForeignHolder { pid: 1 }));
    }

    #[test]
    fn a_socket_that_nobody_holds_or_that_is_none_is_not_asked() {
        check(&[], Err(Refusal::NoListener));
        check(&[""], Err(Refusal::NoHolder));
        check(&["a", ""], Err(Refusal::NoHolder));
    }

    #[test]
    fn who_has_more_files_than_its_share_costs_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().try_into().unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
        let sockets = [Socket { address: IpAddr::from([127, 0, 0, 1]), port, inode }];
        let _more: Vec<File> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
        // Whoever has nothing left has its lowest descriptors looked at still.
        let mut child =
            Command::new("sleep").arg("600").stdin(OwnedFd::from(listener)).spawn().unwrap();
        for share in [0, 1, OF_ONE] {
            match holders(&sockets, &Processes::default(), share) {
                Ok(held) => assert!(held[0].iter().any(|holder| holder.pid == child.id())),
                // Without rights it ends at another's process, which is refused.
                Err(ConnectError::Refused(Refusal::HolderHidden { .. })) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(holders(&[], &Processes::default(), 0).is_ok(), "there is nothing to be held");
    }

    #[test]
    fn of_more_listeners_than_are_told_none_is_asked() {
        let (address, port) = (IpAddr::from([127, 0, 0, 1]), 80.try_into().unwrap());
        let socket = Socket { address, port, inode: 1 };
        assert_eq!(whole(vec![socket; 100]).map(|told| told.len()), Ok(100));
        assert_eq!(whole(vec![socket; sock_diag::LIMIT]).map(|_| ()), Err(Refusal::Overfull));
    }

    #[test]
    fn whatever_may_answer_is_looked_at() {
        let socket = |bound: &str| {
            let bound: SocketAddr = bound.parse().unwrap();
            let port = bound.port().try_into().unwrap();
            Socket { address: bound.ip(), port, inode: 1 }
        };
        let dialled = "127.0.0.1:80".parse().unwrap();
        for bound in ["127.0.0.1:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(answers(&socket(bound), dialled), "{bound}");
        }
        for bound in ["127.0.0.1:81", "10.0.0.1:80", "[::1]:80"] {
            assert!(!answers(&socket(bound), dialled), "{bound}");
        }
    }
}
