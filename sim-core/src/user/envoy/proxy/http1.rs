//! HTTP/1.1 (RFC 9112) as Envoy reads and writes it (source/common/http/http1/codec_impl.cc): one message after the
//! other, names of fields in small letters, fields of the connection left out.

use super::head::{Event, Fields, Head, Request, Response, is_bodiless, reason};
use crate::user::http::chunked::Chunked;

/// max_request_headers_kb: a head is no longer.
const MAX_HEAD: usize = 60 * 1024;
/// max_headers_count.
const MAX_FIELDS: usize = 100;
/// Fields that are for one connection alone.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
/// The one message at a time.
const STREAM: u32 = 1;

/// An end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Codec {
    role: Role,
    body: Body,
    /// What it writes now is in chunks.
    chunked: bool,
    /// Both messages are over: the next may begin.
    free: bool,
    /// The connection ends with this exchange.
    pub last: bool,
    /// The method of the request that is under way.
    method: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Client,
    Server,
}

/// What follows of the message that comes.
#[derive(Clone, Debug)]
enum Body {
    /// A head, if one is expected.
    Head,
    Length(u64),
    Chunked(Chunked),
    /// All up to the end of the stream.
    UntilClose,
}

impl Codec {
    pub fn new(role: Role) -> Self {
        Codec { role, body: Body::Head, chunked: false, free: true, last: false, method: String::new() }
    }

