//! Mirrors net/netfilter/nf_conntrack_core.c, as far as it keeps entries: allocation and its limit, look-up, insertion,
//! deletion, early drop, garbage collection.
//!
//! ```text
//!   slots   entries by (index, generation), confirmed or not; freed ones form a list
//!   hash    original and reply tuple of every confirmed entry
//!   order   confirmed entries, the oldest first: listings, garbage collection
//!   source  entries with a source translation by their original source (nf_nat_bysource), the newest first
//! ```
//!
//! An entry lives while it is in the table or a packet refers to it: a reset that ends a connection is still translated
//! by its entry.
//!
//! Differs: Linux has one hash table for all namespaces, whose order is random; here each has its own, listed in the
//! order of confirmation.

use super::CtCx;
use super::chains::Chains;
use super::entry::{Conn, Counter, CtId, Info, Nfct, Proto, Status};
use super::event::{Event, Kind, Mask, Queue};
use super::sysctl::Settings;
use super::tuple::{Dir, Tuple, Zone};
use crate::base::rng::Purpose;
use crate::base::{IfIndex, Time};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv4Addr};

const NIL: u32 = u32::MAX;
/// NF_CT_EVICTION_RANGE: hash buckets that early drop looks into.
const EVICTION_RANGE: u64 = 8;
/// Flows whose random draws are counted; with one more, counting starts anew.
const MAX_FLOW_DRAWS: usize = 1 << 16;

/// struct ip_conntrack_stat: what `conntrack -S` counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the kernel's own names: include/linux/netfilter/nf_conntrack_common.h")]
pub struct Stats {
    pub found: u64,
    pub invalid: u64,
    pub insert: u64,
    pub insert_failed: u64,
    pub drop: u64,
    pub early_drop: u64,
    pub error: u64,
    pub search_restart: u64,
    pub clash_resolve: u64,
    pub chaintoolong: u64,
}

/// The connections of one namespace (struct netns_ct).
#[derive(Clone, Debug)]
pub struct Conntrack {
    slots: Vec<Slot>,
    free: u32,
    /// Each entry has two nodes: see [`node`].
    hash: Chains,
    order: List,
    source: Chains,
    /// cnet->count: confirmed or not.
    count: u32,
    pub(super) settings: Settings,
    pub(super) stats: Stats,
    pub(super) queue: Queue,
    /// Early drop has failed since the last garbage collection.
    full: bool,
    draws: Draws,
}

/// How many random draws flows have made.
#[derive(Clone, Debug, Default)]
struct Draws {
    flows: Vec<(Tuple, u64)>,
    hash: Chains,
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
    /// Packets that refer to it, and one more while it is in the table.
    users: u32,
    listed: bool,
    /// In `order`; `next` also links free slots.
    next: u32,
    prev: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

/// The node of an entry's tuple.
fn node(index: u32, dir: Dir) -> u32 {
    2 * index + dir.index() as u32
}

/// hash_conntrack_raw, to which the higher port is added: it is the client's, whose next connection has one of the next
/// ports. So the chains that they need lie side by side.
fn hash(tuple: &Tuple) -> u32 {
    let (low, high) = (tuple.sport.min(tuple.dport), tuple.sport.max(tuple.dport));
    let others = Tuple { sport: low, dport: 0, ..*tuple };
    (FxBuildHasher.hash_one(others) as u32).wrapping_add(high.into())
}

/// What hash_by_src looks at.
fn source(tuple: &Tuple) -> Tuple {
    Tuple { dst: Ipv4Addr::UNSPECIFIED.into(), dport: 0, ..*tuple }
}

impl Default for Conntrack {
    fn default() -> Self {
        Conntrack {
            slots: Vec::new(),
            free: NIL,
            hash: Chains::default(),
            order: List { head: NIL, tail: NIL },
            source: Chains::default(),
            count: 0,
            settings: Settings::default(),
            stats: Stats::default(),
            queue: Queue::default(),
            full: false,
            draws: Draws::default(),
        }
    }
}

impl Conntrack {
    /// The entry, if it still exists: in the table, or held by a packet.
    pub fn get(&self, id: CtId) -> Option<&Conn> {
        self.slots.get(id.index as usize).filter(|s| s.generation == id.generation)?.conn.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: CtId) -> Option<&mut Conn> {
        self.slots.get_mut(id.index as usize).filter(|s| s.generation == id.generation)?.conn.as_mut()
    }

    /// The settings, and an entry to change.
    pub(super) fn settings_and(&mut self, id: CtId) -> (&Settings, Option<&mut Conn>) {
        let slot = self.slots.get_mut(id.index as usize).filter(|s| s.generation == id.generation);
        (&self.settings, slot.and_then(|s| s.conn.as_mut()))
    }

