//! The Secrets that are named, what was read of each, and when each is to be read again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    pods::kube::backoff::chance,
    target::secret::{Secret, SecretRef, Secrets, Unread},
};

/// How long what was read is believed: a rotated Secret is known that late at most. A fifth of it is chance,
/// as the agents of all nodes begin in one moment.
const AGAIN: Duration = Duration::from_mins(5);

/// How long until one is asked for again that was refused, the first time; each further wait is twice as
/// long, up to [`AGAIN`].
const REFUSED: Duration = Duration::from_secs(15);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: BTreeMap<SecretRef, Held>,
    /// What was read, as it is published; made anew when it changes.
    secrets: Arc<Secrets>,
}

#[derive(Debug)]
struct Held {
    /// When it is to be asked for.
    due: Instant,
    /// How often it was refused since it was read.
    n_refused: u32,
    /// Why it was, the last time.
    refused: Option<Unread>,
}

/// Whether a refusal is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is the same as before.
    None,
    /// It is another one than before, or the first.
    Refused,
    /// By it, what was read is forgotten.
    Forgotten,
}

// === impl Shelf ===

impl Shelf {
    /// Keeps these, of which new ones are to be read at once, and forgets all others.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<SecretRef>) {
        self.held.retain(|secret, _| wanted.contains(secret));
        if self.secrets.keys().any(|secret| !wanted.contains(secret)) {
            Arc::make_mut(&mut self.secrets).retain(|secret, _| wanted.contains(secret));
        }
        for secret in wanted {
            if !self.held.contains_key(secret) {
                let held = Held { due: Instant::now(), n_refused: 0, refused: None };
                self.held.insert(secret.clone(), held);
                self.set(secret, Err(Unread::NotYet));
            }
        }
    }

    /// The one that is to be asked for next, and when.
    pub(super) fn next(&self) -> Option<(&SecretRef, Instant)> {
        let held = self.held.iter().map(|(secret, held)| (secret, held.due));
        held.min_by_key(|(_, due)| *due)
    }

    /// Whether each was asked for, and something is known of it, if only why nothing is.
    pub(super) fn is_complete(&self) -> bool {
        self.secrets.values().all(|read| *read != Err(Unread::NotYet))
    }

    /// What is known of all.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// It was read. What was known before is not any more, also where this is of no use: whoever has changed
    /// it is to see that. Whether it is another thing now.
    pub(super) fn read(&mut self, secret: &SecretRef, read: Result<Secret, Unread>) -> bool {
        let Some(held) = self.held.get_mut(secret) else { return false };
        let due = Instant::now() + AGAIN.mul_f64(0.8 + 0.2 * chance());
        *held = Held { due, n_refused: 0, refused: None };
        self.set(secret, read)
    }

    /// It was not given out. What was read before stays, unless there is none of that name any more: that is
    /// believed where it is said twice in a row, since one may be deleted to be made anew.
    pub(super) fn refused(&mut self, secret: &SecretRef, why: Unread) -> News {
        let Some(held) = self.held.get_mut(secret) else { return News::None };
        let longest = AGAIN.min(REFUSED * 2_u32.saturating_pow(held.n_refused));
        held.due = Instant::now() + longest.mul_f64(0.5 + 0.5 * chance());
        held.n_refused = held.n_refused.saturating_add(1);
        let is_news = held.refused.replace(why) != Some(why);
        let is_known = matches!(self.secrets.get(secret), Some(Ok(_)));
        if is_known && !is_news && why == Unread::Missing {
            self.set(secret, Err(why));
            return News::Forgotten;
        }
        // An agent that had it from another watcher goes by the same rule.
        let is_once = is_news && why == Unread::Missing && !is_known;
        self.lack(secret, if is_once { Unread::MissingOnce } else { why });
        if is_news { News::Refused } else { News::None }
    }

    /// There is nobody to answer. What was read before stays, and others that are due come first, as it may be
    /// this one that cannot be given out.
    pub(super) fn away(&mut self, secret: &SecretRef, why: Unread) {
        if let Some(held) = self.held.get_mut(secret) {
            held.due = Instant::now();
            self.lack(secret, why);
        }
    }

    /// Marks what is known as old, or says why nothing is.
    fn lack(&mut self, secret: &SecretRef, why: Unread) {
        let read = match self.secrets.get(secret) {
            Some(Ok(known)) => Ok(known.clone().unread_since(why)),
            _ => Err(why),
        };
        self.set(secret, read);
    }

    fn set(&mut self, secret: &SecretRef, read: Result<Secret, Unread>) -> bool {
        if self.secrets.get(secret) == Some(&read) {
            return false;
        }
        Arc::make_mut(&mut self.secrets).insert(secret.clone(), read);
        true
    }
}
