//! A virtual machine: started, listened to, and ended when its time is over.
//!
//! It has two serial lines: the kernel's console goes to a file, and what the tests say comes here,
//! so that neither cuts into the other.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    mem,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    package::{Kernel, directory},
    report::Report,
};
use crate::shell;

/// A machine that can be started.
pub(super) struct Guest {
    pub(super) name: &'static str,
    image: PathBuf,
    arguments: &'static str,
}

/// Two processors, so that what the kernel part keeps for each of them is more than one. They are old ones:
/// what newer ones have beside (a fifth level of page tables, wide vectors, guards around each access to
/// user memory) is emulated at a high price, and no test is about it.
const MACHINE: &[&str] = &[
    "-accel",
    "tcg",
    "-machine",
    "q35",
    "-cpu",
    "Nehalem",
    "-smp",
    "2",
    "-m",
    "1024",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
];

/// A panic restarts the machine at once, which `-no-reboot` makes its end. Nothing guards against a processor
/// that leaks: an emulated one does not, and pays for each guard. Its clock is believed though the host may
/// let it stand, as each look at any other is a device's to answer.
const ARGUMENTS: &str = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable";

/// How often whoever waits is told of what was heard.
const BEAT: Duration = Duration::from_secs(1);

/// Lines of the console that a person is shown.
const LAST_WORDS: usize = 24;

/// What a kernel says first of what it dies of; its last lines are registers.
const CRASHES: [&str; 5] =
    ["BUG: ", "Oops: ", "general protection fault", "stack segment: ", "Kernel panic"];

// === impl Guest ===

impl Guest {
    /// Takes a directory of its own, with a file for all that it reads and says. What an earlier guest
    /// of the name said is gone.
    pub(super) fn new(
        name: &'static str,
        kernel: &Kernel,
        arguments: &'static str,
        initramfs: &[u8],
    ) -> anyhow::Result<Self> {
        let guest = Self { name, image: kernel.image()?, arguments };
        let file = guest.file("initramfs");
        // There need be none.
        let _ = fs::remove_dir_all(guest.file(""));
        fs::create_dir_all(guest.file("")).with_context(|| file.display().to_string())?;
        fs::write(&file, initramfs).with_context(|| file.display().to_string())?;
        Ok(guest)
    }

    /// The file of what the tests said, each line behind the seconds that it came after.
    pub(super) fn said(&self) -> PathBuf {
        self.file("tests.log")
    }

    /// The file of what the kernel said.
    pub(super) fn console(&self) -> PathBuf {
        self.file("console.log")
    }

    fn file(&self, name: &str) -> PathBuf {
        directory().join("guests").join(self.name).join(name)
    }

    /// What the kernel died of, or else the end of what it said.
    pub(super) fn last_words(&self) -> Vec<String> {
        let said = fs::read(self.console()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        let crash = lines.iter().position(|line| CRASHES.iter().any(|sign| line.contains(sign)));
        let begin = crash.unwrap_or(lines.len().saturating_sub(LAST_WORDS));
        lines[begin..].iter().take(LAST_WORDS).map(ToString::to_string).collect()
    }

    /// Runs it to its end, or to the deadline. `tell` gets the report whenever it may have changed.
    pub(super) fn run(&self, deadline: Duration, mut tell: impl FnMut(&Report)) -> Report {
        let start = Instant::now();
        let mut report = Report::default();
        if let Err(error) = self.listen(start, deadline, &mut report, &mut tell) {
            report.breaks(format!("{error:#}"));
        }
        report.took = start.elapsed();
        report
    }

    fn listen(
        &self,
        start: Instant,
        deadline: Duration,
        report: &mut Report,
        tell: &mut impl FnMut(&Report),
    ) -> anyhow::Result<()> {
        let said = self.said();
        let mut log = File::create(&said).with_context(|| said.display().to_string())?;
        let mut qemu = Qemu::start(self.command(), self.file("qemu.log"))?;
        let lines = qemu.lines()?;
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            match lines.recv_timeout(left.min(BEAT)) {
                Ok(line) => {
                    write!(log, "{:>6.1} ", start.elapsed().as_secs_f32())?;
                    log.write_all(&line)?;
                    report.hear(&String::from_utf8_lossy(&line));
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    bail!("its time is over: give it more by --deadline");
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return qemu.end(),
            }
            tell(report);
        }
    }

    fn command(&self) -> Command {
        // Whatever becomes of this task, no machine outlives it.
        let mut command = shell::command(["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command
            .args(MACHINE)
            .arg("-kernel")
            .arg(&self.image)
            .arg("-initrd")
            .arg(self.file("initramfs"));
        command.args(["-append", &format!("{ARGUMENTS} {}", self.arguments)]);
        command.arg("-serial").arg(format!("file:{}", self.console().display()));
        command.args(["-serial", "stdio"]);
        command
    }
}

/// The running machine. It ends when this is dropped.
struct Qemu {
    child: Child,
    complaints: PathBuf,
}

// === impl Qemu ===

impl Qemu {
    /// `complaints` is the file of what QEMU itself says.
    fn start(mut command: Command, complaints: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&complaints).with_context(|| complaints.display().to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let child = command.spawn().with_context(|| shell::spelled(&command))?;
        Ok(Self { child, complaints })
    }

    /// What comes over the serial line, until the machine has ended.
    fn lines(&mut self) -> anyhow::Result<Receiver<Vec<u8>>> {
        let output = self.child.stdout.take().context("its output is piped, and taken once")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // A read that fails is the end of it, as the machine's is.
            while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if sender.send(mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }

    /// Waits for what has closed its output.
    fn end(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        let said = fs::read_to_string(&self.complaints).unwrap_or_default();
        ensure!(status.success(), "QEMU ended with {status}: {}", said.trim());
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
