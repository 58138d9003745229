//! Mirrors net/ipv4/route.c: which way out, and what is to become of what came in.

use super::exception::{self, Exception};
use super::icmp::{self, Error};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::fib::Found;
use crate::kernel::frame::Frame;
use crate::kernel::netlink::{RouteType, Scope};
use crate::kernel::netns::{LOOPBACK, NetNs};
use crate::kernel::rules::Lookup;
use crate::kernel::trace::{DropReason, Flow, RouteStep, What};
use std::net::Ipv4Addr;

/// struct flowi4: what a sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Flow4 {
    pub dst: Ipv4Addr,
    pub src: Option<Ipv4Addr>,
    pub oif: Option<IfIndex>,
    /// No wider than this.
    pub scope: Scope,
    pub mark: u32,
    /// FLOWI_FLAG_ANYSRC: the source need not be one of ours.
    pub any_src: bool,
}

impl Flow4 {
    /// To `dst`, whichever way and source are best.
    pub fn to(dst: Ipv4Addr) -> Self {
        Flow4 { dst, src: None, oif: None, scope: Scope::Global, mark: 0, any_src: false }
    }
}

/// struct rtable of an outgoing packet.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Output {
    pub dst: Ipv4Addr,
    pub kind: RouteType,
    pub oif: IfIndex,
    pub via: Option<Ipv4Addr>,
    pub src: Ipv4Addr,
    pub mtu: u32,
    /// ip_mtu_locked: the path MTU is not discovered, so DF is not set.
    pub mtu_locked: bool,
    /// The route's next hop, on which exceptions hang.
    pub nh: Option<u64>,
    /// What ICMP has told about the destination.
    pub exception: Option<Exception>,
    /// RTAX_MTU and whether it is locked.
    pub route_mtu: Option<(u32, bool)>,
    found: Option<((Ipv4Addr, u8), u32)>,
}

impl Output {
    /// rt_nexthop: whose hardware address is needed.
    pub fn next_hop(&self) -> Ipv4Addr {
        self.via.unwrap_or(self.dst)
    }

    /// Where the route was found.
    pub fn table(&self) -> Option<u32> {
        self.found.map(|(_, table)| table)
    }

    /// Tells the listeners how it was decided.
    pub fn explain(&self, ns: &NetNs, cx: &mut Cx<'_>, f: &Frame) {
        if !cx.steps {
            return;
        }
        let (prefix, table) = self.found.unwrap_or(((self.dst, 32), 0));
        candidates(ns, cx, f, self.dst, self.found);
        let step =
            RouteStep { dst: self.dst, prefix, table, kind: self.kind, via: self.via, oif: self.oif, src: self.src };
        cx.step(f, self.oif, What::RouteOutput(step));
    }
}

/// What decides about the route of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Arrival {
    pub dst: Ipv4Addr,
    pub src: Ipv4Addr,
    pub mark: u32,
    pub dev: IfIndex,
}

/// struct rtable of a received packet.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Input {
    pub kind: RouteType,
    /// Where it would leave by; the loopback device for what stays.
    pub oif: IfIndex,
    /// No way on: what ip_error is told of it.
    pub error: Option<Errno>,
    /// IPSKB_DOREDIRECT: the sender could have sent it to the next hop itself.
    pub redirect: bool,
    exception: Option<Exception>,
    found: Option<Found>,
}

impl Input {
    /// The next hop towards `dst`.
    pub fn next_hop(&self, dst: Ipv4Addr) -> Ipv4Addr {
        self.exception.and_then(|e| e.via).or(self.found.and_then(|f| f.route.via)).unwrap_or(dst)
    }

    /// Where the route was found.
    pub fn table(&self) -> Option<u32> {
        self.found.map(|f| f.table)
    }

    /// RTAX_MTU and whether it is locked.
    pub fn route_mtu(&self) -> Option<(u32, bool)> {
        self.found.and_then(|f| f.route.mtu)
    }

    /// ip_dst_mtu_maybe_forward: the route's MTU or the device's. A path MTU that others could have made up counts
    /// only with ip_forward_use_pmtu, or if it is locked.
    pub fn mtu(&self, ns: &NetNs) -> u32 {
        let route = self.found.and_then(|f| f.route.mtu);
        let locked = route.is_some_and(|(_, lock)| lock) || self.exception.is_some_and(|e| e.locked);
        let learned = self.exception.and_then(|e| e.mtu).filter(|_| locked || ns.ipv4.sysctl.ip_forward_use_pmtu != 0);
        learned.or(route.map(|(mtu, _)| mtu)).unwrap_or_else(|| ns.dev(self.oif).map_or(0, |d| d.mtu))
    }

