//! `-m physdev` (net/netfilter/xt_physdev.c, extensions/libxt_physdev.c).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Packet, Surroundings};
use crate::kernel::netfilter::rule::Iface;

const SPECS: [Spec; 5] = [
    Spec::new("physdev-in", 0, Kind::Str).invert(),
    Spec::new("physdev-out", 1, Kind::Str).invert(),
    Spec::new("physdev-is-in", 2, Kind::None).invert(),
    Spec::new("physdev-is-out", 3, Kind::None).invert(),
    Spec::new("physdev-is-bridged", 4, Kind::None).invert(),
];

/// `-m physdev`: each condition with whether it is inverted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Physdev {
    /// The port it came in by.
    pub input: Option<(Iface, bool)>,
    /// The port it goes out by.
    pub output: Option<(Iface, bool)>,
    /// It came in by a port.
    pub is_in: Option<bool>,
    /// It goes out by a port.
    pub is_out: Option<bool>,
    /// It stays on the bridge.
    pub is_bridged: Option<bool>,
}

impl Physdev {
    /// `physdev_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>, around: &dyn Surroundings) -> bool {
        if !packet.bridged {
            // Only inverted conditions hold of a packet that did not come through a bridge.
            let inverted = |c: Option<bool>| c.is_none_or(|invert| invert);
            return inverted(self.is_bridged)
                && inverted(self.is_in)
                && inverted(self.input.map(|(_, invert)| invert))
                && inverted(self.is_out)
                && inverted(self.output.map(|(_, invert)| invert));
        }
        let (has_in, has_out) = (packet.physin.is_some(), packet.physout.is_some());
        self.is_bridged.is_none_or(|invert| has_out != invert)
            && self.is_in.is_none_or(|invert| has_in != invert)
            && self.is_out.is_none_or(|invert| has_out != invert)
            && self.input.is_none_or(|(port, invert)| port.matches(packet.physin, around) != invert)
            && self.output.is_none_or(|(port, invert)| port.matches(packet.physout, around) != invert)
    }

    /// `physdev_mt_check`
    pub(super) fn suits(&self, hooks: u8) -> bool {
        let out = self.output.is_some() || self.is_out.is_some();
        !(out && self.is_bridged != Some(false) && hooks & Hook::Output.bit() != 0)
    }
}

impl Extension for Physdev {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.input = Some((Iface::parse(given.arg)?, given.invert)),
            1 => self.output = Some((Iface::parse(given.arg)?, given.invert)),
            2 => self.is_in = Some(given.invert),
            3 => self.is_out = Some(given.invert),
            _ => self.is_bridged = Some(given.invert),
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 { Ok(()) } else { Err(Error::usage("PHYSDEV: no physdev option specified")) }
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" PHYSDEV match");
        self.save(out);
    }

    fn save(&self, out: &mut String) {
        let mut add = |name: &str, invert: bool| {
            bang(out, invert);
            out.push_str(" --physdev-");
            out.push_str(name);
        };
        if let Some(invert) = self.is_in {
            add("is-in", invert);
        }
        if let Some((port, invert)) = self.input {
            add(&format!("in {}", port.name()), invert);
        }
        if let Some(invert) = self.is_out {
            add("is-out", invert);
        }
        if let Some((port, invert)) = self.output {
            add(&format!("out {}", port.name()), invert);
        }
        if let Some(invert) = self.is_bridged {
            add("is-bridged", invert);
        }
    }
}
