//! What is larger than any message travels beside one, in a file that is nowhere but in memory.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    os::unix::fs::FileExt as _,
};

use rustix::fs::{MemfdFlags, memfd_create};

/// The most bytes that are taken out of a file: more than the pods and the processes of any node are.
const LARGEST: usize = 256 << 20;

/// What comes out of a file one piece after the other, so that whoever reads it never has all of it.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: File,
    at: u64,
    end: u64,
}

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

/// A file of these pieces, each behind its length, of which no more than one is in memory beside it.
pub(crate) fn packed_in_pieces(
    name: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> io::Result<File> {
    let mut file = BufWriter::new(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?));
    for piece in pieces {
        let length = u32::try_from(piece.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&piece)?;
    }
    Ok(file.into_inner()?)
}

// === impl Pieces ===

impl Pieces {
    /// The pieces of a file that [`packed_in_pieces`] made.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        if end > LARGEST as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Self { file, at: 0, end })
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.file.read_exact_at(&mut length, self.at)?;
        self.at += length.len() as u64;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > self.end.saturating_sub(self.at) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut piece = vec![0; length as usize];
        self.file.read_exact_at(&mut piece, self.at)?;
        self.at += u64::from(length);
        Ok(piece)
    }
}

/// Ends with the first that cannot be read.
impl Iterator for Pieces {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let piece = self.piece();
        if piece.is_err() {
            self.at = self.end;
        }
        Some(piece)
    }
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

    fn unpacked_pieces(file: File) -> Vec<Result<Vec<u8>, io::ErrorKind>> {
        Pieces::of(file).unwrap().map(|piece| piece.map_err(|error| error.kind())).collect()
    }

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let large = vec![7; 100_000];
        let pieces = [b"a".to_vec(), Vec::new(), large];
        let file = packed_in_pieces("test", pieces.clone()).unwrap();
        assert_eq!(unpacked_pieces(file), pieces.map(Ok));
        assert_eq!(unpacked_pieces(packed_in_pieces("test", []).unwrap()), []);
    }

    #[test]
    fn a_piece_that_is_not_whole_is_the_last_and_takes_no_memory() {
        let file = packed("test", b"\x01\0\0\0a\xff\xff\xff\xffbytes").unwrap();
        assert_eq!(unpacked_pieces(file), [Ok(b"a".to_vec()), Err(io::ErrorKind::InvalidData)]);
        let file = packed("test", b"\x01\0").unwrap();
        assert_eq!(unpacked_pieces(file), [Err(io::ErrorKind::UnexpectedEof)]);
        let file = packed("test", b"").unwrap();
        file.set_len(u64::MAX >> 1).unwrap();
        assert_eq!(Pieces::of(file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