    /// Tells the listeners how it was decided.
    pub fn explain(&self, ns: &NetNs, cx: &mut Cx<'_>, f: &Frame, dst: Ipv4Addr) {
        if !cx.steps {
            return;
        }
        candidates(ns, cx, f, dst, self.found.map(|f| (f.prefix, f.table)));
        let (prefix, table, via) = self.found.map_or(((dst, 32), 0, None), |f| (f.prefix, f.table, f.route.via));
        let src = Ipv4Addr::UNSPECIFIED;
        let step = RouteStep { dst, prefix, table, kind: self.kind, via, oif: self.oif, src };
        cx.step(f, self.oif, What::RouteInput(step));
    }
}

/// As many candidates of one decision are told.
const MAX_CANDIDATES: usize = 64;

/// Tells listeners who want details which prefixes the destination was compared with.
fn candidates(ns: &NetNs, cx: &mut Cx<'_>, f: &Frame, dst: Ipv4Addr, won: Option<((Ipv4Addr, u8), u32)>) {
    if !cx.sink.details() {
        return;
    }
    for (table, prefix) in ns.fib.candidates(dst).into_iter().take(MAX_CANDIDATES) {
        let wins = won == Some((prefix, table));
        cx.step(f, IfIndex(0), What::RouteCandidate { dst, prefix, table, wins });
    }
}

/// ip_route_output_key, for a flow that is known or a new one.
///
/// # Errors
/// EINVAL for a source that is not ours, ENETUNREACH and the like without a route.
pub(in crate::kernel) fn output(ns: &mut NetNs, flow: &Flow4) -> Result<Output, Errno> {
    let (genid, by) = (ns.rt_genid(), flow.dst.to_bits());
    if let Some(known) = genid.and_then(|genid| ns.ipv4.outputs.get(genid, flow, by)) {
        return Ok(known);
    }
    let found = output_slow(ns, flow)?;
    // An exception ends with time.
    if let Some(genid) = genid.filter(|_| found.exception.is_none()) {
        ns.ipv4.outputs.put(genid, *flow, by, found);
    }
    Ok(found)
}

