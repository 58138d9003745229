//! TCP's segments as tcpdump prints them (print-tcp.c), and of HTTP's the first line (print-http.c).

use super::{DOMAIN, dns};
use crate::wire::{be16, be32};
use rustc_hash::FxHashMap;
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// Both ends of a connection, in an order that does not depend on who sends.
pub(super) type Ends = (Ipv4Addr, Ipv4Addr, u16, u16);

/// Where each end's sequence numbers begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    seq: u32,
    ack: u32,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;
/// HTTP_PORT, HTTP_PORT_ALT, and the one of proxies.
const HTTP: [u16; 3] = [80, 8080, 3128];
/// What a request begins with (httpcmds, those of RFC 9110).
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// What follows the addresses.
pub(super) fn segment(
    f: &mut String,
    known: &mut FxHashMap<Ends, First>,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    tcp: &[u8],
) -> fmt::Result {
    let hlen = usize::from(tcp[12] >> 4) * 4;
    let Some((header, body)) = tcp.split_at_checked(hlen).filter(|_| hlen >= 20) else {
        return write!(f, "tcp {} [bad hdr length {hlen}, too short, < 20]", tcp.len().saturating_sub(hlen));
    };
    let (sport, dport, flags) = (be16(tcp, 0), be16(tcp, 2), tcp[13]);
    let (mut seq, mut ack) = (be32(tcp, 4), be32(tcp, 8));
    let turned = (sport, src) > (dport, dst);
    let ends = if turned { (dst, src, dport, sport) } else { (src, dst, sport, dport) };
    let mut first = None;
    if flags & ACK != 0 {
        let (begin, begin_ack) = (seq, ack.wrapping_sub(1));
        match known.get(&ends).filter(|_| flags & SYN == 0) {
            Some(of) => {
                let (own, other) = if turned { (of.ack, of.seq) } else { (of.seq, of.ack) };
                (seq, ack) = (seq.wrapping_sub(own), ack.wrapping_sub(other));
                first = Some(*of);
            }
            None => {
                let (seq, ack) = if turned { (begin_ack, begin) } else { (begin, begin_ack) };
                let of = First { seq, ack };
                known.insert(ends, of);
                first = Some(of);
            }
        }
    }
    f.write_str("Flags [")?;
    put_flags(f, flags)?;
    f.write_char(']')?;
    if !body.is_empty() || flags & (SYN | FIN | RST) != 0 {
        write!(f, ", seq {seq}")?;
        if !body.is_empty() {
            write!(f, ":{}", seq.wrapping_add(body.len() as u32))?;
        }
    }
    if flags & ACK != 0 {
        write!(f, ", ack {ack}")?;
    }
    write!(f, ", win {}", be16(tcp, 14))?;
    if flags & URG != 0 {
        write!(f, ", urg {}", be16(tcp, 18))?;
    }
    // SACK blocks are the other side's numbers.
    let base = first.map_or(0, |of| if turned { of.seq } else { of.ack });
    options(f, &header[20..], base)?;
    write!(f, ", length {}", body.len())?;
    if body.is_empty() {
        return Ok(());
    }
    if HTTP.contains(&sport) || HTTP.contains(&dport) {
        f.write_str(": HTTP")?;
        return http(f, body);
    }
    match dns::message(body.get(2..).unwrap_or_default(), be16(body, 0).into()) {
        Some(text) if [sport, dport].contains(&DOMAIN) => write!(f, " {text}"),
        _ => Ok(()),
    }
}

fn put_flags(f: &mut String, flags: u8) -> fmt::Result {
    if flags == 0 {
        return f.write_str("none");
    }
    for (bit, letter) in "FSRP.UEW".chars().enumerate() {
        if flags & 1 << bit != 0 {
            f.write_char(letter)?;
        }
    }
    Ok(())
}

fn options(f: &mut String, mut rest: &[u8], base: u32) -> fmt::Result {
    let mut before = ", options [";
    let none = rest.is_empty();
    while let Some(kind) = rest.first().copied() {
        f.write_str(before)?;
        before = ",";
        let len = match kind {
            0 | 1 => 1,
            _ => usize::from(rest.get(1).copied().unwrap_or(0)).max(2),
        };
        let Some((option, after)) = rest.split_at_checked(len) else {
            f.write_str("[bad opt]")?;
            break;
        };
        match kind {
            0 => f.write_str("eol")?,
            1 => f.write_str("nop")?,
            2 => write!(f, "mss {}", be16(option, 2))?,
            3 => write!(f, "wscale {}", option.get(2).copied().unwrap_or(0))?,
            4 => f.write_str("sackOK")?,
            5 => {
                write!(f, "sack {} ", (len - 2) / 8)?;
                for block in option[2..].chunks_exact(8) {
                    let (from, to) = (be32(block, 0).wrapping_sub(base), be32(block, 4).wrapping_sub(base));
                    write!(f, "{{{from}:{to}}}")?;
                }
            }
            8 => write!(f, "TS val {} ecr {}", be32(option, 2), be32(option, 6))?,
            kind => {
                write!(f, "unknown-{kind}")?;
                if len > 2 {
                    f.write_str(" 0x")?;
                }
                option[2..].iter().try_for_each(|b| write!(f, "{b:02x}"))?;
            }
        }
        rest = after;
        if kind == 0 {
            break;
        }
    }
    if none { Ok(()) } else { f.write_char(']') }
}

/// The first line of a request or an answer; of the rest of a message nothing.
fn http(f: &mut String, body: &[u8]) -> fmt::Result {
    let line = body.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return Ok(()) };
    let mut words = line.split(' ');
    let request = words.next().is_some_and(|w| METHODS.iter().any(|m| m.eq_ignore_ascii_case(w)));
    let answer = words.next().is_some_and(|w| w.len() == 3 && w.bytes().all(|b| b.is_ascii_digit()));
    if request || answer { write!(f, ": {line}") } else { Ok(()) }
}
