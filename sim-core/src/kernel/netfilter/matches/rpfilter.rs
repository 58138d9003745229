//! `-m rpfilter` (net/ipv4/netfilter/ipt_rpfilter.c, extensions/libxt_rpfilter.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::hook::{Hook, TableName};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{AddrType, Packet, Surroundings};
use crate::kernel::netns::LOOPBACK;
use std::net::Ipv4Addr;

const SPECS: [Spec; 4] = [
    Spec::new("loose", 0, Kind::None),
    Spec::new("validmark", 1, Kind::None),
    Spec::new("accept-local", 2, Kind::None),
    Spec::new("invert", 3, Kind::None),
];

/// `-m rpfilter`: an answer would leave by the device that the packet came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "XT_RPFILTER_* flags")]
pub struct Rpfilter {
    /// Any device will do.
    pub loose: bool,
    /// The packet's mark has a say.
    pub validmark: bool,
    /// So has a source of this host.
    pub accept_local: bool,
    /// It would not.
    pub invert: bool,
}

impl Rpfilter {
    /// `rpfilter_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>, around: &mut dyn Surroundings) -> bool {
        self.passes(packet, around) != self.invert
    }

    fn passes(&self, packet: &Packet<'_>, around: &mut dyn Surroundings) -> bool {
        let (src, dst) = (packet.src(), packet.dst());
        let zeronet = |addr: Ipv4Addr| addr.octets()[0] == 0;
        // ipv4_is_local_multicast
        let near = dst.is_broadcast() || dst.octets()[..3] == [224, 0, 0];
        if packet.indev == Some(LOOPBACK) || zeronet(src) && near {
            return true;
        }
        // rpfilter_get_saddr
        let own = if dst.is_multicast() || dst.is_broadcast() || zeronet(dst) { Ipv4Addr::UNSPECIFIED } else { dst };
        let mark = if self.validmark { packet.mark } else { 0 };
        let Some((kind, dev)) = around.route_back(src, own, mark) else { return false };
        let known = kind == AddrType::Unicast || kind == AddrType::Local && self.accept_local;
        known && (self.loose || dev == packet.indev)
    }

    /// `rpfilter_check`
    pub(super) fn suits(hooks: u8) -> bool {
        hooks & !Hook::Prerouting.bit() == 0
    }

    /// The tables in which it may stand.
    pub(in crate::kernel::netfilter) fn suits_table(table: TableName) -> bool {
        matches!(table, TableName::Raw | TableName::Mangle)
    }
}

impl Extension for Rpfilter {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.loose = true,
            1 => self.validmark = true,
            2 => self.accept_local = true,
            _ => self.invert = true,
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" rpfilter");
        self.flags(out, " ");
    }

    fn save(&self, out: &mut String) {
        self.flags(out, " --");
    }
}

impl Rpfilter {
    fn flags(&self, out: &mut String, before: &str) {
        let flags = [
            (self.loose, "loose"),
            (self.validmark, "validmark"),
            (self.accept_local, "accept-local"),
            (self.invert, "invert"),
        ];
        for (_, name) in flags.into_iter().filter(|(set, _)| *set) {
            out.push_str(before);
            out.push_str(name);
        }
    }
}
