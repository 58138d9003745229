//! IPv6, as far as the background noise of an interface needs it: neighbour discovery and multicast listeners.

use std::net::Ipv6Addr;

use super::{Malformed, be16, byte, part};

/// A packet that is not empty.
pub(super) fn packet(b: &[u8]) -> Result<String, Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ICMPV6: u8 = 58;
    let (len, mut next, hop_limit) = (be16(b, 4)?, byte(b, 6)?, byte(b, 7)?);
    let ends = format!("{} > {}", address(part(b, 8, 24))?, address(part(b, 24, 40))?);
    let mut payload = part(b, 40, 40 + usize::from(len));
    let mut options = "";
    if next == HOP_BY_HOP {
        (next, options) = (byte(payload, 0)?, " hbh");
        payload = part(payload, 8 * (usize::from(byte(payload, 1)?) + 1), payload.len());
    }
    Ok(match next {
        ICMPV6 => format!("IP6 {ends}: {} (hlim {hop_limit}{options} plen {len})", icmp(payload)?),
        _ => format!("IP6 {ends}: next {next} (hlim {hop_limit} plen {len})"),
    })
}

fn icmp(b: &[u8]) -> Result<String, Malformed> {
    let kind = byte(b, 0)?;
    let details = match kind {
        135 | 136 => format!(" target {}", address(part(b, 8, 24))?),
        143 => format!(" {}", listener_records(b)?),
        _ => String::new(),
    };
    let name = match kind {
        128 => "echo request",
        129 => "echo reply",
        130 => "MLD query",
        131 => "MLDv1 report",
        133 => "router solicitation",
        134 => "router advertisement",
        135 => "neighbor solicitation",
        136 => "neighbor advertisement",
        143 => "MLDv2 report",
        _ => return Ok(format!("ICMP6 {kind}{details}")),
    };
    Ok(format!("ICMP6 {name}{details}"))
}

/// The records of an MLDv2 report (RFC 3810 section 5.2), each taken to have no sources and no auxiliary data.
fn listener_records(b: &[u8]) -> Result<String, Malformed> {
    const RECORD_LEN: usize = 20;
    let record = |i: usize| {
        let at = 8 + RECORD_LEN * i;
        let kind = match byte(b, at)? {
            1 => "is_in",
            2 => "is_ex",
            3 => "to_in",
            4 => "to_ex",
            5 => "allow",
            6 => "block",
            _ => "None",
        };
        Ok(format!("{kind}:{}", address(part(b, at + 4, at + RECORD_LEN))?))
    };
    let records: Result<Vec<String>, Malformed> = (0..usize::from(be16(b, 6)?)).map(record).collect();
    Ok(records?.join(" "))
}

/// RFC 5952's text, but an IPv4-mapped address in hex like any other (as Python's ipaddress prints it up to 3.12).
fn address(b: &[u8]) -> Result<String, Malformed> {
    let octets: [u8; 16] = b.try_into().map_err(|_| Malformed)?;
    let address = Ipv6Addr::from(octets);
    Ok(match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    })
}
