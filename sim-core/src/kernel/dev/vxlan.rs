//! Mirrors drivers/net/vxlan/vxlan_core.c: Ethernet frames carried in UDP. Read RFC 7348 before editing.

pub mod fdb;

use crate::base::{IfIndex, Mac};
use crate::kernel::cx::{Cx, Timer};
use crate::kernel::dev::Dev;
use crate::kernel::errno::Errno;
use crate::kernel::flow;
use crate::kernel::frame::{Frame, TunnelKey};
use crate::kernel::ip::IP_HLEN;
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::ip::tunnel::{self, Inside, Outer, XMIT_RECURSION_LIMIT};
use crate::kernel::netlink::{FdbState, Feature, TunnelDf, TunnelTtl};
use crate::kernel::netns::NetNs;
use crate::kernel::socket::udp;
use crate::kernel::syscall::Fd;
use crate::kernel::timer::{HZ, TimerId, before_eq};
use crate::kernel::trace::{DropReason, Fate, Flow, Tunnel, What};
use crate::wire::{ETH_HLEN, UDP_HLEN, be32};
use fdb::{Learned, Remote, VxlanFdb};
use smoltcp::wire::Ipv4Packet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow::Break;

/// Bytes of a VXLAN header.
const VXLAN_HLEN: usize = 8;
/// All outer headers but the link's (vxlan_headroom less ETH_HLEN).
const OUTER_HLEN: usize = IP_HLEN + UDP_HLEN + VXLAN_HLEN;
/// vxlan_headroom: what a frame gets longer by, with its own Ethernet header.
pub(in crate::kernel) const HEADROOM: u32 = (OUTER_HLEN + ETH_HLEN) as u32;
/// VXLAN_HF_VNI: the header holds a VNI. All other bits are reserved.
const FLAG_VNI: u32 = 0x0800_0000;
/// The destination port where none is given (`udp_port` of the module).
pub(in crate::kernel) const DEFAULT_PORT: u16 = 8472;
/// FDB_AGE_INTERVAL in ticks.
const AGE_INTERVAL: u64 = 10 * HZ;

/// struct vxlan_dev
#[derive(Clone, Debug)]
pub struct Vxlan {
    pub(in crate::kernel) cfg: Config,
    pub(in crate::kernel) fdb: VxlanFdb,
    /// The socket that it receives by while it is up. Devices with one port share it.
    sock: Option<Fd>,
    age_timer: Option<TimerId>,
}

/// struct vxlan_config
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Config {
    pub vni: u32,
    /// remote_ifindex: the device underneath.
    pub lower: Option<IfIndex>,
    pub local: Option<Ipv4Addr>,
    pub remote: Option<Ipv4Addr>,
    pub dst_port: u16,
    pub src_ports: (u16, u16),
    pub learning: bool,
    /// In seconds.
    pub ageing: u32,
    pub ttl: TunnelTtl,
    pub tos: u8,
    pub df: TunnelDf,
    pub udp_csum: bool,
    /// VXLAN_F_COLLECT_METADATA: each frame says by itself where it goes.
    pub external: bool,
}

/// Where one frame goes, and how.
#[derive(Clone, Copy)]
struct Target {
    ip: Ipv4Addr,
    port: u16,
    vni: u32,
    oif: Option<IfIndex>,
    csum: bool,
}

impl Vxlan {
    /// __vxlan_dev_create: with a default far end where one is given.
    pub(in crate::kernel) fn new(cfg: Config, now: u64) -> Self {
        let mut fdb = VxlanFdb::default();
        if let Some(ip) = cfg.remote {
            let remote = Remote { ip, port: None, vni: None, oif: cfg.lower };
            fdb.set(Mac::ZERO, FdbState::Local, remote, now);
        }
        Vxlan { cfg, fdb, sock: None, age_timer: None }
    }
}

fn get(ns: &NetNs, dev: IfIndex) -> Option<&Vxlan> {
    ns.dev(dev)?.vxlan()
}

