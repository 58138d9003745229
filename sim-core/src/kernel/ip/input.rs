//! Mirrors net/ipv4/ip_input.c: from the device to the protocol.

use super::{forward, frag, icmp, route};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::dev::{ipip, pass};
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::nf_hook::{State, nf_hook};
use crate::kernel::socket::{raw, tcp, udp};
use crate::kernel::trace::{DropReason, Flow, What};
use crate::wire::{IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP};
use smoltcp::wire::Ipv4Packet;
use std::collections::VecDeque;

/// ip_rcv: a received IPv4 packet, checked, routed and handed on.
pub(in crate::kernel) fn ip_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let f = prerouting(ns, cx, dev, f)?;
    if f.pkt_type == PacketType::Loopback {
        // It has kept the route that it was sent by, which leads here, too.
        return local_deliver(ns, cx, dev, RouteType::Broadcast, f);
    }
    ip_rcv_finish(ns, cx, dev, f)
}

/// ip_rcv_core and the hook PREROUTING.
fn prerouting(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    if f.pkt_type == PacketType::OtherHost {
        return cx.kill(f, DropReason::OtherHost);
    }
    let mut f = check(cx, f)?;
    f.iif = dev;
    nf_hook(ns, cx, &mut State::at(Hook::Prerouting, Some(dev), None), f)
}

/// ip_list_rcv: all packets pass PREROUTING before the first is routed. None is left in `list`.
pub(in crate::kernel) fn ip_list_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, list: &mut VecDeque<Frame>) {
    for _ in 0..list.len() {
        let passed = list.pop_front().and_then(|f| prerouting(ns, cx, dev, f).continue_value());
        list.extend(passed);
    }
    while let Some(f) = list.pop_front() {
        let _ = ip_rcv_finish(ns, cx, dev, f);
    }
}

/// ip_rcv_core and br_validate_ipv4: version, lengths and checksum; what follows the packet is padding.
pub(in crate::kernel) fn check(cx: &mut Cx<'_>, mut f: Frame) -> Flow {
    let Ok(p) = Ipv4Packet::new_checked(f.l3()) else {
        let why = if f.l3().len() < super::IP_HLEN { DropReason::PktTooSmall } else { DropReason::IpInHdr };
        return cx.kill(f, why);
    };
    if p.version() != 4 || (p.header_len() as usize) < super::IP_HLEN {
        return cx.kill(f, DropReason::IpInHdr);
    }
    if !p.verify_checksum() {
        return cx.kill(f, DropReason::IpCsum);
    }
    let len = p.total_len() as usize;
    f.trim_l3(len);
    // IPCB is cleared: what was put together before does not count here.
    (f.frag_max_size, f.frag_pmtu) = (0, false);
    pass(f)
}

/// ip_rcv_finish
fn ip_rcv_finish(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let mut r = match route::input_dst(ns, dst, src, f.mark, dev) {
        Ok(r) => r,
        Err(why) => return cx.kill(f, why),
    };
    // ip_rcv_core has cleared IPSKB_DOREDIRECT, and nobody routes the packet again.
    r.redirect &= !f.nf_bridge.is_some_and(|b| b.is_routed());
    r.explain(ns, cx, &f, dst);
    if let Some(errno) = r.error {
        return route::ip_error(ns, cx, errno, f);
    }
    match r.kind {
        RouteType::Local | RouteType::Broadcast => local_deliver(ns, cx, dev, r.kind, f),
        _ => forward::ip_forward(ns, cx, &r, f),
    }
}

/// ip_local_deliver: INPUT, then copies for raw sockets, the packet itself for its protocol. `kind` is its route's.
fn local_deliver(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, kind: RouteType, mut f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let protocol: u8 = p.next_header().into();
    if p.more_frags() || p.frag_offset() != 0 {
        f = frag::defrag(ns, cx, dev, frag::User::LocalDeliver, f)?;
    }
    f.rt_local = kind == RouteType::Local;
    let f = nf_hook(ns, cx, &mut State::at(Hook::Input, Some(dev), None), f)?;
    cx.step(&f, dev, What::Accept);
    let taken = raw::deliver(ns, cx, dev, protocol, &f);
    match protocol {
        IPPROTO_ICMP => icmp::icmp_rcv(ns, cx, dev, f),
        IPPROTO_UDP => udp::udp_rcv(ns, cx, dev, f),
        IPPROTO_TCP => tcp::tcp_v4_rcv(ns, cx, dev, f),
        IPPROTO_IPIP if ns.ipip.loaded() => ipip::tunnel4_rcv(ns, cx, dev, f),
        _ => {
            if !taken {
                icmp::send(ns, cx, &f, icmp::Error::ProtocolUnreachable);
            }
            cx.kill(f, DropReason::IpNoProto)
        }
    }
}
