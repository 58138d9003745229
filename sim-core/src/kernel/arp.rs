//! Mirrors net/ipv4/arp.c: asking, answering, answering for others. Read RFC 826 and RFC 5227 before editing.

use super::cx::{Cx, Timer};
use super::dev::{Dev, xmit};
use super::frame::{Frame, PacketType, truesize};
use super::ip::route;
use super::neigh::{self, NeighKey, UpdateFlags};
use super::netlink::{NudState, RouteType, Scope};
use super::netns::NetNs;
use super::timer::{TimerId, before_eq, ms_to_jiffies};
use super::trace::{Consumer, DropReason, Fate, Flow, What};
use crate::base::rng::Purpose;
use crate::base::{FrameId, IfIndex, Mac};
use crate::wire::arp::{ARP_LEN, Arp};
use crate::wire::{ETH_HLEN, ETH_P_ARP, put_ethernet};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::ControlFlow::Break;

/// arp_rcv
pub(in crate::kernel) fn arp_rcv(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, f: Frame) -> Flow {
    if f.pkt_type == PacketType::OtherHost {
        return cx.kill(f, DropReason::OtherHost);
    }
    let Some(d) = ns.dev(dev).filter(|d| !d.noarp && d.arphrd() == super::dev::ARPHRD_ETHER) else {
        return cx.end(f, Fate::Consumed(Consumer::Arp));
    };
    let own = d.mac;
    match Arp::parse(f.l3()) {
        Some(arp) => process(ns, cx, dev, own, &arp, f),
        None => cx.kill(f, DropReason::NotSpecified),
    }
}

