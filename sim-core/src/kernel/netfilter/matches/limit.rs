//! `-m limit`, a token bucket (net/netfilter/xt_limit.c, extensions/libxt_limit.c).

use super::Site;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::eval::Memory;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Packet;
use crate::kernel::timer::{HZ as TICKS, TICK_NS};

const SPECS: [Spec; 2] = [Spec::new("limit", 0, Kind::Str), Spec::new("limit-burst", 1, Kind::Number(0, 10_000))];

/// `XT_LIMIT_SCALE`: units of the average in a second.
const SCALE: u32 = 10_000;
/// `XT_LIMIT_BURST`
const DEFAULT_BURST: u32 = 5;
/// Ticks in a second.
const HZ: u32 = TICKS as u32;
/// `CREDITS_PER_JIFFY`: the largest power of two below `MAX_CPJ`.
const PER_JIFFY: u32 = 1 << (u32::MAX / (HZ * 60 * 60 * 24)).ilog2();

/// The units in which a rate is printed, the longest first.
const UNITS: [(&str, u32); 4] =
    [("day", SCALE * 24 * 60 * 60), ("hour", SCALE * 60 * 60), ("min", SCALE * 60), ("sec", SCALE)];

/// `-m limit`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The time between two packets, in ten-thousandths of a second.
    pub average: u32,
    /// So many packets at once.
    pub burst: u32,
}

/// The state of a limit (`struct xt_limit_priv`).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// The tick when credit was last given.
    previous: u64,
    credit: u32,
}

impl Default for Limit {
    /// 3/hour
    fn default() -> Self {
        Limit { average: SCALE * 60 * 60 / 3, burst: DEFAULT_BURST }
    }
}

impl Limit {
    /// `limit_mt`. Differs: the bucket is full when the first packet comes, not when the rule is made.
    pub(super) fn matches(&self, packet: &Packet<'_>, site: Site, memory: &mut Memory<'_>) -> bool {
        let now = packet.now.0 / TICK_NS;
        let cap = credits(self.average.saturating_mul(self.burst));
        let cost = credits(self.average);
        let bucket = memory.state.buckets.entry(site).or_insert(Bucket { previous: now, credit: cap });
        let earned = now.saturating_sub(bucket.previous).saturating_mul(PER_JIFFY.into());
        bucket.previous = now;
        bucket.credit = u32::try_from(earned.saturating_add(bucket.credit.into())).unwrap_or(u32::MAX).min(cap);
        let enough = bucket.credit >= cost;
        bucket.credit -= if enough { cost } else { 0 };
        enough
    }

    /// `print_rate`
    fn rate(&self) -> String {
        let average = self.average.max(1);
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if average > next.1 || next.1 / average < next.1 % average {
                break;
            }
            unit = *next;
        }
        format!("{}/{}", unit.1 / average, unit.0)
    }
}

/// `user2credits`
fn credits(user: u32) -> u32 {
    if user > u32::MAX / (HZ * PER_JIFFY) {
        (user / SCALE).saturating_mul(HZ * PER_JIFFY)
    } else {
        user * HZ * PER_JIFFY / SCALE
    }
}

impl Extension for Limit {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        if given.id == 0 {
            self.average = rate(given.arg)?;
        } else {
            self.burst = given.value.number();
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(&format!(" limit: avg {} burst {}", self.rate(), self.burst));
    }

    fn save(&self, out: &mut String) {
        out.push_str(&format!(" --limit {}", self.rate()));
        if self.burst != DEFAULT_BURST {
            out.push_str(&format!(" --limit-burst {}", self.burst));
        }
    }
}

/// `parse_rate`: a number, and a unit or its beginning.
fn rate(text: &str) -> Result<u32, Error> {
    let bad = || Error::usage(format!("bad rate \"{text}\"'"));
    let (number, unit) = text.split_once('/').map_or((text, None), |(n, u)| (n, Some(u)));
    let seconds: u32 = match unit {
        None => 1,
        Some(unit) => {
            const UNITS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)];
            let begins = |full: &str| full.get(..unit.len()).is_some_and(|f| f.eq_ignore_ascii_case(unit));
            let known = UNITS.iter().find(|(full, _)| !unit.is_empty() && begins(full));
            known.map(|(_, s)| *s).ok_or_else(bad)?
        }
    };
    let digits = number.trim_start();
    let digits = &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
    let count = digits.parse::<u32>().ok().filter(|n| *n != 0).ok_or_else(bad)?;
    match SCALE * seconds / count {
        0 => Err(Error::usage(format!("Rate too fast \"{text}\""))),
        average => Ok(average),
    }
}
