//! An initramfs as the kernel reads it: a cpio archive of the format "newc".
//!
//! Source: <https://github.com/torvalds/linux/blob/v6.12/Documentation/driver-api/early-userspace/buffer-format.rst>

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Files by their absolute paths. Directories come by themselves.
#[derive(Default)]
pub(super) struct Archive {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Modes of an entry: its type, and what everybody may do.
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// The name that ends an archive.
const END: &str = "TRAILER!!!";

// === impl Archive ===

impl Archive {
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Every file may be executed: which of them is a program is for the guest to know.
    pub(super) fn add(&mut self, path: impl Into<PathBuf>, content: Vec<u8>) {
        self.files.insert(path.into(), content);
    }

    /// An entry comes after the directory that it is in, as the kernel makes one at a time.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut entries: BTreeMap<&Path, Option<&[u8]>> = BTreeMap::new();
        for (path, content) in &self.files {
            entries.extend(path.ancestors().skip(1).map(|directory| (directory, None)));
            entries.insert(path, Some(content));
        }
        entries.remove(Path::new("/"));
        let mut bytes = Vec::new();
        for (inode, (path, content)) in (1..).zip(entries) {
            let name = path.to_string_lossy();
            let mode = if content.is_some() { FILE } else { DIRECTORY };
            entry(&mut bytes, inode, mode, name.trim_start_matches('/'), content.unwrap_or(&[]));
        }
        entry(&mut bytes, 0, 0, END, &[]);
        bytes
    }
}

/// A header of thirteen numbers, the name, the content, each padded to four bytes.
fn entry(bytes: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) {
    let (n_name, n_content) = (name.len() + 1, content.len());
    // The magic, then: owner, group, links, time; size; device twice; the name; no checksum.
    let header = format!(
        "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{n_content:08x}\
         {0:08x}{0:08x}{0:08x}{0:08x}{n_name:08x}{0:08x}",
        0, 1
    );
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and contents of an archive, read by the rules of the format alone.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = vec![];
        let mut at = 0;
        loop {
            let field = |n: usize| {
                let digits = std::str::from_utf8(&bytes[at + 6 + 8 * n..][..8]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, n_name) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[at + 110..at + 110 + n_name - 1].to_vec()).unwrap();
            let content = (at + 110 + n_name).next_multiple_of(4);
            if name == END {
                return found;
            }
            found.push((name, mode, bytes[content..content + size].to_vec()));
            at = (content + size).next_multiple_of(4);
        }
    }

    #[test]
    fn a_file_comes_after_its_directories_with_its_bytes() {
        let mut archive = Archive::default();
        archive.add("/usr/bin/sh", b"12345".to_vec());
        archive.add("/init", b"1".to_vec());
        let directory = |name: &str| (name.to_owned(), DIRECTORY, vec![]);
        let expected = [
            ("init".to_owned(), FILE, b"1".to_vec()),
            directory("usr"),
            directory("usr/bin"),
            ("usr/bin/sh".to_owned(), FILE, b"12345".to_vec()),
        ];
        assert_eq!(read(&archive.bytes()), expected);
    }
}
