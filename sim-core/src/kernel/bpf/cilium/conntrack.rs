//! lib/conntrack.h of Cilium: who has begun a connection, and which Service it was made to. An entry stands for one
//! direction of one end; a connection between two pods of a node has two.
//!
//! Differs: an entry is gone as soon as its lifetime is over, where the agent collects it some time later.

use super::packet::{FIN, L4, RST, SYN};
use crate::kernel::trace::BpfCt;
use crate::wire::IPPROTO_TCP;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// CT_CONNECTION_LIFETIME_TCP, and of Services, in seconds.
const LIFETIME_TCP: u64 = 8000;
/// CT_CONNECTION_LIFETIME_NONTCP, and of Services.
const LIFETIME_NONTCP: u64 = 60;
/// CT_SYN_TIMEOUT
const SYN_TIMEOUT: u64 = 60;
/// CT_CLOSE_TIMEOUT
const CLOSE_TIMEOUT: u64 = 10;

/// enum ct_dir
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dir {
    /// CT_EGRESS: it leaves its pod.
    Egress,
    /// CT_INGRESS: it reaches its pod.
    Ingress,
    /// CT_SERVICE: it goes to a Service.
    Service,
}

/// struct ipv4_ct_tuple: as the connection's first packet went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CtKey {
    /// saddr
    pub src: Ipv4Addr,
    /// daddr
    pub dst: Ipv4Addr,
    /// sport
    pub sport: u16,
    /// dport
    pub dport: u16,
    /// nexthdr
    pub protocol: u8,
    /// TUPLE_F_OUT, TUPLE_F_IN, TUPLE_F_SERVICE
    pub dir: Dir,
    /// TUPLE_F_RELATED: for errors about it.
    pub related: bool,
}

/// What an entry knows of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CtState {
    /// rev_nat_index: answers come from this Service.
    pub rev_nat: u16,
    /// backend_id, of a Service's entry.
    pub backend: u32,
    /// lb_loopback: a pod has reached itself by a Service.
    pub loopback: bool,
    /// src_sec_id
    pub identity: u32,
}

/// struct ct_entry
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtEntry {
    /// What programs keep in it.
    pub state: CtState,
    /// lifetime: it is over then, in seconds.
    pub lifetime: u64,
    seen_non_syn: bool,
    rx_closing: bool,
    tx_closing: bool,
    /// Flags of TCP that were seen either way.
    rx_flags: u8,
    tx_flags: u8,
}

/// cilium_ct4_global, cilium_ct_any4_global
#[derive(Clone, Debug)]
pub struct Ct {
    entries: BTreeMap<CtKey, CtEntry>,
    max: usize,
}

impl CtKey {
    /// ipv4_ct_tuple_reverse
    fn reversed(self) -> CtKey {
        let dir = match self.dir {
            Dir::Egress => Dir::Ingress,
            Dir::Ingress => Dir::Egress,
            Dir::Service => Dir::Service,
        };
        CtKey { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, dir, ..self }
    }
}

impl CtEntry {
    fn alive(&self) -> bool {
        !self.rx_closing || !self.tx_closing
    }

    /// ct_update_timeout
    fn refresh(&mut self, key: &CtKey, dir: Dir, flags: u8, now: u64) {
        let lifetime = if key.protocol == IPPROTO_TCP {
            self.seen_non_syn |= flags & SYN == 0;
            if self.seen_non_syn { LIFETIME_TCP } else { SYN_TIMEOUT }
        } else {
            LIFETIME_NONTCP
        };
        self.lifetime = now + lifetime;
        let seen = if dir == Dir::Ingress { &mut self.rx_flags } else { &mut self.tx_flags };
        *seen |= flags;
    }

    /// ACTION_CLOSE
    fn close(&mut self, dir: Dir, flags: u8, now: u64) {
        let both_syns = self.rx_flags & self.tx_flags & SYN != 0;
        if !both_syns && flags & RST != 0 && dir != Dir::Service {
            (self.rx_closing, self.tx_closing) = (true, true);
        } else if dir == Dir::Ingress {
            self.rx_closing = true;
        } else {
            self.tx_closing = true;
        }
        if !self.alive() {
            self.lifetime = now + CLOSE_TIMEOUT;
        }
    }

