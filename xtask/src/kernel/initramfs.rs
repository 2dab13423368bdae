//! The world of a guest: the tests, the programs that they call, what those are linked with, and the
//! modules that a node has loaded.
//!
//! Each program is this machine's, at the path that it has here, so that a test finds in a guest what
//! it finds in its ring. What PID 1 does itself it does by busybox.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{
    archive::Archive,
    package::{Kernel, directory},
    programs::Programs,
};
use crate::{built, shell};

/// What the tests call: see `Command::new` and `Pod` in `merger/tests`.
const PROGRAMS: &[&str] = &["ip", "mount", "nft", "nsenter", "setpriv", "sh", "sleep", "unshare"];

/// What a node has loaded, and what the tests count and redirect packets with, in the order of
/// dependency. 5.10 has no MPTCP, and what came later has parts of nftables in `nf_tables` itself.
const MODULES: &[&str] = &[
    "inet_diag",
    "tcp_diag",
    "mptcp_diag",
    "veth",
    "libcrc32c",
    "nfnetlink",
    "nf_tables",
    "nft_counter",
    "nft_objref",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
];

/// PID 1.
const INIT: &str = include_str!("init.sh");

/// The world in which these tests run on this kernel, as one file's bytes.
pub(super) fn make(
    kernel: &Kernel,
    programs: &Programs,
    filters: &[String],
) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.add("/init", INIT.into());
    archive.add("/tests/arguments", filters.join(" ").into());
    add(&mut archive, &find("busybox")?, Path::new("/bin/busybox"))?;
    for program in PROGRAMS {
        let program = find(program)?;
        add(&mut archive, &program, &program)?;
    }
    add_stripped(&mut archive, &programs.merger, &programs.merger)?;
    for (ring, program) in &programs.rings {
        add_stripped(&mut archive, program, &Path::new("/tests").join(ring))?;
    }
    add_modules(&mut archive, kernel)?;
    Ok(archive.bytes())
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    shell::find(program)
        .with_context(|| format!("{program} is missing: run `cargo xtask setup --only kernels`"))
}

/// Three programs with the names of their functions are 130 MB, without them 40.
fn add_stripped(archive: &mut Archive, program: &Path, place: &Path) -> anyhow::Result<()> {
    let stripped = directory().join("stripped");
    shell::output(shell::command(["strip", "-o"]).arg(&stripped).arg(program))?;
    add(archive, &stripped, place)
}

fn add(archive: &mut Archive, program: &Path, place: &Path) -> anyhow::Result<()> {
    archive.add(place, fs::read(program).with_context(|| program.display().to_string())?);
    for library in built::libraries(program) {
        if !archive.has(&library) {
            let bytes = fs::read(&library).with_context(|| library.display().to_string())?;
            archive.add(library, bytes);
        }
    }
    Ok(())
}

/// Adds the modules that this kernel has, numbered, uncompressed.
fn add_modules(archive: &mut Archive, kernel: &Kernel) -> anyhow::Result<()> {
    let tree = kernel.tree();
    let mut all = Vec::new();
    // Debian 13 has moved everything below /usr.
    for modules in [tree.join("lib/modules"), tree.join("usr/lib/modules")] {
        if modules.is_dir() {
            collect(&modules, &mut all)?;
        }
    }
    for (n, module) in MODULES.iter().enumerate() {
        let names = [format!("{module}.ko"), format!("{module}.ko.xz")];
        let Some(path) = all.iter().find(|path| names.iter().any(|name| path.ends_with(name)))
        else {
            continue;
        };
        let bytes = if path.extension().is_some_and(|end| end == "xz") {
            let mut xz = shell::command(["xz", "--decompress", "--stdout"]);
            let output = xz.arg(path).output().with_context(|| shell::spelled(&xz))?;
            ensure!(output.status.success(), "{} cannot be unpacked", path.display());
            output.stdout
        } else {
            fs::read(path).with_context(|| path.display().to_string())?
        };
        archive.add(format!("/modules/{n:02}-{module}.ko"), bytes);
    }
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = directory.read_dir().with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        // A link leads to the headers, which are another package's.
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
