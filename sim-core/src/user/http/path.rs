//! The path of a request, decoded.

use std::fmt::Write;

/// Replaces %XX by the byte; none if what follows a % are no two digits.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    Some(decoded)
}

/// Writes the bytes that `plain` does not accept as %XX.
pub(super) fn encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Merges slashes and takes `.` and `..` out; none if that leads above the root.
pub(super) fn normalize(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = vec![];
    let mut slash = false;
    for part in path.split('/').skip(1) {
        slash = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let mut normal: String = parts.iter().flat_map(|p| ["/", p]).collect();
    if slash {
        normal.push('/');
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal() {
        for (path, want) in [
            ("/", Some("/")),
            ("/a//b/", Some("/a/b/")),
            ("/a/./b", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("/a/..", Some("/")),
            ("/..", None),
            ("/a/../../b", None),
        ] {
            assert_eq!(normalize(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn percent() {
        assert_eq!(decode("/a%20b").as_deref(), Some(b"/a b".as_slice()));
        assert_eq!(decode("/a%2"), None);
        assert_eq!(decode("/a%zz"), None);
        assert_eq!(encode("/a b", |b| b != b' '), "/a%20b");
    }
}
