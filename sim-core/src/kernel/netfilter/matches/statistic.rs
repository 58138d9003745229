//! `-m statistic` (net/netfilter/xt_statistic.c, extensions/libxt_statistic.c).

use super::Site;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::eval::Memory;
use crate::kernel::netfilter::extension::Value;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Surroundings;

const SPECS: [Spec; 4] = [
    Spec::new("mode", 0, Kind::Str).mandatory(),
    Spec::new("probability", 1, Kind::Fraction).invert().excludes(4 | 8),
    Spec::new("every", 2, Kind::Number(1, u32::MAX)).invert().excludes(2).requires(8),
    Spec::new("packet", 3, Kind::Number(0, u32::MAX)).excludes(2).requires(4),
];

/// A probability of one, as it is stored.
const ONE: f64 = 2_147_483_648.0;

/// `-m statistic`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// `--mode random`
    Random {
        /// Of 2^31.
        probability: u32,
        /// Of the others.
        invert: bool,
    },
    /// `--mode nth`
    Nth {
        /// Once in so many packets.
        every: u32,
        /// The first one, counted from zero.
        packet: u32,
        /// The others.
        invert: bool,
    },
}

impl Default for Statistic {
    fn default() -> Self {
        Statistic::Random { probability: 0, invert: false }
    }
}

impl Statistic {
    /// `statistic_mt`
    pub(super) fn matches(&self, site: Site, memory: &mut Memory<'_>, around: &mut dyn Surroundings) -> bool {
        let (odds, of) = self.odds();
        if let Some(held) = around.decide(odds, of) {
            return held;
        }
        match *self {
            Statistic::Random { probability, invert } => (around.draw(site.0) & 0x7fff_ffff < probability) != invert,
            Statistic::Nth { every, packet, invert } => {
                let every = every.max(1);
                let count = memory.state.nth.entry(site).or_insert(every - 1 - packet.min(every - 1));
                let hit = *count == every - 1;
                *count = if hit { 0 } else { *count + 1 };
                hit != invert
            }
        }
    }
}

impl Statistic {
    /// In how many cases of how many it holds, where nothing is known of the packets before.
    fn odds(&self) -> (u32, u32) {
        let (odds, of, invert) = match *self {
            Statistic::Random { probability, invert } => (probability, ONE as u32, invert),
            Statistic::Nth { every, invert, .. } => (1, every.max(1), invert),
        };
        (if invert { of - odds.min(of) } else { odds.min(of) }, of)
    }
}

impl Extension for Statistic {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    /// The mode may come after its numbers; they share their place, as in the kernel's union.
    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let inverted = match *self {
            Statistic::Random { invert, .. } | Statistic::Nth { invert, .. } => invert || given.invert,
        };
        match (given.id, given.arg) {
            (0, "random") if given.seen & (4 | 8) == 0 => {
                let probability = if let Statistic::Random { probability, .. } = *self { probability } else { 0 };
                *self = Statistic::Random { probability, invert: inverted };
            }
            (0, "nth") if given.seen & 2 == 0 => {
                let (every, packet) =
                    if let Statistic::Nth { every, packet, .. } = *self { (every, packet) } else { (1, 0) };
                *self = Statistic::Nth { every, packet, invert: inverted };
            }
            (0, "random") => return Err(Error::usage("--probability must be specified when using random mode")),
            (0, "nth") => {
                return Err(Error::usage("--every and --packet must be specified when using nth mode"));
            }
            (0, mode) => return Err(Error::usage(format!("Bad mode \"{mode}\""))),
            (1, _) => {
                let Value::Fraction(p) = given.value else { return Ok(()) };
                *self = Statistic::Random { probability: (p * ONE).round() as u32, invert: inverted };
            }
            (id, _) => {
                let (mut every, mut packet) =
                    if let Statistic::Nth { every, packet, .. } = *self { (every, packet) } else { (1, 0) };
                *if id == 2 { &mut every } else { &mut packet } = given.value.number();
                *self = Statistic::Nth { every, packet, invert: inverted };
            }
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        match *self {
            Statistic::Random { .. } if seen & 2 == 0 && seen & (4 | 8) == 0 => {
                Err(Error::usage("--probability must be specified when using random mode"))
            }
            Statistic::Nth { .. } if seen & (4 | 8) == 0 => {
                Err(Error::usage("--every and --packet must be specified when using nth mode"))
            }
            Statistic::Nth { every, packet, .. } if packet >= every && seen & 4 != 0 => {
                Err(Error::usage("the --packet p must be 0 <= p <= n-1"))
            }
            _ => Ok(()),
        }
    }

    fn list(&self, out: &mut String, _: Listing) {
        let not = |invert| if invert { " !" } else { "" };
        out.push_str(&match *self {
            Statistic::Random { probability, invert } => {
                let p = f64::from(probability) / ONE;
                format!(" statistic mode random{} probability {p:.11}", not(invert))
            }
            Statistic::Nth { every, packet: 0, invert } => format!(" statistic mode nth{} every {every}", not(invert)),
            Statistic::Nth { every, packet, invert } => {
                format!(" statistic mode nth{} every {every} packet {packet}", not(invert))
            }
        });
    }

    fn save(&self, out: &mut String) {
        let not = |invert| if invert { " !" } else { "" };
        out.push_str(&match *self {
            Statistic::Random { probability, invert } => {
                let p = f64::from(probability) / ONE;
                format!(" --mode random{} --probability {p:.11}", not(invert))
            }
            Statistic::Nth { every, packet, invert } => {
                format!(" --mode nth{} --every {every} --packet {packet}", not(invert))
            }
        });
    }
}
