//! Mirrors net/core/gso.c, tcp_gso_segment of net/ipv4/tcp_offload.c and inet_gso_segment of net/ipv4/af_inet.c: a
//! frame that holds several TCP segments is cut into them where a device cannot do it.

use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, Layout, MAX_TCP_HEADER, alloc_truesize, tailroom};
use crate::kernel::netlink::Feature;
use crate::kernel::netns::NetNs;
use crate::kernel::trace::{Consumer, DropReason, Edge, Fate, Flow};
use crate::wire::{IPPROTO_TCP, be16, be32, pseudo_sum};
use smoltcp::wire::Ipv4Packet;

/// FIN and PSH: what only the last segment has.
const LAST_FLAGS: u8 = 0x09;

/// netif_needs_gso: the device does not take several segments as one.
pub(super) fn needed(ns: &NetNs, dev: IfIndex, f: &Frame) -> bool {
    f.gso_size > 0 && !ns.dev(dev).is_some_and(|d| d.features.contains(&Feature::Tso))
}

/// skb_gso_segment: hands each segment to `xmit`, and ends `f`. The way of the last one is told.
pub(super) fn segment(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    f: Frame,
    xmit: fn(&mut NetNs, &mut Cx<'_>, IfIndex, Frame) -> Flow,
) -> Flow {
    let l3 = f.l3();
    let ip_len = usize::from(l3.first().copied().unwrap_or(0) & 0xf) * 4;
    let tcp_len = usize::from(l3.get(ip_len + 12).copied().unwrap_or(0) >> 4) * 4;
    let headers = ip_len + tcp_len;
    if ip_len < 20 || tcp_len < 20 || l3.len() < headers {
        return cx.kill(f, DropReason::IpInHdr);
    }
    let (size, total) = (usize::from(f.gso_size), l3.len() - headers);
    let mut flow = None;
    let mut at = 0;
    while at < total {
        let len = size.min(total - at);
        let s = piece(ns, cx, &f, headers, at, len);
        flow = Some(xmit(ns, cx, dev, s));
        at += len;
    }
    let ended = cx.end(f, Fate::Consumed(Consumer::Segmentation));
    flow.unwrap_or(ended)
}

/// The segment of `len` bytes that begin `at` bytes into the payload.
fn piece(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, headers: usize, at: usize, len: usize) -> Frame {
    let (mac, l3) = (f.mac_len(), f.l3());
    let ip_len = usize::from(l3[0] & 0xf) * 4;
    let mut s = cx.make_frame(Edge::SegmentOf(f.id));
    let out = s.put(headers + len);
    out[..headers].copy_from_slice(&l3[..headers]);
    out[headers..].copy_from_slice(&l3[headers + at..headers + at + len]);
    let index = (at / usize::from(f.gso_size)) as u16;
    let mut p = Ipv4Packet::new_unchecked(&mut *out);
    p.set_total_len((headers + len) as u16);
    p.set_ident(be16(l3, 4).wrapping_add(index));
    p.fill_checksum();
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let tcp = &mut out[ip_len..];
    let seq = be32(tcp, 4).wrapping_add(at as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if headers + at + len < l3.len() {
        tcp[13] &= !LAST_FLAGS;
    }
    let sum = pseudo_sum(src, dst, IPPROTO_TCP, tcp.len());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    if mac > 0 {
        s.push_mac(mac).copy_from_slice(&f.bytes()[..mac]);
    }
    s.inherit(f);
    s.truesize = alloc_truesize(MAX_TCP_HEADER + len);
    s.layout = Layout { tailroom: tailroom(s.truesize, MAX_TCP_HEADER + len), ..Layout::default() };
    s.csum_partial = true;
    if !f.csum_partial {
        s.complete_checksum();
    }
    ns.ct.hold(s.nfct);
    s
}
