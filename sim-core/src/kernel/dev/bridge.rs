//! Mirrors net/bridge/br_input.c, br_forward.c, br_device.c and br_stp_if.c: the learning bridge, without STP and
//! VLANs.

use super::fdb::{self, Fdb, FdbEntry, Learned};
use super::{Dev, br_netfilter, forwardable, netif_receive, pass, xmit};
use crate::base::{IfIndex, Mac};
use crate::kernel::cx::{Cx, Timer};
use crate::kernel::frame::{Frame, PacketType};
use crate::kernel::netlink::FdbState;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::{HZ, TimerId};
use crate::kernel::trace::{DropReason, FloodWhy, Flow, What};

/// struct net_bridge
#[derive(Clone, Debug)]
pub struct Bridge {
    pub(in crate::kernel) fdb: Fdb,
    /// The ports, most recently added first: the order in which Linux floods.
    pub(in crate::kernel) ports: Vec<IfIndex>,
    /// In jiffies.
    pub(in crate::kernel) ageing_time: u64,
    /// In jiffies.
    pub(in crate::kernel) forward_delay: u64,
    pub(in crate::kernel) priority: u16,
    pub(in crate::kernel) group_fwd_mask: u16,
    pub(in crate::kernel) mcast_snooping: bool,
    /// The address in its bridge id: zero until a port or the user gave one.
    pub(in crate::kernel) id_address: Mac,
    pub(in crate::kernel) gc_timer: Option<TimerId>,
    /// In jiffies: when the clean-up was asked for.
    pub(in crate::kernel) gc_due: u64,
}

impl Default for Bridge {
    /// br_dev_setup
    fn default() -> Self {
        Bridge {
            fdb: Fdb::default(),
            ports: Vec::new(),
            ageing_time: 300 * HZ,
            forward_delay: 15 * HZ,
            priority: 0x8000,
            group_fwd_mask: 0,
            mcast_snooping: true,
            id_address: Mac::ZERO,
            gc_timer: None,
            gc_due: 0,
        }
    }
}

/// struct net_bridge_port
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the kernel, by their names")]
pub struct Port {
    pub(in crate::kernel) number: u16,
    pub(in crate::kernel) state: PortState,
    pub(in crate::kernel) priority: u16,
    pub(in crate::kernel) cost: u32,
    pub(in crate::kernel) hairpin: bool,
    pub(in crate::kernel) learning: bool,
    pub(in crate::kernel) flood: bool,
    pub(in crate::kernel) mcast_flood: bool,
    pub(in crate::kernel) bcast_flood: bool,
    pub(in crate::kernel) isolated: bool,
}

/// BR_STATE_*: without STP a port forwards as soon as it is up with a carrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortState {
    /// BR_STATE_DISABLED
    Disabled,
    /// BR_STATE_FORWARDING
    Forwarding,
}

impl Port {
    /// new_nbp: path cost 2 is what port_cost gives a veth (10 Gbit/s).
    pub(in crate::kernel) fn new(number: u16) -> Self {
        Port {
            number,
            state: PortState::Disabled,
            priority: 0x80 >> 2,
            cost: 2,
            hairpin: false,
            learning: true,
            flood: true,
            mcast_flood: true,
            bcast_flood: true,
            isolated: false,
        }
    }
}

/// br_handle_frame: a frame came in by `port` of bridge `br`.
pub(in crate::kernel) fn handle_frame(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    br: IfIndex,
    port: IfIndex,
    mut f: Frame,
) -> Flow {
    let (to, from) = (Mac::read(f.bytes(), 0), Mac::read(f.bytes(), 6));
    if !from.is_valid() {
        return cx.kill(f, DropReason::MacInvalidSource);
    }
    let (Some(d), Some(p)) = (ns.dev(br), ns.port(port)) else { return cx.kill(f, DropReason::DevReady) };
    if to.is_link_local() {
        match local_group(d, to) {
            LocalGroup::Forward => {}
            LocalGroup::Drop => return cx.kill(f, DropReason::MacIeeeControl),
            LocalGroup::Keep => return pass(f),
        }
    }
    if p.state != PortState::Forwarding {
        return cx.kill(f, DropReason::BridgeIngressStpState);
    }
    if to == d.mac {
        f.pkt_type = PacketType::Host;
    }
    let f = br_netfilter::pre_routing(ns, cx, br, port, f)?;
    handle_frame_finish(ns, cx, br, port, f)
}

