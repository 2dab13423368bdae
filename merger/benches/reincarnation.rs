//! Whether a sample can ever carry another pod's name: 10,000 pods end and come back while they are
//! scraped, 1,000 of them with a process id that a pod had before.
//!
//! `cargo bench --bench reincarnation` as root; `-- 1000` for as many lives. It prints what it counted,
//! and fails where a single body was another life's.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{env, process::ExitCode};

use merger::listeners::Rung;

#[path = "../tests/support/cgroup.rs"]
mod cgroup;

#[path = "../tests/support/reincarnation.rs"]
mod lives;

#[path = "../tests/support/zygote.rs"]
mod zygote;

fn main() -> ExitCode {
    if zygote::is_meant() {
        zygote::serve();
        return ExitCode::SUCCESS;
    }
    let lives = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let outcome = lives::run(zygote::Zygote::start(&[]), lives, lives / 10, Rung::Ebpf, ());
    println!("{outcome}");
    for crossed in &outcome.crossed {
        println!("{crossed}");
    }
    if outcome.crossed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
