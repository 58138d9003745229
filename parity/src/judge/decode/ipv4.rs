//! IPv4 and what it carries: TCP, UDP (with VXLAN), ICMP (with its quotes), IGMP, IPIP.

use super::{Malformed, be16, be32, byte, dotted, ethernet, ip, ones_complement_sum, part};

/// What the parts of a packet need of its IPv4 header.
struct Header<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    payload: &'a [u8],
    /// Neither a fragment nor cut short by the capture's snap length.
    whole: bool,
    /// The payload's length by the header.
    declared: i64,
    /// TTL, id, flags, length, TOS, a bad checksum, offset.
    meta: String,
}

/// A packet that is not empty; `depth` counts the packets that it is in.
pub(super) fn packet(b: &[u8], depth: u8) -> Result<String, Malformed> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let (first, tos, total, fragment) = (byte(b, 0)?, byte(b, 1)?, be16(b, 2)?, be16(b, 6)?);
    let (ttl, protocol) = (byte(b, 8)?, byte(b, 9)?);
    let (header_len, total_len) = (usize::from(first & 15) * 4, usize::from(total));
    let offset = u32::from(fragment & 0x1fff) * 8;
    let mut meta = format!("ttl {ttl} id {}", be16(b, 4)?);
    meta += if fragment & 0x4000 != 0 { " DF" } else { "" };
    meta += if fragment & MORE_FRAGMENTS != 0 { " MF" } else { "" };
    meta += &format!(" len {total}");
    meta += &if tos != 0 { format!(" tos 0x{tos:x}") } else { String::new() };
    meta += if ones_complement_sum(part(b, 0, header_len), 0) == 0xffff { "" } else { " BADIPCK" };
    let header = Header {
        source: part(b, 12, 16),
        destination: part(b, 16, 20),
        payload: part(b, header_len, total_len),
        whole: b.len() >= total_len && fragment & MORE_FRAGMENTS == 0 && offset == 0,
        declared: i64::from(total) - i64::from(first & 15) * 4,
        meta,
    };
    let (ends, meta) = (format!("{} > {}", dotted(header.source), dotted(header.destination)), &header.meta);
    if offset != 0 {
        return Ok(format!("IP {ends} frag proto {protocol} ({meta} off {offset})"));
    }
    match (protocol, header.payload.len()) {
        (6, 20..) => tcp(&header),
        (17, 8..) => udp(&header, depth),
        (1, 8..) => icmp(&header, &ends, depth),
        (2, _) => Ok(format!("IP {ends}: IGMP type 0x{:x} ({meta})", byte(header.payload, 0)?)),
        (4, _) => Ok(format!("IP {ends}: IPIP ({meta}) | {}", ip(header.payload, depth + 1)?)),
        _ => Ok(format!("IP {ends}: proto {protocol} ({meta})")),
    }
}

