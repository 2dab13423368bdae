//! Builds each part of the agent, hands it what it needs, spawns, waits.

use std::{
    net::{self, SocketAddr},
    os::fd::OwnedFd,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{net::TcpListener, runtime, sync::watch, task::JoinSet};
use tracing::{Instrument as _, info, info_span, warn};

use crate::{
    config::Config,
    inventory::{self, Inventory},
    lifecycle::{self, Readiness},
    merge,
    node::{
        self, Apart, Changes, Node, Options, confinement,
        supervisor::{self, Part},
        watcher::Teller,
    },
    relay,
    scrape::Scraper,
    serve::{self, Server, pages::Pages},
    telemetry::Parts,
};

use self::source::Source;

mod source;

/// How long an address may still be taken that is to be free, and how often that is tried.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Runs a part of merger until a signal asks it to stop. Without one it is what `config` says: the
/// broker, which starts the other parts, or all of them in one process.
pub fn run(config: Config, part: Option<Part>) -> anyhow::Result<ExitCode> {
    let options = Options {
        rung: config.listeners,
        host_network: config.host_network,
        apart: Apart { watcher: config.pods.is_apart(), ..Apart::default() },
        ..Options::default()
    };
    match part {
        None if config.single_process => {
            info!("one process holds all rights, as --single-process asks");
            source::tell(&config);
            let listener = serve::bind(config.listen)?;
            serve(config, listener, || node::start(options))
        }
        None => {
            // What a person gets wrong most easily is told before anything is loaded.
            source::check(&config)?;
            source::tell(&config);
            until_free(config.listen)?;
            Ok(supervisor::run(options)?.into())
        }
        #[cfg(feature = "ebpf")]
        Some(Part::Loader) => {
            let channel = supervisor::inherited().context("no channel to the broker")?;
            node::handover::serve(&channel)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(not(feature = "ebpf"))]
        Some(Part::Loader) => bail!("built without the feature ebpf"),
        Some(Part::Stranger) => {
            let channel = supervisor::inherited().context("no channel to the broker")?;
            node::stranger::serve(&channel)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Watcher) => {
            let channel = supervisor::inherited().context("no channel to the agent")?;
            watch(&config, channel)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Agent) => {
            let channel = supervisor::inherited().context("no channel to the broker")?;
            // Afterwards it makes no socket.
            let listener = serve::bind(config.listen)?;
            let confinement = confinement::become_agent(&config.pods.reads())?;
            info!(%confinement, landlock = confinement::is_entered(), "the agent holds no right");
            if !confinement::is_entered() {
                warn!(
                    "this kernel has no Landlock (5.13, CONFIG_SECURITY_LANDLOCK, and in the list lsm=), \
                     so an agent that is taken over can read what belongs to other processes of user {}",
                    confinement::AGENT
                );
            }
            serve(config, listener, || node::attach(channel))
        }
    }
}

/// Tries the address. An agent whose broker was killed ends a moment later, and has it until then.
fn until_free(listen: SocketAddr) -> Result<(), serve::Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match serve::bind(listen) {
            Err(serve::Error::Taken(_)) if Instant::now() < deadline => thread::sleep(PAUSE),
            tried => return tried.map(drop),
        }
    }
}

/// Looks for the pods, and tells the agent at the other end of `channel`, until that is gone.
fn watch(config: &Config, channel: OwnedFd) -> anyhow::Result<()> {
    lifecycle::outlive_signals().context("cannot ignore signals")?;
    let (source, spent) = Source::open_once(config)?;
    let confinement = confinement::become_watcher()?;
    info!(%confinement, "the watcher holds no right");
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async {
        let teller = Teller::new(channel)?;
        let (pods, watch_pods) = source.watch()?;
        tokio::select! {
            () = watch_pods => bail!("the source of pods has ended"),
            () = spent => bail!("the connection to the container runtime is gone: the next watcher has another"),
            told = relay::tell(teller, pods) => told.context("the agent cannot be told"),
        }
    })
}