    /// What `input` has, which is taken from it.
    pub fn receive(&mut self, input: &mut Vec<u8>) -> Vec<Event> {
        let mut events = vec![];
        while !input.is_empty() {
            let before = input.len();
            match &mut self.body {
                Body::Head if self.role == Role::Server && !self.free => break,
                Body::Head if self.role == Role::Client && self.free => {
                    // Nobody has asked.
                    events.push(Event::Bad(502));
                    input.clear();
                }
                Body::Head => match self.head(input) {
                    Some(event) => events.push(event),
                    None => break,
                },
                Body::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= taken as u64;
                    let end = *left == 0;
                    events.push(Event::Data { stream: STREAM, data: input.drain(..taken).collect(), end });
                    self.read_on(end);
                }
                Body::Chunked(chunked) => {
                    let mut data = vec![];
                    let Ok(taken) = chunked.feed(input, |piece| data.extend_from_slice(piece)) else {
                        input.clear();
                        events.push(Event::Bad(400));
                        break;
                    };
                    input.drain(..taken);
                    let end = chunked.is_done();
                    if end || !data.is_empty() {
                        events.push(Event::Data { stream: STREAM, data, end });
                    }
                    self.read_on(end);
                }
                Body::UntilClose => {
                    events.push(Event::Data { stream: STREAM, data: std::mem::take(input), end: false });
                }
            }
            if matches!(events.last(), Some(Event::Bad(_))) || input.len() == before {
                break;
            }
        }
        events
    }

    /// The peer has ended its stream: what that ends.
    pub fn end_of_stream(&mut self) -> Vec<Event> {
        match self.body {
            Body::UntilClose => {
                self.body = Body::Head;
                vec![Event::Data { stream: STREAM, data: vec![], end: true }]
            }
            _ => vec![],
        }
    }

    /// The stream of the next request (of a client).
    pub fn open(&mut self) -> u32 {
        self.free = false;
        STREAM
    }

    /// Both messages are over.
    pub fn finish(&mut self) {
        self.free = true;
    }

    /// The peer's message has not ended.
    pub fn is_reading(&self) -> bool {
        !matches!(self.body, Body::Head)
    }

    fn read_on(&mut self, end: bool) {
        if end {
            self.body = Body::Head;
        }
    }

    /// Takes a head; none if it has not come whole.
    fn head(&mut self, input: &mut Vec<u8>) -> Option<Event> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (result, parsed) = match self.role {
            Role::Server => {
                let mut head = httparse::Request::new(&mut fields);
                let result = head.parse(input);
                (result, self.request(&head, result))
            }
            Role::Client => {
                let mut head = httparse::Response::new(&mut fields);
                let result = head.parse(input);
                (result, self.response(&head, result))
            }
        };
        let too_long = matches!(result, Err(httparse::Error::TooManyHeaders)) || input.len() > MAX_HEAD;
        let event = match (result, parsed) {
            (Ok(httparse::Status::Complete(end)), Ok(event)) if end <= MAX_HEAD => {
                input.drain(..end);
                // 1xx: the response itself is to come.
                if let Event::Head { head: Head::Response(Response { status: 100..200, .. }), .. } = event {
                    return self.head(input);
                }
                return Some(event);
            }
            (Ok(httparse::Status::Partial), _) if !too_long => return None,
            (Ok(httparse::Status::Complete(_)), Err(status)) => Event::Bad(status),
            _ => Event::Bad(if too_long { 431 } else { 400 }),
        };
        input.clear();
        self.last = true;
        Some(event)
    }

    fn request(&mut self, head: &httparse::Request<'_, '_>, parsed: Parsed) -> Result<Event, u16> {
        if !matches!(parsed, Ok(httparse::Status::Complete(_))) {
            return Err(400);
        }
        // accept_http_10 is off.
        if head.version != Some(1) {
            return Err(426);
        }
        let mut fields = fields(head.headers);
        let (path, authority) = target(head.path.unwrap_or_default());
        let authority = authority.or_else(|| fields.get("host").map(str::to_owned)).ok_or(400_u16)?;
        self.method = head.method.unwrap_or_default().to_owned();
        self.last = fields.has_word("connection", "close");
        self.body = body(&fields)?.unwrap_or(Body::Head);
        self.free = false;
        fields.remove(&["host"]);
        fields.remove(&HOP_BY_HOP);
        let (method, scheme) = (self.method.clone(), "http".to_owned());
        let head = Head::Request(Request { method, path, authority, scheme, fields });
        Ok(Event::Head { stream: STREAM, head, end: !self.is_reading() })
    }

    fn response(&mut self, head: &httparse::Response<'_, '_>, parsed: Parsed) -> Result<Event, u16> {
        if !matches!(parsed, Ok(httparse::Status::Complete(_))) {
            return Err(502);
        }
        let (status, mut fields) = (head.code.unwrap_or_default(), fields(head.headers));
        if status >= 200 {
            let keep = head.version == Some(1) || fields.has_word("connection", "keep-alive");
            self.last |= !keep || fields.has_word("connection", "close");
            self.body = match body(&fields).map_err(|_| 502_u16)? {
                _ if is_bodiless(status, &self.method) => Body::Head,
                Some(body) => body,
                None if fields.get("content-length").is_some() => Body::Head,
                None => Body::UntilClose,
            };
            self.last |= matches!(self.body, Body::UntilClose);
        }
        fields.remove(&HOP_BY_HOP);
        let head = Head::Response(Response { status, fields });
        Ok(Event::Head { stream: STREAM, head, end: !self.is_reading() })
    }

    /// Writes a head; `end` if nothing follows (encodeHeadersBase).
    pub fn send_head(&mut self, head: &Head, end: bool, out: &mut Vec<u8>) {
        let fields = match head {
            Head::Request(r) => {
                self.method.clone_from(&r.method);
                out.extend(format!("{} {} HTTP/1.1\r\nhost: {}\r\n", r.method, r.path, r.authority).bytes());
                &r.fields
            }
            Head::Response(r) => {
                out.extend(format!("HTTP/1.1 {} {}\r\n", r.status, reason(r.status)).bytes());
                &r.fields
            }
        };
        for (name, value) in &fields.0 {
            line(out, name, value);
        }
        let has_length = fields.get("content-length").is_some();
        let (bodiless, is_empty_request) = match head {
            Head::Request(r) => (false, end && matches!(r.method.as_str(), "GET" | "HEAD" | "CONNECT")),
            Head::Response(r) => (is_bodiless(r.status, &self.method), false),
        };
        let informational = matches!(head, Head::Response(Response { status: 100..200, .. }));
        if self.last && self.role == Role::Server && !informational {
            line(out, "connection", b"close");
        }
        self.chunked = !end && !has_length && !bodiless;
        if self.chunked {
            line(out, "transfer-encoding", b"chunked");
        } else if end && !has_length && !bodiless && !is_empty_request {
            line(out, "content-length", b"0");
        }
        out.extend(b"\r\n");
    }

    /// Writes some of a body, or its end.
    pub fn send_data(&mut self, data: &[u8], end: bool, out: &mut Vec<u8>) {
        if self.chunked && !data.is_empty() {
            out.extend(format!("{:x}\r\n", data.len()).bytes());
        }
        out.extend_from_slice(data);
        if self.chunked && !data.is_empty() {
            out.extend(b"\r\n");
        }
        if self.chunked && end {
            out.extend(b"0\r\n\r\n");
        }
    }
}

/// What httparse says.
type Parsed = Result<httparse::Status<usize>, httparse::Error>;

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend(b": ");
    out.extend_from_slice(value);
    out.extend(b"\r\n");
}

fn fields(headers: &[httparse::Header<'_>]) -> Fields {
    Fields(headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec())).collect())
}

/// The path of a request's target, and its authority if it has one.
fn target(target: &str) -> (String, Option<String>) {
    match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let slash = if path.starts_with('/') { "" } else { "/" };
            (format!("{slash}{path}"), Some(authority.to_owned()))
        }
        None => (target.to_owned(), None),
    }
}

