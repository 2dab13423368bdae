//! A process of one thread that makes pods by fork: each a process in a cgroup and a network namespace
//! of its own, which serves one page. It does what it is told line by line, and ends with its input.
//!
//! That makes and ends some hundreds of pods in a second, and a pod may be given a certain process id.

use std::{
    collections::{HashMap, VecDeque},
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use merger::{
    identity::Cookie,
    netns::{Identity, Netns},
};
use rustix::{
    process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::cgroup::Root;

/// The port that each pod serves on.
pub(crate) const PORT: u16 = 9100;

/// A container's id, of every pod: it is the uid that tells them apart.
pub(crate) const ID: &str = "4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c4f5c2f0f3b0e2a9c";

/// Connections that a pod keeps open behind their answers.
const KEPT: usize = 8;

/// Set in the copy of this program that is a zygote.
const ZYGOTE: &str = "MERGER_TEST_ZYGOTE";

/// What is a line of the zygote, among what a program of tests prints.
const MARK: &str = "@zygote ";

/// A zygote, as its parent sees it.
pub(crate) struct Zygote {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A pod that runs.
#[allow(dead_code, reason = "not every program of tests needs all of it")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) pid: u32,
    /// The inode number of its namespace, which the kernel uses again.
    pub(crate) inode: u64,
    /// None where the kernel has none that a socket tells: below 5.14.
    pub(crate) cookie: Option<Cookie>,
}

// === impl Zygote ===

impl Zygote {
    /// Starts a copy of this program that calls [`serve`] when it has these arguments.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = env::current_exe().expect("a test is a file");
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let mut copy = Command::new(program);
        copy.args(arguments).env(ZYGOTE, "1").stdin(stdin).stdout(stdout);
        let mut process = copy.spawn().expect("the copy starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, input, output }
    }

    /// Makes a pod that serves `page`, with this process id unless it is 0 or taken.
    pub(crate) fn make(&mut self, uid: &str, page: &str, pid: u32) -> Made {
        let answer = self.ask(&format!("make {uid} {pid} {page}"));
        let mut numbers = answer.split(' ').map(|word| word.parse().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        let pid = u32::try_from(number()).expect("ids of processes are small");
        let (inode, cookie) = (number(), number());
        Made { pid, inode, cookie: (cookie != 0).then_some(Cookie(cookie)) }
    }

    /// Kills a pod, waits for its process, and removes its cgroup.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn end(&mut self, uid: &str) {
        self.ask(&format!("end {uid}"));
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the zygote lives as long as its input");
        loop {
            let mut answer = String::new();
            let n = self.output.read_line(&mut answer).expect("lines of text");
            assert!(n > 0, "the zygote has ended at {line}: its reason is above");
            if let Some((_, answer)) = answer.split_once(MARK) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It may have ended before, and then it holds nothing.
        let _ = writeln!(self.input, "quit");
        let _ = self.process.wait();
    }
}

/// Whether this program is to be a zygote; then it calls [`serve`], and nothing else.
pub(crate) fn is_meant() -> bool {
    env::var_os(ZYGOTE).is_some()
}

/// Makes and ends pods as the lines of the input say.
pub(crate) fn serve() {
    let root = Root::new(1);
    let mut pids = HashMap::new();
    for line in io::stdin().lines() {
        let line = line.expect("lines of text");
        let answer = match line.split(' ').collect::<Vec<_>>()[..] {
            ["make", uid, pid, ..] => {
                let page = line.splitn(4, ' ').nth(3).unwrap_or_default();
                let (pid, answer) = make(&root, uid, page, pid.parse().expect("a number"));
                pids.insert(uid.to_owned(), pid);
                format!("{pid} {answer}")
            }
            ["end", uid] => {
                end(pids.remove(uid).expect("it was made"));
                root.remove_pod(uid);
                String::new()
            }
            _ => break,
        };
        let mut output = io::stdout().lock();
        writeln!(output, "{MARK}{answer}").and_then(|()| output.flush()).expect("it is a pipe");
    }
    pids.into_values().for_each(end);
}

fn make(root: &Root, uid: &str, page: &str, pid: u32) -> (u32, String) {
    let cgroup = root.container(uid, ID);
    let (mut ready, tell) = io::pipe().expect("a pipe needs no right");
    let made = fork(pid).or_else(|_| fork(0)).expect("a process can be made");
    let Some(made) = made else {
        drop(ready);
        cgroup.join(std::process::id());
        let error = become_pod(page, tell).expect_err("it serves until it is killed");
        panic!("a pod cannot serve (CAP_SYS_ADMIN): {error}");
    };
    drop(tell);
    let mut answer = String::new();
    ready.read_to_string(&mut answer).expect("a line of text");
    assert!(!answer.is_empty(), "pod {uid} has ended: its reason is above");
    (made, answer)
}

fn end(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("no process has the id 0");
    kill_process(pid, Signal::KILL).expect("an own child may be killed");
    waitpid(Some(pid), WaitOptions::empty()).expect("an own child may be waited for");
}

/// The process that is a pod, in its cgroup by now: makes the namespace and serves.
fn become_pod(page: &str, mut tell: impl Write) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    enter_fresh()?;
    loopback_up()?;
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    let own = Netns::own()?;
    let cookie = match Identity::here()? {
        Identity::Cookie => own.cookie()?.0,
        Identity::Inode => 0,
    };
    write!(tell, "{} {cookie}", own.inode()?)?;
    // Whoever holds it would keep the namespace, but this process lives as long.
    drop((tell, own));
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{page}\n",
        page.len() + 1
    );
    let mut kept = VecDeque::new();
    loop {
        // A client that goes away early is no reason to end.
        if let Ok(stream) = listener.accept().and_then(|(stream, _)| serve_one(stream, &answer)) {
            // As a server does that waits for the next request: this end is never the first to close.
            kept.push_back(stream);
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
    }
}

/// Gives the connection back where it was answered.
fn serve_one(mut stream: TcpStream, answer: &str) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut request, mut n) = ([0; 4096], 0);
    while !request[..n].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[n..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => n += read,
        }
    }
    stream.write_all(answer.as_bytes())?;
    Ok(stream)
}

#[expect(unsafe_code, reason = "rustix asks for a promise about threads that share a file table")]
fn enter_fresh() -> io::Result<()> {
    // SAFETY: without `FILES` no file descriptor is closed or copied under another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// As `ip link set lo up` does it, without a process for that.
#[expect(unsafe_code, reason = "no wrapper sets the flags of an interface")]
fn loopback_up() -> io::Result<()> {
    // SAFETY: all zeroes is a request, of no interface.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // Unbound and without a peer: any socket will do.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the kernel reads a request of the size that it expects.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Forks, with a certain process id unless that is 0. Nothing in the child.
///
/// To be called where no other thread does anything: the child has the memory of all, and one thread.
#[expect(unsafe_code, reason = "no wrapper asks for a certain process id")]
fn fork(pid: u32) -> io::Result<Option<u32>> {
    // SAFETY: all zeroes asks for nothing that fork does not do.
    let mut asked: libc::clone_args = unsafe { std::mem::zeroed() };
    asked.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if pid != 0 {
        asked.set_tid = (&raw const pid).addr() as u64;
        asked.set_tid_size = 1;
    }
    // SAFETY: the arguments outlive the call, and the child goes on with a copy of this memory.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const asked, size_of_val(&asked)) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(u32::try_from(pid).expect("ids of processes are small"))),
    }
}
