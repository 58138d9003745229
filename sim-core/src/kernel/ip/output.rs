//! Mirrors net/ipv4/ip_output.c: from a socket or the kernel itself to the neighbour.

use super::{IP_HLEN, frag, route};
use crate::base::{FrameId, IfIndex};
use crate::kernel::conntrack::Nfct;
use crate::kernel::cx::Cx;
use crate::kernel::dev::gso;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType, Sk, truesize};
use crate::kernel::neigh;
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::{LOOPBACK, NetNs};
use crate::kernel::nf_hook::{State, nf_hook};
use crate::kernel::trace::{DropReason, Fate, Flow};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;
use std::ops::ControlFlow::{Break, Continue};

/// What the sender of a packet decides about its header.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Header {
    pub protocol: u8,
    pub tos: u8,
    pub ttl: u8,
    /// DF; a socket's packet goes without it where it has to be cut.
    pub df: Df,
    pub ident: Ident,
}

/// Whether a packet has DF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Df {
    /// It may be cut.
    No,
    /// It must not be cut on its way, unless it is too long for the first link already (skb->ignore_df).
    IfItFits,
    /// It must not be cut.
    Always,
}

impl Df {
    /// IfItFits, if it has it at all.
    pub fn if_it_fits(on: bool) -> Self {
        if on { Df::IfItFits } else { Df::No }
    }
}

/// ip_select_ident: where the IP id comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Ident {
    /// DF is set and the packet is never cut: zero.
    Zero,
    /// The counter of the flow, which nobody can guess.
    Flow,
    /// The counter of a connected socket.
    Socket(u16),
}

/// Whose a packet is that is made here.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kernel) struct Origin {
    /// The frame that it was made because of; none for a socket's own.
    pub cause: Option<FrameId>,
    /// The connection that it belongs to from the start, which counts it as a user: that of the cause.
    pub nfct: Nfct,
    /// The device that its socket is bound to.
    pub bound: Option<IfIndex>,
    /// sk_mark of its socket.
    pub mark: u32,
    /// The kernel itself makes the transport checksum.
    pub summed: bool,
    /// It covers the pseudo header only: a device completes it.
    pub partial: bool,
    /// Its socket's own hash (sk_txhash).
    pub hash: u32,
    /// Its socket.
    pub sk: Sk,
}

/// Where a packet leaves.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Way {
    pub oif: IfIndex,
    pub next_hop: Ipv4Addr,
    pub mtu: u32,
}

impl From<&route::Output> for Way {
    fn from(r: &route::Output) -> Self {
        Way { oif: r.oif, next_hop: r.next_hop(), mtu: r.mtu }
    }
}

