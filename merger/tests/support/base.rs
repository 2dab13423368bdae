//! The manifests of `deploy/base`, as documents.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Where they are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base")
}

/// Every document that the kustomization names, in its order.
pub(crate) fn documents() -> Vec<Value> {
    let [kustomization] = read("kustomization.yaml").try_into().unwrap();
    let resources = kustomization["resources"].as_array().unwrap();
    resources.iter().flat_map(|name| read(name.as_str().unwrap())).collect()
}

/// The documents of YAML.
pub(crate) fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

fn read(name: &str) -> Vec<Value> {
    parse(&fs::read_to_string(directory().join(name)).unwrap())
}
