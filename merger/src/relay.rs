//! The pods from one process to another: the watcher, which looks for them, tells the agent.
//!
//! What is told is all that the source knows, as a state and not as changes, so that neither end has to know
//! what the other has missed. What an agent knows stays known while a watcher is started again.

use std::{collections::HashMap, io, iter, sync::Arc, time::Duration};

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
    while let Some(pieces) = told.news().await? {
        let before = publish.borrow().clone();
        let known = read(pieces, before.as_deref())?;
        *has_told = true;
        publish.send_if_modified(|newest| {
            let is_new = before.as_deref() != Some(&known);
            *newest = Some(Arc::new(known));
            is_new
        });
    }
    Ok(())
}

/// What is known, as it travels: all but the pods, then each of them. So neither end has it as values and as
/// bytes at one time.
fn pieces(known: &Known) -> impl Iterator<Item = Vec<u8>> {
    let Known { pods, problems, secrets, awaits_monitors } = known;
    let rest = Known {
        pods: Vec::new(),
        problems: problems.clone(),
        secrets: Arc::clone(secrets),
        awaits_monitors: *awaits_monitors,
    };
    let pods = pods.iter().map(|pod| protocol::to_bytes(&**pod));
    iter::once(protocol::to_bytes(&rest)).chain(pods)
}

/// What has travelled. Of `before`, what a watcher that was started again does not know yet is left as it is
/// known, as by one that goes on; and a pod that is as it was is that very one.
fn read(
    mut pieces: impl Iterator<Item = io::Result<Vec<u8>>>,
    before: Option<&Known>,
) -> Result<Known, Failure> {
    let rest = pieces.next().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))??;
    let mut known: Known = protocol::read(&rest)?;
    let pods = before.map(|before| before.pods.as_slice()).unwrap_or_default();
    let pods: HashMap<&str, &Arc<Pod>> = pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
    for piece in pieces {
        let mut pod: Pod = protocol::read(&piece?)?;
        let old = pods.get(pod.uid.as_str()).copied();
        // What monitors ask of it stays while they are not known.
        if let Some(old) = old.filter(|_| known.awaits_monitors) {
            pod.monitored = old.monitored.clone();
        }
        let old = old.filter(|old| ***old == pod).cloned();
        known.pods.push(old.unwrap_or_else(|| Arc::new(pod)));
    }
    if let Some(before) = before {
        carry_secrets(before, &mut known);
    }
    Ok(known)
}

/// Leaves the Secrets that cannot be read again, marked as old. One that was read and is of no use is known to
/// be so, and so is one that there is not, once that was said twice in a row.
fn carry_secrets(before: &Known, new: &mut Known) {
    let unread = new.secrets.iter().filter_map(|(name, read)| {
        let why = *read.as_ref().err()?;
        (!matches!(why, Unread::Unusable(_) | Unread::Missing)).then(|| (name.clone(), why))
    });
    let unread: Vec<_> = unread.collect();
    for (name, why) in unread {
        if let Some(Ok(known)) = before.secrets.get(&name) {
            let known = known.clone();
            let known = match why {
                Unread::NotYet => known,
                Unread::MissingOnce => known.unread_since(Unread::Missing),
                why => known.unread_since(why),
            };
            Arc::make_mut(&mut new.secrets).insert(name, Ok(known));
        }
    }
}

/// Tells the agent what the source knows whenever that is new, until the agent or the source is gone.
pub async fn tell(teller: Teller, mut pods: Reader) -> io::Result<()> {
    loop {
        let known = pods.borrow_and_update().clone();
        if let Some(known) = known {
            teller.tell(pieces(&known)).await?;
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

    /// As it crosses from one process to the other.
    fn travelled(known: &Known, before: Option<&Known>) -> Known {
        read(pieces(known).map(Ok), before).unwrap()
    }

    #[test]
    fn what_another_watcher_cannot_read_yet_stays_and_what_nobody_names_does_not() {
        let before = known(&[
            ("away", Ok("1")),
            ("late", Ok("2")),
            ("useless", Ok("3")),
            ("deleted", Ok("3")),
            ("anew", Ok("3")),
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
            ("anew", Err(Unread::MissingOnce)),
            ("rotated", Ok("five")),
            ("never", Err(Unread::Forbidden)),
            ("new", Err(Unread::NotYet)),
        ]);
        new = travelled(&new, None);
        assert_eq!(new.secrets.values().filter(|read| read.is_ok()).count(), 1);
        new = travelled(&new, Some(&before));
        let mut expected = known(&[
            ("away", Ok("1")),
            ("late", Ok("2")),
            ("useless", useless),
            ("deleted", Err(Unread::Missing)),
            ("anew", Ok("3")),
            ("rotated", Ok("five")),
            ("never", Err(Unread::Forbidden)),
            ("new", Err(Unread::NotYet)),
        ]);
        for (name, read) in Arc::make_mut(&mut expected.secrets) {
            let why = match name.name.as_str() {
                "away" => Unread::Away,
                "anew" => Unread::Missing,
                _ => continue,
            };
            *read = Ok(read.clone().unwrap().unread_since(why));
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
        let new = travelled(&asked(true, &[("1", 0), ("4", 0), ("3", 0)]), Some(&before));
        assert_eq!(new, asked(true, &[("1", 2), ("4", 0), ("3", 1)]));
        // It says so again, and has been started again in between.
        let again = travelled(&asked(true, &[("1", 0), ("3", 0)]), Some(&new));
        assert_eq!(again, asked(true, &[("1", 2), ("3", 1)]));
        // It knows that nobody asks for anything any more.
        let known = travelled(&asked(false, &[("1", 0), ("3", 1)]), Some(&again));
        assert_eq!(known, asked(false, &[("1", 0), ("3", 1)]));
    }

    #[test]
    fn a_pod_that_is_as_it_was_is_in_memory_once() {
        let before = asked(false, &[("1", 2), ("2", 1), ("3", 1)]);
        let is_same = |new: &Known| -> Vec<bool> {
            let pods = new.pods.iter();
            pods.map(|pod| before.pods.iter().any(|old| Arc::ptr_eq(old, pod))).collect()
        };
        let new = travelled(&asked(false, &[("1", 2), ("2", 0), ("4", 1)]), Some(&before));
        assert_eq!(is_same(&new), [true, false, false]);
        let new = travelled(&asked(true, &[("1", 0), ("2", 0), ("4", 0)]), Some(&before));
        assert_eq!(is_same(&new), [true, true, false]);
    }

    #[test]
    fn what_is_not_what_it_should_be_is_nothing() {
        let known = asked(false, &[("1", 2), ("2", 1)]);
        for broken in 0..3 {
            let pieces = pieces(&known).enumerate();
            let pieces =
                pieces.map(|(n, piece)| Ok(if n == broken { vec![255; 9] } else { piece }));
            assert!(read(pieces, None).is_err());
        }
        assert!(read(iter::empty(), None).is_err());
        let failed = pieces(&known).map(Ok).chain([Err(io::ErrorKind::InvalidData.into())]);
        assert!(read(failed, None).is_err());
    }
}
