//! The rungs that the running kernel must offer are those that merger finds.

use merger::{
    listeners::Rung,
    node::{self, Options, Rungs},
};

use super::{offered::rungs, start_with, world};

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
        for rung in Rung::ALL {
            let options = Options { rung: Rungs::Only(rung), ..Options::default() };
            let error = node::start(options).err().map(|error| error.to_string());
            assert_eq!(error.is_none(), offered.contains(&rung), "{rung}: {error:?}");
            assert!(error.is_none_or(|said| said.contains("it came with Linux 5.11")), "{rung}");
        }
    });
}
