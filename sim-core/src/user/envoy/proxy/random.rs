//! Numbers that a proxy draws one after the other.

use crate::base::Prf;
use crate::base::rng::Purpose;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    prf: Prf,
    purpose: Purpose,
    /// Whose it is; the last word counts the draws.
    input: Vec<u64>,
}

impl Random {
    pub fn new(prf: &Prf, purpose: Purpose, whose: &[u64]) -> Self {
        Random { prf: *prf, purpose, input: [whose, &[0]].concat() }
    }

    /// 64 bits.
    pub fn draw(&mut self) -> u64 {
        let drawn = self.prf.draw(self.purpose, &self.input);
        self.count();
        drawn
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let drawn = self.prf.below(self.purpose, &self.input, bound);
        self.count();
        drawn
    }

    fn count(&mut self) {
        if let Some(count) = self.input.last_mut() {
            *count += 1;
        }
    }
}
