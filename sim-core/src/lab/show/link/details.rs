//! `-d`: what a device is and how it is set (ip/ipaddress.c: print_linktype, ip/iplink_bridge.c,
//! ip/iplink_bridge_slave.c). What this kernel does not have is at Linux's default.

use super::super::printer::Printer;
use super::on_off;
use crate::base::IfIndex;
use crate::kernel::netlink::{Ipip, TunnelDf, TunnelTtl, Vxlan};
use crate::kernel::show::{BridgeInfo, KindInfo, Link, PortInfo};

/// `af` is what belongs to an address family, which `ip link` asks for and `ip addr` does not.
pub(super) fn details(p: &mut Printer, links: &[Link], link: &Link, af: bool) {
    let (min, max, queues) = match link.kind {
        KindInfo::Loopback => (0, 0, 1),
        KindInfo::Veth => (68, 65535, 2),
        KindInfo::Ipip(ref t) => (t.mtu_bounds.0, t.mtu_bounds.1, 1),
        KindInfo::Bridge(_) | KindInfo::Vxlan(_) | KindInfo::Nic(_) => (68, 65535, 1),
    };
    let (promiscuity, allmulti) = (link.promiscuity, link.allmulti);
    p.field("promiscuity", promiscuity, format_args!(" promiscuity {promiscuity} "));
    p.field("allmulti", allmulti, format_args!(" allmulti {allmulti} "));
    p.field("min_mtu", min, format_args!("minmtu {min} "));
    p.field("max_mtu", max, format_args!("maxmtu {max} "));
    link_info(p, links, link);
    if af {
        p.field("inet6_addr_gen_mode", "eui64", format_args!("addrgenmode eui64 "));
    }
    // A bridge takes over what its ports can do, and without ports it can do little (br_set_gso_limits).
    let bare = match &link.kind {
        KindInfo::Bridge(_) => !has_ports(links, link.index),
        KindInfo::Vxlan(v) => v.link.is_none(),
        KindInfo::Ipip(_) | KindInfo::Nic(_) => true,
        KindInfo::Loopback | KindInfo::Veth => false,
    };
    let tso_max_size = if bare { 65536 } else { 524_280 };
    for (key, word, value) in [
        ("num_tx_queues", "numtxqueues", queues),
        ("num_rx_queues", "numrxqueues", queues),
        ("gso_max_size", "gso_max_size", 65536),
        ("gso_max_segs", "gso_max_segs", 65535),
        ("tso_max_size", "tso_max_size", tso_max_size),
        ("tso_max_segs", "tso_max_segs", 65535),
        ("gro_max_size", "gro_max_size", 65536),
    ] {
        p.field(key, value, format_args!("{word} {value} "));
    }
    if let KindInfo::Nic(number) = link.kind {
        p.field("parentbus", "virtio", format_args!("parentbus virtio "));
        p.field("parentdev", format!("virtio{number}"), format_args!("parentdev virtio{number} "));
    }
}

/// print_linktype
fn link_info(p: &mut Printer, links: &[Link], link: &Link) {
    let kind = match &link.kind {
        KindInfo::Loopback | KindInfo::Nic(_) => None,
        KindInfo::Veth => Some("veth"),
        KindInfo::Bridge(_) => Some("bridge"),
        KindInfo::Vxlan(_) => Some("vxlan"),
        KindInfo::Ipip(_) => Some("ipip"),
    };
    if kind.is_none() && link.port.is_none() {
        return;
    }
    p.object("linkinfo");
    if let Some(kind) = kind {
        p.newline();
        p.field("info_kind", kind, format_args!("    {kind} "));
    }
    match &link.kind {
        KindInfo::Bridge(bridge) => {
            p.object("info_data");
            bridge_details(p, bridge);
            p.end();
        }
        KindInfo::Vxlan(v) => {
            p.object("info_data");
            vxlan_details(p, v);
            p.end();
        }
        KindInfo::Ipip(t) => {
            p.object("info_data");
            ipip_details(p, &t.tunnel);
            p.end();
        }
        KindInfo::Loopback | KindInfo::Veth | KindInfo::Nic(_) => {}
    }
    if let Some(port) = &link.port {
        p.newline();
        p.field("info_slave_kind", "bridge", format_args!("    bridge_slave "));
        p.object("info_slave_data");
        port_details(p, port, bridge_of(links, link));
        p.end();
    }
    p.end();
}

fn has_ports(links: &[Link], bridge: IfIndex) -> bool {
    links.iter().any(|l| l.master.as_ref().is_some_and(|(index, _)| *index == bridge))
}

/// The bridge that a port belongs to.
fn bridge_of<'a>(links: &'a [Link], port: &Link) -> Option<&'a BridgeInfo> {
    let (index, _) = port.master.as_ref()?;
    match &links.iter().find(|l| l.index == *index)?.kind {
        KindInfo::Bridge(bridge) => Some(bridge),
        _ => None,
    }
}