fn serve(
    config: Config,
    listener: net::TcpListener,
    node: impl FnOnce() -> Result<(Node, Changes), node::Error>,
) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async { Agent::build(config, listener, node)?.run().await })?;
    Ok(ExitCode::SUCCESS)
}

/// All parts of the agent, of which the server does not run yet.
struct Agent {
    listener: TcpListener,
    server: Server,
    node: Node,
    /// What keeps the targets true.
    tasks: JoinSet<()>,
}

// === impl Agent ===

impl Agent {
    /// What a person gets wrong most easily comes first: the pods, the port, then the rights.
    /// To be called in a tokio runtime.
    fn build(
        config: Config,
        listener: net::TcpListener,
        node: impl FnOnce() -> Result<(Node, Changes), node::Error>,
    ) -> anyhow::Result<Self> {
        let is_here = config.single_process || !config.pods.is_apart();
        let watched = is_here.then(|| Source::open(&config)?.watch()).transpose()?;
        let Config {
            pods: _,
            pods_reason: _,
            access: _,
            list: _,
            pod_monitors: _,
            listen: _,
            node_name,
            is_host_name: _,
            listeners: _,
            single_process: _,
            host_network,
            rules,
            scrape: limits,
            max_page_bytes,
            max_samples,
        } = config;
        let listener = TcpListener::from_std(listener).context("cannot listen")?;
        let (node, changes) = node()?;
        tell(&node);

        let (pods, watch_pods) = watched.unwrap_or_else(|| {
            let (pods, hear) = relay::watch(node.clone());
            (pods, Box::pin(hear))
        });
        let readiness = Readiness::default();
        let awaited = readiness.await_for("pods and listeners");
        let scraper = Scraper::new(Arc::new(node.clone()), limits).context("cannot prepare TLS")?;
        let merged = merge::Limits { samples: max_samples, ..merge::Limits::default() };
        let settings = inventory::Settings { node_name, host_network, rules, limits: merged };
        let (inventory, targets) =
            Inventory::new((node.clone(), changes), Arc::clone(&scraper), pods, settings, awaited);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_pods.instrument(info_span!("pods")));
        tasks.spawn(inventory.run().instrument(info_span!("inventory")));

        let pages = Arc::new(Pages::new(Arc::clone(&scraper), merged, max_page_bytes));
        let parts = Parts {
            node: node.clone(),
            scraper,
            pages: Arc::clone(&pages),
            targets: targets.clone(),
        };
        let own_metrics = Box::new(move || parts.gather());
        let server = Server { targets, pages, readiness, own_metrics };
        Ok(Self { listener, server, node, tasks })
    }

    async fn run(self) -> anyhow::Result<()> {
        let Self { listener, server, node, mut tasks } = self;
        // Port 0 became one that the kernel chose.
        info!(listen = %listener.local_addr()?, "serving");
        let (drain, draining) = watch::channel(false);
        let server = Arc::new(server).run(listener, draining).instrument(info_span!("serve"));
        let mut server = tokio::spawn(server);
        tokio::select! {
            () = node.told_to_stop() => info!("told to stop: draining"),
            stop = lifecycle::asked_to_stop() => stop.context("cannot wait for signals")?,
            // These run as long as the agent does; of one that ends the log has the reason.
            Some(ended) = tasks.join_next() => bail!("a part of the agent has ended: {ended:?}"),
            ended = &mut server => bail!("the server has ended: {ended:?}"),
        }
        drain.send_replace(true);
        server.await.context("the server has ended early")?;
        tasks.shutdown().await;
        info!("drained");
        Ok(())
    }
}

fn tell(node: &Node) {
    info!(rung = %node.rung(), "listeners are known");
    if let Some(reason) = node.fallback() {
        warn!(rung = %node.rung(), reason, "a better rung is not in use");
    }
}
