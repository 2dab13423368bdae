//! What became of one source: how many of its samples are on the page, and what was wrong.
//!
//! A hostile source can have a problem in each line, so few are kept in words, and all are counted.

use crate::exposition::{Defect, Failure, Problem};

/// How many problems of a source are kept with their text. All are counted.
const KEPT: usize = 20;

/// What became of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many of its samples are in the page.
    pub samples: usize,
    /// What was wrong with its lines.
    pub problems: Problems,
    /// Why nothing of it is in the page. The problems are those up to there.
    pub failed: Option<Failure>,
}

/// What was wrong with the lines of one source: the first 20 in words, all by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    counts: [usize; Defect::ALL.len()],
}

// === impl Problems ===

impl Default for Problems {
    fn default() -> Self {
        Self { kept: Vec::new(), counts: [0; Defect::ALL.len()] }
    }
}

impl Problems {
    /// The first 20 that were found, by line. Those that only the whole page shows are found last.
    #[must_use]
    pub fn kept(&self) -> &[Problem] {
        &self.kept
    }

    /// How many there are of this kind.
    #[must_use]
    pub fn count(&self, what: Defect) -> usize {
        self.counts[what as usize]
    }

    /// How many there are of each kind that occurred.
    pub fn counts(&self) -> impl Iterator<Item = (Defect, usize)> + '_ {
        Defect::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Puts those that were kept into the order of their lines.
    pub(super) fn sort(&mut self) {
        self.kept.sort_by_key(|problem| problem.line);
    }

    pub(super) fn add(&mut self, line: usize, what: Defect, text: &[u8]) {
        self.add_at(|| line, what, text);
    }

    /// Adds one of which the line is only asked for if it is kept.
    pub(super) fn add_at(&mut self, line: impl FnOnce() -> usize, what: Defect, text: &[u8]) {
        self.counts[what as usize] += 1;
        if self.kept.len() < KEPT {
            self.kept.push(Problem::new(line(), what, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_problems_are_kept_and_all_are_counted() {
        let mut problems = Problems::default();
        assert!(problems.is_empty());
        for line in 1..=30 {
            problems.add(line, if line > 25 { Defect::Value } else { Defect::Nul }, b"m");
        }
        assert_eq!(problems.kept().len(), 20);
        assert_eq!(problems.kept()[19].line, 20);
        assert_eq!(problems.counts().collect::<Vec<_>>(), [(Defect::Nul, 25), (Defect::Value, 5)]);
        assert_eq!((problems.total(), problems.count(Defect::Value)), (30, 5));
    }
}
