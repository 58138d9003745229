//! Mirrors net/ipv4/ipip.c, ip_tunnel.c and tunnel4.c: IPv4 packets carried in IPv4. Read RFC 2003 before editing.

use crate::base::IfIndex;
use crate::kernel::conntrack::{Nfct, Status};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::frame::Frame;
use crate::kernel::ip::icmp::{self, Report};
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::ip::tunnel::{self, Inside, XMIT_RECURSION_LIMIT};
use crate::kernel::ip::{IP_HLEN, exception};
use crate::kernel::netlink::Feature;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::HZ;
use crate::kernel::trace::{DropReason, Fate, Flow, Tunnel, What};
use crate::wire::{ETH_P_IP, IPPROTO_IPIP};
use smoltcp::wire::Ipv4Packet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow::Break;

/// What a packet gets longer by.
pub(in crate::kernel) const HEADROOM: u32 = IP_HLEN as u32;
/// IP_MAX_MTU less the outer header: the longest packet that a tunnel takes.
pub(in crate::kernel) const MAX_MTU: u32 = 65_535 - HEADROOM;
/// IPTUNNEL_ERR_TIMEO: how long an error about the far end is remembered, in ticks.
const ERR_TIMEO: u64 = 30 * HZ;

/// struct ip_tunnel
#[derive(Clone, Copy, Debug)]
pub struct Ipip {
    pub(in crate::kernel) parms: Parms,
    /// Errors about packets that it sent, of which its users are to be told.
    err_count: u32,
    /// When the last one came, in ticks.
    err_time: u64,
}

/// struct ip_tunnel_parm
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::kernel) struct Parms {
    /// iph.protocol is IPPROTO_IPIP, not zero for whatever it can carry, which is the same here.
    pub only_ipv4: bool,
    /// The device underneath.
    pub link: Option<IfIndex>,
    pub local: Option<Ipv4Addr>,
    /// None: the next hop of a packet's route is its far end (NBMA).
    pub remote: Option<Ipv4Addr>,
    /// Zero takes over the inner one.
    pub ttl: u8,
    /// Odd takes over the inner one.
    pub tos: u8,
    /// IP_DF in iph.frag_off: DF is always set.
    pub pmtudisc: bool,
    /// SIOCADDTUNNEL made it, which sets bounds for its MTU.
    pub bounded: bool,
}

impl Ipip {
    pub(in crate::kernel) fn new(parms: Parms) -> Self {
        Ipip { parms, err_count: 0, err_time: 0 }
    }
}

/// struct ip_tunnel_net: the tunnels of one namespace. There are none before the module is loaded.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Tunnels {
    /// fb_tunnel_dev: `tunl0`, for whatever no other tunnel takes.
    pub fallback: Option<IfIndex>,
    /// All, the newest first.
    pub all: Vec<IfIndex>,
}

impl Tunnels {
    /// The module is there, so protocol 4 has a handler.
    pub fn loaded(&self) -> bool {
        self.fallback.is_some()
    }
}

/// ip_tunnel_lookup: the tunnel for a packet from `remote` to `local` that came in by `link`.
fn lookup(ns: &NetNs, link: IfIndex, remote: Ipv4Addr, local: Ipv4Addr) -> Option<IfIndex> {
    let (remote, local) = (Some(remote), Some(local));
    let ends = [(local, remote), (None, remote), (local, None), (None, None)];
    let up = |at: &IfIndex| ns.dev(*at).filter(|d| d.up).and_then(|d| Some((*at, d.ipip()?.parms)));
    let mut found = None;
    for ends in ends {
        for (at, _) in ns.ipip.all.iter().filter_map(up).filter(|(_, p)| (p.local, p.remote) == ends) {
            found = found.or(Some(at));
        }
        let by_link = |(_, p): &(IfIndex, Parms)| (p.local, p.remote) == ends && p.link == Some(link);
        if let Some((at, _)) = ns.ipip.all.iter().filter_map(up).find(by_link) {
            return Some(at);
        }
    }
    found
}

