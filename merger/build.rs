//! Finds the kernel part that `cargo xtask build-ebpf` made, and says that command where it is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".."));
    let object = workspace.join("target/ebpf/merger");
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env=MERGER_EBPF_OBJECT={}", object.display()),
        Err(_) => {
            println!("cargo::error=the kernel part is not built: run `cargo xtask build-ebpf`");
        }
    }
    let sources = ["merger-ebpf/src", "merger-common/src"].map(|path| workspace.join(path));
    for source in &sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    if let (Some(built), Some(written)) =
        (modified(&object), sources.iter().filter_map(newest).max())
        && built < written
    {
        println!(
            "cargo::warning=the kernel part is older than its sources: run `cargo xtask build-ebpf`"
        );
    }
}

fn newest(directory: &PathBuf) -> Option<SystemTime> {
    fs::read_dir(directory).ok()?.flatten().filter_map(|file| modified(&file.path())).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
