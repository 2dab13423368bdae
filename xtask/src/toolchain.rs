//! What compiles for the kernel: a Rust that knows the target `bpfel-unknown-none`, and its linker.
//!
//! Two kinds are known. A nightly of rustup compiles `core` itself, from `rust-src`. Debian's
//! rustc-web brings `core` compiled, and takes the unstable flags by `RUSTC_BOOTSTRAP`.
//! Nothing is installed here: that is `cargo xtask setup`.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The target of the kernel part. The machines that merger runs on are little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Variables that cargo and rustup set for what they start, and that would lead the inner cargo
/// to the outer one's compiler, flags or profile.
const INHERITED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A compiler and a linker, both found on this machine.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

#[derive(Debug)]
enum Compiler {
    /// Rustup's nightly, by the directory that it is installed in.
    Nightly(PathBuf),
    /// Debian's packages.
    Debian,
}

/// The parts of the toolchain that this machine lacks.
#[derive(Debug)]
pub(crate) struct Missing(Vec<&'static str>);

/// Looks for the toolchain, rustup's first.
pub(crate) fn find() -> Result<Toolchain, Missing> {
    let has_core = |root: &PathBuf| root.join("lib/rustlib/src/rust/library/core").is_dir();
    let nightly = nightlies().filter(has_core).max().map(Compiler::Nightly);
    match (nightly.or_else(debian), linker()) {
        (Some(compiler), Some(linker)) => Ok(Toolchain { compiler, linker }),
        (compiler, linker) => {
            let compiler = compiler.is_none().then_some(
                "a compiler for BPF (rustup's nightly with rust-src, or Debian's rustc-web, \
                 cargo-web and libstd-rust-web-dev-bpf)",
            );
            let linker = linker.is_none().then_some("bpf-linker");
            Err(Missing(compiler.into_iter().chain(linker).collect()))
        }
    }
}

/// The root of the workspace that this task was compiled in.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

// === impl Toolchain ===

impl Toolchain {
    /// A cargo that compiles for the kernel, free of what the outer one left in the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match &self.compiler {
            Compiler::Nightly(root) => {
                let mut cargo = Command::new(root.join("bin/cargo"));
                clear(&mut cargo);
                cargo.env("RUSTC", root.join("bin/rustc"));
                cargo.args(["-Z", "build-std=core"]);
                cargo
            }
            Compiler::Debian => {
                let mut cargo = Command::new("/usr/bin/cargo");
                clear(&mut cargo);
                cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags());
        cargo
    }

    fn rustflags(&self) -> OsString {
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.linker);
        let arch = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
        let flags = [linker, arch.into(), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
        flags.join(&OsString::from("\x1f"))
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.compiler {
            Compiler::Nightly(root) => write!(f, "rustup's nightly in {}", root.display())?,
            Compiler::Debian => f.write_str("Debian's rustc-web")?,
        }
        write!(f, ", {}", self.linker.display())
    }
}

// === impl Missing ===

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel part cannot be built here, missing: {}", self.0.join(" and "))?;
        f.write_str("; run `cargo xtask setup`")
    }
}

impl Error for Missing {}

/// Takes away what the outer cargo left in the environment.
pub(crate) fn clear(cargo: &mut Command) {
    for name in INHERITED {
        cargo.env_remove(name);
    }
}

/// The directory of each nightly of rustup.
pub(crate) fn nightlies() -> impl Iterator<Item = PathBuf> {
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".rustup")));
    let toolchains = rustup.and_then(|rustup| rustup.join("toolchains").read_dir().ok());
    let roots = toolchains.into_iter().flatten().flatten().map(|toolchain| toolchain.path());
    roots.filter(|root| is_nightly(root))
}

fn is_nightly(root: &Path) -> bool {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("nightly-") && root.join("bin/cargo").exists()
}

fn debian() -> Option<Compiler> {
    let libraries = Path::new("/usr/lib/rustlib").join(TARGET).join("lib");
    let has_core = libraries.read_dir().ok()?.flatten().any(|library| {
        let name = library.file_name();
        name.to_string_lossy().starts_with("libcore-")
    });
    let complete = has_core && Path::new("/usr/bin/cargo").exists();
    (complete && Path::new("/usr/bin/rustc").exists()).then_some(Compiler::Debian)
}

fn linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let home = env::home_dir().map(|home| home.join(".cargo/bin"));
    env::split_paths(&path)
        .chain(home)
        .chain([workspace().join("target/tools/bin")])
        .map(|directory| directory.join("bpf-linker"))
        .find(|linker| linker.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_next_step() {
        let missing = Missing(vec!["a compiler", "bpf-linker"]).to_string();
        assert_eq!(
            missing,
            "the kernel part cannot be built here, missing: a compiler and bpf-linker; \
             run `cargo xtask setup`"
        );
    }

    #[test]
    fn the_inner_cargo_is_free_of_the_outer_ones_settings() {
        let toolchain = Toolchain { compiler: Compiler::Debian, linker: "/x/bpf-linker".into() };
        let cargo = toolchain.cargo();
        let set: Vec<_> = cargo.get_envs().filter(|(_, value)| value.is_some()).collect();
        let names: Vec<_> = set.iter().map(|(name, _)| name.to_string_lossy()).collect();
        assert_eq!(names, ["CARGO_ENCODED_RUSTFLAGS", "RUSTC", "RUSTC_BOOTSTRAP"]);
        let cleared = cargo.get_envs().filter(|(_, value)| value.is_none()).count();
        assert_eq!(cleared, INHERITED.len() - 2);
    }
}
