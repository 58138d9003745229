//! Mirrors net/ipv4/ip_forward.c: a packet for somebody else.

use super::{icmp, output, route};
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netns::NetNs;
use crate::kernel::trace::{DropReason, Flow};
use smoltcp::wire::Ipv4Packet;

/// ip_forward: TTL, size, then out. Errors are told to the sender before anything is filtered.
pub(in crate::kernel) fn ip_forward(ns: &mut NetNs, cx: &mut Cx<'_>, r: &route::Input, mut f: Frame) -> Flow {
    if f.pkt_type != PacketType::Host {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (ttl, len, df) = (p.hop_limit(), p.total_len(), p.dont_frag());
    if ttl <= 1 {
        icmp::send(ns, cx, &f, icmp::Error::TtlExceeded);
        return cx.kill(f, DropReason::IpTtl);
    }
    let mtu = r.mtu(ns);
    if u32::from(len) > mtu && df {
        icmp::send(ns, cx, &f, icmp::Error::FragNeeded { mtu });
        return cx.kill(f, DropReason::PktTooBig);
    }
    let mut p = Ipv4Packet::new_unchecked(f.l3_mut());
    p.set_hop_limit(ttl - 1);
    p.fill_checksum();
    let next_hop = r.next_hop(p.dst_addr());
    if r.redirect {
        route::send_redirect(ns, cx, next_hop, &f);
    }
    output::finish(ns, cx, r.oif, next_hop, mtu, f)
}
