//! `bridge link show` and `bridge fdb show` (bridge/link.c, bridge/fdb.c).

use super::Format;
use super::link::{flags, on_off};
use crate::base::time::SEC;
use crate::kernel::netlink::FdbState;
use crate::kernel::show::{FdbInfo, Link, Peer, PortInfo};
use std::fmt::Write;

/// `bridge link show`; `links` are all devices.
pub fn bridge_links(links: &[Link], dev: Option<&str>, format: Format) -> String {
    let mut out = String::new();
    for link in links.iter().filter(|l| dev.is_none_or(|d| d == l.name)) {
        let (Some(port), Some((_, master))) = (&link.port, &link.master) else { continue };
        let (peer, m_down) = link.peer.as_ref().map(|p| peer(links, p)).unwrap_or_default();
        let flags = flags(link.flags, m_down);
        let _ = write!(out, "{}: {}{peer}: {flags} mtu {} master {master} ", link.index, link.name, link.mtu);
        let _ = write!(out, "state {} priority {} cost {} ", port.state, port.priority, port.cost);
        if format.details {
            out.push(format.newline());
            details(&mut out, port);
        }
        out.push('\n');
    }
    out
}

/// The peer's index is looked up in this namespace, wherever the peer is; M-DOWN too is about the device found so.
fn peer(links: &[Link], peer: &Peer) -> (String, bool) {
    match links.iter().find(|l| l.index == peer.index) {
        Some(found) => (format!("@{}", found.name), !found.flags.up),
        None => (format!("@if{}", peer.index), false),
    }
}

fn details(out: &mut String, port: &PortInfo) {
    let _ = write!(
        out,
        "    hairpin {} guard off root_block off fastleave off learning {} flood {} mcast_flood {} bcast_flood {} \
         mcast_router 1 mcast_to_unicast off neigh_suppress off vlan_tunnel off isolated {} locked off ",
        on_off(port.hairpin),
        on_off(port.learning),
        on_off(port.flood),
        on_off(port.mcast_flood),
        on_off(port.bcast_flood),
        on_off(port.isolated),
    );
}

/// `bridge fdb show`; `links` are all devices, which tell whose ports there are.
pub fn bridge_fdb(entries: &[FdbInfo], links: &[Link], br: Option<&str>, dev: Option<&str>, format: Format) -> String {
    let is_port = |dev: &str, br: &str| {
        links.iter().any(|l| l.name == dev && l.master.as_ref().is_some_and(|(_, master)| master == br))
    };
    let mut out = String::new();
    for entry in entries {
        let of_bridge = br.is_none_or(|b| entry.dev == b || is_port(&entry.dev, b));
        if !of_bridge || dev.is_some_and(|d| d != entry.dev) {
            continue;
        }
        let _ = write!(out, "{} ", entry.mac);
        if dev.is_none() {
            let _ = write!(out, "dev {} ", entry.dev);
        }
        if let Some(r) = &entry.remote {
            let _ = write!(out, "dst {} ", r.dst);
            let words = [
                ("port", r.port.map(|p| p.to_string())),
                ("vni", r.vni.map(|v| v.to_string())),
                ("via", r.via.clone()),
            ];
            for (word, value) in words {
                if let Some(value) = value {
                    let _ = write!(out, "{word} {value} ");
                }
            }
        }
        // The groups that a device listens to have no times.
        if format.stats > 0 && (entry.master.is_some() || entry.remote.is_some()) {
            let _ = write!(out, "used {}/{} ", entry.used_ns / SEC, entry.updated_ns / SEC);
        }
        match &entry.master {
            Some(master) => {
                let _ = write!(out, "master {master} ");
            }
            None => out.push_str("self "),
        }
        out.push_str(match entry.state {
            FdbState::Local => "permanent",
            FdbState::Static => "static",
            FdbState::Dynamic => "",
        });
        out.push('\n');
    }
    out
}
