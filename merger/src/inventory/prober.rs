//! Asks listeners once whether they are a page of metrics, where their pod or its namespace wants that.
//!
//! It is careful with who never asked for a scraper: one request at a time to a pod, few to all pods, each
//! over soon. What has answered, or has not, is remembered for as long as it listens. What failed on this
//! side is no answer, and is asked again.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use tracing::{debug, info};

use super::Targets;
use crate::{
    exposition::{Format, Output},
    identity::Cookie,
    merge,
    node::Snapshot,
    scrape::{Error, Page, Scraped, Scraper},
    target::{
        Listener, PodRef, Source,
        plan::{Probed, Verdict},
    },
};

/// How long an answer may take: who has one has it at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a pod is left alone between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// How many pods are asked at one time.
const AT_ONCE: usize = 4;

/// What is known of the listeners that were asked, and who is being asked.
pub(super) struct Prober {
    scraper: Arc<Scraper>,
    limits: merge::Limits,
    probed: Probed,
    asked: BTreeSet<PodRef>,
    asking: JoinSet<Answered>,
    room: Arc<Semaphore>,
}

/// What came of asking one pod.
struct Answered {
    pod: PodRef,
    /// Whoever may have answered.
    listeners: Vec<Listener>,
    /// None where nobody was asked.
    verdict: Option<Verdict>,
}

// === impl Prober ===

impl Prober {
    pub(super) fn new(scraper: Arc<Scraper>, limits: merge::Limits) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let (probed, asked, asking) = Default::default();
        Self { scraper, limits, probed, asked, asking, room }
    }

    pub(super) fn probed(&self) -> &Probed {
        &self.probed
    }

    /// Forgets who does not listen any more.
    pub(super) fn keep_to(&mut self, snapshot: &Snapshot) {
        self.probed.retain(&snapshot.listeners);
    }

    /// Asks of each target one that is to be asked, unless the target is being asked already.
    pub(super) fn ask(&mut self, targets: &Targets, snapshot: &Snapshot) {
        for (name, target) in targets {
            let (Some(source), Ok(netns)) = (target.plan.probes.first(), &target.netns) else {
                continue;
            };
            if !self.asked.insert(name.clone()) {
                continue;
            }
            let may_answer = |one: &&Listener| one.netns == *netns && one.port == source.port;
            let listeners = snapshot.listeners.iter().filter(may_answer).cloned().collect();
            let question = Question {
                pod: name.clone(),
                netns: *netns,
                source: source.clone(),
                listeners,
                limits: self.limits,
            };
            let (scraper, room) = (Arc::clone(&self.scraper), Arc::clone(&self.room));
            self.asking.spawn(async move {
                let _room = room.acquire().await;
                question.ask(&scraper).await
            });
        }
    }

    /// Returns when a pod was asked; then there may be a new source, and another to be asked. Cancel safe.
    pub(super) async fn answered(&mut self) {
        match self.asking.join_next().await {
            Some(Ok(Answered { pod, listeners, verdict })) => {
                self.asked.remove(&pod);
                if let Some(verdict) = verdict {
                    self.probed.record(&listeners, verdict);
                }
            }
            // It panicked, which the log has; that pod is left alone.
            Some(Err(_)) => {}
            None => future::pending().await,
        }
    }
}

/// Who is asked, and where.
struct Question {
    pod: PodRef,
    netns: Cookie,
    source: Source,
    listeners: Vec<Listener>,
    limits: merge::Limits,
}

// === impl Question ===

impl Question {
    async fn ask(self, scraper: &Arc<Scraper>) -> Answered {
        let Self { pod, netns, source, listeners, limits } = self;
        let Scraped { page, .. } = scraper.scrape(netns, &source, Format::Text, PATIENCE).await;
        let port = source.port;
        let verdict = match page {
            Ok(page) => {
                // A large page takes milliseconds.
                let judged = spawn_blocking(move || judge(&page, &limits)).await;
                Some(judged.unwrap_or(Verdict::Other))
            }
            Err(error) if is_no_answer(&error) => {
                debug!(%pod, port, %error, "could not be probed");
                None
            }
            Err(error) => {
                debug!(%pod, port, %error, "probed: no page of metrics");
                Some(Verdict::Other)
            }
        };
        if verdict == Some(Verdict::Metrics) {
            info!(%pod, port, "probed: a page of metrics");
        }
        sleep(PAUSE).await;
        Answered { pod, listeners, verdict }
    }
}

/// Whether anything on the page is a sample: any text is an empty page of metrics.
fn judge(page: &Page, limits: &merge::Limits) -> Verdict {
    let source =
        merge::Source { labels: &[], format: page.format, body: &page.body.bytes, only: None };
    let merged = merge::merge(&[source], limits, Output::default());
    let n_samples: usize = merged.reports.iter().map(|report| report.samples).sum();
    if n_samples > 0 { Verdict::Metrics } else { Verdict::Other }
}

/// Whether it says nothing of who would have answered.
fn is_no_answer(error: &Error) -> bool {
    match error {
        Error::Pending(_) | Error::Refused(_) | Error::Gone(_) | Error::Busy | Error::Owner(_) => {
            true
        }
        Error::Connect(error) => !error.is_of_the_other_side(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
