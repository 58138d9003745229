//! rtnl_newlink, do_setlink and the drivers behind them (net/core/rtnetlink.c, drivers/net/veth.c,
//! net/bridge/br_netlink.c).

use super::{
    BridgeChange, Fdb, FdbState, Feature, LinkAdd, LinkChange, LinkKind, LinkPeer, Op, PortChange, Scope, addr, find,
    ipip, vxlan,
};
use crate::base::rng::Purpose;
use crate::base::{IfIndex, Mac, NicId, NsId};
use crate::kernel::arp;
use crate::kernel::conntrack::CtCx;
use crate::kernel::cx::Cx;
use crate::kernel::dev::bridge::{self};
use crate::kernel::dev::fdb::FdbEntry;
use crate::kernel::dev::nic::{self, Nic};
use crate::kernel::dev::vxlan::Vxlan;
use crate::kernel::dev::{self, Dev, DevKind, IfAddr, Stats, VethPeer};
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::neigh;
use crate::kernel::netns::{LOOPBACK, MAX_IFINDEX, NetNs, Spaces};
use crate::kernel::timer::HZ;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// IFNAMSIZ with its terminating zero.
const IFNAMSIZ: usize = 16;
/// ETH_MIN_MTU
pub(super) const ETH_MIN_MTU: u32 = 68;
/// As many ports one bridge has (BR_MAX_PORTS).
const BR_MAX_PORTS: usize = 1 << 10;

/// The loopback device of a new namespace: down, without an address.
pub(in crate::kernel) fn loopback(ns: &NetNs) -> Dev {
    let mut d = device(ns, LOOPBACK, "lo".to_owned(), Mac::ZERO, 65_536, DevKind::Loopback);
    (d.carrier, d.linked) = (true, true);
    d
}

pub(super) fn add(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, link: &LinkAdd) -> Result<(), NlError> {
    let home = match &link.netns {
        Some(name) => spaces.by_name(name).ok_or(Errno::EINVAL)?,
        None => ns,
    };
    let prefix = match link.kind {
        LinkKind::Veth { .. } => "veth",
        LinkKind::Bridge(_) => "bridge",
        LinkKind::Vxlan(_) => "vxlan",
        LinkKind::Ipip(_) => {
            ipip::load(spaces, cx)?;
            "ipip"
        }
    };
    let name = new_name(spaces.get(home), link.name.as_deref(), prefix, &[])?;
    if !matches!(link.kind, LinkKind::Ipip(_)) {
        check_mtu(link.mtu)?;
        check_address(link.address)?;
    }
    let index = match &link.kind {
        LinkKind::Veth { peer } => add_veth(spaces, cx, home, name, link, peer.as_deref(), ns)?,
        LinkKind::Bridge(changes) => add_bridge(spaces, cx, home, name, link, changes)?,
        LinkKind::Vxlan(v) => add_vxlan(spaces, cx, home, name, link, v)?,
        LinkKind::Ipip(t) => ipip::add(spaces.get_mut(home), cx, name, link.mtu, t)?,
    };
    if let Some(master) = &link.master {
        set_master(spaces, cx, home, index, Some(master))?;
    }
    if link.up {
        open(spaces, cx, home, index)?;
    }
    Ok(())
}

/// A physical nic as a scenario's link plugs it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hardware {
    /// What the interface is called.
    pub name: String,
    /// The interface is a synthetic one; this is what its VF is called, the physical nic below it.
    pub vf: Option<String>,
    /// What it sends, in bits per second; zero for no bound.
    pub rate_bps: u64,
    /// txqueuelen: as many frames wait while it is busy.
    pub queue: u32,
}

