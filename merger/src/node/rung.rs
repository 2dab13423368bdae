//! Which rung works here: each is tried, the best first.

use std::net::TcpListener;
#[cfg(feature = "ebpf")]
use std::{io, process};

use crate::{
    cause::chain,
    listeners::{
        Rung,
        sock_diag::{self, message::Told},
    },
    netns::Identity,
    node::{Error, Options, Rungs, hints::Hints},
};
#[cfg(feature = "ebpf")]
use crate::{
    identity::Cookie,
    listeners::ebpf,
    netns::Netns,
    node::handover::{self, Order},
};

/// What the listeners are known by.
pub(crate) enum Source {
    /// Rung 1.
    #[cfg(feature = "ebpf")]
    Ebpf(Box<ebpf::Sockets>),
    /// Rung 2. What they have lost is asked of them, and no snapshot.
    #[cfg(feature = "ebpf")]
    EbpfSockDiag(Box<ebpf::Sockets>),
    /// Rung 3.
    SockDiag,
    /// Rung 4.
    Proc,
}

/// A rung that works.
pub(crate) struct Opened {
    pub(crate) source: Source,
    pub(crate) hints: Hints,
    pub(crate) rung: Rung,
    /// Why it is not a better one.
    pub(crate) fallback: Option<String>,
}

/// Opens the best rung that is asked for and works.
pub(crate) fn open(options: Options, identity: Identity) -> Result<Opened, Error> {
    if let Rungs::Only(rung) = options.rung {
        let opened = by(rung, options, identity).map_err(|reason| Error::Rung { rung, reason })?;
        let asked_for = (rung != Rung::Ebpf).then(|| "asked for".into());
        return Ok(Opened { fallback: opened.fallback.or(asked_for), ..opened });
    }
    // Whoever starts the node tells people: see `Node::fallback`.
    let mut reasons = vec![];
    for rung in [Rung::Ebpf, Rung::EbpfSockDiag, Rung::SockDiag] {
        match by(rung, options, identity) {
            Ok(opened) => {
                let fallback = opened.fallback.or_else(|| join(&reasons));
                return Ok(Opened { fallback, ..opened });
            }
            Err(reason) => reasons.push((rung, reason)),
        }
    }
    Ok(Opened { fallback: join(&reasons), ..by_clock(Source::Proc, Rung::Proc) })
}

