//! An answer as curl reads it (lib/http.c, lib/transfer.c).

use super::super::chunked::Chunked;

/// Fields that an answer may have.
const MAX_FIELDS: usize = 256;
/// CURL_MAX_HTTP_HEADER: the longest head, in bytes.
const MAX_HEAD: usize = 100 * 1024;

/// An answer, as far as it has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Response {
    /// What has come of a head.
    bytes: Vec<u8>,
    /// The request was a HEAD.
    is_head: bool,
    pub code: u16,
    /// Of HTTP/1.
    pub minor: u8,
    pub fields: usize,
    pub head_size: u64,
    pub content_type: String,
    pub location: Option<String>,
    /// Content-Length
    pub length: Option<u64>,
    chunked: Option<Chunked>,
    /// The connection does not stay.
    pub close: bool,
    body: Body,
    /// Bytes of the body.
    pub received: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Body {
    /// The head is not complete.
    #[default]
    Unknown,
    None,
    Length,
    Chunked,
    /// Up to the end of the stream.
    Rest,
    Done,
}

/// What came out of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A head is complete: its text.
    Head(String),
    /// Some of the body.
    Body(Vec<u8>),
    /// More than the body has come: so many bytes.
    Excess(usize),
}

/// What is wrong with an answer: curl's exit status and message.
pub(super) type Bad = (i32, String);

impl Response {
    pub(super) fn new(is_head: bool) -> Self {
        Response { is_head, ..Response::default() }
    }

