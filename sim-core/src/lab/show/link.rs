//! `ip link show` and `ip addr show` (ip/ipaddress.c: print_linkinfo, print_addrinfo).

mod details;
mod stats;

use super::printer::Printer;
use super::{Format, LinkFilter};
use crate::base::Mac;
use crate::kernel::show::{AddrInfo, Flags, KindInfo, Link};
use std::net::Ipv4Addr;

/// ARPHRD_LOOPBACK
const ARPHRD_LOOPBACK: u16 = 772;
/// INFINITY_LIFE_TIME
const FOREVER: u32 = u32::MAX;

/// `ip link show`
pub fn links(links: &[Link], filter: &LinkFilter, format: Format) -> String {
    let mut p = Printer::new(format);
    for link in links.iter().filter(|l| selected(l, filter)) {
        p.object("");
        if format.brief {
            brief(&mut p, link);
            let (_, address, _) = hardware(link);
            p.field("address", address.as_str(), format_args!("{address} "));
            flags(&mut p, link.flags, is_m_down(link));
        } else {
            first_line(&mut p, link, true);
            second_line(&mut p, links, link, format, true);
            if format.stats > 0 {
                p.newline();
                stats::stats(&mut p, link, format);
            }
        }
        p.text(format_args!("\n"));
        p.end();
    }
    p.finish()
}

/// `ip addr show`; `inet_only` is `-4`.
pub fn addrs(links: &[Link], filter: &LinkFilter, inet_only: bool, format: Format) -> String {
    let mut p = Printer::new(format);
    for link in links.iter().filter(|l| selected(l, filter)) {
        if inet_only && link.addrs.is_empty() {
            continue;
        }
        p.object("");
        let oneline = format.oneline && !format.json && !format.brief;
        if format.brief {
            brief(&mut p, link);
        } else if !oneline {
            first_line(&mut p, link, false);
            if inet_only && !format.details {
                link_netns(&mut p, link);
            } else {
                second_line(&mut p, links, link, format, false);
            }
            p.text(format_args!("\n"));
        }
        p.array("addr_info");
        for addr in &link.addrs {
            if oneline {
                p.text(format_args!("{}: {}", link.index, link.name));
            }
            p.object("");
            address(&mut p, addr, format);
            p.end();
        }
        p.end();
        if format.brief {
            p.text(format_args!("\n"));
        } else if format.stats > 0 && !oneline {
            stats::stats(&mut p, link, format);
            p.text(format_args!("\n"));
        }
        p.end();
    }
    p.finish()
}

fn selected(link: &Link, filter: &LinkFilter) -> bool {
    let kind = match filter.kind.as_deref() {
        None => true,
        Some("bridge_slave") => link.port.is_some(),
        Some("bridge") => matches!(link.kind, KindInfo::Bridge(_)),
        Some("veth") => matches!(link.kind, KindInfo::Veth),
        Some("vxlan") => matches!(link.kind, KindInfo::Vxlan(_)),
        Some("ipip") => matches!(link.kind, KindInfo::Ipip(_)),
        Some(_) => false,
    };
    let master = || link.master.as_ref().map(|(_, name)| name);
    kind && filter.dev.as_ref().is_none_or(|d| *d == link.name)
        && (!filter.up || link.flags.up)
        && (filter.master.is_none() || filter.master.as_ref() == master())
}

fn brief(p: &mut Printer, link: &Link) {
    name(p, link, format_args!("{:<16} ", full_name(link)));
    p.field("operstate", link.operstate, format_args!("{:<14} ", link.operstate));
}

/// print_name_and_link
fn name(p: &mut Printer, link: &Link, text: std::fmt::Arguments<'_>) {
    match &link.peer {
        None if matches!(link.kind, KindInfo::Ipip(_)) => p.json("link", serde_json::Value::Null),
        None => {}
        Some(peer) => match &peer.name {
            Some(name) => p.json("link", name.as_str()),
            None => p.json("link_index", peer.index.0),
        },
    }
    p.field("ifname", link.name.as_str(), text);
}

/// `eth0`, `eth0@if3`, `veth0@veth1` or `tunl0@NONE`.
fn full_name(link: &Link) -> String {
    match &link.peer {
        None if matches!(link.kind, KindInfo::Ipip(_)) => format!("{}@NONE", link.name),
        None => link.name.clone(),
        Some(peer) => match &peer.name {
            Some(name) => format!("{}@{name}", link.name),
            None => format!("{}@if{}", link.name, peer.index),
        },
    }
}

fn is_m_down(link: &Link) -> bool {
    link.peer.as_ref().is_some_and(|p| p.down)
}

