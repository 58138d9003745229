//! `-m udp` (net/netfilter/xt_tcpudp.c, extensions/libxt_udp.c) and `-m sctp` (net/netfilter/xt_sctp.c,
//! extensions/libxt_sctp.c), which ask for ports alone.
//!
//! Differs: `--chunk-types` of `-m sctp` is not known.

use super::{nft_port_in, nft_ports, port_in, save_ports};
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::Value;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Matched, Packet};
use crate::wire::{IPPROTO_UDP, be16};

const IPPROTO_SCTP: u8 = 132;

const SPECS: [Spec; 4] = [
    Spec::new("source-port", 0, Kind::Ports).invert(),
    Spec::new("sport", 0, Kind::Ports).invert(),
    Spec::new("destination-port", 1, Kind::Ports).invert(),
    Spec::new("dport", 1, Kind::Ports).invert(),
];

/// `-m udp`, `-m sctp`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    protocol: Protocol,
    /// The source port's range, both ends in it.
    pub sport: (u16, u16),
    /// Not in that range.
    pub not_sport: bool,
    /// The destination port's range.
    pub dport: (u16, u16),
    /// Not in that range.
    pub not_dport: bool,
    /// nf_tables compares it itself, without xt_tcpudp.
    native: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Udp,
    Sctp,
}

/// The range that holds every port.
const ANY: (u16, u16) = (0, u16::MAX);

impl Ports {
    const fn of(protocol: Protocol) -> Ports {
        Ports { protocol, sport: ANY, not_sport: false, dport: ANY, not_dport: false, native: false }
    }

    /// `-m udp` without options.
    pub const UDP: Ports = Ports::of(Protocol::Udp);
    /// `-m sctp` without options.
    pub const SCTP: Ports = Ports::of(Protocol::Sctp);

    /// The match's name.
    pub(super) fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The protocol that a rule with it must ask for.
    pub(super) fn protocol(&self) -> u8 {
        match self.protocol {
            Protocol::Udp => IPPROTO_UDP,
            Protocol::Sctp => IPPROTO_SCTP,
        }
    }

    /// `-m udp` that asks for something.
    pub(in crate::kernel::netfilter) fn is_udp_with_options(&self) -> bool {
        self.protocol == Protocol::Udp && *self != Ports::UDP
    }

    fn header_len(&self) -> usize {
        match self.protocol {
            Protocol::Udp => 8,
            Protocol::Sctp => 12,
        }
    }

    /// `add_nft_udp` of iptables/nft.c: whether anything is left to compare. `-m sctp` stays what it is.
    pub(super) fn make_nft(&mut self) -> bool {
        if self.protocol == Protocol::Sctp || *self == Ports::UDP {
            return true;
        }
        self.native = true;
        (self.sport, self.not_sport) = nft_ports(self.sport, self.not_sport);
        (self.dport, self.not_dport) = nft_ports(self.dport, self.not_dport);
        self.sport != ANY || self.dport != ANY
    }

    /// `udp_mt`, `sctp_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> Matched {
        if self.native {
            let source = nft_port_in(packet, 0, self.sport, self.not_sport);
            return (source && nft_port_in(packet, 2, self.dport, self.not_dport)).into();
        }
        if packet.fragment_offset() != 0 {
            return Matched::No;
        }
        let header = packet.payload();
        if header.len() < self.header_len() {
            return Matched::Hotdrop;
        }
        let source = port_in(self.sport, be16(header, 0), self.not_sport);
        (source && port_in(self.dport, be16(header, 2), self.not_dport)).into()
    }
}

impl Extension for Ports {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let Value::Ports(low, high) = given.value else { return Ok(()) };
        if given.id == 0 {
            (self.sport, self.not_sport) = ((low, high), given.invert);
        } else {
            (self.dport, self.not_dport) = ((low, high), given.invert);
        }
        Ok(())
    }

    fn list(&self, out: &mut String, how: Listing) {
        out.push(' ');
        out.push_str(self.name());
        how.list_ports(out, "spt", self.sport, self.not_sport, self.protocol());
        how.list_ports(out, "dpt", self.dport, self.not_dport, self.protocol());
    }

    fn save(&self, out: &mut String) {
        if self.sport != ANY {
            save_ports(out, "sport", self.sport, self.not_sport);
        }
        if self.dport != ANY {
            save_ports(out, "dport", self.dport, self.not_dport);
        }
    }
}
