//! Counts by a label from a closed list.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How often each label was counted. Labels are `'static`, so that no input can add one.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, u64>>);

// === impl Tally ===

impl Tally {
    /// Counts `label` `n` times more.
    pub fn add(&self, label: &'static str, n: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_default() += n;
    }

    /// All counts so far, in the order of their labels.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
