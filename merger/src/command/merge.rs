//! `merger merge`: files to one exposition.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    str::FromStr,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{
    USAGE,
    format::{Format, Written},
    print, say, tell,
};
use crate::{
    exposition::{self, Output, negotiate},
    merge::{self, LARGEST_BODY, Limits, Report, Source},
};

/// What to merge.
#[derive(Debug, Args)]
#[command(after_help = "\
Each series gets the label container=\"<name>\" and those of --label; a label of that name that was
there already becomes exported_<name>. What the format of the page cannot say is left out and told.
Problems go to standard error, and cost their line or file only.

A file is read as what its ending says: .prom and .txt are text, .om is OpenMetrics, .pb is
protobuf. Where that is plainly wrong, or there is another ending or none, its first and last bytes
decide.

Exit codes: 0 unless nothing could be read, then 1; 2 for wrong arguments.

Examples:
  merger merge app=app.prom istio-proxy=envoy.prom > page.prom
  curl -s localhost:9100/metrics | merger merge node=- other.prom
  merger merge --format openmetrics --label cluster=eu --label node=n1 app.pb proxy.prom
  merger merge --source-labels none --format protobuf a.om b.om > page.pb")]
pub(super) struct Arguments {
    /// The expositions, in the order of the page; `-` is standard input, and a name is the file's
    /// without its ending unless it is given
    #[arg(value_name = "[NAME=]FILE", required = true)]
    inputs: Vec<Input>,

    #[command(flatten)]
    written: Written,

    /// The format of all inputs, whatever their endings and bytes say
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,

    /// Whether the series get a label for their input; where they get none, of a series that two
    /// inputs have the first is kept
    #[arg(long, value_enum, default_value_t)]
    source_labels: SourceLabels,

    /// A label for every series; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<Label>,

    /// The most samples of one file
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().samples)]
    max_samples: usize,
}

#[derive(Clone, Debug)]
struct Input {
    name: String,
    file: String,
}

/// A label for every series.
#[derive(Clone, Debug)]
struct Label {
    name: String,
    value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SourceLabels {
    /// container="<name>"
    #[default]
    Container,
    /// No label for the input
    None,
}

/// An input that could be read, and as what.
struct Body<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    format: exposition::Format,
    bytes: Vec<u8>,
}

/// The label that names an input.
const CONTAINER: &str = "container";

/// Merges the files to standard output.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Err(why) = arguments.check() {
        say(why);
        return Ok(ExitCode::from(USAGE));
    }
    let Some(output) = arguments.written.output() else { return Ok(ExitCode::from(USAGE)) };
    let bodies: Vec<Body<'_>> =
        arguments.inputs.iter().filter_map(|input| arguments.read(input)).collect();
    let sources: Vec<Source<'_>> = bodies
        .iter()
        .map(|Body { labels, format, bytes, .. }| Source {
            labels,
            format: *format,
            body: bytes,
            only: None,
        })
        .collect();
    let limits = Limits { samples: arguments.max_samples, ..Limits::default() };
    let merged = merge::merge(&sources, &limits, output);
    for (body, report) in bodies.iter().zip(&merged.reports) {
        tell(body.name, report);
    }
    print(&merged.body).context("cannot write the page")?;
    if merged.reports.iter().any(is_read) {
        return Ok(ExitCode::SUCCESS);
    }
    say("nothing could be read");
    Ok(ExitCode::FAILURE)
}

/// An input without samples was read if it is empty, and not if all of it is wrong.
fn is_read(Report { samples, problems, failed }: &Report) -> bool {
    failed.is_none() && (*samples > 0 || problems.total() == 0)
}

/// What an ending declares.
fn declared(file: &str) -> Option<exposition::Format> {
    let ending = Path::new(file).extension()?.to_str()?;
    match ending.to_ascii_lowercase().as_str() {
        "prom" | "txt" => Some(exposition::Format::Text),
        "om" => Some(exposition::Format::OpenMetrics),
        "pb" => Some(exposition::Format::Protobuf),
        _ => None,
    }
}