/// Two rungs that need the same are often missing for the same.
fn join(reasons: &[(Rung, String)]) -> Option<String> {
    let alike = reasons.chunk_by(|(_, one), (_, next)| one == next);
    let told = alike.filter_map(|alike| {
        let names: Vec<&str> = alike.iter().map(|(rung, _)| rung.as_str()).collect();
        Some(format!("{}: {}", names.join(", "), alike.first()?.1))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Tries one rung. The last works everywhere.
fn by(rung: Rung, options: Options, identity: Identity) -> Result<Opened, String> {
    match rung {
        Rung::Ebpf => ebpf(options, identity),
        Rung::EbpfSockDiag => ebpf_sock_diag(options, identity),
        Rung::SockDiag => prove_sock_diag().map(|()| by_clock(Source::SockDiag, rung)),
        Rung::Proc => Ok(by_clock(Source::Proc, rung)),
    }
}

fn by_clock(source: Source, rung: Rung) -> Opened {
    Opened { source, hints: Hints::Clock, rung, fallback: None }
}

/// Opens a listener and looks for it: a kernel may answer, and know nothing of TCP.
pub(crate) fn prove_sock_diag() -> Result<(), String> {
    let own = TcpListener::bind("127.0.0.1:0").map_err(|error| chain(&error))?;
    let port = own.local_addr().map_err(|error| chain(&error))?.port();
    let told = sock_diag::listeners_of_own().map_err(|error| match error {
        sock_diag::Error::Socket(_) | sock_diag::Error::Answer(_) => {
            let next_step = "needs CONFIG_INET_TCP_DIAG, or its module: modprobe tcp_diag";
            format!("{}: {next_step}", chain(&error))
        }
        other => chain(&other),
    })?;
    let is_own = |told: &Told| told.socket.port.get() == port;
    told.iter().any(is_own).then_some(()).ok_or_else(|| "a listener of our own is not told".into())
}

#[cfg(not(feature = "ebpf"))]
fn ebpf(_: Options, _: Identity) -> Result<Opened, String> {
    Err("built without the feature ebpf".into())
}

#[cfg(not(feature = "ebpf"))]
use ebpf as ebpf_sock_diag;

#[cfg(feature = "ebpf")]
fn ebpf(options: Options, identity: Identity) -> Result<Opened, String> {
    let (mut source, mut changes) = load(options, identity, true)?;
    prove_changes(&mut changes)?;
    source.within = options.walks.within;
    match prove_walk(&mut source, identity) {
        Ok(()) => Ok(by_changes(Source::Ebpf(Box::new(source)), changes, Rung::Ebpf)),
        Err(Unproven::Slow(error)) => {
            // It may be short later: what follows is `sight::descent`.
            let reason = format!("{}: {}", Rung::Ebpf, chain(&error));
            prove_sock_diag().map_err(|missing| format!("{reason}; {missing}"))?;
            let source = Source::EbpfSockDiag(Box::new(source));
            let opened = by_changes(source, changes, Rung::EbpfSockDiag);
            Ok(Opened { fallback: Some(reason), ..opened })
        }
        Err(Unproven::Blind(reason)) => Err(reason),
    }
}

#[cfg(feature = "ebpf")]
fn ebpf_sock_diag(options: Options, identity: Identity) -> Result<Opened, String> {
    let (source, mut changes) = load(options, identity, false)?;
    prove_changes(&mut changes)?;
    prove_sock_diag()?;
    Ok(by_changes(Source::EbpfSockDiag(Box::new(source)), changes, Rung::EbpfSockDiag))
}

/// The kernel part, with the walk over open files or without it.
#[cfg(feature = "ebpf")]
fn load(
    options: Options,
    identity: Identity,
    has_walk: bool,
) -> Result<(ebpf::Sockets, ebpf::Changes), String> {
    let order = Order { has_walk, n_marks: options.n_marks, identity };
    let parts = if options.apart.loader { handover::load(order) } else { handover::make(order) };
    ebpf::open(parts?).map_err(|error| chain(&error))
}

#[cfg(feature = "ebpf")]
fn by_changes(source: Source, changes: ebpf::Changes, rung: Rung) -> Opened {
    Opened { source, hints: Hints::Kernel(Box::new(changes)), rung, fallback: None }
}

/// Opens a listener, and expects to be told.
#[cfg(feature = "ebpf")]
fn prove_changes(changes: &mut ebpf::Changes) -> Result<(), String> {
    let _own = TcpListener::bind("127.0.0.1:0").map_err(|error| chain(&error))?;
    if changes.clear().is_empty() {
        return Err("the kernel part did not notice a listener of our own".into());
    }
    Ok(())
}

/// Why a walk has not shown that walks are of use.
#[cfg(feature = "ebpf")]
pub(crate) enum Unproven {
    /// It took too long. Another one may not.
    Slow(ebpf::Error),
    /// It does not see this process, or does not work.
    Blind(String),
}

/// Opens a listener, and looks for it. The programs load in a foreign PID namespace too, and then the walk shows nothing,
/// or processes by numbers that mean others here.
#[cfg(feature = "ebpf")]
pub(crate) fn prove_walk(source: &mut ebpf::Sockets, identity: Identity) -> Result<(), Unproven> {
    let blind = |error: io::Error| Unproven::Blind(chain(&error));
    let own = TcpListener::bind("127.0.0.1:0").map_err(blind)?;
    let port = own.local_addr().map_err(blind)?.port();
    let netns = match identity {
        Identity::Cookie => crate::netns::cookie_of(&own),
        Identity::Inode => Netns::own().and_then(|own| own.inode()).map(Cookie),
    };
    let netns = netns.map_err(blind)?;
    let is_own = |row: &crate::listeners::Row| {
        let pid = row.held_by.map(|held| held.pid);
        row.netns == netns && row.port.get() == port && pid == Some(process::id())
    };
    let mut is_seen = false;
    source.snapshot(|row, _| is_seen |= is_own(&row)).map_err(|error| match error {
        ebpf::Error::Deadline { .. } => Unproven::Slow(error),
        error => Unproven::Blind(chain(&error)),
    })?;
    if is_seen {
        return Ok(());
    }
    let reason = "open files of the node are not visible: run in the host's PID namespace (hostPID: true), \
                  unless this node is itself a container";
    Err(Unproven::Blind(reason.into()))
}

// === impl Source ===

impl Source {
    /// Whether somebody tells of changes.
    pub(crate) fn is_told(&self) -> bool {
        self.is_walked() || self.is_marked()
    }

    /// Whether all open files of the node are walked over at each look.
    pub(crate) fn is_walked(&self) -> bool {
        match self {
            #[cfg(feature = "ebpf")]
            Self::Ebpf(_) => true,
            _ => false,
        }
    }

    /// Whether only those namespaces are read that something changed in.
    pub(crate) fn is_marked(&self) -> bool {
        match self {
            #[cfg(feature = "ebpf")]
            Self::EbpfSockDiag(_) => true,
            _ => false,
        }
    }
}