/// A driver's probe function and register_netdevice: a physical nic appears in `ns`, with a carrier.
///
/// # Errors
/// The name is taken or none, or there are too many devices.
pub fn probe(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, hardware: &Hardware) -> Result<NicId, NlError> {
    let name = new_name(spaces.get(ns), Some(&hardware.name), "", &[])?;
    let index = new_index(spaces.get(ns))?;
    let id = NicId(spaces.nics.len() as u32);
    let mac = random_mac(cx, ns, index);
    let mut nic = Nic::new(id, hardware.rate_bps);
    let (mut name, mut at) = (name, index);
    if let Some(vf) = &hardware.vf {
        at = IfIndex(index.0 + 1);
        let below = new_name(spaces.get(ns), Some(vf), "", &[&name])?;
        let synthetic = std::mem::replace(&mut name, below);
        let mut d = device(spaces.get(ns), index, synthetic, mac, 1500, DevKind::Netvsc { vf: at });
        (d.carrier, d.linked, d.txqlen) = (true, true, hardware.queue);
        register(spaces, cx, ns, d);
        nic.synthetic = Some(index);
    }
    let mut d = device(spaces.get(ns), at, name, mac, 1500, DevKind::Nic(Box::new(nic)));
    (d.carrier, d.txqlen) = (true, hardware.queue);
    register(spaces, cx, ns, d);
    spaces.nics.push((ns, at));
    Ok(id)
}

/// br_dev_newlink
fn add_bridge(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    home: NsId,
    name: String,
    link: &LinkAdd,
    changes: &[BridgeChange],
) -> Result<IfIndex, NlError> {
    let index = new_index(spaces.get(home))?;
    let mac = link.address.unwrap_or_else(|| random_mac(cx, home, index));
    let kind = DevKind::Bridge(Box::default());
    let mut d = device(spaces.get(home), index, name, mac, link.mtu.unwrap_or(1500), kind);
    (d.carrier, d.linked) = (true, true);
    (d.mac_set, d.mtu_set) = (link.address.is_some(), link.mtu.is_some());
    register(spaces, cx, home, d);
    cx.ns = home;
    match link.address {
        Some(_) => bridge::change_address(spaces.get_mut(home), cx, index, mac),
        None => bridge::hold_address(spaces.get_mut(home), cx, index),
    }
    for c in changes {
        set_bridge(spaces.get_mut(home), cx, index, *c)?;
    }
    Ok(index)
}

/// vxlan_newlink
fn add_vxlan(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    home: NsId,
    name: String,
    link: &LinkAdd,
    v: &super::Vxlan,
) -> Result<IfIndex, NlError> {
    let space = spaces.get(home);
    let cfg = vxlan::config(space, v)?;
    let index = new_index(space)?;
    let mac = link.address.unwrap_or_else(|| random_mac(cx, home, index));
    let mtu = vxlan::mtu(space, &cfg, link.mtu);
    let kind = DevKind::Vxlan(Box::new(Vxlan::new(cfg, cx.jiffies())));
    let mut d = device(space, index, name, mac, mtu, kind);
    (d.carrier, d.linked, d.mac_set) = (true, true, link.address.is_some());
    register(spaces, cx, home, d);
    Ok(index)
}

/// veth_newlink: the peer is registered first. Without a namespace of its own it stays where the request was made.
fn add_veth(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    home: NsId,
    name: String,
    link: &LinkAdd,
    peer: Option<&LinkPeer>,
    asked_in: NsId,
) -> Result<IfIndex, NlError> {
    let plain = LinkPeer::default();
    let peer = peer.unwrap_or(&plain);
    let peer_home = match &peer.netns {
        Some(n) => spaces.by_name(n).ok_or(Errno::EINVAL)?,
        None => asked_in,
    };
    check_mtu(peer.mtu)?;
    check_address(peer.address)?;
    let taken: &[&str] = if peer_home == home { &[&name] } else { &[] };
    let peer_name = new_name(spaces.get(peer_home), peer.name.as_deref(), "veth", taken)?;
    let (at, peer_at) = veth_indices(spaces, home, peer_home)?;
    let end = |spaces: &Spaces,
               cx: &Cx<'_>,
               ns,
               at,
               name,
               mac: Option<Mac>,
               mtu: Option<u32>,
               other: (NsId, IfIndex, u32)| {
        let mac = mac.unwrap_or_else(|| random_mac(cx, ns, at));
        let kind = DevKind::Veth(VethPeer { ns: other.0, dev: other.1, up: false, mtu: other.2, gro: false });
        device(spaces.get(ns), at, name, mac, mtu.unwrap_or(1500), kind)
    };
    let (mtu, peer_mtu) = (link.mtu.unwrap_or(1500), peer.mtu.unwrap_or(1500));
    let b = end(spaces, cx, peer_home, peer_at, peer_name, peer.address, peer.mtu, (home, at, mtu));
    let a = end(spaces, cx, home, at, name, link.address, link.mtu, (peer_home, peer_at, peer_mtu));
    register(spaces, cx, peer_home, b);
    register(spaces, cx, home, a);
    spaces.get_mut(peer_home).know(home);
    spaces.get_mut(home).know(peer_home);
    Ok(at)
}