/// ipip_tunnel_xmit and ip_tunnel_xmit
pub(super) fn xmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    let Some(parms) = ns.dev(dev).and_then(|d| Some(d.ipip()?.parms)) else {
        return cx.kill(f, DropReason::DevReady);
    };
    if cx.cpu.xmit_recursion >= XMIT_RECURSION_LIMIT {
        return cx.kill(f, DropReason::RecursionLimit);
    }
    // A tunnel for any far end needs the route that the packet came by.
    let far_end = parms.remote.or(f.next_hop).filter(|_| f.protocol() == ETH_P_IP && f.l3().len() >= IP_HLEN);
    let Some(to) = far_end else { return tx_error(ns, cx, dev, f, DropReason::NotSpecified) };
    let inside = Inside::of(&f);
    let tos = if parms.tos & 1 != 0 { inside.tos } else { parms.tos };
    let flow = Flow4 { src: parms.local, oif: parms.link, ..Flow4::to(to) };
    let r = match route::output(ns, &flow) {
        Ok(r) if r.oif != dev => r,
        // No way there, or one that leads into the tunnel itself.
        other => {
            if let Some(d) = ns.dev_mut(dev) {
                d.stats.collisions += u64::from(other.is_ok());
                d.stats.tx_carrier_errors += u64::from(other.is_err());
            }
            let why = if other.is_ok() { DropReason::RecursionLimit } else { DropReason::IpOutNoRoutes };
            return tx_error(ns, cx, dev, f, why);
        }
    };
    let df = parms.pmtudisc || inside.df;
    if !update_pmtu(ns, cx, dev, &r, df, &mut f) {
        return tx_error(ns, cx, dev, f, DropReason::PktTooBig);
    }
    link_failure(ns, cx, dev, &f);
    let (from, far) = (SocketAddrV4::new(r.src, 0), SocketAddrV4::new(to, 0));
    cx.step(&f, dev, What::Encapsulated { tunnel: Tunnel::Ipip, from, to: far });
    if f.encap != 0 {
        // Only one tunnel's inner checksum is kept open.
        f.complete_checksum();
    }
    let len = f.l3().len() as u64;
    f.encapsulate(IP_HLEN);
    let tos = tunnel::ecn_encapsulate(tos, inside.tos);
    let ttl = if parms.ttl == 0 { inside.ttl } else { parms.ttl };
    cx.cpu.xmit_recursion += 1;
    let sent = tunnel::ip_xmit(ns, cx, &r, IPPROTO_IPIP, (tos, ttl, df), f);
    cx.cpu.xmit_recursion -= 1;
    count(ns, dev, sent, len);
    // NETDEV_TX_OK: what becomes of it outside is not told.
    Break(Fate::Queued)
}

/// iptunnel_xmit_stats
fn count(ns: &mut NetNs, dev: IfIndex, sent: Result<(), Errno>, len: u64) {
    let Some(d) = ns.dev_mut(dev) else { return };
    match sent {
        Ok(()) => {
            d.stats.tx_packets += 1;
            d.stats.tx_bytes += len;
        }
        Err(_) => d.stats.tx_dropped += 1,
    }
}

fn tx_error(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame, why: DropReason) -> Flow {
    if let Some(d) = ns.dev_mut(dev) {
        d.stats.tx_errors += 1;
    }
    cx.kill(f, why)
}

/// tnl_update_pmtu: the route to where the packet goes learns what the way `r` of the outer one leaves room for. False
/// if the packet is longer and must not be cut, of which its sender is told.
fn update_pmtu(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, r: &route::Output, df: bool, f: &mut Frame) -> bool {
    let p = Ipv4Packet::new_unchecked(f.l3());
    let (dst, inner_df) = (p.dst_addr(), p.dont_frag());
    let flow = Flow4 { oif: Some(dev), mark: f.mark, ..Flow4::to(dst) };
    let mtu = if df { r.mtu.saturating_sub(HEADROOM) } else { route::output(ns, &flow).map_or(0, |inner| inner.mtu) };
    exception::update_pmtu(ns, &flow, mtu);
    if f.gso_size > 0 || !inner_df || f.l3().len() <= mtu as usize {
        return true;
    }
    // icmp_ndo_send: to the sender by the address that it gave itself.
    let (seen, own) = (p.src_addr(), before_nat(ns, f));
    set_source(f, own.unwrap_or(seen));
    icmp::send(ns, cx, f, icmp::Error::FragNeeded { mtu });
    set_source(f, seen);
    false
}

