//! Rung 1: the kernel part says that something changed, and what is.
//!
//! Changes are a hint and the snapshot is the truth. The kernel part marks a namespace before the
//! socket's state is stored, so whoever is woken waits a moment, takes the marks away, and only
//! then looks: what happens after the marks are gone wakes it again.
//!
//! Nothing is pinned. With [`Sockets`] the programs leave the kernel.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    num::NonZeroU16,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use aya::{
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::ProgramError,
};
use aya_log::EbpfLogger;
use merger_common::{FAMILY_V4, FAMILY_V6, Row as Record};

use crate::{
    identity::Cookie,
    listeners::{Held, Row},
};

pub use self::parts::Parts;

/// What one walk may take, unless a test says otherwise: processes that share a table of files have it
/// walked once for each, at the cost of one of them. The kernel pauses after a million files at the
/// latest, so it is ended soon after.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// Records that one read of the iterator asks for: more than the 32 KiB that the kernel gives at a
/// time, `PAGE_SIZE << 3` in <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c>.
const RECORDS_PER_READ: usize = 1024;

mod command;
mod parts;

/// The hook and the walk, and with them the snapshots. Both end with it.
pub struct Sockets {
    /// It is open, and that is all that it is for.
    _hook: OwnedFd,
    walk: Option<OwnedFd>,
    lost: PerCpuArray<MapData, u64>,
    ticks_per_second: u64,
    /// What a walk may take.
    pub within: Duration,
}

/// The marks of the kernel part.
pub struct Changes {
    ring: RingBuf<MapData>,
    dirty: HashMap<MapData, u64, u8>,
    logs: Option<EbpfLogger<Forward>>,
}

/// Hands what the kernel part logs to `tracing`.
struct Forward;