/// The peer takes its index first.
fn veth_indices(spaces: &Spaces, home: NsId, peer_home: NsId) -> Result<(IfIndex, IfIndex), NlError> {
    let peer_at = new_index(spaces.get(peer_home))?;
    if peer_home == home {
        return Ok((IfIndex(peer_at.0 + 1), peer_at));
    }
    Ok((new_index(spaces.get(home))?, peer_at))
}

pub(super) fn set(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    ns: NsId,
    dev: &str,
    changes: &[LinkChange],
) -> Result<(), NlError> {
    let index = find(spaces.get(ns), dev)?;
    for change in changes {
        cx.ns = ns;
        match change {
            LinkChange::Up(true) => open(spaces, cx, ns, index)?,
            LinkChange::Up(false) => close(spaces, cx, ns, index),
            LinkChange::Promisc(on) => get(spaces, ns, index)?.promisc = *on,
            LinkChange::Allmulti(on) => get(spaces, ns, index)?.allmulti = *on,
            LinkChange::Arp(on) => get(spaces, ns, index)?.noarp = !on,
            LinkChange::TxQueueLen(n) => get(spaces, ns, index)?.txqlen = *n,
            LinkChange::Mtu(mtu) => set_mtu(spaces, ns, index, *mtu)?,
            LinkChange::Address(mac) => set_address(spaces, cx, ns, index, *mac)?,
            LinkChange::Name(name) => rename(spaces, cx, ns, index, name)?,
            LinkChange::Master(master) => set_master(spaces, cx, ns, index, master.as_deref())?,
            LinkChange::Bridge(c) => set_bridge(spaces.get_mut(ns), cx, index, *c)?,
            LinkChange::Port(c) => set_port(spaces.get_mut(ns), index, *c)?,
            // The device is somewhere else then: nothing can follow.
            LinkChange::Netns(name) => return move_to(spaces, cx, ns, index, name),
        }
    }
    Ok(())
}

pub(super) fn del(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, dev: &str) -> Result<(), NlError> {
    let index = find(spaces.get(ns), dev)?;
    // Neither loopback nor a physical nic has rtnl_link_ops.
    if index == LOOPBACK
        || spaces.get(ns).dev(index).is_some_and(|d| matches!(d.kind, DevKind::Nic(_) | DevKind::Netvsc { .. }))
    {
        return Err(Errno::EOPNOTSUPP.into());
    }
    // ip_tunnel_dellink: the fallback device stays, and nobody says so.
    if spaces.get(ns).ipip.fallback != Some(index) {
        unregister(spaces, cx, ns, index);
    }
    Ok(())
}

/// unregister_netdevice: a veth takes its other end with it, a bridge lets its ports go.
pub(super) fn unregister(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex) {
    let peer = spaces.peer(ns, index);
    remove_one(spaces, cx, ns, index);
    if let Some((ns, index)) = peer {
        remove_one(spaces, cx, ns, index);
    }
}

