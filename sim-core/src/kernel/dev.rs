//! Mirrors net/core/dev.c: devices, their receive and transmit paths, and where AF_PACKET's taps sit in them.

pub mod br_netfilter;
pub mod bridge;
pub mod fdb;
pub mod gro;
pub mod gso;
pub mod ipip;
pub mod netvsc;
pub mod nic;
pub mod vxlan;

use super::cx::Cx;
use super::frame::{Frame, PacketType};
use super::neigh::NeighParms;
use super::netlink::{Feature, NudState, Scope};
use super::netns::NetNs;
use super::nf_hook::nf_reset_ct;
use super::sysctl::Ipv4Conf;
use super::tc::{self, Tcx};
use super::trace::{DevName, DropReason, Fate, Flow};
use super::{arp, ip, neigh, socket};
use crate::base::{IfIndex, Mac, NsId};
use crate::wire::{ETH_HLEN, ETH_P_ARP, ETH_P_IP};
use bridge::{Bridge, Port};
use ipip::Ipip;
use ipnet::Ipv4Net;
use nic::Nic;
use std::net::Ipv4Addr;
use std::ops::ControlFlow::{Break, Continue};
use vxlan::Vxlan;

/// VLAN_HLEN: forwarding allows for a tag on top of the MTU.
const VLAN_HLEN: usize = 4;
/// VETH_RING_SIZE: so many frames wait for the poll of a veth.
const VETH_RING_SIZE: usize = 256;
/// ARPHRD_ETHER
pub const ARPHRD_ETHER: u16 = 1;
/// ARPHRD_TUNNEL: IPv4 in IPv4, without a link-layer header.
pub const ARPHRD_TUNNEL: u16 = 768;
/// ARPHRD_LOOPBACK
pub const ARPHRD_LOOPBACK: u16 = 772;

/// struct net_device with its in_device.
#[derive(Clone, Debug)]
pub struct Dev {
    pub(in crate::kernel) index: IfIndex,
    pub(in crate::kernel) name: String,
    pub(in crate::kernel) kind: DevKind,
    pub(in crate::kernel) mac: Mac,
    /// addr_assign_type is NET_ADDR_SET: a bridge keeps it then.
    pub(in crate::kernel) mac_set: bool,
    pub(in crate::kernel) mtu: u32,
    /// The user chose the MTU: a bridge keeps it then (BROPT_MTU_SET_BY_USER).
    pub(in crate::kernel) mtu_set: bool,
    pub(in crate::kernel) txqlen: u32,
    /// IFF_UP
    pub(in crate::kernel) up: bool,
    /// It has been up: a noqueue discipline replaced noop.
    pub(in crate::kernel) was_up: bool,
    /// netif_carrier_ok
    pub(in crate::kernel) carrier: bool,
    /// The carrier as link watch has acted on it (operstate): it follows when the system call is over.
    pub(in crate::kernel) linked: bool,
    /// carrier_up_count and carrier_down_count
    pub(in crate::kernel) carrier_changes: u32,
    pub(in crate::kernel) noarp: bool,
    /// The user's own reference to IFF_PROMISC and IFF_ALLMULTI.
    pub(in crate::kernel) promisc: bool,
    pub(in crate::kernel) allmulti: bool,
    /// The bridge that it is a port of, and its settings as one.
    pub(in crate::kernel) master: Option<IfIndex>,
    pub(in crate::kernel) port: Option<Box<Port>>,
    pub(in crate::kernel) addrs: Vec<IfAddr>,
    pub(in crate::kernel) conf: Ipv4Conf,
    pub(in crate::kernel) neigh: NeighParms,
    /// wanted_features, as far as `ethtool -K` has short names for them.
    pub(in crate::kernel) features: Vec<Feature>,
    pub(in crate::kernel) stats: Stats,
    /// tcx_ingress and tcx_egress: programs, if there are any.
    pub(in crate::kernel) tcx: Option<Box<Tcx>>,
}

/// What a device is. A closed set: each arm is a line into its file.
#[derive(Clone, Debug)]
pub enum DevKind {
    /// drivers/net/loopback.c
    Loopback,
    /// drivers/net/veth.c
    Veth(VethPeer),
    /// net/bridge/br_device.c
    Bridge(Box<Bridge>),
    /// drivers/net/vxlan
    Vxlan(Box<Vxlan>),
    /// net/ipv4/ipip.c
    Ipip(Box<Ipip>),
    /// A physical interface, at the end of a link.
    Nic(Box<Nic>),
    /// drivers/net/hyperv/netvsc_drv.c, with a VF below it.
    Netvsc {
        /// The VF.
        vf: IfIndex,
    },
}

