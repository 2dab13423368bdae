//! Text 0.0.4: lines to entries, and entries to lines.
//!
//! The reader takes what the servers take, and more: CRLF, blanks around everything, comments,
//! blank lines, `# EOF`, exemplars, the kinds of `OpenMetrics`. The writer ([`mod@line`]) writes what
//! both `promtool check metrics` and the server's textparse read, in one spelling.

use memchr::memchr;

use crate::exposition::{
    Defect, Entry, Exceeded, Failure, Fault, Kind, Label, Limit, Limits, Place, labels,
};

pub mod line;
mod sample;

/// Reads lines. Ends behind the last one, and where a limit of the source is reached.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    place: Place<'a>,
    /// The offset of `rest` in the body.
    at: usize,
    limits: Limits,
    n_samples: usize,
    n_metadata: usize,
    /// The whole body is UTF-8 and holds no NUL, so that no line has to be looked at for that.
    is_clean: bool,
    seen: sample::Seen<'a>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins at the first line of `body`.
    #[must_use]
    pub fn new(body: &'a [u8], limits: &Limits) -> Self {
        Self {
            rest: body,
            place: Place::default(),
            at: 0,
            limits: *limits,
            n_samples: 0,
            n_metadata: 0,
            is_clean: memchr(0, body).is_none() && std::str::from_utf8(body).is_ok(),
            seen: sample::Seen::default(),
        }
    }

    /// Where the last item stood.
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }

    /// The labels of the sample that was the last item.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        self.seen.labels()
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.rest);
        let mut line = &self.rest[..end.unwrap_or(self.rest.len())];
        // All of them: what is written of a line must not end in what is a line end to a reader.
        while let [text @ .., b'\r'] = line {
            line = text;
        }
        let next = end.map_or(self.rest.len(), |end| end + 1);
        self.place = Place { line: self.place.line + 1, at: self.at, text: line };
        self.rest = &self.rest[next..];
        self.at += next;
        Some(line)
    }

    /// The entry of a line, if it has one.
    fn read(&mut self, line: &'a [u8]) -> Result<Option<Entry<'a>>, Fault> {
        if line.len() > self.limits.line {
            return Err(self.exceeded(Limit::Line, self.limits.line));
        }
        let text = labels::skip_blanks(line);
        match text {
            [] => Ok(None),
            [b'#', comment @ ..] => self.read_comment(comment),
            _ => self.read_sample(text).map(Some),
        }
    }

    fn read_sample(&mut self, text: &'a [u8]) -> Result<Entry<'a>, Fault> {
        self.check_bytes(text)?;
        let sample = match sample::read(text, &self.limits, &mut self.seen) {
            Ok(sample) => sample,
            Err(sample::Error::Defect(what)) => return Err(Fault::Line(what)),
            Err(sample::Error::Limit(limit, allowed)) => return Err(self.exceeded(limit, allowed)),
        };
        self.n_samples += 1;
        if self.n_samples > self.limits.samples {
            return Err(self.exceeded(Limit::Samples, self.limits.samples));
        }
        // Blanks before the name are no part of a strict line.
        let strict = sample.strict && text.len() == self.place.text.len();
        Ok(Entry::Sample(super::Sample { strict, ..sample }))
    }

    /// HELP and TYPE say something; every other comment, `# EOF` and `# UNIT` included, does not.
    fn read_comment(&mut self, comment: &'a [u8]) -> Result<Option<Entry<'a>>, Fault> {
        let (word, rest) = split_word(labels::skip_blanks(comment));
        if !matches!(word, b"HELP" | b"TYPE") || rest.is_empty() {
            return Ok(None);
        }
        self.check_bytes(comment)?;
        self.n_metadata += 1;
        let allowed = self.limits.samples.saturating_mul(2);
        if self.n_metadata > allowed {
            return Err(self.exceeded(Limit::Metadata, allowed));
        }
        let (family, rest) = split_word(rest);
        if family.is_empty() || sample::name_len(family) != family.len() {
            return Err(Fault::Line(Defect::FamilyName));
        }
        if family.len() > self.limits.name {
            return Err(self.exceeded(Limit::Name, self.limits.name));
        }
        match (word, rest.trim_ascii_end()) {
            (b"HELP", _) => Ok(Some(Entry::Help { family, help: rest.into() })),
            // expfmt takes a TYPE line that ends here for a comment.
            (_, []) => Ok(None),
            (_, word) => match Kind::from_word(word) {
                Some(kind) => Ok(Some(Entry::Type { family, kind })),
                None => Err(Fault::Line(Defect::Type)),
            },
        }
    }

    fn check_bytes(&self, text: &[u8]) -> Result<(), Fault> {
        if self.is_clean {
            return Ok(());
        }
        match std::str::from_utf8(text) {
            Err(_) => Err(Fault::Line(Defect::NotUtf8)),
            Ok(_) if memchr(0, text).is_some() => Err(Fault::Line(Defect::Nul)),
            Ok(_) => Ok(()),
        }
    }

    fn exceeded(&self, limit: Limit, allowed: usize) -> Fault {
        Fault::Source(Failure::Exceeded(Exceeded { limit, allowed, line: self.place.line }))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = self.next_line() {
            let found = self.read(line);
            if let Err(Fault::Source(_)) = found {
                self.rest = &[];
            }
            if let Some(item) = found.transpose() {
                return Some(item);
            }
        }
        None
    }
}

/// What stands before the first blank, and what follows the blanks.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    (&text[..end], labels::skip_blanks(&text[end..]))
}

#[cfg(test)]
mod tests;
