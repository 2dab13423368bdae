//! Every metric name of all sources, once, in the order of first appearance.
//!
//! A name is there in the spelling of the page, with what was said of it as of a family. Which names
//! are one family is left to `families`.

use std::{borrow::Cow, hash::BuildHasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    exposition::{Defect, Escaping, Kind, family::Type, labels, openmetrics},
    merge::{report::Report, rows::index},
};

/// A metric name, and what was said of it as of a family.
#[derive(Debug)]
pub(super) struct Name<'a> {
    /// Strictly escaped, as the page says it.
    pub bytes: Cow<'a, [u8]>,
    /// It is no identifier.
    pub is_quoted: bool,
    /// The first help that is not empty.
    pub help: Option<Help<'a>>,
    /// The first unit, and where it was said. Few families have one.
    pub unit: Option<Box<(&'a [u8], Mark<'a>)>>,
    /// What all declarations come to.
    pub type_: Type,
    /// The first declaration that says a kind, as a position in those of [`Names`].
    declared: Option<u32>,
    /// The last source that had a sample of this name.
    pub sampled_by: Option<u32>,
    /// The last source that said a kind of this name, and which.
    pub said_by: Option<(u32, Kind)>,
    /// The name that followed it when it was last asked for.
    next: u32,
}

/// What a family is for.
#[derive(Debug)]
pub(super) struct Help<'a> {
    /// Without escapes.
    pub text: Cow<'a, [u8]>,
    /// Nothing in it is escaped in any format.
    pub is_plain: bool,
}

/// A TYPE line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub kind: Kind,
    pub mark: Mark<'a>,
}

/// Where something was said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark<'a> {
    /// The position of its source.
    pub source: u32,
    pub line: usize,
    pub text: &'a [u8],
}

/// What follows the name of a family in the names of its samples.
const SUFFIXES: [&str; 8] =
    ["_total", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_created", "_info"];

/// Names by number and by bytes.
#[derive(Debug)]
pub(super) struct Names<'a> {
    pub list: Vec<Name<'a>>,
    declared: Vec<Declared<'a>>,
    /// The position of the source that is being read.
    pub source: u32,
    escaping: Escaping,
    numbers: HashTable<u32>,
    /// Seeded, since the names come from pods; it decides no order.
    hasher: RandomState,
    /// The samples of a family follow each other, so the next name is mostly the last one, or the one
    /// that followed it before: after the buckets the sum, after the sum the count.
    last: Option<u32>,
}

// === impl Declared ===

impl Declared<'_> {
    /// Says that something is wrong with it.
    pub(super) fn problem(&self, what: Defect, reports: &mut [Report]) {
        self.mark.problem(what, reports);
    }
}

// === impl Mark ===

