//! What http.server answers (Lib/http/server.py of Python 3.11.2: BaseHTTPRequestHandler, SimpleHTTPRequestHandler).

use super::super::{date, path};
use crate::base::files::{File, Files, Found};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The Server field.
const SERVER: &str = "SimpleHTTP/0.6 Python/3.11.2";
/// http.client._MAXHEADERS and its companion for the request line.
const MAX_FIELDS: usize = 100;
const MAX_LINE: usize = 65_536;

/// What a server answers with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub files: &'a Files,
    pub root: &'a str,
    /// The time, in seconds since 1970.
    pub now_s: u64,
    pub client: Ipv4Addr,
}

/// An answer: what is written first, what is written next, and lines for standard error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Answer {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub file: Option<Arc<File>>,
    pub log: Vec<String>,
    /// The type of a file was guessed.
    pub guessed: bool,
}

/// A request line. An HTTP/0.9 client gets no head.
struct Request<'a> {
    line: String,
    is_head: bool,
    is_09: bool,
    path: &'a str,
}

#[derive(Clone, Copy)]
enum Code {
    BadRequest,
    NotFound,
    UriTooLong,
    FieldsTooLarge,
    Unsupported,
    Version,
}

impl Code {
    /// The number, and what the page of the error explains.
    fn text(self) -> (u16, &'static str) {
        match self {
            Code::BadRequest => (400, "Bad request syntax or unsupported method"),
            Code::NotFound => (404, "Nothing matches the given URI"),
            Code::UriTooLong => (414, "URI is too long"),
            Code::FieldsTooLarge => {
                (431, "The server is unwilling to process the request because its header fields are too large")
            }
            Code::Unsupported => (501, "Server does not support this operation"),
            Code::Version => (505, "Cannot fulfill request"),
        }
    }
}

impl Site<'_> {
    /// The answer to what was read up to the end of a head.
    pub(super) fn answer(&self, bytes: &[u8]) -> Answer {
        let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
        let line = String::from_utf8_lossy(&bytes[..end]).trim_end_matches(['\r', '\n']).to_owned();
        let blank = Request { line: line.clone(), is_head: false, is_09: true, path: "" };
        if end > MAX_LINE {
            return self.error(&Request { line: String::new(), ..blank }, Code::UriTooLong, "Request-URI Too Long");
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, path, is_09) = match words[..] {
            [] => return Answer::default(),
            [.., version] if words.len() >= 3 => match version.strip_prefix("HTTP/").and_then(number) {
                None => {
                    return self.error(&blank, Code::BadRequest, &format!("Bad request version ({})", repr(version)));
                }
                Some((major, _)) if major >= 2 => {
                    let base = version.trim_start_matches("HTTP/");
                    return self.error(&blank, Code::Version, &format!("Invalid HTTP version ({base})"));
                }
                Some(_) if words.len() > 3 => return self.bad_syntax(&line, &Request { is_09: false, ..blank }),
                Some(_) => (words[0], words[1], false),
            },
            [command, path] if command == "GET" => (command, path, true),
            [command, _] => {
                let message = format!("Bad HTTP/0.9 request type ({})", repr(command));
                return self.error(&blank, Code::BadRequest, &message);
            }
            _ => return self.bad_syntax(&line, &blank),
        };
        let path =
            if path.starts_with("//") { &path[path.len() - path.trim_start_matches('/').len() - 1..] } else { path };
        // What does not look like fields counts as none.
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let parsed = httparse::parse_headers(&bytes[end..], &mut fields);
        let request = Request { line: line.clone(), is_head: command == "HEAD", is_09, path };
        if parsed == Err(httparse::Error::TooManyHeaders) {
            return self.error(&request, Code::FieldsTooLarge, "Too many headers");
        }
        let field = |name: &str| fields.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
        let since = match field("if-none-match") {
            Some(_) => None,
            None => field("if-modified-since").and_then(|v| date::parse(&String::from_utf8_lossy(v))),
        };
        match command {
            "GET" | "HEAD" => self.serve(&request, since),
            other => self.error(&request, Code::Unsupported, &format!("Unsupported method ({})", repr(other))),
        }
    }

    fn bad_syntax(&self, line: &str, request: &Request<'_>) -> Answer {
        self.error(request, Code::BadRequest, &format!("Bad request syntax ({})", repr(line)))
    }

    /// send_head: a file, a list of files, or an error.
    fn serve(&self, request: &Request<'_>, since: Option<u64>) -> Answer {
        let plain = request.path.split('?').next().unwrap_or_default().split('#').next().unwrap_or_default();
        let place = format!("{}{}", self.root, translate(plain));
        let not_found = || self.error(request, Code::NotFound, "File not found");
        let file = match self.files.find(place.trim_end_matches('/')) {
            Found::Directory if !plain.ends_with('/') => {
                let (path, rest) = request.path.split_at(request.path.find(['?', '#']).unwrap_or(request.path.len()));
                let rest = rest.split('#').next().unwrap_or_default();
                let fields = format!("Location: {path}/{rest}\r\nContent-Length: 0\r\n");
                return self.done(request, 301, "Moved Permanently", &fields);
            }
            Found::Directory => {
                let index = |name: &str| match self.files.find(&format!("{place}{name}")) {
                    Found::File(file) => Some((name.to_owned(), file)),
                    _ => None,
                };
                match index("index.html").or_else(|| index("index.htm")) {
                    Some(found) => found,
                    None => return self.list(request, &place, plain),
                }
            }
            Found::File(_) if place.ends_with('/') => return not_found(),
            Found::File(file) => (place.rsplit('/').next().unwrap_or_default().to_owned(), file),
            Found::Nothing => return not_found(),
        };
        let (name, file) = file;
        if since.is_some_and(|since| file.mtime_s <= since) {
            return self.done(request, 304, "Not Modified", "");
        }
        let fields = format!(
            "Content-type: {}\r\nContent-Length: {}\r\nLast-Modified: {}\r\n",
            content_type(&name),
            file.size(),
            date::http(file.mtime_s)
        );
        let answer = self.done(request, 200, "OK", &fields);
        Answer { file: (!request.is_head).then(|| file.clone()), guessed: true, ..answer }
    }

    fn list(&self, request: &Request<'_>, place: &str, plain: &str) -> Answer {
        let shown = path::decode(plain).map_or(plain.to_owned(), |d| String::from_utf8_lossy(&d).into_owned());
        let title = format!("Directory listing for {}", escape(&shown));
        let mut names = self.files.names(place);
        names.sort_by_key(|n| n.to_lowercase());
        let item = |name: &String| format!("<li><a href=\"{}\">{}</a></li>\n", quote(name), escape(name));
        let items: String = names.iter().map(item).collect();
        let body = format!(
            "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n</head>\n\
             <body>\n<h1>{title}</h1>\n<hr>\n<ul>\n{items}</ul>\n<hr>\n</body>\n</html>\n"
        );
        let fields = format!("Content-type: text/html; charset=utf-8\r\nContent-Length: {}\r\n", body.len());
        let answer = self.done(request, 200, "OK", &fields);
        Answer { body: if request.is_head { vec![] } else { body.into_bytes() }, ..answer }
    }

    fn error(&self, request: &Request<'_>, code: Code, message: &str) -> Answer {
        let (number, explain) = code.text();
        let shown = escape(message);
        let page = format!(
            "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <meta charset=\"utf-8\">\n        \
             <title>Error response</title>\n    </head>\n    <body>\n        <h1>Error response</h1>\n        \
             <p>Error code: {number}</p>\n        <p>Message: {shown}.</p>\n        \
             <p>Error code explanation: {number} - {explain}.</p>\n    </body>\n</html>\n"
        );
        let fields =
            format!("Connection: close\r\nContent-Type: text/html;charset=utf-8\r\nContent-Length: {}\r\n", page.len());
        let mut answer = self.done(request, number, message, &fields);
        answer.log.insert(0, self.line(&format!("code {number}, message {message}")));
        answer.body = if request.is_head { vec![] } else { page.into_bytes() };
        answer
    }

    /// send_response and end_headers.
    fn done(&self, request: &Request<'_>, number: u16, message: &str, fields: &str) -> Answer {
        let date = date::http(self.now_s);
        let head = format!("HTTP/1.0 {number} {message}\r\nServer: {SERVER}\r\nDate: {date}\r\n{fields}\r\n");
        let head = if request.is_09 { vec![] } else { head.into_bytes() };
        Answer { head, log: vec![self.line(&format!("\"{}\" {number} -", request.line))], ..Answer::default() }
    }

    fn line(&self, text: &str) -> String {
        let plain: String = text.chars().map(control).collect();
        format!("{} - - [{}] {plain}\n", self.client, date::log(self.now_s))
    }
}