/// bridge_print_opt
fn bridge_details(p: &mut Printer, bridge: &BridgeInfo) {
    let id = bridge_id(bridge);
    number(p, "forward_delay", bridge.forward_delay);
    number(p, "hello_time", 200);
    number(p, "max_age", 2000);
    number(p, "ageing_time", bridge.ageing_time);
    number(p, "stp_state", 0);
    number(p, "priority", bridge.priority.into());
    number(p, "vlan_filtering", 0);
    p.field("bridge_id", id.as_str(), format_args!("bridge_id {id} "));
    p.field("root_id", id.as_str(), format_args!("designated_root {id} "));
    for key in ["root_port", "root_path_cost", "topology_change", "topology_change_detected"] {
        number(p, key, 0);
    }
    for key in ["hello_timer", "tcn_timer", "topology_change_timer"] {
        timer(p, key, 0);
    }
    timer(p, "gc_timer", bridge.gc_timer_ns);
    let mask = match bridge.group_fwd_mask {
        0 => "0".to_owned(),
        mask => format!("{mask:#x}"),
    };
    p.field("group_fwd_mask", mask.as_str(), format_args!("group_fwd_mask {mask} "));
    p.field("group_addr", GROUP_ADDRESS, format_args!("group_address {GROUP_ADDRESS} "));
    number(p, "mcast_snooping", bridge.mcast_snooping.into());
    for (key, word, value) in MULTICAST {
        p.field(key, *value, format_args!("{word} {value} "));
    }
}

/// 802.1D's group of bridges.
const GROUP_ADDRESS: &str = "01:80:c2:00:00:00";

/// What a bridge says of multicast and netfilter: key, word, value.
const MULTICAST: &[(&str, &str, u32)] = &[
    ("no_linklocal_learn", "no_linklocal_learn", 0),
    ("mcast_vlan_snooping", "mcast_vlan_snooping", 0),
    ("mcast_router", "mcast_router", 1),
    ("mcast_query_use_ifaddr", "mcast_query_use_ifaddr", 0),
    ("mcast_querier", "mcast_querier", 0),
    ("mcast_hash_elasticity", "mcast_hash_elasticity", 16),
    ("mcast_hash_max", "mcast_hash_max", 4096),
    ("mcast_last_member_cnt", "mcast_last_member_count", 2),
    ("mcast_startup_query_cnt", "mcast_startup_query_count", 2),
    ("mcast_last_member_intvl", "mcast_last_member_interval", 100),
    ("mcast_membership_intvl", "mcast_membership_interval", 26000),
    ("mcast_querier_intvl", "mcast_querier_interval", 25500),
    ("mcast_query_intvl", "mcast_query_interval", 12500),
    ("mcast_query_response_intvl", "mcast_query_response_interval", 1000),
    ("mcast_startup_query_intvl", "mcast_startup_query_interval", 3124),
    ("mcast_stats_enabled", "mcast_stats_enabled", 0),
    ("mcast_igmp_version", "mcast_igmp_version", 2),
    ("mcast_mld_version", "mcast_mld_version", 1),
    ("nf_call_iptables", "nf_call_iptables", 0),
    ("nf_call_ip6tables", "nf_call_ip6tables", 0),
    ("nf_call_arptables", "nf_call_arptables", 0),
];

/// vxlan_print_opt
fn vxlan_details(p: &mut Printer, v: &Vxlan) {
    if v.external {
        p.field("external", true, format_args!("external "));
    }
    p.field("id", v.id, format_args!("id {} ", v.id));
    for (word, addr) in [("remote", v.remote), ("local", v.local)] {
        if let Some(addr) = addr {
            p.field(word, addr.to_string(), format_args!("{word} {addr} "));
        }
    }
    if let Some(link) = &v.link {
        p.field("link", link.as_str(), format_args!("dev {link} "));
    }
    let (low, high) = v.src_ports;
    p.object("port_range");
    p.field("low", low, format_args!("srcport {low} "));
    p.field("high", high, format_args!("{high} "));
    p.end();
    let port = v.dst_port.unwrap_or_default();
    p.field("port", port, format_args!("dstport {port} "));
    p.field("learning", v.learning, format_args!("{}", if v.learning { "" } else { "nolearning " }));
    match v.tos {
        0 => {}
        1 => p.field("tos", "0x1", format_args!("tos inherit ")),
        tos => p.field("tos", format!("{tos:#x}"), format_args!("tos {tos:#x} ")),
    }
    match v.ttl {
        TunnelTtl::Auto => p.field("ttl", 0, format_args!("ttl auto ")),
        TunnelTtl::Inherit => p.text(format_args!("ttl inherit ")),
        TunnelTtl::Fixed(ttl) => p.field("ttl", ttl, format_args!("ttl {ttl} ")),
    }
    match v.df {
        TunnelDf::Unset => p.json("df", "unset"),
        TunnelDf::Set => p.field("df", "set", format_args!("df set ")),
        TunnelDf::Inherit => p.field("df", "inherit", format_args!("df inherit ")),
    }
    match v.ageing {
        0 => p.field("ageing", 0, format_args!("ageing none ")),
        ageing => p.field("ageing", ageing, format_args!("ageing {ageing} ")),
    }
    let csum = if v.udp_csum { "udpcsum" } else { "noudpcsum" };
    p.field("udp_csum", v.udp_csum, format_args!("{csum} "));
    p.field("udp_zero_csum6_tx", false, format_args!("noudp6zerocsumtx "));
    p.field("udp_zero_csum6_rx", false, format_args!("noudp6zerocsumrx "));
}