fn tcp(ip: &Header<'_>) -> Result<String, Malformed> {
    const FLAGS: [(u16, char); 8] =
        [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')];
    let b = ip.payload;
    let (offset_flags, window) = (be16(b, 12)?, be16(b, 14)?);
    let header_len = usize::from(offset_flags >> 12) * 4;
    let flags: String = FLAGS.iter().filter(|(bit, _)| offset_flags & bit != 0).map(|(_, name)| name).collect();
    let len = if ip.whole { b.len().saturating_sub(header_len) as i64 } else { ip.declared - header_len as i64 };
    Ok(format!(
        "IP {}.{} > {}.{}: Flags [{flags}], seq {}, ack {}, win {window}, opts [{}], length {len} ({}) tcpck={}",
        dotted(ip.source),
        be16(b, 0)?,
        dotted(ip.destination),
        be16(b, 2)?,
        be32(b, 4)?,
        be32(b, 8)?,
        tcp_options(part(b, 20, header_len))?.join(","),
        ip.meta,
        checksum_state(ip, 6, 16)?,
    ))
}

/// The options in their order (RFC 9293 section 3.2, RFC 7323, RFC 2018).
fn tcp_options(b: &[u8]) -> Result<Vec<String>, Malformed> {
    let (mut options, mut at) = (Vec::new(), 0);
    while at < b.len() {
        let kind = b[at];
        match kind {
            0 => {
                options.push("eol".into());
                break;
            }
            1 => {
                options.push("nop".into());
                at += 1;
                continue;
            }
            _ => {}
        }
        let Some(len) = b.get(at + 1).map(|&len| usize::from(len)).filter(|&len| len >= 2) else {
            options.push("?".into());
            break;
        };
        let value = part(b, at + 2, at + len);
        options.push(tcp_option(kind, value)?);
        at += len;
    }
    Ok(options)
}

fn tcp_option(kind: u8, value: &[u8]) -> Result<String, Malformed> {
    let of_len = |len: usize| if value.len() == len { Ok(()) } else { Err(Malformed) };
    match kind {
        2 => of_len(2).and_then(|()| Ok(format!("mss {}", be16(value, 0)?))),
        3 => Ok(format!("wscale {}", byte(value, 0)?)),
        4 => Ok("sackOK".into()),
        5 => {
            let edges = |block: &[u8]| Ok(format!("{{{}:{}}}", be32(block, 0)?, be32(block, 4)?));
            Ok(format!("sack{}", value.chunks(8).map(edges).collect::<Result<String, Malformed>>()?))
        }
        8 => of_len(8).and_then(|()| Ok(format!("TS val {} ecr {}", be32(value, 0)?, be32(value, 4)?))),
        _ => Ok(format!("opt{kind}")),
    }
}

fn udp(ip: &Header<'_>, depth: u8) -> Result<String, Malformed> {
    const VXLAN_PORT: u16 = 8472;
    let b = ip.payload;
    let (source_port, port, len) = (be16(b, 0)?, be16(b, 2)?, i32::from(be16(b, 4)?) - 8);
    let (source, destination, meta) = (dotted(ip.source), dotted(ip.destination), &ip.meta);
    let state = checksum_state(ip, 17, 6)?;
    let text = format!("IP {source}.{source_port} > {destination}.{port}: UDP len {len} ({meta}) udpck={state}");
    if port != VXLAN_PORT || b.len() <= 30 {
        return Ok(text);
    }
    let (flags, vni, inner) = (byte(b, 8)?, be32(b, 12)? >> 8, ethernet(part(b, 16, b.len()), depth + 1)?);
    Ok(format!("{text} VXLAN flags 0x{flags:02x} vni {vni} | {inner}"))
}

fn icmp(ip: &Header<'_>, ends: &str, depth: u8) -> Result<String, Malformed> {
    const UNREACHABLE: u8 = 3;
    const REDIRECT: u8 = 5;
    const TIME_EXCEEDED: u8 = 11;
    let b = ip.payload;
    let (kind, code) = (byte(b, 0)?, byte(b, 1)?);
    let state = match ip.whole {
        true if ones_complement_sum(b, 0) == 0xffff => "ok",
        true => "bad",
        false => "?",
    };
    let mut details = match (kind, code) {
        (0 | 8, _) => format!(" id {} seq {}", be16(b, 4)?, be16(b, 6)?),
        (UNREACHABLE, 4) => format!(" mtu {}", be16(b, 6)?),
        (REDIRECT, _) => format!(" gw {}", dotted(part(b, 4, 8))),
        _ => String::new(),
    };
    if [UNREACHABLE, REDIRECT, TIME_EXCEEDED].contains(&kind) {
        let quote = super::ip(part(b, 8, b.len()), depth + 1)?;
        details += &format!(" quotes {} bytes {{{quote}}}", b.len() - 8);
    }
    let name = icmp_name(kind, code).map_or_else(|| format!("{kind}/{code}"), str::to_owned);
    Ok(format!("IP {ends}: ICMP {name}{details}, length {} ({}) icmpck={state}", b.len(), ip.meta))
}

/// What this judge calls the messages of ICMP that Linux sends, by type and code.
pub const ICMP_NAMES: [((u8, u8), &str); 13] = [
    ((0, 0), "echo reply"),
    ((8, 0), "echo request"),
    ((11, 0), "time exceeded in-transit"),
    ((11, 1), "reassembly time exceeded"),
    ((3, 0), "net unreachable"),
    ((3, 1), "host unreachable"),
    ((3, 2), "protocol unreachable"),
    ((3, 3), "port unreachable"),
    ((3, 4), "frag needed"),
    ((3, 10), "host prohibited"),
    ((3, 13), "admin prohibited"),
    ((5, 0), "redirect net"),
    ((5, 1), "redirect host"),
];

fn icmp_name(kind: u8, code: u8) -> Option<&'static str> {
    ICMP_NAMES.iter().find(|(of, _)| *of == (kind, code)).map(|(_, name)| *name)
}

/// The state of the checksum at `field` of a TCP or UDP segment: `ok`, `partial` (the pseudo header's sum alone, as
/// Linux leaves it for the device to complete), `zero` (UDP without one), `bad`, or `?` if the segment is not whole.
fn checksum_state(ip: &Header<'_>, protocol: u8, field: usize) -> Result<&'static str, Malformed> {
    let have = be16(ip.payload, field)?;
    if !ip.whole {
        return Ok("?");
    }
    // A payload's length is at most the total length's 16 bits.
    let len = (ip.payload.len() as u16).to_be_bytes();
    let pseudo_header = [ip.source, ip.destination, &[0, protocol], &len].concat();
    let sum = ones_complement_sum(&pseudo_header, 0);
    Ok(match () {
        () if protocol == 17 && have == 0 => "zero",
        () if ones_complement_sum(ip.payload, sum) == 0xffff => "ok",
        () if have == sum => "partial",
        () => "bad",
    })
}
