//! What is larger than any message travels beside one, in a file that is nowhere but in memory.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
};

use rustix::fs::{MemfdFlags, memfd_create};

/// The most bytes that are taken out of a file: more than the pods and the processes of any node are.
const LARGEST: usize = 256 << 20;

/// A file of these bytes. Where it is read from is up to each who has it.
pub(crate) fn packed(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// All of a file that others may be reading at this moment, too, and who share its position. It is in
/// memory, so this waits for nothing.
pub(crate) fn unpacked(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).ok().filter(|length| *length <= LARGEST);
    let length = length.ok_or(io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_by_all_who_have_it() {
        let file = packed("test", b"bytes").unwrap();
        let copy = file.try_clone().unwrap();
        assert_eq!([unpacked(&file).unwrap(), unpacked(&copy).unwrap()], [b"bytes", b"bytes"]);
    }

    #[test]
    fn nobody_is_made_to_allocate_what_is_not_there() {
        let file = packed("test", b"").unwrap();
        file.set_len(u64::MAX >> 1).unwrap();
        assert_eq!(unpacked(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
