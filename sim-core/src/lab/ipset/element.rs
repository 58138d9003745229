//! Elements of sets as they are typed and printed (lib/parse.c, lib/print.c of ipset).

use super::{error, usage};
use crate::base::words::{SyntaxError, Word};
use crate::kernel::netfilter::ipset::{Element, Entry, SetType};
use std::net::Ipv4Addr;

/// Protocols with ports.
const PORTED: [(&str, u8); 4] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("udplite", 136)];

/// An element with its options.
pub(super) fn read(kind: SetType, words: &[Word]) -> Result<Element, SyntaxError> {
    let Some((word, options)) = words.split_first() else { return Ok(Element::host(Ipv4Addr::UNSPECIFIED)) };
    let text = word.text.as_str();
    let (first, second) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
    let mut element = match (kind, second) {
        (SetType::HashIpPort, None) => {
            return Err(error(word, format!("Syntax error: Second element is missing from {text}.")));
        }
        (SetType::HashIpPort, Some(port)) => {
            let (proto, ports) = proto_port(word, port)?;
            Element { proto, ports, ..address(word, first, false)? }
        }
        (_, Some(_)) => {
            let name = kind.name();
            let message = format!("Syntax error: Elem separator in {text}, but settype {name} supports none.");
            return Err(error(word, message));
        }
        (SetType::BitmapPort, None) => {
            let ports = ports(word, text.split_once(':').map_or(text, |(_, ports)| ports))?;
            Element { ports, ..Element::host(Ipv4Addr::UNSPECIFIED) }
        }
        (SetType::HashIp | SetType::HashNet, None) => address(word, first, kind == SetType::HashNet)?,
    };
    for option in options {
        match option.text.as_str() {
            "nomatch" if kind == SetType::HashNet => element.nomatch = true,
            "timeout" | "comment" | "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue" => {
                return Err(error(option, format!("the option {} of an element is not simulated", option.text)));
            }
            other => return Err(usage(option, format!("Unknown argument: `{other}'"))),
        }
    }
    Ok(element)
}

/// `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS-ADDRESS`
fn address(word: &Word, text: &str, net: bool) -> Result<Element, SyntaxError> {
    let one = |part: &str| {
        let bad = || error(word, format!("Syntax error: cannot parse {text}: resolving to IPv4 address failed"));
        part.parse::<Ipv4Addr>().map_err(|_| bad())
    };
    let element = match (text.split_once('/'), text.split_once('-')) {
        (Some((ip, len)), _) => {
            let ip = one(ip)?;
            let len: u8 =
                len.parse().map_err(|_| error(word, format!("Syntax error: '{len}' is invalid as number")))?;
            if len > 32 {
                return Err(error(word, format!("Syntax error: '{len}' is out of range 0-32")));
            }
            Element::net(ip, len)
        }
        (None, Some((first, last))) => Element { ips: (one(first)?, one(last)?), ..Element::host(one(first)?) },
        (None, None) => Element::host(one(text)?),
    };
    if element.len.is_none() && !net && element.ips.0.is_unspecified() {
        return Err(error(word, "Null-valued element, cannot be stored in a hash type of set"));
    }
    Ok(element)
}

/// `[PROTOCOL:]PORT[-PORT]`
fn proto_port(word: &Word, text: &str) -> Result<(u8, (u16, u16)), SyntaxError> {
    let Some((proto, rest)) = text.split_once(':') else { return Ok((6, ports(word, text)?)) };
    match PORTED.iter().find(|(name, number)| *name == proto || number.to_string() == proto) {
        Some((_, number)) => Ok((*number, ports(word, rest)?)),
        None if matches!(proto, "icmp" | "icmpv6" | "1" | "58") => {
            Err(error(word, format!("{proto} in elements of sets is not simulated")))
        }
        None => match proto.parse::<u8>() {
            Ok(0) => Err(error(word, "Invalid protocol specified")),
            Ok(number) => Ok((number, ports(word, rest)?)),
            Err(_) => Err(error(word, format!("Syntax error: cannot parse '{proto}' as a protocol"))),
        },
    }
}

fn ports(word: &Word, text: &str) -> Result<(u16, u16), SyntaxError> {
    let one = |part: &str| match part.parse::<u32>() {
        Ok(n) => u16::try_from(n).map_err(|_| error(word, format!("Syntax error: '{n}' is out of range 0-65535"))),
        Err(_) => Err(error(word, format!("Syntax error: '{part}' is invalid as number"))),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((one(first)?, one(last)?))
}

/// `range FROM-TO` of a bitmap of ports.
pub(super) fn range(word: &Word) -> Result<(u16, u16), SyntaxError> {
    let text = word.text.split_once(':').map_or(word.text.as_str(), |(_, rest)| rest);
    if !text.contains('-') {
        return Err(usage(word, "Mandatory option `to' is missing"));
    }
    let (a, b) = ports(word, text)?;
    Ok((a.min(b), a.max(b)))
}

/// A number, decimal or hexadecimal.
pub(super) fn number(word: &Word, max: u32) -> Result<u32, SyntaxError> {
    let text = word.text.as_str();
    let read = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    match read {
        Some(n) if n <= u64::from(max) => Ok(n as u32),
        Some(_) => Err(error(word, format!("Syntax error: '{text}' is out of range 0-{max}"))),
        None => Err(error(word, format!("Syntax error: '{text}' is invalid as number"))),
    }
}

/// An element as it is listed and saved.
pub(super) fn text(kind: SetType, entry: Entry, nomatch: bool) -> String {
    let net = |entry: Entry| match entry.len {
        32 => entry.ip.to_string(),
        len => format!("{}/{len}", entry.ip),
    };
    let body = match kind {
        SetType::BitmapPort => entry.port.to_string(),
        SetType::HashIp | SetType::HashNet => net(entry),
        SetType::HashIpPort => format!("{},{}:{}", entry.ip, protocol(entry.proto), entry.port),
    };
    if nomatch { body + " nomatch" } else { body }
}

/// A protocol's name, or its number.
pub(super) fn protocol(number: u8) -> String {
    PORTED.iter().find(|(_, n)| *n == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}
