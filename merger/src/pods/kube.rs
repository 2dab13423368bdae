//! The pods of this node as the API server tells of them: a list in pages, then a watch.
//!
//! Only pods bound to this node are asked for, and of each only what is used is kept. Whatever fails,
//! the pods that are known stay: an error in the stream means that the list is read again, and a new
//! list takes the place of the old one when it is complete.
//!
//! The states are those of kube's `watcher`, which is begun anew where it would go on with what may be
//! wrong. It does nothing about time and size; that is in `connection.rs` and `limits.rs`.

use std::{collections::BTreeSet, future, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client,
    core::Status,
    runtime::watcher::{self, Event, InitialListStrategy},
};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tracing::{debug, info, warn};

pub use self::access::{Access, Error};
use self::{backoff::Backoff, item::Item, store::Store, verdict::Verdict};
use super::{Known, Reader, Sender, publish};
use crate::cause;

mod access;
mod backoff;
mod connection;
mod contact;
mod item;
mod limits;
pub mod secrets;
mod store;
mod verdict;

/// The pods of one page, as long as no page was too large: `limits.rs` says when one is.
const PAGE: u32 = 16;

/// Changes that come together are published together.
const SETTLE: Duration = Duration::from_millis(100);

/// A server that does not know how to stream a list may begin, and never say that it was all.
const STREAMED: Duration = Duration::from_secs(30);

/// How the API server is asked for what there is, before it is asked for what changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// By a list in pages, which every server knows.
    #[default]
    Pages,
    /// By the beginning of the watch itself, which costs servers that know it, as Kubernetes 1.34 does,
    /// less memory; of one that does not, pages are asked for after all.
    Streaming,
}

/// Watches the pods bound to the node of this name. The future does the work and ends when every
/// reader is gone. To be called in a tokio runtime. Fails only where what `access` names cannot be
/// used: a server that is away is waited for.
pub fn watch(
    access: Access,
    node_name: &str,
    list: List,
) -> Result<(Reader, impl Future<Output = ()> + Send + use<>), Error> {
    let client = connection::client(access)?;
    let (sender, reader) = watch::channel(None);
    Ok((reader, Feed::new(client, node_name, list).run(sender)))
}

/// What comes from the API server, and what became of it.
struct Feed {
    client: Client,
    /// The pods that are asked for.
    selector: String,
    list: List,
    page: u32,
    watcher: BoxStream<'static, Result<Event<Item>, watcher::Error>>,
    store: Store,
    /// Whether a list is being received, or awaited.
    is_listing: bool,
    backoff: Backoff,
    /// Until when nothing is asked.
    pause: Option<Instant>,
    /// Until when a list that is streamed has to go on.
    streamed_by: Option<Instant>,
    /// The statuses that were told already.
    told: BTreeSet<u16>,
}

// === impl Feed ===

impl Feed {
    fn new(client: Client, node_name: &str, list: List) -> Self {
        let selector = format!("spec.nodeName={node_name}");
        let watcher = watcher(client.clone(), &selector, list, PAGE);
        Self {
            client,
            selector,
            list,
            page: PAGE,
            watcher,
            store: Store::default(),
            is_listing: true,
            backoff: Backoff::default(),
            pause: None,
            streamed_by: None,
            told: BTreeSet::new(),
        }
    }

    async fn run(mut self, sender: Sender) {
        let mut publish_at = None;
        loop {
            // The watcher keeps its state in the stream, so its `next` may be dropped.
            tokio::select! {
                biased;
                () = sender.closed() => return,
                () = until(publish_at) => {
                    publish_at = None;
                    publish(&sender, self.store.known(), |old, Known { pods, problems, .. }| {
                        if old.is_none() {
                            let (n_pods, n_skipped) = (pods.len(), problems.len());
                            info!(n_pods, n_skipped, "pods are known");
                        }
                    });
                }
                () = until(self.pause) => self.pause = None,
                () = until(self.streamed_by) => {
                    self.ask_for_pages("it does not say when that is complete");
                    self.relist();
                }
                Some(event) = self.watcher.next(), if self.pause.is_none() => match event {
                    Ok(event) => if self.take(event) {
                        publish_at.get_or_insert_with(|| Instant::now() + SETTLE);
                    },
                    Err(error) => self.fail(&error),
                }
            }
        }
    }

    /// Takes in an event. Whether there is something to publish.
    fn take(&mut self, event: Event<Item>) -> bool {
        debug!(%event, "from the API server");
        match event {
            Event::Init => self.is_listing = true,
            Event::InitDone => self.is_listing = false,
            _ => {}
        }
        let is_streamed = self.is_listing && self.list == List::Streaming;
        self.streamed_by = is_streamed.then(|| Instant::now() + STREAMED);
        self.store.apply(event)
    }

    /// Goes on after a failure, a while later. What is known stays.
    fn fail(&mut self, error: &watcher::Error) {
        self.streamed_by = None;
        self.pause = Some(self.backoff.failed());
        let listing = self.is_listing.then_some(self.list);
        let verdict = verdict::of(error, listing);
        debug!(error = cause::chain(error), ?verdict, "the watch of the API server failed");
        match verdict {
            Verdict::Resume => return,
            Verdict::Relist => self.tell(error),
            Verdict::SmallerPages => {
                self.page = (self.page / 2).max(1);
                info!(pods = self.page, "the API server's pages are too large: asking for less");
            }
            Verdict::Pages => {
                self.ask_for_pages(verdict::status(error).map_or("", |status| &status.message));
            }
        }
        self.relist();
    }

    /// An old version is a matter of course; each other status is worth a line once.
    fn tell(&mut self, error: &watcher::Error) {
        match verdict::status(error) {
            Some(Status { code: 410, .. }) => {
                info!("the API server has forgotten what came before: listing the pods");
            }
            Some(Status { code, message, .. }) if self.told.insert(*code) => {
                warn!(code, why = message, "the API server ended the watch: listing the pods");
            }
            _ => debug!("listing the pods"),
        }
    }

    fn ask_for_pages(&mut self, why: &str) {
        warn!(why, "the API server cannot stream a list: asking for pages from now on");
        self.list = List::Pages;
    }

    fn relist(&mut self) {
        self.store.abandon();
        self.is_listing = true;
        self.streamed_by = None;
        self.watcher = watcher(self.client.clone(), &self.selector, self.list, self.page);
    }
}

/// Lists and watches from the beginning, as soon as it is polled.
fn watcher(
    client: Client,
    selector: &str,
    list: List,
    page: u32,
) -> BoxStream<'static, Result<Event<Item>, watcher::Error>> {
    let config = watcher::Config {
        field_selector: Some(selector.to_owned()),
        page_size: Some(page),
        initial_list_strategy: match list {
            List::Pages => InitialListStrategy::ListWatch,
            List::Streaming => InitialListStrategy::StreamingList,
        },
        ..watcher::Config::default()
    };
    watcher::watcher(Api::all(client), config).boxed()
}

/// Waits for a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => future::pending().await,
    }
}
