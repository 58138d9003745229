//! inet_insert_ifa, inet_del_ifa and what follows from an address (net/ipv4/devinet.c, fib_frontend.c: fib_add_ifaddr).

use super::{Addr, Op, RouteType, Scope, TABLE_LOCAL, TABLE_MAIN, find};
use crate::base::IfIndex;
use crate::kernel::conntrack::CtCx;
use crate::kernel::cx::Cx;
use crate::kernel::dev::IfAddr;
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::fib::Alias;
use crate::kernel::netns::NetNs;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// RTPROT_KERNEL
const RTPROT_KERNEL: u8 = 2;
/// As many addresses one device has.
const MAX_ADDRS: usize = 4096;

pub(super) fn add(ns: &mut NetNs, cx: &mut Cx<'_>, a: &Addr) -> Result<(), NlError> {
    let dev = find(ns, &a.dev)?;
    let d = ns.dev_mut(dev).ok_or(Errno::ENODEV)?;
    let loopback = a.local.addr().is_loopback();
    let mut new = IfAddr {
        local: a.local,
        peer: a.peer,
        broadcast: a.broadcast,
        scope: a.scope.unwrap_or(if loopback { Scope::Host } else { Scope::Global }),
        secondary: false,
        label: a.label.clone().unwrap_or_else(|| d.name.clone()),
    };
    for old in &d.addrs {
        if old.local.prefix_len() == new.local.prefix_len() && old.subnet() == new.subnet() {
            if old.local.addr() == new.local.addr() {
                return Err(NlError::ext(Errno::EEXIST, "ipv4: Address already assigned"));
            }
            new.secondary = true;
        }
    }
    if d.addrs.len() >= MAX_ADDRS {
        return Err(Errno::ENOBUFS.into());
    }
    // Behind the last primary address of the same scope or of a narrower one.
    let last = d.addrs.iter().rposition(|a| !a.secondary && a.scope >= new.scope);
    let at = if new.secondary { d.addrs.len() } else { last.map_or(0, |at| at + 1) };
    d.addrs.insert(at, new.clone());
    cx.sink.device(&d.describe(cx.ns));
    add_routes(ns, dev, &new);
    Ok(())
}

pub(super) fn del(ns: &mut NetNs, cx: &mut Cx<'_>, a: &Addr) -> Result<(), NlError> {
    let dev = find(ns, &a.dev)?;
    let d = ns.dev(dev).ok_or(Errno::ENODEV)?;
    let fits = |x: &IfAddr| {
        x.local.addr() == a.local.addr()
            && (a.local.prefix_len() == 32 || x.local.prefix_len() == a.local.prefix_len())
            && a.label.as_ref().is_none_or(|l| *l == x.label)
    };
    let at = d.addrs.iter().position(fits);
    let at = at.ok_or(NlError::ext(Errno::EADDRNOTAVAIL, "ipv4: Address not found"))?;
    remove(ns, cx, dev, at);
    Ok(())
}

pub(super) fn flush(ns: &mut NetNs, cx: &mut Cx<'_>, dev: &str) -> Result<(), NlError> {
    let dev = find(ns, dev)?;
    while ns.dev(dev).is_some_and(|d| !d.addrs.is_empty()) {
        remove(ns, cx, dev, 0);
    }
    Ok(())
}

