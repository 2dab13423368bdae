//! The body of an answer: decompressed, whole, and no larger than allowed.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use http_body_util::BodyExt as _;
use hyper::{
    Response,
    body::{Body as _, Incoming},
    header::{CONTENT_ENCODING, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};

use super::{
    Error,
    limits::{Allowance, Share},
};

/// A body, and the memory that it holds of the budget.
#[derive(Debug, Default)]
pub struct Body {
    /// The decompressed bytes.
    pub bytes: Vec<u8>,
    share: Share,
}

/// What tells where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What carries it: a length, chunks, or the end of the compression.
    Framed,
    /// Nothing but the end of the connection: a server that dies looks finished.
    OfConnection,
}

/// Reads the whole body of `response`.
pub(super) async fn read(
    response: Response<Incoming>,
    limit: usize,
    allowance: Allowance,
) -> Result<(Body, End), Error> {
    let (head, mut incoming) = response.into_parts();
    let framed = incoming.size_hint().exact().is_some() || is_chunked(&head.headers);
    let sink = Sink { body: Body::default(), limit, allowance, hit: None };
    let mut decoder = Decoder::new(&head.headers, sink)?;
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame?.into_data() {
            decoder.push(&data)?;
        }
    }
    let compressed = matches!(decoder, Decoder::Gzip(_));
    let end = if framed || compressed { End::Framed } else { End::OfConnection };
    Ok((decoder.finish()?, end))
}

/// Whether chunks tell where the body ends. With any other last transfer coding the connection does.
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let coding = last.and_then(|codings| codings.as_bytes().rsplit(|&byte| byte == b',').next());
    coding.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

enum Decoder {
    Identity(Sink),
    Gzip(Box<GzDecoder<Sink>>),
}

/// Takes decompressed bytes until a limit is hit. Then it says which, and takes no more.
struct Sink {
    body: Body,
    limit: usize,
    allowance: Allowance,
    hit: Option<Error>,
}

// === impl Body ===

impl From<Vec<u8>> for Body {
    /// A body that holds nothing of the budget.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, share: Share::default() }
    }
}

// === impl Decoder ===

impl Decoder {
    fn new(headers: &HeaderMap, sink: Sink) -> Result<Self, Error> {
        match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Ok(Self::Identity(sink)),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip(Box::new(GzDecoder::new(sink)))),
            Some(other) => {
                let shown = other.escape_ascii().take(40).map(char::from).collect();
                Err(Error::Encoding(shown))
            }
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        let (result, sink) = match self {
            Self::Identity(sink) => (sink.write_all(data), sink),
            Self::Gzip(decoder) => (decoder.write_all(data), decoder.get_mut()),
        };
        result.map_err(|error| sink.hit.take().unwrap_or(Error::Corrupt(error)))
    }

    fn finish(self) -> Result<Body, Error> {
        match self {
            Self::Identity(sink) => Ok(sink.body),
            Self::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => decoder.finish().map(|sink| sink.body).map_err(Error::Corrupt),
                Err(error) => Err(match decoder.get_mut().hit.take() {
                    Some(hit) => hit,
                    None if error.kind() == io::ErrorKind::UnexpectedEof => Error::Truncated,
                    None => Error::Corrupt(error),
                }),
            },
        }
    }
}

// === impl Sink ===

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Body { bytes, share } = &mut self.body;
        let length = bytes.len() + data.len();
        if length > self.limit {
            self.hit = Some(Error::TooLarge { limit: self.limit });
        } else if self.allowance.cover(share, length).is_err() {
            self.hit = Some(Error::Busy);
        }
        if self.hit.is_some() {
            return Err(io::Error::other("a limit of the scrape is hit"));
        }
        bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
