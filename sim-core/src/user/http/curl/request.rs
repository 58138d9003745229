//! The request that curl sends (lib/http.c: Curl_http).

use super::options::Options;
use super::url::Url;

/// What a transfer asks for, besides the URL. A redirect may change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub method: String,
    /// What is posted.
    pub data: Option<String>,
}

impl Request {
    pub(super) fn new(o: &Options) -> Self {
        let inferred = if o.head {
            "HEAD"
        } else if o.data.is_some() {
            "POST"
        } else {
            "GET"
        };
        Request { method: o.method.clone().unwrap_or_else(|| inferred.to_owned()), data: o.data.clone() }
    }

    /// After a redirect with this status: what was posted is not posted again, unless the status says so.
    pub(super) fn redirected(&mut self, code: u16, o: &Options) {
        let turns = matches!(code, 301 | 302) && self.data.is_some() || code == 303;
        if turns {
            self.data = None;
            if o.method.is_none() && !o.head {
                "GET".clone_into(&mut self.method);
            }
        }
    }

    /// The head, to the empty line.
    pub(super) fn head(&self, url: &Url, o: &Options) -> String {
        let version = if o.http10 { "1.0" } else { "1.1" };
        let own = |name: &str| o.headers.iter().find(|line| field_name(line).eq_ignore_ascii_case(name));
        let mut lines = vec![format!("{} {} HTTP/{version}", self.method, url.target)];
        match own("host") {
            None => lines.push(format!("Host: {}", url.authority())),
            Some(line) => lines.extend(field(line)),
        }
        let agent = o.agent.as_deref().unwrap_or("curl/7.88.1");
        if own("user-agent").is_none() && !agent.is_empty() {
            lines.push(format!("User-Agent: {agent}"));
        }
        if own("accept").is_none() {
            lines.push("Accept: */*".to_owned());
        }
        let others = o.headers.iter().filter(|line| !field_name(line).eq_ignore_ascii_case("host"));
        lines.extend(others.filter_map(|line| field(line)));
        if let Some(data) = &self.data {
            if own("content-length").is_none() {
                lines.push(format!("Content-Length: {}", data.len()));
            }
            if own("content-type").is_none() {
                lines.push("Content-Type: application/x-www-form-urlencoded".to_owned());
            }
        }
        lines.join("\r\n") + "\r\n\r\n"
    }
}

fn field_name(line: &str) -> &str {
    line.split([':', ';']).next().unwrap_or_default().trim_end()
}

/// A line of -H as it is sent: `Name: value`; `Name;` is one without a value; `Name:` takes curl's own away.
fn field(line: &str) -> Option<String> {
    match line.split_once(':') {
        Some((_, value)) => (!value.trim().is_empty()).then(|| line.to_owned()),
        None => line.strip_suffix(';').map(|name| format!("{name}:")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::parse;
    use super::*;
    use crate::user::script::words;

    fn head(line: &str) -> String {
        let words = words(line);
        let o = parse(&words[0], &words[1..]).unwrap();
        Request::new(&o).head(o.targets[0].url.as_ref().unwrap(), &o)
    }

    #[test]
    fn heads() {
        let usual = "User-Agent: curl/7.88.1\r\nAccept: */*\r\n";
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        for (line, want) in [
            ("curl -I 10.96.0.82", format!("HEAD / HTTP/1.1\r\nHost: 10.96.0.82\r\n{usual}\r\n")),
            ("curl 10.0.0.1:81/a?b", format!("GET /a?b HTTP/1.1\r\nHost: 10.0.0.1:81\r\n{usual}\r\n")),
            ("curl -0 -XPUT 10.0.0.1", format!("PUT / HTTP/1.0\r\nHost: 10.0.0.1\r\n{usual}\r\n")),
            (
                "curl -A me -HX-A:b -HAccept: -HHost:foo -HX-E; 10.0.0.1",
                "GET / HTTP/1.1\r\nHost:foo\r\nUser-Agent: me\r\nX-A:b\r\nX-E:\r\n\r\n".to_owned(),
            ),
            (
                "curl -d a=1 -d b=2 10.0.0.1",
                format!("POST / HTTP/1.1\r\nHost: 10.0.0.1\r\n{usual}Content-Length: 7\r\n{form}\r\n"),
            ),
        ] {
            assert_eq!(head(line), want, "{line}");
        }
        // As recorded.
        assert_eq!(head("curl -I 10.96.0.82").len(), 75);
    }
}
