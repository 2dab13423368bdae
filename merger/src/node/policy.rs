//! Which connections may be made inside a pod's namespace: the rule, over plain values.
//!
//! The one who asks may be mistaken or taken over, so the rule trusts only what the privileged side
//! has seen itself. What it cannot know here, whether an address is the namespace's own and whether
//! the socket was born there, is checked inside the namespace, before and after.

use std::{collections::HashSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Cookie,
    node::{Connect, processes::Unseen},
};

/// The users and groups that the meshes' proxies run as: Istio, Kuma, OSM, Linkerd.
///
/// Their rules send what such a user says to the pod's own address back into the proxy.
const PROXIES: [u32; 4] = [1337, 5678, 1500, 2102];

/// What the privileged side knows of the node.
#[derive(Clone, Debug)]
pub struct Known {
    /// The host's own namespace.
    pub host: Cookie,
    /// Every namespace that had a process in the last sweep.
    pub netns: HashSet<Cookie>,
    /// Those of them that are a pod's own: the oldest process in there is the oldest of a pod.
    pub pods: HashSet<Cookie>,
}

/// Beside the pods' namespaces, where connections may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// To the host's, where an owner is named.
    pub host: bool,
    /// To those of nobody's pod.
    pub strangers: bool,
}

/// As whom the connection would be made.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The effective user, which the meshes' rules look at.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

/// What remains to be checked inside the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Nothing: loopback is nobody else's.
    Loopback,
    /// That the address is one of the namespace's own.
    OwnAddress(IpAddr),
}

/// Why a connection is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The host's own services are not a pod's.
    #[error("the host's network namespace is not entered")]
    Host,
    /// An owner says whose a listener of the host is. Of a pod's namespace that is known.
    #[error("an owner is named for a namespace that is not the host's")]
    NotHost,
    /// The listener that the pod was known to have is gone.
    #[error("nothing listens there any more")]
    NoListener,
    /// A socket in the host's namespace that is in no table of files may be anybody's.
    #[error(
        "no process is seen to hold the socket in the host's namespace, so it may be anybody's"
    )]
    NoHolder,
    /// Not all who hold the socket are of the pod.
    #[error("process {pid} holds the socket in the host's namespace, and is not of this pod")]
    ForeignHolder {
        /// The process that holds it.
        pid: u32,
    },
    /// It cannot be ruled out that somebody else holds the socket.
    #[error(
        "the files of process {pid} cannot be seen, so whose the socket is cannot be known: {why}"
    )]
    HolderHidden {
        /// The process that may hold it.
        pid: u32,
        /// What they are hidden by.
        why: Unseen,
    },
    /// Beyond what the kernel was asked for, another listener may answer at the address.
    #[error(
        "the host's network namespace has more listeners than are looked at, so whose the socket is \
         cannot be known"
    )]
    Overfull,
    /// No process was in it in the last sweep.
    #[error("no process is known in network namespace {0}")]
    Unknown(Cookie),
    /// That of a container that is no pod's, or of a service with a network of its own, or one that a pod
    /// has made inside its own.
    #[error("the oldest process in network namespace {0} is not the oldest of a pod")]
    Stranger(Cookie),
    /// Not `127.0.0.1`, `::1`, or an address of an interface.
    #[error("{0} is neither 127.0.0.1, ::1 nor an address of the pod")]
    Foreign(IpAddr),
    /// The rules of a namespace are run by whoever connects in there.
    #[error(
        "a connection in this network namespace took {ms} ms, as its own iptables or nftables rules take \
         that long, so it has to wait: simplify them"
    )]
    Slow {
        /// What the last slow one took, in milliseconds.
        ms: u32,
    },
    /// Port 0 is no port.
    #[error("port 0 is no port")]
    NoPort,
    /// The mesh would take it for its own proxy.
    #[error("running as user or group {0}, which belongs to a mesh's proxy: run as another")]
    Proxy(u32),
}

/// Decides, as far as that can be done from outside.
///
/// In the host's namespace, its place in `reach` and an owner are not enough: who holds the listener is then
/// to be looked at. Elsewhere nobody has to be named.
pub fn permit(
    request: Connect,
    known: &Known,
    caller: Caller,
    reach: Reach,
) -> Result<Permit, Refusal> {
    let Connect { netns, address, owner } = request;
    admit(caller)?;
    let is_host = netns == known.host;
    if is_host && !(reach.host && owner.is_some()) {
        return Err(Refusal::Host);
    }
    if !is_host && owner.is_some() {
        return Err(Refusal::NotHost);
    }
    if !known.netns.contains(&netns) {
        return Err(Refusal::Unknown(netns));
    }
    if !(is_host || reach.strangers || known.pods.contains(&netns)) {
        return Err(Refusal::Stranger(netns));
    }
    if address.port() == 0 {
        return Err(Refusal::NoPort);
    }
    destination(address.ip())
}

/// Refuses whoever no connection would be made for.
pub fn admit(caller: Caller) -> Result<(), Refusal> {
    match PROXIES.iter().find(|id| [caller.uid, caller.gid].contains(id)) {
        Some(&proxy) => Err(Refusal::Proxy(proxy)),
        None => Ok(()),
    }
}

