//! `/run/merger-demo`: the demo's files, its lock, and its memory of what it made.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rustix::{fs::Mode, process::umask};

use super::leftovers;
use crate::screen;

/// Where it is. Envoy's configuration names it too.
pub(super) const PATH: &str = "/run/merger-demo";

/// The directory while this process holds it.
///
/// The lock is on the directory itself, so the kernel lifts it however the process ends, and no
/// lock file is left.
pub(super) struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

// === impl RunDirectory ===

impl RunDirectory {
    /// Takes the directory, and clears away what an earlier demo was not able to.
    pub(super) fn take() -> anyhow::Result<Self> {
        // The sidecar's user reads most of what root is about to write.
        umask(Mode::from_raw_mode(0o022));
        let directory = Self { path: PATH.into(), _lock: lock()? };
        let found = leftovers::find();
        if !found.is_empty() {
            screen::headline("An earlier demo was killed; clearing what it left");
            screen::step(&found.to_string());
        }
        if let Some(problem) = directory.clear().first() {
            bail!("cannot clear what an earlier demo left: {problem}");
        }
        Ok(directory)
    }

    /// Clears and removes it. What could not be removed is in the answer.
    pub(super) fn release(self) -> Vec<String> {
        let mut problems = self.clear();
        if let Err(error) = fs::remove_dir(&self.path) {
            problems.push(format!("{PATH}: {error}"));
        }
        problems
    }

    /// Notes a cgroup that is about to be made.
    pub(super) fn note_cgroup(&self, path: &Path) -> io::Result<()> {
        let mut notes = OpenOptions::new().create(true).append(true).open(self.notes())?;
        writeln!(notes, "{}", path.display())
    }

    /// Writes a file that every user may read.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn clear(&self) -> Vec<String> {
        let mut problems = leftovers::clear(&self.noted_cgroups());
        let Ok(entries) = fs::read_dir(&self.path) else { return problems };
        for path in entries.flatten().map(|entry| entry.path()) {
            // The notes go last, and only when they have served.
            if path == self.notes() && !problems.is_empty() {
                continue;
            }
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = removed {
                problems.push(format!("{}: {error}", path.display()));
            }
        }
        problems
    }

    fn notes(&self) -> PathBuf {
        self.path.join("cgroups")
    }

    fn noted_cgroups(&self) -> Vec<PathBuf> {
        let notes = fs::read_to_string(self.notes()).unwrap_or_default();
        notes.lines().map(PathBuf::from).collect()
    }
}

fn lock() -> anyhow::Result<File> {
    loop {
        fs::create_dir_all(PATH).context(PATH)?;
        let directory = File::open(PATH).context(PATH)?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another demo is running: end it by Ctrl-C first; it holds {PATH}")
            }
            Err(TryLockError::Error(error)) => return Err(error).context(PATH),
        }
        // A demo that ended in between removed the directory that was opened.
        if fs::metadata(PATH)
            .is_ok_and(|now| directory.metadata().is_ok_and(|m| m.ino() == now.ino()))
        {
            return Ok(directory);
        }
    }
}
