//! `merger probe`: the listeners of one namespace, scraped without an agent.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use futures_util::future;
use serde::Serialize;

use super::{USAGE, format::Written, print, say, tell};
use crate::{
    cause,
    config::Timeout,
    exposition::Output,
    identity::{Cookie, PodUid},
    listeners::{Socket, proc},
    merge::Limits,
    netns::Netns,
    node::{self, ConnectError},
    scrape::{
        self, Scraper,
        connect::{Confirming, Dial, Dialling},
    },
    serve::pages::{self, Read, Scope},
    target::{Reason, Scheme, Source, annotations, mesh, plan},
};

/// Which namespace to look into, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Every listening port is asked once for its metrics, from inside the namespace. What answers is
merged to standard output, with the port as the label endpoint; what does not is named on standard
error. Ports of a mesh's proxy are asked for the proxy's own metrics only.

Exit codes: 0 if anything answered with metrics, else 1; 2 for wrong arguments.

Examples:
  merger probe --pid $(pgrep -o my-app)
  merger probe --pid $(pgrep -o my-app) --port 9090 --format openmetrics
  merger probe --netns /run/netns/cni-1234 --list")]
pub(super) struct Arguments {
    #[command(flatten)]
    namespace: Namespace,

    /// Ask only this port; may be given several times
    #[arg(long, value_name = "PORT")]
    port: Vec<NonZeroU16>,

    /// The path to ask applications for
    #[arg(long, value_name = "PATH", default_value = "/metrics", value_parser = path)]
    path: String,

    /// The scheme to ask applications by
    #[arg(long, value_name = "http|https", default_value = "http", value_parser = scheme)]
    scheme: Scheme,

    /// The longest wait for one port
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Timeout,

    #[command(flatten)]
    written: Written,

    /// Only list the listeners
    #[arg(long)]
    list: bool,

    /// List as JSON, one object a line
    #[arg(long, requires = "list")]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Namespace {
    /// The namespace of this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// The namespace of this file, as in /run/netns or /proc/PID/ns/net
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Line {
    address: IpAddr,
    port: NonZeroU16,
    /// The name of the process that holds the socket, where it can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

/// A process that holds a socket.
#[derive(Debug)]
struct Holder {
    pid: u32,
    comm: String,
}

/// How long nobody asks what is going on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects from inside a namespace that this process may enter by itself.
struct Inside(Netns);

/// Looks, and scrapes unless only the list is wanted.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.timeout.0.is_zero() {
        say("--timeout is 0: nothing could be scraped");
        return Ok(ExitCode::from(USAGE));
    }
    let Some(output) = arguments.written.output() else { return Ok(ExitCode::from(USAGE)) };
    let netns = arguments.namespace.open()?;
    let mut sockets = proc::listeners_of(&netns).map_err(|error| {
        let why = match error.kind() {
            // setns(2) on a file that is no namespace, or one of another kind.
            io::ErrorKind::InvalidInput => "it is no network namespace; `ip netns` lists some",
            _ => "this takes CAP_SYS_ADMIN; run it as root",
        };
        anyhow::Error::new(error).context(format!("cannot enter the namespace: {why}"))
    })?;
    sockets.sort_by_key(|socket| (socket.port, socket.address));
    if sockets.is_empty() {
        say("nothing listens in this namespace");
        return Ok(ExitCode::FAILURE);
    }
    let holders = holders(netns.inode()?, &sockets);
    if arguments.list {
        list(&sockets, &holders, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(scrape(arguments, netns, &sockets, output))
}

async fn scrape(
    arguments: &Arguments,
    netns: Netns,
    sockets: &[Socket],
    output: Output,
) -> anyhow::Result<ExitCode> {
    let cookie = netns.name().context("cannot tell the namespace from others")?;
    let Timeout(timeout) = arguments.timeout;
    let default = scrape::Limits::default();
    // One namespace has half, and here is no other.
    let limits = scrape::Limits { timeout, in_flight: 2 * default.in_flight, ..default };
    let scrapes = Scraper::new(Arc::new(Inside(netns)), limits)?;
    arguments.tell_unasked(sockets);
    let sources = arguments.sources(sockets);
    let awaited: RefCell<BTreeSet<_>> = RefCell::new(sources.iter().map(|s| s.port).collect());
    let reads = sources.into_iter().map(async |source| {
        let scraped = scrapes.scrape(cookie, &source, output.format, timeout).await;
        awaited.borrow_mut().remove(&source.port);
        Read::new(None, source, scraped)
    });
    let mut reads = tokio::select! {
        reads = future::join_all(reads) => reads,
        never = tell_awaited(&awaited, timeout) => match never {},
    };
    reads.retain(answered);
    let merged = pages::merged(&reads, &Limits::default(), output, Scope::Pod);
    for (Read { source, .. }, report) in reads.iter().zip(&merged.reports) {
        tell(&format!("port {}", source.port), report);
    }
    if merged.reports.iter().all(|report| report.failed.is_some()) {
        say("no port answered with metrics");
        return Ok(ExitCode::FAILURE);
    }
    print(&merged.body).context("cannot write the page")?;
    Ok(ExitCode::SUCCESS)
}

/// Says again and again which ports have not answered yet.
async fn tell_awaited(awaited: &RefCell<BTreeSet<NonZeroU16>>, longest: Duration) -> Infallible {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let ports: Vec<_> = awaited.borrow().iter().map(ToString::to_string).collect();
        say(format_args!("still waiting for port {}, at most {longest:?} each", ports.join(", ")));
    }
}

fn list(sockets: &[Socket], holders: &BTreeMap<u64, Holder>, json: bool) -> anyhow::Result<()> {
    let mut out = Vec::new();
    if !json {
        writeln!(out, "{:<40} {:>5}  PROCESS", "ADDRESS", "PORT")?;
    }
    for &Socket { address, port, inode } in sockets {
        let (pid, process) = match holders.get(&inode) {
            Some(holder) => (Some(holder.pid), Some(holder.comm.clone())),
            None => (None, None),
        };
        if json {
            serde_json::to_writer(&mut out, &Line { address, port, process, pid })?;
            writeln!(out)?;
        } else {
            let process = process
                .zip(pid)
                .map_or_else(|| "-".to_owned(), |(name, pid)| format!("{name} ({pid})"));
            writeln!(out, "{address:<40} {port:>5}  {process}")?;
        }
    }
    print(&out).context("cannot write the list")
}

/// The processes inside the namespace that hold these sockets, by the sockets' inodes.
fn holders(netns: u64, sockets: &[Socket]) -> BTreeMap<u64, Holder> {
    let mut holders = BTreeMap::new();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let inside = fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns.ino() == netns);
        let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        if !inside {
            continue;
        }
        // A process names itself, and a terminal may obey what it reads.
        let comm = comm().map(|comm| comm.trim_end().escape_debug().to_string());
        let comm = comm.unwrap_or_default();
        let held = proc::inodes_of(pid).filter(|inode| sockets.iter().any(|s| s.inode == *inode));
        for inode in held {
            holders.entry(inode).or_insert_with(|| Holder { pid, comm: comm.clone() });
        }
    }
    holders
}

