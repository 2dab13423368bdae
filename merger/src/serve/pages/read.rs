//! A source and what came of reading it, as the merge and the statement of the page see it.

use std::{sync::Arc, time::Duration};

use crate::{
    identity::Unclear,
    scrape::{self, Page, Scraped},
    target::{PodRef, Source},
};

/// A source and what came of reading it.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whose it is, where that is known.
    pub pod: Option<PodRef>,
    /// What was to be asked.
    pub source: Source,
    /// What it answered, or why there is nothing.
    pub page: Result<Arc<Page>, Missing>,
    /// How long it took to answer.
    pub duration: Duration,
}

/// Why there is nothing of a source.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Missing {
    /// It gave nothing.
    #[error(transparent)]
    Scrape(Arc<scrape::Error>),
    /// The namespace of its pod is not known for sure, so it was not asked.
    #[error(transparent)]
    Unclear(Unclear),
    /// The pods before its own have used up the memory.
    #[error(
        "the page of all pods has no room left in its {limit} bytes: read the page of this pod, or \
         raise --max-page-bytes"
    )]
    NoRoom {
        /// The limit of bodies and page together.
        limit: usize,
    },
}

/// Whose sources are on a page, which decides what labels tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one pod: `container` and `endpoint`.
    Pod,
    /// Those of several pods: also `namespace` and `pod`.
    Node,
}

// === impl Read ===

impl Read {
    /// What came of a scrape.
    #[must_use]
    pub fn new(pod: Option<PodRef>, source: Source, scraped: Scraped) -> Self {
        let Scraped { page, duration } = scraped;
        Self { pod, source, page: page.map_err(Missing::Scrape), duration }
    }

    /// A source that was not asked.
    #[must_use]
    pub fn unasked(pod: &PodRef, source: &Source, why: Missing) -> Self {
        let (pod, source) = (Some(pod.clone()), source.clone());
        Self { pod, source, page: Err(why), duration: Duration::ZERO }
    }

    /// The labels that its series get.
    pub(super) fn labels(&self, scope: Scope) -> Vec<(&str, &str)> {
        let Self { pod, source, .. } = self;
        let own =
            [("container", source.container.as_str()), ("endpoint", source.endpoint.as_str())];
        match pod {
            Some(PodRef { namespace, name }) if scope == Scope::Node => {
                [("namespace", namespace.as_str()), ("pod", name.as_str())]
                    .into_iter()
                    .chain(own)
                    .collect()
            }
            _ => own.to_vec(),
        }
    }

    /// The bytes of its body.
    pub(super) fn n_bytes(&self) -> usize {
        self.page.as_ref().map_or(0, |page| page.body.bytes.len())
    }
}
