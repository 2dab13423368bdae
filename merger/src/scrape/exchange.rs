//! One request and its answer, over a connection that is there.

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures_util::FutureExt as _;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Error, Page,
    body::{self, End},
    error::caused_by,
    limits::{Allowance, Exceeded},
};
use crate::{
    exposition::{Format, negotiate},
    target::{Source, secret::Unread},
};

/// What is asked, and what the answer may take.
pub(super) struct Exchange<'a> {
    pub(super) source: &'a Source,
    /// The other end of the connection.
    pub(super) address: SocketAddr,
    /// The header by which it is asked.
    pub(super) accept: &'static str,
    /// Who asks, where the source is to be shown that.
    pub(super) authorization: Option<&'a HeaderValue>,
    /// Why that may be an old one, if it may.
    pub(super) stale: Option<Unread>,
    /// How long the reader waits, for the source to know.
    pub(super) patience: Duration,
    /// The most bytes of the decompressed body.
    pub(super) limit: usize,
    pub(super) allowance: Allowance,
}

// === impl Exchange ===

impl Exchange<'_> {
    pub(super) async fn over<S>(self, stream: S) -> Result<Page, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Self { source, address, accept, authorization, stale, patience, limit, allowance } =
            self;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut connection = pin!(connection.fuse());
        let page = {
            let mut page = pin!(async {
                let mut request = request(source, address, accept, patience);
                if let Some(authorization) = authorization {
                    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
                }
                let response = sender.send_request(request).await?;
                if response.status() != StatusCode::OK {
                    return Err(Error::of_status(response.status(), source, stale));
                }
                page(response, limit, allowance).await
            });
            // The connection moves the bytes and ends with the page, or before it. Its error is the
            // page's as well. Both are dropped at the deadline.
            tokio::select! {
                biased;
                page = &mut page => page,
                _ = &mut connection => page.await,
            }
        };
        drop(sender);
        // The socket breaks off. Whoever would have kept the connection is told before that it ends.
        let _ = connection.now_or_never();
        page.map_err(|error| match &error {
            Error::Http(cause) if caused_by(cause, |cause| cause.is::<Exceeded>()) => {
                Error::TooLarge { limit }
            }
            _ => error,
        })
    }
}

#[expect(clippy::expect_used, reason = "the plan has checked the path")]
fn request(
    source: &Source,
    address: SocketAddr,
    accept: &'static str,
    patience: Duration,
) -> Request<Empty<Bytes>> {
    Request::get(&source.path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("merger/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, "gzip")
        .header("x-prometheus-scrape-timeout-seconds", patience.as_secs_f64().to_string())
        .body(Empty::new())
        .expect("a plan's path begins with a slash and is of the ASCII of a URL")
}

async fn page(
    response: Response<Incoming>,
    limit: usize,
    allowance: Allowance,
) -> Result<Page, Error> {
    let content_type = response.headers().get(CONTENT_TYPE).cloned();
    let (body, end) = body::read(response, limit, allowance).await?;
    let content_type = content_type.as_ref().map(HeaderValue::as_bytes);
    let format = negotiate::format_of(content_type, &body.bytes)?;
    if end == End::OfConnection && is_open(&body.bytes, format) {
        return Err(Error::Truncated);
    }
    Ok(Page { body, format })
}

/// Whether a body was cut off, where nothing but its own end can tell. The other formats have an end
/// that their readers miss; but where there is not a byte, the server died.
fn is_open(body: &[u8], format: Format) -> bool {
    match format {
        Format::Text | Format::Text1 => body.last() != Some(&b'\n'),
        Format::OpenMetrics0 | Format::OpenMetrics | Format::Protobuf => body.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::target::{Reason, Scheme, State, annotations};

    #[test]
    fn every_path_that_an_annotation_may_have_can_be_sent() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        for byte in 0..=u8::MAX {
            let one = char::from(byte);
            for asked in [format!("/a{one}b"), format!("/a?b{one}c"), one.to_string()] {
                let Some(path) = annotations::path(&asked) else { continue };
                let source = Source {
                    container: String::new(),
                    endpoint: String::new(),
                    port: NonZeroU16::MIN,
                    scheme: Scheme::Http,
                    path: path.clone(),
                    reason: Reason::Annotation("prometheus.io/port".to_owned()),
                    state: State::Pending,
                    owner: None,
                    secret: None,
                    only: None,
                };
                let request = request(&source, address, "*/*", Duration::from_secs(1));
                assert_eq!(request.uri().to_string(), path);
            }
        }
    }
}