    /// __ct_lookup of an entry that is there. False if a SYN opens a closing one anew: it is none then.
    fn seen(&mut self, key: &CtKey, dir: Dir, flags: u8, now: u64) -> bool {
        if self.alive() {
            self.refresh(key, dir, flags, now);
        }
        if flags & (FIN | RST) != 0 {
            self.close(dir, flags, now);
        } else if (self.rx_closing || self.tx_closing) && flags & SYN != 0 {
            (self.rx_closing, self.tx_closing) = (false, false);
            (self.rx_flags, self.tx_flags, self.seen_non_syn) = (0, 0, false);
            self.refresh(key, dir, flags, now);
            return false;
        }
        true
    }
}

impl Ct {
    pub(in crate::kernel) fn new(max: usize) -> Ct {
        Ct { entries: BTreeMap::new(), max }
    }

    /// ct_lookup4: how a packet with the addresses of `ip` belongs to a connection, seen where it goes in direction
    /// `dir`; answers come first. With `forward` (SCOPE_FORWARD) it is no answer.
    pub(super) fn lookup(
        &mut self,
        (src, dst, protocol): (Ipv4Addr, Ipv4Addr, u8),
        l4: &L4,
        (dir, forward): (Dir, bool),
        now: u64,
    ) -> (BpfCt, CtState) {
        let L4 { sport, dport, related, flags } = *l4;
        let own = CtKey { src, dst, sport, dport, protocol, dir, related };
        let answers = dir != Dir::Service && !forward;
        if let Some(state) = answers.then(|| self.hit(&own.reversed(), dir, flags, now)).flatten() {
            return (if related { BpfCt::Related } else { BpfCt::Reply }, state);
        }
        match self.hit(&own, dir, flags, now) {
            Some(state) => (BpfCt::Established, state),
            None => (BpfCt::New, CtState::default()),
        }
    }

    fn hit(&mut self, key: &CtKey, dir: Dir, flags: u8, now: u64) -> Option<CtState> {
        let entry = self.entries.get_mut(key).filter(|e| e.lifetime >= now)?;
        entry.seen(key, dir, flags, now).then_some(entry.state)
    }

    /// ct_create4: an entry, and one for errors about the connection.
    pub(super) fn create(
        &mut self,
        (src, dst, protocol): (Ipv4Addr, Ipv4Addr, u8),
        l4: &L4,
        dir: Dir,
        state: CtState,
        now: u64,
    ) {
        let key = CtKey { src, dst, sport: l4.sport, dport: l4.dport, protocol, dir, related: l4.related };
        let mut entry = CtEntry {
            state,
            lifetime: now,
            seen_non_syn: false,
            rx_closing: false,
            tx_closing: false,
            rx_flags: 0,
            tx_flags: 0,
        };
        entry.refresh(&key, dir, l4.flags, now);
        self.make_room(&key, now);
        self.entries.insert(key, entry);
    }

    /// bpf_lru_pop_free: what is over goes, or what would be over first.
    fn make_room(&mut self, key: &CtKey, now: u64) {
        if self.entries.len() < self.max || self.entries.contains_key(key) {
            return;
        }
        self.entries.retain(|_, e| e.lifetime >= now);
        if self.entries.len() >= self.max {
            let first = self.entries.iter().min_by_key(|(_, e)| e.lifetime).map(|(key, _)| *key);
            if let Some(key) = first {
                self.entries.remove(&key);
            }
        }
    }

    /// ct_update_svc_entry: another backend from now on.
    pub(super) fn set_backend(
        &mut self,
        (src, dst, protocol): (Ipv4Addr, Ipv4Addr, u8),
        l4: &L4,
        (backend, rev_nat): (u32, u16),
    ) {
        let L4 { sport, dport, .. } = *l4;
        let key = CtKey { src, dst, sport, dport, protocol, dir: Dir::Service, related: false };
        if let Some(entry) = self.entries.get_mut(&key) {
            (entry.state.backend, entry.state.rev_nat) = (backend, rev_nat);
        }
    }
}
