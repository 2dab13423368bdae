//! What a failure of the watch asks for: going on from where it was, or a new list.

use kube::{Error::Api, core::Status, runtime::watcher};

use super::{List, limits::Broken};

/// The feature of storage without which no list is streamed. Source: `Watch` in
/// `staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go` of kubernetes/kubernetes.
const NO_PROGRESS: &str = "RequestWatchProgress";

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What is known is still the beginning of what comes.
    Resume,
    /// Something may have been missed.
    Relist,
    /// So may it, and the next pages have to be smaller.
    SmallerPages,
    /// The server cannot stream a list; it has to be asked for pages, from now on.
    Pages,
}

/// Why there is nothing to be had of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The server has no such resource.
    Absent,
    /// It does not let this account read it.
    Forbidden,
}

/// What an answer says of the resource itself, if that is all that it says.
pub(super) fn refused(error: &watcher::Error) -> Option<Refused> {
    use watcher::Error as E;
    let (E::InitialListFailed(Api(status)) | E::WatchStartFailed(Api(status))) = error else {
        return None;
    };
    match status.code {
        403 => Some(Refused::Forbidden),
        404 => Some(Refused::Absent),
        _ => None,
    }
}

/// Judges a failure. `listing` is how the list was asked for that is not complete yet, if any.
pub(super) fn of(error: &watcher::Error, listing: Option<List>) -> Verdict {
    use watcher::Error as E;
    let code = status(error).map(|status| status.code);
    if listing == Some(List::Streaming) && status(error).is_some_and(cannot_stream) {
        return Verdict::Pages;
    }
    match Broken::below(error) {
        Some(Broken::LargePage(_)) => return Verdict::SmallerPages,
        // Nothing says that the version to go on from is one that this server knows.
        Some(_) => return Verdict::Relist,
        None => {}
    }
    match error {
        // It is the version that is refused, too old or of the future; unless it is who asks, or there
        // is nobody who could say.
        E::WatchStartFailed(Api(_)) if !matches!(code, Some(401 | 403 | 429 | 502 | 503)) => {
            Verdict::Relist
        }
        // A list begins anew of itself. Of a connection that broke, the event that it was in comes again.
        E::InitialListFailed(_)
        | E::WatchStartFailed(_)
        | E::WatchFailed(kube::Error::ReadEvents(_)) => Verdict::Resume,
        // An event in place of which there is an error, or that cannot be read, is lost.
        E::WatchError(_) | E::WatchFailed(_) | E::NoResourceVersion => Verdict::Relist,
    }
}

/// Old servers do not know the parameters, and those with an etcd below 3.5.8 say in the stream that
/// `RequestWatchProgress` is disabled. Any other 500, such as that etcd has another leader, is true for a
/// moment.
fn cannot_stream(status: &Status) -> bool {
    match status.code {
        400 | 422 => true,
        500 => status.message.contains(NO_PROGRESS),
        _ => false,
    }
}

/// The status that the API server gave, as an answer or in the stream.
pub(super) fn status(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(Api(status))
        | E::WatchStartFailed(Api(status))
        | E::WatchFailed(Api(status))
        | E::WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn status(code: u16) -> Box<Status> {
        Status::failure("", "").with_code(code).boxed()
    }

    #[track_caller]
    fn check(error: &watcher::Error, expected: Verdict) {
        assert_eq!(of(error, None), expected, "{error:?}");
    }

    #[test]
    fn an_error_in_the_stream_is_a_new_list() {
        for code in [410, 500, 504, 403] {
            check(&watcher::Error::WatchError(status(code)), Verdict::Relist);
        }
        let garbage = serde_json::from_str::<u8>("x").unwrap_err();
        check(&watcher::Error::WatchFailed(kube::Error::SerdeError(garbage)), Verdict::Relist);
        check(&watcher::Error::NoResourceVersion, Verdict::Relist);
    }

    #[test]
    fn a_resource_is_refused_by_an_answer_and_not_in_a_stream() {
        use watcher::Error as E;
        for (error, expected) in [
            (E::InitialListFailed(Api(status(404))), Some(Refused::Absent)),
            (E::WatchStartFailed(Api(status(404))), Some(Refused::Absent)),
            (E::InitialListFailed(Api(status(403))), Some(Refused::Forbidden)),
            (E::InitialListFailed(Api(status(503))), None),
            (E::WatchError(status(404)), None),
            (E::NoResourceVersion, None),
        ] {
            assert_eq!(refused(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn a_connection_that_broke_goes_on_from_where_it_was() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        check(&watcher::Error::WatchFailed(kube::Error::ReadEvents(reset())), Verdict::Resume);
        check(
            &watcher::Error::WatchStartFailed(kube::Error::Service(Box::new(reset()))),
            Verdict::Resume,
        );
        for code in [401, 403, 429, 503] {
            check(&watcher::Error::WatchStartFailed(Api(status(code))), Verdict::Resume);
        }
    }

    #[test]
    fn a_version_that_is_refused_or_gives_nothing_is_a_new_list() {
        for code in [400, 410, 504] {
            check(&watcher::Error::WatchStartFailed(Api(status(code))), Verdict::Relist);
        }
        let broken = |broken: Broken| kube::Error::Service(Box::new(broken));
        let late = Broken::Late(super::super::limits::HEAD);
        check(&watcher::Error::WatchStartFailed(broken(late)), Verdict::Relist);
        check(
            &watcher::Error::InitialListFailed(broken(Broken::LargePage(1))),
            Verdict::SmallerPages,
        );
    }

    #[test]
    fn a_server_that_cannot_stream_a_list_is_asked_for_pages() {
        let streaming = Some(List::Streaming);
        let disabled = "a watch stream was requested by the client but the required storage feature \
                        RequestWatchProgress is disabled";
        for (code, message, expected) in [
            (400, "", Verdict::Pages),
            (422, "", Verdict::Pages),
            (500, disabled, Verdict::Pages),
            (500, "etcdserver: leader changed", Verdict::Relist),
            (500, "", Verdict::Relist),
        ] {
            let status = || Status::failure(message, "").with_code(code).boxed();
            let refused = watcher::Error::WatchStartFailed(Api(status()));
            assert_eq!(of(&refused, streaming), expected, "{code} {message}");
            let in_stream = watcher::Error::WatchError(status());
            assert_eq!(of(&in_stream, streaming), expected, "{code} {message}");
            assert_eq!(of(&in_stream, Some(List::Pages)), Verdict::Relist);
        }
        assert_eq!(of(&watcher::Error::WatchError(status(410)), streaming), Verdict::Relist);
        let forbidden = watcher::Error::WatchStartFailed(Api(status(403)));
        assert_eq!(of(&forbidden, streaming), Verdict::Resume);
    }
}
