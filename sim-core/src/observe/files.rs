//! Where outputs go: a folder, memory, nothing. Every file's length and SHA-256 are counted on the way.

use crate::base::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

/// A place for output files. Paths are relative, with `/`.
pub trait Store {
    /// Appends `bytes` to the file `path`, which is made if it is not there.
    ///
    /// # Errors
    /// Whatever the place says.
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A store in memory, for tests and for the browser.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The files by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Store for Memory {
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.entry(path.to_owned()).or_default().extend_from_slice(bytes);
        Ok(())
    }
}

/// A store that keeps nothing: the digests are all that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Store for Nowhere {
    fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Bytes are handed to the store in pieces of about this size.
const BUFFER: usize = 64 << 10;

/// An output file that is being written, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileNo(usize);

/// Output files over a store: buffered, counted, digested.
pub(super) struct Files<'a> {
    store: &'a mut dyn Store,
    files: Vec<File>,
    failed: Option<io::Error>,
}

struct File {
    path: String,
    buffer: Vec<u8>,
    bytes: u64,
    digest: Sha256,
}

impl<'a> Files<'a> {
    pub fn new(store: &'a mut dyn Store) -> Self {
        Files { store, files: Vec::new(), failed: None }
    }

    /// A new file; it comes into being with its first bytes.
    pub fn create(&mut self, path: String) -> FileNo {
        self.files.push(File { path, buffer: Vec::new(), bytes: 0, digest: Sha256::new() });
        FileNo(self.files.len() - 1)
    }

    /// Writes through `fill`, which appends to a buffer.
    pub fn write(&mut self, file: FileNo, fill: impl FnOnce(&mut Vec<u8>)) {
        let f = &mut self.files[file.0];
        fill(&mut f.buffer);
        if f.buffer.len() >= BUFFER {
            self.flush(file);
        }
    }

    /// Writes everything out.
    ///
    /// # Errors
    /// The first that the store returned.
    pub fn finish(mut self) -> io::Result<BTreeMap<String, Written>> {
        for n in 0..self.files.len() {
            self.flush(FileNo(n));
        }
        if let Some(e) = self.failed {
            return Err(e);
        }
        let written = |f: File| (f.path, Written { bytes: f.bytes, sha256: hex(&f.digest.finalize()) });
        Ok(self.files.into_iter().map(written).collect())
    }

    fn flush(&mut self, file: FileNo) {
        let f = &mut self.files[file.0];
        f.bytes += f.buffer.len() as u64;
        f.digest.update(&f.buffer);
        if self.failed.is_none() {
            self.failed = self.store.append(&f.path, &f.buffer).err();
        }
        f.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted_and_digested() {
        let mut memory = Memory::default();
        let mut files = Files::new(&mut memory);
        let (a, b) = (files.create("a".into()), files.create("d/b".into()));
        files.write(a, |w| w.extend_from_slice(b"ab"));
        files.write(b, |w| w.resize(BUFFER + 1, 7));
        files.write(a, |w| w.extend_from_slice(b"c"));
        let written = files.finish().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(written["a"], Written { bytes: 3, sha256: abc.into() });
        assert_eq!(written["d/b"].bytes, BUFFER as u64 + 1);
        assert_eq!(memory.files["a"], b"abc");
    }
}
