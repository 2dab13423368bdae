//! Whether a sample can ever carry another pod's name: 10,000 pods end and come back while they are
//! scraped, 1,000 of them with a process id that a pod had before.
//!
//! `cargo bench --bench reincarnation` as root, of each rung that is told of changes; `-- 1000` for as
//! many lives, `-- ebpf_sock_diag` for a rung, whichever. It prints what it counted, and fails where a
//! single body was another life's, or too little came back for that to say anything.
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
    let n_bad = rungs.into_iter().filter(|rung| !is_shown(*rung, lives)).count();
    if n_bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether no body was another life's, and pods were scraped and what can come back did.
fn is_shown(rung: Rung, lives: usize) -> bool {
    let forced = lives / 10;
    let outcome = lives::run(zygote::Zygote::start(&[]), lives, forced, rung, ());
    println!("rung {} {rung}\n{outcome}", rung.number());
    for crossed in &outcome.crossed {
        println!("{crossed}");
    }
    let n_pids = outcome.pids_own + outcome.pids_others;
    let demands = [
        ("no sample is another pod's", outcome.crossed.is_empty()),
        ("no cookie came back", outcome.cookies_reused == 0),
        ("nine of ten pods were scraped", outcome.scraped * 10 >= lives * 9),
        ("inodes came back", outcome.inodes_reused > 0),
        ("one in ten process ids came back", n_pids >= forced),
    ];
    for (what, _) in demands.iter().filter(|(_, holds)| !holds) {
        println!("rung {} {rung}: it is not so that {what}", rung.number());
    }
    demands.iter().all(|(_, holds)| *holds)
}
