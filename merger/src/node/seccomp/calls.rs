//! The system calls by name, and what their arguments have to be.

use libc::c_long;

/// A system call, and what each of these arguments has to be.
pub(super) type Call = (&'static str, c_long, &'static [Bits]);

/// What an argument of a call has to be.
pub(super) struct Bits {
    /// The position of the argument, from 0.
    pub(super) argument: u8,
    /// The bits that are looked at.
    pub(super) mask: u64,
    /// What they have to be.
    pub(super) value: u64,
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

/// A call of which one argument, a number of 32 bits, may have some values: its position, and which.
pub(super) type Choice = (&'static str, c_long, u8, &'static [u64]);

/// The calls of every machine.
pub(super) const CALLS: &[Call] = calls![
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
pub(super) const OLD_CALLS: &[Call] = calls![
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
pub(super) const OLD_CALLS: &[Call] = &[];

/// The calls with a choice.
pub(super) const CHOICES: &[Choice] = &[
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

/// What a watcher calls as well: it connects to the API server, whose name it may have to look up, and
/// hands on what it knows in files that are nowhere but in memory.
pub(super) const CONNECTING: &[Call] =
    calls![SYS_connect, SYS_setsockopt, SYS_sendmsg, SYS_sendmmsg, SYS_memfd_create,];

/// A socket is made one that does not block. The log could be, too, which the broker and the agent outlive.
pub(super) const NOT_BLOCKING: &[Bits] = &[
    Bits { argument: 1, mask: u64::MAX, value: bits(libc::F_SETFL) },
    Bits { argument: 2, mask: u64::MAX, value: bits(libc::O_RDWR | libc::O_NONBLOCK) },
];

/// And the sockets for it.
pub(super) const CONNECTING_CHOICES: &[Choice] =
    &[("SYS_socket", libc::SYS_socket, 0, &[bits(libc::AF_INET), bits(libc::AF_INET6)])];

// === impl Bits ===

impl Bits {
    /// None of these may be set.
    const fn none(argument: u8, mask: u64) -> Self {
        Self { argument, mask, value: 0 }
    }
}

/// A constant of the C library as the kernel compares it.
pub(super) const fn bits(constant: i32) -> u64 {
    constant.cast_unsigned() as u64
}