/// The other end of a veth pair, as far as this end must know it to transmit.
#[derive(Clone, Copy, Debug)]
pub struct VethPeer {
    pub(in crate::kernel) ns: NsId,
    pub(in crate::kernel) dev: IfIndex,
    pub(in crate::kernel) up: bool,
    pub(in crate::kernel) mtu: u32,
    /// Its generic-receive-offload is on.
    pub(in crate::kernel) gro: bool,
}

/// struct in_ifaddr
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct IfAddr {
    pub local: Ipv4Net,
    pub peer: Option<Ipv4Net>,
    pub broadcast: Option<Ipv4Addr>,
    pub scope: Scope,
    pub secondary: bool,
    pub label: String,
}

impl IfAddr {
    /// The subnet that is reachable through it (ifa_address with ifa_mask).
    pub(in crate::kernel) fn subnet(&self) -> Ipv4Net {
        self.peer.unwrap_or(self.local).trunc()
    }
}

/// struct rtnl_link_stats64, as far as the simulated drivers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's own names, as ip -s link prints them")]
pub struct Stats {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub multicast: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_dropped: u64,
    pub tx_errors: u64,
    pub tx_carrier_errors: u64,
    pub collisions: u64,
}

impl Dev {
    /// ARPHRD_*
    pub(in crate::kernel) fn arphrd(&self) -> u16 {
        match self.kind {
            DevKind::Loopback => ARPHRD_LOOPBACK,
            DevKind::Ipip(_) => ARPHRD_TUNNEL,
            _ => ARPHRD_ETHER,
        }
    }

    /// netif_running and netif_oper_up.
    pub(in crate::kernel) fn running(&self) -> bool {
        self.up && self.linked
    }

    /// What the listeners are told.
    pub(in crate::kernel) fn describe(&self, ns: NsId) -> DevName {
        DevName {
            ns,
            dev: self.index,
            name: self.name.clone(),
            arphrd: self.arphrd(),
            mac: self.mac,
            addrs: self.addrs.iter().map(|a| a.local).collect(),
        }
    }

    pub(in crate::kernel) fn bridge(&self) -> Option<&Bridge> {
        if let DevKind::Bridge(b) = &self.kind { Some(b) } else { None }
    }

    pub(in crate::kernel) fn bridge_mut(&mut self) -> Option<&mut Bridge> {
        if let DevKind::Bridge(b) = &mut self.kind { Some(b) } else { None }
    }

    pub(in crate::kernel) fn vxlan(&self) -> Option<&Vxlan> {
        if let DevKind::Vxlan(v) = &self.kind { Some(v) } else { None }
    }

    pub(in crate::kernel) fn ipip(&self) -> Option<&Ipip> {
        if let DevKind::Ipip(t) = &self.kind { Some(t) } else { None }
    }

    pub(in crate::kernel) fn ipip_mut(&mut self) -> Option<&mut Ipip> {
        if let DevKind::Ipip(t) = &mut self.kind { Some(t) } else { None }
    }

    pub(in crate::kernel) fn vxlan_mut(&mut self) -> Option<&mut Vxlan> {
        if let DevKind::Vxlan(v) = &mut self.kind { Some(v) } else { None }
    }
}

/// process_backlog for one frame: eth_type_trans, then __netif_receive_skb_core.
pub(in crate::kernel) fn receive(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    f.dev = dev;
    let Some(d) = ns.dev_mut(dev).filter(|d| d.up) else {
        // The device went down or away while the frame was queued.
        return cx.kill(f, DropReason::DevReady);
    };
    if f.pkt_type == PacketType::Loopback {
        // No driver has received it, packet_rcv passes it over, and br_handle_frame too.
        return ip::input::ip_rcv(ns, cx, dev, f);
    }
    count(d, &f);
    f.pkt_type = packet_type(&f, d.mac);
    netif_receive(ns, cx, dev, f)
}

/// `another_round` of __netif_receive_skb_core, for a frame that bpf_redirect_peer has put to `dev`: counted as one
/// however many segments it holds (dev_sw_netstats_rx_add), and to this host whatever its link-layer address.
pub(in crate::kernel) fn another_round(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    (f.dev, f.pkt_type) = (dev, PacketType::Host);
    let Some(d) = ns.dev_mut(dev) else { return cx.kill(f, DropReason::DevReady) };
    d.stats.rx_packets += 1;
    d.stats.rx_bytes += f.bytes().len() as u64;
    netif_receive(ns, cx, dev, f)
}