/// Why the kernel part did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded object is not the one that this agent was written for.
    #[error("the kernel part has no {0}: run `cargo xtask build-ebpf` and build again")]
    Absent(&'static str),
    /// A map could not be used.
    #[error("a map of the kernel part cannot be used")]
    Map(#[from] MapError),
    /// The log of the kernel part could not be opened.
    #[error("the log of the kernel part cannot be opened")]
    Log(#[from] aya_log::Error),
    /// A program was loaded and does not say what it is.
    #[error("a program of the kernel part cannot be used")]
    Program(#[from] ProgramError),
    /// The tables of files are too large to be walked.
    #[error("a walk over open files takes longer than {within:?}")]
    Deadline {
        /// [`Sockets::within`].
        within: Duration,
    },
    /// Something could not be attached, or a walk not be begun or read.
    #[error("the kernel part cannot be read")]
    Read(#[from] io::Error),
}

/// Takes over the kernel part.
pub fn open(parts: Parts) -> Result<(Sockets, Changes), Error> {
    let Parts { changes, dirty, lost, hook, walk, program } = parts;
    let ring = RingBuf::try_from(Map::RingBuf(parts::map(changes)?))?;
    let dirty = HashMap::try_from(Map::HashMap(parts::map(dirty)?))?;
    let lost = PerCpuArray::try_from(Map::PerCpuArray(parts::map(lost)?))?;
    // The kernel part says nothing where nobody would read it.
    let is_logged = log::Log::enabled(&Forward, &log::Metadata::builder().build());
    let logs = is_logged.then(|| EbpfLogger::init_from_id_with_logger(program, Forward));
    let logs = logs.transpose()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let sockets = Sockets { _hook: hook, walk, lost, ticks_per_second, within: DEADLINE };
    Ok((sockets, Changes { ring, dirty, logs }))
}

// === impl Sockets ===

impl Sockets {
    /// Tells every listening socket of the node, once for each descriptor that refers to it, with the number
    /// of the socket's inode, [`Socket::inode`](super::Socket::inode). Where the kernel part has no cookies,
    /// each namespace is the number of its inode.
    pub fn snapshot(&mut self, mut take: impl FnMut(Row, u64)) -> Result<(), Error> {
        let mut walk = self.walk()?;
        let mut buffer = vec![0; RECORDS_PER_READ * size_of::<Record>()];
        let mut filled = 0;
        let within = self.within;
        let start = Instant::now();
        loop {
            if start.elapsed() > within {
                return Err(Error::Deadline { within });
            }
            match walk.read(&mut buffer[filled..]) {
                Ok(0) => return Ok(()),
                Ok(n) => filled += n,
                // The kernel pauses after a million files without a socket among them: `MAX_ITER_OBJECTS`
                // in <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c>.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            // A read may end inside a record; its rest comes with the next.
            let whole = filled - filled % size_of::<Record>();
            for record in buffer[..whole].chunks_exact(size_of::<Record>()) {
                self.row(record).into_iter().for_each(|(row, inode)| take(row, inode));
            }
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    /// Whether the walk was loaded.
    #[must_use]
    pub fn has_walk(&self) -> bool {
        self.walk.is_some()
    }

    /// Changes that the kernel part had no room for, since it was loaded.
    pub fn n_lost(&self) -> Result<u64, Error> {
        Ok(self.lost.get(&0, 0)?.iter().sum())
    }

    /// A walk goes through the tables of files once, so each snapshot has its own.
    fn walk(&self) -> Result<File, Error> {
        let link = self.walk.as_ref().ok_or(Error::Absent("walk over open files"))?;
        Ok(command::walk(link)?.into())
    }

    /// Nothing for a record that no kernel writes: an unknown family, or port 0.
    fn row(&self, bytes: &[u8]) -> Option<(Row, u64)> {
        let record = decode(bytes)?;
        let [a, b, c, d, ..] = record.address;
        let address = match record.family {
            FAMILY_V4 => IpAddr::from([a, b, c, d]),
            FAMILY_V6 => IpAddr::from(record.address).to_canonical(),
            _ => return None,
        };
        let started = record.started / (1_000_000_000 / self.ticks_per_second);
        let netns = Cookie(match record.netns {
            0 => record.inum.into(),
            cookie => cookie,
        });
        let port = NonZeroU16::new(record.port)?;
        let held_by = Some(Held { started, pid: record.tgid });
        Some((Row { netns, address, port, held_by }, record.inode.into()))
    }
}

// === impl Changes ===

impl Changes {
    /// Takes all marks away, and returns where they were. To be called before the snapshot.
    ///
    /// On kernels without cookies they are inode numbers, and nothing is to be concluded from them.
    pub fn clear(&mut self) -> Vec<Cookie> {
        let Self { ring, dirty, logs } = self;
        let mut marked = vec![];
        while let Some(record) = ring.next() {
            marked.extend(netns_of(&record));
        }
        for netns in &marked {
            // A mark that is not there needs no taking away.
            let _ = dirty.remove(netns);
        }
        logs.iter_mut().for_each(EbpfLogger::flush);
        marked.into_iter().map(Cookie).collect()
    }
}

impl AsFd for Changes {
    /// Readable while some namespace is marked whose record was not taken.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

// === impl Forward ===

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        tracing::enabled!(target: "merger::kernel", tracing::Level::DEBUG)
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "merger::kernel", "{}", record.args());
    }

    fn flush(&self) {}
}

/// [`merger_common::Change::netns`], which comes first.
fn netns_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().copied().map(u64::from_ne_bytes)
}

/// The fields of [`Record`] in their order; as it has no padding, they are all that it is.
fn decode(bytes: &[u8]) -> Option<Record> {
    let (netns, bytes) = bytes.split_first_chunk()?;
    let (started, bytes) = bytes.split_first_chunk()?;
    let (inum, bytes) = bytes.split_first_chunk()?;
    let (tgid, bytes) = bytes.split_first_chunk()?;
    let (address, bytes) = bytes.split_first_chunk()?;
    let (port, bytes) = bytes.split_first_chunk()?;
    let (family, bytes) = bytes.split_first_chunk()?;
    let (inode, _) = bytes.split_first_chunk()?;
    Some(Record {
        netns: u64::from_ne_bytes(*netns),
        started: u64::from_ne_bytes(*started),
        inum: u32::from_ne_bytes(*inum),
        tgid: u32::from_ne_bytes(*tgid),
        address: *address,
        port: u16::from_ne_bytes(*port),
        family: u16::from_ne_bytes(*family),
        inode: u32::from_ne_bytes(*inode),
    })
}
