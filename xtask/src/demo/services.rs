//! merger and Prometheus, as they run on the demo's node.

use std::{fs, io, net::TcpListener, path::Path};

use anyhow::{Context as _, ensure};

use super::{Node, RunDirectory, run_directory};
use crate::screen;

/// Where each of them listens.
pub(super) struct Services {
    pub(super) merger: String,
    pub(super) prometheus: String,
}

const CONFIGURATION: &str = include_str!("../../../deploy/demo/prometheus.yml");

// === impl Services ===

impl Services {
    /// Starts both; the facts wait until they answer.
    pub(super) fn start(node: &mut Node<'_>, directory: &RunDirectory) -> anyhow::Result<Self> {
        let services = Self { merger: free_address(15990)?, prometheus: free_address(19090)? };
        services.start_merger(node)?;
        services.start_prometheus(node, directory)?;
        Ok(services)
    }

    pub(super) fn tell_urls(&self) {
        let Self { merger, prometheus } = self;
        for (url, what) in [
            (format!("http://{merger}/pods/shop/cart/metrics"), "the merged page of shop/cart"),
            (
                format!("http://{merger}/pods/shop/dead/metrics"),
                "its end tells of the dead application",
            ),
            (format!("http://{merger}/api/pods"), "what merger believes"),
            (format!("http://{merger}/sd"), "what Prometheus discovers"),
            (format!("http://{prometheus}/targets"), "the pods in Prometheus"),
            (
                format!("http://{prometheus}/graph?g0.expr=merger_source_up&g0.tab=1"),
                "each source of each pod",
            ),
        ] {
            screen::step(&format!("{url:<66} {what}"));
        }
    }

    fn start_merger(&self, node: &mut Node<'_>) -> anyhow::Result<()> {
        // Cargo puts both into the same directory.
        let program = crate::PROGRAM.with_file_name("merger");
        ensure!(program.is_file(), "{} is not there", program.display());
        let pods = format!("manifests:{}/pods", run_directory::PATH);
        node.serve("merger", &program, &["run", "--pods", &pods, "--listen", &self.merger])?;
        screen::step(&format!("merger on http://{}", self.merger));
        Ok(())
    }

    fn start_prometheus(
        &self,
        node: &mut Node<'_>,
        directory: &RunDirectory,
    ) -> anyhow::Result<()> {
        let configuration =
            directory.write("prometheus.yml", &CONFIGURATION.replace("MERGER", &self.merger))?;
        // Its files are large, and /run is memory.
        let data = crate::workspace().join("target/demo/prometheus");
        if let Err(error) = fs::remove_dir_all(&data) {
            ensure!(error.kind() == io::ErrorKind::NotFound, "{}: {error}", data.display());
        }
        let arguments = [
            format!("--config.file={}", configuration.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={}", self.prometheus),
            "--log.level=warn".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        node.serve("prometheus", Path::new("prometheus"), &arguments)?;
        screen::step(&format!("Prometheus on http://{}", self.prometheus));
        Ok(())
    }
}

/// The loopback address with this port, or with any other where this one is taken.
fn free_address(port: u16) -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .or_else(|error| {
            screen::step(&format!("port {port} of 127.0.0.1 is not free ({error}): another one"));
            TcpListener::bind("127.0.0.1:0")
        })
        .context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.to_string())
}
