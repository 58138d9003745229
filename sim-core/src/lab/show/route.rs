//! `ip route show` (ip/iproute.c: print_route).

use super::{DstMatch, Format, RouteFilter, Tables};
use crate::kernel::netlink::{RouteType, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::kernel::show::{RouteGet, RouteInfo, RouteQuery};
use ipnet::Ipv4Net;
use std::fmt::Write;

/// RTPROT_BOOT: a route made by hand.
const BOOT: u8 = 3;

/// /etc/iproute2/rt_protos
pub const PROTOCOLS: [(u8, &str); 22] = [
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (BOOT, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (18, "keepalived"),
    (42, "babel"),
    (99, "openr"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

/// `ip route show`; `routes` are those of the tables that the filter names.
pub fn routes(routes: &[RouteInfo], filter: &RouteFilter, format: Format) -> String {
    let mut out = String::new();
    for route in routes.iter().filter(|r| selected(r, filter)) {
        line(&mut out, route, filter, format);
    }
    out
}

/// `ip route get`
pub fn route_get(query: &RouteQuery, route: &RouteGet, format: Format) -> String {
    let mut out = String::new();
    if route.kind != RouteType::Unicast {
        let _ = write!(out, "{} ", kind(route.kind));
    }
    let _ = write!(out, "{} ", query.dst);
    if let Some(from) = query.from {
        let _ = write!(out, "from {from} ");
    }
    if let Some(via) = route.via {
        let _ = write!(out, "via {via} ");
    }
    let _ = write!(out, "dev {} ", route.dev);
    if route.table != TABLE_MAIN {
        let _ = write!(out, "table {} ", table(route.table));
    }
    if let Some(src) = route.src {
        let _ = write!(out, "src {src} ");
    }
    if query.iif.is_none() {
        out.push_str("uid 0 ");
    }
    let _ = write!(out, "{}    cache ", format.newline());
    match route.kind {
        RouteType::Local => out.push_str("<local> "),
        RouteType::Broadcast => out.push_str("<local,brd> "),
        RouteType::Multicast => out.push_str("<local,mc> "),
        _ if route.redirected => out.push_str("<redirected> "),
        _ if route.redirect => out.push_str("<redirect> "),
        _ => {}
    }
    if let Some(left) = route.expires_s {
        let _ = write!(out, "expires {left}sec ");
    }
    if let Some((mtu, lock)) = route.mtu {
        let _ = write!(out, "mtu {}{mtu} ", if lock { "lock " } else { "" });
    }
    if let Some(iif) = &query.iif {
        let _ = write!(out, "iif {iif} ");
    }
    out.push('\n');
    out
}

fn selected(route: &RouteInfo, filter: &RouteFilter) -> bool {
    let dst = match filter.dst {
        None => true,
        Some((DstMatch::Root, net)) => net.contains(&route.dst),
        Some((DstMatch::Match, net)) => route.dst.contains(&net.trunc()),
        Some((DstMatch::Exact, net)) => net.trunc() == route.dst,
    };
    dst && filter.dev.as_ref().is_none_or(|d| route.dev.as_ref() == Some(d))
        && filter.proto.is_none_or(|p| route.proto == p)
}

fn line(out: &mut String, route: &RouteInfo, filter: &RouteFilter, format: Format) {
    if route.kind != RouteType::Unicast || format.details {
        let _ = write!(out, "{} ", kind(route.kind));
    }
    let _ = write!(out, "{} ", destination(route.dst));
    if let Some(via) = route.via {
        let _ = write!(out, "via {via} ");
    }
    if let Some(dev) = route.dev.as_ref().filter(|_| filter.dev.is_none()) {
        let _ = write!(out, "dev {dev} ");
    }
    if filter.tables == Tables::All && route.table != TABLE_MAIN {
        let _ = write!(out, "table {} ", table(route.table));
    }
    if filter.proto.is_none() && (route.proto != BOOT || format.details) {
        let _ = write!(out, "proto {} ", protocol(route.proto));
    }
    if route.scope != Scope::Global || format.details {
        let _ = write!(out, "scope {} ", scope(route.scope));
    }
    if let Some(src) = route.src {
        let _ = write!(out, "src {src} ");
    }
    if route.metric > 0 {
        let _ = write!(out, "metric {} ", route.metric);
    }
    if route.onlink {
        out.push_str("onlink ");
    }
    if route.linkdown {
        out.push_str("linkdown ");
    }
    if let Some((mtu, lock)) = route.mtu {
        let _ = write!(out, "mtu {}{mtu} ", if lock { "lock " } else { "" });
    }
    out.push('\n');
}

/// `default`, an address or a prefix.
pub(in crate::lab) fn destination(dst: Ipv4Net) -> String {
    match dst.prefix_len() {
        // A request may have bits behind its length, which the kernel refuses.
        0 if dst == Ipv4Net::default() => "default".to_owned(),
        32 => dst.addr().to_string(),
        _ => dst.to_string(),
    }
}

/// rtnl_rtntype_n2a
pub(in crate::lab) fn kind(kind: RouteType) -> &'static str {
    match kind {
        RouteType::Unicast => "unicast",
        RouteType::Local => "local",
        RouteType::Broadcast => "broadcast",
        RouteType::Multicast => "multicast",
        RouteType::Blackhole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        RouteType::Throw => "throw",
    }
}

/// rtnl_rtscope_n2a
pub(in crate::lab) fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::Site => "site",
        Scope::Link => "link",
        Scope::Host => "host",
        Scope::Nowhere => "nowhere",
    }
}

/// rtnl_rttable_n2a
pub(in crate::lab) fn table(id: u32) -> String {
    match id {
        TABLE_LOCAL => "local".to_owned(),
        TABLE_MAIN => "main".to_owned(),
        TABLE_DEFAULT => "default".to_owned(),
        id => id.to_string(),
    }
}

/// rtnl_rtprot_n2a
pub(in crate::lab) fn protocol(id: u8) -> String {
    match PROTOCOLS.iter().find(|(known, _)| *known == id) {
        Some((_, name)) => (*name).to_owned(),
        None => id.to_string(),
    }
}
