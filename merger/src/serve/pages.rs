//! The page of one pod: a deadline, all sources at once, the merge, one body.
//!
//! A source that fails costs itself: the page says so in `merger_source_up` and has the others.
//! Only where none is left is there no page.

use std::{fmt, num::NonZeroUsize, sync::Arc, thread};

use futures_util::future;
use hyper::StatusCode;
use tokio::sync::Semaphore;
use tracing::{debug, error};

use self::{failing::Failing, fare::Fare};
use crate::{
    exposition::Output,
    identity::Unclear,
    inventory::Target,
    merge::{self, Report},
    scrape::{Page, Scraped, Scraper, limits},
    tally::Tally,
    target::{PodRef, Source, plan::Note},
};

mod failing;
mod fare;

/// Makes pages.
pub struct Pages {
    scraper: Arc<Scraper>,
    limits: merge::Limits,
    problems: Tally,
    limits_hit: Tally,
    failing: Failing,
    /// A merge takes memory beside the bodies, and a core: more at once would not be sooner.
    merges: Semaphore,
}

/// Why a pod has no page.
#[derive(Debug)]
pub enum Error {
    /// Nothing of it is to be read.
    NoSources(Vec<Note>),
    /// Its namespace is not known for sure.
    Unclear(Unclear),
    /// None of its sources gave anything.
    AllFailed(Vec<Failure>),
    /// The merge ended early, which is a defect of this program.
    Merge,
}

/// Why one source is not on the page.
#[derive(Clone, Debug)]
pub struct Failure {
    container: String,
    endpoint: String,
    reason: String,
}

/// A source and what came of its scrape.
pub struct Read {
    /// What was asked.
    pub source: Source,
    /// What it answered.
    pub scraped: Scraped,
}

/// The page of some sources, and those that are not on it.
pub struct Merged {
    /// The page, in text 0.0.4.
    pub body: Vec<u8>,
    /// What was wrong with the lines of each source that answered, in their order.
    pub reports: Vec<Report>,
    /// The sources that are not on the page.
    pub failures: Vec<Failure>,
}

// === impl Pages ===

impl Pages {
    /// Pages of sources that `scraper` reads, each within `limits`.
    #[must_use]
    pub fn new(scraper: Arc<Scraper>, limits: merge::Limits) -> Self {
        let (problems, limits_hit) = Default::default();
        let n_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let merges = Semaphore::new(n_cores);
        Self { scraper, limits, problems, limits_hit, failing: Failing::default(), merges }
    }

    /// What was wrong with the sources' lines, by kind.
    #[must_use]
    pub fn problems(&self) -> &Tally {
        &self.problems
    }

    /// How often a source was left out for what its page says, by the limit that it ran into.
    #[must_use]
    pub fn limits_hit(&self) -> &Tally {
        &self.limits_hit
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
    pub async fn page(&self, target: &Target, timeout: Option<&str>) -> Result<Vec<u8>, Error> {
        let Target { pod, netns, plan } = target;
        if plan.sources.is_empty() {
            return Err(Error::NoSources(plan.notes.clone()));
        }
        let netns = netns.clone().map_err(Error::Unclear)?;
        let patience = limits::patience(timeout, self.scraper.limits().timeout);
        let scrapes = plan.sources.iter().map(async |source| Read {
            source: source.clone(),
            scraped: self.scraper.scrape(netns, source, patience).await,
        });
        let reads = future::join_all(scrapes).await;

        let limits = self.limits;
        let _turn = self.merges.acquire().await.map_err(|_| Error::Merge)?;
        // Megabytes take milliseconds, and the runtime's threads wait for the network.
        let merged = tokio::task::spawn_blocking(move || merged(&reads, &limits)).await;
        let Merged { body, reports, failures } = merged.map_err(|error| {
            error!(pod = %pod.name, %error, "the merge ended early");
            Error::Merge
        })?;
        for report in &reports {
            for (what, count) in report.problems.counts() {
                self.problems.add(what.as_str(), count as u64);
            }
            for problem in report.problems.kept() {
                debug!(pod = %pod.name, "{problem}");
            }
            if let Some(failure) = report.failed {
                self.limits_hit.add(failure.as_str(), 1);
            }
        }
        self.failing.replace(&pod.name, &failures);
        if failures.len() == plan.sources.len() {
            return Err(Error::AllFailed(failures));
        }
        Ok(body)
    }
}

/// Merges what was read; the page says at its end how each source fared.
#[must_use]
pub fn merged(reads: &[Read], limits: &merge::Limits) -> Merged {
    let labels: Vec<[(&str, &str); 2]> = reads
        .iter()
        .map(|Read { source, .. }| {
            [("container", source.container.as_str()), ("endpoint", source.endpoint.as_str())]
        })
        .collect();
    let pages = reads.iter().map(|read| read.scraped.page.as_deref().ok());
    let sources: Vec<merge::Source<'_>> = pages
        .zip(&labels)
        .filter_map(|(page, labels)| {
            let Page { body, format } = page?;
            Some(merge::Source { labels, format: *format, body: &body.bytes })
        })
        .collect();

    let mut failures = Vec::new();
    let merge::Merged { body, reports } =
        merge::merge_with(&sources, limits, Output::default(), fare::PREFIX, |reports| {
            let fares = fare::all(reads, reports);
            failures = fares.iter().filter_map(Fare::failure).collect();
            fare::statement(&fares)
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
            Self::Unclear(_) | Self::AllFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::AllFailed(failures) => {
                f.write_str("every source failed")?;
                failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
            }
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
        let Self { container, endpoint, reason } = self;
        write!(f, "{container}/{endpoint}: {reason}")
    }
}
