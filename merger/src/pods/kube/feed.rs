//! The objects of one kind: a list in pages, then a watch, begun anew where something may be missing.
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
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use super::{
    List,
    backoff::{self, Backoff, Excuse},
    item::{Content, Item, Place},
    store::Store,
    verdict::{self, Refused, Verdict},
};
use crate::cause;

/// A server that does not know how to stream a list may begin, and never say that it was all.
const STREAMED: Duration = Duration::from_secs(30);

/// What comes from the API server, and what became of it.
pub(super) struct Feed<T> {
    client: Client,
    /// The objects that are asked for, by their fields; all, where there is none.
    selector: Option<String>,
    list: List,
    page: u32,
    watcher: BoxStream<'static, Result<Event<Item<T>>, watcher::Error>>,
    store: Store<T>,
    /// Whether a list is being received, or awaited.
    is_listing: bool,
    backoff: Backoff,
    /// Until when nothing is asked.
    pause: Option<Instant>,
    /// Until when a list that is streamed has to go on.
    streamed_by: Option<Instant>,
    /// When the list is read again as there is room for what was left out.
    relist_at: Option<Instant>,
    /// The statuses that were told already.
    told: BTreeSet<u16>,
    /// How often the resource was not there, since it was there last.
    n_absent: u32,
    excuse: Excuse,
    /// Whether a list was complete, or refused.
    has_answered: bool,
    /// Whether a list was complete.
    has_listed: bool,
}

// === impl Feed ===

impl<T: Content> Feed<T> {
    pub(super) fn new(client: Client, selector: Option<String>, list: List) -> Self {
        let watcher = watcher(client.clone(), selector.as_deref(), list, T::PAGE);
        Self {
            client,
            selector,
            list,
            page: T::PAGE,
            watcher,
            store: Store::default(),
            is_listing: true,
            backoff: Backoff::default(),
            pause: None,
            streamed_by: None,
            relist_at: None,
            told: BTreeSet::new(),
            n_absent: 0,
            excuse: Excuse::default(),
            has_answered: false,
            has_listed: false,
        }
    }

    /// What is known.
    pub(super) fn store(&self) -> &Store<T> {
        &self.store
    }

    /// The same, to be worked on.
    pub(super) fn store_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }

    /// Whether a list is known, or that none is to be had: then it is not to be waited for.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether what is known is nothing because nobody has said yet what there is. That a resource may not be
    /// read says nothing of it.
    pub(super) fn is_unknown(&self) -> bool {
        !self.has_listed && self.n_absent < 2
    }

    /// Whether a list was complete, and the resource was there since.
    pub(super) fn is_listed(&self) -> bool {
        self.has_listed && self.n_absent == 0
    }

    /// Listens until something comes of it: true where what is known may be another thing, false where
    /// that has failed. It may be dropped: all that it has heard is kept.
    pub(super) async fn changed(&mut self) -> bool {
        loop {
            // The watcher keeps its state in the stream, so its `next` may be dropped.
            tokio::select! {
                biased;
                () = until(self.pause) => self.pause = None,
                () = until(self.streamed_by) => {
                    self.ask_for_pages("it does not say when that is complete");
                    self.relist();
                }
                () = until(self.relist_at) => {
                    debug!("listing the {}: there is room for more", T::PLACE.plural);
                    self.relist();
                }
                Some(event) = self.watcher.next(), if self.pause.is_none() => match event {
                    Ok(event) => if self.take(event) {
                        return true;
                    },
                    Err(error) => return self.fail(&error),
                }
            }
        }
    }

    /// Takes in an event. Whether there is something to publish.
    fn take(&mut self, event: Event<Item<T>>) -> bool {
        debug!(%event, "from the API server");
        match event {
            Event::Init => self.is_listing = true,
            Event::InitDone => {
                (self.is_listing, self.n_absent) = (false, 0);
                self.excuse.listed();
                (self.has_answered, self.has_listed) = (true, true);
            }
            _ => {}
        }
        let is_streamed = self.is_listing && self.list == List::Streaming;
        self.streamed_by = is_streamed.then(|| Instant::now() + STREAMED);
        let is_new = self.store.apply(event);
        if self.store.calls_for_list() && !self.is_listing {
            self.relist_at.get_or_insert_with(backoff::in_a_while);
        }
        is_new
    }

    /// Goes on after a failure, a while later. What is known stays; whether it does not.
    fn fail(&mut self, error: &watcher::Error) -> bool {
        self.streamed_by = None;
        let refused = verdict::refused(error).filter(|_| T::PLACE.is_optional);
        if refused.is_some() && self.excuse.refused() {
            self.pause = Some(self.backoff.failed());
            self.relist();
            return false;
        }
        if let Some(refused) = refused {
            (self.pause, self.has_answered) = (Some(backoff::rarely()), true);
            let is_gone = refused == Refused::Absent && self.is_gone();
            self.relist();
            return is_gone;
        }
        self.pause = Some(self.backoff.failed());
        let listing = self.is_listing.then_some(self.list);
        let verdict = verdict::of(error, listing);
        debug!(error = cause::chain(error), ?verdict, "the watch of the API server failed");
        match verdict {
            Verdict::Resume => return false,
            Verdict::Relist => self.tell(error),
            Verdict::SmallerPages => {
                self.page = (self.page / 2).max(1);
                let what = T::PLACE.plural;
                info!(what, n = self.page, "the API server's pages are too large: asking for less");
            }
            Verdict::Pages => {
                self.ask_for_pages(verdict::status(error).map_or("", |status| &status.message));
            }
        }
        self.relist();
        false
    }

    /// The resource is not there. Once is no time: a server that starts may not know it for longer. Whether
    /// what was known of it is forgotten.
    fn is_gone(&mut self) -> bool {
        let Place { kind, group, version, .. } = T::PLACE;
        if self.n_absent == 0 {
            info!("the cluster has no {kind} of {group}/{version}: asking again in 5 to 10 min");
        }
        self.n_absent = self.n_absent.saturating_add(1);
        let is_gone = self.n_absent > 1 && !self.store.is_empty();
        if is_gone {
            self.store.clear();
        }
        is_gone
    }

    /// An old version is a matter of course; each other status is worth a line once.
    fn tell(&mut self, error: &watcher::Error) {
        let what = T::PLACE.plural;
        match verdict::status(error) {
            Some(Status { code: 410, .. }) => {
                info!("the API server has forgotten what came before: listing the {what}");
            }
            Some(Status { code, message, .. }) if self.told.insert(*code) => {
                warn!(code, why = message, "the API server ended the watch: listing the {what}");
            }
            _ => debug!("listing the {what}"),
        }
    }

    fn ask_for_pages(&mut self, why: &str) {
        warn!(why, "the API server cannot stream a list: asking for pages from now on");
        self.list = List::Pages;
    }

    fn relist(&mut self) {
        self.store.abandon();
        self.is_listing = true;
        (self.streamed_by, self.relist_at) = (None, None);
        let selector = self.selector.as_deref();
        self.watcher = watcher(self.client.clone(), selector, self.list, self.page);
    }
}

/// Lists and watches from the beginning, as soon as it is polled.
fn watcher<T: Content>(
    client: Client,
    selector: Option<&str>,
    list: List,
    page: u32,
) -> BoxStream<'static, Result<Event<Item<T>>, watcher::Error>> {
    let config = watcher::Config {
        field_selector: selector.map(str::to_owned),
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
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => future::pending().await,
    }
}
