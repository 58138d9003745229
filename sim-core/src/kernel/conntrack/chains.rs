//! Mirrors the chains of nf_conntrack_hash and nf_nat_bysource (include/linux/list_nulls.h): entries that hash alike,
//! the newest first. What is compared stays with the entries, so that chains take little memory.

/// No node.
const NIL: u32 = u32::MAX;
/// In front of a node that is in no chain.
const OUT: u32 = NIL - 1;
/// Chains of the smallest table.
const LEAST: usize = 64;

/// Nodes, which are numbers, in chains by their hashes. There are as many chains as nodes, or more.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    heads: Vec<u32>,
    nodes: Vec<Node>,
    linked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    hash: u32,
}

impl Chains {
    /// The nodes with this hash, the newest first.
    pub fn with(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = if self.heads.is_empty() { NIL } else { self.heads[self.chain(hash)] };
        std::iter::from_fn(move || {
            loop {
                let node = self.nodes.get(at as usize)?;
                let this = std::mem::replace(&mut at, node.next);
                if node.hash == hash {
                    return Some(this);
                }
            }
        })
    }

    /// Puts a node, which is in no chain, in front of the others.
    pub fn link(&mut self, node: u32, hash: u32) {
        if self.linked >= self.heads.len() {
            self.grow();
        }
        if self.nodes.len() <= node as usize {
            self.nodes.resize(node as usize + 1, Node { next: NIL, prev: OUT, hash: 0 });
        }
        self.linked += 1;
        self.put(node, hash);
    }

    /// Takes all nodes out of their chains.
    pub fn clear(&mut self) {
        self.heads.fill(NIL);
        self.nodes.clear();
        self.linked = 0;
    }

    /// Takes a node out of its chain, if it is in one.
    pub fn unlink(&mut self, node: u32) {
        let Some(this) = self.nodes.get_mut(node as usize).filter(|n| n.prev != OUT) else { return };
        let Node { next, prev, hash } = *this;
        this.prev = OUT;
        match self.nodes.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => {
                let chain = self.chain(hash);
                self.heads[chain] = next;
            }
        }
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.prev = prev;
        }
        self.linked -= 1;
    }

    fn chain(&self, hash: u32) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    fn put(&mut self, node: u32, hash: u32) {
        let chain = self.chain(hash);
        let next = std::mem::replace(&mut self.heads[chain], node);
        self.nodes[node as usize] = Node { next, prev: NIL, hash };
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.prev = node;
        }
    }

    /// Twice as many chains. Nodes with the same hash keep their order.
    fn grow(&mut self) {
        let more = (2 * self.heads.len()).max(LEAST);
        let old = std::mem::replace(&mut self.heads, vec![NIL; more]);
        let mut chain = Vec::new();
        for head in old {
            let mut at = head;
            while let Some(node) = self.nodes.get(at as usize) {
                chain.push((at, node.hash));
                at = node.next;
            }
            while let Some((node, hash)) = chain.pop() {
                self.put(node, hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_first_through_growth() {
        let mut chains = Chains::default();
        assert_eq!(chains.with(3).count(), 0);
        for node in 0..200 {
            chains.link(node, node % 5);
        }
        assert!(chains.heads.len() >= 200);
        let with = |chains: &Chains, hash| chains.with(hash).collect::<Vec<_>>();
        let all: Vec<u32> = (0..200).rev().filter(|n| n % 5 == 3).collect();
        assert_eq!(with(&chains, 3), all);
        for node in [198, 3, 98] {
            chains.unlink(node);
            chains.unlink(node);
        }
        assert_eq!(with(&chains, 3), all[1..all.len() - 1].iter().copied().filter(|n| *n != 98).collect::<Vec<_>>());
        chains.link(98, 3);
        assert_eq!(with(&chains, 3)[0], 98);
        assert!(with(&chains, 8).is_empty());
        chains.clear();
        assert!(with(&chains, 3).is_empty());
        chains.link(7, 3);
        assert_eq!(with(&chains, 3), [7]);
    }
}
