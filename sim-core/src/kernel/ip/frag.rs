//! Mirrors net/ipv4/ip_fragment.c, net/ipv4/inet_fragment.c and ip_do_fragment of net/ipv4/ip_output.c: cutting a
//! datagram that is longer than the MTU, and putting it together again. Read RFC 791 section 3.2 and RFC 5722 before
//! editing.

mod queue;

use super::icmp::{self, Error};
use super::output::Way;
use super::{inetpeer, route};
use crate::base::{IfIndex, NsId};
use crate::kernel::cx::{Continuation, Cx, Timer};
use crate::kernel::dev::bridge;
use crate::kernel::frame::{Frame, truesize};
use crate::kernel::neigh;
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, TimerId};
use crate::kernel::trace::{Consumer, DropReason, Edge, Fate, Flow};
use queue::{Inserted, Queue};
use smoltcp::wire::Ipv4Packet;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::ControlFlow::Break;

/// What a queue costs of ipfrag_high_thresh besides its fragments (`sizeof(struct ipq)`).
const QUEUE_BYTES: u64 = 216;
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// A datagram of which fragments are still to be sent: in process context the CPU receives between two of them.
#[derive(Clone, Debug)]
pub struct Rest {
    pub(in crate::kernel) ns: NsId,
    via: Via,
    /// Bytes of payload that fit into a fragment; all but the last carry a multiple of eight.
    room: usize,
    /// Bytes of payload that have been sent.
    sent: usize,
    /// The next of the frame's own pieces, if it is cut where it was cut before.
    piece: Option<usize>,
    frame: Frame,
}

/// Where fragments go.
#[derive(Clone, Debug)]
enum Via {
    /// ip_finish_output2
    Neigh(Way),
    /// br_nf_push_frag_xmit: out of a bridge port, with the Ethernet header of the whole.
    Port(IfIndex),
}

/// ip_fragment: `f` is too long for the way's MTU, or was cut before. Cuts it, unless that is forbidden.
pub(in crate::kernel) fn fragment(ns: &mut NetNs, cx: &mut Cx<'_>, way: Way, f: Frame) -> Flow {
    // What connection tracking put together may be sent as it came.
    let whole = !f.ignore_df || u32::from(f.frag_max_size) > way.mtu;
    if Ipv4Packet::new_unchecked(f.l3()).dont_frag() && whole {
        icmp::send(ns, cx, &f, Error::FragNeeded { mtu: way.mtu });
        return cx.kill(f, DropReason::PktTooBig);
    }
    cut(ns, cx, Via::Neigh(way), way.mtu, f)
}

/// br_nf_ip_fragment: as [`fragment`], for a frame that a bridge sends out of `port`; nobody is told if it cannot.
pub(in crate::kernel) fn bridge_fragment(ns: &mut NetNs, cx: &mut Cx<'_>, port: IfIndex, mtu: u32, f: Frame) -> Flow {
    let df = Ipv4Packet::new_unchecked(f.l3()).dont_frag();
    if df && !f.ignore_df || u32::from(f.frag_max_size) > mtu {
        return cx.kill(f, DropReason::PktTooBig);
    }
    cut(ns, cx, Via::Port(port), mtu, f)
}

/// ip_do_fragment: pieces that came in may leave as they are (frag_list), if they fit.
fn cut(ns: &mut NetNs, cx: &mut Cx<'_>, via: Via, mtu: u32, mut f: Frame) -> Flow {
    f.complete_checksum();
    let hlen = Ipv4Packet::new_unchecked(f.l3()).header_len() as usize;
    let mtu = if f.frag_max_size == 0 { mtu as usize } else { (mtu as usize).min(f.frag_max_size.into()) };
    let room = mtu.saturating_sub(hlen);
    if room < 8 {
        return cx.kill(f, DropReason::PktTooBig);
    }
    let last = f.frag_list.len().wrapping_sub(1);
    let fits = |(i, len): (usize, &u16)| usize::from(*len) <= room && (len % 8 == 0 || i == last);
    let as_it_came = last != usize::MAX && f.frag_list.iter().enumerate().all(fits);
    let piece = as_it_came.then_some(0);
    go_on(ns, cx, Rest { ns: cx.ns, via, room, sent: 0, piece, frame: f })
}

