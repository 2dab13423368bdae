//! Debian's kernels: fetched by apt and unpacked, and nothing of this system changed.
//!
//! The kernels are of other releases than this system. So apt is given lists, caches and sources of
//! its own below target/kernels; the mirror is the one that this system uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::{screen, shell};

/// A series of kernels, and the release of Debian that has it.
pub(super) struct Kernel {
    series: &'static str,
    release: &'static str,
}

/// Who signs all releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// It depends on the newest kernel of its release.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Fetches those that are missing, or all.
pub(super) fn fetch<'a>(
    kernels: impl Iterator<Item = &'a Kernel> + Clone,
    update: bool,
) -> anyhow::Result<()> {
    let missing = kernels.clone().filter(|kernel| update || kernel.image().is_err());
    let mut missing: Vec<&Kernel> = missing.collect();
    missing.dedup_by_key(|kernel| kernel.series);
    if !missing.is_empty() {
        let apt = Apt::set_up(&missing)?;
        missing.iter().try_for_each(|kernel| kernel.fetch(&apt))?;
    }
    let mut series: Vec<&Kernel> = kernels.collect();
    series.dedup_by_key(|kernel| kernel.series);
    for kernel in series {
        screen::step(&format!("{:<6}{}", kernel.series, kernel.image()?.display()));
    }
    Ok(())
}

/// Where all of this lies.
pub(super) fn directory() -> PathBuf {
    crate::workspace().join("target/kernels")
}

// === impl Kernel ===

impl Kernel {
    pub(super) const fn of(series: &'static str, release: &'static str) -> Self {
        Self { series, release }
    }

    /// The kernel itself, which is there once the package is unpacked as a whole.
    pub(super) fn image(&self) -> anyhow::Result<PathBuf> {
        let boot = self.tree().join("boot");
        let missing = || format!("no kernel in {}", boot.display());
        let entries = boot.read_dir().with_context(missing)?.flatten().map(|entry| entry.path());
        let is_image = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        };
        entries.into_iter().find(is_image).with_context(missing)
    }

    /// Below which its modules lie.
    pub(super) fn tree(&self) -> PathBuf {
        directory().join("debian").join(self.series)
    }

    fn fetch(&self, apt: &Apt) -> anyhow::Result<()> {
        let package = self.package(apt)?;
        let fresh = directory().join("new");
        // What an interrupted run left; there need be nothing.
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
        shell::run(
            apt.command("apt-get", &["--quiet=2", "download", &package]).current_dir(&fresh),
        )?;
        let entries = fresh.read_dir()?.flatten().map(|entry| entry.path());
        let archives = entries.filter(|path| path.extension().is_some_and(|end| end == "deb"));
        let archive = archives.into_iter().next().context("apt-get downloaded no package")?;
        shell::output(shell::command(["dpkg-deb", "--extract"]).arg(&archive).arg(&fresh))?;
        fs::remove_file(&archive)?;
        let _ = fs::remove_dir_all(self.tree());
        fs::create_dir_all(self.tree()).with_context(|| self.tree().display().to_string())?;
        fs::rename(&fresh, self.tree()).with_context(|| self.tree().display().to_string())
    }

    /// The package of the newest kernel of this series.
    fn package(&self, apt: &Apt) -> anyhow::Result<String> {
        let Self { series, release } = self;
        let shown = shell::output(&mut apt.command("apt-cache", &["show", META_PACKAGE]))?;
        image_of(&shown, series).with_context(|| {
            format!(
                "the mirror's {release}-security has no kernel {series}: see what has it by \
                 `apt-cache policy {META_PACKAGE}`, and name that release in xtask/src/kernel.rs"
            )
        })
    }
}

/// An apt of our own.
struct Apt {
    directory: PathBuf,
}

// === impl Apt ===

impl Apt {
    fn set_up(kernels: &[&Kernel]) -> anyhow::Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing, by which Debian's kernels are known to be Debian's: \
             run `apt-get install debian-archive-keyring`"
        );
        let targets = ["indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"];
        let mut asked = shell::command(["apt-get"]);
        let mirror = mirror(&shell::output(asked.args(targets))?)?;
        let apt = Self { directory: directory().join("apt") };
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.directory.join(directory))?;
        }
        // The index of packages alone: apt would fetch descriptions and icons as well.
        let source = |kernel: &&Kernel| {
            let options = format!("[arch=amd64 target=Packages signed-by={KEYRING}]");
            format!("deb {options} {mirror} {}-security main\n", kernel.release)
        };
        let sources: String = kernels.iter().map(source).collect();
        fs::write(apt.directory.join("sources.list"), sources)?;
        fs::write(apt.directory.join("apt.conf"), apt.configuration())?;
        shell::run(&mut apt.command("apt-get", &["--quiet=2", "update"])).with_context(|| {
            format!(
                "{mirror} does not give the lists of these kernels; a release that Debian has put \
                 into its archive is no longer there: take others by --only"
            )
        })?;
        Ok(apt)
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = shell::command([program]);
        command.arg("--config-file").arg(self.directory.join("apt.conf")).args(words);
        command
    }

    /// Everything that apt would otherwise share with the system's.
    fn configuration(&self) -> String {
        let at = self.directory.display();
        format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";\n\
             Dir::Etc::SourceParts \"-\";\n\
             Dir::State::Lists \"{at}/lists\";\n\
             Dir::State::Status \"/dev/null\";\n\
             Dir::Cache \"{at}/cache\";\n\
             // Another user would not be able to write below target.\n\
             APT::Sandbox::User \"\";\n"
        )
    }
}

/// Where this system gets Debian's security updates, or would, from the URIs and labels of its sources.
fn mirror(targets: &str) -> anyhow::Result<String> {
    let of = |wanted: &str| {
        let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, label)| *label == wanted).map(|(uri, _)| uri.to_owned())
    };
    if let Some(uri) = of("Debian-Security") {
        return Ok(uri);
    }
    let Some(uri) = of("Debian") else {
        bail!("apt has no mirror of Debian here, which has the kernels: run this on a Debian");
    };
    Ok(format!("{}-security/", uri.trim_end_matches('/')))
}

/// The package that the meta-package of a series depends on, from what apt-cache shows of all of them.
fn image_of(shown: &str, series: &str) -> Option<String> {
    let of_series = shown.split("\n\n").find(|stanza| {
        let version = stanza.lines().find_map(|line| line.strip_prefix("Version: "));
        let rest = version.and_then(|version| version.strip_prefix(series));
        rest.is_some_and(|rest| rest.starts_with('.'))
    })?;
    let depends = of_series.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let mut names = depends.split(", ").filter_map(|one| one.split_whitespace().next());
    names.find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_security_updates_where_there_is_one() {
        let both = "http://mirror.example/debian/ Debian\nhttp://s.example/sec/ Debian-Security\n";
        assert_eq!(mirror(both).unwrap(), "http://s.example/sec/");
        let one = "http://x.example/ tools\nhttp://mirror.example/debian/ Debian\n";
        assert_eq!(mirror(one).unwrap(), "http://mirror.example/debian-security/");
        assert!(mirror("http://x.example/ tools\n").unwrap_err().to_string().contains("Debian"));
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_named_by_the_meta_package() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 6.12.118-1\n\
                     Depends: linux-image-6.12.118+deb13-cloud-amd64 (= 6.12.118-1)\n\n\
                     Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\n\
                     Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        let found = |series| image_of(shown, series);
        assert_eq!(found("6.1").unwrap(), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(found("6.12").unwrap(), "linux-image-6.12.118+deb13-cloud-amd64");
        assert_eq!(found("5.10"), None);
    }
}
