//! Which rung works here: each is tried, the best first.

use crate::{
    listeners::Rung,
    node::{Error, Options, Rungs, changes::Hints},
};

/// What the listeners are known by.
pub(crate) enum Source {
    /// Rung 1.
    #[cfg(feature = "ebpf")]
    Ebpf(Box<crate::listeners::ebpf::Sockets>),
    /// Rung 4.
    Proc,
}

/// A rung that works.
pub(crate) struct Opened {
    pub(crate) source: Source,
    pub(crate) changes: Hints,
    pub(crate) rung: Rung,
    /// Why it is not a better one.
    pub(crate) fallback: Option<String>,
}

/// Opens the best rung that is asked for and works.
pub(crate) fn open(options: Options) -> Result<Opened, Error> {
    let proc = |fallback| Opened {
        source: Source::Proc,
        changes: Hints::Clock,
        rung: Rung::Proc,
        fallback,
    };
    if options.rung == Rungs::Only(Rung::Proc) {
        return Ok(proc(Some("asked for".into())));
    }
    match (ebpf(options.n_marks), options.rung) {
        (Ok(opened), _) => Ok(opened),
        // Whoever starts the node tells people: see `Node::fallback`.
        (Err(reason), Rungs::Auto) => Ok(proc(Some(reason))),
        (Err(reason), Rungs::Only(rung)) => Err(Error::Rung { rung, reason }),
    }
}

#[cfg(not(feature = "ebpf"))]
fn ebpf(_: u32) -> Result<Opened, String> {
    Err("built without the feature ebpf".into())
}

#[cfg(feature = "ebpf")]
fn ebpf(n_marks: u32) -> Result<Opened, String> {
    use crate::{cause::chain, listeners::ebpf, node::loader};

    let kernel = loader::load(n_marks).map_err(|error| chain(&error))?;
    let (mut source, mut changes) = ebpf::split(kernel).map_err(|error| chain(&error))?;
    prove(&mut source, &mut changes)?;
    Ok(Opened {
        source: Source::Ebpf(Box::new(source)),
        changes: Hints::Kernel(Box::new(changes)),
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
    use std::{net::TcpListener, process};

    use crate::cause::chain;

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
