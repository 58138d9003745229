//! Machines and what joins them: routers, switches, links.

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::JsonSchema;

use super::form::{check_name, named};
use super::problem::Problems;
use super::text::{Bad, FromText, digits};
use super::value::{Duration, Interface, Spanned};
use crate::scenario::diag::quote;
use std::num::NonZeroU32;

/// The highest rate of a link, in bits per second.
pub const MAX_RATE: u64 = 1_000_000_000_000;
/// Parts of a whole that a share is counted in.
const PARTS: u32 = 1_000_000;

/// Things with names, in the order of the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Named<T>(pub Vec<(Spanned<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<T: Deserr<Problems> + Default> Deserr<Problems> for Named<T> {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let map = match value {
            Value::Map(map) => map,
            other => return Err(Problems::wrong_kind(at, &other, "a map of names")),
        };
        let (mut all, mut problems) = (Vec::with_capacity(map.len()), Problems::default());
        for (name, value) in map.into_iter() {
            match named(&name, value, at.push_key(&name), "a machine", check_name) {
                Ok(body) => all.push((Spanned { value: name, span: 0..0 }, body)),
                Err(new) => {
                    if !problems.add(new) {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Named(all)) } else { Err(problems) }
    }
}

/// A machine with one namespace that forwards packets. Its nics are the ends of links.
#[derive(Clone, PartialEq, Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Router {
    /// As after `ip addr add`.
    #[deserr(default)]
    #[schemars(default)]
    pub addresses: Vec<Spanned<String>>,
    /// As after `ip route add`.
    #[deserr(default)]
    #[schemars(default)]
    pub routes: Vec<Spanned<String>>,
    /// Commands that follow.
    #[deserr(default)]
    #[schemars(default)]
    pub setup: Vec<Spanned<String>>,
}

/// A machine with one namespace, whose nics are the ports of a bridge `br0`.
#[derive(Clone, PartialEq, Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Switch {
    /// Commands that follow.
    #[deserr(default)]
    #[schemars(default)]
    pub setup: Vec<Spanned<String>>,
}

/// A link between two physical nics.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = two_ends -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct Link {
    /// The nics that it makes: two.
    pub between: Vec<Spanned<Interface>>,
    /// From the last bit's leaving to the arrival.
    #[deserr(default)]
    pub latency: Option<Spanned<Duration>>,
    /// What each end sends; without it, whatever the CPU can.
    #[deserr(default)]
    pub rate: Option<Spanned<Rate>>,
    /// Frames that wait at each end.
    #[deserr(default)]
    pub queue: Option<Spanned<NonZeroU32>>,
    /// Frames that do not arrive.
    #[deserr(default)]
    pub loss: Option<Spanned<Percent>>,
}

fn two_ends(link: Link, at: ValuePointerRef<'_>) -> Result<Link, Problems> {
    if link.between.len() == 2 {
        return Ok(link);
    }
    let message = format!("a link has two ends, not {}", link.between.len());
    let hint = "more than two machines are joined by a switch: {switches: {sw: {}}}";
    Err(Problems::bad(at.push_key("between"), message, Some(hint.to_owned())))
}

/// Bits per second, in tc's words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(pub u64);

impl FromText for Rate {
    const WHAT: &'static str = "a rate";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = "a number with a unit, as 100mbit or 1.5gbit; the units are bit, kbit, mbit and gbit";
        let bad = || Bad(format!("{} is not a rate", quote(text)), Some(hint.to_owned()));
        let (number, unit) = decimal(text).ok_or_else(bad)?;
        let bits = match unit {
            "bit" => number.times(1),
            "kbit" => number.times(1_000),
            "mbit" => number.times(1_000_000),
            "gbit" => number.times(1_000_000_000),
            _ => return Err(bad()),
        };
        match bits {
            Some(bits @ 1..=MAX_RATE) => Ok(Rate(bits)),
            Some(0) => Err(Bad(format!("{} sends nothing", quote(text)), Some(hint.to_owned()))),
            _ => Err(Bad(format!("{} is more than 1000gbit", quote(text)), None)),
        }
    }
}

/// A share of a whole, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Percent(pub u32);

impl FromText for Percent {
    const WHAT: &'static str = "a share in percent";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = "a number from 0 to 100 with a percent sign: 1%, 0.5%".to_owned();
        let parts = match decimal(text) {
            Some((number, "%")) => number.times(u64::from(PARTS) / 100),
            _ => None,
        };
        match parts.and_then(|p| u32::try_from(p).ok()) {
            Some(parts @ 0..=PARTS) => Ok(Percent(parts)),
            _ => Err(Bad(format!("{} is not a share in percent", quote(text)), Some(hint))),
        }
    }
}

/// A number without a sign and what follows it.
fn decimal(text: &str) -> Option<(Decimal<'_>, &str)> {
    let (whole, after) = digits(text);
    let (fraction, unit) = after.strip_prefix('.').map_or(("", after), digits);
    (!whole.is_empty()).then_some((Decimal { whole, fraction }, unit))
}

struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl Decimal<'_> {
    /// Rounded down; none if it does not fit.
    fn times(&self, unit: u64) -> Option<u64> {
        let mut total = self.whole.parse::<u64>().ok()?.checked_mul(unit)?;
        let mut scale = unit;
        for digit in self.fraction.bytes() {
            scale /= 10;
            total = total.checked_add(u64::from(digit - b'0') * scale)?;
        }
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares() {
        let rate = |text| Rate::from_text(text).ok().map(|r| r.0);
        for (text, want) in [
            ("10mbit", Some(10_000_000)),
            ("1.5gbit", Some(1_500_000_000)),
            ("64kbit", Some(64_000)),
            ("1bit", Some(1)),
            ("0.1bit", None),
            ("0kbit", None),
            ("10", None),
            ("mbit", None),
            ("10MBit", None),
            ("-1kbit", None),
            ("99999999999999999999gbit", None),
            ("1001gbit", None),
        ] {
            assert_eq!(rate(text), want, "{text}");
        }
        let share = |text| Percent::from_text(text).ok().map(|p| p.0);
        for (text, want) in [
            ("1%", Some(10_000)),
            ("0.5%", Some(5_000)),
            ("0.0001%", Some(1)),
            ("0%", Some(0)),
            ("100%", Some(1_000_000)),
            ("100.1%", None),
            ("1", None),
            ("%", None),
        ] {
            assert_eq!(share(text), want, "{text}");
        }
    }
}
