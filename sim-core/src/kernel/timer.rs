//! Mirrors kernel/time/timer.c: the timer wheel. A timer fires late by its level's granularity, which is what
//! recordings of neighbour and retransmission timers show.
//!
//! ```text
//!   level   granularity   reach
//!     0        4 ms       252 ms        jiffies of HZ=250
//!     1       32 ms         2 s
//!     2      256 ms        16 s         fires at ((expires >> 3n) + 1) << 3n
//!     3        2 s        129 s
//!     …
//! ```

use crate::base::Time;

/// Ticks in a second of the simulated kernel.
pub const HZ: u64 = 250;
/// Nanoseconds in a tick.
pub const TICK_NS: u64 = 1_000_000_000 / HZ;

const LVL_BITS: u32 = 6;
const LVL_SIZE: usize = 1 << LVL_BITS;
const LVL_CLK_SHIFT: u32 = 3;
const LVL_DEPTH: usize = 9;
/// The reach of the last level; what is armed beyond it fires there.
const WHEEL_TIMEOUT_MAX: u64 = (63 << (LVL_CLK_SHIFT * 8)) - (1 << (LVL_CLK_SHIFT * 8));

const NIL: u32 = u32::MAX;
/// The pseudo slot of timers that have expired and not run yet.
const EXPIRED: u16 = u16::MAX;

/// Milliseconds in ticks, rounded up (`msecs_to_jiffies`).
pub fn ms_to_jiffies(ms: u64) -> u64 {
    ms.saturating_mul(HZ).div_ceil(1000)
}

/// Nanoseconds in ticks, rounded up (`timeval_to_jiffies`, `usecs_to_jiffies`).
pub fn ns_to_jiffies(ns: u64) -> u64 {
    ns.div_ceil(TICK_NS)
}

/// `a` is not after `b` on a clock that may wrap (`time_before_eq`).
pub fn before_eq(a: u64, b: u64) -> bool {
    a.wrapping_sub(b) as i64 <= 0
}

