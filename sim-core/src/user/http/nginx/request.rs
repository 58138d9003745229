//! A request as nginx reads it (src/http/ngx_http_request.c, ngx_http_parse.c).

use super::super::chunked::Chunked;
use super::super::path;
use super::response::Status;

/// As many fields a request may have; nginx has no such limit, but one of bytes.
const MAX_FIELDS: usize = 256;

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub method: Method,
    /// The path, decoded, without `.`, `..` and double slashes.
    pub path: String,
    /// What follows a question mark, with it.
    pub query: String,
    /// The client goes on over this connection.
    pub keepalive: bool,
    /// The name in the Host field, without its port.
    pub host: Option<String>,
    pub if_modified_since: Option<String>,
    pub if_none_match: Option<String>,
    pub body: Option<Body>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Other,
}

/// What follows the head of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
}

/// What the bytes of a connection hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Parsed {
    /// More is to come.
    Partial,
    /// Nothing that it could answer otherwise. What is wrong was found at the end of the head, or within it.
    Bad(Status, Where),
    /// A request, and where it ends.
    Request(Box<Request>, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    Within,
    End,
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Ok(httparse::Status::Complete(end)) => match target(head.path.unwrap_or_default()) {
            Ok(target) => match request(&head, target) {
                Ok(request) => Parsed::Request(Box::new(request), end),
                Err(status) => Parsed::Bad(status, if end == bytes.len() { Where::End } else { Where::Within }),
            },
            Err(status) => Parsed::Bad(status, Where::Within),
        },
        Err(httparse::Error::Version) if is_later_version(bytes) => {
            Parsed::Bad(Status::VersionNotSupported, Where::Within)
        }
        Err(_) => Parsed::Bad(Status::BadRequest, Where::Within),
    }
}

/// HTTP/2 and later are refused in words of their own.
fn is_later_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let word = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    word.strip_prefix(b"HTTP/").and_then(|v| v.first()).is_some_and(|major| (b'2'..=b'9').contains(major))
}

/// Path, query and authority of a request's target.
type Target = (String, String, Option<String>);

fn request(head: &httparse::Request<'_, '_>, target: Target) -> Result<Request, Status> {
    let field = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let text = |name: &str| field(name).map(|v| String::from_utf8_lossy(v).into_owned());
    let (path, query, authority) = target;
    let is_11 = head.version == Some(1);
    let host = match (authority, text("host")) {
        (Some(host), _) => Some(host),
        (None, Some(host)) => Some(host),
        (None, None) if is_11 => return Err(Status::BadRequest),
        (None, None) => None,
    };
    if head.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("host")).count() > 1 {
        return Err(Status::BadRequest);
    }
    let connection = text("connection").unwrap_or_default().to_ascii_lowercase();
    let keepalive = if connection.contains("close") { false } else { is_11 || connection.contains("keep-alive") };
    let method = match head.method.unwrap_or_default() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "TRACE" | "CONNECT" => return Err(Status::NotAllowed),
        _ => Method::Other,
    };
    Ok(Request {
        method,
        path,
        query,
        keepalive,
        host: host.map(|h| h.split(':').next().unwrap_or_default().to_ascii_lowercase()),
        if_modified_since: text("if-modified-since"),
        if_none_match: text("if-none-match"),
        body: body(text("content-length").as_deref(), text("transfer-encoding").as_deref(), is_11)?,
    })
}

fn target(target: &str) -> Result<Target, Status> {
    let (rest, authority) = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (&rest[end..], Some(rest[..end].to_owned()))
        }
        None => (target, None),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let path = if path.is_empty() && authority.is_some() { "/" } else { path };
    if !path.starts_with('/') {
        return Err(Status::BadRequest);
    }
    let decoded = path::decode(path).filter(|d| !d.contains(&0)).ok_or(Status::BadRequest)?;
    let path = path::normalize(&String::from_utf8_lossy(&decoded)).ok_or(Status::BadRequest)?;
    Ok((path, query.to_owned(), authority))
}

fn body(length: Option<&str>, encoding: Option<&str>, is_11: bool) -> Result<Option<Body>, Status> {
    match (length, encoding) {
        (None, None) => Ok(None),
        (None, Some(encoding)) if is_11 => match encoding.eq_ignore_ascii_case("chunked") {
            true => Ok(Some(Body::Chunked(Chunked::new()))),
            false => Err(Status::NotImplemented),
        },
        (_, Some(_)) => Err(Status::BadRequest),
        (Some(length), None) => {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let length = length.parse::<u64>().ok().filter(|_| digits).ok_or(Status::BadRequest)?;
            Ok((length > 0).then_some(Body::Length(length)))
        }
    }
}

impl Body {
    /// Takes what belongs to the body from the front of `bytes`; none if it is not what it should be.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let taken = match self {
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Body::Chunked(chunked) => chunked.feed(bytes, |_| {}).ok()?,
        };
        bytes.drain(..taken);
        Some(())
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.is_done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        for (text, want) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
            ("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", "Get / keepalive=true host=a"),
            (
                "\r\nHEAD //a/../b%20c?x#y HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
                "Head /b c?x keepalive=false host=a",
            ),
            ("GET /a HTTP/1.0\r\n\r\n", "Get /a keepalive=false host="),
            ("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "Get /a keepalive=true host="),
            ("GET http://B:81/x HTTP/1.1\r\nHost: a\r\n\r\n", "Get /x keepalive=true host=b"),
            ("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", "Other / keepalive=true host=a"),
            ("GET / HTTP/1.1\r\n\r\n", "BadRequest"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "BadRequest"),
            ("GET /.. HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequest"),
            ("GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequest"),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "BadRequest"),
            ("GARBAGE\r\n\r\n", "BadRequest"),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "VersionNotSupported"),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "NotAllowed"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "BadRequest"),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "NotImplemented"),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "BadRequest"),
        ] {
            let got = match parse(text.as_bytes()) {
                Parsed::Partial => "partial".to_owned(),
                Parsed::Bad(status, _) => format!("{status:?}"),
                Parsed::Request(r, end) => {
                    assert_eq!(end, text.len());
                    let host = r.host.unwrap_or_default();
                    format!("{:?} {}{} keepalive={} host={host}", r.method, r.path, r.query, r.keepalive)
                }
            };
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn bodies() {
        let mut bytes = b"abcGET".to_vec();
        let mut body = Body::Length(3);
        assert_eq!(body.take(&mut bytes), Some(()));
        assert_eq!((body.is_done(), bytes.as_slice()), (true, b"GET".as_slice()));
        let mut bytes = b"1\r\na\r\n0\r\n\r\nGET".to_vec();
        let mut body = Body::Chunked(Chunked::new());
        assert_eq!(body.take(&mut bytes), Some(()));
        assert_eq!((body.is_done(), bytes.as_slice()), (true, b"GET".as_slice()));
    }
}
