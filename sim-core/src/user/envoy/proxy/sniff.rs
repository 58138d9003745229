//! What the first bytes of a connection tell: whether it is TLS and with which protocols (tls_inspector), and whether
//! it is HTTP (http_inspector).

/// A handshake record's type (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extensions (RFC 6066 section 3, RFC 7301 section 3.1).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// A ClientHello that is longer is none (TLS_MAX_CLIENT_HELLO).
const MAX_CLIENT_HELLO: usize = 64 * 1024;
/// What begins a connection in HTTP/2 (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A first line that is longer is none of HTTP.
const MAX_LINE: usize = 8192;

/// What it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sniffed<T> {
    /// More bytes are needed.
    More,
    No,
    Yes(T),
}

/// What a client says of itself before anything is encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ClientHello {
    /// server_name
    pub server_name: Option<String>,
    /// application_layer_protocol_negotiation
    pub alpn: Vec<String>,
}

/// Which version of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Http {
    One,
    Two,
}

/// Whether a connection begins with a ClientHello.
pub(super) fn tls(bytes: &[u8]) -> Sniffed<ClientHello> {
    match *bytes {
        [] => return Sniffed::More,
        [HANDSHAKE] => return Sniffed::More,
        [HANDSHAKE, 3, ..] => {}
        _ => return Sniffed::No,
    }
    // The handshake's bytes out of their records.
    let (mut rest, mut hello) = (bytes, vec![]);
    while let [HANDSHAKE, 3, _, high, low, content @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let taken = content.len().min(length);
        hello.extend_from_slice(&content[..taken]);
        rest = &content[taken..];
    }
    match hello.split_first_chunk::<4>() {
        Some(([CLIENT_HELLO, a, b, c], body)) => {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            match body.get(..length) {
                _ if length > MAX_CLIENT_HELLO => Sniffed::No,
                None => Sniffed::More,
                Some(body) => extensions(body).map_or(Sniffed::No, Sniffed::Yes),
            }
        }
        Some(_) => Sniffed::No,
        None => Sniffed::More,
    }
}

/// The extensions of a ClientHello's body; none if it is none.
fn extensions(body: &[u8]) -> Option<ClientHello> {
    // legacy_version, random
    let (_, rest) = body.split_at_checked(2 + 32)?;
    let (_session, rest) = vector(rest, 1)?;
    let (_suites, rest) = vector(rest, 2)?;
    let (_compression, rest) = vector(rest, 1)?;
    let mut hello = ClientHello::default();
    if rest.is_empty() {
        return Some(hello);
    }
    let (mut all, _) = vector(rest, 2)?;
    while let Some((kind, rest)) = all.split_first_chunk::<2>() {
        let (content, rest) = vector(rest, 2)?;
        match u16::from_be_bytes(*kind) {
            SERVER_NAME => {
                let (names, _) = vector(content, 2)?;
                let (name, _) = vector(names.get(1..)?, 2)?;
                hello.server_name = Some(String::from_utf8_lossy(name).into_owned());
            }
            ALPN => {
                let (mut names, _) = vector(content, 2)?;
                while !names.is_empty() {
                    let (name, rest) = vector(names, 1)?;
                    hello.alpn.push(String::from_utf8_lossy(name).into_owned());
                    names = rest;
                }
            }
            _ => {}
        }
        all = rest;
    }
    Some(hello)
}

/// What stands behind its length of so many bytes, and what follows.
fn vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

/// Whether a connection begins with a request.
pub(super) fn http(bytes: &[u8]) -> Sniffed<Http> {
    let common = bytes.len().min(PREFACE.len());
    if bytes[..common] == PREFACE[..common] {
        return if common == PREFACE.len() { Sniffed::Yes(Http::Two) } else { Sniffed::More };
    }
    let end = bytes.iter().position(|b| *b == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let method = line.split(|b| *b == b' ').next().unwrap_or_default();
    let is_method = !method.is_empty() && method.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    if !is_method || line.len() > MAX_LINE {
        return Sniffed::No;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match end {
        None => Sniffed::More,
        Some(_) if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") => Sniffed::Yes(Http::One),
        Some(_) => Sniffed::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ClientHello for `web` with two protocols, in records of at most so many bytes.
    fn hello(record: usize) -> Vec<u8> {
        let alpn = b"\x00\x10\x00\x0b\x00\x09\x05istio\x02h2";
        let name = b"\x00\x00\x00\x08\x00\x06\x00\x00\x03web";
        let other = b"\x00\x17\x00\x00";
        let extensions = [&other[..], name, alpn].concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(b"\x00\x00\x02\x13\x01\x01\x00");
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let message = [&[1, 0, 0, body.len() as u8], body.as_slice()].concat();
        let with_header = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8], part].concat();
        message.chunks(record).flat_map(with_header).collect()
    }

    #[test]
    fn hellos() {
        for record in [20, 200] {
            let bytes = hello(record);
            let want = ClientHello { server_name: Some("web".into()), alpn: vec!["istio".into(), "h2".into()] };
            assert_eq!(tls(&bytes), Sniffed::Yes(want));
            for length in 0..bytes.len() {
                assert_eq!(tls(&bytes[..length]), Sniffed::More, "{length}");
            }
        }
        for bytes in [&b"GET /"[..], b"\x16\x02", b"\x15\x03", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"] {
            assert_eq!(tls(bytes), Sniffed::No, "{bytes:?}");
        }
    }

    #[test]
    fn requests() {
        for (bytes, want) in [
            ("", Sniffed::More),
            ("PRI * HTTP/2", Sniffed::More),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Sniffed::Yes(Http::Two)),
            ("GE", Sniffed::More),
            ("GET /", Sniffed::More),
            ("GET / HTTP/1.1\r\n", Sniffed::Yes(Http::One)),
            ("M-SEARCH * HTTP/1.0\n", Sniffed::Yes(Http::One)),
            ("GET / HTTP/9\r\n", Sniffed::No),
            ("hello\n", Sniffed::No),
            ("\x16\x03\x01", Sniffed::No),
        ] {
            assert_eq!(http(bytes.as_bytes()), want, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, at in 0_usize..60, byte: u8) {
            let _ = (tls(&bytes), http(&bytes));
            let mut changed = hello(200);
            changed[at] = byte;
            let _ = tls(&changed);
        }
    }
}
