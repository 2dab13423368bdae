//! The kernel part by itself: what it marks, what it says, what it walks over, and that it leaves.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    net::TcpStream,
    os::unix::fs::FileExt,
    sync::Arc,
    time::Duration,
};

use merger::{
    identity::Cookie,
    listeners::{Row, ebpf},
    node::loader,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, fstat, memfd_create},
    io::dup,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::time::timeout;

use super::{DEADLINE, namespace::identities, offered::has_walk, pod::Pod, start, world};

/// The kernel part alone, without a thread, and with the walk where this kernel has it.
fn load() -> (ebpf::Sockets, ebpf::Changes) {
    let load = if has_walk() { loader::load_for } else { loader::load_changes };
    let kernel = load(merger_common::N_MARKS, identities()[0]);
    let kernel = kernel.unwrap_or_else(|error| panic!("{error}"));
    ebpf::open(ebpf::Parts::attach(kernel).unwrap()).unwrap()
}

#[tokio::test]
async fn a_namespace_is_marked_by_an_open_and_by_a_close_and_by_nothing_else() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    let pod = Pod::new();
    let mut marks = || changes.clear().iter().filter(|&&netns| netns == pod.cookie).count();
    let (listener, bound) = pod.listen("127.0.0.1:0");
    assert_eq!(marks(), 1);
    let connected = pod.netns().within(|| TcpStream::connect(bound)).unwrap();
    let accepted = listener.accept().unwrap();
    drop((connected, accepted));
    assert_eq!(marks(), 0);
    drop(listener);
    assert_eq!(marks(), 1);
}

#[tokio::test]
async fn a_loop_of_changes_is_one_mark_until_it_is_taken_away() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    let pod = Pod::new();
    let mut marks = || changes.clear().iter().filter(|&&netns| netns == pod.cookie).count();
    for _ in 0..2 {
        for _ in 0..100 {
            drop(pod.listen("127.0.0.1:0"));
        }
        assert_eq!(marks(), 1);
    }
}

#[tokio::test]
async fn a_change_wakes_whoever_waits() {
    let _alone = world::alone().await;
    let (_sockets, mut changes) = load();
    changes.clear();
    let pod = Pod::new();
    let _open = pod.listen("127.0.0.1:0");
    let deadline = Timespec::try_from(DEADLINE).unwrap();
    let mut polled = [PollFd::new(&changes, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&deadline)).unwrap(), 1, "a record is in the ring");
    assert!(changes.clear().contains(&pod.cookie));
}

/// What is logged while `body` runs.
pub(crate) fn logged(body: impl FnOnce()) -> String {
    let log = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
    let log = Arc::new(File::from(log));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(Arc::clone(&log))
        .finish();
    tracing::subscriber::with_default(subscriber, body);
    let mut text = [0; 4096];
    let n = log.read_at(&mut text, 0).unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

#[test]
fn what_the_kernel_part_says_is_logged() {
    world::inside("part::what_the_kernel_part_says_is_logged", &[], "root", async || {
        let pod = Pod::new();
        let mut bound = None;
        let text = logged(|| {
            let (_sockets, mut changes) = load();
            bound = Some(pod.listen("127.0.0.1:0").1);
            changes.clear();
        });
        let bound = bound.unwrap();
        let port = bound.port();
        let said = format!("network namespace {} is dirty: port {port}", pod.cookie);
        assert!(text.contains(&said), "{text}");
    });
}

#[tokio::test]
async fn a_walk_tells_each_socket_by_the_number_of_its_inode() {
    if !has_walk() {
        return;
    }
    let _alone = world::alone().await;
    let (mut sockets, _changes) = load();
    let pod = Pod::new();
    let listeners = [(); 2].map(|()| pod.listen("127.0.0.1:0").0);
    let mut found = BTreeSet::new();
    let netns = [pod.cookie, Cookie(pod.netns().inode().unwrap())];
    let mut take = |row: Row, inode| {
        if netns.contains(&row.netns) {
            found.insert((row.port.get(), inode));
        }
    };
    sockets.snapshot(&mut take).unwrap();
    let expected = listeners
        .iter()
        .map(|listener| (listener.local_addr().unwrap().port(), fstat(listener).unwrap().st_ino));
    assert_eq!(found, expected.collect());
}

#[test]
fn millions_of_files_that_are_no_sockets_hide_no_listener() {
    let test = "part::millions_of_files_that_are_no_sockets_hide_no_listener";
    if !has_walk() {
        let refused = loader::load_for(merger_common::N_MARKS, identities()[0]);
        return assert!(matches!(refused, Err(loader::Error::Helper { .. })), "there is no walk");
    }
    world::inside(test, &[], "root", async || {
        // The kernel pauses after a million; the first of them may come after a row, and then do not.
        const N: u64 = 2_200_000;
        let (mut greedy, modest) = (Pod::new(), Pod::new());
        let (_listener, bound) = modest.listen("127.0.0.1:0");
        let (mut sockets, _changes) = load();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let each = maximum.unwrap_or(1 << 16).min(1 << 16) - 200;
        // Without `CLOEXEC`, so that each child has them all.
        let _copies: Vec<_> = (0..each).map(|_| dup(io::stdin()).unwrap()).collect();
        for _ in 0..=(N / each) {
            greedy.hand_over(File::open("/dev/null").unwrap());
        }
        // An emulated processor takes its time.
        sockets.within = Duration::from_secs(30);
        let mut of_modest = vec![];
        let is_modest = |row: &Row| row.netns == modest.cookie;
        sockets.snapshot(|row, _| of_modest.extend(Some(row).filter(is_modest))).unwrap();
        assert_eq!(of_modest.iter().map(|row| row.port.get()).collect::<Vec<_>>(), [bound.port()]);
    });
}

#[tokio::test]
async fn nothing_of_ours_stays_in_the_kernel() {
    let _alone = world::alone().await;
    let (node, changes) = start();
    node.snapshot().await.unwrap();
    let kernel_ids: BTreeSet<u32> = program_ids();
    assert_eq!(kernel_ids.len(), n_programs(), "{kernel_ids:?}");
    drop((node, changes));
    // A program leaves after a grace period of the kernel's.
    let gone = async {
        while aya::programs::loaded_programs().flatten().any(|program| {
            kernel_ids.contains(&program.id()) && !program_ids().contains(&program.id())
        }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the programs of a node that was dropped are gone");
}

/// How many programs there are on this kernel: the hook, and the walk where it has that.
pub(crate) fn n_programs() -> usize {
    1 + usize::from(has_walk())
}

/// The programs that this process has a descriptor of.
fn program_ids() -> BTreeSet<u32> {
    ids("prog_id:")
}

/// The numbers of this name that the kernel tells of this process' descriptors.
pub(crate) fn ids(name: &str) -> BTreeSet<u32> {
    let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let id =
        |text: String| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    texts.filter_map(id).collect()
}
