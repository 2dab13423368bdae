//! The pages: a deadline, all sources at once, the merge, one body.
//!
//! A source that fails costs itself: the page says so in `merger_source_up` and has the others.
//! Only where none is left is there no page.

use std::{fmt, num::NonZeroUsize, sync::Arc, thread};

use futures_util::future;
use hyper::StatusCode;
use tokio::sync::Semaphore;
use tracing::{debug, error};

use self::{failing::Failing, fare::Fare};
pub use self::{
    node::NodePage,
    read::{Missing, Read, Scope},
};
use crate::{
    exposition::{self, Output},
    identity::Unclear,
    inventory::Target,
    merge::{self, Report},
    scrape::{Page, Scraper, limits},
    tally::Tally,
    target::{PodRef, Source, plan::Note},
};

mod failing;
mod fare;
mod node;
mod read;
mod room;

/// The most bytes of the page of all pods and of the bodies that it is made of, unless a setting
/// says otherwise.
pub const MAX_BYTES: usize = 256 << 20;

/// Makes pages.
pub struct Pages {
    scraper: Arc<Scraper>,
    limits: merge::Limits,
    page_bytes: usize,
    problems: Tally,
    limits_hit: Tally,
    cut_off: Tally,
    failing: Failing,
    /// A merge takes memory beside the bodies, and a core: more at once would not be sooner.
    merges: Semaphore,
    /// Who has it may have the page of all pods in memory.
    node_turn: Arc<Semaphore>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Error {
    /// Nothing of it is to be read.
    NoSources(Vec<Note>),
    /// Its namespace is not known for sure.
    Unclear(Unclear),
    /// None of the sources gave anything.
    AllFailed {
        /// Why, for each.
        failures: Vec<Failure>,
        /// Whose they are.
        scope: Scope,
    },
    /// Another reader has the page of all pods.
    Taken,
    /// The merge ended early, which is a defect of this program.
    Merge,
}

/// Why one source is not on the page.
#[derive(Clone, Debug)]
pub struct Failure {
    pod: Option<PodRef>,
    container: String,
    endpoint: String,
    reason: String,
}

/// The page of some sources, and those that are not on it.
pub struct Merged {
    /// The page.
    pub body: Vec<u8>,
    /// What was wrong with the lines of each source that answered, in their order.
    pub reports: Vec<Report>,
    /// The sources that are not on the page.
    pub failures: Vec<Failure>,
}

// === impl Pages ===

impl Pages {
    /// Pages of sources that `scraper` reads, each within `limits`; the page of all pods and the
    /// bodies that it is made of take `page_bytes` at most.
    #[must_use]
    pub fn new(scraper: Arc<Scraper>, limits: merge::Limits, page_bytes: usize) -> Self {
        let (problems, limits_hit, cut_off, failing) = Default::default();
        let n_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (merges, node_turn) = (Semaphore::new(n_cores), Arc::new(Semaphore::new(1)));
        Self {
            scraper,
            limits,
            page_bytes,
            problems,
            limits_hit,
            cut_off,
            failing,
            merges,
            node_turn,
        }
    }

    /// What was wrong with the sources' lines, by kind.
    #[must_use]
    pub fn problems(&self) -> &Tally {
        &self.problems
    }

    /// How often a source was left out, by the limit that it ran into: one of what its page says, or
    /// `page`, that of the page of all pods.
    #[must_use]
    pub fn limits_hit(&self) -> &Tally {
        &self.limits_hit
    }

    /// How often a source was left out since the end of its body is missing, by what shows it.
    #[must_use]
    pub fn cut_off(&self) -> &Tally {
        &self.cut_off
    }

    /// Why `source` was not on the newest page of `pod`; nothing where it was.
    #[must_use]
    pub fn failure(&self, pod: &PodRef, source: &Source) -> Option<String> {
        self.failing.reason(pod, source)
    }

    /// Forgets the pods that are gone.
    pub fn retain(&self, is_here: impl Fn(&PodRef) -> bool) {
        self.failing.retain(is_here);
    }