/// The source that a packet had before it was translated.
fn before_nat(ns: &NetNs, f: &Frame) -> Option<Ipv4Addr> {
    let Nfct::Ct { id, info } = f.nfct else { return None };
    let conn = ns.ct.get(id).filter(|c| c.status().has(Status::NAT_MASK))?;
    match conn.tuple(info.dir()).src {
        IpAddr::V4(src) => Some(src),
        IpAddr::V6(_) => None,
    }
}

/// Only the address: the header's checksum stays as it is.
fn set_source(f: &mut Frame, src: Ipv4Addr) {
    Ipv4Packet::new_unchecked(f.l3_mut()).set_src_addr(src);
}

/// dst_link_failure while errors about the far end are fresh: the sender is told, and the packet goes all the same.
fn link_failure(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: &Frame) {
    let now = cx.jiffies();
    let Some(t) = ns.dev_mut(dev).and_then(|d| d.ipip_mut()).filter(|t| t.err_count > 0) else { return };
    let fresh = now < t.err_time + ERR_TIMEO;
    t.err_count = if fresh { t.err_count - 1 } else { 0 };
    if fresh {
        icmp::send_host_unreachable(ns, cx, f);
    }
}

/// tunnel4_rcv, ipip_rcv and ip_tunnel_rcv: a packet of protocol 4 for this host.
pub(in crate::kernel) fn tunnel4_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    let outer = Ipv4Packet::new_unchecked(f.l3());
    let (from, to, header, tos) = (outer.src_addr(), outer.dst_addr(), usize::from(outer.header_len()), f.l3()[1]);
    if f.l3().len() < header + IP_HLEN {
        return cx.kill(f, DropReason::PktTooSmall);
    }
    let Some(tunnel) = lookup(ns, dev, from, to) else {
        icmp::send(ns, cx, &f, icmp::Error::PortUnreachable);
        return cx.kill(f, DropReason::NotSpecified);
    };
    tunnel::scrub(ns, &mut f);
    f.decapsulate(header, 0);
    f.dev = tunnel;
    cx.step(&f, tunnel, What::Decapsulated { tunnel: Tunnel::Ipip, from });
    if !tunnel::ecn_decapsulate(tos, &mut f) {
        if let Some(d) = ns.dev_mut(tunnel) {
            d.stats.rx_errors += 1;
        }
        return cx.kill(f, DropReason::IpTunnelEcn);
    }
    let here = cx.ns;
    // gro_cells_receive
    let polled = ns.dev(tunnel).is_some_and(|d| d.features.contains(&Feature::Gro)) && !f.layout.cloned;
    if polled { cx.napi_rx_stamped(here, tunnel, f) } else { cx.netif_rx_stamped(here, tunnel, f) }
}

/// ipip_err: an error about a packet that a tunnel sent. True if it says something about the way to its far end.
pub(in crate::kernel) fn error(ns: &mut NetNs, cx: &Cx<'_>, dev: IfIndex, report: &Report<'_>) -> bool {
    /// ICMP_SR_FAILED: nothing that a tunnel sends has a source route.
    const SOURCE_ROUTE_FAILED: u8 = 5;
    let Some(tunnel) = lookup(ns, dev, report.inner.dst, report.inner.src) else { return false };
    let expired = report.kind == icmp::TIME_EXCEEDED;
    match (report.kind, report.code) {
        (icmp::DEST_UNREACH, icmp::FRAG_NEEDED) | (icmp::REDIRECT, _) => return true,
        (icmp::DEST_UNREACH, code) if code != SOURCE_ROUTE_FAILED => {}
        (icmp::TIME_EXCEEDED, 0) => {}
        _ => return false,
    }
    let now = cx.jiffies();
    let Some(t) = ns.dev_mut(tunnel).and_then(|d| d.ipip_mut()) else { return false };
    // A TTL that was taken over ends where the packet inside would have ended.
    if t.parms.remote.is_some() && !(expired && t.parms.ttl == 0) {
        t.err_count = if now < t.err_time + ERR_TIMEO { t.err_count + 1 } else { 1 };
        t.err_time = now;
    }
    false
}
