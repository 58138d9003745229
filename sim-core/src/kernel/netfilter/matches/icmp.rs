//! `-m icmp` (net/netfilter/xt_tcpudp.c: icmp_match; extensions/libipt_icmp.c, extensions/libxt_icmp.h).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Matched, Packet};
use crate::kernel::netfilter::words::number_then;

const SPECS: [Spec; 1] = [Spec::new("icmp-type", 0, Kind::Str).mandatory().invert()];

/// The type that stands for every type.
const ANY: u8 = 0xff;

/// Names of types and codes: type, lowest and highest code.
const NAMES: [(&str, u8, (u8, u8)); 37] = [
    ("any", ANY, (0, 255)),
    ("echo-reply", 0, (0, 255)),
    ("pong", 0, (0, 255)),
    ("destination-unreachable", 3, (0, 255)),
    ("network-unreachable", 3, (0, 0)),
    ("host-unreachable", 3, (1, 1)),
    ("protocol-unreachable", 3, (2, 2)),
    ("port-unreachable", 3, (3, 3)),
    ("fragmentation-needed", 3, (4, 4)),
    ("source-route-failed", 3, (5, 5)),
    ("network-unknown", 3, (6, 6)),
    ("host-unknown", 3, (7, 7)),
    ("network-prohibited", 3, (9, 9)),
    ("host-prohibited", 3, (10, 10)),
    ("TOS-network-unreachable", 3, (11, 11)),
    ("TOS-host-unreachable", 3, (12, 12)),
    ("communication-prohibited", 3, (13, 13)),
    ("host-precedence-violation", 3, (14, 14)),
    ("precedence-cutoff", 3, (15, 15)),
    ("source-quench", 4, (0, 255)),
    ("redirect", 5, (0, 255)),
    ("network-redirect", 5, (0, 0)),
    ("host-redirect", 5, (1, 1)),
    ("TOS-network-redirect", 5, (2, 2)),
    ("TOS-host-redirect", 5, (3, 3)),
    ("echo-request", 8, (0, 255)),
    ("ping", 8, (0, 255)),
    ("router-advertisement", 9, (0, 255)),
    ("router-solicitation", 10, (0, 255)),
    ("time-exceeded", 11, (0, 255)),
    ("ttl-exceeded", 11, (0, 255)),
    ("ttl-zero-during-transit", 11, (0, 0)),
    ("ttl-zero-during-reassembly", 11, (1, 1)),
    ("parameter-problem", 12, (0, 255)),
    ("ip-header-bad", 12, (0, 0)),
    ("required-option-missing", 12, (1, 1)),
    ("timestamp-request", 13, (0, 255)),
];
/// The rest of the names.
const MORE_NAMES: [(&str, u8, (u8, u8)); 3] =
    [("timestamp-reply", 14, (0, 255)), ("address-mask-request", 17, (0, 255)), ("address-mask-reply", 18, (0, 255))];

/// `-m icmp`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// The type; 255 stands for every type.
    pub kind: u8,
    /// The lowest and the highest code.
    pub code: (u8, u8),
    /// Not that.
    pub invert: bool,
}

impl Default for Icmp {
    fn default() -> Self {
        Icmp { kind: ANY, code: (0, 255), invert: false }
    }
}

impl Icmp {
    /// `icmp_match`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> Matched {
        if packet.fragment_offset() != 0 {
            return Matched::No;
        }
        let header = packet.payload();
        if header.len() < 8 {
            return Matched::Hotdrop;
        }
        let (low, high) = self.code;
        let code = low <= header[1] && header[1] <= high;
        ((self.kind == ANY || self.kind == header[0] && code) != self.invert).into()
    }
}

impl Extension for Icmp {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        (self.kind, self.code) = types(given.arg)?;
        self.invert = given.invert;
        Ok(())
    }

    fn list(&self, out: &mut String, how: Listing) {
        out.push_str(" icmp");
        let mut names = NAMES.iter().chain(&MORE_NAMES);
        let known = names.find(|(_, kind, code)| (*kind, *code) == (self.kind, self.code));
        if let Some((name, ..)) = known.filter(|_| !how.numeric) {
            out.push_str(&format!(" {}{name}", if self.invert { "!" } else { "" }));
            return;
        }
        bang(out, self.invert);
        out.push_str(&format!("type {}", self.kind));
        match self.code {
            (low, high) if low == high => out.push_str(&format!(" code {low}")),
            (0, 255) => {}
            (low, high) => out.push_str(&format!(" codes {low}-{high}")),
        }
    }

    fn save(&self, out: &mut String) {
        bang(out, self.invert);
        if self.kind == ANY {
            out.push_str(" --icmp-type any");
            return;
        }
        out.push_str(&format!(" --icmp-type {}", self.kind));
        if self.code != (0, 255) {
            out.push_str(&format!("/{}", self.code.0));
        }
    }
}

/// `__parse_icmp`: a name or its beginning, in any case, or numbers.
fn types(text: &str) -> Result<(u8, (u8, u8)), Error> {
    let begins = |name: &str| name.get(..text.len()).is_some_and(|n| n.eq_ignore_ascii_case(text));
    let mut named = NAMES.iter().chain(&MORE_NAMES).filter(|(name, ..)| begins(name));
    match (named.next(), named.next()) {
        (Some((first, ..)), Some((second, ..))) => {
            let text = format!("Ambiguous ICMP type `{text}': `{first}' or `{second}'?");
            return Err(Error::usage(text));
        }
        (Some((_, kind, code)), None) => return Ok((*kind, *code)),
        (None, _) => {}
    }
    let unknown = || Error::usage(format!("Unknown ICMP type `{text}'"));
    let ((kind, high), rest) = range(text).ok_or_else(unknown)?;
    let code = match rest.strip_prefix('/') {
        None if rest.is_empty() => (0, 255),
        None => return Err(stray(rest)),
        Some(code) => {
            let unknown = || Error::usage(format!("Unknown ICMP code `{text}'"));
            let (code, rest) = range(code).ok_or_else(unknown)?;
            if !rest.is_empty() {
                return Err(stray(rest));
            }
            code
        }
    };
    if kind == high { Ok((kind, code)) } else { Err(Error::usage("ICMP type range not supported")) }
}

fn stray(rest: &str) -> Error {
    Error::usage(format!("unknown character {}", rest.chars().next().unwrap_or(' ')))
}

fn range(text: &str) -> Option<((u8, u8), &str)> {
    let (low, rest) = number_then(text, 255)?;
    match rest.strip_prefix(':') {
        None => Some(((low as u8, low as u8), rest)),
        Some(high) => number_then(high, 255).map(|(high, rest)| ((low as u8, high as u8), rest)),
    }
}
