//! `-j TCPMSS` (net/netfilter/xt_TCPMSS.c, extensions/libxt_TCPMSS.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;

const ANY: u32 = 3;
/// A segment of the longest packet (65535 bytes) without headers of 40 bytes.
const MAX_MSS: u32 = 65_495;
const SPECS: [Spec; 2] = [
    Spec::new("set-mss", 0, Kind::Number(0, MAX_MSS)).excludes(ANY),
    Spec::new("clamp-mss-to-pmtu", 1, Kind::None).excludes(ANY),
];

/// `-j TCPMSS`: the largest segment that a SYN announces is made smaller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TcpMss {
    /// `--clamp-mss-to-pmtu`: what fits through the paths to both ends.
    #[default]
    Clamp,
    /// `--set-mss`
    Set(u16),
}

impl Extension for TcpMss {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        *self = match given.id {
            0 => TcpMss::Set(given.value.number() as u16),
            _ => TcpMss::Clamp,
        };
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 {
            return Ok(());
        }
        Err(Error::usage("TCPMSS target: At least one parameter is required"))
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(&match self {
            TcpMss::Clamp => " TCPMSS clamp to PMTU".to_owned(),
            TcpMss::Set(mss) => format!(" TCPMSS set {mss}"),
        });
    }

    fn save(&self, out: &mut String) {
        out.push_str(&match self {
            TcpMss::Clamp => " --clamp-mss-to-pmtu".to_owned(),
            TcpMss::Set(mss) => format!(" --set-mss {mss}"),
        });
    }
}
