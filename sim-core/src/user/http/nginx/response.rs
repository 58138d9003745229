//! What nginx answers (src/http/modules/ngx_http_static_module.c, ngx_http_header_filter_module.c,
//! ngx_http_special_response.c).

use super::super::{date, path};
use super::request::{Method, Request};
use crate::base::files::{File, Files, Found};
use std::sync::Arc;

/// The version in the Server field and on the pages of errors.
const SERVER: &str = "nginx/1.22.1";
/// client_max_body_size
const MAX_BODY: u64 = 1 << 20;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Response {
    /// Status line and fields, and the page of an error.
    pub head: Vec<u8>,
    pub file: Option<Arc<File>>,
    /// The connection stays open.
    pub keepalive: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    MovedPermanently,
    NotModified,
    BadRequest,
    HeaderTooLarge,
    /// NGX_HTTP_TO_HTTPS
    ToHttps,
    Forbidden,
    NotFound,
    NotAllowed,
    EntityTooLarge,
    UriTooLarge,
    NotImplemented,
    VersionNotSupported,
}

impl Status {
    /// The status line has it, and so has the page of an error.
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest | Status::HeaderTooLarge | Status::ToHttps => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::NotAllowed => "405 Not Allowed",
            Status::EntityTooLarge => "413 Request Entity Too Large",
            Status::UriTooLarge => "414 Request-URI Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// After these the connection is closed, whatever the client asked for.
    fn closes(self) -> bool {
        use Status::{BadRequest, EntityTooLarge, HeaderTooLarge, NotImplemented, ToHttps, UriTooLarge};
        matches!(self, BadRequest | HeaderTooLarge | ToHttps | EntityTooLarge | UriTooLarge | NotImplemented)
    }

    /// The page of an error.
    fn page(self) -> String {
        let special = match self {
            Status::HeaderTooLarge => Some("Request Header Or Cookie Too Large"),
            Status::ToHttps => Some("The plain HTTP request was sent to HTTPS port"),
            _ => None,
        };
        let title = special.map_or_else(|| self.line().to_owned(), |text| format!("400 {text}"));
        let more = special.map_or(String::new(), |text| format!("<center>{text}</center>\r\n"));
        format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{}</h1></center>\r\n{more}\
             <hr><center>{SERVER}</center>\r\n</body>\r\n</html>\r\n",
            self.line()
        )
    }
}

/// What a server answers with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub files: &'a Files,
    /// The document root.
    pub root: &'a str,
    /// http or https.
    pub scheme: &'a str,
    pub port: u16,
    /// The time, in seconds since 1970.
    pub now_s: u64,
}

impl Site<'_> {
    /// The answer to a request.
    pub(super) fn answer(&self, request: &Request) -> Response {
        if let Some(super::request::Body::Length(length)) = request.body
            && length > MAX_BODY
        {
            return self.page(Status::EntityTooLarge, false, request.method);
        }
        let page = |status| self.page(status, request.keepalive, request.method);
        if request.method == Method::Other {
            return page(Status::NotAllowed);
        }
        let is_directory = request.path.ends_with('/');
        let place = format!("{}{}{}", self.root, request.path, if is_directory { "index.html" } else { "" });
        match self.files.find(&place) {
            Found::File(_) if request.method == Method::Post => page(Status::NotAllowed),
            Found::File(file) => self.file(request, file, &place),
            Found::Directory if is_directory => page(Status::Forbidden),
            Found::Directory => self.redirect(request),
            Found::Nothing if is_directory && self.files.find(&place[..place.len() - 10]) == Found::Directory => {
                page(Status::Forbidden)
            }
            Found::Nothing => page(Status::NotFound),
        }
    }

    /// The answer to what is no good request.
    pub(super) fn refuse(&self, status: Status) -> Response {
        self.page(status, false, Method::Get)
    }

    fn file(&self, request: &Request, file: &Arc<File>, place: &str) -> Response {
        let modified = date::http(file.mtime_s);
        let etag = format!("\"{:x}-{:x}\"", file.mtime_s, file.size());
        let same =
            |text: &String| text.split(',').any(|t| t.trim().trim_start_matches("W/") == etag || t.trim() == "*");
        let fresh = [
            request.if_modified_since.as_ref().map(|since| date::parse(since) == Some(file.mtime_s)),
            request.if_none_match.as_ref().map(same),
        ];
        if fresh.contains(&Some(true)) && !fresh.contains(&Some(false)) {
            let fields = format!("Last-Modified: {modified}\r\n{}ETag: {etag}\r\n", connection(request.keepalive));
            return Response {
                head: self.head(Status::NotModified, &fields),
                file: None,
                keepalive: request.keepalive,
            };
        }
        let fields = format!(
            "Content-Type: {}\r\nContent-Length: {}\r\nLast-Modified: {modified}\r\n{}\
             ETag: {etag}\r\nAccept-Ranges: bytes\r\n",
            content_type(place),
            file.size(),
            connection(request.keepalive),
        );
        let file = (request.method == Method::Get && file.size() > 0).then(|| file.clone());
        Response { head: self.head(Status::Ok, &fields), file, keepalive: request.keepalive }
    }

    /// A directory without the slash behind its name.
    ///
    /// Differs: without a Host field nginx would name the address that the client has connected to.
    fn redirect(&self, request: &Request) -> Response {
        let scheme = self.scheme;
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        let host = request.host.as_ref().map_or(String::new(), |host| format!("{scheme}://{host}{port}"));
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'#' | b'?' | b'"');
        let to = format!("Location: {host}{}/{}\r\n", path::encode(&request.path, plain), request.query);
        self.with_page(Status::MovedPermanently, request.keepalive, request.method, &to)
    }

    fn page(&self, status: Status, keepalive: bool, method: Method) -> Response {
        self.with_page(status, keepalive, method, "")
    }

    fn with_page(&self, status: Status, keepalive: bool, method: Method, more: &str) -> Response {
        let keepalive = keepalive && !status.closes();
        let page = status.page();
        let length = page.len();
        let fields = format!("Content-Type: text/html\r\nContent-Length: {length}\r\n{more}{}", connection(keepalive));
        let mut head = self.head(status, &fields);
        if method != Method::Head {
            head.extend(page.bytes());
        }
        Response { head, file: None, keepalive }
    }

    fn head(&self, status: Status, fields: &str) -> Vec<u8> {
        let date = date::http(self.now_s);
        format!("HTTP/1.1 {}\r\nServer: {SERVER}\r\nDate: {date}\r\n{fields}\r\n", status.line()).into_bytes()
    }
}

fn connection(keepalive: bool) -> &'static str {
    if keepalive { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" }
}

/// The types that nginx knows without a mime.types, and its default_type.
fn content_type(place: &str) -> &'static str {
    let name = place.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("html") => "text/html",
        Some("gif") => "image/gif",
        Some("jpg") => "image/jpeg",
        _ => "text/plain",
    }
}
