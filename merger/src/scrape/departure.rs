//! Which namespaces are worth waiting for, as whoever knows the pods tells it.
//!
//! A connection keeps the namespace that it was born in, however silent its pod was and however long it
//! has ended. So none outlives its pod by more than a moment.

use std::{collections::HashSet, time::Duration};

use tokio::{sync::watch, time::timeout};

use crate::identity::Cookie;

/// How long an answer may take that was begun when the last source of its namespace ceased to listen:
/// that is how a server ends, and how a pod is killed.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// The namespaces of the pods.
#[derive(Clone, Debug, Default)]
pub struct Alive {
    /// All that pods have.
    pub namespaces: HashSet<Cookie>,
    /// Those in which a source listens.
    pub listening: HashSet<Cookie>,
}

/// Tells each scrape when to give up. Before it was told anything, none.
#[derive(Debug)]
pub(super) struct Departures {
    told: watch::Sender<Option<Alive>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listens,
    Closed,
    Gone,
}

// === impl Departures ===

impl Departures {
    pub(super) fn new() -> Self {
        Self { told: watch::channel(None).0 }
    }

    pub(super) fn tell(&self, alive: Alive) {
        self.told.send_replace(Some(alive));
    }

    /// Returns when nobody should wait for `netns` any more: it is no pod's, or nothing has listened
    /// in it for [`GRACE`].
    pub(super) async fn of(&self, netns: Cookie) {
        let mut told = self.told.subscribe();
        let mut state = State::Listens;
        loop {
            let change = told.wait_for(|alive| State::of(netns, alive.as_ref()) != state);
            let patience = if state == State::Closed { GRACE } else { Duration::MAX };
            state = match timeout(patience, change).await {
                Ok(Ok(alive)) => State::of(netns, alive.as_ref()),
                // Nobody tells any more, so nothing changes; and nobody can wait for it then.
                Ok(Err(_)) => return,
                Err(_) => State::Gone,
            };
            if state == State::Gone {
                return;
            }
        }
    }
}

// === impl State ===

impl State {
    fn of(netns: Cookie, alive: Option<&Alive>) -> Self {
        match alive {
            Some(alive) if !alive.namespaces.contains(&netns) => Self::Gone,
            Some(alive) if !alive.listening.contains(&netns) => Self::Closed,
            _ => Self::Listens,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const POD: Cookie = Cookie(7);

    fn alive(listens: bool) -> Alive {
        let namespaces = HashSet::from([POD]);
        Alive { listening: if listens { namespaces.clone() } else { HashSet::new() }, namespaces }
    }

    /// When a scrape gives up, in seconds, of which each was told this.
    async fn check(told: &[Option<Alive>], expected: Option<u64>) {
        let departures = Departures::new();
        let start = Instant::now();
        let tells = async {
            for alive in told {
                if let Some(alive) = alive {
                    departures.tell(alive.clone());
                }
                sleep(Duration::from_secs(1)).await;
            }
            sleep(Duration::from_mins(1)).await;
        };
        let found = tokio::select! {
            () = departures.of(POD) => Some(start.elapsed().as_secs()),
            () = tells => None,
        };
        assert_eq!(found, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_tells_anything_each_is_waited_for() {
        check(&[None], None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_no_pods_any_more_is_given_up_at_once() {
        check(&[Some(alive(true)), Some(Alive::default())], Some(1)).await;
        check(&[Some(Alive::default())], Some(0)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_in_which_nothing_listens_is_given_up_a_while_later() {
        check(&[Some(alive(true)), Some(alive(false))], Some(4)).await;
        check(&[Some(alive(false)), Some(alive(true))], None).await;
        let between = [Some(alive(false)), Some(alive(true)), Some(alive(false))];
        check(&between, Some(5)).await;
        check(&[Some(alive(false)), Some(Alive::default())], Some(1)).await;
    }
}