fn remove_one(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex) {
    detach(spaces, cx, ns, index);
    let space = spaces.get_mut(ns);
    for port in space.dev(index).and_then(Dev::bridge).map_or(vec![], |b| b.ports.clone()) {
        bridge::del_port(space, cx, port);
    }
    space.ipip.all.retain(|tunnel| *tunnel != index);
    space.take(index);
}

/// What leaving a namespace means for a device: down, out of its bridge, without addresses, routes and neighbours.
fn detach(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex) {
    close(spaces, cx, ns, index);
    cx.ns = ns;
    let space = spaces.get_mut(ns);
    bridge::del_port(space, cx, index);
    for tunnel in vxlan::upper(space, index) {
        remove_one(spaces, cx, ns, tunnel);
    }
    let space = spaces.get_mut(ns);
    if let Some(d) = space.dev_mut(index) {
        d.addrs.clear();
    }
    cx.sink.device_gone(ns, index);
    space.fib.remove_all(|_, _, a| a.oif == Some(index));
    neigh::remove(space, cx, |k, _| k.dev == index);
}

/// __dev_change_net_namespace: the device keeps its name, and its index if that is free.
fn move_to(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex, name: &str) -> Result<(), NlError> {
    let to = spaces.by_name(name).ok_or(Errno::EINVAL)?;
    if to == ns {
        return Ok(());
    }
    let d = spaces.get(ns).dev(index).ok_or(Errno::ENODEV)?;
    if !matches!(d.kind, DevKind::Veth(_) | DevKind::Nic(_)) {
        return Err(NlError::ext(Errno::EINVAL, "The interface netns is immutable"));
    }
    if spaces.get(to).dev_by_name(&d.name).is_some() {
        return Err(NlError::ext(Errno::EEXIST, "An interface with the same name exists in the target netns"));
    }
    detach(spaces, cx, ns, index);
    let Some(mut d) = spaces.get_mut(ns).take(index) else { return Ok(()) };
    let free = index.0 < MAX_IFINDEX && index >= spaces.get(to).next_index();
    d.index = if free { index } else { new_index(spaces.get(to))? };
    let at = d.index;
    (d.conf, d.neigh) = (spaces.get(to).sysctl.default, spaces.get(to).sysctl.neigh_default);
    if let DevKind::Nic(nic) = &d.kind {
        spaces.nics[nic.id().0 as usize] = (to, at);
    }
    register(spaces, cx, to, d);
    if let Some((peer_ns, peer)) = spaces.peer(to, at)
        && let Some(Dev { kind: DevKind::Veth(p), .. }) = spaces.get_mut(peer_ns).dev_mut(peer)
    {
        (p.ns, p.dev) = (to, at);
        spaces.get_mut(peer_ns).know(to);
        spaces.get_mut(to).know(peer_ns);
    }
    Ok(())
}

/// dev_open and NETDEV_UP: the driver first, then what hears of it.
///
/// # Errors
/// What the driver says: a VXLAN device needs its port.
pub(super) fn open(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex) -> Result<(), NlError> {
    cx.ns = ns;
    let space = spaces.get_mut(ns);
    if space.dev(index).is_none_or(|d| d.up) {
        return Ok(());
    }
    dev::vxlan::open(space, cx, index)?;
    let Some(d) = space.dev_mut(index) else { return Ok(()) };
    (d.up, d.was_up) = (true, true);
    let is_bridge = d.bridge().is_some();
    if index == LOOPBACK && d.addrs.is_empty() {
        d.addrs.push(loopback_address());
        cx.sink.device(&d.describe(ns));
    }
    if is_bridge {
        bridge::open(space, cx, index);
    }
    veth_carrier(spaces, cx, ns, index, true);
    cx.ns = ns;
    let space = spaces.get_mut(ns);
    // dev_activate does not wait for link watch.
    dev::linkwatch(space, cx, index);
    for a in space.dev(index).map_or(vec![], |d| d.addrs.clone()) {
        addr::add_routes(space, index, &a);
    }
    arp::notify(space, cx, index);
    // netvsc_open
    let vf = space.dev(index).and_then(Dev::vf);
    vf.map_or(Ok(()), |vf| open(spaces, cx, ns, vf))
}