    /// The entry of a packet (nf_ct_get).
    pub fn of(&self, nfct: Nfct) -> Option<&Conn> {
        match nfct {
            Nfct::Ct { id, .. } => self.get(id),
            Nfct::None | Nfct::Untracked | Nfct::Template(_) => None,
        }
    }

    /// nf_conntrack_get: a clone of a packet refers to the same entry.
    pub fn hold(&mut self, nfct: Nfct) {
        if let Nfct::Ct { id, .. } = nfct
            && self.get(id).is_some()
        {
            self.slots[id.index as usize].users += 1;
        }
    }

    /// nf_conntrack_put: a packet that referred to the entry is gone, or left the namespace.
    pub fn put(&mut self, nfct: Nfct) {
        if let Nfct::Ct { id, .. } = nfct
            && self.get(id).is_some()
        {
            self.put_index(id.index);
        }
    }

    /// A packet that arrives and has an entry has a right checksum (net.netfilter.nf_conntrack_checksum).
    pub fn verifies(&self, proto: u8) -> bool {
        self.settings.checksum != 0 && matches!(proto, IPPROTO_ICMP | IPPROTO_TCP | IPPROTO_UDP)
    }

    /// net.netfilter.nf_conntrack_count
    pub fn count(&self) -> u32 {
        self.count
    }

    /// `conntrack -S`
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// From now on events are kept for somebody who listens, or no more.
    pub fn listen(&mut self, on: bool) {
        self.queue.listening = on;
    }

    /// The events since the last call, oldest first.
    pub fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.queue.events.drain(..)
    }

    /// Events that were lost because more than [`super::event::MAX_EVENTS`] waited.
    pub fn lost_events(&self) -> u64 {
        self.queue.lost
    }

    /// ctnetlink_dump_table: the entries that have not expired, oldest first. An entry that lost a clash is not shown.
    pub fn iter(&self, jiffies: u64) -> impl Iterator<Item = (CtId, &Conn)> {
        self.ids().filter_map(move |id| {
            let conn = self.get(id)?;
            let shown = !conn.is_expired(jiffies) && !conn.status.has(Status::NAT_CLASH);
            shown.then_some((id, conn))
        })
    }

    /// As [`Conntrack::iter`], as data for listings.
    pub fn list(&self, now: Time, jiffies: u64) -> impl Iterator<Item = Info> {
        self.iter(jiffies).map(move |(id, conn)| conn.info(now, jiffies, self.slots[id.index as usize].users))
    }

    /// ctnetlink_del_conntrack: deletes an entry on behalf of a process; whether there was one.
    pub fn del(&mut self, cx: &CtCx<'_>, tuple: &Tuple, id: u32, portid: u32) -> bool {
        match self.lookup(cx, tuple) {
            Some((at, _)) if self.get(at).is_some_and(|c| c.id == id) => self.delete(cx, at, Some(portid)),
            _ => false,
        }
    }

    /// ctnetlink_flush_conntrack: deletes all entries on behalf of a process.
    pub fn flush(&mut self, cx: &CtCx<'_>, portid: u32) {
        self.delete_if(cx, Some(portid), |_| true);
    }

    /// What ctnetlink_dump_table does on its way: deletes the entries that have expired.
    pub fn evict_expired(&mut self, cx: &CtCx<'_>) {
        self.delete_if(cx, None, |c| c.is_expired(cx.jiffies));
    }

    /// nf_ct_iterate_cleanup_net: deletes all entries of which `which` says so.
    pub fn delete_if(&mut self, cx: &CtCx<'_>, portid: Option<u32>, mut which: impl FnMut(&Conn) -> bool) {
        let mut at = self.order.head;
        while at != NIL {
            let next = self.slots[at as usize].next;
            if self.slots[at as usize].conn.as_ref().is_some_and(&mut which) {
                self.delete(cx, self.id_of(at), portid);
            }
            at = next;
        }
    }

    /// nf_ct_iterate_cleanup_net with device_cmp of nf_nat_masquerade.c: a device went down or, with `addr`, lost an
    /// address; what was masqueraded behind it is forgotten.
    pub fn masq_cleanup(&mut self, cx: &CtCx<'_>, dev: IfIndex, addr: Option<IpAddr>) {
        self.delete_if(cx, None, |c| c.masq_index == Some(dev) && addr.is_none_or(|a| c.tuple(Dir::Reply).dst == a));
    }

