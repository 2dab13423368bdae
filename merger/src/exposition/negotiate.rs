//! Content-Type and Accept: what a source is asked for, what it gave, and what a reader gets.
//!
//! A source is believed in what it declares, unless the body plainly says something else: the
//! declaration is what people get wrong most often (Prometheus 3 then fails the scrape). A body
//! that is no exposition is refused with its name: read as text it would give thousands of problems
//! and no sample. What a body holds beyond its first and last bytes is left to the readers.
//!
//! A reader gets what it ranks first, as of the formats that are written here, and text 0.0.4 where
//! it ranks none of them: then it would be served something it did not ask for in any case, and
//! text is what `promhttp` gives. Source: `NegotiateAccept` in prometheus/common,
//! `expfmt/encode.go`.

use self::{media::Media, range::Range, sniff::Content};
use crate::exposition::{Escaping, Format, Output};

mod media;
mod range;
mod sniff;

/// Why a body is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source declares a format that is not read.
    #[error("answered with Content-Type `{0}`, but {READ}; make it follow the Accept header")]
    ContentType(String),
    /// The body is a web page, whatever was declared.
    #[error("answered with an HTML page, but {READ}; check the path")]
    Html,
    /// The body is JSON, whatever was declared.
    #[error("answered with JSON, but {READ}; check the path")]
    Json,
}

const READ: &str = "only Prometheus text, OpenMetrics and delimited protobuf are read";

/// How many characters of a foreign Content-Type are shown.
const SHOWN: usize = 80;

/// The Accept header by which a source is asked, so that its answer loses least on a page in
/// `output`. The same header serves several formats.
///
/// Protobuf alone has native histograms, and is asked for only where they can be passed on: some
/// client libraries send it wherever it is named, whatever its rank (`accepts` in
/// `prometheus/client_java`, `PrometheusProtobufWriter.java`). Others do so with `OpenMetrics`
/// (`choose_encoder` in `prometheus/client_python`, `exposition.py`), which for a page of text is
/// named last, for sources that know nothing else. Names are always wanted as they are: whoever
/// wants them escaped gets that from the page.
#[must_use]
pub fn accept(output: Format) -> &'static str {
    match output {
        Format::Protobuf => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        }
        Format::OpenMetrics | Format::OpenMetrics0 => {
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        }
        Format::Text | Format::Text1 => {
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;q=0.5,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             application/openmetrics-text;version=0.0.1;q=0.3,*/*;q=0.1"
        }
    }
}

/// What a reader gets that sent this Accept header. What of it cannot be read is passed over.
///
/// Of two formats of one rank the more specific one goes first, then the one that was named first.
#[must_use]
pub fn output(accept: Option<&str>) -> Output {
    let mut best: Option<(Range<'_>, Output)> = None;
    for range in range::all(accept.unwrap_or_default()) {
        let Some(output) = range.output() else { continue };
        if best.as_ref().is_none_or(|(first, _)| range.outranks(first)) {
            best = Some((range, output));
        }
    }
    best.map(|(_, output)| output).unwrap_or_default()
}

/// The Content-Type of a page, as `promhttp` sends it.
#[must_use]
pub fn content_type(output: Output) -> &'static str {
    macro_rules! escaped {
        ($media:literal) => {
            match output.escaping {
                Escaping::AllowUtf8 => concat!($media, "; escaping=allow-utf-8"),
                Escaping::Underscores => concat!($media, "; escaping=underscores"),
                Escaping::Dots => concat!($media, "; escaping=dots"),
                Escaping::Values => concat!($media, "; escaping=values"),
            }
        };
    }
    match output.format {
        Format::Text if output.escaping == Escaping::AllowUtf8 => content_type(Output::default()),
        Format::Text => escaped!("text/plain; version=0.0.4; charset=utf-8"),
        Format::Text1 => escaped!("text/plain; version=1.0.0; charset=utf-8"),
        Format::OpenMetrics0 => {
            escaped!("application/openmetrics-text; version=0.0.1; charset=utf-8")
        }
        Format::OpenMetrics => {
            escaped!("application/openmetrics-text; version=1.0.0; charset=utf-8")
        }
        Format::Protobuf => escaped!(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        ),
    }
}

/// The format of a body, by what its source declared, and by what it plainly is.
///
/// | declared | read as |
/// |---|---|
/// | text/plain | protobuf where the body is that; `OpenMetrics` where its last line is `# EOF`; else text, 1.0.0 where the version or `escaping=allow-utf-8` says so |
/// | `OpenMetrics` | protobuf where the body is that; else `OpenMetrics`, also without `# EOF`: it was cut off |
/// | protobuf, delimited | what the body is where that is lines; else protobuf |
/// | nothing | what the body is; else text, as in the servers before Prometheus 3 |
/// | another type | what the body plainly is; else it is refused |
///
/// HTML and JSON are refused, whatever was declared. Of a known type an unknown version is read
/// like the newest one that is known, as Prometheus does it.
pub fn format_of(content_type: Option<&[u8]>, body: &[u8]) -> Result<Format, Error> {
    let declared = content_type.unwrap_or_default();
    let media = str::from_utf8(declared).map_or(Media::Other, Media::parse);
    Ok(match (sniff::content(body), media) {
        (Content::Html, _) => return Err(Error::Html),
        (Content::Json, _) => return Err(Error::Json),
        (Content::Protobuf, _) | (Content::Unknown, Media::Protobuf) => Format::Protobuf,
        (_, Media::OpenMetrics0) => Format::OpenMetrics0,
        (_, Media::OpenMetrics) | (Content::OpenMetrics, _) => Format::OpenMetrics,
        (_, Media::Text1) => Format::Text1,
        (_, Media::Text | Media::None) | (Content::Text, _) | (Content::Lines, Media::Protobuf) => {
            Format::Text
        }
        (_, Media::Other) => return Err(Error::ContentType(printable(declared))),
    })
}

fn printable(declared: &[u8]) -> String {
    let declared = String::from_utf8_lossy(&declared[..declared.len().min(4 * SHOWN)]);
    declared.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
