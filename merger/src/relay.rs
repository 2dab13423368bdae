//! The pods from one process to another: the watcher, which looks for them, tells the agent.
//!
//! What is told is all that the source knows, as a state and not as changes, so that neither end has to know
//! what the other has missed. What an agent knows stays known while a watcher is started again.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::{
    cause::chain,
    node::{Node, protocol, watcher::Teller},
    pods::{Known, Reader, Sender},
    target::{Pod, secret::Unread},
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

/// Leaves what is known where a watcher that was started again does not know it yet, as one that goes on does.
fn carry_over(before: Option<&Known>, new: &mut Known) {
    let Some(before) = before else { return };
    carry_secrets(before, new);
    if new.awaits_monitors {
        carry_monitored(before, new);
    }
}

/// Leaves to each pod that is still the same one what monitors ask of it.
fn carry_monitored(before: &Known, new: &mut Known) {
    let known: HashMap<&str, &Pod> =
        before.pods.iter().map(|pod| (pod.uid.as_str(), &**pod)).collect();
    for pod in &mut new.pods {
        if let Some(Pod { monitored, .. }) = known.get(pod.uid.as_str())
            && pod.monitored != *monitored
        {
            Arc::make_mut(pod).monitored = monitored.clone();
        }
    }
}

/// Leaves the Secrets that cannot be read again, marked as old. One that was read and is of no use is known to
/// be so, and so is one that there is not.
fn carry_secrets(before: &Known, new: &mut Known) {
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::target::{
        PodRef,
        monitor::{Endpoint, Monitored},
        secret::{Fault, Hidden, Identity, Secret, SecretRef},
    };

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

    /// Pods as their uid and how many endpoints monitors ask of them.
    fn asked(awaits_monitors: bool, pods: &[(&str, usize)]) -> Known {
        let endpoint = Arc::new(Endpoint { monitor: "ns/m".to_owned(), ..Endpoint::default() });
        let pod = |(uid, n): &(&str, usize)| Pod {
            name: PodRef { namespace: "ns".to_owned(), name: "a".to_owned() },
            uid: (*uid).to_owned(),
            node: None,
            annotations: BTreeMap::default(),
            containers: Vec::new(),
            monitored: Monitored { endpoints: vec![Arc::clone(&endpoint); *n], left_out: 0 },
            ended: false,
        };
        let pods = pods.iter().map(pod).map(Arc::new).collect();
        Known { pods, awaits_monitors, ..Known::default() }
    }

    #[test]
    fn what_monitors_ask_stays_until_another_watcher_knows_it() {
        let before = asked(false, &[("1", 2), ("2", 1), ("3", 1)]);
        // One is gone, one is another pod of its name, one is new.
        let mut new = asked(true, &[("1", 0), ("4", 0), ("3", 0)]);
        new = protocol::read(&protocol::to_bytes(&new)).unwrap();
        carry_over(Some(&before), &mut new);
        assert_eq!(new, asked(true, &[("1", 2), ("4", 0), ("3", 1)]));
        // It says so again, and has been started again in between.
        let mut again = asked(true, &[("1", 0), ("3", 0)]);
        carry_over(Some(&new), &mut again);
        assert_eq!(again, asked(true, &[("1", 2), ("3", 1)]));
        // It knows that nobody asks for anything any more.
        let mut known = asked(false, &[("1", 0), ("3", 1)]);
        carry_over(Some(&again), &mut known);
        assert_eq!(known, asked(false, &[("1", 0), ("3", 1)]));
    }
}