fn get_mut(ns: &mut NetNs, dev: IfIndex) -> Option<&mut Vxlan> {
    ns.dev_mut(dev)?.vxlan_mut()
}

/// vxlan_open: the socket, and the timer that forgets what was learned. Nothing for other devices.
///
/// # Errors
/// EADDRINUSE if a program is bound to the port.
pub(in crate::kernel) fn open(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) -> Result<(), Errno> {
    let Some(cfg) = get(ns, dev).map(|v| v.cfg) else { return Ok(()) };
    let same = |v: &&Vxlan| (v.cfg.dst_port, v.cfg.external) == (cfg.dst_port, cfg.external);
    let shared = ns.devs().filter_map(Dev::vxlan).filter(same).find_map(|v| v.sock);
    let sock = match shared {
        Some(sock) => sock,
        None => udp::tunnel_open(ns, cx, cfg.dst_port)?,
    };
    let timer = (cfg.ageing > 0).then(|| cx.arm(AGE_INTERVAL, Timer::VxlanAge(cx.ns, dev)));
    if let Some(v) = get_mut(ns, dev) {
        (v.sock, v.age_timer) = (Some(sock), timer);
    }
    Ok(())
}

/// vxlan_stop: what was learned is forgotten, the last device of a port closes its socket. Nothing for other devices.
pub(in crate::kernel) fn stop(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    let Some(v) = get_mut(ns, dev) else { return };
    v.fdb.forget(|_, e| e.state != FdbState::Local);
    let (sock, timer) = (v.sock.take(), v.age_timer.take());
    if let Some(id) = timer {
        cx.cpu.timers.cancel(id);
    }
    let shared = ns.devs().filter_map(Dev::vxlan).any(|v| v.sock == sock);
    if let Some(sock) = sock.filter(|_| !shared) {
        udp::tunnel_close(ns, sock);
    }
}

/// vxlan_cleanup: the ageing timer fired.
pub(in crate::kernel) fn cleanup(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    let now = cx.jiffies();
    let Some(v) = ns.dev_mut(dev).filter(|d| d.up).and_then(Dev::vxlan_mut) else { return };
    let age = u64::from(v.cfg.ageing) * HZ;
    let mut delay = AGE_INTERVAL;
    v.fdb.forget(|_, e| {
        let expires = e.updated.wrapping_add(age);
        let dead = e.state == FdbState::Dynamic && before_eq(expires, now);
        if e.state == FdbState::Dynamic && !dead {
            delay = delay.min(expires.wrapping_sub(now));
        }
        dead
    });
    v.age_timer = Some(cx.arm(delay, Timer::VxlanAge(cx.ns, dev)));
}

/// vxlan_xmit: to each far end that the destination is behind, or to those that get what nobody knows of. The first of
/// them is served last.
pub(super) fn xmit(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let to = Mac::read(f.bytes(), 0);
    let now = cx.jiffies();
    let Some(v) = get_mut(ns, dev) else { return cx.kill(f, DropReason::DevReady) };
    if v.cfg.external {
        return xmit_external(ns, cx, dev, f);
    }
    let remotes = |v: &mut Vxlan, mac| v.fdb.find_used(mac, now).map(|e| (mac, e.remotes.len()));
    let Some((key, count)) = remotes(v, to).or_else(|| remotes(v, Mac::ZERO)) else {
        if let Some(d) = ns.dev_mut(dev) {
            d.stats.tx_dropped += 1;
        }
        return cx.kill(f, DropReason::NoTxTarget);
    };
    for at in 1..count {
        let copy = cx.clone_frame(&mut ns.ct, &f);
        let _ = xmit_to_remote(ns, cx, dev, (key, at), copy);
    }
    let _ = xmit_to_remote(ns, cx, dev, (key, 0), f);
    // NETDEV_TX_OK: what becomes of it outside is not told.
    Break(Fate::Queued)
}