    /// __nf_conntrack_alloc: a new entry, held by one packet. None if the table is full and nothing could be dropped.
    pub(super) fn alloc(&mut self, cx: &CtCx<'_>, original: Tuple, reply: Tuple, zone: Zone) -> Option<CtId> {
        if self.count + 1 > self.settings.max && !self.early_drop(cx, &original) {
            self.full = true;
            return None;
        }
        self.count += 1;
        let [a, b, c, d, e, f] = original.words();
        let key = [cx.salt.word(), cx.now.0, a, b, c, d, e, f];
        let conn = Conn {
            id: cx.prf.draw(Purpose::ConntrackId, &key) as u32,
            tuple: [original, reply],
            zone,
            status: Status::default(),
            timeout: 0,
            mark: 0,
            proto: Proto::None,
            acct: (self.settings.acct != 0).then(<[Counter; 2]>::default),
            start: None,
            cache: Mask::default(),
            masq_index: None,
        };
        let index = self.take_slot();
        let slot = &mut self.slots[index as usize];
        (slot.conn, slot.users) = (Some(conn), 1);
        Some(self.id_of(index))
    }

    /// nf_conntrack_find_get: the confirmed entry with this tuple in one of its directions. An expired one is deleted.
    pub(super) fn find(&mut self, cx: &CtCx<'_>, zone: Zone, tuple: &Tuple) -> Option<(CtId, Dir)> {
        let (original, reply) = (zone.id(Dir::Original), zone.id(Dir::Reply));
        let hit = self.lookup(cx, &tuple.in_zone(original));
        let hit = hit.filter(|(_, dir)| *dir == Dir::Original || original == reply);
        if hit.is_some() || original == reply {
            return hit;
        }
        self.lookup(cx, &tuple.in_zone(reply)).filter(|(_, dir)| *dir == Dir::Reply)
    }

    /// As [`Conntrack::find`], by a tuple that carries its zone.
    pub(super) fn lookup(&mut self, cx: &CtCx<'_>, tuple: &Tuple) -> Option<(CtId, Dir)> {
        let dir_of = |n: u32| [Dir::Original, Dir::Reply][(n % 2) as usize];
        let is = |n: &u32| self.slots[(n / 2) as usize].conn.as_ref().is_some_and(|c| c.tuple(dir_of(*n)) == tuple);
        let n = self.hash.with(hash(tuple)).find(is)?;
        let (id, dir) = (self.id_of(n / 2), dir_of(n));
        if self.get(id)?.is_expired(cx.jiffies) {
            self.delete(cx, id, None);
            return None;
        }
        Some((id, dir))
    }

    /// nf_conntrack_tuple_taken: another flow has this reply tuple.
    pub(super) fn taken(&mut self, cx: &CtCx<'_>, reply: &Tuple, ignored: CtId) -> bool {
        let Some((hit, dir)) = self.lookup(cx, reply) else { return false };
        if self.get(ignored).is_some_and(|c| c.zone.id(dir) != reply.zone) {
            return false;
        }
        let same = |a: &Conn, b: &Conn| a.tuple(Dir::Original) == b.tuple(Dir::Original);
        if hit == ignored || self.get(hit).zip(self.get(ignored)).is_some_and(|(a, b)| same(a, b)) {
            return false;
        }
        self.stats.found += 1;
        true
    }

    /// __nf_conntrack_hash_insert. With `hidden` only the reply tuple leads to it.
    pub(super) fn insert(&mut self, id: CtId, hidden: bool) {
        let Some(conn) = self.get_mut(id) else { return };
        conn.status.set(Status::CONFIRMED);
        let [original, reply] = conn.tuple;
        if !hidden {
            self.hash.link(node(id.index, Dir::Original), hash(&original));
        }
        self.hash.link(node(id.index, Dir::Reply), hash(&reply));
        let tail = self.order.tail;
        let slot = &mut self.slots[id.index as usize];
        (slot.next, slot.prev, slot.listed) = (NIL, tail, true);
        slot.users += 1;
        match tail {
            NIL => self.order.head = id.index,
            tail => self.slots[tail as usize].next = id.index,
        }
        self.order.tail = id.index;
    }

    /// nf_ct_delete: takes a confirmed entry out of the table; false if somebody has done so before.
    pub(super) fn delete(&mut self, cx: &CtCx<'_>, id: CtId, portid: Option<u32>) -> bool {
        let Some(conn) = self.get_mut(id).filter(|c| !c.is_dying()) else { return false };
        conn.status.set(Status::DYING);
        let slot = &self.slots[id.index as usize];
        let Some(conn) = slot.conn.as_ref().filter(|_| slot.listed) else { return true };
        if self.queue.listening {
            let (info, mark) = (conn.info(cx.now, cx.jiffies, 0), conn.mark != 0);
            self.queue.push(Event { at: cx.now, kind: Kind::Destroy, info, protoinfo: true, mark, portid });
        }
        for dir in [Dir::Original, Dir::Reply] {
            self.hash.unlink(node(id.index, dir));
        }
        self.unlist(id.index);
        self.put_index(id.index);
        true
    }