/// A timer on the wheel. Stale once it has fired or was cancelled: using it then does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// One CPU's wheel (struct timer_base). `T` tells whose timer it is.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    /// base->clk: the next tick to process.
    clk: u64,
    slots: Box<[Slot]>,
    /// A bit for each slot of a level that holds timers.
    pending: [u64; LVL_DEPTH],
    timers: Vec<Entry<T>>,
    free: u32,
    /// The lists that have expired, highest level last.
    expired: Vec<u32>,
    next_expiry: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    expiry: u64,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    what: T,
    next: u32,
    prev: u32,
    slot: u16,
    generation: u32,
    armed: bool,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel whose clock stands at `jiffies`.
    pub fn new(jiffies: u64) -> Self {
        Wheel {
            clk: jiffies,
            slots: vec![Slot { head: NIL, expiry: 0 }; LVL_SIZE * LVL_DEPTH].into_boxed_slice(),
            pending: [0; LVL_DEPTH],
            timers: Vec::new(),
            free: NIL,
            expired: Vec::new(),
            next_expiry: None,
        }
    }

    /// add_timer: fires at the first slot after `expires`; `now` is the current tick.
    pub fn arm(&mut self, now: u64, expires: u64, what: T) -> TimerId {
        // forward_timer_base: an idle wheel's clock has stood still.
        self.clk = self.clk.max(self.next_expiry.map_or(now, |next| next.min(now)));
        let index = self.allocate(what);
        let (slot, expiry) = self.slot_of(expires);
        self.link(index, slot, expiry);
        TimerId { index, generation: self.timers[index as usize].generation }
    }

    /// timer_delete: whether it was still to fire.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        match self.timers.get(id.index as usize) {
            Some(t) if t.armed && t.generation == id.generation => {
                self.unlink(id.index);
                true
            }
            _ => false,
        }
    }

    /// timer_pending
    pub fn is_armed(&self, id: TimerId) -> bool {
        self.timers.get(id.index as usize).is_some_and(|t| t.armed && t.generation == id.generation)
    }

    /// The tick at which the next timer fires.
    pub fn next_expiry(&self) -> Option<u64> {
        self.next_expiry
    }

    /// collect_expired_timers: takes everything that is due at `next_expiry`, to be run by [`Wheel::pop`]. Does nothing
    /// before that tick.
    pub fn collect(&mut self, now: u64) {
        let Some(due) = self.next_expiry.filter(|&due| due <= now) else { return };
        let mut clk = due;
        for level in 0..LVL_DEPTH {
            let at = clk as usize & (LVL_SIZE - 1);
            if self.pending[level] & 1 << at != 0 {
                self.pending[level] &= !(1 << at);
                self.expire_slot(level * LVL_SIZE + at);
            }
            if clk & ((1 << LVL_CLK_SHIFT) - 1) != 0 {
                break;
            }
            clk >>= LVL_CLK_SHIFT;
        }
        self.clk = due + 1;
        self.recalculate();
    }

    /// The next expired timer: higher levels first, within a slot the last armed first.
    pub fn pop(&mut self) -> Option<T> {
        while let Some(&head) = self.expired.last() {
            if head == NIL {
                self.expired.pop();
                continue;
            }
            let what = self.timers[head as usize].what;
            self.unlink(head);
            return Some(what);
        }
        None
    }

    /// calc_wheel_index
    fn slot_of(&self, expires: u64) -> (u16, u64) {
        let delta = expires.wrapping_sub(self.clk);
        if (delta as i64) < 0 {
            return ((self.clk as usize & (LVL_SIZE - 1)) as u16, self.clk);
        }
        let expires = self.clk + delta.min(WHEEL_TIMEOUT_MAX);
        let delta = delta.min(WHEEL_TIMEOUT_MAX);
        let level = (0..LVL_DEPTH - 1).find(|&l| delta < 63 << (LVL_CLK_SHIFT * l as u32)).unwrap_or(LVL_DEPTH - 1);
        let shift = LVL_CLK_SHIFT * level as u32;
        let bucket = (expires >> shift) + 1;
        ((level * LVL_SIZE + (bucket as usize & (LVL_SIZE - 1))) as u16, bucket << shift)
    }

    fn allocate(&mut self, what: T) -> u32 {
        if self.free == NIL {
            self.timers.push(Entry { what, next: NIL, prev: NIL, slot: 0, generation: 0, armed: false });
            return self.timers.len() as u32 - 1;
        }
        let index = self.free;
        let t = &mut self.timers[index as usize];
        (self.free, t.what) = (t.next, what);
        index
    }

    fn link(&mut self, index: u32, slot: u16, expiry: u64) {
        let head = self.slots[slot as usize].head;
        self.slots[slot as usize] = Slot { head: index, expiry };
        if head != NIL {
            self.timers[head as usize].prev = index;
        }
        let t = &mut self.timers[index as usize];
        (t.next, t.prev, t.slot, t.armed) = (head, NIL, slot, true);
        self.pending[slot as usize / LVL_SIZE] |= 1 << (slot as usize % LVL_SIZE);
        self.next_expiry = Some(self.next_expiry.map_or(expiry, |next| next.min(expiry)));
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, prev, slot, .. } = self.timers[index as usize];
        if next != NIL {
            self.timers[next as usize].prev = prev;
        }
        if prev != NIL {
            self.timers[prev as usize].next = next;
        } else if slot == EXPIRED {
            let list = self.expired.iter_mut().find(|head| **head == index);
            *list.expect("an expired timer without a predecessor heads a list") = next;
        } else {
            self.slots[slot as usize].head = next;
            if next == NIL {
                self.pending[slot as usize / LVL_SIZE] &= !(1 << (slot as usize % LVL_SIZE));
                self.recalculate();
            }
        }
        let free = self.free;
        let t = &mut self.timers[index as usize];
        (t.armed, t.generation, t.next) = (false, t.generation.wrapping_add(1), free);
        self.free = index;
    }

    fn expire_slot(&mut self, slot: usize) {
        let head = std::mem::replace(&mut self.slots[slot].head, NIL);
        self.expired.push(head);
        let mut at = head;
        while at != NIL {
            self.timers[at as usize].slot = EXPIRED;
            at = self.timers[at as usize].next;
        }
    }

    fn recalculate(&mut self) {
        let mut next: Option<u64> = None;
        for (level, &bits) in self.pending.iter().enumerate() {
            let mut left = bits;
            while left != 0 {
                let at = left.trailing_zeros() as usize;
                left &= left - 1;
                let expiry = self.slots[level * LVL_SIZE + at].expiry;
                next = Some(next.map_or(expiry, |n| n.min(expiry)));
            }
        }
        self.next_expiry = next;
    }
}

