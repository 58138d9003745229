//! `-j CT --notrack` and its old name `-j NOTRACK` (net/netfilter/xt_CT.c, extensions/libxt_CT.c). Differs: zones,
//! helpers, timeouts and events are not there.

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;

const SPECS: [Spec; 8] = [
    Spec::new("notrack", 0, Kind::None),
    Spec::new("helper", 1, Kind::Str),
    Spec::new("timeout", 2, Kind::Str),
    Spec::new("ctevents", 3, Kind::Str),
    Spec::new("expevents", 4, Kind::Str),
    Spec::new("zone-orig", 5, Kind::Str),
    Spec::new("zone-reply", 6, Kind::Str),
    Spec::new("zone", 7, Kind::Str),
];

/// `-j CT`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ct {
    /// The packet is not to be tracked.
    pub notrack: bool,
    /// Written as `-j NOTRACK`.
    pub alias: bool,
}

impl Extension for Ct {
    fn specs(&self) -> &'static [Spec] {
        if self.alias { &[] } else { &SPECS }
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        if given.id != 0 {
            let name = SPECS[usize::from(given.id)].name;
            return Err(Error::usage(format!("CT: option \"--{name}\" is not simulated")));
        }
        self.notrack = true;
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(match (self.alias, self.notrack) {
            (true, _) => " NOTRACK",
            (false, true) => " CT notrack",
            (false, false) => " CT",
        });
    }

    fn save(&self, out: &mut String) {
        if self.notrack && !self.alias {
            out.push_str(" --notrack");
        }
    }
}