/// ip_route_output_key_hash_rcu
///
/// # Errors
/// As [`output`].
pub(in crate::kernel) fn output_slow(ns: &NetNs, flow: &Flow4) -> Result<Output, Errno> {
    if let Some(src) = flow.src {
        let bad = src.is_multicast() || src.is_broadcast() || src.octets()[0] == 0;
        if bad {
            return Err(Errno::EINVAL);
        }
        if !flow.any_src && ns.local_dev(src).is_none() {
            return Err(Errno::ENETUNREACH);
        }
    }
    if let Some(oif) = flow.oif {
        let d = ns.dev(oif).ok_or(Errno::ENODEV)?;
        if !d.up {
            return Err(Errno::ENETUNREACH);
        }
    }
    let mut dst = flow.dst;
    if dst.is_unspecified() {
        dst = flow.src.unwrap_or(Ipv4Addr::LOCALHOST);
        return make(ns, dst, RouteType::Local, LOOPBACK, None, dst, None);
    }
    if dst.is_multicast() || dst.is_broadcast() {
        let kind = if dst.is_broadcast() { RouteType::Broadcast } else { RouteType::Multicast };
        if let Some(oif) = flow.oif.or_else(|| flow.src.and_then(|s| ns.local_dev(s))) {
            let src = flow.src.or_else(|| ns.select_addr(oif, None, Scope::Link)).unwrap_or(Ipv4Addr::UNSPECIFIED);
            return make(ns, dst, kind, oif, None, src, None);
        }
        // Nothing says which link: the one where its route leads, which has no say beyond that (fi = NULL).
        let r = ns.fib.lookup_flow(&Lookup { mark: flow.mark, ..Lookup::local(dst, flow.scope, None) })?.route;
        let oif = r.oif.ok_or(Errno::ENETUNREACH)?;
        let chosen = r.prefsrc.or_else(|| ns.select_addr(oif, r.via, r.scope));
        return make(ns, dst, kind, oif, None, chosen.unwrap_or(Ipv4Addr::UNSPECIFIED), None);
    }
    let src = flow.src.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let lookup = Lookup { src, mark: flow.mark, ..Lookup::local(dst, flow.scope, flow.oif) };
    let found = match (ns.fib.lookup_flow(&lookup), flow.oif) {
        (Ok(found), _) => found,
        // Bound to a device: the destination is taken to be on its link.
        (Err(_), Some(oif)) => {
            let src = flow.src.or_else(|| ns.select_addr(oif, None, Scope::Link)).unwrap_or(Ipv4Addr::UNSPECIFIED);
            return make(ns, dst, RouteType::Unicast, oif, None, src, None);
        }
        (Err(e), None) => return Err(e),
    };
    let r = found.route;
    if r.kind == RouteType::Local {
        let src = flow.src.or(r.prefsrc).unwrap_or(dst);
        return make(ns, dst, RouteType::Local, LOOPBACK, None, src, Some(found));
    }
    let oif = r.oif.ok_or(Errno::ENETUNREACH)?;
    let chosen = || r.prefsrc.or_else(|| ns.select_addr(oif, r.via, r.scope)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let src = flow.src.unwrap_or_else(chosen);
    make(ns, dst, r.kind, oif, r.via, src, Some(found))
}

/// __mkroute_output
fn make(
    ns: &NetNs,
    dst: Ipv4Addr,
    kind: RouteType,
    oif: IfIndex,
    via: Option<Ipv4Addr>,
    src: Ipv4Addr,
    found: Option<Found>,
) -> Result<Output, Errno> {
    let d = ns.dev(oif).ok_or(Errno::ENODEV)?;
    if src.is_loopback() && oif != LOOPBACK && !ns.conf_or(oif, |c| c.route_localnet) {
        return Err(Errno::EINVAL);
    }
    if dst.octets()[0] == 0 {
        return Err(Errno::EINVAL);
    }
    let nh = found.filter(|f| f.route.kind == RouteType::Unicast).map(|f| f.nh);
    let exception = nh.and_then(|nh| ns.ipv4.exceptions.find(nh, dst, ns.now));
    let route_mtu = found.and_then(|f| f.route.mtu);
    let learned = exception.filter(|e| ns.now < e.expires).and_then(|e| e.mtu);
    Ok(Output {
        dst,
        kind,
        oif,
        via: exception.and_then(|e| e.via).or(via),
        src,
        mtu: learned.or(route_mtu.map(|(mtu, _)| mtu)).unwrap_or(d.mtu),
        mtu_locked: route_mtu.is_some_and(|(_, lock)| lock) || exception.is_some_and(|e| e.locked),
        nh,
        exception,
        route_mtu,
        found: found.map(|f| (f.prefix, f.table)),
    })
}

/// ip_route_input_rcu, for a packet from `src` to `dst` with a mark that came in by `dev`.
///
/// # Errors
/// Why it is dropped without a word.
pub(in crate::kernel) fn input_dst(
    ns: &mut NetNs,
    dst: Ipv4Addr,
    src: Ipv4Addr,
    mark: u32,
    dev: IfIndex,
) -> Result<Input, DropReason> {
    let flow = Arrival { dst, src, mark, dev };
    let (genid, by) = (ns.rt_genid(), dst.to_bits() ^ src.to_bits().rotate_left(8));
    if let Some(known) = genid.and_then(|genid| ns.ipv4.inputs.get(genid, &flow, by)) {
        return Ok(known);
    }
    let found = input_slow(ns, flow)?;
    if let Some(genid) = genid.filter(|_| found.exception.is_none()) {
        ns.ipv4.inputs.put(genid, flow, by, found);
    }
    Ok(found)
}

/// ip_route_input_slow
///
/// # Errors
/// As [`input_dst`].
pub(in crate::kernel) fn input_slow(ns: &NetNs, Arrival { dst, src, mark, dev }: Arrival) -> Result<Input, DropReason> {
    use DropReason::{IpInAddrErrors, IpInvalidDest, IpInvalidSource, IpLocalnet};
    if src.is_multicast() || src.is_broadcast() {
        return Err(IpInvalidSource);
    }
    let local = |kind| Input { kind, oif: LOOPBACK, error: None, redirect: false, exception: None, found: None };
    if dst.is_broadcast() || src.is_unspecified() && dst.is_unspecified() {
        return Ok(local(RouteType::Broadcast));
    }
    if src.octets()[0] == 0 {
        return Err(IpInvalidSource);
    }
    if dst.octets()[0] == 0 {
        return Err(IpInvalidDest);
    }
    let localnet = dev == LOOPBACK || ns.conf_or(dev, |c| c.route_localnet);
    if !localnet && (dst.is_loopback() || src.is_loopback()) {
        return Err(IpLocalnet);
    }
    let forwarding = ns.dev(dev).is_some_and(|d| d.conf.forwarding != 0);
    let lookup = Lookup { src, mark, iif: dev, ..Lookup::local(dst, Scope::Global, None) };
    let found = match ns.fib.lookup_flow(&lookup) {
        Ok(found) => found,
        // A host that does not forward says nothing.
        Err(_) if !forwarding => return Err(IpInAddrErrors),
        Err(errno) => return Ok(Input { error: Some(errno), ..local(RouteType::Unreachable) }),
    };
    match found.route.kind {
        kind @ (RouteType::Local | RouteType::Broadcast) => {
            validate_source(ns, (src, dst), mark, dev, None)?;
            Ok(Input { found: Some(found), ..local(kind) })
        }
        RouteType::Unicast if forwarding => {
            let oif = found.route.oif.ok_or(IpInAddrErrors)?;
            let near = validate_source(ns, (src, dst), mark, dev, Some(oif))?;
            let redirect = oif == dev
                && near
                && ns.conf_or(dev, |c| c.send_redirects)
                && (ns.conf_or(dev, |c| c.shared_media) || exception::on_link(ns, dev, src, found.route.via));
            let exception = ns.ipv4.exceptions.find(found.nh, dst, ns.now);
            Ok(Input { oif, redirect, exception, found: Some(found), ..local(RouteType::Unicast) })
        }
        _ => Err(IpInAddrErrors),
    }
}

/// ip_error: the packet has no way on; its sender is told as far as the two limits allow.
#[cold]
pub(in crate::kernel) fn ip_error(ns: &mut NetNs, cx: &mut Cx<'_>, errno: Errno, f: Frame) -> Flow {
    let error = match errno {
        Errno::EHOSTUNREACH => Error::HostUnreachable,
        Errno::ENETUNREACH => Error::NetUnreachable,
        Errno::EACCES => Error::AdminProhibited,
        _ => return cx.kill(f, DropReason::NotSpecified),
    };
    let now = cx.jiffies();
    if ns.ipv4.peers.entry(super::source(f.l3()), now).is_none_or(|peer| peer.error_allow(now)) {
        icmp::send(ns, cx, &f, error);
    }
    let why = if errno == Errno::ENETUNREACH { DropReason::IpInNoRoutes } else { DropReason::NotSpecified };
    cx.kill(f, why)
}

/// ip_rt_send_redirect: tells the sender of `f` that it may send to the next hop itself; ever more rarely.
#[cold]
pub(in crate::kernel) fn send_redirect(ns: &mut NetNs, cx: &mut Cx<'_>, gateway: Ipv4Addr, f: &Frame) {
    let now = cx.jiffies();
    if ns.ipv4.peers.entry(super::source(f.l3()), now).is_none_or(|peer| peer.redirect_allow(now)) {
        icmp::send(ns, cx, f, Error::Redirect { gateway });
    }
}

/// fib_validate_source: would an answer go back the way that this came? Tells whether its sender is on that link.
fn validate_source(
    ns: &NetNs,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    mark: u32,
    dev: IfIndex,
    oif: Option<IfIndex>,
) -> Result<bool, DropReason> {
    if dev == LOOPBACK {
        return Ok(false);
    }
    let rp_filter = ns.conf_max(dev, |c| c.rp_filter);
    let may_redirect = oif == Some(dev) && ns.conf_or(dev, |c| c.send_redirects);
    if rp_filter == 0 && !may_redirect {
        if ns.conf_or(dev, |c| c.accept_local) {
            return Ok(false);
        }
        if !ns.fib.custom_local_routes && !ns.fib.rules.custom() {
            return if ns.fib.is_local(src) { Err(DropReason::IpLocalSource) } else { Ok(false) };
        }
    }
    // __fib_validate_source
    let mark = if ns.conf_or(dev, |c| c.src_valid_mark) { mark } else { 0 };
    let flow = Lookup { src: dst, iif: oif.unwrap_or(LOOPBACK), mark, ..Lookup::local(src, Scope::Global, None) };
    let back = ns.fib.lookup_flow(&flow);
    match back {
        Ok(found) if found.route.kind == RouteType::Local => {
            let accepted = ns.conf_or(dev, |c| c.accept_local);
            if accepted { Ok(false) } else { Err(DropReason::IpLocalSource) }
        }
        Ok(found) if found.route.kind != RouteType::Unicast => Err(DropReason::IpInvalidSource),
        Ok(found) if found.route.oif == Some(dev) => Ok(found.route.via.is_none()),
        Ok(_) if rp_filter != 1 => {
            let there = ns.fib.lookup_flow(&Lookup { oif: Some(dev), ..flow });
            Ok(there.is_ok_and(|f| f.route.kind == RouteType::Unicast && f.route.via.is_none()))
        }
        Err(_) if rp_filter == 0 => Ok(false),
        _ => Err(DropReason::IpRpFilter),
    }
}
