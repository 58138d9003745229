//! A body in chunks (RFC 9112 section 7.1), as it comes in pieces.

/// Reads a body in chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::user) struct Chunked {
    at: At,
    /// The line that is being read: a size with its extensions, or a field behind the last chunk.
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Size,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// The end of line behind a chunk.
    DataEnd,
    Trailer,
    Done,
}

/// What is no chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::user) struct BadChunk;

/// The longest line between chunks, in bytes.
const MAX_LINE: usize = 4096;

impl Chunked {
    pub(in crate::user) fn new() -> Self {
        Chunked { at: At::Size, line: Vec::new() }
    }

    /// All of the body has come.
    pub(in crate::user) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes in bytes, up to the end of the body, and gives the content to `content`. How many were taken.
    pub(in crate::user) fn feed(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            match self.at {
                At::Done => break,
                At::Data(left) => {
                    let rest = &bytes[taken..];
                    let now = &rest[..usize::try_from(left).unwrap_or(usize::MAX).min(rest.len())];
                    content(now);
                    taken += now.len();
                    let left = left - now.len() as u64;
                    self.at = if left > 0 { At::Data(left) } else { At::DataEnd };
                    continue;
                }
                At::Size | At::DataEnd | At::Trailer => {
                    self.line.push(byte);
                    if self.line.len() > MAX_LINE {
                        return Err(BadChunk);
                    }
                    if byte == b'\n' {
                        self.end_of_line()?;
                    }
                }
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn end_of_line(&mut self) -> Result<(), BadChunk> {
        let line = std::mem::take(&mut self.line);
        let empty = matches!(line.as_slice(), b"\n" | b"\r\n");
        self.at = match self.at {
            At::Size if empty => return Err(BadChunk),
            At::Size => match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, 0))) => At::Trailer,
                Ok(httparse::Status::Complete((_, size))) => At::Data(size),
                _ => return Err(BadChunk),
            },
            At::DataEnd if empty => At::Size,
            At::DataEnd => return Err(BadChunk),
            At::Trailer if empty => At::Done,
            at => at,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        let body = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\nmore";
        for step in 1..body.len() {
            let (mut chunked, mut text, mut taken) = (Chunked::new(), vec![], 0);
            for piece in body.chunks(step) {
                taken += chunked.feed(piece, |b| text.extend(b)).unwrap();
            }
            assert_eq!((text.as_slice(), taken, chunked.is_done()), (b"hello!".as_slice(), body.len() - 4, true));
        }
    }

    #[test]
    fn bad() {
        for body in ["zz\r\n", "1\r\nab\r\n", "\r\n", "11111111111111111\r\n"] {
            assert_eq!(Chunked::new().feed(body.as_bytes(), |_| {}), Err(BadChunk), "{body:?}");
        }
    }
}
