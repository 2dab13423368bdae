//! The system calls that the agent may make: those of a server that reads files and speaks over
//! sockets that it was given. Everything else fails with `EPERM`, as a right that is missing does.
//!
//! It makes no socket but a pair that speaks with itself, leads none elsewhere, hands none on, and sets
//! no option of one: a socket that was born in a pod would take it along, and one that lingers would
//! keep whoever closes it last, be it the broker. Its own server listens before the filter is there. It starts no program, enters no namespace,
//! traces nobody, writes no file and makes no memory executable. ARCHITECTURE.md has the list for readers.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No filter can be made for this machine.
    #[error("the filter cannot be made")]
    Filter(#[from] BackendError),
    /// The kernel does not take it.
    #[error("the kernel does not take the filter")]
    Kernel(#[from] seccompiler::Error),
}

/// A system call, and what each of these arguments has to be.
type Call = (&'static str, c_long, &'static [Bits]);

/// What an argument of a call has to be.
struct Bits {
    /// The position of the argument, from 0.
    argument: u8,
    /// The bits that are looked at.
    mask: u64,
    /// What they have to be.
    value: u64,
}

/// Names as the C library has them, so that one that this machine has not is no program.
macro_rules! calls {
    ($($name:ident $(($($bits:expr),+))?),* $(,)?) => {
        &[$((stringify!($name), libc::$name, &[$($($bits),+)?].as_slice())),*]
    };
}

/// A thread of this process, in no new namespace.
const THREAD: Bits = Bits {
    argument: 0,
    mask: bits(libc::CLONE_THREAD) | NAMESPACES,
    value: bits(libc::CLONE_THREAD),
};

const NAMESPACES: u64 = bits(
    libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET,
);

/// Nothing is written to the file, or made where there is none.
const READ_ONLY: Bits = Bits::none(2, bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC));

const NOT_EXECUTABLE: Bits = Bits::none(2, bits(libc::PROT_EXEC));

/// Fast Open connects, and with it a socket goes elsewhere.
const NO_FAST_OPEN: Bits = Bits::none(3, bits(libc::MSG_FASTOPEN));

/// A socket sends to whom it is connected to.
const NO_DESTINATION: Bits = Bits::none(4, u64::MAX);

/// The two ends of a stream, by which signals come to the runtime. Datagrams would have a destination.
const BY_ITSELF: Bits = Bits { argument: 0, mask: u64::MAX, value: bits(libc::AF_UNIX) };
const STREAM: Bits = Bits {
    argument: 1,
    mask: !bits(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
    value: bits(libc::SOCK_STREAM),
};

/// The limit is asked for and not set.
const NO_NEW_LIMIT: Bits = Bits::none(2, u64::MAX);

/// The calls of every machine.
const CALLS: &[Call] = calls![
    // Files, the manifests among them, and what tells of their changes.
    SYS_openat(READ_ONLY),
    SYS_close,
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    // Sockets, and the logs.
    SYS_accept4,
    SYS_socketpair(BY_ITSELF, STREAM),
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_sendto(NO_FAST_OPEN, NO_DESTINATION),
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_shutdown,
    SYS_write,
    SYS_writev,
    SYS_dup,
    SYS_pipe2,
    // Waiting.
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_ppoll,
    SYS_futex,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_sched_yield,
    SYS_restart_syscall,
    // Memory.
    SYS_mmap(NOT_EXECUTABLE),
    SYS_mprotect(NOT_EXECUTABLE),
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    // Threads.
    SYS_clone(THREAD),
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_getaffinity,
    SYS_gettid,
    SYS_exit,
    SYS_exit_group,
    // Signals.
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    // What it is and where it runs.
    SYS_getpid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_uname,
    SYS_sysinfo,
    SYS_prlimit64(NO_NEW_LIMIT),
    SYS_getrandom,
    SYS_membarrier,
];

/// The same under the names that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[Call] = calls![
    SYS_open(Bits::none(1, READ_ONLY.mask)),
    SYS_stat,
    SYS_lstat,
    SYS_readlink,
    SYS_access,
    SYS_poll,
    SYS_epoll_wait,
    SYS_getrlimit,
    SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[Call] = &[];

/// The calls of which one argument, a number of 32 bits, may have some values: its position, and which.
const CHOICES: &[(&str, c_long, u8, &[u64])] = &[
    // Copies, and the flags of a descriptor; not who is sent signals about it, and not the flags of what
    // it refers to, which for the log is the broker's as well.
    (
        "SYS_fcntl",
        libc::SYS_fcntl,
        1,
        &[
            bits(libc::F_GETFD),
            bits(libc::F_SETFD),
            bits(libc::F_GETFL),
            bits(libc::F_DUPFD_CLOEXEC),
        ],
    ),
    // Whether the log is a terminal: TCGETS.
    ("SYS_ioctl", libc::SYS_ioctl, 1, &[0x5401]),
    ("SYS_prctl", libc::SYS_prctl, 0, &[bits(libc::PR_SET_NAME), bits(libc::PR_GET_NAME)]),
];

// === impl Bits ===

impl Bits {
    /// None of these may be set.
    const fn none(argument: u8, mask: u64) -> Self {
        Self { argument, mask, value: 0 }
    }
}

/// The names of all calls that are allowed, without what is asked of their arguments.
#[must_use]
pub fn allowed() -> Vec<&'static str> {
    let named = |name: &'static str| name.strip_prefix("SYS_").unwrap_or(name);
    let plain = CALLS.iter().chain(OLD_CALLS).map(|(name, ..)| named(name));
    plain.chain(CHOICES.iter().map(|(name, ..)| named(name))).chain(["tgkill"]).collect()
}

