//! The files of an image, and the layer that they are: a tar archive that depends on nothing else.
//!
//! Sources: <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md>, and for the format
//! <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>, "ustar".

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tar::{Builder, EntryType, Header};

/// Files by their absolute paths, in that order. Directories come by themselves.
#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<PathBuf, File>,
}

struct File {
    mode: u32,
    bytes: Vec<u8>,
}

/// What everybody may do with a program, a directory, and a file that is only read. Nothing is written
/// by anybody but root, and nothing gives rights.
const PROGRAM: u32 = 0o755;
const DIRECTORY: u32 = 0o755;
const PLAIN: u32 = 0o644;

// === impl Files ===

impl Files {
    /// A program, a dynamic loader or a library.
    pub(super) fn add_program(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.files.insert(path.into(), File { mode: PROGRAM, bytes });
    }

    pub(super) fn add(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.files.insert(path.into(), File { mode: PLAIN, bytes });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files.iter().map(|(path, file)| (path.as_path(), file.bytes.as_slice()))
    }

    /// The layer, uncompressed. All of it is root's and of 1970, and each file comes after the
    /// directories that it is in.
    pub(super) fn layer(&self) -> io::Result<Vec<u8>> {
        let mut entries: BTreeMap<&Path, Option<&File>> = BTreeMap::new();
        for (path, file) in &self.files {
            entries.extend(path.ancestors().skip(1).map(|directory| (directory, None)));
            entries.insert(path, Some(file));
        }
        entries.remove(Path::new("/"));
        let mut layer = Builder::new(Vec::new());
        for (path, file) in entries {
            let path = path.strip_prefix("/").unwrap_or(path);
            let (kind, mode, bytes) = match file {
                Some(File { mode, bytes }) => (EntryType::Regular, *mode, bytes.as_slice()),
                None => (EntryType::Directory, DIRECTORY, [].as_slice()),
            };
            append(&mut layer, (kind, mode), path, bytes)?;
        }
        layer.into_inner()
    }

    /// Writes them below a directory.
    pub(super) fn unpack(&self, directory: &Path) -> anyhow::Result<()> {
        for (path, File { mode, bytes }) in &self.files {
            let place = directory.join(path.strip_prefix("/").unwrap_or(path));
            let parent = place.parent().unwrap_or(directory);
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            fs::write(&place, bytes).with_context(|| place.display().to_string())?;
            fs::set_permissions(&place, fs::Permissions::from_mode(*mode))
                .with_context(|| place.display().to_string())?;
        }
        Ok(())
    }
}

/// One entry, which says nothing of this machine or this hour.
pub(super) fn append(
    archive: &mut Builder<Vec<u8>>,
    (kind, mode): (EntryType, u32),
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn some() -> Files {
        let mut files = Files::default();
        files.add("/etc/passwd", b"root".to_vec());
        files.add_program("/usr/bin/merger", b"program".to_vec());
        files.add_program("/lib64/ld.so", b"loader".to_vec());
        files
    }

    #[test]
    fn a_layer_has_each_file_after_its_directories_and_all_of_it_is_roots() {
        let layer = some().layer().unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!(header.uid().unwrap(), 0);
            assert_eq!(header.gid().unwrap(), 0);
            assert_eq!(header.mtime().unwrap(), 0);
            let mut bytes = String::new();
            entry.read_to_string(&mut bytes).unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            found.push((path, header.entry_type(), header.mode().unwrap(), bytes));
        }
        let directory = |path: &str| (path.to_owned(), EntryType::Directory, 0o755, String::new());
        let file = |path: &str, mode, bytes: &str| {
            (path.to_owned(), EntryType::Regular, mode, bytes.to_owned())
        };
        let expected = [
            directory("etc"),
            file("etc/passwd", 0o644, "root"),
            directory("lib64"),
            file("lib64/ld.so", 0o755, "loader"),
            directory("usr"),
            directory("usr/bin"),
            file("usr/bin/merger", 0o755, "program"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_order_in_which_files_are_added_is_not_in_the_layer() {
        let mut other = Files::default();
        for (path, bytes) in some().iter().collect::<Vec<_>>().into_iter().rev() {
            if path.starts_with("/etc") {
                other.add(path, bytes.to_vec());
            } else {
                other.add_program(path, bytes.to_vec());
            }
        }
        assert_eq!(other.layer().unwrap(), some().layer().unwrap());
    }
}
