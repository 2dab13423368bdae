//! The eBPF toolchain: which packages, and how bpf-linker is built.
//!
//! The linker reads the compiler's bitcode, so it has to be built on the compiler's LLVM.

use std::{env, path::PathBuf, process::Command};

use crate::shell;

/// The LLVM of Debian's `rustc-web`.
const DEBIAN_LLVM: &str = "22";

/// Debian's compiler with a precompiled `core` for the kernel's machine.
const DEBIAN_COMPILER: [&str; 4] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-llvm"];

/// What the toolchain needs, present or not.
pub(super) struct Needs {
    pub(super) packages: Vec<String>,
    /// The command that builds the linker, where there is none.
    pub(super) build: Option<Command>,
}

pub(super) fn needs() -> Needs {
    let nightly = nightly_llvm();
    let mut packages = Vec::new();
    if nightly.is_none() {
        packages.extend(DEBIAN_COMPILER.map(str::to_owned));
    }
    if is_present() {
        return Needs { packages, build: None };
    }
    let llvm = nightly.unwrap_or_else(|| DEBIAN_LLVM.to_owned());
    packages.extend([format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]);
    packages.extend(["g++", "libzstd-dev", "zlib1g-dev"].map(str::to_owned));
    Needs { packages, build: Some(build(&llvm)) }
}

/// The LLVM of rustup's nightly, where that has the sources of `core`.
fn nightly_llvm() -> Option<String> {
    let ask = |flags: &[&str]| {
        let mut command = shell::command(["rustup", "run", "nightly", "rustc"]);
        shell::output(command.args(flags)).ok()
    };
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
    let sources = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    let version = ask(&["--version", "--verbose"])?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let major = llvm.split('.').next()?;
    sources.is_file().then(|| major.to_owned())
}

fn is_present() -> bool {
    let home = env::home_dir().unwrap_or_default();
    shell::find("bpf-linker").is_some()
        || home.join(".cargo/bin/bpf-linker").is_file()
        || tools().join("bin/bpf-linker").is_file()
}

fn build(llvm: &str) -> Command {
    let mut install = shell::cargo(["install", "bpf-linker", "--version", "0.13.0", "--locked"]);
    install.args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"]);
    install.arg(tools());
    install.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
    install.env("RUSTFLAGS", format!("-L /usr/lib/llvm-{llvm}/lib"));
    install
}

fn tools() -> PathBuf {
    crate::workspace().join("target/tools")
}
