//! `ip route show` (ip/iproute.c: print_route).

use super::printer::Printer;
use super::{DstMatch, Format, RouteFilter, Tables};
use crate::kernel::netlink::{RouteType, Scope, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::kernel::show::{RouteGet, RouteInfo, RouteQuery};
use ipnet::Ipv4Net;

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
    let mut p = Printer::new(format);
    for route in routes.iter().filter(|r| selected(r, filter)) {
        p.object("");
        line(&mut p, route, filter, format);
        p.end();
    }
    p.finish()
}

/// `ip route get`
pub fn route_get(query: &RouteQuery, route: &RouteGet, format: Format) -> String {
    let mut p = Printer::new(format);
    p.object("");
    if route.kind != RouteType::Unicast || format.details {
        p.field("type", kind(route.kind), format_args!("{} ", kind(route.kind)));
    }
    p.field("dst", query.dst.to_string(), format_args!("{} ", query.dst));
    if let Some(from) = query.from {
        p.field("from", from.to_string(), format_args!("from {from} "));
    }
    if let Some(via) = route.via {
        p.field("gateway", via.to_string(), format_args!("via {via} "));
    }
    p.field("dev", route.dev.as_str(), format_args!("dev {} ", route.dev));
    if route.table != TABLE_MAIN || format.details {
        p.field("table", table(route.table), format_args!("table {} ", table(route.table)));
    }
    if let Some(src) = route.src {
        p.field("prefsrc", src.to_string(), format_args!("src {src} "));
    }
    p.array("flags");
    p.end();
    if query.iif.is_none() {
        p.field("uid", 0, format_args!("uid 0 "));
    }
    cache(&mut p, route);
    metrics(&mut p, route.mtu);
    if let Some(iif) = &query.iif {
        p.field("iif", iif.as_str(), format_args!("iif {iif} "));
    }
    p.text(format_args!("\n"));
    p.end();
    p.finish()
}

/// print_cache_flags and print_rta_cacheinfo
fn cache(p: &mut Printer, route: &RouteGet) {
    let flags: &[&str] = match route.kind {
        RouteType::Local => &["local"],
        RouteType::Broadcast => &["local", "brd"],
        RouteType::Multicast => &["local", "mc"],
        _ if route.redirected => &["redirected"],
        _ if route.redirect => &["redirect"],
        _ => &[],
    };
    p.newline();
    p.field("cache", flags, format_args!("    cache "));
    if !flags.is_empty() {
        p.text(format_args!("<{}> ", flags.join(",")));
    }
    if let Some(left) = route.expires_s {
        p.field("expires", left, format_args!("expires {left}sec "));
    }
}

/// print_rta_metrics
fn metrics(p: &mut Printer, mtu: Option<(u32, bool)>) {
    let Some((mtu, lock)) = mtu else { return };
    p.array("metrics");
    p.object("");
    p.field("mtu", mtu, format_args!("mtu {}{mtu} ", if lock { "lock " } else { "" }));
    p.end();
    p.end();
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

fn line(p: &mut Printer, route: &RouteInfo, filter: &RouteFilter, format: Format) {
    if route.kind != RouteType::Unicast || format.details {
        p.field("type", kind(route.kind), format_args!("{} ", kind(route.kind)));
    }
    p.field("dst", destination(route.dst), format_args!("{} ", destination(route.dst)));
    if let Some(via) = route.via {
        p.field("gateway", via.to_string(), format_args!("via {via} "));
    }
    if let Some(dev) = route.dev.as_ref().filter(|_| filter.dev.is_none()) {
        p.field("dev", dev.as_str(), format_args!("dev {dev} "));
    }
    if filter.tables == Tables::All && (route.table != TABLE_MAIN || format.details) {
        p.field("table", table(route.table), format_args!("table {} ", table(route.table)));
    }
    if filter.proto.is_none() && (route.proto != BOOT || format.details) {
        p.field("protocol", protocol(route.proto), format_args!("proto {} ", protocol(route.proto)));
    }
    if route.scope != Scope::Global || format.details {
        p.field("scope", scope(route.scope), format_args!("scope {} ", scope(route.scope)));
    }
    if let Some(src) = route.src {
        p.field("prefsrc", src.to_string(), format_args!("src {src} "));
    }
    if route.metric > 0 {
        p.field("metric", route.metric, format_args!("metric {} ", route.metric));
    }
    p.array("flags");
    if route.onlink {
        p.item("onlink", format_args!("onlink "));
    }
    if route.linkdown {
        p.item("linkdown", format_args!("linkdown "));
    }
    p.end();
    metrics(p, route.mtu);
    p.text(format_args!("\n"));
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
