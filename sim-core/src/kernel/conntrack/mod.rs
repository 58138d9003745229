//! Mirrors net/netfilter/nf_conntrack_core.c and nf_nat_core.c: which packets belong together, and whose addresses they
//! get. Read RFC 3022 and RFC 5382 before editing `nat`.
//!
//! Plain data in and out: functions over packet bytes and one table a namespace. The hooks call them in this order:
//!
//! ```text
//!   PREROUTING, OUTPUT    -200  nf_conntrack_in       the packet gets its entry (Nfct), a new one if need be
//!   PREROUTING, OUTPUT    -100  nf_nat_hook           destination: a new entry is translated by the rules or bound to
//!                                                     itself; every packet is rewritten from the tuples of its entry
//!   POSTROUTING, INPUT     100  nf_nat_hook           source
//!   POSTROUTING, INPUT     max  nf_conntrack_confirm  the entry becomes visible, events are told
//! ```
//!
//! Whoever keeps an `Nfct` holds its entry: [`Conntrack::hold`] when a packet is cloned, [`Conntrack::put`] when it
//! ends or leaves the namespace. A new entry that nobody holds any more is gone without a trace.

mod chains;
mod create;
pub mod entry;
pub mod event;
pub mod gc;
mod generic;
mod icmp;
pub mod nat;
pub mod sysctl;
pub mod table;
mod tcp;
pub mod tuple;
mod udp;

pub use create::NewConnection;
pub use entry::{Conn, CtId, CtInfo, Info, Nfct, Status, Template};
pub use event::Event;
pub use gc::Gc;
pub use table::{Conntrack, Stats};
pub use tcp::TcpState;
pub use tuple::{Dir, Tuple, Zone};

use super::cx::Cx;
use super::netfilter::hook::Hook;
use crate::base::{Prf, Salt, Time};
use crate::kernel::timer::HZ;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE};
use event::Mask;
use smoltcp::wire::checksum;
use std::net::{IpAddr, SocketAddrV4};
use sysctl::Settings;
use tuple::l4proto;

/// What connection tracking needs to know of the world around it.
#[derive(Clone, Copy)]
pub struct CtCx<'a> {
    /// The clock.
    pub now: Time,
    /// The clock in ticks.
    pub jiffies: u64,
    /// By which the namespace draws.
    pub salt: Salt,
    /// The scenario's randomness.
    pub prf: &'a Prf,
}

impl<'a> CtCx<'a> {
    /// The part of a stage's context that counts here.
    pub fn of(cx: &Cx<'a>) -> Self {
        CtCx { now: cx.now(), jiffies: cx.jiffies(), salt: cx.cpu.salt_of(cx.ns), prf: cx.prf }
    }
}

/// NF_ACCEPT, NF_DROP
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The packet goes on, perhaps without an entry: INVALID is no reason to drop.
    Accept,
    /// The packet is to be dropped.
    Drop,
}

/// skb->ip_summed: what stands in a transport header's checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Csum {
    /// CHECKSUM_NONE: the checksum.
    #[default]
    Full,
    /// CHECKSUM_PARTIAL: the sum over the pseudo header, to be completed by a device.
    Partial,
}

/// A packet to be tracked: its bytes from the IPv4 header on.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The bytes, without what lies behind the IP packet.
    pub l3: &'a [u8],
    /// The state of its checksum.
    pub csum: Csum,
    /// The zone that a rule has put it into (`-j CT --zone`).
    pub zone: Zone,
    /// CHECKSUM_UNNECESSARY: the checksum is known to be right.
    pub csum_valid: bool,
    dataoff: usize,
    proto: Option<u8>,
}

impl<'a> Packet<'a> {
    /// A packet of the default zone.
    pub fn new(l3: &'a [u8], csum: Csum) -> Self {
        let l4 = l4proto(l3);
        let (proto, dataoff) = (l4.map(|l| l.0), l4.map_or(0, |l| l.1));
        Packet { l3, csum, zone: Zone::default(), csum_valid: false, dataoff, proto }
    }

    /// The same packet; its checksum is known to be right, or not.
    pub fn verified(self, csum_valid: bool) -> Self {
        Packet { csum_valid, ..self }
    }

    /// The same packet in another zone.
    pub fn in_zone(self, zone: Zone) -> Self {
        Packet { zone, ..self }
    }

