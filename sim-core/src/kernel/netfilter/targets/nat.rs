//! `-j DNAT`, `SNAT`, `MASQUERADE` and `REDIRECT` (net/netfilter/xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c;
//! extensions/libxt_NAT.c).

use crate::kernel::conntrack::nat::Range;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::words::{number, number_then, service};
use std::net::Ipv4Addr;

const DNAT: [Spec; 3] = [
    Spec::new("to-destination", 0, Kind::Str).mandatory(),
    Spec::new("random", 2, Kind::None),
    Spec::new("persistent", 4, Kind::None),
];
const SNAT: [Spec; 4] = [
    Spec::new("to-source", 0, Kind::Str).mandatory(),
    Spec::new("random", 2, Kind::None),
    Spec::new("random-fully", 3, Kind::None),
    Spec::new("persistent", 4, Kind::None),
];
const MASQUERADE: [Spec; 3] =
    [Spec::new("to-ports", 1, Kind::Str), Spec::new("random", 2, Kind::None), Spec::new("random-fully", 3, Kind::None)];
const REDIRECT: [Spec; 2] = [Spec::new("to-ports", 1, Kind::Str), Spec::new("random", 2, Kind::None)];

/// Which address is rewritten, and by what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NatKind {
    /// The destination, by the range.
    Dnat,
    /// The source, by the range.
    Snat,
    /// The source, by an address of the device that the packet leaves by.
    Masquerade,
    /// The destination, by an address of this machine.
    Redirect,
}

impl NatKind {
    /// The target's name.
    pub fn name(self) -> &'static str {
        match self {
            NatKind::Dnat => "DNAT",
            NatKind::Snat => "SNAT",
            NatKind::Masquerade => "MASQUERADE",
            NatKind::Redirect => "REDIRECT",
        }
    }
}

/// A target of the nat table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nat {
    /// Which it is.
    pub kind: NatKind,
    /// Where to.
    pub range: Range,
}

impl Nat {
    pub(super) fn new(kind: NatKind) -> Self {
        Nat { kind, range: Range::default() }
    }
}

impl Extension for Nat {
    fn specs(&self) -> &'static [Spec] {
        match self.kind {
            NatKind::Dnat => &DNAT,
            NatKind::Snat => &SNAT,
            NatKind::Masquerade => &MASQUERADE,
            NatKind::Redirect => &REDIRECT,
        }
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let ports = matches!(given.protocol.0, 1 | 6 | 17 | 33 | 132);
        match given.id {
            0 => self.range.read(given.arg, ports)?,
            1 => self.range.read_ports(given.arg, ports)?,
            2 => self.range.random = true,
            3 => self.range.random_fully = true,
            _ => self.range.persistent = true,
        }
        Ok(())
    }

    fn check(&mut self, _: u32) -> Result<(), Error> {
        if self.range.base.is_some() && self.kind != NatKind::Dnat {
            return Err(Error::usage("Shifted portmap ranges not supported with this kernel"));
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        let range = self.range.text();
        match self.kind {
            _ if range.is_empty() => {}
            NatKind::Dnat | NatKind::Snat => out.push_str(&format!(" to:{range}")),
            NatKind::Masquerade => out.push_str(&format!(" masq ports: {}", range.trim_start_matches(':'))),
            NatKind::Redirect => out.push_str(&format!(" redir ports {}", range.trim_start_matches(':'))),
        }
        for (_, text) in self.range.flags().iter().filter(|(set, _)| *set) {
            out.push_str(&format!(" {text}"));
        }
    }

    fn save(&self, out: &mut String) {
        let range = self.range.text();
        match self.kind {
            _ if range.is_empty() => {}
            NatKind::Dnat => out.push_str(&format!(" --to-destination {range}")),
            NatKind::Snat => out.push_str(&format!(" --to-source {range}")),
            NatKind::Masquerade | NatKind::Redirect => {
                out.push_str(&format!(" --to-ports {}", range.trim_start_matches(':')));
            }
        }
        for (_, text) in self.range.flags().iter().filter(|(set, _)| *set) {
            out.push_str(&format!(" --{text}"));
        }
    }
}

impl Range {
    /// `parse_to`
    fn read(&mut self, text: &str, ports: bool) -> Result<(), Error> {
        if text.contains('[') {
            return Err(Error::usage("Invalid address format"));
        }
        // More than one colon would be an IPv6 address.
        let colon = text.split_once(':').filter(|(_, port)| !port.contains(':'));
        if let Some((_, port)) = colon {
            self.read_ports(port, ports)?;
        }
        let addresses = colon.map_or(text, |(addresses, _)| addresses);
        if colon.is_some() && addresses.is_empty() {
            return Ok(());
        }
        let one = |text: &str| {
            let bad = || Error::usage(format!("Bad IP address \"{text}\""));
            text.parse::<Ipv4Addr>().map_err(|_| bad())
        };
        let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
        self.addrs = Some((one(first)?.into(), one(last)?.into()));
        Ok(())
    }

    /// `parse_ports`
    fn read_ports(&mut self, text: &str, allowed: bool) -> Result<(), Error> {
        if !allowed {
            return Err(Error::usage("Need TCP, UDP, SCTP or DCCP with port specification"));
        }
        let bad = |text: &str| Error::usage(format!("Port `{text}' not valid"));
        let (first, rest) = match number_then(text, 65535) {
            Some((port, rest)) => (port as u16, rest),
            None => (service(text).ok_or_else(|| bad(text))?, ""),
        };
        let Some(last) = rest.strip_prefix('-') else {
            if rest.starts_with(':') {
                return Err(Error::usage("Invalid port:port syntax - use dash"));
            }
            if !rest.is_empty() {
                return Err(Error::usage(format!("Garbage after port value: `{rest}'")));
            }
            self.ports = Some((first, first));
            return Ok(());
        };
        let (end, rest) = number_then(last, 65535).ok_or_else(|| bad(last))?;
        let end = end as u16;
        if end < first {
            return Err(Error::usage(format!("Port range `{last}' funky")));
        }
        self.ports = Some((first, end));
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Ok(()),
            None => Err(Error::usage(format!("Garbage after port range: `{rest}'"))),
            Some(base) => {
                let named = || number(base, 1, 65535).map(|n| n as u16).or_else(|| service(base));
                self.base = Some(named().ok_or_else(|| bad(base))?);
                Ok(())
            }
        }
    }

    fn flags(&self) -> [(bool, &'static str); 3] {
        [(self.random, "random"), (self.random_fully, "random-fully"), (self.persistent, "persistent")]
    }

    /// `sprint_range`
    fn text(&self) -> String {
        let mut out = String::new();
        if let Some((first, last)) = self.addrs {
            out.push_str(&first.to_string());
            if last != first {
                out.push_str(&format!("-{last}"));
            }
        }
        if let Some((first, last)) = self.ports {
            out.push_str(&format!(":{first}"));
            if last != first {
                out.push_str(&format!("-{last}"));
            }
            if let Some(base) = self.base {
                out.push_str(&format!("/{base}"));
            }
        }
        out
    }
}
