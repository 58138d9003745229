//! cat(1) of coreutils, for the files of /proc and /sys in which the kernel shows a namespace.

use super::{Action, SyntaxError, Word};

/// Below these.
const FOLDERS: [&str; 3] = ["/proc/net/", "/proc/sys/", "/sys/class/net/"];

/// `cat FILE…`
pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let hint = || format!("the kernel's files are: {}…", FOLDERS.join("…, "));
    let (command, files) = words.split_first().ok_or_else(|| SyntaxError::new(0..0, "there is no command"))?;
    if files.is_empty() {
        return Err(SyntaxError::at(command, "the standard input of cat is not simulated").hint(hint()));
    }
    let file = |word: &Word| {
        if FOLDERS.iter().any(|folder| word.text.starts_with(folder)) {
            Ok(word.text.clone())
        } else {
            Err(SyntaxError::at(word, format!("\"{}\" is not simulated", word.text)).hint(hint()))
        }
    };
    files.iter().map(file).collect::<Result<_, _>>().map(Action::Cat)
}
