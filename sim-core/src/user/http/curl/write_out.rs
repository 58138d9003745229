//! -w: what a transfer came to, in a text of one's own (src/tool_writeout.c).

use std::net::SocketAddrV4;

/// What a transfer came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Facts {
    pub code: u16,
    pub connects: u32,
    pub exit: i32,
    pub error: String,
    pub url: String,
    pub effective_url: String,
    pub url_number: usize,
    pub method: String,
    pub version: &'static str,
    pub content_type: String,
    pub redirect_url: String,
    pub redirects: u32,
    pub fields: usize,
    pub local: Option<SocketAddrV4>,
    pub remote: Option<SocketAddrV4>,
    /// Bytes.
    pub downloaded: u64,
    pub uploaded: u64,
    pub head_size: u64,
    pub request_size: u64,
    /// Since the start, in microseconds: name known, connected, ready to send, first byte received, end; and what
    /// redirects took.
    pub name_us: u64,
    pub connected_us: u64,
    /// TLS has shaken hands.
    pub secured_us: u64,
    pub ready_us: u64,
    pub first_us: u64,
    pub total_us: u64,
    pub redirect_us: u64,
}

/// What goes to which stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    Out(String),
    Err(String),
}

/// Variables of curl that are not simulated.
const OTHERS: [&str; 9] = [
    "certs",
    "filename_effective",
    "ftp_entry_path",
    "header_json",
    "json",
    "num_certs",
    "proxy_ssl_verify_result",
    "http_connect",
    "referer",
];

/// A variable in `format` that curl has and that is not simulated.
pub(super) fn not_simulated(format: &str) -> Option<&'static str> {
    OTHERS.into_iter().find(|name| format.contains(&format!("%{{{name}}}")))
}

/// Puts what is known into `format`.
pub(super) fn write(format: &str, facts: &Facts) -> Vec<Piece> {
    let mut pieces = vec![];
    let (mut text, mut to_err) = (String::new(), false);
    let mut flush = |text: &mut String, to_err: bool| {
        if !text.is_empty() {
            let piece = std::mem::take(text);
            pieces.push(if to_err { Piece::Err(piece) } else { Piece::Out(piece) });
        }
    };
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(escape) = rest.strip_prefix('\\') {
            let Some(c) = escape.chars().next() else { break };
            match c {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                c => text.extend(['\\', c]),
            }
            rest = &escape[c.len_utf8()..];
            continue;
        }
        let end = rest.find('}').filter(|_| rest.starts_with("%{"));
        match (rest.strip_prefix("%%"), end) {
            (Some(after), _) => {
                text.push('%');
                rest = after;
            }
            (None, Some(end)) => {
                match &rest[2..end] {
                    "stdout" | "stderr" => {
                        flush(&mut text, to_err);
                        to_err = &rest[2..end] == "stderr";
                    }
                    // What follows is for transfers that failed.
                    "onerror" if facts.exit == 0 => {
                        flush(&mut text, to_err);
                        return pieces;
                    }
                    "onerror" => {}
                    name => match value(name, facts) {
                        Some(value) => text.push_str(&value),
                        None => {
                            flush(&mut text, to_err);
                            let complaint = format!("curl: unknown --write-out variable: '{name}'\n");
                            flush(&mut complaint.clone(), true);
                        }
                    },
                }
                rest = &rest[end + 1..];
            }
            (None, None) => {
                let some = if rest.starts_with("%{") { 2 } else { 1 };
                text.push_str(&rest[..some]);
                rest = &rest[some..];
            }
        }
    }
    text.push_str(rest.strip_prefix('\\').map_or(rest, |_| "\\"));
    flush(&mut text, to_err);
    pieces
}

fn value(name: &str, f: &Facts) -> Option<String> {
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let speed = |bytes: u64| (bytes * 1_000_000).checked_div(f.total_us).unwrap_or(0).to_string();
    let ip = |addr: Option<SocketAddrV4>| addr.map_or(String::new(), |a| a.ip().to_string());
    let port = |addr: Option<SocketAddrV4>| addr.map_or(0, |a| a.port()).to_string();
    Some(match name {
        "http_code" | "response_code" => format!("{:03}", f.code),
        "num_connects" => f.connects.to_string(),
        "errormsg" => f.error.clone(),
        "exitcode" => f.exit.to_string(),
        "size_download" => f.downloaded.to_string(),
        "size_upload" => f.uploaded.to_string(),
        "size_header" => f.head_size.to_string(),
        "size_request" => f.request_size.to_string(),
        "speed_download" => speed(f.downloaded),
        "speed_upload" => speed(f.uploaded),
        "remote_ip" => ip(f.remote),
        "remote_port" => port(f.remote),
        "local_ip" => ip(f.local),
        "local_port" => port(f.local),
        "http_version" => f.version.to_owned(),
        "method" => f.method.clone(),
        "scheme" if f.effective_url.is_empty() => String::new(),
        "scheme" => f.effective_url.split(':').next().unwrap_or_default().to_ascii_uppercase(),
        "content_type" => f.content_type.clone(),
        "num_headers" => f.fields.to_string(),
        "num_redirects" => f.redirects.to_string(),
        "redirect_url" => f.redirect_url.clone(),
        "ssl_verify_result" => "0".to_owned(),
        "url" => f.url.clone(),
        "url_effective" => f.effective_url.clone(),
        "urlnum" => f.url_number.to_string(),
        "time_namelookup" => seconds(f.name_us),
        "time_connect" => seconds(f.connected_us),
        "time_appconnect" => seconds(f.secured_us),
        "time_pretransfer" => seconds(f.ready_us),
        "time_starttransfer" => seconds(f.first_us),
        "time_total" => seconds(f.total_us),
        "time_redirect" => seconds(f.redirect_us),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let facts = Facts { code: 200, connects: 1, exit: 0, total_us: 1_500_000, downloaded: 30, ..Facts::default() };
        for (format, want) in [
            (r"%{http_code}:%{num_connects}:%{errormsg}\n", "200:1:\n"),
            (r"%{time_total} %{speed_download}\t|", "1.500000 20\t|"),
            (r"%d %% \x 100% %{", r"%d % \x 100% %{"),
            (r"a\", r"a\"),
            ("a%{onerror}b", "a"),
            ("%{local_port}%{remote_ip}", "0"),
        ] {
            assert_eq!(write(format, &facts), [Piece::Out(want.into())], "{format}");
        }
        let got = write("%{bogus} %{stderr}x%{stdout}y", &facts);
        let complaint = Piece::Err("curl: unknown --write-out variable: 'bogus'\n".into());
        assert_eq!(got, [complaint, Piece::Out(" ".into()), Piece::Err("x".into()), Piece::Out("y".into())]);
    }
}
