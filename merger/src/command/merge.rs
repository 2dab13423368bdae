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

use super::{USAGE, print, say, tell};
use crate::{
    exposition::{self, Format},
    merge::{self, LARGEST_BODY, Limits, Report, Source},
};

/// What to merge.
#[derive(Debug, Args)]
#[command(after_help = "\
Each series gets the label container=\"<name>\"; a label of that name that was there already
becomes exported_container. Problems go to standard error, and cost their line or file only.

Exit codes: 0 unless nothing could be read, then 1; 2 for wrong arguments.

Examples:
  merger merge app=app.prom istio-proxy=envoy.prom > page.prom
  curl -s localhost:9100/metrics | merger merge node=- other.prom")]
pub(super) struct Arguments {
    /// The expositions, in the order of the page; `-` is standard input, and a name is the file's
    /// without its ending unless it is given
    #[arg(value_name = "[NAME=]FILE", required = true)]
    inputs: Vec<Input>,

    /// The format of the page
    #[arg(long, value_enum, default_value_t)]
    format: Output,

    /// Which labels the series get: `container`, or `none`; of a series that two files have the
    /// first is kept
    #[arg(long, value_enum, default_value_t)]
    source_labels: SourceLabels,

    /// The most samples of one file
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().samples)]
    max_samples: usize,
}

#[derive(Clone, Debug)]
struct Input {
    name: String,
    file: String,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// Text 0.0.4
    #[default]
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SourceLabels {
    /// container="<name>"
    #[default]
    Container,
    /// None
    None,
}

/// Merges the files to standard output.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { inputs, format: Output::Text, source_labels, max_samples } = arguments;
    if inputs.iter().filter(|input| input.file == "-").count() > 1 {
        say("standard input can be read only once: give `-` once");
        return Ok(ExitCode::from(USAGE));
    }
    if let Some(Input { name, file }) =
        repeated(inputs).filter(|_| *source_labels == SourceLabels::Container)
    {
        say(format_args!("two inputs are named {name}: give one another name, as in other={file}"));
        return Ok(ExitCode::from(USAGE));
    }

    let mut read = Vec::new();
    for Input { name, file } in inputs {
        match read_body(file) {
            Ok(body) => read.push((name, [("container", name.as_str())], body)),
            Err(error) => say(format_args!("{file}: cannot be read: {error}")),
        }
    }
    let sources: Vec<Source<'_>> = read
        .iter()
        .map(|(_, labels, body)| {
            let labels: &[_] = if *source_labels == SourceLabels::None { &[] } else { labels };
            Source { labels, format: Format::Text, body }
        })
        .collect();
    let limits = Limits { samples: *max_samples, ..Limits::default() };
    let merged = merge::merge(&sources, &limits, exposition::Output::default());
    for ((name, ..), report) in read.iter().zip(&merged.reports) {
        tell(name, report);
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

/// The first input whose name an earlier one has.
fn repeated(inputs: &[Input]) -> Option<&Input> {
    let is_taken = |at: usize, input: &Input| inputs[..at].iter().any(|i| i.name == input.name);
    inputs.iter().enumerate().find_map(|(at, input)| is_taken(at, input).then_some(input))
}

/// Reads what is not larger than the merge reads, and one byte more, so that the merge says so.
fn read_body(file: &str) -> io::Result<Vec<u8>> {
    let from: Box<dyn io::Read> =
        if file == "-" { Box::new(io::stdin().lock()) } else { Box::new(fs::File::open(file)?) };
    let mut body = Vec::new();
    from.take(LARGEST_BODY as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
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
