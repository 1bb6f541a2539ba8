//! Frames of a video that is not made yet: length-prefixed JPEGs with their times, appended, cut back after a crash.
//!
//! One entry: bytes of the JPEG (u32), time (i64, ns), both little endian, then the JPEG.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// Being written.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Bytes of whole entries.
    length: u64,
    entry: Vec<u8>,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it is to be shown, in nanoseconds; only differences mean something.
    pub time_ns: i64,
    /// The picture.
    pub jpeg: Vec<u8>,
}

const HEADER_BYTES: usize = 12;

impl Spool {
    /// Goes on behind the first `length` bytes; what is behind them is cut off.
    pub fn at(mut file: File, length: u64) -> io::Result<Self> {
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self {
            file,
            length,
            entry: Vec::new(),
        })
    }

    /// Appends a frame.
    pub fn append(&mut self, time_ns: i64, jpeg: &[u8]) -> io::Result<()> {
        let bytes = u32::try_from(jpeg.len()).map_err(io::Error::other)?;
        self.entry.clear();
        self.entry.extend_from_slice(&bytes.to_le_bytes());
        self.entry.extend_from_slice(&time_ns.to_le_bytes());
        self.entry.extend_from_slice(jpeg);
        if let Err(cause) = self.file.write_all(&self.entry) {
            // Half an entry would hide all later ones; if even this fails, the next start cuts it.
            let _ = self.file.set_len(self.length);
            return Err(cause);
        }
        self.length += self.entry.len() as u64;
        Ok(())
    }

    /// Makes all entries durable; returns their length in bytes.
    pub fn sync(&self) -> io::Result<u64> {
        self.file.sync_data()?;
        Ok(self.length)
    }

    /// Bytes of whole entries.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// Reads the entries of a spool.
#[derive(Debug)]
pub struct Entries<R> {
    input: BufReader<R>,
}

impl<R: Read> Entries<R> {
    /// From the beginning of the input.
    pub fn of(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 20, input),
        }
    }

    /// None behind the last entry.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut header = [0; HEADER_BYTES];
        match self.input.read_exact(&mut header) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (bytes, time) = header.split_at(4);
        let bytes = u32::from_le_bytes(bytes.try_into().expect("4 bytes"));
        let time_ns = i64::from_le_bytes(time.try_into().expect("8 bytes"));
        let mut jpeg = vec![0; bytes as usize];
        self.input.read_exact(&mut jpeg)?;
        Ok(Some(Entry { time_ns, jpeg }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_is_cut_back_goes_on_as_if_nothing_had_happened() {
        let mut spool = Spool::at(tempfile::tempfile().unwrap(), 0).unwrap();
        spool.append(1, b"one").unwrap();
        let mark = spool.sync().unwrap();
        spool.append(2, b"lost").unwrap();
        let mut spool = Spool::at(spool.file, mark).unwrap();
        spool.append(3, b"").unwrap();
        let mut file = spool.file;
        file.rewind().unwrap();
        let mut entries = Entries::of(file);
        let mut all = Vec::new();
        while let Some(entry) = entries.next().unwrap() {
            all.push((entry.time_ns, entry.jpeg));
        }
        assert_eq!(all, [(1, b"one".to_vec()), (3, Vec::new())]);
    }
}
