//! `-m connmark` (net/netfilter/xt_connmark.c, extensions/libxt_connmark.c).

use super::Mark;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Ct, Packet};
use crate::kernel::netfilter::words::mark_text;

/// `-m connmark`: the mark of the packet's connection, masked, is the value. Without one it is not, nor is it another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnMark(pub Mark);

impl ConnMark {
    /// `connmark_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> bool {
        let Ct::Tracked(ct) = packet.ct else { return false };
        self.0.holds(ct.mark)
    }
}

impl Extension for ConnMark {
    fn specs(&self) -> &'static [Spec] {
        self.0.specs()
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        self.0.option(given)
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(if self.0.invert { " connmark match !" } else { " connmark match " });
        out.push_str(&mark_text(self.0.mark, self.0.mask));
    }

    fn save(&self, out: &mut String) {
        self.0.save(out);
    }
}
