//! `-m recent`, named lists of addresses with the times when they were seen (net/netfilter/xt_recent.c,
//! extensions/libxt_recent.c).

use super::bang;
use crate::base::Time;
use crate::base::time::SEC;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::Value;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Packet;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

const ANY_OP: u32 = 15;
const SPECS: [Spec; 12] = [
    Spec::new("set", 0, Kind::None).invert().excludes(ANY_OP),
    Spec::new("rcheck", 1, Kind::None).invert().excludes(ANY_OP),
    Spec::new("update", 2, Kind::None).invert().excludes(ANY_OP),
    Spec::new("remove", 3, Kind::None).invert().excludes(ANY_OP),
    Spec::new("seconds", 4, Kind::Number(1, u32::MAX)),
    Spec::new("reap", 5, Kind::None).requires(16),
    Spec::new("hitcount", 6, Kind::Number(0, u32::MAX)),
    Spec::new("rttl", 7, Kind::None).excludes(1 | 8),
    Spec::new("name", 8, Kind::Str),
    Spec::new("rsource", 9, Kind::None),
    Spec::new("rdest", 10, Kind::None),
    Spec::new("mask", 11, Kind::HostMask),
];

/// A list's name is cut at so many bytes (`XT_RECENT_NAME_LEN` less the final zero).
const MAX_NAME: usize = 199;
/// Addresses on a list (`ip_list_tot`); the one that was seen longest ago makes room.
const MAX_ADDRESSES: usize = 100;
/// Times kept of an address (`ip_pkt_list_tot`), if no rule asks for more.
const MAX_STAMPS: usize = 20;
/// A rule may ask for so many (`XT_RECENT_MAX_NSTAMPS` less one).
const MAX_HITS: u32 = 65_535;

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Op {
    /// Nothing was asked for.
    #[default]
    None,
    /// Notes the address.
    Set,
    /// Looks whether it is there.
    Check,
    /// Looks, and notes it if it was there.
    Update,
    /// Forgets it.
    Remove,
}

/// `-m recent`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recent {
    /// What it does.
    pub op: Op,
    /// The other way round.
    pub invert: bool,
    /// Only what is younger, in seconds; zero for any.
    pub seconds: u32,
    /// Forget what is older.
    pub reap: bool,
    /// Seen so often; zero for once.
    pub hits: u32,
    /// The TTL must be that of the entry.
    pub ttl: bool,
    /// The list.
    pub name: String,
    /// The destination instead of the source.
    pub destination: bool,
    /// The address is masked with it.
    pub mask: Ipv4Addr,
}

impl Default for Recent {
    fn default() -> Self {
        Recent {
            op: Op::None,
            invert: false,
            seconds: 0,
            reap: false,
            hits: 0,
            ttl: false,
            name: "DEFAULT".to_owned(),
            destination: false,
            mask: Ipv4Addr::BROADCAST,
        }
    }
}

/// The lists of a namespace.
#[derive(Clone, Debug, Default)]
pub struct RecentLists(BTreeMap<String, List>);

#[derive(Clone, Debug, Default)]
struct List {
    /// The longest unseen first; at most [`MAX_ADDRESSES`].
    entries: Vec<Entry>,
    /// Stamps kept of each.
    stamps: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    address: Ipv4Addr,
    ttl: u8,
    stamps: VecDeque<Time>,
}

impl Recent {
    /// `recent_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>, lists: &mut RecentLists) -> bool {
        let address = if self.destination { packet.dst() } else { packet.src() };
        let address = Ipv4Addr::from(u32::from(address) & u32::from(self.mask));
        let list = lists.list(&self.name);
        list.stamps = list.stamps.max(self.hits as usize + 1).max(MAX_STAMPS);
        let ttl = packet.ttl();
        let Some(at) = list.entries.iter().position(|e| e.address == address && (!self.ttl || e.ttl == ttl)) else {
            if self.op == Op::Set {
                list.add(address, ttl, packet.now);
                return !self.invert;
            }
            return self.invert;
        };
        match self.op {
            Op::Set | Op::None => {
                list.stamp(at, ttl, packet.now);
                !self.invert
            }
            Op::Remove => {
                list.entries.remove(at);
                !self.invert
            }
            Op::Check | Op::Update => {
                let found = self.seen(&list.entries[at], packet.now);
                if self.reap && self.seconds != 0 {
                    self.purge(&mut list.entries[at], packet.now);
                }
                if self.op == Op::Update && found {
                    list.stamp(at, ttl, packet.now);
                }
                found != self.invert
            }
        }
    }

    fn seen(&self, entry: &Entry, now: Time) -> bool {
        let young = entry.stamps.iter().filter(|s| self.seconds == 0 || now - **s <= u64::from(self.seconds) * SEC);
        let needed = self.hits.max(1) as usize;
        young.take(needed).count() == needed
    }

    /// `recent_entry_reap`: the oldest stamp goes once it is too old.
    fn purge(&self, entry: &mut Entry, now: Time) {
        if entry.stamps.front().is_some_and(|s| now - *s > u64::from(self.seconds) * SEC) {
            entry.stamps.pop_front();
        }
    }
}

