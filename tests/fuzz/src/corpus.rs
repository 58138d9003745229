//! The inputs that are kept: a file for each target, an input on each line, in Rust's escapes (`\n`, `\xff`). They
//! stand in order, so that a change shows what came and what went.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fs, io};

/// The file of a target's inputs.
#[must_use]
pub fn path(target: &str) -> PathBuf {
    folder().join("corpus").join(target)
}

/// The file of a target's dictionary, as libFuzzer reads it.
#[must_use]
pub fn dictionary(target: &str) -> PathBuf {
    folder().join("dict").join(target)
}

/// The inputs of a target.
///
/// # Errors
/// The file cannot be read, or a line of it is no input.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let path = path(target);
    let wrong = |line: usize| io::Error::other(format!("{}:{line}: a wrong escape", path.display()));
    let text = fs::read_to_string(&path)?;
    (1..).zip(text.lines()).map(|(number, line)| unescape(line).ok_or_else(|| wrong(number))).collect()
}

/// Keeps these inputs in place of those that are there.
///
/// # Errors
/// The file cannot be written.
pub fn write(target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    let lines: BTreeSet<String> = inputs.into_iter().map(|i| escape(&i)).collect();
    fs::write(path(target), lines.iter().map(|l| format!("{l}\n")).collect::<String>())
}

/// An input as a line.
#[must_use]
pub fn escape(input: &[u8]) -> String {
    input.escape_ascii().to_string()
}

/// The input that [`escape`] made a line of.
#[must_use]
pub fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
                quoted @ (b'\\' | b'\'' | b'"') => quoted,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
