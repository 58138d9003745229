//! Mirrors net/bridge/br_netfilter_hooks.c: with net.bridge.bridge-nf-call-iptables, IPv4 frames that a bridge carries
//! go through the hooks of IPv4 on their way.
//!
//! ```text
//!   received on a port     PREROUTING in by the bridge; a new destination may send the frame elsewhere
//!   handed up              the IP layer's own PREROUTING is left out (sabotage)
//!   sent to another port   FORWARD in and out by the bridge, POSTROUTING out by the bridge, fragmentation
//! ```

use super::pass;
use crate::base::{IfIndex, Mac};
use crate::kernel::conntrack::Conn;
use crate::kernel::cx::Cx;
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::ip::{frag, input, route};
use crate::kernel::neigh::{self, NeighKey};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::nf_hook::{State, confirm, nf_hook, nf_reset_ct};
use crate::kernel::trace::{DropReason, Flow};
use crate::wire::{ETH_P_IP, ethertype};
use smoltcp::wire::Ipv4Packet;
use std::net::Ipv4Addr;

/// struct nf_bridge_info
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the kernel, by their names")]
pub struct NfBridge {
    /// The port that the frame came in by.
    pub physin: IfIndex,
    /// The port that it is going out by.
    pub physout: Option<IfIndex>,
    in_prerouting: bool,
    sabotage_in_done: bool,
    /// The frame is on its way through the bridge device to its new neighbour, and goes on at its port then.
    bridged_dnat: bool,
    frag_max_size: u16,
    /// Who sent it, while the neighbour has its own header in front.
    neigh_header: Mac,
    /// Where the way to its new destination leads.
    next_hop: Option<Ipv4Addr>,
}

impl NfBridge {
    /// The bridge's PREROUTING is at work.
    pub fn in_prerouting(&self) -> bool {
        self.in_prerouting
    }

    /// A new destination was routed here, and the frame keeps that route (skb_dst).
    pub fn is_routed(&self) -> bool {
        self.next_hop.is_some()
    }

    /// ip_sabotage_in: the IP layer's PREROUTING is to be left out, once.
    pub fn sabotage(&mut self) -> bool {
        !self.in_prerouting && !std::mem::replace(&mut self.sabotage_in_done, true)
    }
}

/// The hooks are to be called for this frame.
fn calls(ns: &NetNs, f: &Frame) -> bool {
    ns.sysctl.bridge.call_iptables != 0 && ethertype(f.bytes()) == ETH_P_IP
}

/// br_nf_pre_routing: a frame came in by `port` of bridge `br`. It comes back if it goes on from there.
pub(super) fn pre_routing(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, port: IfIndex, f: Frame) -> Flow {
    if !calls(ns, &f) {
        return pass(f);
    }
    let mut f = input::check(cx, f)?;
    let pkt_type = f.pkt_type;
    // setup_pre_routing
    if pkt_type == PacketType::OtherHost {
        f.pkt_type = PacketType::Host;
    }
    f.nf_bridge = Some(NfBridge {
        physin: port,
        physout: None,
        in_prerouting: true,
        sabotage_in_done: false,
        bridged_dnat: false,
        frag_max_size: 0,
        neigh_header: Mac::ZERO,
        next_hop: None,
    });
    let daddr = Ipv4Packet::new_unchecked(f.l3()).dst_addr();
    (f.dev, f.iif) = (br, port);
    let mut f = nf_hook(ns, cx, &mut State::at(Hook::Prerouting, Some(br), None), f)?;
    // br_nf_pre_routing_finish
    f.pkt_type = pkt_type;
    f.dev = port;
    let frag_max_size = f.frag_max_size;
    if let Some(b) = &mut f.nf_bridge {
        (b.in_prerouting, b.frag_max_size) = (false, frag_max_size);
    }
    if Ipv4Packet::new_unchecked(f.l3()).dst_addr() == daddr { pass(f) } else { dnat(ns, cx, br, f) }
}

