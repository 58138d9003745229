//! inet_rtm_newroute and its helpers (net/ipv4/fib_frontend.c, fib_semantics.c).

use super::{Op, Route, RouteFlush, RouteType, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, find};
use crate::base::IfIndex;
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::fib::{Alias, mask};
use crate::kernel::netns::{LOOPBACK, NetNs};
use std::net::Ipv4Addr;

/// RTPROT_BOOT: what a person sets.
const RTPROT_BOOT: u8 = 3;

pub(super) fn add(ns: &mut NetNs, op: Op, r: &Route) -> Result<(), NlError> {
    let alias = check(ns, r)?;
    ns.fib.insert(table(r), r.dst, alias, op)?;
    ns.fib.custom_local_routes |= alias.kind == RouteType::Local;
    Ok(())
}

pub(super) fn del(ns: &mut NetNs, r: &Route) -> Result<(), NlError> {
    let dev = r.dev.as_deref().map(|d| find(ns, d)).transpose()?;
    let fits = |a: &Alias| {
        (r.kind == RouteType::Unicast || a.kind == r.kind)
            && dev.is_none_or(|d| a.oif == Some(d))
            && r.via.is_none_or(|v| a.via == Some(v))
            && r.src.is_none_or(|s| a.prefsrc == Some(s))
            && r.metric.is_none_or(|m| a.metric == m)
            && r.scope.is_none_or(|s| a.scope == s)
            && r.proto.is_none_or(|p| a.proto == p)
    };
    ns.fib.remove(table(r), r.dst, fits).map(|_| ()).ok_or(Errno::ESRCH.into())
}

/// What `ip route flush` deletes; the cache holds what ICMP has told (PMTU, redirects).
pub(super) fn flush(ns: &mut NetNs, which: &RouteFlush) -> Result<(), NlError> {
    if which.cache {
        ns.ipv4.exceptions.flush();
        return Ok(());
    }
    let dev = which.dev.as_deref().map(|d| find(ns, d)).transpose()?;
    let table = which.table.unwrap_or(TABLE_MAIN);
    let built_in = [TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT].contains(&table);
    if !built_in && ns.fib.tables().all(|t| t != table) {
        return Err(NlError::ext(Errno::ENOENT, "ipv4: FIB table does not exist"));
    }
    ns.fib.remove_all(|t, dst, a| {
        t == table && dev.is_none_or(|d| a.oif == Some(d)) && which.dst.is_none_or(|want| want == dst)
    });
    Ok(())
}

fn table(r: &Route) -> u32 {
    let default = if matches!(r.kind, RouteType::Local | RouteType::Broadcast) { TABLE_LOCAL } else { TABLE_MAIN };
    r.table.unwrap_or(default)
}

/// fib_create_info
fn check(ns: &NetNs, r: &Route) -> Result<Alias, NlError> {
    if mask(r.dst.addr(), r.dst.prefix_len()) != r.dst.addr() {
        return Err(NlError::ext(Errno::EINVAL, "Invalid prefix for given prefix length"));
    }
    let default_scope = match r.kind {
        RouteType::Local => Scope::Host,
        RouteType::Broadcast | RouteType::Multicast => Scope::Link,
        RouteType::Unicast if r.via.is_none() => Scope::Link,
        _ => Scope::Global,
    };
    let mut alias = Alias {
        kind: r.kind,
        scope: r.scope.unwrap_or(default_scope),
        proto: r.proto.unwrap_or(RTPROT_BOOT),
        metric: r.metric.unwrap_or(0),
        oif: r.dev.as_deref().map(|d| find(ns, d)).transpose()?,
        via: r.via,
        prefsrc: r.src,
        mtu: r.mtu,
        onlink: r.onlink,
        linkdown: false,
    };
    let has_next_hop =
        matches!(r.kind, RouteType::Unicast | RouteType::Local | RouteType::Broadcast | RouteType::Multicast);
    if has_next_hop {
        alias.oif = Some(next_hop(ns, &alias)?);
    } else if alias.oif.is_some() || alias.via.is_some() {
        return Err(NlError::ext(
            Errno::EINVAL,
            "Gateway, device and multipath can not be specified for this route type",
        ));
    }
    if let Some(src) = r.src
        && ns.local_dev(src).is_none()
    {
        return Err(NlError::ext(Errno::EINVAL, "Invalid prefsrc address"));
    }
    alias.linkdown = alias.oif.and_then(|o| ns.dev(o)).is_some_and(|d| !d.linked);
    Ok(alias)
}

/// fib_check_nh: the device that the route leaves by.
fn next_hop(ns: &NetNs, alias: &Alias) -> Result<IfIndex, NlError> {
    let down = || NlError::ext(Errno::ENETDOWN, "Nexthop device is not up");
    match (alias.via, alias.oif) {
        (Some(via), oif) => gateway(ns, alias, via, oif),
        (None, Some(oif)) if ns.dev(oif).is_some_and(|d| d.up) => Ok(oif),
        (None, Some(_)) => Err(NlError::ext(Errno::ENETDOWN, "Device for nexthop is not up")),
        (None, None) if alias.kind == RouteType::Local => ns.dev(LOOPBACK).map(|d| d.index).ok_or_else(down),
        (None, None) => Err(Errno::ENODEV.into()),
    }
}

/// fib_check_nh_v4_gw
fn gateway(ns: &NetNs, alias: &Alias, via: Ipv4Addr, oif: Option<IfIndex>) -> Result<IfIndex, NlError> {
    let invalid = |errno| NlError::ext(errno, "Nexthop has invalid gateway");
    if alias.onlink {
        let oif = oif.ok_or(NlError::ext(Errno::EINVAL, "Nexthop device required for onlink"))?;
        let d = ns.dev(oif).ok_or(Errno::ENODEV)?;
        if !d.up {
            return Err(NlError::ext(Errno::ENETDOWN, "Nexthop device is not up"));
        }
        if ns.fib.addr_type(via, Some(oif)) != RouteType::Unicast {
            return Err(invalid(Errno::EINVAL));
        }
        return Ok(oif);
    }
    if alias.scope >= Scope::Link {
        return Err(NlError::ext(Errno::EINVAL, "Nexthop has invalid scope"));
    }
    let found = ns.fib.lookup(via, Scope::Link, oif).map_err(|_| invalid(Errno::ENETUNREACH))?;
    if !matches!(found.route.kind, RouteType::Unicast | RouteType::Local) {
        return Err(invalid(Errno::EINVAL));
    }
    let out = oif.or(found.route.oif).ok_or(NlError::ext(Errno::EINVAL, "No egress device for nexthop"))?;
    if ns.dev(out).is_some_and(|d| d.up) { Ok(out) } else { Err(invalid(Errno::ENETDOWN)) }
}
