//! Mirrors kernel/bpf/lpm_trie.c: a map whose keys are prefixes, of which the longest that fits is found.

use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Values by networks.
#[derive(Clone, Debug)]
pub struct Lpm<V> {
    by_net: BTreeMap<(u8, Ipv4Addr), V>,
    /// How many keys there are of each length.
    lengths: [u32; 33],
}

impl<V> Default for Lpm<V> {
    fn default() -> Self {
        Lpm { by_net: BTreeMap::new(), lengths: [0; 33] }
    }
}

impl<V> Lpm<V> {
    /// trie_update_elem
    pub(super) fn insert(&mut self, net: Ipv4Net, value: V) {
        let key = (net.prefix_len(), net.network());
        if self.by_net.insert(key, value).is_none() {
            self.lengths[usize::from(key.0)] += 1;
        }
    }

    /// The network itself is a key.
    pub(super) fn contains(&self, net: Ipv4Net) -> bool {
        self.by_net.contains_key(&(net.prefix_len(), net.network()))
    }

    /// trie_delete_elem: whether it was there.
    pub(super) fn remove(&mut self, net: Ipv4Net) -> bool {
        let key = (net.prefix_len(), net.network());
        let there = self.by_net.remove(&key).is_some();
        self.lengths[usize::from(key.0)] -= u32::from(there);
        there
    }

    /// trie_lookup_elem
    pub(super) fn lookup(&self, addr: Ipv4Addr) -> Option<&V> {
        let mut there = (0..=32u8).rev().filter(|len| self.lengths[usize::from(*len)] > 0);
        there.find_map(|len| self.by_net.get(&(len, crate::kernel::mask(addr, len))))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_net.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        fn at(map: &Lpm<&'static str>, addr: [u8; 4]) -> Option<&'static str> {
            map.lookup(addr.into()).copied()
        }
        let mut map = Lpm::default();
        let net = |text: &str| text.parse::<Ipv4Net>().expect("a network");
        for text in ["10.0.0.0/8", "10.0.1.0/24", "10.0.1.15/32"] {
            map.insert(net(text), text);
        }
        assert_eq!(at(&map, [10, 0, 1, 15]), Some("10.0.1.15/32"));
        assert_eq!(at(&map, [10, 0, 1, 16]), Some("10.0.1.0/24"));
        assert_eq!(at(&map, [10, 9, 9, 9]), Some("10.0.0.0/8"));
        assert_eq!(at(&map, [11, 0, 0, 1]), None);
        assert!(map.remove(net("10.0.1.15/32")) && !map.remove(net("10.0.1.15/32")));
        assert_eq!(at(&map, [10, 0, 1, 15]), Some("10.0.1.0/24"));
    }
}
