//! `-m tcp` (net/netfilter/xt_tcpudp.c, extensions/libxt_tcp.c).

use super::{bang, nft_port_in, nft_ports, port_in, save_ports};
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Matched, Packet};
use crate::kernel::netfilter::words::{number, port};
use crate::wire::{IPPROTO_TCP, be16};

const SPECS: [Spec; 7] = [
    Spec::new("source-port", 0, Kind::Str).unchecked(),
    Spec::new("sport", 0, Kind::Str).unchecked(),
    Spec::new("destination-port", 1, Kind::Str).unchecked(),
    Spec::new("dport", 1, Kind::Str).unchecked(),
    Spec::new("syn", 2, Kind::None).unchecked(),
    Spec::new("tcp-flags", 3, Kind::Str).unchecked(),
    Spec::new("tcp-option", 4, Kind::Str).unchecked(),
];

const FLAGS: [(&str, u8); 8] =
    [("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32), ("ALL", 63), ("NONE", 0)];

/// `-m tcp`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// The source port's range, both ends in it.
    pub sport: (u16, u16),
    /// Not in that range.
    pub not_sport: bool,
    /// The destination port's range.
    pub dport: (u16, u16),
    /// Not in that range.
    pub not_dport: bool,
    /// The flags that are looked at, FIN in the lowest bit.
    pub flags_mask: u8,
    /// Those of them that must be set.
    pub flags: u8,
    /// Not these flags.
    pub not_flags: bool,
    /// The TCP option that must be there, by its kind; zero for none.
    pub option: u8,
    /// The option must not be there.
    pub not_option: bool,
    /// nf_tables compares it itself, without xt_tcpudp.
    native: bool,
}

/// The range that holds every port.
const ANY: (u16, u16) = (0, u16::MAX);
/// Bytes of a TCP header without options.
const HEADER: usize = 20;

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            sport: ANY,
            not_sport: false,
            dport: ANY,
            not_dport: false,
            flags_mask: 0,
            flags: 0,
            not_flags: false,
            option: 0,
            not_option: false,
            native: false,
        }
    }
}

impl Tcp {
    /// `add_nft_tcp` of iptables/nft.c: whether anything is left to compare.
    pub(super) fn make_nft(&mut self) -> bool {
        if self.option != 0 || self.not_option || *self == Tcp::default() {
            return true;
        }
        self.native = true;
        (self.sport, self.not_sport) = nft_ports(self.sport, self.not_sport);
        (self.dport, self.not_dport) = nft_ports(self.dport, self.not_dport);
        self.sport != ANY || self.dport != ANY || self.flags_mask != 0
    }

    /// As three expressions of nf_tables.
    fn matches_natively(&self, packet: &Packet<'_>) -> bool {
        let ports =
            nft_port_in(packet, 0, self.sport, self.not_sport) && nft_port_in(packet, 2, self.dport, self.not_dport);
        let flags = || packet.payload().get(13).is_some_and(|f| (f & self.flags_mask == self.flags) != self.not_flags);
        ports && (self.flags_mask == 0 || flags())
    }

    /// `tcp_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> Matched {
        if self.native {
            return self.matches_natively(packet).into();
        }
        match packet.fragment_offset() {
            0 => {}
            // The second fragment would overwrite the flags: an attack.
            1 => return Matched::Hotdrop,
            _ => return Matched::No,
        }
        let header = packet.payload();
        if header.len() < HEADER {
            return Matched::Hotdrop;
        }
        let ports = port_in(self.sport, be16(header, 0), self.not_sport)
            && port_in(self.dport, be16(header, 2), self.not_dport);
        if !ports || (header[13] & self.flags_mask == self.flags) == self.not_flags {
            return Matched::No;
        }
        if self.option == 0 { Matched::Yes } else { self.find_option(header) }
    }

    /// `tcp_find_option`
    fn find_option(&self, header: &[u8]) -> Matched {
        let end = usize::from(header[12] >> 4) * 4;
        let Some(options) = header.get(HEADER..end) else { return Matched::Hotdrop };
        let mut at = 0;
        while let Some(kind) = options.get(at) {
            if *kind == self.option {
                return (!self.not_option).into();
            }
            let length = if *kind < 2 { 1 } else { options.get(at + 1).copied().unwrap_or(1) };
            at += usize::from(length.max(1));
        }
        self.not_option.into()
    }
}

