//! What `prometheus_client`, Python's library, reads from a page: one process of it for a whole test.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// One of its two parsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parser {
    Text,
    OpenMetrics,
}

/// Name, labels, value, milliseconds, exemplar. Numbers are as Python spells a float.
pub(crate) type Sample = (String, Labels, String, Option<i64>, Option<Exemplar>);

/// Labels, value, milliseconds.
pub(crate) type Exemplar = (Labels, String, Option<i64>);

pub(crate) type Labels = BTreeMap<String, String>;

/// The process. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    process: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

/// An answer, as `tests/python/clients.py` gives it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Error(String),
    #[allow(dead_code, reason = "not every program of tests asks for it")]
    Count(usize),
    #[allow(dead_code, reason = "not every program of tests asks for it")]
    Samples(Vec<Sample>),
}

// === impl Clients ===

impl Clients {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = here.join("../target/tools/prometheus_client");
        assert!(library.is_dir(), "prometheus_client is missing: run `cargo xtask setup`");
        let mut command = Command::new("python3");
        command.arg("-B").arg(here.join("tests/python/clients.py")).env("PYTHONPATH", library);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.expect("python3 is installed");
        let requests = process.stdin.take();
        let answers = process.stdout.take().expect("it is piped");
        Self { process, requests, answers }
    }

    /// How many samples it reads, or why it refuses the page.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn count(&mut self, parser: Parser, page: &[u8]) -> Result<usize, String> {
        match self.ask(parser, b'c', page) {
            Answer::Count(n) => Ok(n),
            Answer::Error(error) => Err(error),
            Answer::Samples(_) => Err("asked for a count, got samples".to_owned()),
        }
    }

    /// What it reads.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn samples(&mut self, parser: Parser, page: &[u8]) -> Result<Vec<Sample>, String> {
        match self.ask(parser, b's', page) {
            Answer::Samples(samples) => Ok(samples),
            Answer::Error(error) => Err(error),
            Answer::Count(_) => Err("asked for samples, got a count".to_owned()),
        }
    }

    fn ask(&mut self, parser: Parser, wanted: u8, page: &[u8]) -> Answer {
        let parser = if parser == Parser::Text { b't' } else { b'o' };
        let length = u32::try_from(page.len()).expect("a page has no 4 GiB").to_be_bytes();
        let requests = self.requests.as_mut().expect("it is there until the end");
        requests.write_all(&[&[parser, wanted], &length[..]].concat()).expect("it waits");
        requests.write_all(page).and_then(|()| requests.flush()).expect("it reads the page");
        let mut length = [0; 4];
        self.answers.read_exact(&mut length).expect("it answers each request");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.answers.read_exact(&mut answer).expect("it writes the whole answer");
        serde_json::from_slice(&answer).expect("it answers in JSON")
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It ends where its input does.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}
