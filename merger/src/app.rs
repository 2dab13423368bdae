//! Builds each part of the agent, hands it what it needs, spawns, waits.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::{runtime, sync::watch, task::JoinSet};
use tracing::{Instrument as _, info, info_span, warn};

use crate::{
    config::{Config, PodSource},
    inventory::Inventory,
    lifecycle::{self, Readiness},
    merge,
    node::{self, Options},
    pods::manifests,
    scrape::Scraper,
    serve::{self, Server, pages::Pages},
    telemetry::Parts,
};

/// Runs the agent until a signal asks it to stop.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let Config { pods, listen, node_name, listeners, scrape: limits, max_samples } = config;
    // What a person gets wrong most easily comes first: the flag, the port, then the rights.
    let PodSource::Manifests(dir) = pods;
    let (pods, read_manifests) = manifests::watch(dir)?;
    let listener = serve::bind(listen).await?;
    // Port 0 became one that the kernel chose.
    let bound = listener.local_addr().unwrap_or(listen);
    let (node, changes) = node::start(Options { rung: listeners, ..Options::default() })?;
    info!(rung = %node.rung(), "listeners are known");
    if let Some(reason) = node.fallback() {
        warn!(rung = %node.rung(), reason, "a better rung is not in use");
    }
    info!("one process holds all rights: the split into loader, broker and agent is not there yet");

    let readiness = Readiness::default();
    let awaited = readiness.await_for("pods and listeners");
    let (inventory, targets) = Inventory::new(node.clone(), changes, pods, node_name, awaited);
    let scraper = Scraper::new(Arc::new(node.clone()), limits).context("cannot prepare TLS")?;
    let limits = merge::Limits { samples: max_samples, ..merge::Limits::default() };
    let pages = Arc::new(Pages::new(Arc::clone(&scraper), limits));
    let parts = Parts { node, scraper, pages: Arc::clone(&pages), targets: targets.clone() };
    let own_metrics = Box::new(move || parts.gather());
    let server = Server { targets: targets.clone(), pages, readiness, own_metrics };

    let (drain, draining) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(read_manifests.instrument(info_span!("pods")));
    tasks.spawn(inventory.run().instrument(info_span!("inventory")));
    let mut server =
        tokio::spawn(Arc::new(server).run(listener, draining).instrument(info_span!("serve")));
    info!(listen = %bound, "serving");

    tokio::select! {
        stop = lifecycle::asked_to_stop() => stop.context("cannot wait for signals")?,
        // These run as long as the agent does; of one that ends the log has the reason.
        Some(ended) = tasks.join_next() => anyhow::bail!("a part of the agent has ended: {ended:?}"),
        ended = &mut server => anyhow::bail!("the server has ended: {ended:?}"),
    }
    drain.send_replace(true);
    server.await.context("the server has ended early")?;
    tasks.shutdown().await;
    info!("drained");
    Ok(())
}
