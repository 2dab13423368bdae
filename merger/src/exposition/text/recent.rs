//! Names that were said just before: after the buckets the sum, after the sum the count, and then the
//! buckets again.
//!
//! A name that is where it is expected needs no second look, and who keeps something for each place need not
//! look that up again.

/// How many names are remembered: those of a histogram, and one more.
pub const N_RECENT: usize = 4;

/// The names of the last samples, without those in quotes.
#[derive(Debug, Default)]
pub(super) struct Recent<'a> {
    names: [&'a [u8]; N_RECENT],
    /// By the place of a name: the place of the one that followed it when it was last said.
    next: [usize; N_RECENT],
    /// The place of the last name.
    at: usize,
    /// The place that the next new name gets.
    oldest: usize,
}

// === impl Recent ===

impl<'a> Recent<'a> {
    /// If `text` begins with the name that followed the last one before: how long it is, and its place.
    #[inline]
    pub(super) fn expected(&self, text: &[u8]) -> Option<(usize, usize)> {
        let place = self.next[self.at];
        let name = self.names[place];
        let ends_there = matches!(text.get(name.len()), Some(b'{' | b' '));
        (ends_there && !name.is_empty() && text.starts_with(name)).then_some((name.len(), place))
    }

    /// Goes on to the name in a place, and gives that again.
    #[inline]
    pub(super) fn go_to(&mut self, place: usize) -> usize {
        self.at = place;
        place
    }

    /// Goes on to a name that was not expected. Gives its place, and whether it has that only now. It is not
    /// looked for where it is the `family` of which something was said just before: that mostly is new.
    pub(super) fn take(&mut self, name: &'a [u8], family: &[u8]) -> (usize, bool) {
        let places = if name == family { &[][..] } else { &self.names };
        let found = places.iter().position(|other| *other == name);
        let place = found.unwrap_or(self.oldest);
        if found.is_none() {
            (self.names[place], self.next[place]) = (name, place);
            self.oldest = (place + 1) % N_RECENT;
        }
        self.next[self.at] = place;
        (self.go_to(place), found.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_a_name_is_expected_behind_it() {
        let mut recent = Recent::default();
        assert_eq!(recent.expected(b"a 1"), None);
        for (name, place) in [(b"a", 0), (b"b", 1), (b"c", 2)] {
            assert_eq!(recent.take(name, b""), (place, true));
        }
        assert_eq!(recent.take(b"a", b""), (0, false));
        for (text, place) in [("b 1", 1), ("c{", 2), ("a 1", 0), ("b{}", 1)] {
            assert_eq!(recent.expected(text.as_bytes()), Some((1, place)));
            recent.go_to(place);
        }
        for text in ["b 1", "c", "cc 1", "c\t1", ""] {
            assert_eq!(recent.expected(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_oldest_name_makes_room() {
        let mut recent = Recent::default();
        for (name, place) in [(b"a", 0), (b"b", 1), (b"c", 2), (b"d", 3), (b"e", 0), (b"a", 1)] {
            assert_eq!(recent.take(name, b""), (place, true));
        }
        assert_eq!(recent.take(b"e", b""), (0, false));
        assert_eq!(recent.expected(b"a 1"), Some((1, 1)));
        recent.take(b"f", b"");
        assert_eq!(recent.take(b"d", b""), (3, false));
        assert_eq!(recent.expected(b"e 1"), Some((1, 0)));
    }
}