/// vxlan_xmit of a device in external mode: as the frame itself says.
fn xmit_external(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    let cfg = get(ns, dev).map(|v| v.cfg);
    let (Some(cfg), Some(key)) = (cfg, f.tunnel.filter(|key| key.tx)) else {
        return cx.kill(f, DropReason::TunnelTxinfo);
    };
    let to = Target { ip: key.remote, port: cfg.dst_port, vni: key.id, oif: None, csum: key.csum };
    xmit_one(ns, cx, dev, &cfg, to, f)
}

/// Sends to one far end of entry `key`.
fn xmit_to_remote(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, (key, at): (Mac, usize), f: Frame) -> Flow {
    let Some((cfg, remote)) = get(ns, dev).and_then(|v| Some((v.cfg, *v.fdb.find(key)?.remotes.get(at)?))) else {
        return cx.kill(f, DropReason::NoTxTarget);
    };
    let to = Target {
        ip: remote.ip,
        port: remote.port.unwrap_or(cfg.dst_port),
        vni: remote.vni.unwrap_or(cfg.vni),
        oif: remote.oif,
        csum: cfg.udp_csum,
    };
    xmit_one(ns, cx, dev, &cfg, to, f)
}

/// vxlan_xmit_one
fn xmit_one(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, cfg: &Config, to: Target, mut f: Frame) -> Flow {
    if cx.cpu.xmit_recursion >= XMIT_RECURSION_LIMIT {
        return cx.kill(f, DropReason::RecursionLimit);
    }
    let inside = Inside::of(&f);
    let tos = if cfg.tos == 1 { inside.tos } else { cfg.tos };
    let ports = match cfg.src_ports {
        (min, max) if min < max => min..=max,
        _ => ns.sysctl.ip_local_port_range.0..=ns.sysctl.ip_local_port_range.1,
    };
    let src_port = flow::src_port(flow::get_hash(cx.prf, cx.cpu.salt(), &mut f), &ports);
    let flow = Flow4 { src: cfg.local, oif: to.oif, mark: f.mark, ..Flow4::to(to.ip) };
    let r = match route::output(ns, &flow) {
        Ok(r) if r.oif != dev => r,
        // No way there, or one that leads into the tunnel itself (ELOOP).
        other => {
            if let Some(d) = ns.dev_mut(dev) {
                d.stats.tx_errors += 1;
                d.stats.collisions += u64::from(other.is_ok());
                d.stats.tx_carrier_errors += u64::from(other.is_err_and(|e| e == Errno::ENETUNREACH));
            }
            let why = if other.is_ok() { DropReason::RecursionLimit } else { DropReason::IpOutNoRoutes };
            return cx.kill(f, why);
        }
    };
    tunnel::check_pmtu(ns, dev, &r, HEADROOM, &f);
    let o = Outer {
        tos: tunnel::ecn_encapsulate(tos, inside.tos),
        ttl: match cfg.ttl {
            TunnelTtl::Fixed(ttl) => ttl,
            TunnelTtl::Inherit if inside.ttl != 0 => inside.ttl,
            _ if to.ip.is_multicast() => 1,
            TunnelTtl::Auto | TunnelTtl::Inherit => ns.sysctl.ip_default_ttl,
        },
        df: cfg.df == TunnelDf::Set || cfg.df == TunnelDf::Inherit && inside.df,
        src_port,
        dst_port: to.port,
        csum: to.csum,
    };
    let (from, there) = (SocketAddrV4::new(r.src, o.src_port), SocketAddrV4::new(to.ip, o.dst_port));
    cx.step(&f, dev, What::Encapsulated { tunnel: Tunnel::Vxlan { vni: to.vni }, from, to: there });
    if let Some(d) = ns.dev_mut(dev) {
        d.stats.tx_packets += u64::from(f.segments());
        d.stats.tx_bytes += f.l3().len() as u64;
    }
    let f = build(f, to.vni);
    cx.cpu.xmit_recursion += 1;
    let _ = tunnel::udp_xmit(ns, cx, &r, &o, f);
    cx.cpu.xmit_recursion -= 1;
    Break(Fate::Queued)
}

