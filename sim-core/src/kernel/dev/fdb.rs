//! Mirrors net/bridge/br_fdb.c: which address is behind which port. An FDB knows MACs and ports, no IP addresses.

use crate::base::{IfIndex, Mac};
use crate::kernel::cx::{Cx, Timer};
use crate::kernel::netlink::FdbState;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, before_eq};
use std::collections::BTreeMap;

/// A forwarding database.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Fdb {
    entries: BTreeMap<Mac, FdbEntry>,
    /// Learned entries, counted against [`FDB_MAX_LEARNED`].
    learned: usize,
    /// Entries made so far.
    made: u64,
}

/// struct net_bridge_fdb_entry
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct FdbEntry {
    /// The port; none for an address of the bridge itself.
    pub dst: Option<IfIndex>,
    /// Local (BR_FDB_LOCAL), static (BR_FDB_STATIC) or learned.
    pub state: FdbState,
    /// In jiffies: learned or refreshed.
    pub updated: u64,
    /// In jiffies: used to forward.
    pub used: u64,
    /// Its number in order of creation: lists show the newest first.
    order: u64,
}

impl FdbEntry {
    /// An entry made at `now`, in jiffies.
    pub fn new(dst: Option<IfIndex>, state: FdbState, now: u64) -> Self {
        FdbEntry { dst, state, updated: now, used: now, order: 0 }
    }
}

/// As many addresses are learned per bridge; Linux has no limit unless `fdb_max_learned` sets one.
pub const FDB_MAX_LEARNED: usize = 1 << 20;

/// What learning found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Learned {
    /// A new address, or one that moved to this port.
    New,
    /// It was known here.
    Refreshed,
    /// It is the bridge's own address, or the table is full: nothing was learned.
    No,
}

impl Fdb {
    /// br_fdb_find_rcu
    pub fn find(&self, mac: Mac) -> Option<&FdbEntry> {
        self.entries.get(&mac)
    }

    /// As [`Fdb::find`], for the entry that a frame is about to be forwarded by.
    pub fn find_used(&mut self, mac: Mac, now: u64) -> Option<FdbEntry> {
        let e = self.entries.get_mut(&mac)?;
        if e.state != FdbState::Local {
            e.used = now;
        }
        Some(*e)
    }

    /// All entries, the newest first (br->fdb_list).
    pub fn iter(&self) -> impl Iterator<Item = (Mac, &FdbEntry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(mac, e)| (*mac, e)).collect();
        all.sort_unstable_by_key(|(_, e)| std::cmp::Reverse(e.order));
        all.into_iter()
    }

    /// br_fdb_update: a frame from `mac` came in by `port`.
    pub fn learn(&mut self, mac: Mac, port: IfIndex, now: u64) -> Learned {
        if let Some(e) = self.entries.get_mut(&mac) {
            if e.state == FdbState::Local {
                return Learned::No;
            }
            e.updated = now;
            return if e.dst.replace(port) == Some(port) { Learned::Refreshed } else { Learned::New };
        }
        if self.learned >= FDB_MAX_LEARNED {
            return Learned::No;
        }
        self.set(mac, FdbEntry::new(Some(port), FdbState::Dynamic, now));
        Learned::New
    }

    /// An entry set by hand or by the kernel itself; replaces what stood there.
    pub fn set(&mut self, mac: Mac, mut entry: FdbEntry) {
        self.remove(mac);
        self.made += 1;
        entry.order = self.made;
        self.learned += usize::from(entry.state == FdbState::Dynamic);
        self.entries.insert(mac, entry);
    }

    /// Forgets one address.
    pub fn remove(&mut self, mac: Mac) -> Option<FdbEntry> {
        let e = self.entries.remove(&mac)?;
        self.learned -= usize::from(e.state == FdbState::Dynamic);
        Some(e)
    }

    /// Forgets the entries that `which` picks.
    pub fn forget(&mut self, mut which: impl FnMut(&FdbEntry) -> bool) {
        self.entries.retain(|_, e| !which(e));
        self.learned = self.entries.values().filter(|e| e.state == FdbState::Dynamic).count();
    }
}

/// br_fdb_cleanup: the clean-up work of bridge `br` runs.
pub(in crate::kernel) fn cleanup(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let now = cx.jiffies();
    let Some(b) = ns.dev_mut(br).filter(|d| d.up).and_then(|d| d.bridge_mut()) else { return };
    let hold = b.ageing_time;
    let mut delay = hold;
    b.fdb.forget(|e| {
        let expires = e.updated.wrapping_add(hold);
        let dead = e.state == FdbState::Dynamic && before_eq(expires, now);
        if e.state == FdbState::Dynamic && !dead {
            delay = delay.min(expires.wrapping_sub(now));
        }
        dead
    });
    // At least 10 ms apart.
    b.gc_timer = Some(cx.arm(delay.max(HZ / 100), Timer::FdbGc(cx.ns, br)));
    b.gc_due = now + delay.max(HZ / 100);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_moves_and_never_moves_local() {
        let mut fdb = Fdb::default();
        let (a, own) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
        fdb.set(own, FdbEntry::new(Some(IfIndex(1)), FdbState::Local, 0));
        for (mac, port, want) in
            [(a, 1, Learned::New), (a, 1, Learned::Refreshed), (a, 2, Learned::New), (own, 2, Learned::No)]
        {
            assert_eq!(fdb.learn(mac, IfIndex(port), 10), want, "{mac} {port}");
        }
        assert_eq!(fdb.find(a).map(|e| e.dst), Some(Some(IfIndex(2))));
        assert_eq!(fdb.iter().map(|(mac, _)| mac).collect::<Vec<_>>(), [a, own]);
        fdb.forget(|e| e.state == FdbState::Dynamic);
        assert_eq!(fdb.iter().count(), 1);
        assert_eq!(fdb.learned, 0);
    }
}
