//! URLs as curl reads them (lib/urlapi.c), as far as HTTP goes.

use crate::user::args::inet_aton;
use std::net::Ipv4Addr;

/// The protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    pub scheme: Scheme,
    /// The name or address, as it stands in the Host field.
    pub host: String,
    pub port: u16,
    /// Path and query: what is asked for.
    pub target: String,
}

/// Why curl cannot use a URL: its exit status, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadUrl {
    pub code: i32,
    pub message: String,
}

/// What curl knows about a name itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolve {
    Known(Ipv4Addr),
    Unknown,
}

impl Url {
    /// Reads a URL; `http://` may be left out.
    pub(super) fn parse(text: &str) -> Result<Url, BadUrl> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest.trim_start_matches('/')),
            _ => ("http".to_owned(), text),
        };
        let Some(scheme) = [Scheme::Http, Scheme::Https].into_iter().find(|s| s.name() == scheme) else {
            let message = format!("Protocol \"{scheme}\" not supported or disabled in libcurl");
            return Err(BadUrl { code: 1, message });
        };
        let malformed = || BadUrl { code: 3, message: "URL using bad/illegal format or missing URL".to_owned() };
        if rest.is_empty() || rest.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return Err(malformed());
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = match authority.split_once(':') {
            None | Some((_, "")) => (authority.trim_end_matches(':'), scheme.port()),
            Some((host, port)) => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                (host, port.parse().ok().filter(|_| digits).ok_or_else(malformed)?)
            }
        };
        if host.is_empty() || host.contains(['\\', '<', '>', '|', '"', '^', '`', '%', '@']) {
            return Err(malformed());
        }
        let host = inet_aton(host).map_or_else(|| host.to_owned(), |address| address.to_string());
        Ok(Url { scheme, host, port, target: target(rest) })
    }

    /// Where a Location field leads from here.
    pub(super) fn follow(&self, location: &str) -> Result<Url, BadUrl> {
        if location.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let text = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            _ => format!("{}/{location}", path.rsplit_once('/').map_or("", |(directory, _)| directory)),
        };
        Ok(Url { target: target(&text.replace(' ', "%20")), ..self.clone() })
    }

    pub(super) fn resolve(&self) -> Resolve {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        match inet_aton(&self.host) {
            Some(address) => Resolve::Known(address),
            None if name == "localhost" || name.ends_with(".localhost") => Resolve::Known(Ipv4Addr::LOCALHOST),
            None => Resolve::Unknown,
        }
    }

    /// Host and port as the Host field has them.
    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The whole URL.
    pub(super) fn text(&self) -> String {
        format!("{}://{}{}", self.scheme.name(), self.authority(), self.target)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Path and query of what follows host and port: no fragment, no `.` and `..`.
fn target(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut parts: Vec<&str> = vec![];
    let mut open = false;
    for part in path.split('/').skip(1) {
        open = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut path: String = parts.iter().flat_map(|p| ["/", p]).collect();
    if open || path.is_empty() {
        path.push('/');
    }
    path + query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, want) in [
            ("10.0.0.1", "http://10.0.0.1/"),
            ("http://10.0.0.1:80/a?b#c", "http://10.0.0.1/a?b"),
            ("HTTP://Host:8080?x", "http://Host:8080/?x"),
            ("http:///x", "http://x/"),
            ("127.1:81/a/../b/./c//d/..", "http://127.0.0.1:81/b/c//"),
            ("http://a:/", "http://a/"),
            ("https://a:443/b", "https://a/b"),
            ("https://a:80", "https://a:80/"),
            ("gopherx://a/", "1 Protocol \"gopherx\" not supported or disabled in libcurl"),
            ("http://a b/", "3 URL using bad/illegal format or missing URL"),
            ("http://a:99999/", "3 URL using bad/illegal format or missing URL"),
            ("http://a:+1/", "3 URL using bad/illegal format or missing URL"),
            ("", "3 URL using bad/illegal format or missing URL"),
            ("http://", "3 URL using bad/illegal format or missing URL"),
        ] {
            let got = Url::parse(text).map_or_else(|e| format!("{} {}", e.code, e.message), |u| u.text());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn redirects() {
        let from = Url::parse("10.0.0.1:81/a/b?c").unwrap();
        for (location, want) in [
            ("http://x/y", "http://x/y"),
            ("//x", "http://x/"),
            ("/d", "http://10.0.0.1:81/d"),
            ("d", "http://10.0.0.1:81/a/d"),
            ("../d", "http://10.0.0.1:81/d"),
            ("?e", "http://10.0.0.1:81/a/b?e"),
            ("https://x/", "https://x/"),
        ] {
            assert_eq!(from.follow(location).unwrap().text(), want, "{location}");
        }
    }

    #[test]
    fn names() {
        for (text, want) in [
            ("10.0.0.1", Resolve::Known(Ipv4Addr::new(10, 0, 0, 1))),
            ("LocalHost", Resolve::Known(Ipv4Addr::LOCALHOST)),
            ("web.localhost.", Resolve::Known(Ipv4Addr::LOCALHOST)),
            ("web", Resolve::Unknown),
            ("1.2.3.4.5", Resolve::Unknown),
        ] {
            assert_eq!(Url::parse(text).unwrap().resolve(), want, "{text}");
        }
    }
}
