//! A media type taken apart, and what a source says by one. Parameters are read as people write
//! them: in any order and case, in quotes or not.

/// A media type or a media range with its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    /// As in `text/plain`, in the case of the sender.
    pub main: &'a str,
    /// As in `text/plain`, in the case of the sender.
    pub sub: &'a str,
    parameters: &'a str,
}

/// What a source declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// Nothing.
    None,
    /// Text of any version but 1.0.0.
    Text,
    /// Text whose names may be any UTF-8.
    Text1,
    /// `OpenMetrics` 0.0.1, also where no version is said.
    OpenMetrics0,
    /// `OpenMetrics` of any other version.
    OpenMetrics,
    /// Messages `MetricFamily`, each behind its length.
    Protobuf,
    /// Anything else.
    Other,
}

/// The subtype of `OpenMetrics`.
pub(super) const OPENMETRICS: &str = "openmetrics-text";

/// The subtype of protobuf.
const PROTOBUF: &str = "vnd.google.protobuf";

// === impl Words ===

impl<'a> Words<'a> {
    /// Takes `text/plain; version=0.0.4` apart. Nothing where it is no such thing.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (main, sub) = match media.trim() {
            // Java's `URLConnection` sends it, and goautoneg reads it so.
            "*" => ("*", "*"),
            media => media.split_once('/')?,
        };
        let is_word = |word: &str| !word.is_empty() && !word.contains(['/', ' ', '\t']);
        (is_word(main) && is_word(sub)).then_some(Self { main, sub, parameters })
    }

    /// The first parameter of this name, without quotes.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(found, _)| found.trim().eq_ignore_ascii_case(name));
        let value = found.next()?.1.trim();
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    }

    /// Whether it is this type and subtype.
    pub(super) fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main) && self.sub.eq_ignore_ascii_case(sub)
    }

    /// Whether it is protobuf, as far as the parameters say so. `or` is for one that is not there.
    pub(super) fn is_protobuf(&self, or: bool) -> bool {
        let says = |name, wanted| self.get(name).map_or(or, |found| found == wanted);
        self.is("application", PROTOBUF)
            && says("proto", "io.prometheus.client.MetricFamily")
            && says("encoding", "delimited")
    }
}

// === impl Media ===

impl Media {
    /// What a Content-Type declares.
    pub(super) fn parse(declared: &str) -> Self {
        if declared.trim().is_empty() {
            return Self::None;
        }
        let Some(words) = Words::parse(declared) else { return Self::Other };
        let version = words.get("version");
        if words.is("text", "plain") {
            // Of a server that has not heard of 1.0.0, promhttp says 0.0.4 and writes such names.
            let is_utf8 = version == Some("1.0.0") || words.get("escaping") == Some("allow-utf-8");
            return if is_utf8 { Self::Text1 } else { Self::Text };
        }
        if words.is("application", OPENMETRICS) {
            let is_first = matches!(version, None | Some("0.0.1"));
            return if is_first { Self::OpenMetrics0 } else { Self::OpenMetrics };
        }
        if words.is_protobuf(true) { Self::Protobuf } else { Self::Other }
    }
}
