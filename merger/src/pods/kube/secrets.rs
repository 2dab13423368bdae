//! The Secrets that the pods of this node name, each read by its name, and nothing else of any.
//!
//! Pods come from their own feed, as they come. Of those in a namespace that the settings name, the
//! Secrets that they ask to be scraped with are read once when they are first named, and again every few
//! minutes: a watch would have to be one for each, as rights on single names go no further. One is asked for
//! at a time.
//!
//! What was read stays while it cannot be read again, marked as old. It is forgotten when no pod names it, or
//! when the API server says twice in a row that there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    future,
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use kube::Client;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use self::{
    request::{Answer, Lapse, ask},
    shelf::{News, Shelf},
};
use super::{
    access::Access,
    backoff::Backoff,
    contact::{Contact, Subject},
    until,
};
use crate::{
    pods::{Known, Reader, Sender},
    target::{
        annotations::secret::named,
        secret::{MAX_OF_NAMESPACE, MAX_OF_NODE, SecretRef, Unread},
    },
};

mod object;
mod request;
mod shelf;

/// How long the first pods wait for what they are asked with. An agent that had both, from a watcher that has
/// ended, is not to lose one of them in between.
const PATIENCE: Duration = Duration::from_secs(5);

/// Adds to the pods of this node the Secrets that they name, of the namespaces that are `allowed`. The
/// future does the work and ends when every reader is gone, or the source of pods. To be called in a tokio
/// runtime.
pub fn beside(
    access: Access,
    allowed: BTreeSet<String>,
    pods: Reader,
) -> (Reader, impl Future<Output = ()> + Send + use<>) {
    let (sender, reader) = watch::channel(None);
    let keeper = Keeper {
        access,
        allowed,
        client: None,
        shelf: Shelf::default(),
        contact: Contact::new(Subject::Secrets),
        backoff: Backoff::default(),
        pause: None,
        hold: None,
    };
    (reader, keeper.run(pods, sender))
}

/// What is known of the Secrets that are named.
struct Keeper {
    access: Access,
    allowed: BTreeSet<String>,
    /// What they are asked by; none before the first, and after one that was not answered.
    client: Option<Client>,
    shelf: Shelf,
    /// Whether the API server answers for any.
    contact: Contact,
    backoff: Backoff,
    /// Until when none is asked for.
    pause: Option<Instant>,
    /// Until when nothing is published where not all was asked for once.
    hold: Option<Instant>,
}

/// One that is being asked for.
type Asking = BoxFuture<'static, (SecretRef, Option<Client>, Answer)>;

// === impl Keeper ===

impl Keeper {
    async fn run(mut self, mut pods: Reader, sender: Sender) {
        let mut asking: Option<Asking> = None;
        loop {
            let due = if asking.is_some() { None } else { self.due() };
            // What is asked for goes on while pods come and go.
            tokio::select! {
                biased;
                () = sender.closed() => return,
                changed = pods.changed() => {
                    if changed.is_err() { return }
                    let known = pods.borrow_and_update().clone();
                    self.keep(known.as_deref(), sender.borrow().is_none());
                    self.publish(&pods, &sender);
                }
                (secret, client, answer) = answered(&mut asking) => {
                    asking = None;
                    self.client = client;
                    self.take(&secret, answer);
                    self.publish(&pods, &sender);
                }
                () = until(self.hold) => {
                    self.hold = None;
                    self.publish(&pods, &sender);
                }
                () = until(due) => asking = self.next(),
            }
        }
    }

    /// Keeps what these pods name.
    fn keep(&mut self, known: Option<&Known>, is_first: bool) {
        let Some(known) = known else { return };
        self.shelf.keep(&wanted(known, &self.allowed));
        if is_first && self.hold.is_none() {
            self.hold = Some(Instant::now() + PATIENCE);
        }
    }

    /// When the next one is to be asked for.
    fn due(&self) -> Option<Instant> {
        let (_, due) = self.shelf.next()?;
        Some(self.pause.map_or(due, |pause| due.max(pause)))
    }

    fn next(&self) -> Option<Asking> {
        let secret = self.shelf.next()?.0.clone();
        let (access, client) = (self.access.clone(), self.client.clone());
        Some(Box::pin(async move {
            let (client, answer) = ask(access, client, &secret).await;
            (secret, client, answer)
        }))
    }

    fn take(&mut self, secret: &SecretRef, answer: Answer) {
        self.pause = None;
        // A status of the server's own trouble may be this Secret's alone, or that of all.
        if !matches!(answer, Answer::Away(_) | Answer::Refused(Unread::Status(500..))) {
            self.contact.good();
        }
        match answer {
            Answer::Read(read) => {
                let fault = read.as_ref().err().copied();
                match (self.shelf.read(secret, read), fault) {
                    (true, None) => info!(%secret, "a Secret is read"),
                    (true, Some(why)) => warn!(%secret, "a Secret is of no use: {why}"),
                    (false, _) => debug!(%secret, "a Secret is as it was"),
                }
            }
            Answer::Refused(why) => match self.shelf.refused(secret, why) {
                News::Refused => warn!(%secret, "a Secret is not read: {why}"),
                News::Forgotten => warn!(%secret, "what was read of a Secret is forgotten: {why}"),
                News::None => debug!(%secret, "still, a Secret is not read: {why}"),
            },
            Answer::Away(Lapse { trouble, why, unread }) => {
                self.contact.bad(trouble, &why);
                self.shelf.away(secret, unread);
                self.pause = Some(self.backoff.failed());
            }
        }
    }

    /// Of the pods nothing is told that their own source has not told.
    fn publish(&mut self, pods: &Reader, sender: &Sender) {
        let Some(known) = pods.borrow().clone() else { return };
        if self.hold.is_some() && !self.shelf.is_complete() {
            return;
        }
        self.hold = None;
        let secrets = self.shelf.secrets();
        sender.send_if_modified(|before| {
            let new = Known { secrets, ..(*known).clone() };
            if before.as_deref() == Some(&new) {
                return false;
            }
            *before = Some(Arc::new(new));
            true
        });
    }
}

async fn answered(asking: &mut Option<Asking>) -> (SecretRef, Option<Client>, Answer) {
    match asking {
        Some(asking) => asking.await,
        None => future::pending().await,
    }
}

/// The Secrets that these pods name and may name. Of too many the last ones by name are left out, first those
/// of one namespace; of a node's the namespaces have one each in turn, so that none leaves nothing to others.
fn wanted(known: &Known, allowed: &BTreeSet<String>) -> BTreeSet<SecretRef> {
    let mut of: BTreeMap<&str, BTreeSet<SecretRef>> = BTreeMap::new();
    for pod in known.pods.iter().filter(|pod| !pod.ended && allowed.contains(&pod.name.namespace)) {
        let containers: Vec<&str> = pod.containers.iter().map(|c| &*c.name).collect();
        let namespace = &pod.name.namespace;
        let names =
            named(&pod.annotations, &containers).into_iter().filter_map(|one| one.name.ok());
        of.entry(namespace)
            .or_default()
            .extend(names.map(|name| SecretRef { namespace: namespace.clone(), name }));
    }
    let kept = of.into_values().flat_map(|all| all.into_iter().take(MAX_OF_NAMESPACE).enumerate());
    let mut kept: Vec<(usize, SecretRef)> = kept.collect();
    // Of one turn they stay in the order of the namespaces.
    kept.sort_by_key(|(turn, _)| *turn);
    kept.into_iter().take(MAX_OF_NODE).map(|(_, secret)| secret).collect()
}

#[cfg(test)]
mod tests;