/// As [`receive`], for a frame that is not handed up yet (veth_poll, gro_cell_poll).
fn arrive(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    f.dev = dev;
    let Some(d) = ns.dev_mut(dev).filter(|d| d.up) else { return cx.kill(f, DropReason::DevReady) };
    count(d, &f);
    f.pkt_type = packet_type(&f, d.mac);
    // skb_unclone of a veth; a tunnel's are no clones.
    f.layout.cloned = false;
    pass(f)
}

fn count(d: &mut Dev, f: &Frame) {
    d.stats.rx_packets += u64::from(f.segments());
    // A tunnel counts what it carries, without the Ethernet header.
    let tunnel = matches!(d.kind, DevKind::Vxlan(_) | DevKind::Ipip(_));
    d.stats.rx_bytes += if tunnel { f.l3().len() } else { f.bytes().len() } as u64;
}

/// eth_type_trans: how a frame is addressed, seen by a device with address `own`; without a link-layer header, to it.
fn packet_type(f: &Frame, own: Mac) -> PacketType {
    if f.mac_len() == 0 {
        return PacketType::Host;
    }
    let to = Mac::read(f.bytes(), 0);
    if to == own {
        PacketType::Host
    } else if to.is_broadcast() {
        PacketType::Broadcast
    } else if to.is_multicast() {
        PacketType::Multicast
    } else {
        PacketType::OtherHost
    }
}

/// __netif_receive_skb_one_core: taps, then the bridge if the device is its port, then the protocols.
pub(in crate::kernel) fn netif_receive(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let f = netif_receive_core(ns, cx, dev, f)?;
    protocol(ns, cx, dev, f)
}

/// netif_receive_skb_list_internal: all frames pass the taps, and the bridge if the device is its port, before the IP
/// layer has the first of them.
fn netif_receive_list(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, gro: &mut gro::Gro) {
    while let Some(f) = gro.ready.pop_front() {
        let Continue(f) = netif_receive_core(ns, cx, dev, f) else { continue };
        if f.protocol() == ETH_P_IP {
            gro.sublist.push_back(f);
        } else {
            ip::input::ip_list_rcv(ns, cx, dev, &mut gro.sublist);
            let _ = protocol(ns, cx, dev, f);
        }
    }
    ip::input::ip_list_rcv(ns, cx, dev, &mut gro.sublist);
}

/// __netif_receive_skb_core: taps, then programs, then the bridge if the device is its port, or the synthetic interface
/// above it.
fn netif_receive_core(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    cx.tap(dev, f.pkt_type, &f);
    socket::packet::deliver(ns, cx, dev, &f);
    let mut d = ns.dev(dev);
    if d.is_some_and(|d| d.tcx.is_some()) {
        f = tc::ingress(ns, cx, dev, f)?;
        d = ns.dev(dev);
    }
    match (d.and_then(|d| d.master), d.and_then(Dev::synthetic)) {
        (Some(br), _) => bridge::handle_frame(ns, cx, br, dev, f),
        (None, Some(synthetic)) => netvsc::vf_handle_frame(ns, cx, synthetic, f),
        (None, None) => pass(f),
    }
}

fn protocol(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    match f.protocol() {
        ETH_P_IP => ip::input::ip_rcv(ns, cx, dev, f),
        ETH_P_ARP => arp::arp_rcv(ns, cx, dev, f),
        _ => cx.kill(f, DropReason::UnhandledProto),
    }
}

/// dev_queue_xmit: programs, qdisc, tap, driver. The frame carries its link-layer header.
pub(in crate::kernel) fn xmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    f.dev = dev;
    if ns.dev(dev).is_some_and(|d| d.tcx.is_some()) {
        f = tc::egress(ns, cx, dev, f)?;
    }
    xmit_skb(ns, cx, dev, f)
}

