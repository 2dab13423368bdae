//! What is merged: pages of the shape of real ones, and the same samples as messages.

use std::{fs, path::Path, process::Command};

use merger::{
    exposition::{Escaping, Format, Output},
    merge::{self, Limits, Merged, Source},
};

use super::heap;

/// One source.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
    pub(crate) n_samples: usize,
    labels: [(&'static str, &'static str); 2],
}

/// All sources.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) sidecar: Page,
    pub(crate) app: Page,
    /// As large as the sidecar's: what a sample costs where there are many of a family.
    pub(crate) large_app: Page,
    pub(crate) sidecar_messages: Page,
    pub(crate) app_messages: Page,
    pub(crate) openmetrics: Page,
}

/// What a merge needed.
#[derive(Debug)]
pub(crate) struct Peak {
    pub(crate) n_samples: usize,
    /// Bytes of the page.
    pub(crate) page: usize,
    /// Bytes in use at most, the page included.
    all: usize,
}

const SIDECAR: [(&str, &str); 2] = [("container", "istio-proxy"), ("endpoint", "http-envoy-prom")];
const APP: [(&str, &str); 2] = [("container", "cart"), ("endpoint", "8080")];

/// Merges complete pages: each is read to its end.
pub(crate) fn merge(pages: &[&Page], output: Format) -> Merged {
    let sources: Vec<_> = pages
        .iter()
        .map(|Page { format, body, labels, .. }| Source {
            labels,
            format: *format,
            body,
            only: None,
        })
        .collect();
    let output = Output { format: output, escaping: Escaping::Underscores };
    let merged = merge::merge(&sources, &Limits::default(), output);
    assert!(merged.reports.iter().all(|report| report.failed.is_none()), "{:?}", merged.reports);
    merged
}

/// The memory that a merge needs.
pub(crate) fn peak(pages: &[&Page], output: Format) -> Peak {
    let (merged, all) = heap::peak(|| merge(pages, output));
    Peak { n_samples: pages.iter().map(|page| page.n_samples).sum(), page: merged.body.len(), all }
}

// === impl Pages ===

impl Pages {
    /// From two files, or from the generator. `OpenMetrics` and the large application come from
    /// the generator always.
    pub(crate) fn make(files: &[&String]) -> Self {
        let [sidecar, app] = match files {
            [sidecar, app] => [sidecar, app].map(|path| fs::read(path).expect("a page")),
            [] => [generated("envoy", 1_000_000, 1), generated("go", 50_000, 3)],
            _ => panic!("no file, or a sidecar's page and an application's page"),
        };
        let sidecar = Page::new(Format::Text, sidecar, SIDECAR);
        let app = Page::new(Format::Text, app, APP);
        let large_app = Page::new(Format::Text, generated("go", 1_000_000, 4), APP);
        let openmetrics = Page::new(Format::OpenMetrics, generated("om", 1_000_000, 8), APP);
        let [sidecar_messages, app_messages] = [&sidecar, &app].map(Page::messages);
        Self { sidecar, app, large_app, sidecar_messages, app_messages, openmetrics }
    }
}

// === impl Page ===

impl Page {
    fn new(format: Format, body: Vec<u8>, labels: [(&'static str, &'static str); 2]) -> Self {
        let mut page = Self { format, body, n_samples: 0, labels };
        page.n_samples = merge(&[&page], Format::Text).reports[0].samples;
        page
    }

    /// The same samples in protobuf, without the labels of the source.
    fn messages(&self) -> Self {
        let Self { format, body, n_samples, labels } = self;
        let output = Output { format: Format::Protobuf, escaping: Escaping::Underscores };
        let source = Source { labels: &[], format: *format, body, only: None };
        let body = merge::merge(&[source], &Limits::default(), output).body;
        Self { format: Format::Protobuf, body, n_samples: *n_samples, labels: *labels }
    }
}

// === impl Peak ===

impl Peak {
    /// Bytes for each sample beyond the page.
    #[expect(clippy::cast_precision_loss, reason = "what is printed has few digits")]
    pub(crate) fn per_sample(&self) -> f64 {
        let Self { n_samples, page, all } = self;
        all.saturating_sub(*page) as f64 / *n_samples as f64
    }
}

fn generated(kind: &str, n_bytes: usize, seed: u64) -> Vec<u8> {
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/gen_inputs.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(generator).args(["--plain", "--kind", kind]);
    command.arg(format!("--bytes={n_bytes}")).arg(format!("--seed={seed}"));
    let output = command.output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
