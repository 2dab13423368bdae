//! The page of all pods of the node, within a budget of memory.
//!
//! The bodies of all pods and the page made of them take at most the limit. What the page will take
//! is estimated before the merge, and measured after it: one that came out larger is made again
//! with fewer pods. One such page is made at one time, and the next begins when the first was taken
//! by its reader or given up. The pods that do not fit are told as sources that are down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{
    future,
    stream::{FuturesUnordered, StreamExt as _},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{Error, Failure, Merged, Missing, Pages, Read, Scope, room::Room};
use crate::{
    exposition::{Format, Output},
    inventory::{Target, Targets},
    scrape::limits,
    serve::discovery,
    target::PodRef,
};

/// How many pods are read at one time. Each holds a few connections; more at once would only fill
/// the memory in flight.
const AT_ONCE: usize = 32;

/// A page, and the right to be the only one in memory.
#[derive(Debug)]
pub struct NodePage {
    body: Vec<u8>,
    _turn: OwnedSemaphorePermit,
}

// === impl NodePage ===

impl AsRef<[u8]> for NodePage {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

// === impl Pages ===

impl Pages {
    /// The merged page of all pods that are to be scraped, in the order of their names, for a
    /// reader whose timeout header is `timeout`.
    pub async fn node(
        &self,
        targets: &Targets,
        timeout: Option<&str>,
        output: Output,
    ) -> Result<NodePage, Error> {
        let patience = limits::patience(timeout, self.scraper.limits().timeout);
        let deadline = Instant::now() + patience;
        // Who waits longer than this could not read much any more.
        let turn = Arc::clone(&self.node_turn).acquire_owned();
        let Ok(Ok(turn)) = timeout_at(deadline - patience / 2, turn).await else {
            return Err(Error::Taken);
        };
        let targets: Vec<&Target> =
            targets.values().map(Arc::as_ref).filter(|t| discovery::is_listed(t)).collect();
        let room = self.read_all(&targets, deadline, output.format).await;
        let (reads, merged) = self.merge_what_fits(room, output).await?;
        let Merged { body, reports, failures } = merged;
        self.count(&reads, &reports);
        self.tell(&targets, &failures);
        if !reads.is_empty() && failures.len() == reads.len() {
            return Err(Error::AllFailed { failures, scope: Scope::Node });
        }
        Ok(NodePage { body, _turn: turn })
    }

    /// Reads the pods in their order, some at one time. Where there are more than that, each has its
    /// part of the time: pods that hang take it from no other.
    async fn read_all(&self, targets: &[&Target], deadline: Instant, format: Format) -> Room {
        let n_turns = u32::try_from(targets.len().div_ceil(AT_ONCE)).unwrap_or(u32::MAX).max(1);
        let patience = deadline.saturating_duration_since(Instant::now()) / n_turns;
        let mut room = Room::new(self.page_bytes, targets.len());
        let mut waiting = targets.iter().copied().enumerate();
        let read = |(position, target)| self.read(position, target, format, patience);
        let mut reading: FuturesUnordered<_> = waiting.by_ref().take(AT_ONCE).map(read).collect();
        while let Some((position, reads)) = reading.next().await {
            let size = reads.iter().map(|read| weight(read, format)).sum();
            room.take(position, reads, size);
            for (position, target) in waiting.by_ref() {
                if room.is_open(position) {
                    reading.push(read((position, target)));
                    break;
                }
                let limit = self.page_bytes;
                room.take(position, unasked(target, || Missing::NoRoom { limit }), 0);
            }
        }
        room
    }

    async fn read(
        &self,
        position: usize,
        target: &Target,
        format: Format,
        patience: Duration,
    ) -> (usize, Vec<Read>) {
        let Target { pod, netns, plan } = target;
        let netns = match netns {
            Ok(netns) => *netns,
            Err(unclear) => {
                return (position, unasked(target, || Missing::Unclear(unclear.clone())));
            }
        };
        let reads = plan.sources.iter().map(async |source| {
            let scraped = self.scraper.scrape(netns, source, format, patience).await;
            Read::new(Some(pod.name.clone()), source.clone(), scraped.detached())
        });
        (position, future::join_all(reads).await)
    }

    /// Merges the pods that fit, where the page has to fit as well.
    async fn merge_what_fits(
        &self,
        mut room: Room,
        output: Output,
    ) -> Result<(Vec<Read>, Merged), Error> {
        loop {
            let reads: Vec<Read> = room.reads().cloned().collect();
            let bodies: usize = reads.iter().map(Read::n_bytes).sum();
            let (reads, merged) = self.merge(reads, output, Scope::Node).await?;
            let size = bodies + merged.body.len();
            let taken = room.taken();
            if size <= self.page_bytes || taken == 0 {
                let is_left_out = |read: &&Read| matches!(read.page, Err(Missing::NoRoom { .. }));
                let n_left_out = reads.iter().filter(is_left_out).count();
                if n_left_out > 0 {
                    self.limits_hit.add("page", n_left_out as u64);
                }
                return Ok((reads, merged));
            }
            drop((reads, merged));
            // What was estimated was too little by a factor, by which it is corrected; and by one
            // pod at least, so that this ends.
            let fitting = taken as u128 * self.page_bytes as u128 / size as u128;
            room.shrink(usize::try_from(fitting).unwrap_or(taken).min(taken - 1));
        }
    }

    /// Keeps the reasons of those that failed, for each pod.
    fn tell(&self, targets: &[&Target], failures: &[Failure]) {
        let mut of_pods: BTreeMap<&PodRef, Vec<Failure>> =
            targets.iter().map(|target| (&target.pod.name, Vec::new())).collect();
        for failure in failures {
            if let Some(of_pod) = failure.pod.as_ref().and_then(|pod| of_pods.get_mut(pod)) {
                of_pod.push(failure.clone());
            }
        }
        for (pod, failures) in of_pods {
            self.failing.replace(pod, &failures);
        }
    }
}

/// The sources of a pod that is not asked.
fn unasked(target: &Target, why: impl Fn() -> Missing) -> Vec<Read> {
    let sources = target.plan.sources.iter();
    sources.map(|source| Read::unasked(&target.pod.name, source, why())).collect()
}

/// What a source takes of the budget: its body, and about what it adds to a page in `format`.
///
/// Lines become lines that are longer by the labels of the source. Of a message a metric takes some
/// 64 bytes with its label pairs; as lines, each of its buckets says all labels again.
fn weight(read: &Read, format: Format) -> usize {
    let Ok(page) = &read.page else { return 0 };
    let body = page.body.bytes.as_slice();
    let labels: usize = read
        .labels(Scope::Node)
        .iter()
        .map(|(name, value)| name.len() + value.len() + r#",="""#.len())
        .sum();
    let (n_samples, growth) = match (page.format, format) {
        (Format::Protobuf, Format::Protobuf) => (body.len() / 64, 1),
        (Format::Protobuf, _) => (body.len() / 16, 4),
        (_, _) => (memchr::memchr_iter(b'\n', body).count(), 1),
    };
    (1 + growth) * body.len() + n_samples * labels
}
