//! Mirrors the forwarding database of drivers/net/vxlan/vxlan_core.c: which far end an address is behind.

use crate::base::{IfIndex, Mac};
use crate::kernel::netlink::FdbState;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// vxlan->fdb_hash_tbl with fdb_list.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct VxlanFdb {
    entries: BTreeMap<Mac, Entry>,
    /// Entries made so far.
    made: u64,
}

/// struct vxlan_fdb
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Entry {
    pub state: FdbState,
    /// In jiffies: learned or refreshed.
    pub updated: u64,
    /// In jiffies: used to send.
    pub used: u64,
    /// Where it is. Only the entry for everything unknown, and those of groups, have several.
    pub remotes: Vec<Remote>,
    order: u64,
}

/// struct vxlan_rdst: a far end. What is left out is the device's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) struct Remote {
    pub ip: Ipv4Addr,
    pub port: Option<u16>,
    pub vni: Option<u32>,
    /// The device to leave by.
    pub oif: Option<IfIndex>,
}

/// As many addresses one device knows; Linux has no limit unless `maxaddress` sets one.
pub const MAX_ENTRIES: usize = 1 << 20;
/// As many far ends one entry has; Linux has no limit.
pub const MAX_REMOTES: usize = 1 << 10;

/// What learning found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Learned {
    /// It is known there now, or nothing can be learned: the table is full.
    Yes,
    /// Somebody has set that it is somewhere else.
    Fixed,
}

impl VxlanFdb {
    /// vxlan_find_mac_rcu
    pub fn find(&self, mac: Mac) -> Option<&Entry> {
        self.entries.get(&mac)
    }

    /// As [`VxlanFdb::find`], to change it.
    pub fn find_mut(&mut self, mac: Mac) -> Option<&mut Entry> {
        self.entries.get_mut(&mac)
    }

    /// As [`VxlanFdb::find`], for what is about to be sent.
    pub fn find_used(&mut self, mac: Mac, now: u64) -> Option<&Entry> {
        let e = self.entries.get_mut(&mac)?;
        e.used = now;
        Some(e)
    }

    /// All entries, the newest first (fdb_list).
    pub fn iter(&self) -> impl Iterator<Item = (Mac, &Entry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(mac, e)| (*mac, e)).collect();
        all.sort_unstable_by_key(|(_, e)| std::cmp::Reverse(e.order));
        all.into_iter()
    }

    /// Whether no more addresses fit.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// vxlan_fdb_create: a new entry, which replaces what stood there.
    pub fn set(&mut self, mac: Mac, state: FdbState, remote: Remote, now: u64) {
        self.made += 1;
        let e = Entry { state, updated: now, used: now, remotes: vec![remote], order: self.made };
        self.entries.insert(mac, e);
    }

    /// vxlan_fdb_destroy
    pub fn remove(&mut self, mac: Mac) {
        self.entries.remove(&mac);
    }

    /// Forgets the entries that `which` picks.
    pub fn forget(&mut self, mut which: impl FnMut(Mac, &Entry) -> bool) {
        self.entries.retain(|mac, e| !which(*mac, e));
    }

    /// What vxlan_snoop does to the table: a frame of `mac` came from `ip`.
    pub fn learn(&mut self, mac: Mac, ip: Ipv4Addr, now: u64) -> Learned {
        let full = self.is_full();
        match self.entries.get_mut(&mac) {
            Some(e) => {
                e.updated = now;
                let Some(first) = e.remotes.first_mut().filter(|r| r.ip != ip) else { return Learned::Yes };
                if e.state != FdbState::Dynamic {
                    return Learned::Fixed;
                }
                first.ip = ip;
            }
            None if full => {}
            None => self.set(mac, FdbState::Dynamic, Remote { ip, port: None, vni: None, oif: None }, now),
        }
        Learned::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_follows_who_moves_and_leaves_what_was_set() {
        let mut fdb = VxlanFdb::default();
        let (mac, fixed) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        fdb.set(fixed, FdbState::Local, Remote { ip: a, port: None, vni: None, oif: None }, 0);
        for (mac, ip, want) in [(mac, a, Learned::Yes), (mac, b, Learned::Yes), (fixed, a, Learned::Yes)] {
            assert_eq!(fdb.learn(mac, ip, 5), want);
        }
        assert_eq!(fdb.learn(fixed, b, 6), Learned::Fixed);
        assert_eq!(fdb.find(mac).map(|e| e.remotes[0].ip), Some(b));
        assert_eq!(fdb.iter().map(|(mac, e)| (mac, e.updated)).collect::<Vec<_>>(), [(mac, 5), (fixed, 6)]);
        fdb.forget(|_, e| e.state == FdbState::Dynamic);
        assert_eq!(fdb.iter().count(), 1);
    }
}