/// dev_close and NETDEV_DOWN: routes through the device go, local ones and addresses stay.
pub(super) fn close(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex) {
    cx.ns = ns;
    let space = spaces.get_mut(ns);
    let Some(d) = space.dev_mut(index).filter(|d| d.up) else { return };
    d.up = false;
    nic::stop(space, cx, index);
    dev::vxlan::stop(space, cx, index);
    bridge::stop(space, cx, index);
    bridge::update_port_state(space, cx, index);
    space.fib.remove_all(|_, _, a| a.oif == Some(index) && a.kind != super::RouteType::Local);
    neigh::remove(space, cx, |k, _| k.dev == index);
    // masq_device_event
    space.ct.masq_cleanup(&CtCx::of(cx), index, None);
    // netvsc_close
    let vf = space.dev(index).and_then(Dev::vf);
    veth_carrier(spaces, cx, ns, index, false);
    if let Some(vf) = vf {
        close(spaces, cx, ns, vf);
    }
}

/// veth_open and veth_close: both ends have a carrier while both are up.
fn veth_carrier(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex, up: bool) {
    let Some((peer_ns, peer)) = spaces.peer(ns, index) else { return };
    let Some(other) = spaces.get_mut(peer_ns).dev_mut(peer) else { return };
    if let DevKind::Veth(p) = &mut other.kind {
        p.up = up;
    }
    let on = up && other.up;
    for (ns, dev) in [(ns, index), (peer_ns, peer)] {
        cx.ns = ns;
        dev::set_carrier(spaces.get_mut(ns), cx, dev, on);
    }
}

fn loopback_address() -> IfAddr {
    IfAddr {
        local: Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8),
        peer: None,
        broadcast: None,
        scope: Scope::Host,
        secondary: false,
        label: "lo".to_owned(),
    }
}

fn set_mtu(spaces: &mut Spaces, ns: NsId, index: IfIndex, mtu: u32) -> Result<(), NlError> {
    match get(spaces, ns, index).map(|d| ipip::check_mtu(d, mtu))? {
        Some(checked) => checked?,
        None if index != LOOPBACK => check_mtu(Some(mtu))?,
        None => {}
    }
    vxlan::check_mtu(spaces.get(ns), index, mtu)?;
    let d = get(spaces, ns, index)?;
    (d.mtu, d.mtu_set) = (mtu, true);
    let master = d.master;
    if let Some(br) = master {
        bridge::auto_mtu(spaces.get_mut(ns), br);
    }
    change_at_peer(spaces, ns, index, |end| end.mtu = mtu);
    Ok(())
}

/// What the other end of a veth knows of this one changes. Nothing for other devices.
fn change_at_peer(spaces: &mut Spaces, ns: NsId, index: IfIndex, change: impl FnOnce(&mut VethPeer)) {
    if let Some((peer_ns, peer)) = spaces.peer(ns, index)
        && let Some(Dev { kind: DevKind::Veth(end), .. }) = spaces.get_mut(peer_ns).dev_mut(peer)
    {
        change(end);
    }
}

/// dev_set_mac_address: neighbours that were reached with the old one are forgotten (neigh_changeaddr).
fn set_address(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex, mac: Mac) -> Result<(), NlError> {
    check_address(Some(mac))?;
    let space = spaces.get_mut(ns);
    let d = space.dev_mut(index).ok_or(Errno::ENODEV)?;
    if d.ipip().is_some() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    d.mac_set = true;
    let old = d.mac;
    if d.bridge().is_some() {
        bridge::change_address(space, cx, index, mac);
    } else {
        d.mac = mac;
        let known = d.describe(ns);
        cx.sink.device(&known);
        bridge::port_address_changed(space, cx, index, old);
    }
    neigh::remove(space, cx, |k, n| k.dev == index && n.state != super::NudState::Permanent);
    arp::notify(space, cx, index);
    Ok(())
}

