//! `bridge link show` and `bridge fdb show` (bridge/link.c, bridge/fdb.c).

use super::Format;
use super::link::{flags, on_off};
use super::printer::Printer;
use crate::base::time::SEC;
use crate::kernel::netlink::FdbState;
use crate::kernel::show::{FdbInfo, Link, Peer, PortInfo};

/// `bridge link show`; `links` are all devices.
pub fn bridge_links(links: &[Link], dev: Option<&str>, format: Format) -> String {
    let mut p = Printer::new(format);
    for link in links.iter().filter(|l| dev.is_none_or(|d| d == l.name)) {
        let (Some(port), Some((_, master))) = (&link.port, &link.master) else { continue };
        p.object("");
        p.field("ifindex", link.index.0, format_args!("{}: ", link.index));
        let m_down = link.peer.as_ref().is_some_and(|peer| foreign(&mut p, links, peer));
        let at = link.peer.as_ref().map(|peer| at(links, peer)).unwrap_or_default();
        p.field("ifname", link.name.as_str(), format_args!("{}{at}: ", link.name));
        flags(&mut p, link.flags, m_down);
        p.field("mtu", link.mtu, format_args!("mtu {} ", link.mtu));
        p.field("master", master.as_str(), format_args!("master {master} "));
        p.field("state", port.state, format_args!("state {} ", port.state));
        p.field("priority", port.priority, format_args!("priority {} ", port.priority));
        p.field("cost", port.cost, format_args!("cost {} ", port.cost));
        if format.details {
            p.newline();
            details(&mut p, port);
        }
        p.text(format_args!("\n"));
        p.end();
    }
    p.finish()
}

/// The peer's index is looked up in this namespace, wherever the peer is; M-DOWN too is about the device found so.
fn find<'a>(links: &'a [Link], peer: &Peer) -> Option<&'a Link> {
    links.iter().find(|l| l.index == peer.index)
}

/// The peer in the document; whether it is down.
fn foreign(p: &mut Printer, links: &[Link], peer: &Peer) -> bool {
    match find(links, peer) {
        Some(found) => p.json("link", found.name.as_str()),
        None => p.json("link_index", peer.index.0),
    }
    find(links, peer).is_some_and(|found| !found.flags.up)
}

/// The peer behind the name.
fn at(links: &[Link], peer: &Peer) -> String {
    find(links, peer).map_or_else(|| format!("@if{}", peer.index), |found| format!("@{}", found.name))
}

fn details(p: &mut Printer, port: &PortInfo) {
    p.text(format_args!("    "));
    let mut switch = |key: &'static str, on| p.field(key, on, format_args!("{key} {} ", on_off(on)));
    switch("hairpin", port.hairpin);
    for key in ["guard", "root_block", "fastleave"] {
        switch(key, false);
    }
    switch("learning", port.learning);
    switch("flood", port.flood);
    switch("mcast_flood", port.mcast_flood);
    switch("bcast_flood", port.bcast_flood);
    p.field("mcast_router", 1, format_args!("mcast_router 1 "));
    let mut switch = |key: &'static str, on| p.field(key, on, format_args!("{key} {} ", on_off(on)));
    for key in ["mcast_to_unicast", "neigh_suppress", "vlan_tunnel"] {
        switch(key, false);
    }
    switch("isolated", port.isolated);
    switch("locked", false);
}

/// Which entries `bridge fdb show` shows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FdbFilter {
    /// Only entries of this bridge and of its ports.
    pub br: Option<String>,
    /// Only entries of this device.
    pub dev: Option<String>,
    /// Only those that are not permanent: learned ones, and static ones too.
    pub dynamic: bool,
}

/// `bridge fdb show`; `links` are all devices, which tell whose ports there are.
pub fn bridge_fdb(entries: &[FdbInfo], links: &[Link], filter: &FdbFilter, format: Format) -> String {
    let is_port = |dev: &str, br: &str| {
        links.iter().any(|l| l.name == dev && l.master.as_ref().is_some_and(|(_, master)| master == br))
    };
    let mut p = Printer::new(format);
    for entry in entries {
        let of_bridge = filter.br.as_ref().is_none_or(|b| entry.dev == *b || is_port(&entry.dev, b));
        let of_device = filter.dev.as_ref().is_none_or(|d| *d == entry.dev);
        let of_state = !filter.dynamic || entry.state != FdbState::Local;
        if of_bridge && of_device && of_state {
            p.object("");
            fdb_entry(&mut p, entry, filter.dev.is_none(), format);
            p.end();
        }
    }
    p.finish()
}

fn fdb_entry(p: &mut Printer, entry: &FdbInfo, named: bool, format: Format) {
    p.field("mac", entry.mac.to_string(), format_args!("{} ", entry.mac));
    if named {
        p.field("ifname", entry.dev.as_str(), format_args!("dev {} ", entry.dev));
    }
    if let Some(r) = &entry.remote {
        p.field("dst", r.dst.to_string(), format_args!("dst {} ", r.dst));
        if let Some(port) = r.port {
            p.field("port", port, format_args!("port {port} "));
        }
        if let Some(vni) = r.vni {
            p.field("vni", vni, format_args!("vni {vni} "));
        }
        if let Some(via) = &r.via {
            p.field("viaIf", via.as_str(), format_args!("via {via} "));
        }
    }
    // The groups that a device listens to have no times.
    if format.stats > 0 && (entry.master.is_some() || entry.remote.is_some()) {
        let [used, updated] = [entry.used_ns, entry.updated_ns].map(|ns| ns / SEC);
        p.field("used", used, format_args!("used {used}/"));
        p.field("updated", updated, format_args!("{updated} "));
    }
    p.array("flags");
    if entry.master.is_none() {
        p.item("self", format_args!("self "));
    }
    p.end();
    if let Some(master) = &entry.master {
        p.field("master", master.as_str(), format_args!("master {master} "));
    }
    let state = match entry.state {
        FdbState::Local => "permanent",
        FdbState::Static => "static",
        FdbState::Dynamic => "",
    };
    p.field("state", state, format_args!("{state}\n"));
}
