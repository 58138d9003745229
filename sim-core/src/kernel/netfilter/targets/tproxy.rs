//! `-j TPROXY` (net/netfilter/xt_TPROXY.c, extensions/libxt_TPROXY.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use std::net::Ipv4Addr;

const SPECS: [Spec; 3] = [
    Spec::new("on-port", 0, Kind::Port).mandatory(),
    Spec::new("on-ip", 1, Kind::Host),
    Spec::new("tproxy-mark", 2, Kind::Mark),
];

/// `-j TPROXY`: the packet goes to a socket here, as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tproxy {
    /// `--on-port`: the port of the socket; zero for the packet's own.
    pub port: u16,
    /// `--on-ip`: the address that it is looked up by; unspecified for the first one of the packet's device.
    pub addr: Ipv4Addr,
    /// `--tproxy-mark`: the packet's mark loses the bits of the mask, then those of the value are inverted.
    pub mark: u32,
    /// The mask.
    pub mask: u32,
}

impl Default for Tproxy {
    fn default() -> Self {
        Tproxy { port: 0, addr: Ipv4Addr::UNSPECIFIED, mark: 0, mask: 0 }
    }
}

impl Extension for Tproxy {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.port = given.value.number() as u16,
            1 => self.addr = given.value.host(),
            _ => (self.mark, self.mask) = given.value.mark(),
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        let Tproxy { port, addr, mark, mask } = self;
        out.push_str(&format!(" TPROXY redirect {addr}:{port} mark 0x{mark:x}/0x{mask:x}"));
    }

    fn save(&self, out: &mut String) {
        let Tproxy { port, addr, mark, mask } = self;
        out.push_str(&format!(" --on-port {port} --on-ip {addr} --tproxy-mark 0x{mark:x}/0x{mask:x}"));
    }
}
