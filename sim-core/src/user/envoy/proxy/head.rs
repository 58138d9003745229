//! Heads of HTTP messages, as all versions of HTTP have them: what HTTP/1.1 has in its first line and in Host stands
//! apart, names are in small letters (HeaderMap).

/// The fields of a message, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields(pub Vec<(String, Vec<u8>)>);

/// A request's head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    /// Host
    pub authority: String,
    pub scheme: String,
    pub fields: Fields,
}

/// A response's head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Response {
    pub status: u16,
    pub fields: Fields,
}

/// The head of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Head {
    Request(Request),
    Response(Response),
}

/// What a codec has found in what has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A message begins on a stream; nothing follows if it has ended.
    Head { stream: u32, head: Head, end: bool },
    /// Some of its body.
    Data { stream: u32, data: Vec<u8>, end: bool },
    /// The peer gives a stream up; it was not worked on if it is refused.
    Reset { stream: u32, refused: bool },
    /// The peer takes no more streams on this connection.
    GoAway,
    /// What has come is no HTTP; the status that says so.
    Bad(u16),
}

impl Fields {
    /// The first value of a field, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)?;
        std::str::from_utf8(value).ok()
    }

    /// Sets a field where it stands, else behind all others.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value.into(),
            None => self.add(name, value),
        }
    }

    /// Puts a field behind all others.
    pub fn add(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Takes all fields of a name away.
    pub fn remove(&mut self, names: &[&str]) {
        self.0.retain(|(n, _)| !names.contains(&n.as_str()));
    }

    /// A field is a list with this word in it.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        let lists = self.0.iter().filter(|(n, _)| n == name).filter_map(|(_, v)| std::str::from_utf8(v).ok());
        lists.flat_map(|list| list.split(',')).any(|w| w.trim().eq_ignore_ascii_case(word))
    }
}

/// What RFC 9110 calls a status, as Envoy writes it into HTTP/1.1's first line (CodeUtility).
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// A response to this request has no body, whatever its fields say (RFC 9110 section 6.4.1).
pub(super) fn is_bodiless(status: u16, method: &str) -> bool {
    method == "HEAD" || status < 200 || matches!(status, 204 | 304)
}
