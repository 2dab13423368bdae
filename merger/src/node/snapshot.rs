//! A snapshot as it travels: each path of a cgroup once, and each doubt, and whoever has one by its place
//! in the list of them.
//!
//! A pod may hold tens of thousands of listeners by its processes, all of which are in one cgroup. So a
//! listener and one who holds it are some five bytes, and in memory those who have a path share it.

use std::{collections::HashMap, hash::Hash, net::IpAddr, num::NonZeroU16, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    identity::{Cookie, Process},
    node::Snapshot,
    target::{Doubt, Holder, Listener},
};

/// What travels. The paths are borrowed from what is written, and from what is read.
#[derive(Serialize, Deserialize)]
struct Flat<'s> {
    host: Cookie,
    #[serde(borrow)]
    paths: Vec<&'s str>,
    doubts: Vec<Doubt>,
    /// Id, start, namespace, and the place of the path.
    processes: Vec<(u32, u64, Cookie, u32)>,
    listeners: Vec<FlatListener>,
}

#[derive(Serialize, Deserialize)]
struct FlatListener {
    netns: Cookie,
    address: IpAddr,
    port: NonZeroU16,
    /// Id, and the place of the path.
    holders: Vec<(u32, u32)>,
    doubt: Option<u32>,
}

/// Values, each once, and their places in the order in which they were met.
struct Places<T> {
    places: HashMap<T, u32>,
    values: Vec<T>,
}

// === impl Snapshot ===

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Flat::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Flat::deserialize(deserializer)?.whole();
        whole.ok_or_else(|| D::Error::custom("a path or a doubt that is not in the list of them"))
    }
}

// === impl Flat ===

impl<'s> Flat<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let Snapshot { host, processes, listeners } = snapshot;
        let (mut paths, mut doubts) = (Places::new(), Places::new());
        let processes = processes.iter().map(|Process { pid, started, netns, cgroup }| {
            (*pid, *started, *netns, paths.place(&**cgroup))
        });
        let processes = processes.collect();
        let listeners = listeners.iter().map(|listener| {
            let Listener { netns, address, port, holders, doubt } = listener;
            let holder = |Holder { pid, cgroup }: &'s Holder| (*pid, paths.place(&**cgroup));
            FlatListener {
                netns: *netns,
                address: *address,
                port: *port,
                holders: holders.iter().map(holder).collect(),
                doubt: doubt.as_ref().map(|doubt| doubts.place(doubt)),
            }
        });
        let listeners = listeners.collect();
        let doubts = doubts.values.into_iter().cloned().collect();
        Self { host: *host, paths: paths.values, doubts, processes, listeners }
    }

    /// Nothing where a place is none.
    fn whole(self) -> Option<Snapshot> {
        let Self { host, paths, doubts, processes, listeners } = self;
        let paths: Vec<Arc<str>> = paths.into_iter().map(Arc::from).collect();
        let path = |place: u32| paths.get(usize::try_from(place).ok()?).cloned();
        let doubt = |place: u32| doubts.get(usize::try_from(place).ok()?).cloned();
        let process = |(pid, started, netns, place)| {
            Some(Process { pid, started, netns, cgroup: path(place)? })
        };
        let holder = |(pid, place)| Some(Holder { pid, cgroup: path(place)? });
        let listener = |FlatListener { netns, address, port, holders, doubt: place }| {
            let holders = holders.into_iter().map(holder).collect::<Option<_>>()?;
            let doubt = match place {
                Some(place) => Some(doubt(place)?),
                None => None,
            };
            Some(Listener { netns, address, port, holders, doubt })
        };
        let processes = processes.into_iter().map(process).collect::<Option<_>>()?;
        let listeners = listeners.into_iter().map(listener).collect::<Option<_>>()?;
        Some(Snapshot { host, processes, listeners })
    }
}

// === impl Places ===

impl<T: Copy + Eq + Hash> Places<T> {
    fn new() -> Self {
        Self { places: HashMap::new(), values: vec![] }
    }