/// arp_process
fn process(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, own: Mac, arp: &Arp, f: Frame) -> Flow {
    cx.step(&f, dev, What::Accept);
    if arp.tip.is_multicast() || arp.tip.is_loopback() && !ns.conf_or(dev, |c| c.route_localnet) {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let reply = Arp { request: false, sha: own, sip: arp.tip, tha: arp.sha, tip: arp.sip };
    if arp.sip.is_unspecified() {
        // Duplicate address detection (RFC 5227): answered, but nothing is learned from it.
        let ours = ns.fib.addr_type(arp.tip, None) == RouteType::Local;
        if arp.request && ours && !ignored(ns, dev, arp.sip, arp.tip) {
            send(ns, cx, dev, arp.sha, &reply, Some(f.id));
        }
        return cx.end(f, Fate::Consumed(Consumer::Arp));
    }
    if arp.request
        && let Ok(r) = route::input_dst(ns, arp.tip, arp.sip, 0, dev)
    {
        if r.kind == RouteType::Local {
            let quiet = ignored(ns, dev, arp.sip, arp.tip) || filtered(ns, dev, arp.sip, arp.tip);
            if !quiet && neigh::event_ns(ns, cx, NeighKey::v4(dev, arp.sip), arp.sha, &f) {
                send(ns, cx, dev, arp.sha, &reply, Some(f.id));
            }
            return cx.end(f, Fate::Consumed(Consumer::Arp));
        }
        if proxies(ns, dev, &r) {
            return proxy(ns, cx, dev, arp, f);
        }
    }
    learn(ns, cx, dev, arp, &f);
    cx.end(f, Fate::Consumed(Consumer::Arp))
}

/// Updates what is known of the sender; makes an entry only with arp_accept.
fn learn(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, arp: &Arp, f: &Frame) {
    let key = NeighKey::v4(dev, arp.sip);
    let gratuitous = is_gratuitous(ns, arp);
    let accept = ns.conf_max(dev, |c| c.arp_accept) != 0;
    if ns.neigh.get(key).is_none() && accept {
        let unicast = ns.fib.addr_type(arp.sip, None) == RouteType::Unicast;
        if gratuitous || !arp.request && unicast {
            let Some(parms) = ns.dev(dev).map(|d| d.neigh) else { return };
            ns.neigh.create(key, &parms, cx.jiffies());
        }
    }
    let Some(n) = ns.neigh.get(key) else { return };
    let Some(locktime) = ns.dev(dev).map(|d| ms_to_jiffies(d.neigh.locktime_ms)) else { return };
    // Several answers back to back: the first one counts.
    let unlocked = !before_eq(cx.jiffies(), n.updated.wrapping_add(locktime));
    // Broadcast answers and requests do not prove that the neighbour can be reached.
    let proof = !arp.request && f.pkt_type == PacketType::Host;
    let state = if proof { NudState::Reachable } else { NudState::Stale };
    let flags = UpdateFlags { override_: unlocked || gratuitous, admin: false };
    neigh::update(ns, cx, key, Some(arp.sha), state, flags, Some(f));
}

/// arp_is_garp
fn is_gratuitous(ns: &NetNs, arp: &Arp) -> bool {
    arp.tip == arp.sip && (arp.request || arp.tha == arp.sha) && ns.fib.addr_type(arp.sip, None) == RouteType::Unicast
}

/// arp_ignore: modes of net.ipv4.conf.*.arp_ignore.
fn ignored(ns: &NetNs, dev: IfIndex, sip: Ipv4Addr, tip: Ipv4Addr) -> bool {
    let confirm = |dev: Option<IfIndex>, sip: Option<Ipv4Addr>, scope: Scope| {
        let has = |d: &Dev| {
            let local = d.addrs.iter().any(|a| a.local.addr() == tip && a.scope <= scope);
            let subnet =
                d.addrs.iter().any(|a| sip.is_none_or(|sip| a.subnet().contains(&sip) && a.subnet().contains(&tip)));
            local && subnet
        };
        ns.devs().filter(|d| dev.is_none_or(|dev| d.index == dev)).any(has)
    };
    match ns.conf_max(dev, |c| c.arp_ignore) {
        1 => !confirm(Some(dev), None, Scope::Host),
        2 => !confirm(Some(dev), Some(sip), Scope::Host),
        3 => !confirm(None, Some(sip), Scope::Link),
        8 => true,
        _ => false,
    }
}

/// arp_filter: answer only on the device that leads back to who asks.
fn filtered(ns: &mut NetNs, dev: IfIndex, sip: Ipv4Addr, tip: Ipv4Addr) -> bool {
    ns.conf_or(dev, |c| c.arp_filter)
        && route::output(ns, &route::Flow4 { src: Some(tip), ..route::Flow4::to(sip) }).map_or(true, |r| r.oif != dev)
}

/// arp_fwd_proxy: this host would forward to the target, out of another device.
fn proxies(ns: &NetNs, dev: IfIndex, r: &route::Input) -> bool {
    r.kind == RouteType::Unicast
        && ns.dev(dev).is_some_and(|d| d.conf.forwarding != 0)
        && r.oif != dev
        && ns.conf_or(dev, |c| c.proxy_arp)
}

/// arp_solicit: asks for an entry, by unicast while it has an address and by broadcast after that. `on_behalf` is the
/// frame that wants to go there, with its source.
pub(in crate::kernel) fn solicit(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    key: NeighKey,
    on_behalf: Option<(FrameId, Ipv4Addr)>,
) {
    let std::net::IpAddr::V4(target) = key.addr else { return };
    let (Some(n), Some(d)) = (ns.neigh.get(key), ns.dev(key.dev)) else { return };
    let to = if n.probes < d.neigh.ucast_probes {
        n.ha
    } else if n.probes < d.neigh.ucast_probes + d.neigh.app_probes {
        return;
    } else {
        Mac::BROADCAST
    };
    let own = d.mac;
    let Some(sip) = announce(ns, key.dev, target, on_behalf.map(|b| b.1)) else { return };
    let arp = Arp { request: true, sha: own, sip, tha: Mac::ZERO, tip: target };
    send(ns, cx, key.dev, to, &arp, on_behalf.map(|b| b.0));
}

/// Which source address a request carries, by net.ipv4.conf.*.arp_announce.
fn announce(ns: &NetNs, dev: IfIndex, target: Ipv4Addr, packet_src: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let local = packet_src.filter(|s| ns.fib.addr_type(*s, None) == RouteType::Local);
    let same_subnet = |s: Ipv4Addr| {
        let subnets = ns.dev(dev).map_or(&[][..], |d| &d.addrs);
        subnets.iter().any(|a| a.subnet().contains(&target) && a.subnet().contains(&s))
    };
    let chosen = match ns.conf_max(dev, |c| c.arp_announce) {
        0 => local,
        1 => local.filter(|s| same_subnet(*s)),
        _ => None,
    };
    chosen.or_else(|| ns.select_addr(dev, Some(target), Scope::Link))
}

/// arp_send: one ARP packet on its way.
fn send(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, to: Mac, arp: &Arp, cause: Option<FrameId>) {
    if ns.dev(dev).is_none_or(|d| d.noarp) {
        return;
    }
    let mut f = cx.new_frame(cause);
    arp.write(f.put(ARP_LEN));
    f.truesize = truesize(ARP_LEN);
    put_ethernet(f.push_mac(ETH_HLEN), to, arp.sha, ETH_P_ARP);
    let _ = xmit(ns, cx, dev, f);
}

/// inetdev_send_gratuitous_arp: arp_notify wants an announcement when a device comes up or gets another hardware
/// address.
pub(in crate::kernel) fn notify(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex) {
    if !ns.conf_or(dev, |c| c.arp_notify) {
        return;
    }
    let Some(d) = ns.dev(dev) else { return };
    let own = d.mac;
    let addrs: Vec<Ipv4Addr> = d.addrs.iter().map(|a| a.local.addr()).collect();
    for a in addrs {
        let arp = Arp { request: true, sha: own, sip: a, tha: Mac::ZERO, tip: a };
        send(ns, cx, dev, Mac::BROADCAST, &arp, None);
    }
}

/// Requests that wait for the random delay of a proxied answer (arp_tbl.proxy_queue). Due times in jiffies.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct ProxyQueue {
    waiting: VecDeque<(u64, IfIndex, Frame)>,
    timer: Option<TimerId>,
}

