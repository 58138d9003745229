//! The routes of the flows that were looked up last. Mirrors what net/ipv4/route.c keeps of its results, in sockets and
//! next hops, and how it ends there: rt_genid_bump_all, and fnhe_genid_bump for one namespace.
//!
//! Nobody can see it: a route is remembered only where nothing that it depends on changes without a new generation.

/// So many flows are remembered, one for each value of a hash. A power of two.
const PLACES: usize = 32;

/// What was looked up, by flow.
#[derive(Debug)]
pub(in crate::kernel) struct Recent<K, V> {
    /// All are of this generation.
    genid: u64,
    /// None before the first.
    places: Vec<Option<(K, V)>>,
}

impl<K: Copy + PartialEq, V: Copy> Recent<K, V> {
    /// What was found for `flow` in this generation; `by` tells most flows apart.
    #[inline]
    pub fn get(&self, genid: u64, flow: &K, by: u32) -> Option<V> {
        match self.places.get(place(by)) {
            Some(Some((known, found))) if self.genid == genid && known == flow => Some(*found),
            _ => None,
        }
    }

    /// Remembers what was found for `flow`, in place of another flow.
    pub fn put(&mut self, genid: u64, flow: K, by: u32, found: V) {
        if self.genid != genid {
            self.genid = genid;
            self.places.clear();
        }
        self.places.resize(PLACES, None);
        self.places[place(by)] = Some((flow, found));
    }
}

/// The highest bits of a product with the golden ratio, which depend on all of `by`.
fn place(by: u32) -> usize {
    (by.wrapping_mul(0x9e37_79b9) >> (u32::BITS - PLACES.ilog2())) as usize
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { genid: 0, places: Vec::new() }
    }
}

impl<K, V> Clone for Recent<K, V> {
    /// It holds nothing that matters.
    fn clone(&self) -> Self {
        Recent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_forgets_the_one_before() {
        let mut recent = Recent::default();
        assert_eq!(recent.get(1, &7, 7), None);
        recent.put(1, 7, 7, 'a');
        recent.put(1, 8, 8, 'b');
        assert_eq!((recent.get(1, &7, 7), recent.get(1, &8, 8)), (Some('a'), Some('b')));
        // Another flow in the same place.
        assert_eq!(recent.get(1, &9, 7), None);
        assert_eq!(recent.get(2, &7, 7), None);
        recent.put(2, 8, 8, 'c');
        assert_eq!((recent.get(2, &7, 7), recent.get(2, &8, 8)), (None, Some('c')));
        assert_eq!(recent.clone().get(2, &8, 8), None);
    }
}
