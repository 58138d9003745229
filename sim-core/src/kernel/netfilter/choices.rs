//! What is left to chance by rules (`-m statistic`; net/netfilter/xt_statistic.c), decided one way after the other: who
//! wants to know everything that may become of a packet goes through all decisions, not through luck.
//!
//! A walk follows a script of decisions; what comes behind its end holds, and is written down. The next script differs
//! in the last decision that could have been taken otherwise ([`Choices::next`]).

/// A decision that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The match holds in so many cases…
    pub odds: u32,
    /// …of so many.
    pub of: u32,
    /// Whether it held.
    pub held: bool,
}

impl Choice {
    /// It can be taken the other way.
    fn is_open(self) -> bool {
        self.held && self.odds < self.of
    }
}

/// Decisions to be taken, and those that were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choices {
    script: Vec<bool>,
    taken: Vec<Choice>,
}

impl Choices {
    /// The decisions that were taken, in order.
    pub fn taken(&self) -> &[Choice] {
        &self.taken
    }

    /// The script after this one; none if all ways were gone.
    pub fn next(&self) -> Option<Choices> {
        let last = self.taken.iter().rposition(|c| c.is_open())?;
        let script = self.taken[..last].iter().map(|c| c.held).chain([false]).collect();
        Some(Choices { script, taken: Vec::new() })
    }

    /// A match that holds in `odds` of `of` cases is asked.
    pub(in crate::kernel) fn decide(&mut self, odds: u32, of: u32) -> bool {
        let planned = self.script.get(self.taken.len()).copied().unwrap_or(true);
        let held = odds > 0 && (planned || odds >= of);
        self.taken.push(Choice { odds, of, held });
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of three, one of two, the rest; then a match that always or never holds.
    #[test]
    fn all_ways_are_gone_once() {
        let mut ends = vec![];
        let mut next = Some(Choices::default());
        while let Some(mut choices) = next {
            let end = if choices.decide(1, 3) {
                1
            } else if choices.decide(1, 2) {
                2
            } else {
                3
            };
            assert!(choices.decide(4, 4) && !choices.decide(0, 4));
            ends.push(end);
            next = choices.next();
        }
        assert_eq!(ends, [1, 2, 3]);
    }
}