/// ip_do_fragment: sends the next fragments; in process context only one, the rest follows as a [`Continuation`].
///
/// Differs: what becomes of the rest is not told to the process, whose call has returned by then (ENOBUFS in Linux).
pub(in crate::kernel) fn go_on(ns: &mut NetNs, cx: &mut Cx<'_>, mut rest: Rest) -> Flow {
    loop {
        let (piece, more) = rest.next(ns, cx);
        let flow = match rest.via {
            Via::Neigh(way) => neigh::output(ns, cx, way.oif, way.next_hop, piece),
            Via::Port(port) => bridge::dev_queue_push_xmit(ns, cx, port, piece),
        };
        // br_dev_queue_push_xmit returns zero whatever happened.
        let failed = matches!((&rest.via, &flow), (Via::Neigh(_), Break(Fate::Dropped(_))));
        if failed || !more {
            let done = cx.end(rest.frame, Fate::Consumed(Consumer::Fragmentation));
            return if failed { flow } else { done };
        }
        if cx.in_process() {
            cx.defer(Continuation::Fragments(rest));
            return Break(Fate::Queued);
        }
    }
}

impl Rest {
    /// ip_frag_next: the next fragment, and whether others follow.
    fn next(&mut self, ns: &mut NetNs, cx: &mut Cx<'_>) -> (Frame, bool) {
        let whole = &self.frame;
        let p = Ipv4Packet::new_unchecked(whole.l3());
        let hlen = p.header_len() as usize;
        let (offset, was_last, df) = (p.frag_offset() as usize, !p.more_frags(), whole.frag_pmtu);
        let payload = &whole.l3()[hlen..];
        let left = payload.len() - self.sent;
        let own = self.piece.and_then(|n| whole.frag_list.get(n)).map(|len| usize::from(*len));
        let most = own.unwrap_or(self.room);
        let len = if left > most { most & !7 } else { left };
        let more = len < left;

        let mut f = cx.derived_frame(Edge::FragmentOf(whole.id), whole.packet);
        let out = f.put_l3(hlen + len, 0);
        out[..hlen].copy_from_slice(&whole.l3()[..hlen]);
        out[hlen..].copy_from_slice(&payload[self.sent..self.sent + len]);
        if self.sent > 0 {
            forget_options(&mut out[super::IP_HLEN..hlen]);
        }
        let mut p = Ipv4Packet::new_unchecked(out);
        p.set_total_len((hlen + len) as u16);
        p.set_dont_frag(df);
        p.set_more_frags(more || !was_last);
        p.set_frag_offset((offset + self.sent) as u16);
        p.fill_checksum();
        if let Via::Port(_) = self.via {
            f.push_mac(whole.mac_len()).copy_from_slice(&whole.bytes()[..whole.mac_len()]);
        }
        f.truesize = truesize(hlen + len);
        // ip_copy_metadata
        (f.dev, f.iif, f.pkt_type) = (whole.dev, whole.iif, whole.pkt_type);
        (f.mark, f.nfct, f.nf_bridge, f.hash) = (whole.mark, whole.nfct, whole.nf_bridge, whole.hash);
        ns.ct.hold(f.nfct);
        self.sent += len;
        self.piece = self.piece.map(|n| n + 1);
        (f, more)
    }
}

/// ip_options_fragment: options without the copy flag stand in the first fragment only; no-operations replace them.
fn forget_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NOP: u8 = 1;
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            END => return,
            NOP => at += 1,
            kind => {
                let len = options.get(at + 1).map_or(0, |n| *n as usize);
                if len < 2 || at + len > options.len() {
                    return;
                }
                if kind & 0x80 == 0 {
                    options[at..at + len].fill(NOP);
                }
                at += len;
            }
        }
    }
}

/// ip_defrag_users: fragments for one user are never mixed with those for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum User {
    /// IP_DEFRAG_LOCAL_DELIVER
    LocalDeliver,
    /// IP_DEFRAG_CONNTRACK_IN
    ConntrackIn,
    /// IP_DEFRAG_CONNTRACK_OUT
    ConntrackOut,
    /// IP_DEFRAG_CONNTRACK_BRIDGE_IN
    ConntrackBridgeIn,
}

/// struct frag_v4_compare_key: fragments of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    user: User,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    id: u16,
    protocol: u8,
}

