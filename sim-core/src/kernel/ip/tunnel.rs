//! Mirrors net/ipv4/ip_tunnel_core.c, udp_tunnel_core.c and include/net/inet_ecn.h: what tunnels over IPv4 have in
//! common. Read RFC 6040 before editing.

use super::output::{self, Df, Header, Ident};
use super::{IP_HLEN, exception, route};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::dev;
use crate::kernel::errno::Errno;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netns::NetNs;
use crate::wire::{ETH_P_IP, IPPROTO_UDP, UDP_HLEN, be16, checksum, pseudo_sum};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// The bits of congestion notification in the TOS field.
const ECN_MASK: u8 = 3;
const ECT_0: u8 = 2;
const CE: u8 = 3;
/// As deep tunnels and redirects are within each other before Linux takes it for a loop (XMIT_RECURSION_LIMIT).
pub const XMIT_RECURSION_LIMIT: u8 = 8;

/// What a tunnel decides about its outer headers.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Outer {
    pub tos: u8,
    pub ttl: u8,
    pub df: bool,
    pub src_port: u16,
    pub dst_port: u16,
    /// The UDP checksum is there.
    pub csum: bool,
}

/// skb_scrub_packet within one namespace, and IPCB cleared: what a frame loses as it gets new headers or sheds them.
pub(in crate::kernel) fn scrub(ns: &mut NetNs, f: &mut Frame) {
    dev::scrub(ns, ns.id, ns.id, f);
    (f.iif, f.pkt_type, f.next_hop) = (IfIndex(0), PacketType::Host, None);
    (f.frag_max_size, f.frag_pmtu, f.confirm) = (0, false, false);
    f.frag_list.clear();
}

/// udp_tunnel_xmit_skb: fills the outer UDP and IPv4 headers, for which room was made, and sends the frame along `r`.
///
/// # Errors
/// As [`output::send_made`].
pub(in crate::kernel) fn udp_xmit(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    o: &Outer,
    mut f: Frame,
) -> Result<(), Errno> {
    let len = f.l3().len() - IP_HLEN;
    let udp = &mut f.l3_mut()[IP_HLEN..];
    udp[..2].copy_from_slice(&o.src_port.to_be_bytes());
    udp[2..4].copy_from_slice(&o.dst_port.to_be_bytes());
    udp[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    if o.csum {
        set_csum(&mut f, (r.src, r.dst), IP_HLEN);
    }
    ip_xmit(ns, cx, r, IPPROTO_UDP, (o.tos, o.ttl, o.df), f)
}

/// iptunnel_xmit: fills the outer IPv4 header, for which room was made, with these TOS, TTL and DF, and sends the frame
/// along `r`. Its id counts whether DF is set or not.
///
/// # Errors
/// As [`output::send_made`].
pub(in crate::kernel) fn ip_xmit(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    r: &route::Output,
    protocol: u8,
    (tos, ttl, df): (u8, u8, bool),
    mut f: Frame,
) -> Result<(), Errno> {
    scrub(ns, &mut f);
    let df = if df && !r.mtu_locked { Df::Always } else { Df::No };
    output::send_made(ns, cx, r, &Header { protocol, tos, ttl, df, ident: Ident::Flow }, None, f)
}

/// udp_set_csum of the outer header that begins `udp` bytes into the packet. Where the packet inside has only the
/// pseudo header's sum, the outer one is computed as if it were complete (lco_csum): from there to the end its bytes
/// sum up to the complement of what stands there.
pub(in crate::kernel) fn set_csum(f: &mut Frame, (src, dst): (Ipv4Addr, Ipv4Addr), udp: usize) {
    f.l3_mut()[udp + 6..udp + UDP_HLEN].fill(0);
    let (inside, l3) = (usize::from(f.encap), f.l3());
    let pseudo = pseudo_sum(src, dst, IPPROTO_UDP, l3.len() - udp);
    let sum = if f.gso_size > 0 {
        pseudo
    } else if f.csum_partial_inside {
        let start = inside + usize::from(l3.get(inside).copied().unwrap_or(0) & 0xf) * 4;
        let at = start + if l3.get(inside + 9) == Some(&IPPROTO_UDP) { 6 } else { 16 };
        let outer = !checksum(l3.get(udp..start).unwrap_or_default());
        match !add(add(pseudo, outer), !be16(l3, at)) {
            0 => 0xffff,
            sum => sum,
        }
    } else {
        f.csum_partial = true;
        pseudo
    };
    f.l3_mut()[udp + 6..udp + UDP_HLEN].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of two numbers in ones' complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// ip_tunnel_get_dsfield, ip_tunnel_get_ttl and the DF bit of the packet inside, which a tunnel may take over; none if
/// it is not IPv4.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kernel) struct Inside {
    pub tos: u8,
    pub ttl: u8,
    pub df: bool,
}

impl Inside {
    /// Of a frame that is not wrapped yet.
    pub fn of(f: &Frame) -> Inside {
        match f.l3().first_chunk::<20>() {
            Some(h) if f.protocol() == ETH_P_IP => Inside { tos: h[1], ttl: h[8], df: h[6] & 0x40 != 0 },
            _ => Inside::default(),
        }
    }
}

/// INET_ECN_encapsulate: the outer TOS, with what the packet inside says of congestion.
pub(in crate::kernel) fn ecn_encapsulate(tos: u8, inside: u8) -> u8 {
    let ecn = if inside & ECN_MASK == CE { ECT_0 } else { inside & ECN_MASK };
    tos & !ECN_MASK | ecn
}

/// IP_ECN_decapsulate: congestion that was marked outside is marked inside. False if that cannot be.
pub(in crate::kernel) fn ecn_decapsulate(outer_tos: u8, f: &mut Frame) -> bool {
    if outer_tos & ECN_MASK != CE || f.protocol() != ETH_P_IP || f.l3().len() < IP_HLEN {
        return true;
    }
    match f.l3()[1] & ECN_MASK {
        0 => false,
        CE => true,
        _ => {
            f.l3_mut()[1] |= CE;
            Ipv4Packet::new_unchecked(f.l3_mut()).fill_checksum();
            true
        }
    }
}

/// skb_tunnel_check_pmtu: with `headroom` bytes of headers the frame on `tunnel` is longer than its way takes, so
/// the route to where it goes learns a smaller MTU. It is sent all the same.
pub(in crate::kernel) fn check_pmtu(ns: &mut NetNs, tunnel: IfIndex, r: &route::Output, headroom: u32, f: &Frame) {
    let mtu = r.mtu.saturating_sub(headroom);
    if f.network_len() <= mtu as usize || f.protocol() != ETH_P_IP {
        return;
    }
    let Ok(p) = Ipv4Packet::new_checked(f.l3()) else { return };
    let flow = route::Flow4 { oif: Some(tunnel), mark: f.mark, ..route::Flow4::to(p.dst_addr()) };
    exception::update_pmtu(ns, &flow, mtu);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_marks_as_rfc_6040_has_them() {
        for (tos, inside, want) in [(0, 0, 0), (0, 1, 1), (0x10, 2, 0x12), (0x13, 3, 0x12), (3, 0, 0)] {
            assert_eq!(ecn_encapsulate(tos, inside), want, "{tos:#x} {inside}");
        }
    }
}
