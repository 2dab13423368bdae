//! The formats as words of the command line.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};

use super::say;
use crate::exposition::{self, Escaping, Output};

/// How a command writes its page.
#[derive(Clone, Debug, Args)]
pub(super) struct Written {
    /// The format of the page
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// What becomes of names that are no identifiers
    ///
    /// The format `text` has no place for such names: there, allow-utf-8 means underscores.
    #[arg(long, value_enum, default_value_t)]
    escaping: Scheme,
}

/// The formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Prometheus text 0.0.4
    #[default]
    Text,
    /// Prometheus text 1.0.0
    #[value(name = "text-1.0")]
    Text1,
    /// `OpenMetrics` 1.0.0
    #[value(name = "openmetrics", help = "OpenMetrics 1.0.0")]
    OpenMetrics,
    /// `OpenMetrics` 0.0.1
    #[value(name = "openmetrics-0.0.1", help = "OpenMetrics 0.0.1")]
    OpenMetrics0,
    /// Messages `MetricFamily`, each behind its length
    #[value(help = "Messages io.prometheus.client.MetricFamily, each behind its length")]
    Protobuf,
}

/// The schemes of escaping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Scheme {
    /// They are written in quotes
    #[default]
    #[value(name = "allow-utf-8")]
    AllowUtf8,
    /// Each character that may not stand in a name becomes an underscore
    Underscores,
    /// A dot becomes _dot_, an underscore two of them
    Dots,
    /// U__, and the codes of the characters
    Values,
}

// === impl Written ===

impl Written {
    /// What the page is to be written in. Nothing, and words about it, where that is for no
    /// terminal.
    pub(super) fn output(&self) -> Option<Output> {
        let Self { format, escaping } = self;
        if *format == Format::Protobuf && io::stdout().is_terminal() {
            say(
                "protobuf is not for a terminal: send it to a file or a program, or leave out --format",
            );
            return None;
        }
        Some(Output { format: (*format).into(), escaping: (*escaping).into() })
    }
}

// === impl Format ===

impl From<Format> for exposition::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Text1 => Self::Text1,
            Format::OpenMetrics => Self::OpenMetrics,
            Format::OpenMetrics0 => Self::OpenMetrics0,
            Format::Protobuf => Self::Protobuf,
        }
    }
}

// === impl Scheme ===

impl From<Scheme> for Escaping {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::AllowUtf8 => Self::AllowUtf8,
            Scheme::Underscores => Self::Underscores,
            Scheme::Dots => Self::Dots,
            Scheme::Values => Self::Values,
        }
    }
}
