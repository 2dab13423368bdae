//! A label set of a message, read against the one before it.
//!
//! Most metrics have the label names of the metric before, in the same order. Then none of them has
//! to be checked or compared with each other: what is left of a label is its value. What a set is
//! of, a metric or an exemplar, is left to the verifier.

use crate::exposition::{
    Defect, Limit, Limits,
    protobuf::{Pair, content, verify::Error},
    scan::{check_text, is_ascii_text},
};

/// The labels of one set, none of which has the name of another.
#[derive(Debug, Default)]
pub(super) struct Set<'a> {
    pairs: Vec<Pair<'a>>,
    before: Vec<Pair<'a>>,
    /// The names so far are those of the set before.
    is_as_before: bool,
    /// It was not taken to its end, or something else was wrong with what it is of: what follows has
    /// nothing before it. An exemplar's needs none of that, since only labels that are good are kept.
    pub is_cut: bool,
}

// === impl Set ===

impl<'a> Set<'a> {
    /// The labels in the order of the source.
    pub(super) fn pairs(&self) -> &[Pair<'a>] {
        &self.pairs
    }

    /// Whether its names are those of the set before, in the same order, and that one was good.
    pub(super) fn has_names_as_before(&self) -> bool {
        self.is_as_before && self.pairs.len() == self.before.len()
    }

    /// Whether a label has this name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.pairs.iter().any(|(other, _)| *other == name)
    }

    /// Begins with the next set.
    pub(super) fn begin(&mut self) {
        std::mem::swap(&mut self.pairs, &mut self.before);
        self.pairs.clear();
        self.is_as_before = !std::mem::take(&mut self.is_cut);
    }

    /// Takes the next label of the set, which is a message.
    #[inline]
    pub(super) fn take(&mut self, message: &'a [u8], limits: &Limits) -> Result<(), Error> {
        let (name, value) = content::label(message)?;
        // Mostly the name was checked in the set before, and the value has no character of two bytes.
        let is_good = self.is_next(name)
            && value.len() <= limits.value
            && is_ascii_text(value)
            && self.pairs.len() < limits.labels;
        if is_good {
            self.pairs.push((name, value));
            return Ok(());
        }
        self.take_any((name, value), limits)
    }

    /// The same, with a look at all that may be wrong.
    #[inline(never)]
    fn take_any(&mut self, (name, value): Pair<'a>, limits: &Limits) -> Result<(), Error> {
        if name.len() > limits.name {
            return Err(Error::Limit(Limit::Name, limits.name));
        }
        if value.len() > limits.value {
            return Err(Error::Limit(Limit::Value, limits.value));
        }
        check_text(value)?;
        self.is_as_before = self.is_next(name);
        if !self.is_as_before {
            check_name(name)?;
            if self.has(name) {
                return Err(Defect::LabelTwice.into());
            }
        }
        self.pairs.push((name, value));
        if self.pairs.len() > limits.labels {
            return Err(Error::Limit(Limit::Labels, limits.labels));
        }
        Ok(())
    }

    /// Whether the names of the set before go on with this one.
    #[inline]
    fn is_next(&self, name: &[u8]) -> bool {
        let before = self.before.get(self.pairs.len());
        self.is_as_before && before.is_some_and(|(before, _)| *before == name)
    }
}

fn check_name(name: &[u8]) -> Result<(), Defect> {
    match name {
        b"" => Err(Defect::LabelName),
        b"__name__" => Err(Defect::ReservedLabel),
        _ => check_text(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::protobuf::push_label;

    /// The labels of a set; whether it is good, and has the names of the one before.
    type Case<'c> = (&'c [(&'c str, &'c str)], Result<bool, Defect>);

    #[track_caller]
    fn check(sets: &[Case<'_>]) {
        let bodies: Vec<Vec<Vec<u8>>> = sets
            .iter()
            .map(|(pairs, _)| {
                let message = |(name, value): &(&str, &str)| {
                    let mut field = Vec::new();
                    push_label(&mut field, name.as_bytes(), value.as_bytes());
                    field.split_off(2)
                };
                pairs.iter().map(message).collect()
            })
            .collect();
        let mut set = Set::default();
        for (messages, (pairs, expected)) in bodies.iter().zip(sets) {
            set.begin();
            let taken =
                messages.iter().try_for_each(|message| set.take(message, &Limits::default()));
            set.is_cut = taken.is_err();
            let found = taken.map(|()| set.has_names_as_before());
            assert_eq!(found, expected.map_err(Error::Defect), "{pairs:?}");
        }
    }

    #[test]
    fn names_are_as_before_in_their_order_and_in_whole() {
        check(&[
            (&[("a", "1"), ("b", "2")], Ok(false)),
            (&[("a", "é"), ("b", "")], Ok(true)),
            (&[("a", "1")], Ok(false)),
            (&[("a", "1"), ("b", "2")], Ok(false)),
            (&[("b", "1"), ("a", "2")], Ok(false)),
            (&[], Ok(false)),
            (&[], Ok(true)),
        ]);
    }

    #[test]
    fn nothing_is_as_in_a_set_that_was_bad() {
        check(&[
            (&[("a", "1")], Ok(false)),
            (&[("b", "1"), ("b", "2")], Err(Defect::LabelTwice)),
            (&[("b", "1")], Ok(false)),
            (&[("b", "1"), ("c", "\0")], Err(Defect::Nul)),
            (&[("b", "1")], Ok(false)),
            (&[("b", "2")], Ok(true)),
        ]);
    }

    #[test]
    fn a_name_that_is_new_is_checked_behind_those_that_are_not() {
        check(&[
            (&[("a", "1"), ("b", "2")], Ok(false)),
            (&[("a", "1"), ("b", "2"), ("a", "3")], Err(Defect::LabelTwice)),
            (&[("a", "1"), ("__name__", "2")], Err(Defect::ReservedLabel)),
            (&[("a", "1"), ("", "2")], Err(Defect::LabelName)),
        ]);
    }
}