    /// The transport header and what follows.
    fn l4(&self) -> &'a [u8] {
        self.l3.get(self.dataoff..).unwrap_or_default()
    }

    /// nf_checksum, as the trackers call it: only packets that arrive are looked at.
    fn bad_checksum(&self, s: &Settings, hook: Hook, proto: u8) -> bool {
        let looked_at = hook == Hook::Prerouting && s.checksum != 0 && self.csum == Csum::Full && !self.csum_valid;
        looked_at && !self.good_checksum(proto)
    }

    /// nf_ip_checksum: the transport checksum is right.
    pub fn good_checksum(&self, proto: u8) -> bool {
        let l4 = self.l4();
        let pseudo = match (proto, self.l3.get(12..20)) {
            (IPPROTO_ICMP, _) => 0,
            (_, Some(addrs)) => checksum::combine(&[checksum::data(addrs), u16::from(proto), l4.len() as u16]),
            (_, None) => return false,
        };
        checksum::combine(&[pseudo, checksum::data(l4)]) == u16::MAX
    }
}

/// What a protocol's tracker says of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Track {
    /// NF_ACCEPT
    Accept,
    /// -NF_ACCEPT: the packet goes on without an entry.
    Invalid,
    /// -NF_REPEAT: the entry is to be deleted, the packet looked up again.
    Repeat,
    /// NF_ACCEPT, and the entry is to be deleted.
    Kill,
}

/// nf_conntrack_in: the packet gets its entry. What it held before is handed back as it was.
pub fn nf_conntrack_in(ct: &mut Conntrack, cx: &CtCx<'_>, skb: &Packet<'_>, nfct: Nfct, hook: Hook) -> (Verdict, Nfct) {
    if nfct.is_seen() {
        return (Verdict::Accept, nfct);
    }
    let Some(proto) = skb.proto else {
        ct.stats.invalid += 1;
        return (Verdict::Accept, Nfct::None);
    };
    if proto == IPPROTO_ICMP {
        match icmp::error(ct, cx, skb, hook) {
            icmp::Heard::NoError => {}
            icmp::Heard::Related(nfct) => return (Verdict::Accept, nfct),
            icmp::Heard::Invalid => {
                ct.stats.error += 1;
                return (Verdict::Accept, Nfct::None);
            }
        }
    }
    loop {
        let (id, info) = match resolve_normal_ct(ct, cx, skb, proto) {
            Resolved::Ct(id, info) => (id, info),
            Resolved::Nothing => {
                ct.stats.invalid += 1;
                return (Verdict::Accept, Nfct::None);
            }
            Resolved::Full => {
                ct.stats.drop += 1;
                return (Verdict::Drop, Nfct::None);
            }
        };
        match handle_packet(ct, cx, id, skb, proto, info, hook) {
            Track::Accept => {
                seen_reply(ct, id, info);
                return (Verdict::Accept, Nfct::Ct { id, info });
            }
            Track::Kill => {
                ct.delete(cx, id, None);
                seen_reply(ct, id, info);
                return (Verdict::Accept, Nfct::Ct { id, info });
            }
            Track::Repeat => {
                // The entry is gone from the table, so the next round makes a new one.
                ct.delete(cx, id, None);
                ct.put(Nfct::Ct { id, info });
            }
            Track::Invalid => {
                ct.put(Nfct::Ct { id, info });
                ct.stats.invalid += 1;
                return (Verdict::Accept, Nfct::None);
            }
        }
    }
}

/// nf_conntrack_confirm: the packet has come through, so its entry becomes visible. The packet may belong to another
/// entry afterwards, if that was faster.
pub fn nf_conntrack_confirm(ct: &mut Conntrack, cx: &CtCx<'_>, nfct: Nfct) -> (Verdict, Nfct) {
    let Nfct::Ct { id, info } = nfct else { return (Verdict::Accept, nfct) };
    let Some(conn) = ct.get(id) else { return (Verdict::Accept, nfct) };
    let (verdict, nfct) = if conn.is_confirmed() || info.dir() != Dir::Original {
        (Verdict::Accept, nfct)
    } else {
        confirm(ct, cx, id, info)
    };
    if let (Verdict::Accept, Nfct::Ct { id, .. }) = (verdict, nfct) {
        ct.deliver_cached_events(cx, id);
    }
    (verdict, nfct)
}

