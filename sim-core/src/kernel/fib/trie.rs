//! Mirrors the trie of net/ipv4/fib_trie.c: a binary tree with compressed paths. A node is a prefix; below it are the
//! longer prefixes that begin with it, by their next bit.
//!
//! ```text
//!   0.0.0.0/0 --- 10.244.0.0/22 -+- 10.244.1.0/24
//!                 (no routes)    '- 10.244.2.0/24
//! ```
//!
//! Differs: Linux gives a node up to 2^n children (level compression), which changes no result.

use super::Entry;
use std::net::Ipv4Addr;

/// No node.
const NIL: u32 = u32::MAX;
/// Longer than any prefix.
pub(super) const ANY_LENGTH: u8 = 33;

/// A network's address, with zeros behind its prefix, and the prefix's length.
pub(super) type Prefix = (u32, u8);

/// The routes of one table, by prefix.
#[derive(Clone, Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    /// Prefixes that have routes.
    prefixes: usize,
}

/// A prefix that has routes, or two children, or both.
#[derive(Clone, Debug)]
struct Node {
    prefix: Prefix,
    mask: u32,
    /// So far is the bit behind the prefix from the last one.
    shift: u8,
    children: [u32; 2],
    routes: Vec<Entry>,
}

impl Default for Trie {
    fn default() -> Self {
        Trie { nodes: Vec::new(), free: Vec::new(), root: NIL, prefixes: 0 }
    }
}

impl Trie {
    /// Prefixes that have routes.
    pub fn len(&self) -> usize {
        self.prefixes
    }

    /// The routes of the longest prefix of `addr` that is shorter than `below`, and its length.
    pub fn longest(&self, addr: Ipv4Addr, below: u8) -> Option<(u8, &[Entry])> {
        let addr = addr.to_bits();
        let mut best = None;
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            if (addr ^ node.prefix.0) & node.mask != 0 || node.prefix.1 >= below {
                break;
            }
            if !node.routes.is_empty() {
                best = Some(node);
            }
            at = node.children[(addr >> node.shift & 1) as usize];
        }
        best.map(|node| (node.prefix.1, &node.routes[..]))
    }

    /// Changes the routes of a prefix. It is gone if none is left.
    pub fn change<R>(&mut self, prefix: Prefix, how: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        let at = self.make(prefix) as usize;
        let had = !self.nodes[at].routes.is_empty();
        let result = how(&mut self.nodes[at].routes);
        let has = !self.nodes[at].routes.is_empty();
        self.prefixes = self.prefixes + usize::from(has) - usize::from(had);
        if !has {
            self.prune(prefix);
        }
        result
    }

    /// All prefixes that have routes, by address, the shorter one first.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &[Entry])> {
        let mut ahead = vec![self.root];
        std::iter::from_fn(move || {
            loop {
                let Some(node) = self.nodes.get(ahead.pop()? as usize) else { continue };
                ahead.extend([node.children[1], node.children[0]]);
                if !node.routes.is_empty() {
                    return Some((node.prefix, &node.routes[..]));
                }
            }
        })
    }

    /// All routes, in no order.
    pub fn routes_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.nodes.iter_mut().flat_map(|n| &mut n.routes)
    }

    /// The node of a prefix, which is made if there is none.
    fn make(&mut self, prefix: Prefix) -> u32 {
        let (mut parent, mut at) = (NIL, self.root);
        let (node, common) = loop {
            let Some(node) = self.nodes.get(at as usize) else {
                let new = self.add(prefix, [NIL; 2]);
                self.link(parent, prefix.0, new);
                return new;
            };
            let common = common_bits(node.prefix, prefix.0).min(prefix.1);
            if common < node.prefix.1 {
                break (node.prefix, common);
            }
            if common == prefix.1 {
                return at;
            }
            (parent, at) = (at, node.children[side(prefix.0, common)]);
        };
        // Their ways part above the node: there comes the new one, or a fork.
        let mut children = [NIL; 2];
        children[side(node.0, common)] = at;
        let fork = self.add((first_bits(prefix.0, common), common), children);
        self.link(parent, prefix.0, fork);
        if common == prefix.1 {
            return fork;
        }
        let new = self.add(prefix, [NIL; 2]);
        self.link(fork, prefix.0, new);
        new
    }

    /// Takes out the node of a prefix without routes, and the fork above it if that leads to one node only.
    fn prune(&mut self, prefix: Prefix) {
        let (mut above, mut parent, mut at) = (NIL, NIL, self.root);
        while let Some(node) = self.nodes.get(at as usize).filter(|n| n.prefix.1 < prefix.1) {
            (above, parent, at) = (parent, at, node.children[side(prefix.0, node.prefix.1)]);
        }
        self.bypass(parent, at);
        self.bypass(above, parent);
    }

    /// Takes out node `at` below `parent`, if it has neither routes nor two children.
    fn bypass(&mut self, parent: u32, at: u32) {
        let Some(node) = self.nodes.get(at as usize).filter(|n| n.routes.is_empty()) else { return };
        let ([NIL, only] | [only, NIL]) = node.children else { return };
        self.link(parent, node.prefix.0, only);
        self.free.push(at);
    }

    /// `to` is the child of `parent` on the side of `addr`, or the root.
    fn link(&mut self, parent: u32, addr: u32, to: u32) {
        match self.nodes.get_mut(parent as usize) {
            Some(node) => node.children[side(addr, node.prefix.1)] = to,
            None => self.root = to,
        }
    }

    fn add(&mut self, prefix: Prefix, children: [u32; 2]) -> u32 {
        let (mask, shift) = (first_bits(u32::MAX, prefix.1), 31u8.saturating_sub(prefix.1));
        let node = Node { prefix, mask, shift, children, routes: Vec::new() };
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }
}