/// vxlan_build_skb: room for the outer headers, of which VXLAN's own is filled.
fn build(mut f: Frame, vni: u32) -> Frame {
    if f.encap != 0 {
        // Only one tunnel's inner checksum is kept open.
        f.complete_checksum();
    }
    let h = &mut f.encapsulate(OUTER_HLEN)[IP_HLEN + UDP_HLEN..];
    h[..4].copy_from_slice(&FLAG_VNI.to_be_bytes());
    h[4..].copy_from_slice(&(vni << 8).to_be_bytes());
    f
}

/// vxlan_rcv: a datagram for the socket of tunnels, whose UDP header begins `at` bytes into the packet.
pub(in crate::kernel) fn rcv(ns: &mut NetNs, cx: &mut Cx<'_>, sock: Fd, at: usize, mut f: Frame) -> Flow {
    let vxlan = at + UDP_HLEN;
    if f.l3().len() < vxlan + VXLAN_HLEN + ETH_HLEN {
        return cx.kill(f, DropReason::VxlanInvalidHdr);
    }
    let (flags, word) = (be32(f.l3(), vxlan), be32(f.l3(), vxlan + 4));
    if flags & FLAG_VNI == 0 {
        return cx.kill(f, DropReason::VxlanInvalidHdr);
    }
    let vni = word >> 8;
    // vxlan_vs_find_vni: a device in external mode has all of them.
    let ours = |v: &Vxlan| v.sock == Some(sock) && (v.cfg.external || v.cfg.vni == vni);
    let own = ns.devs().find_map(|d| d.vxlan().filter(|v| ours(v)).map(|v| (d.index, d.mac, v.cfg.external)));
    let Some((dev, mac, external)) = own else { return cx.kill(f, DropReason::VxlanVniNotFound) };
    // cfg.reserved_bits
    if flags != FLAG_VNI || word & 0xff != 0 {
        if let Some(d) = ns.dev_mut(dev) {
            d.stats.rx_errors += 1;
        }
        return cx.kill(f, DropReason::VxlanInvalidHdr);
    }
    let outer = Ipv4Packet::new_unchecked(f.l3());
    let (outer_src, outer_tos) = (outer.src_addr(), f.l3()[1]);
    tunnel::scrub(ns, &mut f);
    // udp_tun_rx_dst
    f.tunnel = external.then_some(TunnelKey { tx: false, id: vni, remote: outer_src, csum: false });
    f.decapsulate(vxlan + VXLAN_HLEN, ETH_HLEN);
    f.dev = dev;
    cx.step(&f, dev, What::Decapsulated { tunnel: Tunnel::Vxlan { vni }, from: outer_src });
    let from = Mac::read(f.bytes(), 6);
    if from == mac {
        // vxlan_set_mac: a loop, or the echo of a group.
        return cx.kill(f, DropReason::LocalMac);
    }
    if let Some(why) = snoop(ns, cx, dev, outer_src, from) {
        return cx.kill(f, why);
    }
    if !tunnel::ecn_decapsulate(outer_tos, &mut f) {
        if let Some(d) = ns.dev_mut(dev) {
            d.stats.rx_errors += 1;
        }
        return cx.kill(f, DropReason::IpTunnelEcn);
    }
    let here = cx.ns;
    // gro_cells_receive
    let polled = ns.dev(dev).is_some_and(|d| d.features.contains(&Feature::Gro)) && !f.layout.cloned;
    if polled { cx.napi_rx_stamped(here, dev, f) } else { cx.netif_rx_stamped(here, dev, f) }
}

/// vxlan_snoop: the inner source is behind the outer one. Why the frame is dropped instead, if it is.
fn snoop(ns: &mut NetNs, cx: &Cx<'_>, dev: IfIndex, from: Ipv4Addr, mac: Mac) -> Option<DropReason> {
    let now = cx.jiffies();
    let v = get_mut(ns, dev).filter(|v| v.cfg.learning)?;
    if !mac.is_valid() {
        return Some(DropReason::MacInvalidSource);
    }
    match v.fdb.learn(mac, from, now) {
        Learned::Yes => None,
        Learned::Fixed => Some(DropReason::VxlanEntryExists),
    }
}