/// ip_make_skb and ip_send_skb: builds the packet, with `fill` for its payload of `len` bytes, and sends it along `r`.
///
/// # Errors
/// EPERM if a rule dropped it.
pub(in crate::kernel) fn send(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    h: &Header,
    origin: Origin,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Errno> {
    let mut f = cx.new_frame(origin.cause);
    (f.nfct, f.csum_valid, f.csum_partial, f.hash) = (origin.nfct, origin.summed, origin.partial, origin.hash);
    (f.mark, f.sk) = (origin.mark, origin.sk);
    fill(f.put_l3(IP_HLEN + len, IP_HLEN));
    f.truesize = truesize(IP_HLEN + len);
    send_made(ns, cx, r, h, origin.bound, f)
}

/// Sends a frame whose payload is in place along `r`: the IPv4 header is still to be filled in.
///
/// # Errors
/// As [`send`].
pub(in crate::kernel) fn send_made(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    h: &Header,
    bound: Option<IfIndex>,
    mut f: Frame,
) -> Result<(), Errno> {
    let len = f.l3().len();
    let id = match h.ident {
        Ident::Zero => 0,
        Ident::Flow => ns.ip_ids.next(cx.prf, cx.salt(), cx.jiffies(), (r.dst, r.src, h.protocol), f.segments()),
        Ident::Socket(id) => id,
    };
    let f_is_gso = f.gso_size > 0;
    let mut p = Ipv4Packet::new_unchecked(f.l3_mut());
    p.set_version(4);
    p.set_header_len(IP_HLEN as u8);
    p.set_total_len(len as u16);
    p.set_ident(id);
    // What has to be cut may be cut on its way, too.
    p.set_dont_frag(match h.df {
        Df::No => false,
        Df::IfItFits => len <= r.mtu as usize || f_is_gso,
        Df::Always => true,
    });
    p.set_hop_limit(h.ttl);
    p.set_next_header(h.protocol.into());
    p.set_src_addr(r.src);
    p.set_dst_addr(r.dst);
    f.l3_mut()[1] = h.tos;
    Ipv4Packet::new_unchecked(f.l3_mut()).fill_checksum();
    r.explain(ns, cx, &f);
    ip_local_out(ns, cx, r, bound, f)
}

/// ip_local_out: OUTPUT, which may change the way, then out.
///
/// # Errors
/// EPERM if a rule dropped it, or why it has no way any more; ENOBUFS if the device dropped it (net_xmit_errno of
/// NET_XMIT_DROP, which veth_xmit returns), EMSGSIZE if it must not be cut for it.
pub(in crate::kernel) fn ip_local_out(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    bound: Option<IfIndex>,
    f: Frame,
) -> Result<(), Errno> {
    let mut s = State { bound, ..State::at(Hook::Output, None, Some(r.oif)) };
    let mut too_big = Errno::ENOBUFS;
    let flow = match nf_hook(ns, cx, &mut s, f) {
        Continue(f) => {
            let r = s.rerouted.as_ref().unwrap_or(r);
            if r.kind == RouteType::Broadcast && r.oif != LOOPBACK {
                let copy = cx.clone_frame(&mut ns.ct, &f);
                let _ = loop_back(ns, cx, r.into(), copy);
            }
            if f.network_len() > r.mtu as usize && Ipv4Packet::new_unchecked(f.l3()).dont_frag() {
                too_big = Errno::EMSGSIZE;
            }
            ip_output(ns, cx, None, r.into(), f)
        }
        ended @ Break(_) => ended,
    };
    match (s.error, flow) {
        (Some(errno), _) => Err(errno),
        (None, Break(Fate::Dropped(DropReason::NetfilterDrop | DropReason::ConntrackFull))) => Err(Errno::EPERM),
        (None, Break(Fate::Dropped(DropReason::PktTooBig))) => Err(too_big),
        _ => Ok(()),
    }
}

/// ip_mc_finish_output and dev_loopback_xmit: whoever sends to everybody hears it, too. No tap sees that.
fn loop_back(ns: &mut NetNs, cx: &mut Cx<'_>, way: Way, f: Frame) -> Flow {
    let mut s = State { next_hop: Some(way.next_hop), ..State::at(Hook::Postrouting, None, Some(way.oif)) };
    let mut f = nf_hook(ns, cx, &mut s, f)?;
    (f.dev, f.pkt_type) = (way.oif, PacketType::Loopback);
    let here = cx.ns;
    cx.netif_rx(here, way.oif, f)
}

/// ip_output: POSTROUTING, size, then the neighbour. `indev` is where a forwarded packet came in.
pub(in crate::kernel) fn ip_output(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    indev: Option<IfIndex>,
    way: Way,
    f: Frame,
) -> Flow {
    let mut s = State { next_hop: Some(way.next_hop), ..State::at(Hook::Postrouting, indev, Some(way.oif)) };
    let f = nf_hook(ns, cx, &mut s, f)?;
    if f.network_len() > way.mtu as usize || f.frag_max_size != 0 {
        if f.gso_size > 0 && !Ipv4Packet::new_unchecked(f.l3()).dont_frag() {
            // ip_finish_output_gso: first the segments, then their fragments.
            return gso::segment(ns, cx, way.oif, f, |ns, cx, s| frag::fragment(ns, cx, way, s));
        }
        return frag::fragment(ns, cx, way, f);
    }
    neigh::output(ns, cx, way.oif, way.next_hop, f)
}
