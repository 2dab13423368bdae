//! Every metric name of all sources, once, in the order of first appearance.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    exposition::{Kind, family::Type},
    merge::rows::index,
};

/// A metric name, and what was said of it as of a family.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub bytes: &'a [u8],
    /// The first help text that is not empty.
    pub help: Option<&'a [u8]>,
    /// What all declarations come to.
    pub type_: Type,
    /// The first declaration that says a kind.
    pub declared: Option<Declared<'a>>,
}

/// A TYPE line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub kind: Kind,
    /// The position of its source.
    pub source: u32,
    pub line: usize,
    pub text: &'a [u8],
}

/// Names by number and by bytes.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub list: Vec<Name<'a>>,
    numbers: HashTable<u32>,
    /// Seeded, since the names come from pods; it decides no order.
    hasher: RandomState,
    /// The samples of a family follow each other, so the next name is mostly the last one.
    last: Option<u32>,
}

// === impl Names ===

impl<'a> Names<'a> {
    /// The number of a name, which is new where the name is.
    pub(super) fn number(&mut self, bytes: &'a [u8]) -> u32 {
        if let Some(last) = self.last
            && self.list[last as usize].bytes == bytes
        {
            return last;
        }
        let number = self.find(bytes).unwrap_or_else(|| self.add(bytes));
        self.last = Some(number);
        number
    }

    /// The number of a name that is there.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let is_it = |number: &u32| self.list[*number as usize].bytes == bytes;
        self.numbers.find(self.hasher.hash_one(bytes), is_it).copied()
    }

    /// What the declarations of a name come to.
    pub(super) fn type_of(&self, bytes: &[u8]) -> Type {
        self.find(bytes).map_or(Type::Absent, |number| self.list[number as usize].type_)
    }

    /// Forgets all names but the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        for number in n..self.list.len() {
            let hash = self.hasher.hash_one(self.list[number].bytes);
            if let Ok(entry) = self.numbers.find_entry(hash, |found| *found as usize == number) {
                entry.remove();
            }
        }
        self.list.truncate(n);
        self.last = None;
    }

    fn add(&mut self, bytes: &'a [u8]) -> u32 {
        let Self { list, numbers, hasher, last: _ } = self;
        let number = index(list.len());
        list.push(Name { bytes, help: None, type_: Type::Absent, declared: None });
        numbers.insert_unique(hasher.hash_one(bytes), number, |number| {
            hasher.hash_one(list[*number as usize].bytes)
        });
        number
    }
}