/// Of 127.0.0.0/8 only the first: the meshes' exceptions are for it alone.
fn destination(address: IpAddr) -> Result<Permit, Refusal> {
    let is_loopback = match address {
        IpAddr::V4(v4) => v4.octets() == [127, 0, 0, 1],
        IpAddr::V6(v6) => v6.is_loopback(),
    };
    // Written as IPv6, an IPv4 address would be compared, and routed, as something else.
    let is_mapped = address != address.to_canonical();
    let is_special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    match (is_loopback, is_mapped || is_special) {
        (true, _) => Ok(Permit::Loopback),
        (false, true) => Err(Refusal::Foreign(address)),
        (false, false) => Ok(Permit::OwnAddress(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Cookie = Cookie(1);
    const POD: Cookie = Cookie(7);
    /// A container's that is no pod's.
    const STRANGE: Cookie = Cookie(9);
    const ROOT: Caller = Caller { uid: 0, gid: 0 };

    fn known() -> Known {
        let netns = HashSet::from([HOST, POD, STRANGE]);
        Known { host: HOST, netns, pods: HashSet::from([POD]) }
    }

    #[track_caller]
    fn check(netns: Cookie, address: &str, caller: Caller, expected: Result<Permit, Refusal>) {
        let request = Connect { netns, address: address.parse().unwrap(), owner: None };
        for host in [false, true] {
            let reach = Reach { host, strangers: false };
            assert_eq!(permit(request, &known(), caller, reach), expected, "{address}");
        }
    }

    #[track_caller]
    fn check_owned(netns: Cookie, host: bool, expected: Result<Permit, Refusal>) {
        let reach = Reach { host, strangers: false };
        let (address, owner) = (([127, 0, 0, 1], 80).into(), "a".parse().ok());
        let request = Connect { netns, address, owner };
        assert_eq!(permit(request, &known(), ROOT, reach), expected);
    }

    #[test]
    fn the_host_is_permitted_where_it_was_opted_in_and_an_owner_is_named() {
        check_owned(HOST, true, Ok(Permit::Loopback));
        check_owned(HOST, false, Err(Refusal::Host));
        check_owned(POD, true, Err(Refusal::NotHost));
        check_owned(POD, false, Err(Refusal::NotHost));
    }

    #[track_caller]
    fn check_foreign(address: &str) {
        let socket: std::net::SocketAddr = address.parse().unwrap();
        check(POD, address, ROOT, Err(Refusal::Foreign(socket.ip())));
    }

    #[test]
    fn loopback_is_permitted() {
        check(POD, "127.0.0.1:80", ROOT, Ok(Permit::Loopback));
        check(POD, "[::1]:80", ROOT, Ok(Permit::Loopback));
    }

    #[test]
    fn another_address_is_checked_inside() {
        for address in ["10.1.2.3:80", "[fd00::1]:80"] {
            let socket: std::net::SocketAddr = address.parse().unwrap();
            check(POD, address, ROOT, Ok(Permit::OwnAddress(socket.ip())));
        }
    }

    #[test]
    fn the_rest_of_loopback_is_refused() {
        check_foreign("127.0.0.2:80");
        check_foreign("127.1.0.1:80");
    }

    #[test]
    fn ipv4_disguised_as_ipv6_is_refused() {
        check_foreign("[::ffff:127.0.0.1]:80");
        check_foreign("[::ffff:169.254.169.254]:80");
    }

    #[test]
    fn an_address_of_nobody_or_of_many_is_refused() {
        check_foreign("0.0.0.0:80");
        check_foreign("[::]:80");
        check_foreign("224.0.0.1:80");
        check_foreign("[ff02::1]:80");
    }

    #[test]
    fn the_host_is_refused_though_known() {
        check(HOST, "127.0.0.1:80", ROOT, Err(Refusal::Host));
    }

    #[test]
    fn a_namespace_never_seen_is_refused() {
        check(Cookie(8), "127.0.0.1:80", ROOT, Err(Refusal::Unknown(Cookie(8))));
    }

    #[test]
    fn a_namespace_of_nobodys_pod_is_refused_unless_a_test_asks_for_it() {
        let address = ([127, 0, 0, 1], 80).into();
        check(STRANGE, "127.0.0.1:80", ROOT, Err(Refusal::Stranger(STRANGE)));
        let request = Connect { netns: STRANGE, address, owner: None };
        let reach = Reach { host: false, strangers: true };
        assert_eq!(permit(request, &known(), ROOT, reach), Ok(Permit::Loopback));
    }

    #[test]
    fn port_zero_is_refused() {
        check(POD, "127.0.0.1:0", ROOT, Err(Refusal::NoPort));
    }

    #[test]
    fn as_a_proxy_nothing_is_permitted() {
        for id in PROXIES {
            let refused = Err(Refusal::Proxy(id));
            check(POD, "127.0.0.1:80", Caller { uid: id, gid: 0 }, refused);
            check(POD, "127.0.0.1:80", Caller { uid: 0, gid: id }, refused);
        }
    }
}
