//! An image as an archive of the OCI image layout: its layer, its configuration, and the documents that
//! name each by its digest. Pure: files and a name in, bytes out.
//!
//! The documents are few and small, so they are written as they stand in the specification.
//! Source: <https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md>: `config.md`,
//! `manifest.md`, `image-index.md`, `image-layout.md`.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
    path::Path,
};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use super::{
    files::{self, Files},
    name::Name,
};

/// What a container of the image runs, and with which words if it is told none.
pub(super) const ENTRYPOINT: &str = "/usr/bin/merger";
pub(super) const COMMAND: &str = "run";

/// So that `kubectl exec … -- merger probe` finds it.
pub(super) const PATH: &str = "PATH=/usr/bin";

/// What `deploy/base` lets merger serve on; a runtime does nothing by it.
pub(super) const PORT: u16 = 15990;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image, complete.
pub(super) struct Image {
    /// What is named by its digest: layer, configuration, manifest.
    blobs: BTreeMap<String, Vec<u8>>,
    /// The digest of the manifest, which is the image's.
    manifest: String,
    index: Vec<u8>,
}

// === impl Image ===

impl Image {
    /// An image of one layer, for machines like this one.
    pub(super) fn new(files: &Files, name: &Name) -> io::Result<Self> {
        let mut blobs = BTreeMap::new();
        let mut add = |kind: &str, bytes: Vec<u8>| {
            let (digest, size) = (digest(&bytes), bytes.len());
            blobs.insert(digest.clone(), bytes);
            json!({ "mediaType": kind, "digest": digest, "size": size })
        };
        let plain = files.layer()?;
        let layer = add(LAYER, compressed(&plain)?);
        let config = add(CONFIG, bytes(&config(&digest(&plain))));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
        });
        let mut manifest = add(MANIFEST, bytes(&manifest));
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["platform"] = json!({ "architecture": architecture(), "os": "linux" });
        // containerd goes by the first; what reads archives otherwise, such as podman, by the second.
        manifest["annotations"] = json!({
            "io.containerd.image.name": name.to_string(),
            "org.opencontainers.image.ref.name": name.to_string(),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        Ok(Self { blobs, manifest: digest, index: bytes(&index) })
    }

    /// What a registry will know it by, too.
    pub(super) fn digest(&self) -> &str {
        &self.manifest
    }

    /// The layout as one archive.
    pub(super) fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        let mut add = |path: &str, bytes: &[u8]| {
            files::append(&mut archive, (EntryType::Regular, 0o644), Path::new(path), bytes)
        };
        add("oci-layout", &bytes(&json!({ "imageLayoutVersion": "1.0.0" })))?;
        add("index.json", &self.index)?;
        for (digest, bytes) in &self.blobs {
            add(&format!("blobs/{}", digest.replace(':', "/")), bytes)?;
        }
        archive.into_inner()
    }
}

/// What a container is started with. There is no time in it, and no user: what each process of merger is
/// it sees to itself, and it begins as root.
fn config(layer: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": [ENTRYPOINT],
            "Cmd": [COMMAND],
            "Env": [PATH],
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "merger",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created_by": "cargo xtask image" }],
    })
}

/// This machine's, by the name that Go has for it, as the specification wants.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// With no name and no time in the header.
fn compressed(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(plain)?;
    gzip.finish()
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// Keys are sorted, so that equal documents are equal bytes.
fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
