//! The pods of a directory of manifests: no cluster and no runtime is asked.
//!
//! Every file of the directory ending in `.yaml`, `.yml` or `.json` is read, and read again when the
//! directory changes. A broken one is named and skipped. The uid of a manifest ties the pod to its
//! cgroup, so manifests come from a cluster (`kubectl get pods -o yaml`) or from whoever makes the
//! cgroups.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use inotify::{EventMask, Inotify, WatchMask, Watches};
use tokio::{sync::watch, time};
use tokio_stream::{Stream, StreamExt as _};
use tracing::{debug, info, warn};

use self::parse::Stated;
use super::{Known, Problem, Reader, Sender, claim, publish};
use crate::target::{Pod, PodRef};

mod parse;

/// A manifest larger than this is skipped.
const MAX_FILE: u64 = 4 << 20;

/// Of more files than this, the last ones by name are skipped.
const MAX_FILES: usize = 4096;

/// Whoever writes one file often writes several.
const SETTLE: Duration = Duration::from_millis(20);

/// Should the kernel's queue of notices have run over, this is how long a change may go unseen.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// A file counts when it is whole: closed after writing, or moved into place.
const MASK: WatchMask = WatchMask::CLOSE_WRITE.union(WatchMask::MOVE).union(WatchMask::DELETE);

/// Why a directory cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no directory, or may not be read.
    #[error("cannot read the manifests in {}: name a directory of Pod manifests, as in --pods manifests:DIR", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not for this user.
    #[error("user {uid} may not read the manifests in {}: let everybody read them (chmod o+rx)", dir.display())]
    Forbidden {
        /// The directory.
        dir: PathBuf,
        /// Whom this runs as: the agent is not root.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gives no watch.
    #[error("cannot watch {}: is fs.inotify.max_user_watches used up?", dir.display())]
    Watch {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whether `dir` can be read by this process.
pub fn check(dir: &Path) -> Result<(), Error> {
    fs::read_dir(dir).map(drop).map_err(|source| Error::unread(dir.to_owned(), source))
}

/// Watches `dir`. The future does the work and ends when every reader is gone.
pub fn watch(dir: PathBuf) -> Result<(Reader, impl Future<Output = ()> + Send), Error> {
    check(&dir)?;
    let (watches, changes) =
        changes(&dir).map_err(|source| Error::Watch { dir: dir.clone(), source })?;
    let (sender, reader) = watch::channel(None);
    Ok((reader, run(dir, watches, changes, sender)))
}

// === impl Error ===

impl Error {
    fn unread(dir: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::Forbidden { dir, uid: rustix::process::geteuid().as_raw(), source }
            }
            _ => Self::Directory { dir, source },
        }
    }
}

async fn run(
    dir: PathBuf,
    mut watches: Watches,
    changes: impl Stream<Item = ()> + Send,
    sender: Sender,
) {
    let mut changes = std::pin::pin!(changes);
    loop {
        let here = dir.clone();
        // One that was removed and made again is another directory, and the watch went with the old
        // one. Where it is the same, this changes nothing; where there is none, the look says so.
        let _ = watches.add(&dir, MASK);
        // The directory may lie on a slow disk, and the runtime's threads serve pages.
        match tokio::task::spawn_blocking(move || read(&here)).await {
            Ok(Ok(known)) => publish(&sender, known, |_, Known { pods, problems, .. }| {
                info!(n_pods = pods.len(), n_skipped = problems.len(), "manifests read");
            }),
            // What was known stays known: a directory that cannot be read has not lost its pods.
            Ok(Err(error)) => warn!(dir = %dir.display(), %error, "cannot read the manifests"),
            Err(error) => warn!(dir = %dir.display(), %error, "reading the manifests failed"),
        }
        tokio::select! {
            () = sender.closed() => return,
            _ = time::timeout(LOOK_ANYWAY, changes.next()) => {}
        }
        time::sleep(SETTLE).await;
    }
}

/// Reads all the manifests of `dir` in the order of their names. Of two pods of one name the first
/// counts.
pub fn read(dir: &Path) -> io::Result<Known> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    files.sort();
    if files.len() > MAX_FILES {
        let what = format!("has more than {MAX_FILES} manifests: the last ones are skipped");
        problems.push(Problem { place: dir.display().to_string(), what });
        files.truncate(MAX_FILES);
    }

    let mut stated = Vec::new();
    for file in files {
        let place = file.display().to_string();
        let mut skip = |what| problems.push(Problem { place: place.clone(), what });
        match read_file(&file) {
            Ok(text) => {
                for one in parse::pods(&text) {
                    match one {
                        Ok(one) => stated.push((place.clone(), one)),
                        Err(error) => skip(error.to_string()),
                    }
                }
            }
            // Between the listing and the look it went away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => skip(format!("cannot be read: {error}")),
        }
    }
    let pods = distinct(stated, &mut problems);
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(Known { pods, problems, ..Known::default() })
}

/// Each name and each uid once, in the order of names: that of the first file that has it, and no uid that it
/// only claims if that may be another's.
fn distinct(stated: Vec<(String, Stated)>, problems: &mut Vec<Problem>) -> Vec<Arc<Pod>> {
    let all = || stated.iter().map(|(_, one)| one);
    let mirrors =
        all().filter(|one| one.is_mirror).map(|one| (one.pod.uid.as_str(), &one.pod.name));
    let own = all().filter(|one| !one.is_mirror).map(|one| one.pod.uid.as_str());
    let contested = claim::contested(mirrors, own);
    let mut pods: BTreeMap<PodRef, Arc<Pod>> = BTreeMap::new();
    for (place, Stated { pod, is_mirror }) in stated {
        let mut skip = |what| problems.push(Problem { place: place.clone(), what });
        if is_mirror && contested.contains(&pod.uid) {
            skip(format!("pod {}: {}", pod.name, claim::why(&pod.uid)));
        } else if pods.values().any(|known| known.uid == pod.uid) {
            skip(format!("uid {} stands in an earlier manifest already", pod.uid));
        } else if pods.contains_key(&pod.name) {
            skip(format!("pod {} stands in an earlier manifest already", pod.name));
        } else {
            debug!(file = place, pod = %pod.name, "manifest read");
            pods.insert(pod.name.clone(), Arc::new(pod));
        }
    }
    pods.into_values().collect()
}

fn read_file(file: &Path) -> io::Result<String> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let length = metadata.len();
    if length > MAX_FILE {
        let what = format!("{length} bytes are more than the {MAX_FILE} of the largest manifest");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    fs::read_to_string(file)
}

/// One item for each change of a file in `dir`.
fn changes(dir: &Path) -> io::Result<(Watches, impl Stream<Item = ()> + Send + use<>)> {
    let inotify = Inotify::init()?;
    let mut watches = inotify.watches();
    watches.add(dir, MASK)?;
    let events = inotify.into_event_stream([0; 4096])?;
    let changes = events.map(|event| match event {
        Ok(event) if event.mask.contains(EventMask::Q_OVERFLOW) => debug!("notices were lost"),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot follow the directory of manifests"),
    });
    Ok((watches, changes))
}

#[cfg(test)]
mod tests;
