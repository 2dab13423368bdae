//! What a start needs and the years after it do not: the pages of code that were read for it.
#![expect(unsafe_code, reason = "memory is unmapped page by page, while the program runs in it")]

use std::{ffi::c_void, fs, io, ops::Range};

use rustix::mm::{Advice, madvise};

/// Lets go of the pages of code that are mapped now. Those that are needed still are mapped again at
/// the next step, from the file or from what the kernel keeps of it.
///
/// A broker runs as long as its node and does little; what it has mapped of parsers and servers
/// that it never enters again would be counted as its memory all the time.
pub(super) fn forget_code() -> io::Result<()> {
    for code in code(&fs::read_to_string("/proc/self/maps")?) {
        let start = std::ptr::with_exposed_provenance_mut::<c_void>(code.start);
        // SAFETY: the pages are code that nobody may write to, and that of a program in any place is
        // not adapted to its place; so they are as the file has them, and are read from it again
        // when they are touched: to the program nothing has changed.
        unsafe { madvise(start, code.len(), Advice::LinuxDontNeed)? };
    }
    Ok(())
}

/// Where code of files is mapped that was never written to, by `/proc/<pid>/maps`. Data that is read
/// only now may have been written to before, by the loader of the program.
fn code(maps: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let is_of_file = words.nth(3)?.starts_with('/');
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|word| usize::from_str_radix(word, 16).ok());
        (rights == "r-xp" && is_of_file).then_some(start?..end?)
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5581f6e00000-5581f6f00000 r--p 00000000 fe:00 12 /usr/bin/merger
5581f6f00000-5581f7400000 r-xp 00100000 fe:00 12 /usr/bin/merger
5581f7400000-5581f7500000 r--p 00600000 fe:00 12 /usr/bin/merger
5581f7500000-5581f7501000 rw-p 00700000 fe:00 12 /usr/bin/merger
5581f8000000-5581f8021000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000100000 r-xp 00026000 fe:00 34 /lib/libc.so.6
7f0000200000-7f0000300000 rwxp 00000000 fe:00 35 /tmp/odd
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn only_code_of_files_is_let_go() {
        let sizes: Vec<usize> = code(MAPS).iter().map(ExactSizeIterator::len).collect();
        assert_eq!(sizes, [0x50_0000, 0x10_0000]);
    }

    #[test]
    fn the_program_goes_on() {
        for _ in 0..10 {
            forget_code().unwrap();
            assert_eq!("still".repeat(2), "stillstill");
        }
    }
}