/// br_handle_frame_finish: learn, decide, forward, flood, hand up.
fn handle_frame_finish(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, port: IfIndex, f: Frame) -> Flow {
    let (to, from) = (Mac::read(f.bytes(), 0), Mac::read(f.bytes(), 6));
    let now = cx.jiffies();
    let learning = ns.port(port).is_some_and(|p| p.learning);
    let Some((promisc, b)) = ns.dev_mut(br).map(|d| (d.promisc, d)).and_then(|(p, d)| Some((p, d.bridge_mut()?)))
    else {
        return cx.kill(f, DropReason::DevReady);
    };
    if learning && b.ageing_time != 0 {
        match b.fdb.learn(from, port, now) {
            Learned::No => {}
            learned => cx.step(&f, port, What::FdbLearn { mac: from, new: learned == Learned::New }),
        }
    }
    let hit = if to.is_multicast() { None } else { b.fdb.find_used(to, now) };
    let up = promisc || to.is_multicast();
    let f = match hit {
        Some(e) if e.state == FdbState::Local => return pass_frame_up(ns, cx, br, false, f),
        Some(FdbEntry { dst: Some(out), .. }) => {
            cx.step(&f, br, What::FdbHit { mac: to, port: out });
            forward(ns, cx, br, out, f, port, up)?
        }
        _ => flood(ns, cx, br, f, port, up)?,
    };
    pass_frame_up(ns, cx, br, promisc, f)
}

/// br_dev_xmit: the host itself sends through its bridge.
pub(in crate::kernel) fn dev_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, mut f: Frame) -> Flow {
    if let Some(port) = br_netfilter::dev_xmit(&mut f) {
        return handle_frame_finish(ns, cx, br, port, f);
    }
    if let Some(d) = ns.dev_mut(br) {
        d.stats.tx_packets += 1;
        d.stats.tx_bytes += f.bytes().len() as u64;
    }
    let to = Mac::read(f.bytes(), 0);
    let now = cx.jiffies();
    let hit = match ns.dev_mut(br).and_then(|d| d.bridge_mut()) {
        Some(b) if !to.is_multicast() => b.fdb.find_used(to, now),
        _ => None,
    };
    match hit {
        Some(FdbEntry { dst: Some(out), .. }) => {
            cx.step(&f, br, What::FdbHit { mac: to, port: out });
            forward(ns, cx, br, out, f, br, false)
        }
        Some(_) => cx.kill(f, DropReason::NoTxTarget),
        None => flood(ns, cx, br, f, br, false),
    }
}

/// br_forward: out of one port; with `up` a copy, and the frame itself is handed back.
fn forward(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, out: IfIndex, f: Frame, from: IfIndex, up: bool) -> Flow {
    let deliver = should_deliver(ns, out, from);
    match (deliver, up) {
        (true, true) => {
            deliver_clone(ns, cx, (br, from), out, &f);
            pass(f)
        }
        (true, false) => send(ns, cx, (br, from), out, f),
        (false, true) => pass(f),
        (false, false) => cx.kill(f, DropReason::NoTxTarget),
    }
}

/// br_flood: copies to all ports but one, the frame itself to the last, unless it is to be handed `up` afterwards.
fn flood(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, f: Frame, from: IfIndex, up: bool) -> Flow {
    let to = Mac::read(f.bytes(), 0);
    let why = match (to.is_broadcast(), to.is_multicast()) {
        (true, _) => FloodWhy::Broadcast,
        (_, true) => FloodWhy::Multicast,
        _ => FloodWhy::UnknownUnicast,
    };
    cx.step(&f, br, What::Flood { why });
    let mut previous: Option<IfIndex> = None;
    let mut at = 0;
    // By position: delivering cannot change the list of ports, and so nothing is copied.
    while let Some(out) = ns.dev(br).and_then(Dev::bridge).and_then(|b| b.ports.get(at).copied()) {
        at += 1;
        if !floods(ns, out, why) || !should_deliver(ns, out, from) {
            continue;
        }
        if let Some(previous) = previous.replace(out) {
            deliver_clone(ns, cx, (br, from), previous, &f);
        }
    }
    match previous {
        Some(last) if up => {
            deliver_clone(ns, cx, (br, from), last, &f);
            pass(f)
        }
        Some(last) => send(ns, cx, (br, from), last, f),
        None if up => pass(f),
        None => cx.kill(f, DropReason::NoTxTarget),
    }
}

fn floods(ns: &NetNs, out: IfIndex, why: FloodWhy) -> bool {
    ns.port(out).is_some_and(|p| match why {
        FloodWhy::UnknownUnicast => p.flood,
        FloodWhy::Multicast => p.mcast_flood,
        FloodWhy::Broadcast => p.bcast_flood,
    })
}

/// should_deliver
fn should_deliver(ns: &NetNs, out: IfIndex, from: IfIndex) -> bool {
    let Some(p) = ns.port(out) else { return false };
    let isolated = p.isolated && ns.port(from).is_some_and(|p| p.isolated);
    (p.hairpin || out != from) && p.state == PortState::Forwarding && !isolated
}

/// From one place of a bridge to another.
type Way = (IfIndex, IfIndex);

