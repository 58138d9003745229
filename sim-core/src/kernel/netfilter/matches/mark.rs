//! `-m mark` (net/netfilter/xt_mark.c, extensions/libxt_mark.c).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Packet;
use crate::kernel::netfilter::words::mark_text;

const SPECS: [Spec; 1] = [Spec::new("mark", 0, Kind::Mark).mandatory().invert()];

/// `-m mark`: the packet's mark, masked, is the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// The value.
    pub mark: u32,
    /// The bits that are compared.
    pub mask: u32,
    /// Not the value.
    pub invert: bool,
}

impl Mark {
    /// `mark_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> bool {
        self.holds(packet.mark)
    }

    /// A mark is as it says.
    pub(super) fn holds(&self, mark: u32) -> bool {
        (mark & self.mask == self.mark) != self.invert
    }
}

impl Extension for Mark {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        (self.mark, self.mask) = given.value.mark();
        self.invert = given.invert;
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" mark match");
        bang(out, self.invert);
        out.push_str(&mark_text(self.mark, self.mask));
    }

    fn save(&self, out: &mut String) {
        bang(out, self.invert);
        out.push_str(" --mark");
        out.push_str(&mark_text(self.mark, self.mask));
    }
}
