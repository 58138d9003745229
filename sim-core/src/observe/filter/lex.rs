//! Splits a filter expression into tokens.
//!
//! Source: the tokens of pcap-filter(7) and the longest-match rule of libpcap's scanner, which makes one word of
//! `80-90` and of `len-5`.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::FilterError;
use super::names::{self, Keyword, Proto, Word};

/// A token and where it stands in the expression, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Keyword(Keyword),
    Proto(Proto),
    Number(u32),
    /// A name: of a port, a protocol or a host.
    Name(&'a str),
    /// Two to four numbers with dots between them; not yet known to be an address.
    Dotted(&'a str),
    Mac([u8; 6]),
    Ip6(Ipv6Addr),
    Symbol(Symbol),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    ParenOpen,
    ParenClose,
    BracketOpen,
    BracketClose,
    Colon,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Splits `text`; the last token is always [`Kind::End`].
///
/// # Errors
///
/// A character or a keyword that the language does not know, a number above 32 bits, a malformed address.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let token = next(text, at)?;
        at = token.span.end;
        found.push(token);
    }
    found.push(Token { kind: Kind::End, span: text.len()..text.len() });
    Ok(found)
}

fn next(text: &str, at: usize) -> Result<Token<'_>, FilterError> {
    let rest = &text[at..];
    let (kind, length) = match rest.as_bytes()[0] {
        byte if byte == b':' || byte.is_ascii_hexdigit() => match address(rest, at)? {
            Some(found) => found,
            None if byte == b':' => (Kind::Symbol(Symbol::Colon), 1),
            None => word(rest, at)?,
        },
        byte if byte.is_ascii_alphanumeric() => word(rest, at)?,
        b'\\' => escaped(rest, at)?,
        _ => symbol(rest, at)?,
    };
    Ok(Token { kind, span: at..at + length })
}

/// An address with colons. Two colons in one run of hexadecimal digits cannot be anything else in this language.
fn address(rest: &str, at: usize) -> Result<Option<(Kind<'_>, usize)>, FilterError> {
    let run = |more: &[u8]| rest.bytes().take_while(|b| more.contains(b) || b.is_ascii_hexdigit()).count();
    let length = run(b":");
    let text = &rest[..length];
    if text.bytes().filter(|byte| *byte == b':').count() < 2 {
        return Ok(None);
    }
    if let Some(mac) = mac(text, ':') {
        return Ok(Some((Kind::Mac(mac), length)));
    }
    // The last 32 bits may be written as an IPv4 address.
    let ip6 = [run(b":."), length].into_iter().find_map(|n| Some((Kind::Ip6(rest[..n].parse().ok()?), n)));
    if ip6.is_some() {
        return Ok(ip6);
    }
    let error = FilterError::new(at..at + length, format!("malformed address `{text}`"));
    Err(error.hint("write an Ethernet address as `02:42:0a:f4:01:03`, one of IPv6 as `fd00::1`"))
}

fn word(rest: &str, at: usize) -> Result<(Kind<'_>, usize), FilterError> {
    let run = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)).count();
    let text = rest[..run].trim_end_matches(['-', '_']);
    let span = at..at + text.len();
    let kind = if let Some(known) = names::word(text) {
        match known {
            Word::Keyword(keyword) => Kind::Keyword(keyword),
            Word::Proto(proto) => Kind::Proto(proto),
            Word::Number(value) => Kind::Number(value),
            Word::Unsupported => {
                let message = format!("the keyword `{text}` is not supported");
                let hint = format!("to use it as a name, write `\\{text}`");
                return Err(FilterError::new(span, message).hint(hint));
            }
        }
    } else if let Some(mac) = mac_without_colons(text) {
        Kind::Mac(mac)
    } else if is_number(text) {
        Kind::Number(number(text).map_err(|message| FilterError::new(span, message))?)
    } else if is_dotted(text) {
        Kind::Dotted(text)
    } else {
        Kind::Name(text)
    };
    Ok((kind, text.len()))
}

fn escaped(rest: &str, at: usize) -> Result<(Kind<'_>, usize), FilterError> {
    let ends = |character: char| matches!(character, ' ' | '!' | '(' | ')' | '\n' | '\t');
    let name = &rest[1..];
    let name = &name[..name.find(ends).unwrap_or(name.len())];
    if name.is_empty() {
        return Err(FilterError::new(at..at + 1, "a backslash with no name after it"));
    }
    Ok((Kind::Name(name), 1 + name.len()))
}

fn symbol(rest: &str, at: usize) -> Result<(Kind<'_>, usize), FilterError> {
    // The longer of two that begin alike stands first.
    const SYMBOLS: &[(&str, Kind<'_>)] = &[
        ("&&", Kind::Keyword(Keyword::And)),
        ("||", Kind::Keyword(Keyword::Or)),
        ("!=", Kind::Symbol(Symbol::NotEqual)),
        ("==", Kind::Symbol(Symbol::Equal)),
        ("<<", Kind::Symbol(Symbol::ShiftLeft)),
        (">>", Kind::Symbol(Symbol::ShiftRight)),
        ("<=", Kind::Symbol(Symbol::LessEqual)),
        (">=", Kind::Symbol(Symbol::GreaterEqual)),
        ("!", Kind::Keyword(Keyword::Not)),
        ("=", Kind::Symbol(Symbol::Equal)),
        ("<", Kind::Symbol(Symbol::Less)),
        (">", Kind::Symbol(Symbol::Greater)),
        ("(", Kind::Symbol(Symbol::ParenOpen)),
        (")", Kind::Symbol(Symbol::ParenClose)),
        ("[", Kind::Symbol(Symbol::BracketOpen)),
        ("]", Kind::Symbol(Symbol::BracketClose)),
        ("+", Kind::Symbol(Symbol::Add)),
        ("-", Kind::Symbol(Symbol::Sub)),
        ("*", Kind::Symbol(Symbol::Mul)),
        ("/", Kind::Symbol(Symbol::Div)),
        ("%", Kind::Symbol(Symbol::Mod)),
        ("&", Kind::Symbol(Symbol::And)),
        ("|", Kind::Symbol(Symbol::Or)),
        ("^", Kind::Symbol(Symbol::Xor)),
    ];
    if let Some((text, kind)) = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text)) {
        return Ok((*kind, text.len()));
    }
    let character = rest.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
    let span = at..at + character.len_utf8();
    Err(FilterError::new(span, format!("unexpected character `{}`", character.escape_debug())))
}

