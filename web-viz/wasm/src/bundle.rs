//! Bundles: files with their names, in one piece of memory.
//!
//! ```text
//! file:   length of the name (u32) | length of the content (u32) | name, in UTF-8 | content
//! bundle: file, file, … up to its end
//! ```
//!
//! Numbers are little-endian.

/// The length of the two numbers before a file's name.
const HEAD: usize = 8;

/// Cuts a bundle into names and contents.
///
/// # Errors
/// It ends within a file, or a name is not UTF-8; the message says at which byte.
pub(crate) fn read(bundle: &[u8]) -> Result<Vec<(&str, &[u8])>, String> {
    let mut files = vec![];
    let mut rest = bundle;
    while !rest.is_empty() {
        let at = bundle.len() - rest.len();
        let (file, behind) = file(rest).ok_or_else(|| format!("byte {at} of the bundle begins no whole file"))?;
        files.push(file);
        rest = behind;
    }
    Ok(files)
}

/// Appends a file to a bundle. It is shorter than 4 GiB, as all of WebAssembly's memory is.
pub(crate) fn push(bundle: &mut Vec<u8>, name: &str, content: &[u8]) {
    for length in [name.len(), content.len()] {
        bundle.extend_from_slice(&(length as u32).to_le_bytes());
    }
    bundle.extend_from_slice(name.as_bytes());
    bundle.extend_from_slice(content);
}

/// What a file takes in a bundle, in bytes.
pub(crate) fn size(name: &str, content: &[u8]) -> usize {
    HEAD + name.len() + content.len()
}

type File<'a> = (&'a str, &'a [u8]);

/// The first file of a bundle, and what follows it.
fn file(bundle: &[u8]) -> Option<(File<'_>, &[u8])> {
    let (name_len, rest) = number(bundle)?;
    let (content_len, rest) = number(rest)?;
    let (name, rest) = rest.split_at_checked(name_len)?;
    let (content, rest) = rest.split_at_checked(content_len)?;
    Some(((std::str::from_utf8(name).ok()?, content), rest))
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read() {
        let files = [("a", &b"1"[..]), ("", b""), ("d/\u{e9}", &[0; 300])];
        let mut bundle = vec![];
        files.iter().for_each(|(name, content)| push(&mut bundle, name, content));
        assert_eq!(bundle[..10], [1, 0, 0, 0, 1, 0, 0, 0, b'a', b'1']);
        assert_eq!(read(&bundle).unwrap(), files);
        assert_eq!(bundle.len(), files.iter().map(|(name, content)| size(name, content)).sum::<usize>());
        // Cut anywhere but between two files it is none.
        let whole = [0, 10, 18, bundle.len()];
        for end in (0..=bundle.len()).filter(|end| !whole.contains(end)) {
            let at = whole.iter().rfind(|start| **start < end).unwrap();
            assert_eq!(read(&bundle[..end]), Err(format!("byte {at} of the bundle begins no whole file")), "{end}");
        }
    }

    #[test]
    fn lengths_that_lie() {
        for (what, bundle) in [
            ("a name of 4 GiB", &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'a'][..]),
            ("a content of 4 GiB", &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'a', b'1']),
            ("both", &[0xff; 8]),
            ("a name that is not UTF-8", &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
        ] {
            assert_eq!(read(bundle), Err("byte 0 of the bundle begins no whole file".to_owned()), "{what}");
        }
    }
}
