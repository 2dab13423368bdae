//! What the running kernel must offer, so that a rung that is missing where it must be is a failure
//! and no smaller run of tests.

use std::fs;

use merger::{
    listeners::Rung,
    node::{self, Options, Rungs},
};

use super::{start_with, world};

/// The rungs of this kernel, the best first. merger itself goes by no version, but tries.
pub(crate) fn rungs() -> Vec<Rung> {
    let all = [Rung::Ebpf, Rung::SockDiag, Rung::Proc];
    // `bpf_sock_from_file` came with 5.11.
    all.into_iter().filter(|rung| *rung != Rung::Ebpf || release() >= (5, 11)).collect()
}

/// Such as `(6, 12)`.
fn release() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("a release begins with two numbers: {release}"),
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask kernel` puts it into its table")]
fn the_best_rung_of_this_kernel_is_the_one_that_is_taken() {
    world::here(async || {
        let (node, _changes) = start_with(Options::default());
        println!("rung: {}", node.rung());
        assert_eq!(node.rung(), rungs()[0], "{:?}", node.fallback());
        assert_eq!(node.fallback().is_none(), node.rung() == Rung::Ebpf);
    });
}

#[test]
fn each_rung_of_this_kernel_can_be_asked_for_and_no_other() {
    world::here(async || {
        let offered = rungs();
        for rung in [Rung::Ebpf, Rung::SockDiag, Rung::Proc] {
            let options = Options { rung: Rungs::Only(rung), ..Options::default() };
            let error = node::start(options).err().map(|error| error.to_string());
            assert_eq!(error.is_none(), offered.contains(&rung), "{rung}: {error:?}");
            assert!(error.is_none_or(|said| said.contains("it came with Linux 5.11")), "{rung}");
        }
    });
}