fn path(text: &str) -> Result<String, String> {
    annotations::path(text).ok_or_else(|| "a path in a URL's ASCII, as in /metrics".to_owned())
}

fn scheme(text: &str) -> Result<Scheme, String> {
    annotations::scheme(text).ok_or_else(|| "http or https".to_owned())
}

/// Whether a port answered; says why where it did not.
fn answered(Read { source, page, .. }: &Read) -> bool {
    let Source { port, path, .. } = source;
    if let Err(missing) = page {
        say(format_args!("port {port}, {path}: {}", cause::chain(missing)));
    }
    page.is_ok()
}

// === impl Arguments ===

impl Arguments {
    /// Says which ports were asked for and are not asked.
    fn tell_unasked(&self, sockets: &[Socket]) {
        for &port in &self.port {
            if !sockets.iter().any(|socket| socket.port == port) {
                say(format_args!("port {port}: nothing listens there; --list shows what does"));
            } else if self.source(port, &[]).is_none() {
                say(format_args!("port {port}: not asked, it is one of a mesh's proxy"));
            }
        }
    }

    /// One source for each port that listens and is wanted.
    fn sources(&self, sockets: &[Socket]) -> Vec<Source> {
        let mut ports: BTreeMap<NonZeroU16, Vec<IpAddr>> = BTreeMap::new();
        for &Socket { address, port, .. } in sockets {
            ports.entry(port).or_default().push(address);
        }
        let wanted = |port: &NonZeroU16| self.port.is_empty() || self.port.contains(port);
        let ports = ports.into_iter().filter(|(port, _)| wanted(port));
        ports.filter_map(|(port, bound)| self.source(port, &bound)).collect()
    }

    /// A port of a proxy is asked for the proxy's metrics, or not at all.
    fn source(&self, port: NonZeroU16, bound: &[IpAddr]) -> Option<Source> {
        let (scheme, path) = match mesh::page_of_port(port) {
            None => (self.scheme, self.path.as_str()),
            Some(page) => (Scheme::Http, page?),
        };
        Some(Source {
            container: String::new(),
            endpoint: port.to_string(),
            port,
            scheme,
            path: path.to_owned(),
            reason: Reason::Probe,
            state: plan::reachable(bound, port),
            owner: None,
            secret: None,
            only: None,
        })
    }
}

// === impl Namespace ===

impl Namespace {
    fn open(&self) -> anyhow::Result<Netns> {
        match (self.pid, &self.netns) {
            (Some(pid), _) => Netns::of_pid(pid).with_context(|| {
                format!(
                    "cannot open the namespace of process {pid}: does it run? another user's takes \
                     CAP_SYS_PTRACE, which root has"
                )
            }),
            (None, Some(path)) => Netns::open(path)
                .with_context(|| format!("cannot open the namespace {}", path.display())),
            (None, None) => anyhow::bail!("name a namespace by --pid or --netns"),
        }
    }
}

// === impl Inside ===

impl Dial for Inside {
    fn dial(&self, netns: Cookie, address: SocketAddr, _: Option<PodUid>) -> Dialling<'_> {
        let begun = self.0.within(|| Ok(node::begin(netns, address)));
        Box::pin(future::ready(begun.unwrap_or_else(|error| Err(ConnectError::Namespace(error)))))
    }

    /// A person names a namespace, and no pod.
    fn confirm(&self, _: Cookie, _: SocketAddr, _: Option<PodUid>) -> Confirming<'_> {
        Box::pin(future::ready(Ok(())))
    }
}
