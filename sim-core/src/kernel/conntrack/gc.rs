//! Mirrors gc_worker of net/netfilter/nf_conntrack_core.c: one work item of the machine goes through the connections of
//! all its namespaces, deletes what has expired, and comes again when about that much more will have.
//!
//! Differs: Linux rests a tick after 256 expired entries; here a round is one.

use super::entry::{Conn, Status};
use super::table::Conntrack;
use super::{CtCx, tcp};
use crate::kernel::timer::HZ;

/// GC_SCAN_INTERVAL_MAX
const INTERVAL_MAX: i64 = 60 * HZ as i64;
/// GC_SCAN_INTERVAL_CLAMP
const INTERVAL_CLAMP: i64 = 300 * HZ as i64;
/// GC_SCAN_INTERVAL_MIN
const INTERVAL_MIN: i64 = HZ as i64;
/// GC_SCAN_INTERVAL_INIT
const INTERVAL_INIT: i64 = i32::MAX as i64;
/// GC_SCAN_INITIAL_COUNT
const INITIAL_COUNT: i64 = 100;

/// One round: [`Gc::begin`], [`Gc::scan`] for each namespace, [`Gc::finish`].
#[derive(Clone, Copy, Debug)]
pub struct Gc {
    /// Ticks until an entry expires, on average.
    next_run: i64,
    count: i64,
}

/// Ticks from the start of the kernel to the first round (conntrack_gc_work_init).
pub const FIRST_RUN: u64 = HZ;

impl Gc {
    /// A new round.
    pub fn begin() -> Self {
        Gc { next_run: INTERVAL_INIT, count: INITIAL_COUNT }
    }

    /// Goes through the connections of one namespace.
    pub fn scan(&mut self, ct: &mut Conntrack, cx: &CtCx<'_>) {
        let crowded = ct.take_full() && ct.count() >= ct.settings.max / 100 * 95;
        ct.delete_if(cx, None, |c| {
            if c.is_expired(cx.jiffies) {
                return true;
            }
            let expires = (c.expires(cx.jiffies) as i64).clamp(INTERVAL_MIN, INTERVAL_CLAMP);
            self.count += 1;
            self.next_run += (expires - self.next_run) / self.count;
            crowded && can_early_drop(c)
        });
    }

    /// Ticks until the next round.
    pub fn finish(self) -> u64 {
        (self.next_run.clamp(INTERVAL_MIN, INTERVAL_MAX) - 1) as u64
    }
}

/// gc_worker_can_early_drop
fn can_early_drop(c: &Conn) -> bool {
    !c.status.has(Status::ASSURED) || c.tcp_state().is_some_and(tcp::can_early_drop)
}
