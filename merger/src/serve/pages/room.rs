//! Which pods fit on the page of all pods: as many as have room together, in their order.
//!
//! Whoever answers first must not decide who is on the page. So where the memory is used up, the
//! last pod in the order gives way, and all behind it with it: in the end there is the longest
//! beginning of the list that fits, whatever the order of the answers.

use super::{Missing, Read};

/// The pods of one page, and the memory that they take.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    /// By the position of the pod.
    pods: Vec<Option<Place>>,
    taken: usize,
    /// The first position that is not on the page.
    end: usize,
}

#[derive(Debug)]
struct Place {
    reads: Vec<Read>,
    size: usize,
}

// === impl Room ===

impl Room {
    /// Room for `n` pods in `limit` bytes.
    pub(super) fn new(limit: usize, n: usize) -> Self {
        Self { limit, pods: std::iter::repeat_with(|| None).take(n).collect(), taken: 0, end: n }
    }

    /// Whether the pod at this position can still be on the page.
    pub(super) fn is_open(&self, position: usize) -> bool {
        position < self.end
    }

    /// Takes in what was read of a pod, which takes `size` bytes.
    pub(super) fn take(&mut self, position: usize, reads: Vec<Read>, size: usize) {
        self.pods[position] = Some(Place { reads, size });
        if self.is_open(position) {
            self.taken += size;
            self.shrink(self.limit);
        } else {
            self.leave_out(position);
        }
    }

    /// Lets pods at the end give way until the rest takes `limit` bytes at most.
    pub(super) fn shrink(&mut self, limit: usize) {
        while self.taken > limit && self.end > 0 {
            self.end -= 1;
            self.taken -= self.pods[self.end].as_ref().map_or(0, |place| place.size);
            self.leave_out(self.end);
        }
    }

    /// What all pods take.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// All that was read, in the order of the pods. Of those that do not fit there is no page.
    pub(super) fn reads(&self) -> impl Iterator<Item = &Read> {
        self.pods.iter().flatten().flat_map(|place| &place.reads)
    }

    fn leave_out(&mut self, position: usize) {
        let Some(place) = &mut self.pods[position] else { return };
        for read in place.reads.iter_mut().filter(|read| read.page.is_ok()) {
            read.page = Err(Missing::NoRoom { limit: self.limit });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        exposition::Format,
        scrape::{Page, body::Body},
        target::{Reason, Scheme, Source, State},
    };

    fn read(position: usize) -> Read {
        let source = Source {
            container: position.to_string(),
            endpoint: String::new(),
            port: NonZeroU16::MIN,
            scheme: Scheme::Http,
            path: "/".to_owned(),
            reason: Reason::Annotation("prometheus.io/port".to_owned()),
            state: State::Pending,
            owner: None,
            secret: None,
            only: None,
        };
        let page = Page { body: Body::default(), format: Format::Text };
        Read { pod: None, source, page: Ok(Arc::new(page)), duration: Duration::ZERO }
    }

    fn fitting(room: &Room) -> Vec<String> {
        let fitting = room.reads().filter(|read| read.page.is_ok());
        fitting.map(|read| read.source.container.clone()).collect()
    }

    /// Pods of these sizes come in this order; those at the positions `expected` fit into 10 bytes.
    #[track_caller]
    fn check(sizes: &[usize], order: &[usize], expected: &[&str]) {
        let mut room = Room::new(10, sizes.len());
        for &position in order {
            room.take(position, vec![read(position)], sizes[position]);
        }
        assert_eq!(fitting(&room), expected, "{order:?}");
        assert_eq!(room.reads().count(), sizes.len(), "those that do not fit are there as well");
        assert!(room.taken() <= 10);
    }

    #[test]
    fn the_longest_beginning_fits_whatever_the_order_of_the_answers() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            check(&[5, 6, 4], &order, &["0"]);
            check(&[5, 5, 1], &order, &["0", "1"]);
            check(&[3, 3, 4], &order, &["0", "1", "2"]);
            check(&[11, 1, 1], &order, &[]);
            check(&[0, 11, 0], &order, &["0"]);
        }
    }

    #[test]
    fn a_pod_behind_one_that_does_not_fit_need_not_be_read() {
        let mut room = Room::new(10, 3);
        assert!(room.is_open(2));
        room.take(1, vec![read(1)], 11);
        assert_eq!([0, 1, 2].map(|position| room.is_open(position)), [true, false, false]);
    }

    #[test]
    fn the_last_pods_give_way_first_where_there_is_less_room() {
        let mut room = Room::new(10, 3);
        for (position, size) in [4, 5, 0].into_iter().enumerate() {
            room.take(position, vec![read(position)], size);
        }
        room.shrink(8);
        assert_eq!((fitting(&room), room.taken()), (vec!["0".to_owned()], 4));
        room.shrink(3);
        assert_eq!((fitting(&room), room.taken()), (vec![], 0));
    }
}
