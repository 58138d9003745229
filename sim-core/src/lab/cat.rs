//! cat(1) of coreutils, for the files of /proc and /sys in which the kernel shows a namespace, and for those that its
//! programs find.

use super::show::{View, file};
use super::{Action, SyntaxError, Word};
use crate::base::files::{Files, Found};
use crate::engine::process::MAX_CONSOLE_BYTES;
use crate::kernel::errno::Errno;

/// Of the kernel's files, those below these.
const FOLDERS: [&str; 3] = ["/proc/net/", "/proc/sys/", "/sys/class/net/"];

/// `cat FILE…`
pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let (command, files) = words.split_first().ok_or_else(|| SyntaxError::new(0..0, "there is no command"))?;
    if files.is_empty() {
        return Err(SyntaxError::at(command, "the standard input of cat is not simulated").hint(hint()));
    }
    let file = |word: &Word| {
        let kernels = ["/proc", "/sys"].iter().any(|folder| below(&word.text, folder));
        if is_kernels(&word.text) || word.text.starts_with('/') && !kernels {
            Ok(word.text.clone())
        } else {
            Err(SyntaxError::at(word, format!("\"{}\" is not simulated", word.text)).hint(hint()))
        }
    };
    files.iter().map(file).collect::<Result<_, _>>().map(Action::Cat)
}

/// The text of a file.
///
/// # Errors
/// ENOENT, EISDIR, or what the kernel says of its own.
pub(super) fn text(view: View<'_>, files: &Files, path: &str) -> Result<String, Errno> {
    if is_kernels(path) {
        return file(view, path);
    }
    match files.find(path) {
        Found::File(file) => Ok(String::from_utf8_lossy(&file.read(0, MAX_CONSOLE_BYTES + 1)).into_owned()),
        Found::Directory => Err(Errno::EISDIR),
        Found::Nothing => Err(Errno::ENOENT),
    }
}

/// Whether the kernel makes this file.
fn is_kernels(path: &str) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn hint() -> String {
    format!("write a whole path; the kernel's files are: {}…", FOLDERS.join("…, "))
}
