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
    target::secret::Unread,
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
        let mut known: Known = protocol::read(&bytes)?;
        *has_told = true;
        publish.send_if_modified(|before| {
            carry_over(before.as_deref(), &mut known);
            let is_new = before.as_deref() != Some(&known);
            *before = Some(Arc::new(std::mem::take(&mut known)));
            is_new
        });
    }
    Ok(())
}

/// Leaves the Secrets that are known where a watcher that was started again cannot read them, as one that goes
/// on does, marked as old. One that it has read and that is of no use is known to be so, and so is one that there
/// is not.
fn carry_over(before: Option<&Known>, new: &mut Known) {
    let Some(before) = before else { return };
    let unread = new.secrets.iter().filter_map(|(name, read)| {
        let why = *read.as_ref().err()?;
        (!matches!(why, Unread::Unusable(_) | Unread::Missing)).then(|| (name.clone(), why))
    });
    let unread: Vec<_> = unread.collect();
    for (name, why) in unread {
        if let Some(Ok(known)) = before.secrets.get(&name) {
            let known = known.clone();
            let is_asked_for = why == Unread::NotYet;
            let known = if is_asked_for { known } else { known.unread_since(why) };
            Arc::make_mut(&mut new.secrets).insert(name, Ok(known));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::secret::{Fault, Hidden, Identity, Secret, SecretRef};

    fn known(read: &[(&str, Result<&str, Unread>)]) -> Known {
        let secret = |token: &str| {
            let identity = Identity::Bearer(Hidden(token.as_bytes().to_vec()));
            Secret { identity: Some(identity), ca: None, stale: None }
        };
        let named = |name: &str| SecretRef { namespace: "ns".to_owned(), name: name.to_owned() };
        let secrets = read.iter().map(|(name, read)| (named(name), read.map(secret)));
        Known { secrets: Arc::new(secrets.collect()), ..Known::default() }
    }

    #[test]
    fn what_another_watcher_cannot_read_yet_stays_and_what_nobody_names_does_not() {
        let before = known(&[
            ("away", Ok("1")),
            ("late", Ok("2")),
            ("useless", Ok("3")),
            ("deleted", Ok("3")),
            ("rotated", Ok("4")),
            ("unnamed", Ok("5")),
            ("never", Err(Unread::Missing)),
        ]);
        let useless = Err(Unread::Unusable(Fault::LineBreak));
        let mut new = known(&[
            ("away", Err(Unread::Away)),
            ("late", Err(Unread::NotYet)),
            ("useless", useless),
            ("deleted", Err(Unread::Missing)),
            ("rotated", Ok("five")),
            ("never", Err(Unread::Forbidden)),
            ("new", Err(Unread::NotYet)),
        ]);
        carry_over(None, &mut new);
        assert_eq!(new.secrets.values().filter(|read| read.is_ok()).count(), 1);
        // As it crosses from one process to the other.
        new = protocol::read(&protocol::to_bytes(&new)).unwrap();
        carry_over(Some(&before), &mut new);
        let mut expected = known(&[
            ("away", Ok("1")),
            ("late", Ok("2")),
            ("useless", useless),
            ("deleted", Err(Unread::Missing)),
            ("rotated", Ok("five")),
            ("never", Err(Unread::Forbidden)),
            ("new", Err(Unread::NotYet)),
        ]);
        let secrets = Arc::make_mut(&mut expected.secrets);
        for (name, read) in secrets.iter_mut().filter(|(name, _)| name.name == "away") {
            *read = read.clone().map(|old| old.unread_since(Unread::Away));
            assert!(read.is_ok(), "{name}");
        }
        assert_eq!(new, expected);
    }
}
