//! Probabilities as people write them. iptables keeps those of `-m statistic` in 31 bits: 1/3 has become
//! 715827883/2147483648 there. What is shown is the simplest fraction that so many bits stand for.

use std::fmt;

/// A probability, in lowest terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fraction {
    num: u128,
    den: u128,
}

impl Fraction {
    /// Never.
    pub const ZERO: Fraction = Fraction { num: 0, den: 1 };
    /// Always.
    pub const ONE: Fraction = Fraction { num: 1, den: 1 };

    /// `odds` of `of` cases. Where these are 31 bits, the simplest fraction less than one step away.
    pub fn of(odds: u32, of: u32) -> Fraction {
        let (odds, of) = (u128::from(odds), u128::from(of.max(1)));
        if of != 1 << 31 || odds < 2 || odds + 1 >= of {
            return Fraction::new(odds, of);
        }
        let (num, den) = simplest((odds - 1, of), (odds + 1, of));
        Fraction { num, den }
    }

    /// That it does not happen.
    #[must_use]
    pub fn complement(self) -> Fraction {
        Fraction::new(self.den.saturating_sub(self.num), self.den)
    }

    /// That both happen; none if the terms have more than 128 bits.
    pub fn and(self, other: Fraction) -> Option<Fraction> {
        // Crosswise first, so that what is multiplied is small.
        let (a, b) = (Fraction::new(self.num, other.den), Fraction::new(other.num, self.den));
        Some(Fraction::new(a.num.checked_mul(b.num)?, a.den.checked_mul(b.den)?))
    }

    /// That one of two happens that exclude each other; none if the terms have more than 128 bits.
    pub fn or(self, other: Fraction) -> Option<Fraction> {
        let common = gcd(self.den, other.den).max(1);
        let num = |a: Fraction, b: Fraction| a.num.checked_mul(b.den / common);
        let den = self.den.checked_mul(other.den / common)?;
        Some(Fraction::new(num(self, other)?.checked_add(num(other, self)?)?, den))
    }

    fn new(num: u128, den: u128) -> Fraction {
        let g = gcd(num, den).max(1);
        Fraction { num: num / g, den: den / g }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.den {
            1 => self.num.fmt(f),
            den => write!(f, "{}/{den}", self.num),
        }
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The fraction with the smallest terms between two, which are positive and in order (by their continued fractions).
fn simplest(low: (u128, u128), high: (u128, u128)) -> (u128, u128) {
    let whole = low.0 / low.1;
    if low.0.is_multiple_of(low.1) {
        return (whole, 1);
    }
    if whole < high.0 / high.1 {
        return (whole + 1, 1);
    }
    // Both lie between the same whole numbers: the rest is turned over.
    let rest = |(num, den): (u128, u128)| (den, num - whole * den);
    let (num, den) = simplest(rest(high), rest(low));
    (whole * num + den, num)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_so_many_bits_stand_for() {
        // As kube-proxy writes 1/n, with ten digits, and as iptables rounds it.
        for n in 2..300_u32 {
            let written = (f64::from(10_000_000) * 1000.0 / f64::from(n)).round() / 10_000_000_000.0;
            let bits = (written * 2_147_483_648.0).round() as u32;
            assert_eq!(Fraction::of(bits, 1 << 31).to_string(), format!("1/{n}"));
        }
        assert_eq!(Fraction::of(0, 1 << 31), Fraction::ZERO);
        assert_eq!(Fraction::of(1 << 31, 1 << 31), Fraction::ONE);
        assert_eq!(Fraction::of(1, 1 << 31).to_string(), "1/2147483648");
        assert_eq!(Fraction::of(2, 6).to_string(), "1/3");
    }

    #[test]
    fn a_chain_of_endpoints_is_fair() {
        let (mut left, mut sum) = (Fraction::ONE, Fraction::ZERO);
        for n in (1..=200).rev() {
            let here = Fraction::of(1, n);
            let way = left.and(here).expect("few bits");
            assert_eq!(way.to_string(), "1/200");
            (sum, left) = (sum.or(way).expect("few bits"), left.and(here.complement()).expect("few bits"));
        }
        assert_eq!((sum, left), (Fraction::ONE, Fraction::ZERO));
    }
}
