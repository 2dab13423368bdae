//! The mesh of the demo: certificates, Istio's NAT rules, and Envoy as a STRICT sidecar.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{RunDirectory, run_directory};
use crate::{setup, shell};

/// The user and group of Istio's proxy, whose traffic the NAT rules let pass.
pub(super) const USER: u32 = 1337;

/// The host name in the sidecar's certificate.
pub(super) const HOST: &str = "cart.shop";

/// Envoy's program, at the place where the container sees it, and its arguments.
///
/// Hot restart would leave shared memory behind.
pub(super) const SIDECAR: (&str, &[&str]) = (
    "/run/merger-demo/image/envoy",
    &[
        "--config-path",
        "/run/merger-demo/envoy.yaml",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ],
);

const CONFIGURATION: &str = include_str!("../../../deploy/demo/envoy.yaml");

/// Istio's own, for REDIRECT: see `istio-iptables/pkg/capture/run.go`.
const NAT_RULES: &str = "deploy/demo/istio-nat.rules";

/// The file of a certificate or key.
pub(super) fn certificate(name: &str) -> String {
    format!("{}/certificates/{name}", run_directory::PATH)
}

/// Makes an authority and, signed by it, one certificate for the sidecars and one for a client.
pub(super) fn make_certificates(directory: &RunDirectory) -> anyhow::Result<()> {
    directory.write("envoy.yaml", CONFIGURATION)?;
    directory.write("certificates/README", "made by `cargo xtask demo`, of no use elsewhere\n")?;
    let identity =
        |name| format!("subjectAltName=DNS:{HOST},URI:spiffe://cluster.local/ns/shop/sa/{name}");
    openssl("ca", &["-addext", "keyUsage=critical,keyCertSign"])?;
    let (authority, key) = (certificate("ca.pem"), certificate("ca.key"));
    let signed =
        ["-CA", &authority, "-CAkey", &key, "-addext", "basicConstraints=critical,CA:false"];
    for name in ["server", "client"] {
        openssl(name, &[&signed[..], &["-addext", &identity(name)]].concat())?;
    }
    let key = certificate("server.key");
    chown(&key, Some(USER), Some(USER)).context(key)
}

/// Puts the NAT rules into a network namespace.
pub(super) fn redirect(netns: &str) -> anyhow::Result<()> {
    let rules = crate::workspace().join(NAT_RULES);
    let mut restore = shell::command(["nsenter"]);
    restore.arg(format!("--net=/run/netns/{netns}")).arg("iptables-restore").arg(rules);
    shell::output(&mut restore).map(drop)
}

/// Envoy's directory, and the place where the container sees it.
///
/// The proxy's user need not be able to reach a workspace below /root.
pub(super) fn image(directory: &RunDirectory) -> anyhow::Result<(PathBuf, PathBuf)> {
    let envoy = setup::envoy_binary();
    let place = Path::new(run_directory::PATH).join("image");
    if !place.is_dir() {
        directory.write("image/README", "containers see the directory of Envoy here\n")?;
    }
    let image = envoy.parent().context("Envoy lies in a directory")?;
    fs::metadata(&envoy).with_context(|| envoy.display().to_string())?;
    Ok((image.to_owned(), place))
}

fn openssl(name: &str, options: &[&str]) -> anyhow::Result<()> {
    let (subject, key, pem) = (
        format!("/CN={name}"),
        certificate(&format!("{name}.key")),
        certificate(&format!("{name}.pem")),
    );
    let mut command = shell::command(["openssl", "req", "-x509", "-newkey", "ec", "-nodes"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", &subject]);
    command.args(["-keyout", &key, "-out", &pem]).args(options);
    shell::output(&mut command).map(drop)
}
