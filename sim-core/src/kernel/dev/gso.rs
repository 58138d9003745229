//! Mirrors net/core/gso.c, tcp_gso_segment of net/ipv4/tcp_offload.c, inet_gso_segment of net/ipv4/af_inet.c and
//! skb_udp_tunnel_segment of net/ipv4/udp_offload.c (or ipip_gso_segment): a frame that holds several TCP
//! segments, in a tunnel or not, is cut into them where a device cannot do it.

use super::{Dev, DevKind};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, Layout, MAX_TCP_HEADER, TCP_HEAD_TRUESIZE, alloc_truesize, tailroom};
use crate::kernel::ip::tunnel;
use crate::kernel::netlink::Feature;
use crate::kernel::netns::NetNs;
use crate::kernel::trace::{Consumer, DropReason, Edge, Fate, Flow};
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP, be16, be32, pseudo_sum};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// FIN and PSH: what only the last segment has.
const LAST_FLAGS: u8 = 0x09;
/// CWR: what only the first segment has (RFC 3168 section 6.1.2).
const FIRST_FLAGS: u8 = 0x80;

/// netif_needs_gso: the device does not take several segments as one, or not in a tunnel (hw_enc_features).
pub(super) fn needed(ns: &NetNs, dev: IfIndex, f: &Frame) -> bool {
    // A nic is as those of virtual machines are (virtio_net): it knows no tunnels.
    let plain = |d: &Dev| matches!(d.kind, DevKind::Vxlan(_) | DevKind::Ipip(_) | DevKind::Nic(_));
    let takes = |d: &Dev| d.features.contains(&Feature::Tso) && !(f.encap > 0 && plain(d));
    f.gso_size > 0 && !ns.dev(dev).is_some_and(takes)
}

/// skb_gso_segment for `dev`: hands each segment to `xmit`, and ends `f`. The way of the last one is told.
pub(in crate::kernel) fn segment(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    f: Frame,
    mut xmit: impl FnMut(&mut NetNs, &mut Cx<'_>, Frame) -> Flow,
) -> Flow {
    let (outer, l3) = (usize::from(f.encap), f.l3());
    let ip_len = usize::from(l3.get(outer).copied().unwrap_or(0) & 0xf) * 4;
    let tcp_len = usize::from(l3.get(outer + ip_len + 12).copied().unwrap_or(0) >> 4) * 4;
    let headers = outer + ip_len + tcp_len;
    if ip_len < 20 || tcp_len < 20 || l3.len() < headers {
        return cx.kill(f, DropReason::IpInHdr);
    }
    let (size, total) = (usize::from(f.gso_size), l3.len() - headers);
    let sg = f.layout.frags > 0 && ns.dev(dev).is_some_and(|d| d.features.contains(&Feature::Sg));
    let mut flow = None;
    let mut at = 0;
    while at < total {
        let len = size.min(total - at);
        let mut s = piece(ns, cx, &f, headers, at, len);
        if sg {
            // The pages stay where they are.
            s.truesize = TCP_HEAD_TRUESIZE + len as u32;
            s.layout = Layout { frags: 1, ..Layout::default() };
        }
        flow = Some(xmit(ns, cx, s));
        at += len;
    }
    let ended = cx.end(f, Fate::Consumed(Consumer::Segmentation));
    flow.unwrap_or(ended)
}

/// The segment of `len` bytes that begin `at` bytes into the payload.
fn piece(ns: &mut NetNs, cx: &mut Cx<'_>, f: &Frame, headers: usize, at: usize, len: usize) -> Frame {
    let (mac, l3, outer) = (f.mac_len(), f.l3(), usize::from(f.encap));
    let mut s = cx.make_frame(Edge::SegmentOf(f.id));
    s.put_data([&l3[..headers], &l3[headers + at..headers + at + len]]);
    let out = s.l3_mut();
    let index = (at / usize::from(f.gso_size)) as u16;
    let inner = &mut out[outer..];
    let (src, dst) = ip_header(inner, index);
    let tcp = &mut inner[usize::from(l3[outer] & 0xf) * 4..];
    let seq = be32(tcp, 4).wrapping_add(at as u32);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if headers + at + len < l3.len() {
        tcp[13] &= !LAST_FLAGS;
    }
    if at > 0 {
        tcp[13] &= !FIRST_FLAGS;
    }
    let sum = pseudo_sum(src, dst, IPPROTO_TCP, tcp.len());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let wrapped = if outer > 0 { outer_headers(out, index) } else { None };
    if mac > 0 {
        s.push_mac(mac).copy_from_slice(&f.bytes()[..mac]);
    }
    s.inherit(f);
    s.truesize = alloc_truesize(MAX_TCP_HEADER + len);
    s.layout = Layout { tailroom: tailroom(s.truesize, MAX_TCP_HEADER + len), ..Layout::default() };
    (s.csum_partial, s.csum_partial_inside) = (true, outer > 0);
    if let Some((addrs, udp)) = wrapped.filter(|(_, udp)| be16(l3, udp + 6) != 0) {
        tunnel::set_csum(&mut s, addrs, udp);
    }
    if !f.csum_partial {
        s.complete_checksum();
    }
    ns.ct.hold(s.nfct);
    s
}

/// The IPv4 header of segment `index`, whose packet fills `packet`. Its addresses.
fn ip_header(packet: &mut [u8], index: u16) -> (Ipv4Addr, Ipv4Addr) {
    let len = packet.len() as u16;
    let mut p = Ipv4Packet::new_unchecked(packet);
    p.set_total_len(len);
    p.set_ident(p.ident().wrapping_add(index));
    p.fill_checksum();
    (p.src_addr(), p.dst_addr())
}

/// The IPv4 header of a tunnel and that of UDP, if there is one; its checksum is still to be made. The addresses, and
/// where UDP begins.
fn outer_headers(packet: &mut [u8], index: u16) -> Option<((Ipv4Addr, Ipv4Addr), usize)> {
    let addrs = ip_header(packet, index);
    if packet[9] != IPPROTO_UDP {
        return None;
    }
    let at = usize::from(packet[0] & 0xf) * 4;
    let len = (packet.len() - at) as u16;
    packet[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
    Some((addrs, at))
}