/// struct fqdir: the incomplete datagrams of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Frags {
    queues: BTreeMap<Key, Queue>,
    /// The truesize of all that waits, and of the queues themselves.
    bytes: u64,
}

impl Frags {
    /// Fragments that wait for others.
    pub fn waiting(&self) -> usize {
        self.queues.values().map(Queue::len).sum()
    }

    fn take(&mut self, cx: &mut Cx<'_>, key: Key) -> Option<Queue> {
        let q = self.queues.remove(&key)?;
        cx.cpu.timers.cancel(q.timer);
        self.bytes -= QUEUE_BYTES + q.bytes();
        Some(q)
    }

    /// inet_frag_kill: the datagram cannot be completed any more.
    fn kill(&mut self, cx: &mut Cx<'_>, key: Key, why: DropReason) {
        if let Some(q) = self.take(cx, key) {
            q.purge(cx, why);
        }
    }
}

/// ip_defrag: keeps the fragment `f`, or hands on the whole datagram if this was the last one missing.
pub(in crate::kernel) fn defrag(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, user: User, f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let key = Key { user, src: p.src_addr(), dst: p.dst_addr(), id: p.ident(), protocol: p.next_header().into() };
    let sysctl = ns.ipv4.sysctl;
    if ns.ipv4.frags.bytes > sysctl.ipfrag_high_thresh as u64 || sysctl.ipfrag_high_thresh == 0 {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let timeout = sysctl.ipfrag_time as u64 * HZ;
    let frags = &mut ns.ipv4.frags;
    let bytes = &mut frags.bytes;
    let q = frags.queues.entry(key).or_insert_with(|| {
        *bytes += QUEUE_BYTES;
        Queue::new(cx.arm(timeout, Timer::Frag(cx.ns, key)), 0)
    });
    if too_far(&mut ns.ipv4.peers, cx.jiffies(), sysctl.ipfrag_max_dist, key.src, q) {
        frags.bytes -= q.bytes();
        let timer = restart(cx, q.timer, timeout, key);
        std::mem::replace(q, Queue::new(timer, q.rid)).purge(cx, DropReason::FragTooFar);
    }
    let cost = u64::from(f.truesize);
    match q.insert(dev, f) {
        Inserted::Waits => {
            frags.bytes += cost;
            Break(Fate::Queued)
        }
        Inserted::Complete => {
            frags.bytes += cost;
            let Some(q) = frags.take(cx, key) else { return Break(Fate::Queued) };
            q.reassemble(cx, dev)
        }
        Inserted::Duplicate(f) => cx.kill(f, DropReason::DupFrag),
        Inserted::Corrupt(f) => {
            frags.kill(cx, key, DropReason::NotSpecified);
            cx.kill(f, DropReason::NotSpecified)
        }
    }
}

fn restart(cx: &mut Cx<'_>, old: TimerId, after: u64, key: Key) -> TimerId {
    cx.cpu.timers.cancel(old);
    cx.arm(after, Timer::Frag(cx.ns, key))
}

/// ip_frag_too_far: so many fragments came from there since the last one of this datagram that it must be another one
/// with the same id.
fn too_far(peers: &mut inetpeer::Peers, now: u64, max: i64, src: Ipv4Addr, q: &mut Queue) -> bool {
    let Some(peer) = peers.entry(src, now).filter(|_| max > 0) else { return false };
    peer.fragments = peer.fragments.wrapping_add(1);
    let since = peer.fragments.wrapping_sub(q.rid);
    q.rid = peer.fragments;
    q.len() > 0 && i64::from(since) > max
}

/// ip_expire: the rest did not come in time; the sender is told if the first fragment did.
pub(in crate::kernel) fn expire(ns: &mut NetNs, cx: &mut Cx<'_>, key: Key) {
    let Some(q) = ns.ipv4.frags.take(cx, key) else { return };
    if let Some(first) = q.first()
        && ns.dev(q.iif).is_some()
        && let Ok(r) = route::input_dst(ns, key.dst, key.src, 0, q.iif)
        && (r.kind == RouteType::Local || key.user == User::LocalDeliver)
    {
        icmp::send(ns, cx, first, Error::ReassemblyTime);
    }
    q.purge(cx, DropReason::FragReasmTimeout);
}
