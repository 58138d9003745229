//! `-m socket` (net/netfilter/xt_socket.c, extensions/libxt_socket.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Packet, Surroundings};

const SPECS: [Spec; 3] = [
    Spec::new("transparent", 0, Kind::None),
    Spec::new("nowildcard", 1, Kind::None),
    Spec::new("restore-skmark", 2, Kind::None),
];

/// `-m socket`: there is a socket that the packet is for, and it is bound to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Socket {
    /// It has IP_TRANSPARENT.
    pub transparent: bool,
    /// It may be bound to no address, too.
    pub nowildcard: bool,
    /// The packet gets its mark.
    pub restore_skmark: bool,
}

impl Socket {
    /// `socket_match`
    pub(super) fn matches(&self, packet: &mut Packet<'_>, around: &dyn Surroundings) -> bool {
        let Some(sk) = around.receiver(packet) else { return false };
        let ignored = sk.wildcard && !self.nowildcard || self.transparent && !sk.transparent;
        if self.restore_skmark && !ignored {
            packet.mark = sk.mark.unwrap_or(packet.mark);
        }
        !ignored
    }

    /// The hooks that it may be asked at.
    pub(super) fn suits(hooks: u8) -> bool {
        hooks & !(Hook::Prerouting.bit() | Hook::Input.bit()) == 0
    }
}

impl Extension for Socket {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.transparent = true,
            1 => self.nowildcard = true,
            _ => self.restore_skmark = true,
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" socket");
        self.save(out);
    }

    fn save(&self, out: &mut String) {
        let flags = [self.transparent, self.nowildcard, self.restore_skmark];
        for (spec, _) in SPECS.iter().zip(flags).filter(|(_, set)| *set) {
            out.push_str(" --");
            out.push_str(spec.name);
        }
    }
}
