//! `image`: merger as an OCI image, made without Docker and without root.
//!
//! In it are the program, what it is linked with, and the few files that it reads: no shell, and
//! nothing with a bit that grants rights. Equal files give an equal archive, byte for byte.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::{built, ebpf, screen, setup, shell};

mod content;
#[cfg(test)]
mod dockerfile;
mod files;
mod layout;
mod name;

use files::Files;
use layout::Image;
use name::Name;

/// Make an image of merger for a container runtime
///
/// Compiles the kernel part and merger, and puts the program, the dynamic loader, its libraries, two
/// users without rights and this machine's certificate authorities into an archive of the OCI image
/// layout: one layer, no shell. Needs neither Docker nor root; what the build lacks it installs as
/// `cargo xtask setup --only ebpf` does.
///
/// The image is for this machine's kind of processor. Of a node it needs Linux 5.10 or newer, and none of
/// its libraries.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  ctr -n k8s.io images import target/image/merger.tar          # on a node, as root
  cargo xtask image --tag registry.example/merger:0.1.0
  skopeo copy oci-archive:target/image/merger.tar docker://registry.example/merger:0.1.0")]
pub(crate) struct Options {
    /// Where the archive goes (default: target/image/merger.tar)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How merger is compiled: `dev` takes less time, and is slow to merge
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,

    /// What a runtime calls the image once it is imported, with its registry; deploy/base asks for the
    /// default
    #[arg(long, value_name = "NAME:TAG", default_value_t = Name::default())]
    tag: Name,

    /// A merger that is compiled already, such as the one of a test, in place of compiling it
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    program: Option<PathBuf>,

    /// Also put the files of the image below this directory, which must be empty or not exist: for a
    /// Dockerfile
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    Release,
    Dev,
}

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(directory) = &options.files {
        let mut entries = directory.read_dir().into_iter().flatten();
        ensure!(entries.next().is_none(), "{} is not empty: name another", directory.display());
    }
    let program = options.program.clone().map_or_else(|| build(options.profile), Ok)?;

    screen::headline("Image");
    let output = options.output.clone().unwrap_or_else(|| directory().join("merger.tar"));
    let beside = output.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(beside).with_context(|| beside.display().to_string())?;
    let stripped = output.with_extension("stripped");
    strip(&program, &stripped)?;
    let files = content::gather(&stripped)?;
    fs::remove_file(&stripped).with_context(|| stripped.display().to_string())?;
    tell(&files);
    let image = Image::new(&files, &options.tag)?;
    let archive = image.archive()?;
    write(&output, &archive)?;
    if let Some(directory) = &options.files {
        files.unpack(directory)?;
        screen::step(&format!("the files of the image are below {}", directory.display()));
    }
    let size = megabytes(archive.len());
    screen::verdict(true, &format!("{}, {size}, {}", output.display(), options.tag));
    screen::step(&format!("its digest is {}", image.digest()));
    screen::step("a node takes it, as root, by:");
    screen::line(&format!("    ctr -n k8s.io images import {}", output.display()));
    Ok(())
}

/// Where the archive lies if nobody says otherwise.
fn directory() -> PathBuf {
    crate::workspace().join("target/image")
}

/// Compiles merger, with what that takes.
fn build(profile: Profile) -> anyhow::Result<PathBuf> {
    setup::run(&setup::Options { only: Some(setup::Only::Ebpf) })?;
    screen::headline("Build");
    let is_release = profile == Profile::Release;
    let object = ebpf::build(is_release)?;
    screen::step(&format!("the kernel part is {}", object.display()));
    let mut cargo = shell::cargo(["build", "--locked", "--package", "merger", "--bin", "merger"]);
    if is_release {
        cargo.arg("--release");
    }
    screen::command(&shell::spelled(&cargo));
    built::build(&mut cargo)?.program("merger")
}

/// Makes a copy of a program that has no debug information. The names of its functions stay, since a panic
/// tells them.
fn strip(program: &Path, stripped: &Path) -> anyhow::Result<()> {
    let mut strip = shell::command(["strip", "--strip-debug", "-o"]);
    shell::run(strip.arg(stripped).arg(program)).context("strip is of Debian's package binutils")
}

fn tell(files: &Files) {
    for (path, bytes) in files.iter() {
        screen::step(&format!("{:>9}  {}", megabytes(bytes.len()), path.display()));
    }
}

/// By a rename, so that nobody who reads it meanwhile gets half of it.
fn write(output: &Path, archive: &[u8]) -> anyhow::Result<()> {
    let fresh = output.with_extension("new");
    fs::write(&fresh, archive).with_context(|| fresh.display().to_string())?;
    fs::rename(&fresh, output).with_context(|| format!("cannot write {}", output.display()))
}

/// A size for people, in tenths of a MiB; what is smaller is counted in bytes.
fn megabytes(n_bytes: usize) -> String {
    let tenths = (n_bytes * 10).div_ceil(1024 * 1024);
    if n_bytes < 64 * 1024 {
        format!("{n_bytes} B")
    } else {
        format!("{}.{} MiB", tenths / 10, tenths % 10)
    }
}