/// dev_change_name: labels that were the name follow it.
fn rename(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, index: IfIndex, name: &str) -> Result<(), NlError> {
    let space = spaces.get_mut(ns);
    if space.dev(index).is_some_and(|d| d.name == name) {
        return Ok(());
    }
    let name = new_name(space, Some(name), "", &[])?;
    let d = space.dev_mut(index).ok_or(Errno::ENODEV)?;
    let old = std::mem::replace(&mut d.name, name.clone());
    for a in &mut d.addrs {
        if a.label == old {
            a.label.clone_from(&name);
        }
    }
    let known = d.describe(ns);
    cx.sink.device(&known);
    space.fib.rules.detach(index);
    space.fib.rules.attach(&name, index);
    Ok(())
}

/// do_set_master
fn set_master(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    ns: NsId,
    index: IfIndex,
    master: Option<&str>,
) -> Result<(), NlError> {
    cx.ns = ns;
    let space = spaces.get_mut(ns);
    let Some(master) = master else {
        bridge::del_port(space, cx, index);
        return Ok(());
    };
    let br = space.dev_by_name(master).ok_or(Errno::EINVAL)?;
    let b = space.dev(br).and_then(Dev::bridge).ok_or(Errno::EOPNOTSUPP)?;
    if b.ports.len() >= BR_MAX_PORTS {
        return Err(NlError::ext(Errno::EINVAL, "Maximum number of ports reached"));
    }
    let d = space.dev(index).ok_or(Errno::ENODEV)?;
    if matches!(d.kind, DevKind::Loopback | DevKind::Ipip(_)) {
        return Err(Errno::EINVAL.into());
    }
    if d.bridge().is_some() {
        return Err(NlError::ext(Errno::ELOOP, "Can not enslave a bridge to a bridge"));
    }
    if d.master == Some(br) {
        return Ok(());
    }
    bridge::del_port(space, cx, index);
    bridge::add_port(space, cx, br, index);
    Ok(())
}

/// br_changelink
fn set_bridge(ns: &mut NetNs, cx: &mut Cx<'_>, index: IfIndex, change: BridgeChange) -> Result<(), NlError> {
    /// USER_HZ in ticks.
    fn ticks(hundredths: u64) -> u64 {
        hundredths.saturating_mul(HZ) / 100
    }
    let up = ns.dev(index).is_some_and(|d| d.up);
    let b = ns.dev_mut(index).and_then(|d| d.bridge_mut()).ok_or(Errno::EOPNOTSUPP)?;
    match change {
        BridgeChange::FdbFlush => b.fdb.forget(|e| e.state == FdbState::Dynamic),
        BridgeChange::AgeingTime(t) => {
            b.ageing_time = ticks(t);
            // br_set_ageing_time: the clean-up runs at once, to find its new rhythm.
            if up {
                if let Some(id) = b.gc_timer.take() {
                    cx.cpu.timers.cancel(id);
                }
                dev::fdb::cleanup(ns, cx, index);
            }
        }
        BridgeChange::ForwardDelay(t) => {
            if !(2 * HZ..=30 * HZ).contains(&ticks(t)) && ticks(t) != 0 {
                return Err(Errno::ERANGE.into());
            }
            b.forward_delay = ticks(t);
        }
        BridgeChange::StpState(true) => return Err(NlError::ext(Errno::EOPNOTSUPP, "STP is not simulated")),
        BridgeChange::StpState(false) => {}
        BridgeChange::Priority(p) => b.priority = p,
        // BR_GROUPFWD_RESTRICTED: STP, pause and LACP stay.
        BridgeChange::GroupFwdMask(mask) if mask & 0x7 != 0 => return Err(Errno::EINVAL.into()),
        BridgeChange::GroupFwdMask(mask) => b.group_fwd_mask = mask,
        BridgeChange::McastSnooping(on) => b.mcast_snooping = on,
    }
    Ok(())
}