fn deliver_clone(ns: &mut NetNs, cx: &mut Cx<'_>, way: Way, out: IfIndex, f: &Frame) {
    let copy = cx.clone_frame(&mut ns.ct, f);
    let _ = send(ns, cx, way, out, copy);
}

/// __br_forward: from a port of the bridge, or from the bridge itself, which means that the host sends it.
fn send(ns: &mut NetNs, cx: &mut Cx<'_>, (br, from): Way, out: IfIndex, mut f: Frame) -> Flow {
    f.dev = out;
    if from != br {
        f = br_netfilter::forward(ns, cx, br, out, f)?;
    }
    dev_queue_push_xmit(ns, cx, out, f)
}

/// br_dev_queue_push_xmit
pub(in crate::kernel) fn dev_queue_push_xmit(ns: &mut NetNs, cx: &mut Cx<'_>, out: IfIndex, f: Frame) -> Flow {
    if let Err(why) = forwardable(ns, out, &f) {
        return cx.kill(f, why);
    }
    xmit(ns, cx, out, f)
}

/// br_pass_frame_up: the bridge device receives it, with the port's time stamp.
fn pass_frame_up(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, promisc: bool, mut f: Frame) -> Flow {
    cx.step(&f, br, What::PassUp);
    f.dev = br;
    let Some(d) = ns.dev_mut(br).filter(|d| d.up) else { return cx.kill(f, DropReason::DevReady) };
    d.stats.rx_packets += 1;
    d.stats.rx_bytes += f.l3().len() as u64;
    if f.pkt_type == PacketType::Multicast {
        d.stats.multicast += 1;
    }
    let f = br_netfilter::local_in(ns, cx, promisc, f)?;
    netif_receive(ns, cx, br, f)
}

enum LocalGroup {
    Forward,
    Drop,
    Keep,
}

/// 01:80:c2:00:00:0X: what 802.1D wants of a bridge, and what its mask changes.
fn local_group(br: &Dev, to: Mac) -> LocalGroup {
    let last = to.0[5];
    let masked = br.bridge().is_some_and(|b| b.group_fwd_mask & 1 << last != 0);
    match last {
        0x00 => LocalGroup::Forward,
        0x01 => LocalGroup::Drop,
        _ if masked => LocalGroup::Forward,
        _ => LocalGroup::Keep,
    }
}

// What the network devices' events do to a bridge (br_if.c, br.c).

/// br_add_if: `port` joins `br`.
pub(in crate::kernel) fn add_port(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, port: IfIndex) {
    let now = cx.jiffies();
    let number = free_port_number(ns, br);
    let Some(d) = ns.dev_mut(port) else { return };
    let mac = d.mac;
    (d.master, d.port) = (Some(br), Some(Box::new(Port::new(number))));
    let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) else { return };
    b.ports.insert(0, port);
    b.fdb.set(mac, FdbEntry::new(Some(port), FdbState::Local, now));
    update_port_state(ns, cx, port);
    recalculate_address(ns, cx, br);
    auto_mtu(ns, br);
}

/// br_del_if: `port` leaves its bridge.
pub(in crate::kernel) fn del_port(ns: &mut NetNs, cx: &mut Cx<'_>, port: IfIndex) {
    let Some(d) = ns.dev_mut(port) else { return };
    let Some(br) = d.master.take() else { return };
    d.port = None;
    if let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) {
        b.ports.retain(|p| *p != port);
        b.fdb.forget(|e| e.dst == Some(port));
    }
    recalculate_address(ns, cx, br);
    update_carrier(ns, cx, br);
}

fn free_port_number(ns: &NetNs, br: IfIndex) -> u16 {
    let ports = ns.dev(br).and_then(Dev::bridge).map_or(&[][..], |b| &b.ports);
    let taken = |n| ports.iter().any(|p| ns.port(*p).is_some_and(|p| p.number == n));
    (1..u16::MAX).find(|n| !taken(*n)).unwrap_or(u16::MAX)
}

/// br_stp_enable_port and br_stp_disable_port, as the port's link and its bridge go up or down.
pub(in crate::kernel) fn update_port_state(ns: &mut NetNs, cx: &mut Cx<'_>, port: IfIndex) {
    let Some(br) = ns.dev(port).and_then(|d| d.master) else { return };
    let live = ns.dev(port).is_some_and(Dev::running) && ns.dev(br).is_some_and(|d| d.up);
    let state = if live { PortState::Forwarding } else { PortState::Disabled };
    if let Some(p) = ns.dev_mut(port).and_then(|d| d.port.as_mut()) {
        if p.state == PortState::Forwarding && !live {
            p.state = state;
            if let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) {
                b.fdb.forget(|e| e.dst == Some(port) && e.state == FdbState::Dynamic);
            }
        } else {
            p.state = state;
        }
    }
    update_carrier(ns, cx, br);
}