/// __dev_xmit_skb: what follows the programs.
fn xmit_skb(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, mut f: Frame) -> Flow {
    let Some(d) = ns.dev_mut(dev) else { return cx.kill(f, DropReason::DevReady) };
    if !d.up && !matches!(d.kind, DevKind::Nic(_)) {
        // The noqueue branch of __dev_queue_xmit finds the device down.
        d.stats.tx_dropped += 1;
        return cx.kill(f, DropReason::DevReady);
    }
    if !d.running() {
        // dev_deactivate has put the noop discipline in place.
        return cx.kill(f, DropReason::QdiscDrop);
    }
    if gso::needed(ns, dev, &f) {
        return gso::segment(ns, cx, dev, f, |ns, cx, s| xmit_skb(ns, cx, dev, s));
    }
    let Some(d) = ns.dev(dev) else { return cx.kill(f, DropReason::DevReady) };
    if f.layout.frags > 0 && !d.features.contains(&Feature::Sg) {
        f.linearize();
    }
    if f.csum_partial && !d.features.contains(&Feature::Tx) {
        f.complete_checksum();
    }
    if !matches!(d.kind, DevKind::Loopback | DevKind::Nic(_)) {
        // libpcap discards the outgoing copy on a loopback device: the tap is the receive side's. A nic's is behind its
        // queue.
        cx.tap(dev, PacketType::Outgoing, &f);
    }
    let len = f.bytes().len();
    let d = ns.dev_mut(dev).expect("it was there a moment ago");
    match d.kind {
        DevKind::Loopback => {
            d.stats.tx_packets += 1;
            d.stats.tx_bytes += len as u64;
            let here = cx.ns;
            cx.netif_rx(here, dev, f)
        }
        DevKind::Veth(peer) => {
            // __dev_forward_skb: is_skb_forwardable on the receiving end.
            if !peer.up || f.gso_size == 0 && len > peer.mtu as usize + ETH_HLEN + VLAN_HLEN {
                d.stats.tx_dropped += 1;
                let why = if peer.up { DropReason::PktTooBig } else { DropReason::DevReady };
                return cx.kill(f, why);
            }
            // veth_skb_is_eligible_for_gro: whoever sends several segments as one need not have them put together.
            let polled = peer.gro && !d.features.contains(&Feature::Tso);
            if polled && cx.cpu.softnet.napi_len(peer.ns, peer.dev) >= VETH_RING_SIZE {
                d.stats.tx_dropped += 1;
                return cx.kill(f, DropReason::NotSpecified);
            }
            d.stats.tx_packets += 1;
            d.stats.tx_bytes += len as u64;
            scrub(ns, cx.ns, peer.ns, &mut f);
            if polled { cx.napi_rx(peer.ns, peer.dev, f) } else { cx.netif_rx(peer.ns, peer.dev, f) }
        }
        DevKind::Bridge(_) => {
            // NETDEV_TX_OK: what becomes of it at a port is not told.
            let _ = bridge::dev_xmit(ns, cx, dev, f);
            Break(Fate::Queued)
        }
        DevKind::Vxlan(_) => vxlan::xmit(ns, cx, dev, f),
        DevKind::Ipip(_) => ipip::xmit(ns, cx, dev, f),
        DevKind::Nic(_) => nic::enqueue(ns, cx, dev, f),
        DevKind::Netvsc { vf } => netvsc::vf_xmit(ns, cx, dev, vf, f),
    }
}

/// skb_scrub_packet: what a frame loses as it goes through a veth pair or a tunnel, and more if that leads elsewhere.
pub(in crate::kernel) fn scrub(ns: &mut NetNs, here: NsId, there: NsId, f: &mut Frame) {
    nf_reset_ct(ns, f);
    (f.nf_bridge, f.ignore_df, f.tunnel) = (None, false, None);
    if here != there {
        f.mark = 0;
    }
}

/// is_skb_forwardable: a bridge may send `f` out of `dev`.
pub(in crate::kernel) fn forwardable(ns: &NetNs, dev: IfIndex, f: &Frame) -> Result<(), DropReason> {
    match ns.dev(dev) {
        Some(d) if d.up && (f.gso_size > 0 || f.bytes().len() <= d.mtu as usize + ETH_HLEN + VLAN_HLEN) => Ok(()),
        Some(d) if d.up => Err(DropReason::PktTooBig),
        _ => Err(DropReason::DevReady),
    }
}

/// netif_carrier_on and netif_carrier_off: link watch will act on it (linkwatch_fire_event).
pub(in crate::kernel) fn set_carrier(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, carrier: bool) {
    match ns.dev_mut(dev) {
        Some(d) if d.carrier != carrier => {
            d.carrier = carrier;
            d.carrier_changes += 1;
        }
        _ => return,
    }
    cx.cpu.linkwatch.push_back((cx.ns, dev));
}

/// linkwatch_do_dev: the device's discipline, its routes, its neighbours and the bridge above follow the carrier.
pub(in crate::kernel) fn linkwatch(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    let Some(d) = ns.dev_mut(dev) else { return };
    let carrier = d.carrier;
    d.linked = carrier;
    ns.fib.set_linkdown(dev, !carrier);
    if !carrier {
        nic::stop(ns, cx, dev);
        // neigh_carrier_down (arp_evict_nocarrier)
        neigh::remove(ns, cx, |k, n| k.dev == dev && n.state != NudState::Permanent);
    }
    bridge::update_port_state(ns, cx, dev);
}

/// Hands the frame on.
pub(in crate::kernel) fn pass(f: Frame) -> Flow {
    Continue(f)
}
