//! What a program shows of a certificate: names and times (RFC 5280 section 4.1).

/// DER's tags.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 4, 3];

/// Names and times of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// As OpenSSL prints it: `CN=web.lab`.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// When it begins to be valid, as `YYYYMMDDhhmmss`.
    pub not_before: String,
    /// When it was valid last.
    pub not_after: String,
}

impl Certificate {
    /// Reads one in DER; none for what is none.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (certificate, _) = take(der, SEQUENCE)?;
        let (body, _) = take(certificate, SEQUENCE)?;
        // version, serialNumber, signature
        let rest = take(body, VERSION).map_or(body, |(_, rest)| rest);
        let (_, _, rest) = any(rest)?;
        let (_, rest) = take(rest, SEQUENCE)?;
        let (issuer, rest) = take(rest, SEQUENCE)?;
        let (validity, rest) = take(rest, SEQUENCE)?;
        let (subject, _) = take(rest, SEQUENCE)?;
        let (not_before, after) = time(validity)?;
        let (not_after, _) = time(after)?;
        Some(Certificate { subject: name(subject)?, issuer: name(issuer)?, not_before, not_after })
    }
}

/// The value that `der` begins with: its tag, what it holds, what follows.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match *first {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if bytes.len() > 3 {
                return None;
            }
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(t, ..)| *t == tag).map(|(_, value, rest)| (value, rest))
}

/// The parts of a name, from the outermost to its own. Of their types the common name alone is known.
fn name(mut der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (set, rest) = take(der, SET)?;
        let (pair, _) = take(set, SEQUENCE)?;
        let (_, kind, value) = any(pair)?;
        let (_, text, _) = any(value)?;
        let kind = if kind == COMMON_NAME { "CN" } else { "?" };
        parts.push(format!("{kind}={}", String::from_utf8_lossy(text)));
        der = rest;
    }
    Some(parts.join("; "))
}

/// A time, with the century that two digits stand for.
fn time(der: &[u8]) -> Option<(String, &[u8])> {
    let (tag, value, rest) = any(der)?;
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('Z');
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let text = match tag {
        UTC_TIME if digits && text.len() == 12 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME if digits && text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    Some((text, rest))
}
