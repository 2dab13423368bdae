//! Whether a sample can ever carry another pod's name: 10,000 pods end and come back while they are
//! scraped, 1,000 of them with a process id that a pod had before.
//!
//! `cargo bench --bench reincarnation` as root, of each rung that is told of changes, with namespaces told
//! apart by their cookies and by their inode numbers, as below Linux 5.14; `-- 1000` for as many lives,
//! `-- ebpf_sock_diag` for a rung, whichever, `-- inode` or `-- cookie` for one of these. It prints what it
//! counted, and fails where a single body was another life's, or too little came back for that to say
//! anything.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, or ends")]

use std::{env, process::ExitCode};

use merger::{
    listeners::Rung,
    netns::Identity,
    node::{Options, Rungs},
};

#[path = "../tests/support/cgroup.rs"]
mod cgroup;

#[path = "../tests/support/reincarnation.rs"]
mod lives;

#[path = "../tests/support/namespace.rs"]
mod namespace;

#[path = "../tests/support/zygote.rs"]
mod zygote;

fn main() -> ExitCode {
    if zygote::is_meant() {
        zygote::serve();
        return ExitCode::SUCCESS;
    }
    let lives = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let is_asked = |name: &str| env::args().any(|argument| argument == name);
    let mut rungs = Rung::ALL.to_vec();
    rungs.retain(|rung| is_asked(rung.as_str()));
    if rungs.is_empty() {
        rungs = vec![Rung::Ebpf, Rung::EbpfSockDiag];
    }
    let mut identities = namespace::identities();
    if identities.iter().any(|identity| is_asked(name(*identity))) {
        identities.retain(|identity| is_asked(name(*identity)));
    }
    let mut n_bad = 0;
    for rung in rungs {
        n_bad += identities.iter().filter(|identity| !is_shown(rung, **identity, lives)).count();
    }
    if n_bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn name(identity: Identity) -> &'static str {
    match identity {
        Identity::Cookie => "cookie",
        Identity::Inode => "inode",
    }
}

/// Whether no body was another life's, and pods were scraped and what can come back did.
fn is_shown(rung: Rung, identity: Identity, lives: usize) -> bool {
    let forced = lives / 10;
    let rung_alone = Options { rung: Rungs::Only(rung), ..Options::default() };
    let options = Options { identity: Some(identity), ..rung_alone };
    let outcome = lives::run(zygote::Zygote::start(&[]), lives, forced, options, ());
    let what = format!("rung {} {rung}, by {}", rung.number(), name(identity));
    println!("{what}\n{outcome}");
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
        // Else nothing of all this could have been seen.
        ("some would be if a pod were its process id", outcome.by_pid.1 > 0),
    ];
    for (demand, _) in demands.iter().filter(|(_, holds)| !holds) {
        println!("{what}: it is not so that {demand}");
    }
    demands.iter().all(|(_, holds)| *holds)
}
