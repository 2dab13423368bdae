//! Images of one file each, made by hand, and that of merger: no registry is asked.
//!
//! The form is that of `docker save`, which containerd imports. Source: `image/spec/v1.2.md` of moby/moby.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::json;

use super::node::Node;

/// An image: a program, and what it is called with.
pub(crate) struct Image {
    name: &'static str,
    program: &'static str,
    links: &'static [(&'static str, &'static str)],
    entry: &'static [&'static str],
}

/// Keeps a sandbox: it waits, and reaps.
pub(crate) const PAUSE: Image = Image {
    name: "localhost/pause:1",
    program: "catatonit",
    links: &[],
    entry: &["/bin/catatonit", "-P"],
};

/// A shell and a server of files. A program of the node finds its libraries there, where they are mounted.
pub(crate) const BUSYBOX: Image = Image {
    name: "localhost/busybox:1",
    program: "busybox",
    links: &[("bin/sh", "busybox"), ("lib", "usr/lib"), ("lib64", "usr/lib64")],
    entry: &["/bin/busybox"],
};

// === impl Image ===

impl Image {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Gives it to the node's containerd.
    #[track_caller]
    pub(crate) fn import(&self, node: &Node) {
        let directory = node.directory.join(format!("image-{}", self.program));
        import(node, &self.make(&directory));
    }

    fn make(&self, directory: &Path) -> PathBuf {
        let root = directory.join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        let program = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"].map(Path::new);
        let program = program.map(|directory| directory.join(self.program));
        let program = program.iter().find(|program| program.exists());
        let program =
            program.unwrap_or_else(|| panic!("{}: run `cargo xtask setup`", self.program));
        fs::copy(program, root.join("bin").join(self.program)).unwrap();
        for (link, target) in self.links {
            symlink(target, root.join(link)).unwrap();
        }
        let layer = directory.join("layer.tar");
        tar(&layer, &root, &["."]);
        let sum = run(Command::new("sha256sum").arg(&layer));
        let sum = sum.split(' ').next().unwrap();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": self.entry},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
        });
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
        let archive = directory.join("image.tar");
        tar(&archive, directory, &["manifest.json", "config.json", "layer.tar"]);
        archive
    }
}

/// Gives an archive to the node's containerd.
#[track_caller]
fn import(node: &Node, archive: &Path) {
    let mut import = Command::new("ctr");
    import.arg("--address").arg(node.socket());
    run(import.args(["--namespace", "k8s.io", "images", "import"]).arg(archive));
}

/// Gives the node's containerd the image that `cargo xtask image` makes, with the merger that these tests
/// are of. It is made once for all of them.
#[track_caller]
pub(crate) fn import_merger(node: &Node) {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    let archive = ARCHIVE.get_or_init(|| {
        let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image/merger.tar");
        let cargo = env::var_os("CARGO").expect("cargo runs the tests");
        let mut image = Command::new(cargo);
        image.args(["xtask", "image"]);
        run(image.args(["--program", env!("CARGO_BIN_EXE_merger"), "--output"]).arg(&archive));
        archive
    });
    import(node, archive);
}

fn tar(archive: &Path, directory: &Path, files: &[&str]) {
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--create", "--file"]).arg(archive);
    run(tar.arg("--directory").arg(directory).args(files));
}

/// What a program prints. One that fails ends the test.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}