/// The first whose name an earlier one has.
fn repeated<T>(all: &[T], name: impl Fn(&T) -> &str) -> Option<&T> {
    let is_taken =
        |(at, one): &(usize, &T)| all[..*at].iter().any(|other| name(other) == name(one));
    all.iter().enumerate().find(is_taken).map(|(_, one)| one)
}

/// The format of a file, or what it is instead.
fn format_of(file: &str, body: &[u8]) -> Result<exposition::Format, &'static str> {
    let declared = declared(file)
        .map(|format| negotiate::content_type(Output { format, ..Output::default() }));
    negotiate::format_of(declared.map(str::as_bytes), body).map_err(|error| match error {
        negotiate::Error::Html => "an HTML page",
        negotiate::Error::Json => "JSON",
        negotiate::Error::ContentType(_) => "of another type",
    })
}

/// Reads what is not larger than the merge reads, and one byte more, so that the merge says so.
fn read_body(file: &str) -> io::Result<Vec<u8>> {
    let from: Box<dyn io::Read> =
        if file == "-" { Box::new(io::stdin().lock()) } else { Box::new(fs::File::open(file)?) };
    let mut body = Vec::new();
    from.take(LARGEST_BODY as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

// === impl Arguments ===

impl Arguments {
    /// What cannot be followed, in words.
    fn check(&self) -> Result<(), String> {
        let Self { inputs, source_labels, label: labels, .. } = self;
        if inputs.iter().filter(|input| input.file == "-").count() > 1 {
            return Err("standard input can be read only once: give `-` once".to_owned());
        }
        let is_named = *source_labels == SourceLabels::Container;
        if let Some(Input { name, file }) = repeated(inputs, |i| &i.name).filter(|_| is_named) {
            return Err(format!(
                "two inputs are named {name}: give one another name, as in other={file}"
            ));
        }
        if let Some(Label { name, .. }) = repeated(labels, |label| &label.name) {
            return Err(format!("--label names {name} twice: a series has one label of a name"));
        }
        if is_named && labels.iter().any(|label| label.name == CONTAINER) {
            return Err(format!(
                "--label names {CONTAINER}, which the series get from their input: give the input \
                 that name, or say --source-labels none"
            ));
        }
        Ok(())
    }

    /// Reads an input; says why where there is nothing of it to merge.
    fn read<'a>(&'a self, Input { name, file }: &'a Input) -> Option<Body<'a>> {
        let bytes = read_body(file)
            .inspect_err(|error| say(format_args!("{file}: cannot be read: {error}")))
            .ok()?;
        let format = match self.input_format {
            Some(format) => format.into(),
            None => format_of(file, &bytes)
                .inspect_err(|what| {
                    say(format_args!(
                        "{name}: left out: it is {what}, no exposition; if it is one, say which by \
                         --input-format"
                    ));
                })
                .ok()?,
        };
        let own =
            (self.source_labels == SourceLabels::Container).then_some((CONTAINER, name.as_str()));
        let more = self.label.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        Some(Body { name, labels: own.into_iter().chain(more).collect(), format, bytes })
    }
}

// === impl Input ===

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A path may have the sign too; a name has no slash.
        let (name, file) = match text.split_once('=').filter(|(name, _)| !name.contains('/')) {
            Some((name, file)) => (Some(name), file),
            None => (None, text),
        };
        let stem = || match file {
            "-" => Some("stdin"),
            _ => Path::new(file).file_stem()?.to_str(),
        };
        match name.or_else(stem) {
            Some(name) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.to_owned() })
            }
            _ => Err("an input is FILE or NAME=FILE".to_owned()),
        }
    }
}

// === impl Label ===

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once('=').ok_or("a label is NAME=VALUE, as in cluster=eu")?;
        if !merge::is_source_label(name) {
            return Err(format!(
                "`{name}` cannot be put into every series: a name is of letters, digits and \
                 underscores, does not begin with two of these, and is not le or quantile"
            ));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}