/// So many bits of `addr` are those of the prefix, at most all of it.
fn common_bits((net, len): Prefix, addr: u32) -> u8 {
    ((net ^ addr).leading_zeros() as u8).min(len)
}

/// The bit behind the first `len`, which are not all.
fn side(addr: u32, len: u8) -> usize {
    (addr >> (31 - u32::from(len)) & 1) as usize
}

fn first_bits(addr: u32, len: u8) -> u32 {
    (u64::from(addr) & u64::from(u32::MAX) << (32 - u32::from(len))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fib::tests::route;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Prefixes come and go; the trie finds what a list of them finds, and keeps no node without reason.
        #[test]
        fn as_a_list_of_prefixes(
            changes in prop::collection::vec((any::<bool>(), 0u32..64, 0u8..=32), 1..200),
            addrs in prop::collection::vec(0u32..64, 20),
        ) {
            // A few bits at both ends, so that prefixes meet.
            let spread = |n: u32| (n & 0b11_1000) << 26 | n & 0b111;
            let (mut trie, mut list) = (Trie::default(), BTreeMap::new());
            for (nh, (add, addr, len)) in (0..).zip(changes) {
                let prefix = (first_bits(spread(addr), len), len);
                if add {
                    trie.change(prefix, |routes| *routes = vec![Entry { route: route(1, 0), nh, table: 254 }]);
                    list.insert(prefix, nh);
                } else {
                    trie.change(prefix, Vec::clear);
                    list.remove(&prefix);
                }
            }
            let shown: Vec<_> = trie.iter().map(|(prefix, routes)| (prefix, routes[0].nh)).collect();
            prop_assert_eq!(shown, list.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(trie.len(), list.len());
            prop_assert!(trie.nodes.len() - trie.free.len() < 2 * list.len().max(1));
            for addr in addrs.into_iter().map(spread) {
                for below in [ANY_LENGTH, 32, 30, 3, 0] {
                    let holds = |((net, len), _): &(&Prefix, &u64)| *len < below && first_bits(addr, *len) == *net;
                    let want = list.iter().filter(holds).map(|((_, len), nh)| (*len, *nh)).max();
                    let found = trie.longest(Ipv4Addr::from_bits(addr), below).map(|(len, routes)| (len, routes[0].nh));
                    prop_assert_eq!(found, want);
                }
            }
        }
    }
}
