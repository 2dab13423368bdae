//! `prometheus_client`, Python's library, whose parsers are the second opinion on our pages.

use super::pypi::Wheel;

/// Its digest is in `merger/tests/python/requirements.txt`.
pub(super) const WHEEL: Wheel = Wheel {
    directory: "prometheus_client",
    distribution: "prometheus_client",
    version: "0.26.0",
    requirements: "merger/tests/python/requirements.txt",
};