/// nf_conntrack_attach: a reset or an ICMP error that was made because of a packet belongs to its connection, on the
/// way back. The new packet holds the entry.
pub fn nf_conntrack_attach(ct: &mut Conntrack, cause: Nfct) -> Nfct {
    let Nfct::Ct { id, info } = cause else { return Nfct::None };
    let info = if info.dir() == Dir::Original { CtInfo::RelatedReply } else { CtInfo::Related };
    let nfct = Nfct::Ct { id, info };
    ct.hold(nfct);
    nfct
}

/// nf_ct_set_closing: a reset that the kernel made itself ends the connection.
pub fn nf_ct_set_closing(ct: &mut Conntrack, cx: &CtCx<'_>, nfct: Nfct) {
    let Nfct::Ct { id, .. } = nfct else { return };
    let (settings, conn) = ct.settings_and(id);
    if let Some(conn) = conn.filter(|c| c.is_confirmed()) {
        tcp::set_closing(settings, conn, cx.jiffies);
    }
}

/// getorigdst of net/netfilter/nf_conntrack_proto.c: where the TCP connection of these two addresses went when it
/// began; none if it is not tracked in the default zone.
pub fn getorigdst(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    local: SocketAddrV4,
    remote: SocketAddrV4,
) -> Option<SocketAddrV4> {
    let (src, dst, sport, dport) = ((*local.ip()).into(), (*remote.ip()).into(), local.port(), remote.port());
    let tuple = Tuple { src, dst, proto: IPPROTO_TCP, sport, dport, zone: 0 };
    let (id, _) = ct.find(cx, Zone::default(), &tuple)?;
    let original = ct.get(id)?.tuple(Dir::Original);
    match original.dst {
        IpAddr::V4(dst) => Some(SocketAddrV4::new(dst, original.dport)),
        IpAddr::V6(_) => None,
    }
}

/// `-j CONNMARK`: sets the mark of the packet's connection.
pub fn set_mark(ct: &mut Conntrack, nfct: Nfct, mark: u32) {
    let Nfct::Ct { id, .. } = nfct else { return };
    if let Some(conn) = ct.get_mut(id).filter(|c| c.mark != mark) {
        conn.mark = mark;
        conn.cache.set(Mask::MARK);
    }
}

enum Resolved {
    Ct(CtId, CtInfo),
    /// There is no answer to such a packet.
    Nothing,
    Full,
}

/// resolve_normal_ct: the packet's entry, now held by it.
fn resolve_normal_ct(ct: &mut Conntrack, cx: &CtCx<'_>, skb: &Packet<'_>, proto: u8) -> Resolved {
    let Some(tuple) = Tuple::at(skb.l3, skb.dataoff, proto, 0) else { return Resolved::Nothing };
    let zone = skb.zone;
    let (id, dir) = match ct.find(cx, zone, &tuple) {
        Some(hit) => {
            ct.hold(Nfct::Ct { id: hit.0, info: CtInfo::New });
            hit
        }
        None => {
            let Some(reply) = tuple.inverse() else { return Resolved::Nothing };
            let (tuple, reply) = (tuple.in_zone(zone.id(Dir::Original)), reply.in_zone(zone.id(Dir::Reply)));
            match ct.alloc(cx, tuple, reply, zone) {
                Some(id) => (id, Dir::Original),
                None => return Resolved::Full,
            }
        }
    };
    let status = ct.get(id).map_or(Status::default(), Conn::status);
    let info = match dir {
        Dir::Reply => CtInfo::EstablishedReply,
        Dir::Original if status.has(Status::SEEN_REPLY) => CtInfo::Established,
        Dir::Original if status.has(Status::EXPECTED) => CtInfo::Related,
        Dir::Original => CtInfo::New,
    };
    Resolved::Ct(id, info)
}

/// nf_conntrack_handle_packet
fn handle_packet(
    ct: &mut Conntrack,
    cx: &CtCx<'_>,
    id: CtId,
    skb: &Packet<'_>,
    proto: u8,
    info: CtInfo,
    hook: Hook,
) -> Track {
    let (settings, conn) = ct.settings_and(id);
    let Some(conn) = conn else { return Track::Invalid };
    match proto {
        IPPROTO_TCP => tcp::packet(settings, conn, skb, info, hook, cx.jiffies),
        IPPROTO_UDP | IPPROTO_UDPLITE => udp::packet(settings, conn, skb, info, hook, cx.jiffies),
        IPPROTO_ICMP => icmp::packet(settings, conn, skb, info, cx.jiffies),
        _ => generic::packet(settings, conn, skb, info, cx.jiffies),
    }
}