    fn place(&mut self, value: T) -> u32 {
        let Self { places, values } = self;
        *places.entry(value).or_insert_with(|| {
            values.push(value);
            // There are no more values than rows and processes.
            u32::try_from(values.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::{
        listeners::{self, Held, Payer, ROWS_OF_ONE, Row, Rows},
        node::{processes::Processes, protocol, stat},
    };

    /// An address of all its bytes.
    const LONG: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 7);

    /// A process in the deepest cgroup of which a kernel tells.
    fn mk_process(pod: u32, pid: u32) -> Process {
        let below = "/".to_owned() + &"x".repeat(254);
        let pod = format!("{pod:08}-0000-4000-8000-000000000000");
        let own = format!("0::/kubepods/burstable/pod{pod}/{}", "0123456789abcdef".repeat(4));
        let lines = own + &below.repeat(15) + "\n";
        let cgroup = stat::cgroup(lines.as_bytes()).unwrap().into();
        Process { pid, started: 5, netns: Cookie(u64::from(pid >> 16)), cgroup }
    }

    /// What is told of so many pods of which each has all the rows that it may have, with so many listeners.
    fn crowded(n_pods: u32, n_listeners: u16) -> Snapshot {
        let (mut rows, mut processes) = (Rows::default(), vec![]);
        for pod in 0..n_pods {
            let ports = || (1..=n_listeners).map(|port| port.try_into().unwrap());
            let of_pod = (0..).flat_map(|n| ports().map(move |port| (((pod + 2) << 16) + n, port)));
            for (pid, port) in of_pod.take(ROWS_OF_ONE) {
                if processes.last().is_none_or(|last: &Process| last.pid != pid) {
                    processes.push(mk_process(pod, pid));
                }
                let (netns, address) = (Cookie(u64::from(pid >> 16)), LONG.into());
                let held_by = Some(Held { started: 5, pid });
                let payer = || Payer::Pod(["a", "b", "c", "d"][pod as usize]);
                rows.push(Row { netns, address, port, held_by }, payer);
            }
        }
        let processes: Processes = processes.into_iter().collect();
        let cgroup_of = |held| processes.get(held).map(|process| process.cgroup.clone());
        let listeners = listeners::join(&rows.into_parts().0, cgroup_of);
        let witnesses = crate::identity::witnesses(processes.iter());
        let processes = witnesses.into_iter().cloned().collect();
        Snapshot { host: Cookie(1), processes, listeners }
    }

    #[track_caller]
    fn check(n_pods: u32, n_listeners: u16, most: usize) {
        let snapshot = crowded(n_pods, n_listeners);
        let n_rows = snapshot.listeners.iter().map(|one| one.holders.len()).sum::<usize>();
        assert_eq!(n_rows, ROWS_OF_ONE * n_pods as usize);
        let bytes = protocol::to_bytes(&snapshot);
        assert!(bytes.len() <= most, "{} bytes", bytes.len());
        let read: Snapshot = protocol::read(&bytes).unwrap();
        assert_eq!(read, snapshot);
        let mut paths = read.listeners.iter().flat_map(|one| &one.holders).map(|one| &one.cgroup);
        let first = paths.next().unwrap();
        let n_shared = paths.filter(|path| Arc::ptr_eq(path, first)).count();
        assert_eq!(n_shared, ROWS_OF_ONE - 1);
    }

    #[test]
    fn the_largest_pod_is_small_whatever_it_names_its_cgroups() {
        check(1, 300, 512 << 10);
        check(1, 60_000, 3 << 20);
    }

    #[test]
    fn so_are_as_many_as_there_is_room_for() {
        check(4, 300, 2 << 20);
    }

    #[test]
    fn a_doubt_that_all_listeners_share_travels_once() {
        let why: Arc<str> = "x".repeat(200).into();
        let mut snapshot = crowded(1, 300);
        for listener in &mut snapshot.listeners {
            listener.doubt = Some(Doubt::HolderHidden { pid: 7, why: Arc::clone(&why) });
        }
        let bytes = protocol::to_bytes(&snapshot);
        assert!(bytes.len() < 512 << 10, "{} bytes", bytes.len());
        assert_eq!(protocol::read::<Snapshot>(&bytes).unwrap(), snapshot);
    }

    #[test]
    fn a_place_that_is_none_is_no_snapshot() {
        let path = vec!["/a"];
        for (of_process, of_holder, doubt) in
            [(0, 0, Some(0)), (1, 0, None), (0, 1, None), (0, 0, None)]
        {
            let listener = FlatListener {
                netns: Cookie(2),
                address: LONG.into(),
                port: NonZeroU16::MIN,
                holders: vec![(7, of_holder)],
                doubt,
            };
            let flat = Flat {
                host: Cookie(1),
                paths: path.clone(),
                doubts: vec![],
                processes: vec![(7, 5, Cookie(2), of_process)],
                listeners: vec![listener],
            };
            let is_whole = (of_process, of_holder, doubt) == (0, 0, None);
            let read = protocol::read::<Snapshot>(&protocol::to_bytes(&flat));
            assert_eq!(read.is_ok(), is_whole, "{of_process} {of_holder} {doubt:?}");
        }
    }
}
