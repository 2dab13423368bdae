//! What several monitors ask of one pod, and how they share the room that there is for it.
//!
//! Those of the pod's own namespace go first: whoever may make them may say the same by annotations. Those
//! of other namespaces follow in turns, one endpoint of each namespace, so that none of these takes the
//! room of another, whatever its name and however much it asks for.

use std::{collections::BTreeMap, sync::Arc};

use super::{Labels, Monitor, spec};
use crate::target::monitor::{Endpoint, MAX_ENDPOINTS, Monitored};

/// The bytes of all endpoints that are kept for one pod.
pub(super) const MAX_MONITORED: usize = 16 << 10;

/// The bytes of those that one other namespace than the pod's asks for.
const MAX_FOREIGN: usize = 4 << 10;

/// What `monitors` ask of a pod in `namespace` with these labels: first those of that namespace, in their
/// order, then those of others, in turns.
#[must_use]
pub fn monitored<'a>(
    monitors: impl IntoIterator<Item = &'a Monitor>,
    namespace: &str,
    labels: &Labels,
) -> Monitored {
    let (mut own, mut foreign) = (Vec::new(), BTreeMap::<&str, Vec<&Monitor>>::new());
    let mut n_asked = 0;
    for monitor in monitors.into_iter().filter(|monitor| monitor.selects(namespace, labels)) {
        n_asked += monitor.endpoints.len() + monitor.left_out;
        let from = monitor.name.namespace.as_str();
        if from == namespace {
            own.push(monitor);
        } else {
            foreign.entry(from).or_default().push(monitor);
        }
    }
    let mut endpoints = Room { endpoints: Vec::new(), left: MAX_MONITORED };
    let mut own = Turns::new(own, MAX_MONITORED);
    while own.take_one(&mut endpoints) {}
    let mut foreign: Vec<_> =
        foreign.into_values().map(|monitors| Turns::new(monitors, MAX_FOREIGN)).collect();
    while !foreign.is_empty() {
        foreign.retain_mut(|turns| turns.take_one(&mut endpoints));
    }
    let Room { endpoints, left: _ } = endpoints;
    Monitored { left_out: n_asked - endpoints.len(), endpoints }
}

/// What is kept.
struct Room {
    endpoints: Vec<Arc<Endpoint>>,
    /// How many bytes more may be.
    left: usize,
}

/// The endpoints of one namespace.
struct Turns<'a> {
    endpoints: Box<dyn Iterator<Item = &'a Arc<Endpoint>> + 'a>,
    /// How many bytes of it may be kept yet.
    left: usize,
}

// === impl Turns ===

impl<'a> Turns<'a> {
    fn new(monitors: Vec<&'a Monitor>, left: usize) -> Self {
        let endpoints = monitors.into_iter().flat_map(|monitor| &monitor.endpoints);
        Self { endpoints: Box::new(endpoints), left }
    }

    /// Keeps the next one. Where there is none, or no room for it, that was the namespace's last turn.
    fn take_one(&mut self, room: &mut Room) -> bool {
        let Some(endpoint) = self.endpoints.next() else { return false };
        let n_bytes = spec::kept(endpoint);
        if room.endpoints.len() == MAX_ENDPOINTS || n_bytes > self.left.min(room.left) {
            return false;
        }
        (self.left, room.left) = (self.left - n_bytes, room.left - n_bytes);
        room.endpoints.push(Arc::clone(endpoint));
        true
    }
}
