//! The pods from one process to another: the watcher, which looks for them, tells the agent.
//!
//! What is told is all that the source knows, as a state and not as changes, so that neither end has to know
//! what the other has missed. What an agent knows stays known while a watcher is started again.

use std::{io, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::{
    cause::chain,
    node::{Node, protocol, watcher::Teller},
    pods::{Known, Reader, Sender},
};

/// How long until a watcher is asked for again: longer than the broker lets pass between two, and twice as
/// long each time that one has told nothing.
const PAUSE: Duration = Duration::from_millis(1500);
const LONGEST: Duration = Duration::from_secs(30);

/// Why a watcher is not heard any more.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Has the pods watched by a process of their own. The future does the work and ends when every reader is
/// gone.
pub fn watch(node: Node) -> (Reader, impl Future<Output = ()> + Send) {
    let (sender, reader) = watch::channel(None);
    let work = async move {
        let mut pause = PAUSE;
        loop {
            let mut has_told = false;
            tokio::select! {
                () = sender.closed() => return,
                ended = hear(&node, &sender, &mut has_told) => {
                    let why = ended.map_or_else(|error| chain(&*error), |()| "its last line says it".into());
                    warn!(why, "the watcher has ended and is started again; pods stay as they were");
                }
            }
            pause = if has_told { PAUSE } else { LONGEST.min(pause * 2) };
            sleep(pause).await;
        }
    };
    (reader, work)
}

/// Publishes what one watcher says, until it has ended.
async fn hear(node: &Node, publish: &Sender, has_told: &mut bool) -> Result<(), Failure> {
    let told = node.watch().await?;
    while let Some(bytes) = told.news().await? {
        let known: Known = protocol::read(&bytes)?;
        *has_told = true;
        publish.send_if_modified(|before| {
            let is_new = before.as_deref() != Some(&known);
            *before = Some(Arc::new(known));
            is_new
        });
    }
    Ok(())
}

/// Tells the agent what the source knows whenever that is new, until the agent or the source is gone.
pub async fn tell(teller: Teller, mut pods: Reader) -> io::Result<()> {
    loop {
        let known = pods.borrow_and_update().clone();
        if let Some(known) = known {
            teller.tell(&protocol::to_bytes(&*known)).await?;
        }
        tokio::select! {
            () = teller.closed() => return Ok(()),
            changed = pods.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}