    /// All of it has come.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.body, Body::None | Body::Done)
    }

    /// The last head has come.
    pub(super) fn has_head(&self) -> bool {
        self.body != Body::Unknown
    }

    /// How much the next recv asks for, of `most`.
    pub(super) fn wants(&self, most: usize) -> usize {
        match (self.body, self.length) {
            (Body::Length, Some(length)) => {
                usize::try_from(length.saturating_sub(self.received)).unwrap_or(most).clamp(1, most)
            }
            _ => most,
        }
    }

    /// Takes in bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Bad> {
        if self.has_head() {
            return self.body(bytes, events);
        }
        self.bytes.extend(bytes);
        loop {
            let start = &self.bytes[..self.bytes.len().min(5)];
            if !b"HTTP/".starts_with(start) {
                return Err((1, "Received HTTP/0.9 when not allowed".into()));
            }
            if !self.bytes.contains(&b'\n') {
                return Ok(());
            }
            let Some(end) = self.head()? else { return Ok(()) };
            let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
            self.head_size += end as u64;
            self.bytes.drain(..end);
            events.push(Event::Head(head));
            // 1xx: another head follows.
            if self.code >= 200 {
                break;
            }
            self.body = Body::Unknown;
        }
        let rest = std::mem::take(&mut self.bytes);
        self.body(&rest, events)
    }

    /// The stream has ended.
    pub(super) fn eof(&mut self) -> Result<(), Bad> {
        match self.body {
            Body::Unknown if self.bytes.is_empty() && self.head_size == 0 => {
                Err((52, "Empty reply from server".into()))
            }
            Body::Unknown => {
                // A head that is cut off is all there is.
                let line = String::from_utf8_lossy(&self.bytes).into_owned();
                let mut words = line.split_ascii_whitespace().skip(1);
                self.code = words.next().and_then(|code| code.parse().ok()).unwrap_or(self.code);
                self.head_size += self.bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
                self.body = Body::Done;
                Ok(())
            }
            Body::Length => {
                let left = self.length.unwrap_or(0).saturating_sub(self.received);
                Err((18, format!("transfer closed with {left} bytes remaining to read")))
            }
            Body::Chunked => Err((18, "transfer closed with outstanding read data remaining".into())),
            Body::Rest | Body::None | Body::Done => {
                self.body = Body::Done;
                Ok(())
            }
        }
    }

    /// Reads a head; where it ends.
    fn head(&mut self) -> Result<Option<usize>, Bad> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let end = match head.parse(&self.bytes) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if self.bytes.len() > MAX_HEAD => {
                return Err((56, format!("Rejected {} bytes header (max is {MAX_HEAD})!", self.bytes.len())));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(e) => return Err(self.refused(e)),
        };
        let field = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
        let text = |name: &str| field(name).map(|v| String::from_utf8_lossy(v).into_owned());
        let has = |name: &str, word: &str| text(name).is_some_and(|v| v.to_ascii_lowercase().contains(word));
        self.code = head.code.unwrap_or(0);
        self.minor = head.version.unwrap_or(1);
        self.fields = head.headers.len();
        self.content_type = text("content-type").unwrap_or_default();
        self.location = text("location");
        self.close = has("connection", "close") || self.minor == 0 && !has("connection", "keep-alive");
        let length = text("content-length");
        self.length = match &length {
            Some(length) => match length.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => return Err((8, "Invalid Content-Length: value".into())),
            },
            None => None,
        };
        self.body = if self.is_head || matches!(self.code, 204 | 304) || self.code < 200 {
            Body::None
        } else if has("transfer-encoding", "chunked") {
            (self.chunked, self.length) = (Some(Chunked::new()), None);
            Body::Chunked
        } else {
            match self.length {
                Some(0) => Body::None,
                Some(_) => Body::Length,
                None => {
                    self.close = true;
                    Body::Rest
                }
            }
        };
        Ok(Some(end))
    }

    fn refused(&mut self, e: httparse::Error) -> Bad {
        let line = String::from_utf8_lossy(&self.bytes).into_owned();
        let line = line.lines().next().unwrap_or_default().to_owned();
        let version = line.split(' ').next().unwrap_or_default().trim_start_matches("HTTP/").to_owned();
        match e {
            httparse::Error::Version => (1, format!("Unsupported HTTP version ({version}) in response")),
            httparse::Error::TooManyHeaders => (56, format!("more than {MAX_FIELDS} fields (MAX_FIELDS)")),
            httparse::Error::Status => (1, "Unsupported HTTP/1 subversion in response".into()),
            _ => {
                self.code = line.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
                self.head_size = line.len() as u64 + 2;
                (8, "Header without colon".into())
            }
        }
    }

    fn body(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Bad> {
        let mut content = Vec::new();
        let taken = match (self.body, &mut self.chunked) {
            (Body::Length, _) => {
                let left = self.length.unwrap_or(0).saturating_sub(self.received);
                let now = &bytes[..usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())];
                content.extend(now);
                if now.len() as u64 == left {
                    self.body = Body::Done;
                }
                now.len()
            }
            (Body::Chunked, Some(chunked)) => {
                let taken = chunked.feed(bytes, |b| content.extend(b));
                let bad = "Illegal or missing hexadecimal sequence in chunked-encoding";
                let taken = taken.map_err(|_| (56, bad.to_owned()))?;
                if chunked.is_done() {
                    self.body = Body::Done;
                }
                taken
            }
            (Body::Rest, _) => {
                content.extend(bytes);
                bytes.len()
            }
            _ => 0,
        };
        self.received += content.len() as u64;
        if !content.is_empty() {
            events.push(Event::Body(content));
        }
        if taken < bytes.len() {
            self.close = true;
            events.push(Event::Excess(bytes.len() - taken));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What curl 7.88.1 made of the same bytes, given by exit status, code, bytes of body and of heads, and message.
    #[test]
    fn answers() {
        for (bytes, want) in [
            ("", "52 000 0 0 Empty reply from server"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
                "18 200 5 40 transfer closed with 95 bytes remaining to read",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n\n\r\n0\r\n\r\n", "0 200 6 47 "),
            ("HTTP/1.1 200 OK\r\n\r\nhello\n", "0 200 6 19 "),
            ("hello\n", "1 000 0 0 Received HTTP/0.9 when not allowed"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "0 204 0 52 "),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
                "56 200 0 47 Illegal or missing hexadecimal sequence in chunked-encoding",
            ),
            ("HTTP/1.1 200 OK\r\nFoo", "0 200 0 17 "),
            ("HTTP/1.1 200 OK\r\nNocolon\r\nContent-Length: 0\r\n\r\n", "8 200 0 17 Header without colon"),
            ("HTTP/7.1 200 OK\r\nContent-Length: 0\r\n\r\n", "1 000 0 0 Unsupported HTTP version (7.1) in response"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "0 200 3 38 "),
        ] {
            let mut r = Response::new(false);
            let mut events = vec![];
            let mut result = Ok(());
            for byte in bytes.as_bytes().chunks(if bytes.contains("abcdef") { 100 } else { 1 }) {
                result = r.feed(byte, &mut events);
                if result.is_err() || r.is_done() {
                    break;
                }
            }
            if result.is_ok() && !r.is_done() {
                result = r.eof();
            }
            let (exit, message) = result.err().unwrap_or_default();
            assert_eq!(format!("{exit} {:03} {} {} {message}", r.code, r.received, r.head_size), want, "{bytes:?}");
        }
    }
}
