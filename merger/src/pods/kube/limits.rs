//! What one answer of the API server may take, in bytes and in time.

use std::{error::Error, io, time::Duration};

/// The wait for the head of an answer.
pub(super) const HEAD: Duration = Duration::from_secs(30);

/// The wait for all of one page of a list.
const PAGE_TIME: Duration = Duration::from_mins(1);

/// A watch has a bookmark about each minute, so one without a byte for longer is dead:
/// `defaultBookmarkFrequency` in `staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go`.
const SILENCE: Duration = Duration::from_secs(150);

/// The bytes of one page, or of one event: of one object at least. That has at most 1.5 MiB in etcd, and
/// each byte of it may be six in JSON, as `<` is. A page is in memory twice for a moment.
const MOST_BYTES: usize = 12 << 20;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One page of a list.
    Page,
    /// Events, each a line, without an end.
    Watch,
}

/// Why an answer was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("not a byte of the watch within {0:?}")]
    Silent(Duration),
    #[error("a page of more than {0} bytes")]
    LargePage(usize),
    #[error("an event of more than {0} bytes")]
    LongLine(usize),
}

/// The bytes of an answer up to here: of a watch, since its last line.
#[derive(Debug)]
pub(super) struct Meter {
    kind: Kind,
    n_bytes: usize,
}

// === impl Kind ===

impl Kind {
    /// What a query asks for.
    pub(super) fn of(query: &str) -> Self {
        let is_watch = query.split('&').any(|parameter| parameter == "watch=true");
        if is_watch { Self::Watch } else { Self::Page }
    }

    /// How long its next bytes may take, `since` the answer has begun.
    pub(super) fn patience(self, since: Duration) -> Duration {
        match self {
            Self::Page => PAGE_TIME.saturating_sub(since),
            Self::Watch => SILENCE,
        }
    }

    /// What it is called when that is over.
    pub(super) fn late(self) -> Broken {
        match self {
            Self::Page => Broken::Late(PAGE_TIME),
            Self::Watch => Broken::Silent(SILENCE),
        }
    }
}

// === impl Broken ===

impl Broken {
    /// Finds it below the errors that a client and its streams wrap it in.
    pub(super) fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(broken) = error.downcast_ref() {
                return Some(broken);
            }
            // The source of an `io::Error` is that of the error in it, which is left out so.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inside {
                Some(inside) => Some(inside),
                None => error.source(),
            };
        }
        None
    }
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, n_bytes: 0 }
    }

    /// Counts what has come.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match self.kind {
            Kind::Page => {
                self.n_bytes += bytes.len();
                (self.n_bytes <= MOST_BYTES).then_some(()).ok_or(Broken::LargePage(MOST_BYTES))
            }
            Kind::Watch => {
                let mut lines = bytes.split(|byte| *byte == b'\n');
                // What ends a line that has begun before; then whole lines; then one that begins.
                let first = lines.next().unwrap_or_default();
                let mut longest = self.n_bytes + first.len();
                self.n_bytes = longest;
                for line in lines {
                    longest = longest.max(line.len());
                    self.n_bytes = line.len();
                }
                (longest <= MOST_BYTES).then_some(()).ok_or(Broken::LongLine(MOST_BYTES))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_counted_whole_and_a_watch_by_its_lines() {
        let half = vec![b'x'; MOST_BYTES / 2];
        let mut page = Meter::new(Kind::Page);
        assert_eq!(page.count(&half), Ok(()));
        assert_eq!(page.count(&half), Ok(()));
        assert_eq!(page.count(b"x"), Err(Broken::LargePage(MOST_BYTES)));
        let mut watch = Meter::new(Kind::Watch);
        for _ in 0..8 {
            assert_eq!(watch.count(&half), Ok(()));
            assert_eq!(watch.count(&half), Ok(()));
            assert_eq!(watch.count(b"\nnext"), Ok(()));
            assert_eq!(watch.count(b"\nnext\n"), Ok(()));
        }
        assert_eq!(watch.count(&half), Ok(()));
        assert_eq!(watch.count(&half), Ok(()));
        assert_eq!(watch.count(b"x\n"), Err(Broken::LongLine(MOST_BYTES)));
    }

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert_eq!(Kind::of("fieldSelector=a&limit=1"), Kind::Page);
        assert_eq!(Kind::of("watch=true&timeoutSeconds=290"), Kind::Watch);
    }

    #[test]
    fn the_reason_is_found_below_what_wraps_it() {
        let broken = Broken::LongLine(1);
        let service = kube::Error::Service(Box::new(broken));
        let wrapped = kube::Error::Service(Box::new(service));
        let read = kube::Error::ReadEvents(io::Error::other(wrapped));
        let error = kube::runtime::watcher::Error::WatchFailed(read);
        assert_eq!(Broken::below(&error), Some(&broken));
        assert_eq!(Broken::below(&io::Error::other("else")), None);
    }
}
