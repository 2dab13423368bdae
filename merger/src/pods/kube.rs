//! The pods of this node as the API server tells of them: a list in pages, then a watch.
//!
//! Only pods bound to this node are asked for, and of each only what is used is kept. Whatever fails,
//! the pods that are known stay: an error in the stream means that the list is read again, and a new
//! list takes the place of the old one when it is complete.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::info;

pub use self::access::{Access, Error};
use self::{
    feed::{Feed, until},
    store::Store,
};
use super::{Known, Problem, Reader, Sender, publish};
use crate::target::Pod;

mod access;
mod backoff;
mod connection;
mod contact;
mod feed;
mod item;
mod limits;
pub mod secrets;
mod store;
mod verdict;

/// Changes that come together are published together.
const SETTLE: Duration = Duration::from_millis(100);

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
    let selector = format!("spec.nodeName={node_name}");
    Ok((reader, run(Feed::new(client, Some(selector), list), sender)))
}

/// Publishes what is known, until every reader is gone.
async fn run(mut pods: Feed<Arc<Pod>>, sender: Sender) {
    let mut publish_at = None;
    loop {
        tokio::select! {
            biased;
            () = sender.closed() => return,
            () = until(publish_at) => {
                publish_at = None;
                publish(&sender, known(pods.store()), |old, Known { pods, problems, .. }| {
                    if old.is_none() {
                        let (n_pods, n_skipped) = (pods.len(), problems.len());
                        info!(n_pods, n_skipped, "pods are known");
                    }
                });
            }
            () = pods.changed() => {
                publish_at.get_or_insert_with(|| Instant::now() + SETTLE);
            }
        }
    }
}

/// The pods of a store, each name once, in their order.
fn known(store: &Store<Arc<Pod>>) -> Known {
    let mut known = Known::default();
    for (name, pod) in store.iter() {
        match pod {
            Ok(pod) => known.pods.push(Arc::clone(pod)),
            Err(what) => {
                let place = format!("pod {name} of the API server");
                known.problems.push(Problem { place, what: what.clone() });
            }
        }
    }
    known
}
