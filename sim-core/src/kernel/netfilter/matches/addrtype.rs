//! `-m addrtype` (net/netfilter/xt_addrtype.c, extensions/libxt_addrtype.c).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Packet, Surroundings};
use std::net::Ipv4Addr;

const SPECS: [Spec; 4] = [
    Spec::new("src-type", 0, Kind::Str).invert(),
    Spec::new("dst-type", 1, Kind::Str).invert(),
    Spec::new("limit-iface-in", 2, Kind::None).excludes(8),
    Spec::new("limit-iface-out", 3, Kind::None).excludes(4),
];

/// Types by their bit.
const TYPES: [&str; 12] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

/// `-m addrtype`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddrTypes {
    /// The types that the source may have, as bits; zero for any.
    pub source: u16,
    /// None of these.
    pub not_source: bool,
    /// The types that the destination may have.
    pub destination: u16,
    /// None of these.
    pub not_destination: bool,
    /// Looked up on the device that the packet came in by.
    pub limit_in: bool,
    /// Looked up on the device that it goes out by.
    pub limit_out: bool,
}

impl AddrTypes {
    /// `addrtype_mt_v1`
    pub(super) fn matches(&self, packet: &Packet<'_>, around: &mut dyn Surroundings) -> bool {
        let dev = match (self.limit_in, self.limit_out) {
            (true, _) => packet.indev,
            (_, true) => packet.outdev,
            _ => None,
        };
        let mut is = |address: Ipv4Addr, types: u16, invert: bool| {
            types == 0 || (types & 1 << around.addr_type(address, dev) as u8 != 0) != invert
        };
        is(packet.src(), self.source, self.not_source) && is(packet.dst(), self.destination, self.not_destination)
    }

    /// `addrtype_mt_checkentry_v1`
    pub(super) fn suits(&self, hooks: u8) -> bool {
        let no_out = Hook::Prerouting.bit() | Hook::Input.bit();
        let no_in = Hook::Postrouting.bit() | Hook::Output.bit();
        !(hooks & no_out != 0 && self.limit_out || hooks & no_in != 0 && self.limit_in)
    }
}

impl Extension for AddrTypes {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => (self.source, self.not_source) = (types(given.arg)?, given.invert),
            1 => (self.destination, self.not_destination) = (types(given.arg)?, given.invert),
            2 => self.limit_in = true,
            _ => self.limit_out = true,
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen & 3 != 0 {
            return Ok(());
        }
        Err(Error::usage("addrtype: you must specify --src-type or --dst-type"))
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" ADDRTYPE match");
        let sides = [("src", self.source, self.not_source), ("dst", self.destination, self.not_destination)];
        for (side, types, invert) in sides.into_iter().filter(|(_, types, _)| *types != 0) {
            out.push_str(&format!(" {side}-type {}{}", if invert { "!" } else { "" }, names(types)));
        }
        for (set, text) in [(self.limit_in, " limit-in"), (self.limit_out, " limit-out")] {
            out.push_str(if set { text } else { "" });
        }
    }

    fn save(&self, out: &mut String) {
        let sides = [("src", self.source, self.not_source), ("dst", self.destination, self.not_destination)];
        for (side, types, invert) in sides.into_iter().filter(|(_, types, _)| *types != 0) {
            bang(out, invert);
            out.push_str(&format!(" --{side}-type {}", names(types)));
        }
        if self.limit_in {
            out.push_str(" --limit-iface-in");
        }
        if self.limit_out {
            out.push_str(" --limit-iface-out");
        }
    }
}

/// The types of a mask.
fn names(types: u16) -> String {
    let set = TYPES.iter().enumerate().filter(|(bit, _)| types & 1 << bit != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn types(text: &str) -> Result<u16, Error> {
    let mut rest = text;
    let mut bits = 0;
    loop {
        let next = rest.split_once(',');
        let name = next.map_or(rest, |(name, _)| name);
        let begins =
            |full: &&str| !name.is_empty() && full.get(..name.len()).is_some_and(|f| f.eq_ignore_ascii_case(name));
        match (TYPES.iter().position(begins), next) {
            (None, Some(_)) => return Err(Error::usage(format!("addrtype: bad type `{rest}'"))),
            (None, None) => return Err(Error::usage(format!("addrtype: bad type \"{rest}\""))),
            (Some(bit), next) => {
                bits |= 1 << bit;
                match next {
                    Some((_, next)) => rest = next,
                    None => return Ok(bits),
                }
            }
        }
    }
}
