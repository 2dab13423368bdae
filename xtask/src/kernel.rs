//! `kernel`: the tests of the kernel part on kernels that are not this machine's.
//!
//! Each is Debian's, unpacked and never installed, and runs in a virtual machine without hardware
//! support, so that it is the same everywhere. A guest has no disk and no network: its whole world is
//! an initramfs of the tests and the programs that they call. What it says comes over a serial line.

use std::{
    num::NonZeroUsize,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{ebpf, screen, setup};

mod archive;
mod guest;
mod initramfs;
mod package;
mod programs;
mod report;

use guest::Guest;
use package::Kernel;
use report::Report;

/// Run the tests of the kernel part on other kernels
///
/// Boots Debian's kernels under QEMU and runs the rings "namespaces" and "kernel" on each of them, all
/// to the end, whatever fails. The kernels are fetched once, from the mirror that apt uses here, and
/// kept below target/kernels with the logs. Needs neither root nor KVM, but for installing QEMU.
///
/// While you work on one thing: `cargo xtask kernel --only 6.1 mptcp`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests whose names contain one of these
    tests: Vec<String>,

    /// Only these kernels
    #[arg(long, value_parser = names())]
    only: Vec<String>,

    /// How many guests run at one time; as many as cores unless given
    #[arg(long)]
    jobs: Option<usize>,

    /// How many minutes a guest may take
    #[arg(long, default_value_t = 20)]
    deadline: u64,

    /// Fetch the newest kernel of each series, instead of using what was fetched before
    #[arg(long)]
    update: bool,
}

/// A kernel and what it is started with.
struct Machine {
    /// What it is called here and on the command line.
    name: &'static str,
    kernel: Kernel,
    /// Further words of the kernel's command line.
    arguments: &'static str,
}

/// The matrix: the long-term kernels that distributions ship.
const MACHINES: &[Machine] = &[
    Machine { name: "5.10", kernel: Kernel::of("5.10", "bullseye"), arguments: "" },
    Machine { name: "6.1", kernel: Kernel::of("6.1", "bookworm"), arguments: "" },
    Machine {
        name: "6.1-lockdown",
        kernel: Kernel::of("6.1", "bookworm"),
        arguments: "lockdown=confidentiality",
    },
    Machine { name: "6.12", kernel: Kernel::of("6.12", "trixie"), arguments: "" },
];

/// A person who waits hears from each guest this often.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Carries out the task.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the guests are x86-64 and run this machine's programs: run this task on x86-64"
    );
    setup::run(&setup::Options { only: Some(setup::Only::Kernels) })?;
    let machines: Vec<&Machine> = MACHINES.iter().filter(|one| options.wants(one)).collect();
    screen::headline("Kernels");
    package::fetch(machines.iter().map(|machine| &machine.kernel), options.update)?;
    screen::headline("Tests");
    ebpf::build(false)?;
    let programs = programs::build()?;
    let guests = machines.iter().map(|machine| {
        let initramfs = initramfs::make(&machine.kernel, &programs, &options.tests)?;
        Guest::new(machine.name, &machine.kernel, machine.arguments, &initramfs)
    });
    let guests: Vec<Guest> = guests.collect::<anyhow::Result<_>>()?;
    screen::headline("Guests");
    let reports = options.run_all(&guests);
    tell(&guests, &reports);
    let good = reports.iter().all(Report::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names() -> Vec<&'static str> {
    MACHINES.iter().map(|machine| machine.name).collect()
}

/// The matrix, then what failed in it.
fn tell(guests: &[Guest], reports: &[Report]) {
    screen::headline("Matrix");
    screen::line(&format!("       {}", Report::headings()));
    for (guest, report) in guests.iter().zip(reports) {
        screen::verdict(report.is_good(), &report.row(guest.name));
    }
    for (guest, report) in guests.iter().zip(reports).filter(|(_, report)| !report.is_good()) {
        tell_failure(guest, report);
    }
}

fn tell_failure(guest: &Guest, report: &Report) {
    screen::headline(guest.name);
    for reason in report.reasons() {
        screen::step(&reason);
    }
    screen::step(&format!("what the tests said: {}", guest.said().display()));
    screen::step(&format!("what the kernel said: {}", guest.console().display()));
    if !report.ended {
        for line in guest.last_words() {
            screen::step(&format!("  {line}"));
        }
    }
}

// === impl Options ===

impl Options {
    fn wants(&self, machine: &Machine) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == machine.name)
    }

    /// A guest has two processors, but runs one test at a time.
    fn n_jobs(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.jobs.unwrap_or_else(cores).max(1)
    }

    /// Runs all guests, some at a time, and gives the reports in their order.
    fn run_all(&self, guests: &[Guest]) -> Vec<Report> {
        let deadline = Duration::from_secs(self.deadline * 60);
        let waiting = Mutex::new(guests.iter().enumerate());
        let reports: Mutex<Vec<Report>> = Mutex::new(vec![Report::default(); guests.len()]);
        let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
        thread::scope(|scope| {
            for _ in 0..self.n_jobs() {
                scope.spawn(|| {
                    while let Some((n, guest)) = next() {
                        let report = follow(guest, deadline);
                        if let Ok(mut reports) = reports.lock() {
                            reports[n] = report;
                        }
                    }
                });
            }
        });
        reports.into_inner().unwrap_or_default()
    }
}

/// Runs one guest, and tells how far it is: each stage, and to a person also what is between them.
fn follow(guest: &Guest, deadline: Duration) -> Report {
    let start = Instant::now();
    let (mut stage, mut told) = (String::new(), start);
    guest.run(deadline, |report| {
        let beat = screen::is_terminal() && told.elapsed() > HEARTBEAT;
        if stage != report.stage() || beat {
            stage = report.stage();
            told = Instant::now();
            let seconds = start.elapsed().as_secs();
            screen::step(&format!("{:<13}{seconds:>4} s  {}", guest.name, report.progress()));
        }
    })
}