/// br_port_state_selection: a bridge has a carrier while one of its ports forwards; without ports it keeps what it has
/// until somebody gives it an address.
fn update_carrier(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    if ns.dev(br).is_some_and(|d| d.up) {
        select_carrier(ns, cx, br);
    }
}

fn select_carrier(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let Some(b) = ns.dev(br).and_then(Dev::bridge) else { return };
    let live = b.ports.iter().any(|p| ns.port(*p).is_some_and(|p| p.state == PortState::Forwarding));
    super::set_carrier(ns, cx, br, live);
}

/// br_dev_open: the bridge comes up.
pub(in crate::kernel) fn open(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let now = cx.jiffies();
    let gc = cx.arm(HZ / 10, Timer::FdbGc(cx.ns, br));
    let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) else { return };
    (b.gc_timer, b.gc_due) = (Some(gc), now + HZ / 10);
    for port in b.ports.clone() {
        update_port_state(ns, cx, port);
    }
}

/// br_dev_stop: the bridge goes down; its ports stop forwarding.
pub(in crate::kernel) fn stop(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) else { return };
    if let Some(id) = b.gc_timer.take() {
        cx.cpu.timers.cancel(id);
    }
    for port in b.ports.clone() {
        update_port_state(ns, cx, port);
    }
}

/// br_stp_recalculate_bridge_id: unless the user chose one, a bridge takes the lowest address of its ports. The FDB
/// holds the bridge's own address as a local entry.
pub(in crate::kernel) fn recalculate_address(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let Some(b) = ns.dev(br).and_then(Dev::bridge) else { return };
    let lowest = b.ports.iter().filter_map(|p| ns.dev(*p)).map(|d| d.mac).min();
    let Some(d) = ns.dev(br) else { return };
    let mac = if d.mac_set { d.mac } else { lowest.unwrap_or(Mac::ZERO) };
    if d.bridge().is_some_and(|b| b.id_address == mac) {
        return;
    }
    change_address(ns, cx, br, mac);
}

/// br_stp_change_bridge_id with br_fdb_change_mac_address
pub(in crate::kernel) fn change_address(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex, mac: Mac) {
    let now = cx.jiffies();
    let here = cx.ns;
    let Some(d) = ns.dev_mut(br) else { return };
    let old = std::mem::replace(&mut d.mac, mac);
    let Some(b) = d.bridge_mut() else { return };
    b.id_address = mac;
    if b.fdb.find(old).is_some_and(|e| e.dst.is_none()) {
        b.fdb.remove(old);
    }
    if b.fdb.find(mac).is_none() && mac != Mac::ZERO {
        b.fdb.set(mac, FdbEntry::new(None, FdbState::Local, now));
    }
    if let Some(d) = ns.dev(br) {
        cx.sink.device(&d.describe(here));
    }
    select_carrier(ns, cx, br);
}

/// A new bridge's own address is in its FDB, as it is drawn; it has no number by it (bridge_id) yet.
pub(in crate::kernel) fn hold_address(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    let now = cx.jiffies();
    let Some(d) = ns.dev_mut(br) else { return };
    let mac = d.mac;
    if let Some(b) = d.bridge_mut() {
        b.fdb.set(mac, FdbEntry::new(None, FdbState::Local, now));
    }
}

/// br_fdb_changeaddr: a port got another address.
pub(in crate::kernel) fn port_address_changed(ns: &mut NetNs, cx: &mut Cx<'_>, port: IfIndex, old: Mac) {
    let now = cx.jiffies();
    let Some((br, mac)) = ns.dev(port).and_then(|d| Some((d.master?, d.mac))) else { return };
    if let Some(b) = ns.dev_mut(br).and_then(|d| d.bridge_mut()) {
        if b.fdb.find(old).is_some_and(|e| e.state == FdbState::Local && e.dst == Some(port)) {
            b.fdb.remove(old);
        }
        b.fdb.set(mac, FdbEntry::new(Some(port), FdbState::Local, now));
    }
    recalculate_address(ns, cx, br);
}

/// br_mtu_auto_adjust: a bridge whose MTU nobody set has the lowest of its ports.
pub(in crate::kernel) fn auto_mtu(ns: &mut NetNs, br: IfIndex) {
    let Some(d) = ns.dev(br).filter(|d| !d.mtu_set) else { return };
    let ports = d.bridge().map_or(&[][..], |b| &b.ports);
    let Some(lowest) = ports.iter().filter_map(|p| ns.dev(*p)).map(|d| d.mtu).min() else { return };
    if let Some(d) = ns.dev_mut(br) {
        d.mtu = lowest;
    }
}

/// The clean-up timer of bridge `br` fired.
pub(in crate::kernel) fn gc(ns: &mut NetNs, cx: &mut Cx<'_>, br: IfIndex) {
    fdb::cleanup(ns, cx, br);
}
