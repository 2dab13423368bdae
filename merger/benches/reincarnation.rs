//! Whether a sample can ever carry another pod's name: 10,000 pods end and come back while they are
//! scraped, 1,000 of them with a process id that a pod had before.
//!
//! `cargo bench --bench reincarnation` as root, of each rung that is told of changes; `-- 1000` for as
//! many lives, `-- ebpf_sock_diag` for a rung, whichever. It prints what it counted, and fails where a
//! single body was another life's.
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
    let is_asked = |rung: &Rung| env::args().any(|argument| argument == rung.to_string());
    let mut rungs: Vec<Rung> = Rung::ALL.into_iter().filter(is_asked).collect();
    if rungs.is_empty() {
        rungs = vec![Rung::Ebpf, Rung::EbpfSockDiag];
    }
    let n_crossed: usize = rungs.into_iter().map(|rung| crossed(rung, lives)).sum();
    if n_crossed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many bodies were another life's.
fn crossed(rung: Rung, lives: usize) -> usize {
    let outcome = lives::run(zygote::Zygote::start(&[]), lives, lives / 10, rung, ());
    println!("rung {} {rung}\n{outcome}", rung.number());
    for crossed in &outcome.crossed {
        println!("{crossed}");
    }
    outcome.crossed.len()
}