/// br_setport
fn set_port(ns: &mut NetNs, index: IfIndex, change: PortChange) -> Result<(), NlError> {
    let d = ns.dev_mut(index).ok_or(Errno::ENODEV)?;
    let (Some(br), Some(p)) = (d.master, d.port.as_mut()) else { return Err(Errno::EOPNOTSUPP.into()) };
    match change {
        PortChange::Hairpin(on) => p.hairpin = on,
        PortChange::Learning(on) => p.learning = on,
        PortChange::Flood(on) => p.flood = on,
        PortChange::McastFlood(on) => p.mcast_flood = on,
        PortChange::BcastFlood(on) => p.bcast_flood = on,
        PortChange::Isolated(on) => p.isolated = on,
        PortChange::Cost(cost) if (1..=65_535).contains(&cost) => p.cost = cost,
        PortChange::Priority(priority) if priority <= 63 => p.priority = priority,
        PortChange::Cost(_) | PortChange::Priority(_) => return Err(Errno::ERANGE.into()),
        PortChange::Flush => {
            if let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) {
                b.fdb.forget(|e| e.dst == Some(index) && e.state == FdbState::Dynamic);
            }
        }
    }
    Ok(())
}

/// br_fdb_add
pub(super) fn fdb_add(ns: &mut NetNs, cx: &mut Cx<'_>, op: Op, e: &Fdb) -> Result<(), NlError> {
    let remote = vxlan::remote(ns, e)?;
    if let Some(v) = vxlan::of(ns, e) {
        return vxlan::fdb_add(v, op, e, remote, cx.jiffies());
    }
    let (br, port) = fdb_place(ns, e)?;
    let now = cx.jiffies();
    if !e.mac.is_valid() {
        return Err(NlError::ext(Errno::EINVAL, "FDB entry address is not a valid unicast address"));
    }
    let b = ns.dev_mut(br).and_then(|d| d.bridge_mut()).ok_or(Errno::EOPNOTSUPP)?;
    if b.fdb.find(e.mac).is_some() && op == Op::Add {
        return Err(Errno::EEXIST.into());
    }
    if port.is_none() && e.state != FdbState::Local {
        return Err(Errno::EINVAL.into());
    }
    b.fdb.set(e.mac, FdbEntry::new(port, e.state, now));
    Ok(())
}

/// br_fdb_delete
pub(super) fn fdb_del(ns: &mut NetNs, e: &Fdb) -> Result<(), NlError> {
    let remote = vxlan::remote(ns, e)?;
    if let Some(v) = vxlan::of(ns, e) {
        return vxlan::fdb_del(v, e, remote);
    }
    let (br, port) = fdb_place(ns, e)?;
    let b = ns.dev_mut(br).and_then(|d| d.bridge_mut()).ok_or(Errno::EOPNOTSUPP)?;
    if b.fdb.find(e.mac).is_none_or(|x| x.dst != port) {
        return Err(Errno::ENOENT.into());
    }
    b.fdb.remove(e.mac);
    Ok(())
}

/// Which bridge's database an entry belongs to, and which port it names.
fn fdb_place(ns: &NetNs, e: &Fdb) -> Result<(IfIndex, Option<IfIndex>), NlError> {
    let index = find(ns, &e.dev)?;
    let d = ns.dev(index).ok_or(Errno::ENODEV)?;
    match (e.master, d.master, d.bridge().is_some()) {
        (true, Some(br), _) => Ok((br, Some(index))),
        (_, _, true) => Ok((index, None)),
        (true, None, _) | (false, ..) => Err(Errno::EOPNOTSUPP.into()),
    }
}