/// Six groups of one or two hexadecimal digits.
fn mac(text: &str, separator: char) -> Option<[u8; 6]> {
    let mut groups = text.split(separator);
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = hex(groups.next()?, 1..=2)?.try_into().ok()?;
    }
    groups.next().is_none().then_some(mac)
}

/// `1-2-3-4-5-6`, `1.2.3.4.5.6`, `0102.0304.0506` or `010203040506`.
fn mac_without_colons(text: &str) -> Option<[u8; 6]> {
    if let Some(mac) = mac(text, '-').or_else(|| mac(text, '.')) {
        return Some(mac);
    }
    let digits = match text.split('.').collect::<Vec<_>>()[..] {
        [whole] => whole.to_owned(),
        [a, b, c] if [a, b, c].iter().all(|group| group.len() == 4) => [a, b, c].concat(),
        _ => return None,
    };
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    value[2..].try_into().ok()
}

fn hex(digits: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let valid = lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

fn is_number(text: &str) -> bool {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((text, 10), |digits| (digits, 16));
    !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
}

/// A number as C writes it: decimal, `0x` hexadecimal or octal with a leading zero.
fn number(text: &str) -> Result<u32, String> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(format!("the number `{text}` begins with 0, so it is octal, but has a digit above 7"));
    }
    u32::from_str_radix(digits, radix).map_err(|_| format!("the number `{text}` does not fit in 32 bits"))
}

fn is_dotted(text: &str) -> bool {
    (2..=4).contains(&text.split('.').count()) && text.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        let mut kinds: Vec<_> = tokens(text).expect(text).into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds.pop(), Some(Kind::End));
        kinds
    }

    #[test]
    fn words_are_as_long_as_they_can_be() {
        let mac = [1, 2, 3, 4, 5, 6];
        let cases: &[(&str, &[Kind<'_>])] = &[
            ("", &[]),
            (" \t\r\n", &[]),
            ("tcp", &[Kind::Proto(Proto::Tcp)]),
            ("TCP", &[Kind::Name("TCP")]),
            ("tcpx", &[Kind::Name("tcpx")]),
            ("tcp-syn", &[Kind::Number(2)]),
            ("tcp-", &[Kind::Proto(Proto::Tcp), Kind::Symbol(Symbol::Sub)]),
            ("80", &[Kind::Number(80)]),
            ("0x1F", &[Kind::Number(31)]),
            ("0X1f", &[Kind::Number(31)]),
            ("017", &[Kind::Number(15)]),
            ("0", &[Kind::Number(0)]),
            ("80-90", &[Kind::Name("80-90")]),
            ("80 -90", &[Kind::Number(80), Kind::Symbol(Symbol::Sub), Kind::Number(90)]),
            ("10.244", &[Kind::Dotted("10.244")]),
            ("10.0.0.1", &[Kind::Dotted("10.0.0.1")]),
            ("10.0.0.1.2", &[Kind::Name("10.0.0.1.2")]),
            ("1:2:3:4:5:6", &[Kind::Mac(mac)]),
            ("01-02-03-04-05-06", &[Kind::Mac(mac)]),
            ("1.2.3.4.5.6", &[Kind::Mac(mac)]),
            ("0102.0304.0506", &[Kind::Mac(mac)]),
            ("::", &[Kind::Ip6(Ipv6Addr::UNSPECIFIED)]),
            ("::1)", &[Kind::Ip6(Ipv6Addr::LOCALHOST), Kind::Symbol(Symbol::ParenClose)]),
            ("1:2:3:4:5:6:7:8", &[Kind::Ip6(Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 8))]),
            ("::1.2.3.4", &[Kind::Ip6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0x102, 0x304))]),
            ("010203040506", &[Kind::Mac(mac)]),
            ("\\tcp", &[Kind::Name("tcp")]),
            ("\\tcp)", &[Kind::Name("tcp"), Kind::Symbol(Symbol::ParenClose)]),
            ("!=!", &[Kind::Symbol(Symbol::NotEqual), Kind::Keyword(Keyword::Not)]),
            ("&&&", &[Kind::Keyword(Keyword::And), Kind::Symbol(Symbol::And)]),
            ("0:2", &[Kind::Number(0), Kind::Symbol(Symbol::Colon), Kind::Number(2)]),
        ];
        for (text, expected) in cases {
            assert_eq!(kinds(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_an_error_with_its_place() {
        let cases = [
            ("tcp @", 4..5),
            ("tcp é", 4..6),
            ("port 089", 5..8),
            ("len = 4294967296", 6..16),
            ("len = 0x100000000", 6..17),
            ("host :::", 5..8),
            ("host fe80::12345", 5..16),
            ("host 1:2:3:4:5:6:7", 5..18),
            ("ether host 1:2:3", 11..16),
            ("vci 5", 0..3),
            ("\\", 0..1),
            ("ip[0] = $1", 8..9),
        ];
        for (text, span) in cases {
            assert_eq!(tokens(text).expect_err(text).span, span, "{text:?}");
        }
    }
}