fn seen_reply(ct: &mut Conntrack, id: CtId, info: CtInfo) {
    if info != CtInfo::EstablishedReply {
        return;
    }
    if let Some(conn) = ct.get_mut(id).filter(|c| !c.status.has(Status::SEEN_REPLY)) {
        conn.status.set(Status::SEEN_REPLY);
        conn.cache.set(Mask::REPLY);
    }
}

/// __nf_conntrack_confirm
fn confirm(ct: &mut Conntrack, cx: &CtCx<'_>, id: CtId, info: CtInfo) -> (Verdict, Nfct) {
    let nfct = Nfct::Ct { id, info };
    let Some(conn) = ct.get(id) else { return (Verdict::Accept, nfct) };
    if conn.is_dying() {
        ct.stats.insert_failed += 1;
        return (Verdict::Drop, nfct);
    }
    let [original, reply] = conn.tuple;
    for tuple in [original, reply] {
        if let Some((winner, _)) = ct.lookup(cx, &tuple) {
            return resolve_clash(ct, cx, id, info, winner);
        }
    }
    let timestamp = ct.settings.timestamp != 0;
    if let Some(conn) = ct.get_mut(id) {
        conn.timeout = conn.timeout.saturating_add(cx.jiffies);
        conn.start = timestamp.then_some(cx.now);
        conn.cache.set(Mask::NEW);
    }
    ct.insert(id, false);
    (Verdict::Accept, nfct)
}

/// nf_ct_resolve_clash: another entry with one of the tuples was faster. The packet joins it if they are the same flow;
/// else its own entry gets a second to live, for the replies alone.
#[cold]
fn resolve_clash(ct: &mut Conntrack, cx: &CtCx<'_>, loser: CtId, info: CtInfo, winner: CtId) -> (Verdict, Nfct) {
    let nfct = Nfct::Ct { id: loser, info };
    let proto = ct.get(winner).map_or(IPPROTO_TCP, |c| c.tuple(Dir::Original).proto);
    if allow_clash(proto) {
        if can_merge(ct, winner, loser) {
            return (Verdict::Accept, merge(ct, loser, info, winner));
        }
        let reply = ct.get(loser).map(|c| *c.tuple(Dir::Reply));
        match reply.and_then(|reply| ct.lookup(cx, &reply)) {
            Some((other, _)) if can_merge(ct, other, loser) => {
                return (Verdict::Accept, merge(ct, loser, info, other));
            }
            Some(_) => {}
            None => {
                if let Some(conn) = ct.get_mut(loser) {
                    conn.timeout = cx.jiffies + HZ;
                    conn.status.set(Status::FIXED_TIMEOUT);
                    conn.status.set(Status::NAT_CLASH);
                }
                ct.insert(loser, true);
                ct.stats.clash_resolve += 1;
                return (Verdict::Accept, nfct);
            }
        }
    }
    ct.stats.drop += 1;
    ct.stats.insert_failed += 1;
    (Verdict::Drop, nfct)
}

/// l4proto->allow_clash
fn allow_clash(proto: u8) -> bool {
    !matches!(proto, IPPROTO_TCP | IPPROTO_ICMP)
}

/// nf_ct_can_merge: both entries are the same flow, or the same seen from either end.
fn can_merge(ct: &Conntrack, winner: CtId, loser: CtId) -> bool {
    let tuples = |id| ct.get(id).map(|c| c.tuple);
    let Some(([wo, wr], [lo, lr])) = tuples(winner).zip(tuples(loser)) else { return false };
    wo == lo && wr == lr || wo == lr && wr == lo
}

/// __nf_ct_resolve_clash
fn merge(ct: &mut Conntrack, loser: CtId, info: CtInfo, winner: CtId) -> Nfct {
    let bytes = ct.get(loser).and_then(|c| c.acct).map(|acct| acct[info.dir().index()].bytes);
    if let (Some(bytes), Some(conn)) = (bytes, ct.get_mut(winner)) {
        conn.acct_add(info.dir(), bytes as usize);
    }
    let nfct = Nfct::Ct { id: winner, info };
    ct.hold(nfct);
    ct.put(Nfct::Ct { id: loser, info });
    ct.stats.clash_resolve += 1;
    nfct
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
