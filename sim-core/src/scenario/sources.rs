//! Where scenarios are read from: the file system, or memory. Nothing else in this library asks the machine that it
//! runs on for anything.

use super::diag::{Diagnostic, MAX_FILE_BYTES, SourceFile, TOO_LARGE_HINT, quote, too_large};
use crate::observe::Memory;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// A place where the files of scenarios are.
pub trait Sources {
    /// What a file holds.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is larger than [`MAX_FILE_BYTES`].
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError>;

    /// Whether `path`, which lies in `folder` by its name, leads out of it: by a symbolic link.
    fn leads_out(&self, folder: &Path, path: &Path) -> bool;
}

/// Why a file cannot be read. The text is the same on every machine, unless the machine itself refuses.
#[derive(Debug)]
pub enum ReadError {
    /// There is no such file.
    Missing,
    /// It is a folder, a pipe or the like.
    NotRegular,
    /// It has so many bytes.
    TooLarge(u64),
    /// What the machine says.
    Refused(io::Error),
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Sources for Disk {
    /// Looks before it opens: a pipe would make it wait.
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(ReadError::NotRegular);
        }
        if meta.len() > MAX_FILE_BYTES {
            return Err(ReadError::TooLarge(meta.len()));
        }
        let mut bytes = Vec::new();
        // It may grow while it is read.
        fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn leads_out(&self, folder: &Path, path: &Path) -> bool {
        let real = |p: &Path| if p.as_os_str().is_empty() { Path::new(".").canonicalize() } else { p.canonicalize() };
        matches!((real(folder), real(path)), (Ok(folder), Ok(file)) if !file.starts_with(&folder))
    }
}

/// Files by their path; `./` does not count.
impl Sources for Memory {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let path: PathBuf = path.components().filter(|c| *c != Component::CurDir).collect();
        let bytes = path.to_str().and_then(|path| self.files.get(path)).ok_or(ReadError::Missing)?;
        match bytes.len() as u64 {
            size if size > MAX_FILE_BYTES => Err(ReadError::TooLarge(size)),
            _ => Ok(bytes.clone()),
        }
    }

    fn leads_out(&self, _: &Path, _: &Path) -> bool {
        false
    }
}

/// Reads a scenario file.
///
/// # Errors
/// It cannot be read, is no regular file, is larger than [`MAX_FILE_BYTES`] or not UTF-8.
pub fn read_file(sources: &dyn Sources, path: &Path) -> Result<SourceFile, Diagnostic> {
    let name = path.to_string_lossy();
    let unreadable = |message: String| Diagnostic::new(&SourceFile::new(name.clone(), ""), 0..0, message);
    let bytes = sources.read(path).map_err(|error| match error {
        ReadError::Missing => unreadable("the file cannot be read: there is none".to_owned()),
        ReadError::NotRegular => unreadable("this is not a regular file".to_owned()),
        ReadError::TooLarge(size) => unreadable(too_large(size)).hint(TOO_LARGE_HINT),
        ReadError::Refused(e) => unreadable(format!("the file cannot be read: {e}")),
    })?;
    let source = SourceFile::new(name.clone(), String::from_utf8(bytes).map_err(|e| not_utf8(&name, &e))?);
    source.check_size()?;
    Ok(source)
}

/// The path of a file that a scenario names: in its folder or below, by no detour.
///
/// # Errors
/// It lies elsewhere: the message says so.
pub(super) fn beside(sources: &dyn Sources, source: &SourceFile, name: &str) -> Result<PathBuf, String> {
    let relative = Path::new(name);
    let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let folder = Path::new(source.path()).parent().unwrap_or(Path::new(""));
    let path = folder.join(relative);
    if name.is_empty() || !inside || sources.leads_out(folder, &path) {
        return Err(format!("{} lies outside the scenario's folder", quote(name)));
    }
    Ok(path)
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing,
            _ => ReadError::Refused(error),
        }
    }
}

/// The error points into the text up to the bad byte, with what follows in its line, so that the line can be shown.
fn not_utf8(path: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let rest = bytes[at..].split(|&b| b == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..at + rest.len()]).into_owned();
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let bad = char::REPLACEMENT_CHARACTER.len_utf8();
    let message = format!("the file is not UTF-8: byte {at} (0x{:02x}) begins no character", bytes[at]);
    Diagnostic::new(&SourceFile::new(path, text), at - bom..at - bom + bad, message).hint("save the file as UTF-8")
}

#[cfg(test)]
mod tests;