/// The clock of a machine in ticks: jiffies at the scenario's start, and how time maps to ticks.
#[derive(Clone, Copy, Debug)]
pub struct Jiffies {
    start: u64,
}

impl Jiffies {
    /// A kernel whose jiffies stand at `start` when simulated time starts.
    pub fn starting_at(start: u64) -> Self {
        Jiffies { start }
    }

    /// jiffies at `t`.
    pub fn at(self, t: Time) -> u64 {
        self.start + t.0 / TICK_NS
    }

    /// When the tick `jiffies` comes; the start for a tick before it.
    pub fn time(self, jiffies: u64) -> Time {
        Time(jiffies.saturating_sub(self.start).saturating_mul(TICK_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wheel: &mut Wheel<u32>, until: u64) -> Vec<(u64, u32)> {
        let mut fired = vec![];
        while let Some(due) = wheel.next_expiry().filter(|&d| d <= until) {
            wheel.collect(due);
            while let Some(t) = wheel.pop() {
                fired.push((due, t));
            }
        }
        fired
    }

    #[test]
    fn late_by_the_levels_granularity() {
        // facts 9.5: re-armed from its own callback 1 s becomes 256 ticks, 2 s 504, 4 s 1024, 8 s 2048, 16 s 4032; 40
        // ms 11.
        for (armed, delta, want) in [
            (1000, 10, 11),
            (1024, 250, 256),
            (1024, 500, 504),
            (1024, 1000, 1024),
            (1024, 2000, 2048),
            (1024, 62, 63),
            (1001, 250, 255),
            (1007, 250, 257),
            (1000, 0, 1),
        ] {
            let mut w = Wheel::new(armed);
            w.arm(armed, armed + delta, 1);
            assert_eq!(run(&mut w, u64::MAX), [(armed + want, 1)], "{armed} + {delta}");
        }
    }

    #[test]
    fn order_within_a_tick() {
        // Higher levels first; within a slot the last armed first.
        let mut w = Wheel::new(0);
        w.arm(0, 119, 1); // level 1: fires at 120
        w.arm(0, 115, 2); // level 1: fires at 120
        let mut later = w.clone();
        later.collect(60);
        w.arm(60, 119, 3);
        assert_eq!(run(&mut w, 1000), [(120, 2), (120, 1), (120, 3)].map(|(t, n)| (t, n)));
    }

    #[test]
    fn a_callback_may_cancel_one_of_the_same_tick() {
        let mut w = Wheel::new(0);
        let a = w.arm(0, 5, 1);
        w.arm(0, 5, 2);
        w.collect(6);
        assert_eq!(w.pop(), Some(2));
        assert!(w.cancel(a));
        assert!(!w.cancel(a));
        assert_eq!(w.pop(), None);
        assert_eq!(w.next_expiry(), None);
    }

    #[test]
    fn far_timers_are_cut_and_none_is_lost() {
        let mut w = Wheel::new(77);
        let mut want = vec![];
        for i in 0..2000u32 {
            let expires = 77 + u64::from(i) * u64::from(i) * 13;
            w.arm(77, expires, i);
            want.push(i);
        }
        w.arm(77, u64::MAX >> 1, 9999);
        want.push(9999);
        let fired = run(&mut w, u64::MAX);
        assert!(fired.is_sorted_by_key(|f| f.0));
        let mut got: Vec<u32> = fired.iter().map(|f| f.1).collect();
        got.sort_unstable();
        assert_eq!(got, want);
        // Slots are reused: memory does not grow with use.
        let len = w.timers.len();
        for i in 0..5000 {
            let id = w.arm(1 << 40, (1 << 40) + i, 1);
            assert!(w.cancel(id));
        }
        assert_eq!(w.timers.len(), len);
    }
}