impl Mark<'_> {
    /// Says that something is wrong there.
    pub(super) fn problem(&self, what: Defect, reports: &mut [Report]) {
        let Self { source, line, text } = *self;
        reports[source as usize].problems.add(line, what, text);
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    /// No names; those that are no identifiers are written in `escaping`.
    pub(super) fn new(escaping: Escaping) -> Self {
        let (list, declared, source, numbers, hasher) = Default::default();
        Self { list, declared, source, escaping, numbers, hasher, last: None }
    }

    /// Makes room for this many more, with a kind each.
    pub(super) fn reserve(&mut self, n: usize) {
        let Self { list, declared, numbers, hasher, .. } = self;
        declared.reserve(n);
        numbers.reserve(n, |number| hasher.hash_one(&*list[*number as usize].bytes));
        list.reserve(n);
    }

    /// The number of a name as its source escaped it, which is new where the name is. Who knows that it
    /// is an identifier says so.
    #[inline]
    pub(super) fn number(&mut self, bytes: Cow<'a, [u8]>, is_identifier: bool) -> u32 {
        let last = self.last;
        if let Some(last) = last {
            if self.is(last, &bytes) {
                return last;
            }
            let next = self.list[last as usize].next;
            if next != last && self.is(next, &bytes) {
                self.last = Some(next);
                return next;
            }
        }
        let hash = self.hasher.hash_one(&*bytes);
        let number =
            self.find_by(hash, &bytes).unwrap_or_else(|| self.add(bytes, is_identifier, hash));
        if let Some(last) = last {
            self.list[last as usize].next = number;
        }
        self.last = Some(number);
        number
    }

    fn is(&self, number: u32, bytes: &[u8]) -> bool {
        let name = self.list.get(number as usize).map(|name| &*name.bytes);
        // A reader gives a name that it has just given as the same bytes in the same place.
        name.is_some_and(|name| std::ptr::eq(name, bytes) || name == bytes)
    }

    /// The number of a name that is there.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.find_by(self.hasher.hash_one(bytes), bytes)
    }

    fn find_by(&self, hash: u64, bytes: &[u8]) -> Option<u32> {
        self.numbers.find(hash, |number| self.is(*number, bytes)).copied()
    }

    /// The number of a name that is there, put together of two parts.
    pub(super) fn find_joined(&self, base: &[u8], suffix: &[u8]) -> Option<u32> {
        self.find(&[base, suffix].concat())
    }

    /// The first declaration of a name that says a kind, if there is one.
    pub(super) fn declared(&self, number: u32) -> Option<&Declared<'a>> {
        self.list[number as usize].declared.map(|at| &self.declared[at as usize])
    }

    /// Takes in a declaration that says a kind, and gives the first one of the name.
    pub(super) fn declare(&mut self, number: u32, declared: Declared<'a>) -> Declared<'a> {
        let at = *self.list[number as usize].declared.get_or_insert_with(|| {
            self.declared.push(declared);
            index(self.declared.len() - 1)
        });
        self.declared[at as usize]
    }

    /// What the declarations of a name come to.
    pub(super) fn type_of(&self, bytes: &[u8]) -> Type {
        self.find(bytes).map_or(Type::Absent, |number| self.list[number as usize].type_)
    }

    /// Forgets all names but the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        for number in n..self.list.len() {
            let hash = self.hasher.hash_one(&*self.list[number].bytes);
            if let Ok(entry) = self.numbers.find_entry(hash, |found| *found as usize == number) {
                entry.remove();
            }
        }
        self.list.truncate(n);
        self.last = None;
    }

    /// Adds a name that was not found, unless it is there in the spelling of the page.
    #[cold]
    fn add(&mut self, bytes: Cow<'a, [u8]>, is_identifier: bool, hash: u64) -> u32 {
        let (bytes, hash, is_quoted) = if is_identifier || labels::is_metric_name(&bytes) {
            (bytes, hash, false)
        } else {
            let spelled = self.spell(&bytes).into_owned();
            let hash = self.hasher.hash_one(&*spelled);
            if let Some(number) = self.find_by(hash, &spelled) {
                return number;
            }
            let is_quoted = !labels::is_metric_name(&spelled);
            (Cow::Owned(spelled), hash, is_quoted)
        };
        let Self { list, numbers, hasher, .. } = self;
        let number = index(list.len());
        numbers
            .insert_unique(hash, number, |number| hasher.hash_one(&*list[*number as usize].bytes));
        let (help, unit, type_, declared, sampled_by, said_by) = Default::default();
        list.push(Name {
            bytes,
            is_quoted,
            help,
            unit,
            type_,
            declared,
            sampled_by,
            said_by,
            next: number,
        });
        number
    }

    /// A name that is no identifier as the page says it. Of a sample of a family that its source has declared the name of the
    /// family is escaped, and what follows stays as it is: otherwise it would be of no family. What other
    /// sources say does not matter, or a series would be called by who came first.
    fn spell<'n>(&self, bytes: &'n [u8]) -> Cow<'n, [u8]> {
        let escape =
            |name: &'n [u8]| labels::respell(name, |plain| self.escaping.metric_name(plain));
        for suffix in SUFFIXES {
            let base = bytes.strip_suffix(suffix.as_bytes()).map(escape);
            if let Some(base) = base.filter(|base| self.is_said_with(base, suffix)) {
                return Cow::Owned([&*base, suffix.as_bytes()].concat());
            }
        }
        escape(bytes)
    }

    /// Whether the source has said that there is a family whose samples have this suffix.
    fn is_said_with(&self, base: &[u8], suffix: &str) -> bool {
        let said = self.find(base).and_then(|number| self.list[number as usize].said_by);
        said.is_some_and(|(source, kind)| {
            source == self.source && openmetrics::claims(Some(kind)).contains(&suffix)
        })
    }
}
