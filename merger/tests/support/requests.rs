//! What the source asks for, word by word, and how the recorded list is answered.

use crate::{
    double::{Answer, Step, on},
    recordings::{CONTINUE, read},
};

/// The whole list, or its first page.
pub(crate) const LIST: &str = "GET /api/v1/pods fieldSelector=spec.nodeName=n1 limit=16";

/// A list as the beginning of a watch.
pub(crate) const STREAM: &str = "GET /api/v1/pods allowWatchBookmarks=true \
                                 fieldSelector=spec.nodeName=n1 resourceVersion=0 \
                                 resourceVersionMatch=NotOlderThan sendInitialEvents=true \
                                 timeoutSeconds=290 watch=true";

/// A page that is not the first.
pub(crate) fn page(token: &str) -> String {
    page_of(token, 16)
}

/// The same with pages of another size.
pub(crate) fn list_of(limit: usize) -> String {
    format!("GET /api/v1/pods fieldSelector=spec.nodeName=n1 limit={limit}")
}

/// The same with pages of another size.
pub(crate) fn page_of(token: &str, limit: usize) -> String {
    format!("GET /api/v1/pods continue={token} fieldSelector=spec.nodeName=n1 limit={limit}")
}

/// The watch from this version on.
pub(crate) fn watch(version: u32) -> String {
    format!(
        "GET /api/v1/pods allowWatchBookmarks=true fieldSelector=spec.nodeName=n1 \
         resourceVersion={version} timeoutSeconds=290 watch=true"
    )
}

/// The whole list of `PodMonitor`s, or its first page.
pub(crate) const MONITORS: &str = "GET /apis/monitoring.coreos.com/v1/podmonitors limit=64";

/// Their watch from this version on.
pub(crate) fn watch_monitors(version: u32) -> String {
    format!(
        "GET /apis/monitoring.coreos.com/v1/podmonitors allowWatchBookmarks=true \
         resourceVersion={version} timeoutSeconds=290 watch=true"
    )
}

/// The recorded list, in three pages.
pub(crate) fn recorded_list() -> Vec<Step> {
    vec![
        on(LIST, Answer::ok(read("list-page-1.json"))),
        on(&page(CONTINUE[0]), Answer::ok(read("list-page-2.json"))),
        on(&page(CONTINUE[1]), Answer::ok(read("list-page-3.json"))),
    ]
}
