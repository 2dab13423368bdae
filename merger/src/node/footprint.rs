//! What a start needs and the years after it do not: the pages of files that were read for it, and the heap
//! that it took.
#![expect(unsafe_code, reason = "memory is unmapped page by page, while the program runs in it")]

use std::{ffi::c_void, fs, io, ops::Range};

use rustix::mm::{Advice, madvise};

/// Lets go of the pages of programs and libraries that are mapped now. Those that are needed still are
/// mapped again when they are touched, from the file or from what the kernel keeps of it.
///
/// A broker runs as long as its node and does little; what it has mapped of parsers and servers
/// that it never enters again would be counted as its memory all the time. Where the kernel does not say
/// what is mapped (`CONFIG_PROC_PAGE_MONITOR`) it is so, and nothing else is amiss. A broker that is a
/// thread beside others, which map and unmap as well, gives back what is free of the heap.
pub(super) fn forget_start() {
    trim();
    let forgotten = is_only_thread().and_then(|is| if is { forget() } else { Ok(()) });
    if let Err(error) = forgotten {
        tracing::info!(%error, "the memory that the start took is not given back");
    }
}

/// Whether this is the only thread of its process. Then nobody is there who could begin another.
fn is_only_thread() -> io::Result<bool> {
    Ok(fs::read_dir("/proc/self/task")?.count() == 1)
}

/// Gives back what is free of the heap, which else stays as large as it ever was.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's locks as `free` does, and no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Only for a process of one thread.
fn forget() -> io::Result<()> {
    for range in clean(&fs::read_to_string("/proc/self/smaps")?) {
        let start = std::ptr::with_exposed_provenance_mut::<c_void>(range.start);
        // SAFETY: nobody may write to these pages and nobody has, or some of them were anonymous, in
        // memory or swapped out; so they are as the file has them, and are read from it again when
        // they are touched: to the program nothing has changed. They are what they were when the list was
        // read: there is no other thread that could map something else in their place.
        unsafe { madvise(start, range.len(), Advice::LinuxDontNeed)? };
    }
    Ok(())
}

/// Where files are mapped that cannot be written to and never were, by `/proc/<pid>/smaps`. Data that
/// is read only now may have been written to before, by the loader of the program: then it has
/// anonymous pages, of which those that are swapped out count apart, and later.
fn clean(smaps: &str) -> Vec<Range<usize>> {
    let mut clean = vec![];
    let mut mapping = None;
    for line in smaps.lines() {
        let count = |name| line.strip_prefix(name).map(str::trim);
        match (count("Anonymous:"), count("Swap:")) {
            (Some("0 kB"), _) => {}
            (_, Some("0 kB")) => clean.extend(mapping.take()),
            (Some(_), _) | (_, Some(_)) => mapping = None,
            (None, None) => mapping = of_file(line).or(mapping),
        }
    }
    clean
}

/// The mapping that a line begins, if it is private, of a file, and not to be written to.
fn of_file(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let is_of_file = words.nth(3)?.starts_with('/');
    let [start, end] = [start, end].map(|word| usize::from_str_radix(word, 16).ok());
    (["r-xp", "r--p"].contains(&rights) && is_of_file).then_some(start?..end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 2] = ["0 kB"; 2];

    #[track_caller]
    fn check(mapping: &str, [anonymous, swapped]: [&str; 2], is_clean: bool) {
        let counts = |anonymous, swapped| {
            format!(
                "Rss: 8 kB\nAnonymous:  {anonymous}\nKSM: 0 kB\nSwap:   {swapped}\nSwapPss: 0 kB\n"
            )
        };
        let heap = counts("4 kB", "0 kB");
        let before = format!("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 [heap]\n{heap}");
        let of_mapping = counts(anonymous, swapped);
        let smaps = format!("{before}{mapping}\n{of_mapping}VmFlags: rd mr\n");
        let expected = is_clean.then_some(0x5000..0x9000);
        assert_eq!(clean(&smaps), Vec::from_iter(expected), "{smaps}");
    }

    #[test]
    fn only_what_is_as_the_file_has_it_is_let_go() {
        check("5000-9000 r-xp 00001000 fe:00 12 /usr/bin/merger", NONE, true);
        check("5000-9000 r--p 00001000 fe:00 12 /usr/bin/merger", NONE, true);
        check("5000-9000 r--p 00001000 fe:00 12 /usr/bin/merger", ["4 kB", "0 kB"], false);
        // Nothing of it is in memory, and all that was written to it is not in the file.
        check("5000-9000 r--p 00001000 fe:00 12 /usr/bin/merger", ["0 kB", "4 kB"], false);
        check("5000-9000 rw-p 00001000 fe:00 12 /usr/bin/merger", NONE, false);
        check("5000-9000 r--s 00001000 fe:00 12 /usr/bin/merger", NONE, false);
        check("5000-9000 r-xp 00000000 00:00 0 [vdso]", NONE, false);
        check("5000-9000 r--p 00000000 00:00 0", NONE, false);
    }

    #[test]
    fn a_thread_beside_others_leaves_alone_what_they_may_map() {
        let (end, is_over) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || is_over.recv());
        assert!(!is_only_thread().unwrap());
        forget_start();
        drop(end);
        assert!(other.join().unwrap().is_err());
    }
}
