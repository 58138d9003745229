//! Which rules of a chain a packet's destination leaves, so that a long chain is not read rule by rule. Nobody can see
//! it: a rule whose address is not the packet's counts nothing and asks none of its matches
//! (net/ipv4/netfilter/ip_tables.c: ipt_do_table goes on at once when ip_packet_match fails).

use super::table::Slot;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// A chain with fewer rules for one destination each is read as it is.
const WORTH: usize = 16;

/// The rules of a chain by their destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Index {
    /// Those for one address alone (`-d 10.96.0.1/32`), by it.
    exact: FxHashMap<Ipv4Addr, Vec<u32>>,
    /// All others.
    others: Vec<u32>,
}

impl Index {
    /// None if it would save nothing.
    pub(super) fn of(rules: &[Slot]) -> Option<Box<Index>> {
        let exact = |slot: &Slot| slot.rule.conditions.exact_dst();
        if rules.iter().filter_map(exact).count() < WORTH {
            return None;
        }
        let mut index = Index { exact: FxHashMap::default(), others: Vec::new() };
        for (slot, n) in rules.iter().zip(0..) {
            match exact(slot) {
                Some(dst) => index.exact.entry(dst).or_default().push(n),
                None => index.others.push(n),
            }
        }
        Some(Box::new(index))
    }

    /// The first rule from `at` on whose destination can be `dst`.
    pub(super) fn next(&self, at: usize, dst: Ipv4Addr) -> Option<usize> {
        let from = |numbers: &[u32]| {
            let first = numbers.partition_point(|n| (*n as usize) < at);
            numbers.get(first).copied()
        };
        let exact = self.exact.get(&dst).and_then(|numbers| from(numbers));
        exact.into_iter().chain(from(&self.others)).min().map(|n| n as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::restore::Restore;
    use super::super::{Backend, Iptables};
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn leaves_out_the_rules_for_others_alone() {
        let mut text = "*filter\n".to_owned();
        for n in 0..60 {
            let dst = match n % 5 {
                0 => String::new(),
                1 => "! -d 10.0.0.1".to_owned(),
                2 => "-d 10.0.0.0/24".to_owned(),
                _ => format!("-d 10.0.0.{}", n % 7),
            };
            writeln!(text, "-A FORWARD {dst} -j ACCEPT").expect("a String takes all");
        }
        let mut iptables = Iptables::new(Backend::Legacy);
        text += "COMMIT\n";
        iptables.restore(&Restore { text, ..Restore::default() }).expect("the rules are good");
        let (table, _) = iptables.tables().next().expect("it was made");
        let forward = table.chain("FORWARD").expect("it is a base chain");
        let index = Index::of(&forward.rules).expect("24 rules are for one address each");
        for dst in (0..8).map(|n| Ipv4Addr::new(10, 0, 0, n)) {
            let may = |slot: &Slot| slot.rule.conditions.exact_dst().is_none_or(|only| only == dst);
            for at in 0..=60 {
                let plain = (at..60).find(|n| may(&forward.rules[*n]));
                assert_eq!(index.next(at, dst), plain, "{dst} from {at}");
            }
        }
        assert_eq!(Index::of(&forward.rules[..20]), None, "a short chain is read as it is");
    }
}