impl RecentLists {
    fn list(&mut self, name: &str) -> &mut List {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), List::default());
        }
        self.0.get_mut(name).expect("it was put there")
    }
}

impl List {
    fn add(&mut self, address: Ipv4Addr, ttl: u8, now: Time) {
        if self.entries.len() >= MAX_ADDRESSES {
            self.entries.remove(0);
        }
        self.entries.push(Entry { address, ttl, stamps: VecDeque::from([now]) });
    }

    /// `recent_entry_update`
    fn stamp(&mut self, at: usize, ttl: u8, now: Time) {
        let mut entry = self.entries.remove(at);
        entry.ttl = ttl;
        entry.stamps.push_back(now);
        while entry.stamps.len() > self.stamps {
            entry.stamps.pop_front();
        }
        self.entries.push(entry);
    }
}

impl Extension for Recent {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        self.invert |= given.invert;
        match (given.id, given.value) {
            (0, _) => self.op = Op::Set,
            (1, _) => self.op = Op::Check,
            (2, _) => self.op = Op::Update,
            (3, _) => self.op = Op::Remove,
            (4, value) => self.seconds = value.number(),
            (5, _) => self.reap = true,
            (6, value) => self.hits = value.number(),
            (7, _) => self.ttl = true,
            (8, _) => {
                let end = (0..=MAX_NAME.min(given.arg.len())).rev().find(|n| given.arg.is_char_boundary(*n));
                self.name = given.arg[..end.unwrap_or(0)].to_owned();
            }
            (9, _) => self.destination = false,
            (10, _) => self.destination = true,
            (_, Value::HostMask(mask, _)) => self.mask = mask,
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen & ANY_OP != 0 {
            return Ok(());
        }
        Err(Error::usage("recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'"))
    }

    fn list(&self, out: &mut String, _: Listing) {
        bang(out, self.invert);
        out.push_str(" recent:");
        out.push_str(match self.op {
            Op::None => "",
            Op::Set => " SET",
            Op::Check => " CHECK",
            Op::Update => " UPDATE",
            Op::Remove => " REMOVE",
        });
        if self.seconds != 0 {
            out.push_str(&format!(" seconds: {}", self.seconds.cast_signed()));
        }
        out.push_str(if self.reap { " reap" } else { "" });
        if self.hits != 0 {
            out.push_str(&format!(" hit_count: {}", self.hits.cast_signed()));
        }
        out.push_str(if self.ttl { " TTL-Match" } else { "" });
        let side = if self.destination { "dest" } else { "source" };
        out.push_str(&format!(" name: {} side: {side} mask: {}", self.name, self.mask));
    }

    fn save(&self, out: &mut String) {
        bang(out, self.invert);
        out.push_str(match self.op {
            Op::None => "",
            Op::Set => " --set",
            Op::Check => " --rcheck",
            Op::Update => " --update",
            Op::Remove => " --remove",
        });
        if self.seconds != 0 {
            out.push_str(&format!(" --seconds {}", self.seconds.cast_signed()));
        }
        if self.reap {
            out.push_str(" --reap");
        }
        if self.hits != 0 {
            out.push_str(&format!(" --hitcount {}", self.hits.cast_signed()));
        }
        if self.ttl {
            out.push_str(" --rttl");
        }
        out.push_str(&format!(" --name {} --mask {}", self.name, self.mask));
        out.push_str(if self.destination { " --rdest" } else { " --rsource" });
    }
}

impl Recent {
    /// `recent_mt_check`
    pub(super) fn suits(&self) -> bool {
        let bad_name = self.name.is_empty() || self.name.contains('/');
        let plain = self.seconds == 0 && self.hits == 0 && !self.ttl && !self.reap;
        !bad_name && (plain || !matches!(self.op, Op::Set | Op::Remove)) && self.hits <= MAX_HITS
    }
}
