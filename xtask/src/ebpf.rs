//! `cargo xtask build-ebpf`: the kernel part, compiled to where `merger/build.rs` looks for it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};

use crate::toolchain;

/// Builds the kernel part and says where the object lies: always `target/ebpf/merger`, wherever
/// cargo's own target directory is, and touched only where it was compiled anew.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let toolchain = toolchain::find()?;
    let target = toolchain::workspace().join("target");
    let directory = target.join("ebpf-build");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(toolchain::workspace())
        .args(["build", "--locked", "--package", "merger-ebpf", "--target", toolchain::TARGET])
        .arg("--target-dir")
        .arg(&directory);
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().with_context(|| format!("cannot start {cargo:?}"))?;
    ensure!(status.success(), "the kernel part does not compile with {toolchain}");
    let profile = if release { "release" } else { "debug" };
    let built = directory.join(toolchain::TARGET).join(profile).join("merger-ebpf");
    publish(&built, target.join("ebpf/merger"))
}

fn publish(built: &Path, object: PathBuf) -> Result<PathBuf> {
    let bytes = fs::read(built).with_context(|| format!("no object at {}", built.display()))?;
    // A newer file makes cargo embed it again, and an older one than its sources makes it warn.
    let is_newer = modified(built) > modified(&object);
    if !is_newer && fs::read(&object).is_ok_and(|old| old == bytes) {
        return Ok(object);
    }
    let directory = object.parent().context("the object lies in a directory")?;
    fs::create_dir_all(directory)?;
    // By a rename, so that a build that runs at the same time never embeds half an object.
    let fresh = object.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::rename(&fresh, &object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(object)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