/// print_link_flags: the flags in angle brackets.
pub(super) fn flags(p: &mut Printer, flags: Flags, m_down: bool) {
    let words = [
        (flags.up && !flags.lower_up, "NO-CARRIER"),
        (flags.loopback, "LOOPBACK"),
        (flags.broadcast, "BROADCAST"),
        (flags.point_to_point, "POINTOPOINT"),
        (flags.multicast, "MULTICAST"),
        (flags.noarp, "NOARP"),
        (flags.slave, "SLAVE"),
        (flags.allmulti, "ALLMULTI"),
        (flags.promisc, "PROMISC"),
        (flags.up, "UP"),
        (flags.lower_up, "LOWER_UP"),
        (m_down, "M-DOWN"),
    ];
    let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    p.field("flags", words.clone(), format_args!("<{}> ", words.join(",")));
}

/// `mode` stands in `ip link` only.
fn first_line(p: &mut Printer, link: &Link, mode: bool) {
    p.field("ifindex", link.index.0, format_args!("{}: ", link.index));
    name(p, link, format_args!("{}: ", full_name(link)));
    flags(p, link.flags, is_m_down(link));
    p.field("mtu", link.mtu, format_args!("mtu {} ", link.mtu));
    p.field("qdisc", link.qdisc, format_args!("qdisc {} ", link.qdisc));
    if let Some((_, master)) = &link.master {
        p.field("master", master.as_str(), format_args!("master {master} "));
    }
    p.field("operstate", link.operstate, format_args!("state {} ", link.operstate));
    if mode {
        p.field("linkmode", "DEFAULT", format_args!("mode DEFAULT "));
    }
    p.field("group", "default", format_args!("group default "));
    if link.txqlen > 0 {
        p.field("txqlen", link.txqlen, format_args!("qlen {}", link.txqlen));
    }
}

fn second_line(p: &mut Printer, links: &[Link], link: &Link, format: Format, af: bool) {
    let (arphrd, address, broadcast) = hardware(link);
    p.newline();
    p.field("link_type", arphrd, format_args!("    link/{arphrd} "));
    p.field("address", address.as_str(), format_args!("{address}"));
    if link.flags.point_to_point {
        p.json("link_pointtopoint", true);
    }
    let brd = if link.flags.point_to_point { "peer" } else { "brd" };
    p.field("broadcast", broadcast.as_str(), format_args!(" {brd} {broadcast}"));
    link_netns(p, link);
    if format.details {
        details::details(p, links, link, af);
    }
}

/// What kind of link it is, its address there, and everybody's or the far end's.
fn hardware(link: &Link) -> (&'static str, String, String) {
    let host = |addr: Option<Ipv4Addr>| addr.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
    match &link.kind {
        KindInfo::Ipip(t) => ("ipip", host(t.tunnel.local), host(t.tunnel.remote)),
        _ if link.arphrd == ARPHRD_LOOPBACK => ("loopback", link.address.to_string(), Mac::ZERO.to_string()),
        _ => ("ether", link.address.to_string(), Mac::BROADCAST.to_string()),
    }
}

fn link_netns(p: &mut Printer, link: &Link) {
    if let Some(netns) = link.peer.as_ref().and_then(|p| p.netns.as_ref()) {
        match &netns.name {
            Some(name) => p.text(format_args!(" link-netns {name}")),
            None => p.text(format_args!(" link-netnsid {}", netns.id)),
        }
        p.json("link_netnsid", netns.id);
    }
}

pub(super) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// One address, with the end of its line.
fn address(p: &mut Printer, addr: &AddrInfo, format: Format) {
    if !format.brief {
        p.field("family", "inet", format_args!("    inet "));
    }
    local(p, addr);
    if format.brief {
        return;
    }
    if let Some(broadcast) = addr.broadcast {
        p.field("broadcast", broadcast.to_string(), format_args!("brd {broadcast} "));
    }
    let scope = super::route::scope(addr.scope);
    p.field("scope", scope, format_args!("scope {scope} "));
    if addr.secondary {
        p.field("secondary", true, format_args!("secondary "));
    }
    p.field("label", addr.label.as_str(), format_args!("{}", addr.label));
    p.newline();
    p.field("valid_life_time", FOREVER, format_args!("       valid_lft forever"));
    p.field("preferred_life_time", FOREVER, format_args!(" preferred_lft forever\n"));
}

fn local(p: &mut Printer, addr: &AddrInfo) {
    p.field("local", addr.local.addr().to_string(), format_args!("{}", addr.local.addr()));
    let len = match addr.peer {
        Some(peer) => {
            p.field("address", peer.addr().to_string(), format_args!(" peer {}", peer.addr()));
            peer.prefix_len()
        }
        None => addr.local.prefix_len(),
    };
    p.field("prefixlen", len, format_args!("/{len} "));
}