/// __inet_del_ifa: a primary takes its secondaries with it, unless they are promoted.
fn remove(ns: &mut NetNs, cx: &mut Cx<'_>, dev: IfIndex, at: usize) {
    let promote = ns.conf_or(dev, |c| c.promote_secondaries);
    let Some(d) = ns.dev_mut(dev).filter(|d| at < d.addrs.len()) else { return };
    let gone = d.addrs.remove(at);
    let mut dropped = vec![gone.clone()];
    if !gone.secondary {
        let same = |a: &IfAddr| a.secondary && a.subnet() == gone.subnet();
        if promote {
            if let Some(next) = d.addrs.iter_mut().find(|a| same(a)) {
                next.secondary = false;
            }
        } else {
            dropped.extend(d.addrs.iter().filter(|a| same(a)).cloned());
            d.addrs.retain(|a| !same(a));
        }
    }
    cx.sink.device(&d.describe(cx.ns));
    let up = d.up;
    let left = d.addrs.clone();
    for a in &dropped {
        del_routes(ns, dev, a);
        // masq_inet_event
        ns.ct.masq_cleanup(&CtCx::of(cx), dev, Some(a.local.addr().into()));
    }
    // What the others on the device still need is put back (fib_del_ifaddr keeps it).
    if up {
        for a in &left {
            add_routes(ns, dev, a);
        }
    }
    // fib_sync_down_addr: routes that prefer the address as a source go with it.
    let addr = gone.local.addr();
    if ns.local_dev(addr).is_none() {
        ns.fib.remove_all(|_, _, a| a.prefsrc == Some(addr));
    }
}

/// fib_add_ifaddr: the routes that an address brings. The local one at once, the others while the device is up.
pub(super) fn add_routes(ns: &mut NetNs, dev: IfIndex, a: &IfAddr) {
    let Some((up, loopback)) = ns.dev(dev).map(|d| (d.up, d.arphrd() == crate::kernel::dev::ARPHRD_LOOPBACK)) else {
        return;
    };
    let addr = a.local.addr();
    // A secondary address is no source: the routes to it name the primary one.
    let prim = primary(ns, dev, a).unwrap_or(addr);
    put(ns, TABLE_LOCAL, Ipv4Net::from(addr), RouteType::Local, Scope::Host, dev, prim);
    if !up {
        return;
    }
    if let Some(b) = a.broadcast.filter(|b| !b.is_broadcast()) {
        put(ns, TABLE_LOCAL, Ipv4Net::from(b), RouteType::Broadcast, Scope::Link, dev, prim);
    }
    let net = a.subnet();
    let zero = net.network().octets()[0] == 0;
    if zero || a.secondary || net.prefix_len() == 32 && a.peer.is_none() {
        return;
    }
    if loopback {
        put(ns, TABLE_LOCAL, net, RouteType::Local, Scope::Host, dev, addr);
    } else {
        put(ns, TABLE_MAIN, net, RouteType::Unicast, Scope::Link, dev, addr);
    }
    if net.prefix_len() < 31 {
        put(ns, TABLE_LOCAL, Ipv4Net::from(net.broadcast()), RouteType::Broadcast, Scope::Link, dev, addr);
    }
}

/// inet_ifa_byprefix: the primary address of the subnet that `a` is a secondary address of.
fn primary(ns: &NetNs, dev: IfIndex, a: &IfAddr) -> Option<Ipv4Addr> {
    let same = |p: &&IfAddr| a.secondary && !p.secondary && p.subnet() == a.subnet();
    Some(ns.dev(dev)?.addrs.iter().find(same)?.local.addr())
}

fn del_routes(ns: &mut NetNs, dev: IfIndex, a: &IfAddr) {
    let addr = a.local.addr();
    let own = [Some(addr), a.broadcast].map(|a| a.map(Ipv4Net::from));
    ns.fib.remove_all(|table, dst, r| {
        let of = r.prefsrc == Some(addr) || table == TABLE_LOCAL && own.contains(&Some(dst));
        r.oif == Some(dev) && r.proto == RTPROT_KERNEL && of
    });
}

/// fib_magic: appended, so that an equal route of another address stays in front.
fn put(ns: &mut NetNs, table: u32, dst: Ipv4Net, kind: RouteType, scope: Scope, dev: IfIndex, src: Ipv4Addr) {
    let linkdown = kind != RouteType::Local && ns.dev(dev).is_some_and(|d| !d.linked);
    let alias = Alias {
        kind,
        scope,
        proto: RTPROT_KERNEL,
        metric: 0,
        oif: Some(dev),
        via: None,
        prefsrc: Some(src),
        mtu: None,
        onlink: false,
        linkdown,
    };
    // It may be there already: then there is nothing to do.
    let _ = ns.fib.insert(table, dst, alias, Op::Append);
}
