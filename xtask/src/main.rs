//! The tasks of this project.

use anyhow::{Result, bail};

mod ebpf;
mod toolchain;

#[expect(clippy::print_stdout, reason = "a task reports to the person who started it")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build-ebpf"] => println!("{}", ebpf::build(false)?.display()),
        ["build-ebpf", "--release"] => println!("{}", ebpf::build(true)?.display()),
        _ => bail!("usage: cargo xtask build-ebpf [--release]"),
    }
    Ok(())
}
