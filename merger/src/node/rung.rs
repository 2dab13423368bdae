//! Which rung works here: each is tried, the best first.

use std::net::TcpListener;

use crate::{
    cause::chain,
    listeners::{
        Rung,
        sock_diag::{self, message::Told},
    },
    node::{Error, Options, Rungs, hints::Hints},
};

/// What the listeners are known by.
pub(crate) enum Source {
    /// Rung 1.
    #[cfg(feature = "ebpf")]
    Ebpf(Box<crate::listeners::ebpf::Sockets>),
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
pub(crate) fn open(options: Options) -> Result<Opened, Error> {
    if let Rungs::Only(rung) = options.rung {
        let opened = by(rung, options).map_err(|reason| Error::Rung { rung, reason })?;
        let fallback = (rung != Rung::Ebpf).then(|| "asked for".into());
        return Ok(Opened { fallback, ..opened });
    }
    // Whoever starts the node tells people: see `Node::fallback`.
    let mut reasons = vec![];
    for rung in [Rung::Ebpf, Rung::SockDiag] {
        match by(rung, options) {
            Ok(opened) => return Ok(Opened { fallback: join(&reasons), ..opened }),
            Err(reason) => reasons.push(format!("{rung}: {reason}")),
        }
    }
    Ok(Opened { fallback: join(&reasons), ..by_clock(Source::Proc, Rung::Proc) })
}

fn join(reasons: &[String]) -> Option<String> {
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Tries one rung. The last works everywhere.
fn by(rung: Rung, options: Options) -> Result<Opened, String> {
    match rung {
        Rung::Ebpf => ebpf(options),
        Rung::SockDiag => prove_sock_diag().map(|()| by_clock(Source::SockDiag, rung)),
        Rung::Proc => Ok(by_clock(Source::Proc, rung)),
    }
}

fn by_clock(source: Source, rung: Rung) -> Opened {
    Opened { source, hints: Hints::Clock, rung, fallback: None }
}

/// Opens a listener and looks for it: a kernel may answer, and know nothing of TCP.
fn prove_sock_diag() -> Result<(), String> {
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
fn ebpf(_: Options) -> Result<Opened, String> {
    Err("built without the feature ebpf".into())
}

#[cfg(feature = "ebpf")]
fn ebpf(options: Options) -> Result<Opened, String> {
    use crate::{
        listeners::ebpf,
        node::handover::{self, Order},
    };

    let order = Order { has_walk: true, n_marks: options.n_marks };
    let parts = if options.loads_apart { handover::load(order) } else { handover::make(order) };
    let (mut source, mut changes) = ebpf::open(parts?).map_err(|error| chain(&error))?;
    prove(&mut source, &mut changes)?;
    Ok(Opened {
        source: Source::Ebpf(Box::new(source)),
        hints: Hints::Kernel(Box::new(changes)),
        rung: Rung::Ebpf,
        fallback: None,
    })
}

/// Opens a listener and looks for it. The programs load in a foreign PID namespace too, and then
/// the walk shows nothing, or processes by numbers that mean others here.
#[cfg(feature = "ebpf")]
fn prove(
    source: &mut crate::listeners::ebpf::Sockets,
    changes: &mut crate::listeners::ebpf::Changes,
) -> Result<(), String> {
    use std::process;

    let own = TcpListener::bind("127.0.0.1:0").map_err(|error| chain(&error))?;
    let port = own.local_addr().map_err(|error| chain(&error))?.port();
    let netns = crate::netns::cookie_of(&own).map_err(|error| chain(&error))?;
    if changes.clear().is_empty() {
        return Err("the kernel part did not notice a listener of our own".into());
    }
    let rows = source.snapshot().map_err(|error| chain(&error))?.rows;
    let is_own = |row: &crate::listeners::Row| {
        let pid = row.held_by.map(|held| held.pid);
        row.netns == netns && row.port.get() == port && pid == Some(process::id())
    };
    if rows.iter().any(is_own) {
        return Ok(());
    }
    Err("open files of the node are not visible: run in the host's PID namespace (hostPID: true)"
        .into())
}