/// Control characters as log_message writes them.
fn control(c: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}

/// A version: two numbers with a point between.
fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// repr() of a string.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let inner = text.replace('\\', "\\\\");
    let inner = if quote == '\'' { inner.replace('\'', "\\'") } else { inner };
    let inner: String = inner.chars().map(|c| if c.is_control() { control(c) } else { c.to_string() }).collect();
    format!("{quote}{inner}{quote}")
}

/// html.escape(quote=False)
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// urllib.parse.quote
fn quote(text: &str) -> String {
    path::encode(text, |b| b.is_ascii_alphanumeric() || b"_.-~/".contains(&b))
}

/// translate_path: the place of a path under the root, with a slash behind it if it has one.
fn translate(plain: &str) -> String {
    let decoded = path::decode(plain).unwrap_or_else(|| plain.as_bytes().to_vec());
    let decoded = String::from_utf8_lossy(&decoded);
    let mut parts: Vec<&str> = vec![];
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let slash = if plain.trim_end().ends_with('/') { "/" } else { "" };
    let place: String = parts.iter().flat_map(|p| ["/", p]).collect();
    place + slash
}

/// guess_type: by the end of the name, as in Debian 12's list of types; only what is served often.
fn content_type(name: &str) -> &'static str {
    const TYPES: [(&str, &str); 29] = [
        ("bz2", "application/x-bzip2"),
        ("c", "text/x-csrc"),
        ("css", "text/css"),
        ("csv", "text/csv"),
        ("gif", "image/gif"),
        ("gz", "application/gzip"),
        ("htm", "text/html"),
        ("html", "text/html"),
        ("ico", "image/vnd.microsoft.icon"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("js", "text/javascript"),
        ("json", "application/json"),
        ("md", "text/markdown"),
        ("mp3", "audio/mpeg"),
        ("mp4", "video/mp4"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
        ("py", "text/x-python"),
        ("sh", "text/x-sh"),
        ("svg", "image/svg+xml"),
        ("tar", "application/x-tar"),
        ("txt", "text/plain"),
        ("wasm", "application/wasm"),
        ("webp", "image/webp"),
        ("woff2", "font/woff2"),
        ("xml", "application/xml"),
        ("xz", "application/x-xz"),
        ("zip", "application/zip"),
    ];
    let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, e)| e.to_ascii_lowercase());
    let known = extension.and_then(|e| TYPES.iter().find(|(end, _)| *end == e));
    known.map_or("application/octet-stream", |(_, kind)| *kind)
}