impl Extension for Tcp {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let seen = |bits: u32| given.seen & bits != 0;
        match given.id {
            0 if seen(1) => return Err(Error::usage("Only one `--source-port' allowed")),
            1 if seen(2) => return Err(Error::usage("Only one `--destination-port' allowed")),
            2 | 3 if seen(4 | 8) => return Err(Error::usage("Only one of `--syn' or `--tcp-flags'  allowed")),
            4 if seen(16) => return Err(Error::usage("Only one `--tcp-option' allowed")),
            0 => (self.sport, self.not_sport) = (ports(given.arg)?, given.invert),
            1 => (self.dport, self.not_dport) = (ports(given.arg)?, given.invert),
            2 => (self.flags_mask, self.flags, self.not_flags) = (0x17, 2, given.invert),
            3 => {
                let two = || Error::usage("--tcp-flags requires two args.");
                let compared = (given.second)().ok_or_else(two)?;
                (self.flags_mask, self.flags, self.not_flags) = (flags(given.arg)?, flags(compared)?, given.invert);
            }
            _ => {
                let bad = || Error::usage(format!("Bad TCP option \"{}\"", given.arg));
                self.option = number(given.arg, 1, 255).ok_or_else(bad)? as u8;
                self.not_option = given.invert;
            }
        }
        Ok(())
    }

    fn list(&self, out: &mut String, how: Listing) {
        out.push_str(" tcp");
        how.list_ports(out, "spt", self.sport, self.not_sport, IPPROTO_TCP);
        how.list_ports(out, "dpt", self.dport, self.not_dport, IPPROTO_TCP);
        let not = |invert| if invert { "!" } else { "" };
        if self.option != 0 || self.not_option {
            out.push_str(&format!(" option={}{}", not(self.not_option), self.option));
        }
        if self.flags_mask != 0 || self.not_flags {
            out.push_str(&format!(" flags:{}", not(self.not_flags)));
            out.push_str(&if how.numeric {
                format!("0x{:02X}/0x{:02X}", self.flags_mask, self.flags)
            } else {
                format!("{}/{}", flag_names(self.flags_mask), flag_names(self.flags))
            });
        }
    }

    fn save(&self, out: &mut String) {
        if self.sport != ANY {
            save_ports(out, "sport", self.sport, self.not_sport);
        }
        if self.dport != ANY {
            save_ports(out, "dport", self.dport, self.not_dport);
        }
        if self.option != 0 || self.not_option {
            bang(out, self.not_option);
            out.push_str(&format!(" --tcp-option {}", self.option));
        }
        if self.flags_mask != 0 || self.not_flags {
            bang(out, self.not_flags);
            out.push_str(&format!(" --tcp-flags {} {}", flag_names(self.flags_mask), flag_names(self.flags)));
        }
    }
}

fn ports(text: &str) -> Result<(u16, u16), Error> {
    let one = |text: &str| {
        let unknown = || Error::usage(format!("invalid port/service `{text}' specified"));
        port(text).ok_or_else(unknown)
    };
    let Some((low, high)) = text.split_once(':') else { return one(text).map(|p| (p, p)) };
    let low = if low.is_empty() { 0 } else { one(low)? };
    let high = if high.is_empty() { u16::MAX } else { one(high)? };
    if low > high { Err(Error::usage("invalid portrange (min > max)")) } else { Ok((low, high)) }
}

fn flags(text: &str) -> Result<u8, Error> {
    text.split(',').filter(|f| !f.is_empty()).try_fold(0, |all, flag| {
        let known = FLAGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(flag));
        known.map(|(_, bit)| all | bit).ok_or_else(|| Error::usage(format!("Unknown TCP flag `{flag}'")))
    })
}

fn flag_names(flags: u8) -> String {
    let set: Vec<&str> = FLAGS.iter().take(6).filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect();
    if set.is_empty() { "NONE".to_owned() } else { set.join(",") }
}
