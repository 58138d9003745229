//! `-j CT`: zones, `--notrack` and its old name `-j NOTRACK` (net/netfilter/xt_CT.c, extensions/libxt_CT.c). Differs:
//! helpers, timeouts and events are not there.

use crate::kernel::conntrack::{Template, Zone};
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Ct as Connection;
use crate::kernel::netfilter::words;

const ZONE_ORIG: u8 = 5;
const ZONE_REPLY: u8 = 6;
const ZONE: u8 = 7;

const SPECS: [Spec; 8] = [
    Spec::new("notrack", 0, Kind::None),
    Spec::new("helper", 1, Kind::Str),
    Spec::new("timeout", 2, Kind::Str),
    Spec::new("ctevents", 3, Kind::Str),
    Spec::new("expevents", 4, Kind::Str),
    Spec::new("zone-orig", ZONE_ORIG, Kind::Str),
    Spec::new("zone-reply", ZONE_REPLY, Kind::Str),
    Spec::new("zone", ZONE, Kind::Str),
];

/// `-j CT`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ct {
    /// The packet is not to be tracked.
    pub notrack: bool,
    /// Written as `-j NOTRACK`.
    pub alias: bool,
    /// The number of the last `--zone`, `--zone-orig` or `--zone-reply`.
    pub zone: u16,
    /// One of them was `mark`: the packet's mark is the number.
    pub mark: bool,
    /// `--zone-orig` was given.
    pub original: bool,
    /// `--zone-reply` was given.
    pub reply: bool,
}

impl Ct {
    /// `xt_ct_target`: what a packet has afterwards that had nothing.
    pub(in crate::kernel::netfilter) fn given(&self) -> Connection {
        if self.notrack {
            return Connection::Untracked;
        }
        // xt_ct_flags_to_dir: both directions together are as good as none.
        let both = self.original == self.reply;
        let zone = Zone { id: self.zone, original: both || self.original, reply: both || self.reply };
        Connection::Template(Template { zone, mark: self.mark })
    }

    /// ct_print_zone, without the words before the option's name; none for the default zone.
    fn zone_text(&self) -> Option<String> {
        let name = match (self.original, self.reply) {
            (true, false) => "zone-orig",
            (false, true) => "zone-reply",
            _ => "zone",
        };
        match (self.mark, self.zone) {
            (true, _) => Some(format!("{name} mark")),
            (false, 0) => None,
            (false, id) => Some(format!("{name} {id}")),
        }
    }
}

impl Extension for Ct {
    fn specs(&self) -> &'static [Spec] {
        if self.alias { &[] } else { &SPECS }
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.notrack = true,
            ZONE_ORIG | ZONE_REPLY | ZONE => {
                self.original |= given.id == ZONE_ORIG;
                self.reply |= given.id == ZONE_REPLY;
                let mark = given.arg.eq_ignore_ascii_case("mark");
                self.mark |= mark;
                let number = if mark { Some(0) } else { words::number(given.arg, 0, u16::MAX.into()) };
                let bad = || Error::usage(format!("Cannot parse {} as a zone ID", given.arg));
                self.zone = number.ok_or_else(bad)? as u16;
            }
            other => {
                let name = SPECS[usize::from(other)].name;
                return Err(Error::usage(format!("CT: option \"--{name}\" is not simulated")));
            }
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(match (self.alias, self.notrack) {
            (true, _) => " NOTRACK",
            (false, true) => " CT notrack",
            (false, false) => " CT",
        });
        if let Some(zone) = self.zone_text() {
            out.push(' ');
            out.push_str(&zone);
        }
    }

    fn save(&self, out: &mut String) {
        if self.notrack && !self.alias {
            out.push_str(" --notrack");
        }
        if let Some(zone) = self.zone_text() {
            out.push_str(" --");
            out.push_str(&zone);
        }
    }
}
