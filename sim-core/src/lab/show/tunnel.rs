//! `ip tunnel show` (ip/iptunnel.c: print_tunnel).

use crate::kernel::netlink::Ipip;
use crate::kernel::show::{KindInfo, Link};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// A line for each tunnel, or for the one called `dev`.
pub(super) fn tunnels(links: &[Link], dev: Option<&str>) -> String {
    let mut out = String::new();
    for link in links.iter().filter(|l| dev.is_none_or(|dev| dev == l.name)) {
        if let KindInfo::Ipip(t) = &link.kind {
            out.push_str(&line(&link.name, &t.tunnel));
        }
    }
    out
}

fn line(name: &str, t: &Ipip) -> String {
    let end = |addr: Option<Ipv4Addr>| addr.map_or("any".to_owned(), |addr| addr.to_string());
    let carries = if t.only_ipv4 { "ip" } else { "any" };
    let mut line = format!("{name}: {carries}/ip remote {} local {}", end(t.remote), end(t.local));
    // Writing to a string does not fail.
    if let Some(link) = &t.link {
        let _ = write!(line, " dev {link}");
    }
    match t.ttl {
        0 => line.push_str(" ttl inherit"),
        ttl => line.push_str(&format!(" ttl {ttl}")),
    }
    match (t.tos & 1, t.tos & !1) {
        (0, 0) => {}
        (0, tos) => line.push_str(&format!(" tos {tos:#x}")),
        (_, 0) => line.push_str(" tos inherit"),
        (_, tos) => line.push_str(&format!(" tos inherit/{tos:#x}")),
    }
    line.push_str(if t.pmtudisc { "\n" } else { " nopmtudisc\n" });
    line
}