/// How a body is delimited; none if there is none, or nothing says so.
fn body(fields: &Fields) -> Result<Option<Body>, u16> {
    let length = fields.get("content-length");
    if fields.0.iter().filter(|(name, _)| name == "content-length").count() > 1 {
        return Err(400);
    }
    match (fields.get("transfer-encoding"), length) {
        (Some(_), Some(_)) => Err(400),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case("chunked") => Ok(Some(Body::Chunked(Chunked::new()))),
        (Some(_), None) => Err(501),
        (None, Some(length)) => {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let length = length.parse::<u64>().ok().filter(|_| digits).ok_or(400_u16)?;
            Ok((length > 0).then_some(Body::Length(length)))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server() -> Codec {
        Codec::new(Role::Server)
    }

    /// What a codec makes of bytes that come in pieces: heads and bodies as text.
    fn read(codec: &mut Codec, bytes: &[u8], step: usize) -> String {
        let (mut input, mut text) = (vec![], String::new());
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            for event in codec.receive(&mut input) {
                match event {
                    Event::Head { head: Head::Request(r), .. } => {
                        let names: Vec<&str> = r.fields.0.iter().map(|(n, _)| n.as_str()).collect();
                        text += &format!("{} {} {} {}|", r.method, r.authority, r.path, names.join(","));
                    }
                    Event::Head { head: Head::Response(r), .. } => text += &format!("{}|", r.status),
                    Event::Data { data, .. } => text += &String::from_utf8(data).unwrap(),
                    event => text += &format!("{event:?}"),
                }
            }
        }
        text
    }

    #[test]
    fn requests() {
        for (text, want) in [
            ("GET /a HTTP/1.1\r\nHost: web\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n", "GET web /a accept|"),
            ("GET http://web:80?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET web:80 /?x |"),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "PUT a / content-length|abc"),
            ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "PUT a / |abc"),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "Bad(426)"),
            ("GET / HTTP/1.1\r\n\r\n", "Bad(400)"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "Bad(400)"),
            ("GARBAGE\r\n\r\n", "Bad(400)"),
        ] {
            for step in [1, 5, 1000] {
                assert_eq!(read(&mut server(), text.as_bytes(), step), want, "{text:?}");
            }
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        assert_eq!(read(&mut server(), long.as_bytes(), 4000), "Bad(431)");
    }

    #[test]
    fn a_second_request_waits() {
        let mut codec = server();
        let mut input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        assert_eq!(codec.receive(&mut input).len(), 1);
        assert_eq!(codec.receive(&mut input), []);
        codec.finish();
        assert_eq!(codec.receive(&mut input).len(), 1);
        assert_eq!(input, b"");
    }

    #[test]
    fn responses() {
        for (method, text, want, last) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200|hi", false),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "200|", false),
            ("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204|", false),
            ("GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", "200|hi", true),
            ("GET", "HTTP/1.0 200 OK\r\n\r\nhi", "200|hi", true),
            ("GET", "HTTP/1.1 x", "Bad(400)", true),
        ] {
            let mut codec = Codec::new(Role::Client);
            codec.open();
            let request = Request { method: method.into(), ..Request::default() };
            codec.send_head(&Head::Request(request), true, &mut vec![]);
            assert_eq!((read(&mut codec, text.as_bytes(), 3).as_str(), codec.last), (want, last), "{text:?}");
        }
        // Nobody has asked for it.
        assert_eq!(read(&mut Codec::new(Role::Client), b"HTTP/1.1 408 Request Timeout\r\n\r\n", 99), "Bad(502)");
    }

    #[test]
    fn what_is_written() {
        let fields = Fields(vec![("accept".into(), b"*/*".to_vec())]);
        let request = |method: &str| {
            let (path, authority) = ("/x".to_owned(), "web".to_owned());
            Head::Request(Request {
                method: method.into(),
                path,
                authority,
                scheme: "http".into(),
                fields: fields.clone(),
            })
        };
        let response = |status| Head::Response(Response { status, fields: Fields::default() });
        for (role, head, end, want) in [
            (Role::Client, request("GET"), true, "GET /x HTTP/1.1\r\nhost: web\r\naccept: */*\r\n\r\n"),
            (
                Role::Client,
                request("POST"),
                true,
                "POST /x HTTP/1.1\r\nhost: web\r\naccept: */*\r\ncontent-length: 0\r\n\r\n",
            ),
            (Role::Server, response(503), true, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            (Role::Server, response(204), true, "HTTP/1.1 204 No Content\r\n\r\n"),
            (
                Role::Server,
                response(200),
                false,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ] {
            let mut out = vec![];
            let mut codec = Codec::new(role);
            codec.send_head(&head, end, &mut out);
            if !end {
                codec.send_data(b"abc", false, &mut out);
                codec.send_data(b"", true, &mut out);
            }
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, is_server: bool) {
            let mut codec = Codec::new(if is_server { Role::Server } else { Role::Client });
            if !is_server {
                codec.open();
            }
            codec.receive(&mut bytes.clone());
        }
    }
}
