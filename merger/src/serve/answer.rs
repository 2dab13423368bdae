//! What answers look like.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY},
};

use crate::{
    exposition::{Output, negotiate},
    target::PodRef,
};

/// An answer with its body.
pub(super) type Answer = Response<Full<Bytes>>;

/// A page, which another reader may get in another format.
pub(super) fn exposition(body: impl Into<Bytes>, output: Output) -> Answer {
    let mut answer = answer(StatusCode::OK, negotiate::content_type(output), body);
    answer.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT));
    answer
}

/// A value as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Words for a person.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.into())
}

/// A pod is not on this node.
pub(super) fn not_here(pod: &PodRef) -> Answer {
    let message = format!("no pod {pod} on this node; /api/pods lists those that are here\n");
    text(StatusCode::NOT_FOUND, message)
}

/// The pods of this node are not known.
pub(super) fn not_yet() -> Answer {
    let message = "pods and listeners are not known yet; /ready says what is awaited\n";
    text(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
