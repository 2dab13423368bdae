//! What is in the image: the program, what it is linked with, and what those read.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};

use super::{files::Files, layout::ENTRYPOINT};
use crate::{built, screen};

/// The users of `merger::node::confinement`, by names that a list of processes can show.
const USERS: &str = "\
root:x:0:0:root:/:/nonexistent
merger-watcher:x:65531:65531:merger, finds the pods:/:/nonexistent
merger-agent:x:65532:65532:merger, reads metrics:/:/nonexistent
";

const GROUPS: &str = "\
root:x:0:
merger-watcher:x:65531:
merger-agent:x:65532:
";

/// Debian's bundle, of its package ca-certificates: for the API server of a kubeconfig whose certificate
/// is a public authority's. That of a cluster is mounted by the kubelet.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Gathers the files, this program in its place.
pub(super) fn gather(program: &Path) -> anyhow::Result<Files> {
    let mut files = Files::default();
    files.add_program(ENTRYPOINT, read(program)?);
    let libraries = built::libraries(program);
    ensure!(
        !libraries.is_empty(),
        "ldd names no library of {}: is it there, of Debian's package libc-bin?",
        program.display()
    );
    for library in libraries {
        let bytes = read(&library)?;
        files.add_program(library, bytes);
    }
    files.add("/etc/passwd", USERS.into());
    files.add("/etc/group", GROUPS.into());
    if Path::new(AUTHORITIES).is_file() {
        files.add(AUTHORITIES, read(Path::new(AUTHORITIES))?);
    } else {
        screen::step(&format!(
            "no {AUTHORITIES} here, so none in the image: it will trust the authority of its cluster \
             alone; Debian's package ca-certificates has the file"
        ));
    }
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_are_those_that_merger_becomes() {
        let path = crate::workspace().join("merger/src/node/confinement.rs");
        let source = fs::read_to_string(path).unwrap();
        for (name, constant) in [("merger-agent", "AGENT"), ("merger-watcher", "WATCHER")] {
            let declared = format!("pub const {constant}: u32 = ");
            let id = source.lines().find_map(|line| line.strip_prefix(&declared)).unwrap();
            let id = id.trim_end_matches(';');
            assert!(USERS.lines().any(|user| user.starts_with(&format!("{name}:x:{id}:{id}:"))));
            assert!(GROUPS.lines().any(|group| group == format!("{name}:x:{id}:")));
        }
    }
}