/// iptunnel_print_opt
fn ipip_details(p: &mut Printer, t: &Ipip) {
    let proto = if t.only_ipv4 { "ipip" } else { "any" };
    p.field("proto", proto, format_args!("{proto} "));
    for (word, addr) in [("remote", t.remote), ("local", t.local)] {
        match addr {
            Some(addr) => p.field(word, addr.to_string(), format_args!("{word} {addr} ")),
            None => p.field(word, "any", format_args!("{word} any ")),
        }
    }
    if let Some(link) = &t.link {
        p.field("link", link.as_str(), format_args!("dev {link} "));
    }
    match t.ttl {
        0 => p.field("ttl", 0, format_args!("ttl inherit ")),
        ttl => p.field("ttl", ttl, format_args!("ttl {ttl} ")),
    }
    match t.tos {
        0 => {}
        1 => p.field("tos", "0x1", format_args!("tos inherit ")),
        tos => p.field("tos", format!("{tos:#x}"), format_args!("tos {tos:#x} ")),
    }
    let discovers = if t.pmtudisc { "pmtudisc" } else { "nopmtudisc" };
    p.field("pmtudisc", t.pmtudisc, format_args!("{discovers} "));
}

/// bridge_slave_print_opt
fn port_details(p: &mut Printer, port: &PortInfo, bridge: Option<&BridgeInfo>) {
    let id = bridge.map(bridge_id).unwrap_or_default();
    let port_id = port_id(port);
    p.field("state", port.state, format_args!("state {} ", port.state));
    number(p, "priority", port.priority.into());
    number(p, "cost", port.cost.into());
    switch(p, "hairpin", port.hairpin);
    switch(p, "guard", false);
    switch(p, "root_block", false);
    switch(p, "fastleave", false);
    switch(p, "learning", port.learning);
    switch(p, "flood", port.flood);
    p.field("id", format!("{port_id:#x}"), format_args!("port_id {port_id:#x} "));
    p.field("no", format!("{:#x}", port.number), format_args!("port_no {:#x} ", port.number));
    number(p, "designated_port", port_id.into());
    number(p, "designated_cost", 0);
    p.field("bridge_id", id.as_str(), format_args!("designated_bridge {id} "));
    p.field("root_id", id.as_str(), format_args!("designated_root {id} "));
    for key in ["hold_timer", "message_age_timer", "forward_delay_timer"] {
        timer(p, key, 0);
    }
    number(p, "topology_change_ack", 0);
    number(p, "config_pending", 0);
    switch(p, "proxy_arp", false);
    switch(p, "proxy_arp_wifi", false);
    p.field("multicast_router", 1, format_args!("mcast_router 1 "));
    // Not in the document: it has been there, as fastleave.
    p.text(format_args!("mcast_fast_leave off "));
    switch(p, "mcast_flood", port.mcast_flood);
    switch(p, "bcast_flood", port.bcast_flood);
    switch(p, "mcast_to_unicast", false);
    switch(p, "neigh_suppress", false);
    p.field("group_fwd_mask", "0", format_args!("group_fwd_mask 0 "));
    p.field("group_fwd_mask_str", "0x0", format_args!("group_fwd_mask_str 0x0 "));
    switch(p, "vlan_tunnel", false);
    switch(p, "isolated", port.isolated);
    switch(p, "locked", false);
}

fn number(p: &mut Printer, key: &'static str, value: u64) {
    p.field(key, value, format_args!("{key} {value} "));
}

fn switch(p: &mut Printer, key: &'static str, on: bool) {
    p.field(key, on, format_args!("{key} {} ", on_off(on)));
}

/// Seconds with hundredths.
fn timer(p: &mut Printer, key: &'static str, ns: u64) {
    let hundredths = ns / 10_000_000;
    let text = format_args!("{key} {:>4}.{:02} ", hundredths / 100, hundredths % 100);
    p.field(key, hundredths as f64 / 100.0, text);
}

/// br_make_port_id: six bits of priority, ten of number.
fn port_id(port: &PortInfo) -> u16 {
    (port.priority & 0x3f) << 10 | port.number & 0x3ff
}

/// br_dump_bridge_id; ether_ntoa leaves zeros out.
fn bridge_id(bridge: &BridgeInfo) -> String {
    let [a, b, c, d, e, f] = bridge.id_address.0;
    format!("{:04x}.{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}", bridge.priority)
}