/// br_nf_pre_routing_finish: the destination was changed. If the way there leads out of the same bridge, the frame
/// stays a bridged one; else the host has to route it.
#[inline(never)]
fn dnat(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, mut f: Frame) -> Flow {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (src, dst) = (p.src_addr(), p.dst_addr());
    let next_hop = match route::input_dst(ns, dst, src, f.mark, br) {
        Ok(r) if r.error.is_none() => {
            let stays = r.oif == br && r.kind == RouteType::Unicast;
            // What is handed up is explained when IP has it.
            if stays {
                r.explain(ns, cx, &f, dst);
            }
            stays.then(|| r.next_hop(dst))
        }
        // No route, or forwarding is off: ip_route_input_slow gives it ip_error for a route and no error (no_route).
        Ok(_) => None,
        Err(DropReason::IpInAddrErrors) if ns.dev(br).is_some_and(|d| d.conf.forwarding == 0) => None,
        Err(why) => return cx.kill(f, why),
    };
    match next_hop {
        Some(next_hop) => finish_bridge(ns, cx, br, next_hop, f),
        None => {
            let Some(own) = ns.dev(br).map(|d| d.mac) else { return cx.kill(f, DropReason::DevReady) };
            f.bytes_mut()[..6].copy_from_slice(&own.0);
            f.pkt_type = PacketType::Host;
            pass(f)
        }
    }
}

/// br_nf_pre_routing_finish_bridge: the frame gets its new neighbour's address, at once if that is known beyond doubt.
/// Else the neighbour sends it through the bridge device, where [`dev_xmit`] picks it up.
fn finish_bridge(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, next_hop: Ipv4Addr, mut f: Frame) -> Flow {
    let from = Mac::read(f.bytes(), 6);
    let known = ns.neigh.get(NeighKey::v4(br, next_hop)).filter(|n| n.state.is_connected() && n.hh).map(|n| n.ha);
    if let Some(b) = &mut f.nf_bridge {
        (b.next_hop, b.neigh_header, b.bridged_dnat) = (Some(next_hop), from, known.is_none());
    }
    match known {
        Some(ha) => {
            f.bytes_mut()[..6].copy_from_slice(&ha.0);
            pass(f)
        }
        None => neigh::output(ns, cx, br, next_hop, f),
    }
}

/// br_nf_dev_xmit: the port of a frame that came here by its neighbour, with its sender's address put back; none for
/// all others.
pub(super) fn dev_xmit(f: &mut Frame) -> Option<IfIndex> {
    let b = f.nf_bridge.as_mut().filter(|b| b.bridged_dnat)?;
    (b.bridged_dnat, b.physout) = (false, None);
    let (from, port) = (b.neigh_header, b.physin);
    f.bytes_mut()[6..12].copy_from_slice(&from.0);
    f.dev = port;
    Some(port)
}

/// br_nf_local_in: a frame is handed up. One that only a promiscuous bridge sees is not tracked any further, and what
/// was not meant for the host alone becomes visible here at the latest.
pub(super) fn local_in(ns: &mut NetNs, cx: &mut Cx<'_>, promisc: bool, mut f: Frame) -> Flow {
    if promisc {
        nf_reset_ct(ns, &mut f);
    }
    if f.pkt_type == PacketType::Host || ns.ct.of(f.nfct).is_none_or(Conn::is_confirmed) {
        return pass(f);
    }
    confirm(ns, cx, f)
}

/// br_nf_forward and br_nf_post_routing: from one port of bridge `br` to `out`.
pub(super) fn forward(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, out: IfIndex, f: Frame) -> Flow {
    let Some(b) = f.nf_bridge.filter(|_| ethertype(f.bytes()) == ETH_P_IP) else { return pass(f) };
    let mut f = input::check(cx, f)?;
    let pkt_type = f.pkt_type;
    if pkt_type == PacketType::OtherHost {
        f.pkt_type = PacketType::Host;
    }
    f.nf_bridge = Some(NfBridge { physout: Some(out), ..b });
    f.frag_max_size = b.frag_max_size;
    let f = nf_hook(ns, cx, &mut State::at(Hook::Forward, Some(br), Some(br)), f)?;
    // The way of a frame that was not translated is none: its destination is its next hop.
    let next_hop = b.next_hop.unwrap_or_else(|| Ipv4Packet::new_unchecked(f.l3()).dst_addr());
    let mut s = State { next_hop: Some(next_hop), ..State::at(Hook::Postrouting, None, Some(br)) };
    let mut f = nf_hook(ns, cx, &mut s, f)?;
    f.pkt_type = pkt_type;
    // br_nf_dev_queue_xmit
    f.nf_bridge = None;
    let port_mtu = ns.dev(out).map_or(0, |d| d.mtu);
    let mtu = if b.frag_max_size == 0 { port_mtu } else { port_mtu.min(b.frag_max_size.into()) };
    if f.gso_size > 0 || f.l3().len() <= mtu as usize {
        return pass(f);
    }
    f.frag_max_size = b.frag_max_size;
    let bridge_mtu = ns.dev(br).map_or(0, |d| d.mtu);
    frag::bridge_fragment(ns, cx, out, bridge_mtu, f)
}