impl ProxyQueue {
    pub(in crate::kernel) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Answers for another host, at once or after a random delay: whoever is the host itself answers sooner.
fn proxy(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, arp: &Arp, f: Frame) -> Flow {
    let Some(d) = ns.dev(dev) else { return cx.kill(f, DropReason::DevReady) };
    let (own, parms) = (d.mac, d.neigh);
    neigh::event_ns(ns, cx, NeighKey::v4(dev, arp.sip), arp.sha, &f);
    if f.pkt_type == PacketType::Host || parms.proxy_delay_ms == 0 {
        let reply = Arp { request: false, sha: own, sip: arp.tip, tha: arp.sha, tip: arp.sip };
        send(ns, cx, dev, arp.sha, &reply, Some(f.id));
        return cx.end(f, Fate::Consumed(Consumer::Arp));
    }
    if ns.neigh.proxy.len() as u64 > parms.proxy_qlen {
        return cx.kill(f, DropReason::NotSpecified);
    }
    let input = [cx.salt(), u64::from(dev.0), f.id.0];
    let delay = cx.prf.below(Purpose::ProxyDelay, &input, ms_to_jiffies(parms.proxy_delay_ms));
    let due = cx.jiffies() + delay;
    ns.neigh.proxy.waiting.push_back((due, dev, f));
    arm_proxy(ns, cx);
    Break(Fate::Queued)
}

fn arm_proxy(ns: &mut NetNs, cx: &mut Cx<'_>) {
    let q = &mut ns.neigh.proxy;
    if let Some(id) = q.timer.take() {
        cx.cpu.timers.cancel(id);
    }
    if let Some((due, dev, _)) = q.waiting.iter().min_by_key(|w| w.0) {
        q.timer = Some(cx.arm(due.saturating_sub(cx.jiffies()), Timer::ArpProxy(cx.ns, *dev)));
    }
}

/// neigh_proxy_process: answers what is due.
pub(in crate::kernel) fn proxy_timer(ns: &mut NetNs, cx: &mut Cx<'_>, _: IfIndex) {
    let now = cx.jiffies();
    ns.neigh.proxy.timer = None;
    while let Some(at) = ns.neigh.proxy.waiting.iter().position(|w| w.0 <= now) {
        let Some((_, dev, f)) = ns.neigh.proxy.waiting.remove(at) else { break };
        if let (Some(arp), Some(own)) = (Arp::parse(f.l3()), ns.dev(dev).filter(|d| d.up).map(|d| d.mac)) {
            let reply = Arp { request: false, sha: own, sip: arp.tip, tha: arp.sha, tip: arp.sip };
            send(ns, cx, dev, arp.sha, &reply, Some(f.id));
        }
        let _ = cx.end(f, Fate::Consumed(Consumer::Arp));
    }
    arm_proxy(ns, cx);
}