pub(super) fn feature(spaces: &mut Spaces, ns: NsId, dev: &str, feature: Feature, on: bool) -> Result<(), NlError> {
    let index = find(spaces.get(ns), dev)?;
    let d = get(spaces, ns, index)?;
    d.features.retain(|f| *f != feature);
    if on {
        d.features.push(feature);
    }
    if feature == Feature::Gro {
        // veth_set_features
        change_at_peer(spaces, ns, index, |end| end.gro = on);
    }
    Ok(())
}

fn get(spaces: &mut Spaces, ns: NsId, index: IfIndex) -> Result<&mut Dev, NlError> {
    spaces.get_mut(ns).dev_mut(index).ok_or(NlError::from(Errno::ENODEV))
}

/// register_netdevice
fn register(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, d: Dev) {
    cx.sink.device(&d.describe(ns));
    spaces.get_mut(ns).insert(d);
}

pub(super) fn device(ns: &NetNs, index: IfIndex, name: String, mac: Mac, mtu: u32, kind: DevKind) -> Dev {
    // veth_newlink calls netif_carrier_off.
    let carrier_changes = u32::from(matches!(kind, DevKind::Veth(_)));
    Dev {
        index,
        name,
        kind,
        mac,
        mac_set: false,
        mtu,
        mtu_set: false,
        txqlen: 1000,
        up: false,
        was_up: false,
        carrier: false,
        carrier_changes,
        linked: false,
        noarp: false,
        promisc: false,
        allmulti: false,
        master: None,
        port: None,
        addrs: Vec::new(),
        conf: ns.sysctl.default,
        neigh: ns.sysctl.neigh_default,
        features: Vec::new(),
        stats: Stats::default(),
        tcx: None,
    }
}

pub(super) fn new_index(ns: &NetNs) -> Result<IfIndex, NlError> {
    let index = ns.next_index();
    if index.0 < MAX_IFINDEX { Ok(index) } else { Err(Errno::ENFILE.into()) }
}

/// eth_hw_addr_random: locally administered, not a group.
fn random_mac(cx: &Cx<'_>, ns: NsId, index: IfIndex) -> Mac {
    let bits = cx.prf.draw(Purpose::DeviceMac, &[cx.cpu.salt_of(ns).word(), u64::from(index.0)]).to_be_bytes();
    let [a, rest @ ..] = [bits[0], bits[1], bits[2], bits[3], bits[4], bits[5]];
    let [b, c, d, e, f] = rest;
    Mac([a & 0xfe | 0x02, b, c, d, e, f])
}

/// dev_valid_name and dev_alloc_name: a free name, the given one or the next of a kind.
pub(super) fn new_name(ns: &NetNs, name: Option<&str>, prefix: &str, taken: &[&str]) -> Result<String, NlError> {
    let free = |n: &str| ns.dev_by_name(n).is_none() && !taken.contains(&n);
    match name {
        Some(n) if !valid_name(n) => Err(Errno::EINVAL.into()),
        Some(n) if free(n) => Ok(n.to_owned()),
        Some(_) => Err(Errno::EEXIST.into()),
        None => (0..MAX_IFINDEX).map(|i| format!("{prefix}{i}")).find(|n| free(n)).ok_or(Errno::ENFILE.into()),
    }
}

/// dev_valid_name: short, without slashes, colons and white space.
pub fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < IFNAMSIZ
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| matches!(c, '/' | ':') || c.is_whitespace())
}

fn check_mtu(mtu: Option<u32>) -> Result<(), NlError> {
    match mtu {
        Some(0..ETH_MIN_MTU) => Err(NlError::ext(Errno::EINVAL, "mtu less than device minimum")),
        Some(65_536..) => Err(NlError::ext(Errno::EINVAL, "mtu greater than device maximum")),
        _ => Ok(()),
    }
}

fn check_address(mac: Option<Mac>) -> Result<(), NlError> {
    if mac.is_some_and(|m| !m.is_valid()) { Err(Errno::EADDRNOTAVAIL.into()) } else { Ok(()) }
}
