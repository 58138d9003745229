//! ip_idents of net/ipv4/route.c: where the IP id of a packet comes from that no socket counts.

use crate::base::Prf;
use crate::base::rng::Purpose;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// Counters by a hash of destination, source and protocol. Linux has 2048 buckets or more, shared by the whole machine;
/// here each flow has its own, which nobody can tell from a bucket without collisions.
#[derive(Clone, Debug, Default)]
pub struct IpIds {
    counters: FxHashMap<(Ipv4Addr, Ipv4Addr, u8), Counter>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    next: u16,
    /// In jiffies.
    last: u64,
    draws: u64,
}

/// As many counters are kept; then all start anew.
const MAX_COUNTERS: usize = 1 << 16;

impl IpIds {
    /// ip_idents_reserve: the counter skips a random number of the ticks since its last use, so that nobody can count
    /// what others send. A frame of several segments takes an id for each.
    pub(in crate::kernel) fn next(
        &mut self,
        prf: &Prf,
        salt: u64,
        now: u64,
        (dst, src, proto): (Ipv4Addr, Ipv4Addr, u8),
        segments: u16,
    ) -> u16 {
        let flow = u64::from(u32::from(dst)) << 32 | u64::from(u32::from(src));
        let input = |n| [salt, flow, u64::from(proto), n];
        if self.counters.len() >= MAX_COUNTERS {
            self.counters.clear();
        }
        let c = self.counters.entry((dst, src, proto)).or_insert_with(|| Counter {
            next: prf.draw(Purpose::IpId, &input(0)) as u16,
            last: now,
            draws: 0,
        });
        let idle = now.saturating_sub(c.last);
        if idle > 0 {
            c.draws += 1;
            c.next = c.next.wrapping_add(prf.below(Purpose::IpIdSkip, &input(c.draws), idle) as u16);
            c.last = now;
        }
        let id = c.next;
        c.next = c.next.wrapping_add(segments);
        id
    }
}
