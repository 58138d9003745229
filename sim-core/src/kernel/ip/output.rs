//! Mirrors net/ipv4/ip_output.c: from a socket or the kernel itself to the neighbour.

use super::{IP_HLEN, frag, route};
use crate::base::{FrameId, IfIndex};
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, truesize};
use crate::kernel::neigh;
use crate::kernel::netns::NetNs;
use crate::kernel::trace::Flow;
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// What the sender of a packet decides about its header.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Header {
    pub protocol: u8,
    pub tos: u8,
    pub ttl: u8,
    pub df: bool,
    pub ident: Ident,
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

/// ip_make_skb and ip_local_out: builds the packet, with `fill` for its payload of `len` bytes, and sends it along `r`.
pub(in crate::kernel) fn send(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    h: &Header,
    cause: Option<FrameId>,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Flow {
    let mut f = cx.new_frame(cause);
    fill(f.put_l3(IP_HLEN + len, IP_HLEN));
    f.truesize = truesize(IP_HLEN + len);
    let id = match h.ident {
        Ident::Zero => 0,
        Ident::Flow => ns.ip_ids.next(cx.prf, cx.ns.0, cx.jiffies(), (r.dst, r.src, h.protocol)),
        Ident::Socket(id) => id,
    };
    let mut p = Ipv4Packet::new_unchecked(f.l3_mut());
    p.set_version(4);
    p.set_header_len(IP_HLEN as u8);
    p.set_total_len((IP_HLEN + len) as u16);
    p.set_ident(id);
    // What has to be cut may be cut on its way, too.
    p.set_dont_frag(h.df && IP_HLEN + len <= r.mtu as usize);
    p.set_hop_limit(h.ttl);
    p.set_next_header(h.protocol.into());
    p.set_src_addr(r.src);
    p.set_dst_addr(r.dst);
    f.l3_mut()[1] = h.tos;
    Ipv4Packet::new_unchecked(f.l3_mut()).fill_checksum();
    r.explain(ns, cx, &f);
    finish(ns, cx, r.oif, r.next_hop(), r.mtu, f)
}

/// ip_finish_output: size, then the neighbour.
pub(in crate::kernel) fn finish(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    oif: IfIndex,
    next_hop: Ipv4Addr,
    mtu: u32,
    f: Frame,
) -> Flow {
    if f.l3().len() > mtu as usize || f.frag_max_size != 0 {
        return frag::fragment(ns, cx, oif, next_hop, mtu, f);
    }
    neigh::output(ns, cx, oif, next_hop, f)
}