/// Confines the calling thread, and those that it starts, for as long as they live.
pub fn apply() -> Result<(), Error> {
    // A thread is made by clone3 first, whose arguments no filter can see. Where there is no such
    // call the C library takes clone.
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = || BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply_filter(&compiled(clone3(), SeccompAction::Allow, missing)?)?;
    // This one comes last, since it lets nobody add another. Of two refusals the kernel would give
    // that of the later filter, so it has none for clone3.
    let mut rules = rules()?;
    rules.append(&mut clone3());
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply_filter(&compiled(rules, refuse, SeccompAction::Allow)?)?;
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for (_, number, all) in CALLS.iter().chain(OLD_CALLS) {
        let rule = if all.is_empty() { vec![] } else { vec![rule(all)?] };
        rules.insert(*number, rule);
    }
    // To abort a program sends itself a signal; this user may be somebody else's, too.
    let own = Bits { argument: 0, mask: u64::MAX, value: u64::from(std::process::id()) };
    rules.insert(libc::SYS_tgkill, vec![rule(&[own])?]);
    for (_, number, argument, values) in CHOICES {
        let is = |&value| Bits { argument: *argument, mask: u64::from(u32::MAX), value };
        let alternatives = values.iter().map(|value| rule(&[is(value)]));
        rules.insert(*number, alternatives.collect::<Result<_, _>>()?);
    }
    Ok(rules)
}

/// All of these have to be so.
fn rule(all: &[Bits]) -> Result<SeccompRule, BackendError> {
    let condition = |&Bits { argument, mask, value }: &Bits| {
        let (length, operator) = (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask));
        SeccompCondition::new(argument, length, operator, value)
    };
    SeccompRule::new(all.iter().map(condition).collect::<Result<_, _>>()?)
}

/// What is done with a call that no rule is about, and with one that one is.
fn compiled(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, matched, machine)?.try_into()
}

/// A constant of the C library as the kernel compares it.
const fn bits(constant: i32) -> u64 {
    constant.cast_unsigned() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_is_not_in_the_list() {
        let allowed = allowed();
        for name in [
            "setns",
            "unshare",
            "bpf",
            "ptrace",
            "execve",
            "execveat",
            "clone3",
            "kill",
            "mount",
            "open_by_handle_at",
            "process_vm_readv",
            "perf_event_open",
            "io_uring_setup",
            "keyctl",
            "socket",
            "setsockopt",
            "sendmsg",
            "sendmmsg",
            "connect",
            "bind",
            "listen",
            "init_module",
            "finit_module",
            "pidfd_getfd",
            "setuid",
            "capset",
            "chmod",
            "unlink",
        ] {
            assert!(!allowed.contains(&name), "{name}");
        }
    }

    #[test]
    fn each_call_stands_once() {
        let mut allowed = allowed();
        let n = allowed.len();
        allowed.sort_unstable();
        allowed.dedup();
        assert_eq!(allowed.len(), n);
        assert_eq!(rules().unwrap().len(), n);
    }

    #[test]
    fn the_architecture_lists_the_calls() {
        let text = include_str!("../../../ARCHITECTURE.md");
        let list = text
            .split_once("<!-- seccomp -->")
            .and_then(|(_, rest)| rest.split_once("<!-- end -->"));
        let (list, _) = list.expect("the list stands between its marks");
        let mut told: Vec<_> = list.split('`').skip(1).step_by(2).collect();
        let mut allowed = allowed();
        told.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(told, allowed);
    }
}