    /// nf_ct_deliver_cached_events
    pub(super) fn deliver_cached_events(&mut self, cx: &CtCx<'_>, id: CtId) {
        let listening = self.queue.listening;
        let Some(conn) = self.get_mut(id).filter(|c| c.is_confirmed() && !c.is_dying()) else { return };
        let mask = std::mem::take(&mut conn.cache);
        if mask.is_empty() || !listening {
            return;
        }
        let info = conn.info(cx.now, cx.jiffies, 0);
        let kind = if mask.has(Mask::NEW) { Kind::New } else { Kind::Update };
        let (protoinfo, mark) = (mask.has(Mask::PROTOINFO), mask.has(Mask::MARK) || info.mark != 0);
        self.queue.push(Event { at: cx.now, kind, info, protoinfo, mark, portid: None });
    }

    /// nf_nat_bysource: the entry's source translation is known from now on.
    pub(super) fn insert_source(&mut self, id: CtId) {
        let Some(conn) = self.get(id) else { return };
        let hash = hash(&source(conn.tuple(Dir::Original)));
        self.source.link(id.index, hash);
    }

    /// Entries whose connections come from the source of `tuple`, the newest first.
    pub(super) fn same_source(&self, tuple: &Tuple) -> impl Iterator<Item = &Conn> {
        let wanted = source(tuple);
        let conns = self.source.with(hash(&wanted)).filter_map(|index| self.slots[index as usize].conn.as_ref());
        conns.filter(move |c| source(c.tuple(Dir::Original)) == wanted)
    }

    /// How many random draws the flow has made; the draw to come is counted.
    pub(in crate::kernel) fn next_draw(&mut self, flow: &Tuple) -> u64 {
        let Draws { flows, hash: chains } = &mut self.draws;
        let hash = hash(flow);
        if flows.len() >= MAX_FLOW_DRAWS {
            flows.clear();
            chains.clear();
        }
        if let Some(at) = chains.with(hash).find(|at| flows[*at as usize].0 == *flow) {
            flows[at as usize].1 += 1;
            return flows[at as usize].1 - 1;
        }
        chains.link(flows.len() as u32, hash);
        flows.push((*flow, 1));
        0
    }

    /// Whether the table was full since the last call (conntrack_gc_work.early_drop).
    pub(super) fn take_full(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    /// early_drop: gives up an entry that is not ASSURED in one of eight buckets, beginning with the new tuple's.
    ///
    /// Differs: which entries share a bucket is random in Linux; here they are drawn, as many as a bucket holds.
    #[cold]
    fn early_drop(&mut self, cx: &CtCx<'_>, tuple: &Tuple) -> bool {
        let buckets = u64::from(self.settings.buckets.max(1));
        let nodes = 2 * self.slots.len() as u64;
        let words = tuple.words();
        for bucket in 0..EVICTION_RANGE {
            let key = |n: u64| [words[0] ^ words[2], words[1], words[3], words[4], words[5], cx.now.0, bucket, n];
            let extra = cx.prf.below(Purpose::EarlyDrop, &key(0), buckets) < nodes % buckets;
            let mut drops = 0;
            for n in 1..=nodes / buckets + u64::from(extra) {
                let index = cx.prf.below(Purpose::EarlyDrop, &key(n), self.slots.len() as u64) as u32;
                let slot = &self.slots[index as usize];
                if slot.listed && slot.conn.as_ref().is_some_and(|c| !c.status.has(Status::ASSURED)) {
                    drops += u64::from(self.delete(cx, self.id_of(index), None));
                }
            }
            if drops > 0 {
                self.stats.early_drop += drops;
                return true;
            }
        }
        false
    }

    fn id_of(&self, index: u32) -> CtId {
        CtId { index, generation: self.slots[index as usize].generation }
    }

    /// All confirmed entries, the oldest first.
    fn ids(&self) -> impl Iterator<Item = CtId> {
        let mut at = self.order.head;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            let id = self.id_of(at);
            at = slot.next;
            Some(id)
        })
    }

    fn take_slot(&mut self) -> u32 {
        if self.free == NIL {
            let empty = Slot { generation: 0, conn: None, users: 0, listed: false, next: NIL, prev: NIL };
            self.slots.push(empty);
            return self.slots.len() as u32 - 1;
        }
        let index = self.free;
        self.free = self.slots[index as usize].next;
        index
    }

    /// nf_ct_put, and nf_conntrack_free when that was the last reference.
    fn put_index(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.users -= 1;
        if slot.users > 0 {
            return;
        }
        self.source.unlink(index);
        let free = self.free;
        let slot = &mut self.slots[index as usize];
        (slot.conn, slot.next, slot.generation) = (None, free, slot.generation.wrapping_add(1));
        self.free = index;
        self.count -= 1;
    }

    fn unlist(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.listed = false;
        let (next, prev) = (slot.next, slot.prev);
        match prev {
            NIL => self.order.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NIL => self.order.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }
}