    /// The merged page of `target`, for a reader whose timeout header is `timeout`.
    pub async fn page(
        &self,
        target: &Target,
        timeout: Option<&str>,
        output: Output,
    ) -> Result<Vec<u8>, Error> {
        let Target { pod, netns, plan } = target;
        if plan.sources.is_empty() {
            return Err(Error::NoSources(plan.notes.clone()));
        }
        let netns = netns.clone().map_err(Error::Unclear)?;
        let patience = limits::patience(timeout, self.scraper.limits().timeout);
        let reads = plan.sources.iter().map(async |source| {
            let scraped = self.scraper.scrape(netns, source, output.format, patience).await;
            Read::new(Some(pod.name.clone()), source.clone(), scraped)
        });
        let reads = future::join_all(reads).await;
        let (reads, merged) = self.merge(reads, output, Scope::Pod).await?;
        let Merged { body, reports, failures } = merged;
        self.count(&reads, &reports);
        self.failing.replace(&pod.name, &failures);
        if failures.len() == plan.sources.len() {
            return Err(Error::AllFailed { failures, scope: Scope::Pod });
        }
        Ok(body)
    }

    /// Merges when it is its turn, and gives back what it merged.
    async fn merge(
        &self,
        reads: Vec<Read>,
        output: Output,
        scope: Scope,
    ) -> Result<(Vec<Read>, Merged), Error> {
        let limits = self.limits;
        let _turn = self.merges.acquire().await.map_err(|_| Error::Merge)?;
        // Megabytes take milliseconds, and the runtime's threads wait for the network.
        let merged = tokio::task::spawn_blocking(move || {
            let merged = merged(&reads, &limits, output, scope);
            (reads, merged)
        });
        merged.await.map_err(|error| {
            error!(%error, "the merge ended early");
            Error::Merge
        })
    }

    /// Counts what was wrong. Only what was read has a report.
    fn count(&self, reads: &[Read], reports: &[Report]) {
        for (read, report) in reads.iter().filter(|read| read.page.is_ok()).zip(reports) {
            for (what, count) in report.problems.counts() {
                self.problems.add(what.as_str(), count as u64);
            }
            let Read { pod, source: Source { container, endpoint, .. }, .. } = read;
            let pod = pod.as_ref().map(ToString::to_string);
            for problem in report.problems.kept() {
                debug!(pod, container, endpoint, "{problem}");
            }
            let Some(failure) = report.failed else { continue };
            let tally = match failure {
                exposition::Failure::Exceeded(_) => &self.limits_hit,
                exposition::Failure::NoEof | exposition::Failure::CutOff { .. } => &self.cut_off,
            };
            tally.add(failure.as_str(), 1);
        }
    }
}

/// Merges what was read; the page says at its end how each source fared.
#[must_use]
pub fn merged(reads: &[Read], limits: &merge::Limits, output: Output, scope: Scope) -> Merged {
    let labels: Vec<Vec<(&str, &str)>> = reads.iter().map(|read| read.labels(scope)).collect();
    let sources: Vec<merge::Source<'_>> = reads
        .iter()
        .zip(&labels)
        .filter_map(|(read, labels)| {
            let Page { body, format } = read.page.as_deref().ok()?;
            let only = read.source.only.as_deref();
            Some(merge::Source { labels, format: *format, body: &body.bytes, only })
        })
        .collect();

    let mut failures = Vec::new();
    let merge::Merged { body, reports } =
        merge::merge_with(&sources, limits, output, fare::PREFIX, |reports| {
            let fares = fare::all(reads, reports);
            failures = fares.iter().filter_map(Fare::failure).collect();
            fare::statement(&fares, scope)
        });
    Merged { body, reports, failures }
}

// === impl Error ===

impl Error {
    /// The status to answer with. A pod that is not to be scraped has no page; one that should
    /// have a page and has none is unavailable, so that `up` is 0.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSources(_) => StatusCode::NOT_FOUND,
            Self::Unclear(_) | Self::AllFailed { .. } | Self::Taken => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Merge => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSources(notes) => {
                f.write_str("nothing is to be scraped")?;
                notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
            }
            Self::Unclear(unclear) => unclear.fmt(f),
            Self::AllFailed { failures, scope } => {
                f.write_str("every source failed")?;
                failures.iter().try_for_each(|failure| match &failure.pod {
                    Some(pod) if *scope == Scope::Node => write!(f, "\n  {pod} {failure}"),
                    _ => write!(f, "\n  {failure}"),
                })
            }
            Self::Taken => f.write_str(
                "another reader is being given the page of all pods, of which one is in memory at \
                 one time; read it again, or the pages of single pods",
            ),
            Self::Merge => f.write_str("the merge ended early; the log of merger says where"),
        }
    }
}

// === impl Failure ===

impl Failure {
    fn source(&self) -> (&str, &str) {
        (&self.container, &self.endpoint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod: _, container, endpoint, reason } = self;
        write!(f, "{container}/{endpoint}: {reason}")
    }
}
