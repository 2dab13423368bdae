//! Whether the API server answers for what it is asked for, and when that is worth a line in the log: once
//! when it ceases to, and once when it is back.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

/// What it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The pods of this node.
    Pods,
    /// All `PodMonitor`s.
    Monitors,
    /// The Secrets that pods name, each by its name.
    Secrets,
}

/// What is wrong with the API server, or with what it thinks of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be reached, or answers that it cannot answer.
    Away,
    /// It does not know who asks.
    Unknown,
    /// It knows who asks, and does not let him.
    Forbidden,
}

/// The newest of what is known about it.
#[derive(Debug)]
pub(super) struct Contact {
    subject: Subject,
    lost: Option<(Trouble, Instant)>,
}

// === impl Trouble ===

impl Trouble {
    /// What a status says, if it is none of an answer.
    pub(super) fn of_status(status: u16) -> Option<Self> {
        match status {
            401 => Some(Self::Unknown),
            403 => Some(Self::Forbidden),
            429 | 500.. => Some(Self::Away),
            _ => None,
        }
    }

    fn about(self, subject: Subject) -> &'static str {
        match (self, subject) {
            (Self::Away, Subject::Pods) => "the API server is away; the pods that are known stay",
            (Self::Away, Subject::Monitors) => {
                "the API server does not answer for PodMonitors; those that are known stay"
            }
            (Self::Away, Subject::Secrets) => {
                "the API server does not answer for Secrets; those that are known stay"
            }
            (Self::Unknown, Subject::Pods) => {
                "the API server does not know this token or certificate, which is read anew now; \
                 the pods that are known stay"
            }
            (Self::Unknown, Subject::Monitors) => {
                "the API server does not know this token or certificate, which is read anew now; \
                 the PodMonitors that are known stay"
            }
            (Self::Unknown, Subject::Secrets) => {
                "the API server does not know this token or certificate, which is read anew now; \
                 the Secrets that are known stay"
            }
            (Self::Forbidden, Subject::Pods) => {
                "the API server does not tell of pods: grant list and watch of pods to this service \
                 account, by a ClusterRole; the pods that are known stay"
            }
            (Self::Forbidden, Subject::Monitors) => {
                "the API server does not tell of PodMonitors: grant list and watch of podmonitors in \
                 monitoring.coreos.com to this service account, by a ClusterRole, or run with \
                 --pod-monitors=false; pods are read as they ask for it themselves"
            }
            // That is a matter of each name, and told of by it.
            (Self::Forbidden, Subject::Secrets) => {
                "the API server gives out no Secrets; those that are known stay"
            }
        }
    }
}

// === impl Contact ===

impl Contact {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, lost: None }
    }

    /// It did not answer as it should. Whether this is the first time.
    pub(super) fn bad(&mut self, trouble: Trouble, why: &str) -> bool {
        let before = self.lost;
        let since = before.map_or_else(Instant::now, |(_, since)| since);
        self.lost = Some((trouble, since));
        let is_news = before.is_none_or(|(before, _)| before != trouble);
        if is_news {
            warn!(why, "{}", trouble.about(self.subject));
        } else {
            debug!(why, "still: {}", trouble.about(self.subject));
        }
        is_news
    }

    /// It answered. How long it had not, if it had not.
    pub(super) fn good(&mut self) -> Option<Duration> {
        let (_, since) = self.lost.take()?;
        let away = since.elapsed();
        let seconds = away.as_secs();
        match self.subject {
            Subject::Pods => info!(seconds, "the API server is back"),
            Subject::Monitors => info!(seconds, "the API server tells of PodMonitors again"),
            Subject::Secrets => info!(seconds, "the API server answers for Secrets again"),
        }
        Some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_changes_is_news() {
        let mut contact = Contact::new(Subject::Pods);
        assert_eq!(contact.good(), None);
        assert!(contact.bad(Trouble::Away, "refused"));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(!contact.bad(Trouble::Away, "reset"));
        assert!(contact.bad(Trouble::Forbidden, "403"));
        assert_eq!(contact.good(), Some(Duration::from_mins(1)));
        assert_eq!(contact.good(), None);
    }

    #[test]
    fn an_answer_that_is_an_error_may_be_no_trouble() {
        for (status, trouble) in [
            (200, None),
            (400, None),
            (401, Some(Trouble::Unknown)),
            (403, Some(Trouble::Forbidden)),
            (410, None),
            (429, Some(Trouble::Away)),
            (503, Some(Trouble::Away)),
        ] {
            assert_eq!(Trouble::of_status(status), trouble, "{status}");
        }
    }
}
