//! What an answer is written on while it streams in: a file, and memory from the moment the disk refuses.

use crate::spool::read_back;
use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

/// Bytes gathered before they are written.
const BUFFER: usize = 32 << 10;

pub(crate) enum Paper {
    File(Sheet),
    Memory(Vec<u8>),
}

/// A file that knows exactly what of it is written, so that all of it can be read back.
pub(crate) struct Sheet {
    file: File,
    written: u64,
    buffer: Vec<u8>,
    /// Bytes that this disk takes; tests make it small.
    room: u64,
}

impl Paper {
    /// On a new file, or in memory where there is none.
    pub fn on(file: io::Result<File>) -> Paper {
        Paper::with_room(file, u64::MAX)
    }

    fn with_room(file: io::Result<File>, room: u64) -> Paper {
        match file {
            Ok(file) => Paper::File(Sheet { file, written: 0, buffer: Vec::with_capacity(BUFFER), room }),
            Err(error) => {
                tracing::warn!(%error, "an answer's file cannot be made: it goes on in memory");
                Paper::Memory(Vec::new())
            }
        }
    }

    /// # Errors
    /// The disk refuses, and does not give back what it took before.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Paper::Memory(all) => all.extend_from_slice(bytes),
            Paper::File(sheet) => {
                // Before, not behind: the buffer never grows beyond its size for a small piece.
                let full = sheet.buffer.len() + bytes.len() > BUFFER;
                if full && let Err(error) = sheet.flush() {
                    tracing::warn!(%error, "the disk refuses an answer: it goes on in memory");
                    let mut all = sheet.all()?;
                    all.extend_from_slice(bytes);
                    *self = Paper::Memory(all);
                    return Ok(());
                }
                sheet.buffer.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// The file with everything in it; `Err`: everything, from memory.
    ///
    /// # Errors
    /// As [`Paper::append`].
    pub fn finish(self) -> io::Result<Result<File, Vec<u8>>> {
        match self {
            Paper::Memory(all) => Ok(Err(all)),
            Paper::File(mut sheet) => match sheet.flush() {
                Ok(()) => Ok(Ok(sheet.file)),
                Err(error) => {
                    tracing::warn!(%error, "the disk refuses the end of an answer");
                    sheet.all().map(Err)
                }
            },
        }
    }

    /// The same bytes in a new file.
    pub fn rewrite(path: &Path, all: &[u8]) -> io::Result<File> {
        let mut file = create(path)?;
        file.write_all(all)?;
        Ok(file)
    }
}

impl Sheet {
    fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let outcome = loop {
            let rest = &self.buffer[done..];
            if rest.is_empty() {
                break Ok(());
            }
            let room = usize::try_from(self.room - self.written).unwrap_or(usize::MAX);
            match self.file.write(&rest[..rest.len().min(room)]) {
                Ok(0) => break Err(io::ErrorKind::StorageFull.into()),
                Ok(n) => {
                    done += n;
                    self.written += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer.drain(..done);
        outcome
    }

    fn all(&mut self) -> io::Result<Vec<u8>> {
        let mut all = read_back(&self.file, self.written)?;
        all.append(&mut self.buffer);
        Ok(all)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_took_and_what_it_refused_are_one_answer() {
        let dir = tempfile::tempdir().unwrap();
        let whole: Vec<u8> = (0..500_000_u32).map(|n| (n * 31 + n / 256) as u8).collect();
        for room in [0, 1, 65_535, 65_536, 65_537, 200_000, 499_999] {
            let mut paper = Paper::with_room(create(&dir.path().join("a")), room);
            for piece in whole.chunks(1_999) {
                paper.append(piece).unwrap();
            }
            assert_eq!(paper.finish().unwrap().unwrap_err(), whole, "a disk with room for {room} bytes");
        }
        let mut paper = Paper::with_room(create(&dir.path().join("a")), 500_000);
        paper.append(&whole).unwrap();
        assert_eq!(read_back(&paper.finish().unwrap().unwrap(), 500_000).unwrap(), whole);
    }
}
