//! `ip link show` and `ip addr show` (ip/ipaddress.c: print_linkinfo, print_addrinfo).

use super::{Format, LinkFilter};
use crate::base::{IfIndex, Mac};
use crate::kernel::netlink::{TunnelDf, TunnelTtl, Vxlan};
use crate::kernel::show::{AddrInfo, BridgeInfo, Flags, KindInfo, Link, PortInfo};
use std::fmt::Write;

/// ARPHRD_LOOPBACK
const ARPHRD_LOOPBACK: u16 = 772;

/// `ip link show`
pub fn links(links: &[Link], filter: &LinkFilter, format: Format) -> String {
    let mut out = String::new();
    for link in links.iter().filter(|l| selected(l, filter)) {
        if format.brief {
            brief(&mut out, link);
            let _ = writeln!(out, "{} {} ", link.address, flags(link.flags, is_m_down(link)));
            continue;
        }
        first_line(&mut out, link, true);
        second_line(&mut out, links, link, format, true);
        if format.stats > 0 {
            out.push(format.newline());
            stats(&mut out, link, format);
        }
        out.push('\n');
    }
    out
}

/// `ip addr show`; `inet_only` is `-4`.
pub fn addrs(links: &[Link], filter: &LinkFilter, inet_only: bool, format: Format) -> String {
    let mut out = String::new();
    for link in links.iter().filter(|l| selected(l, filter)) {
        if inet_only && link.addrs.is_empty() {
            continue;
        }
        if format.brief {
            brief(&mut out, link);
            link.addrs.iter().for_each(|a| {
                let _ = write!(out, "{} ", local(a));
            });
            out.push('\n');
            continue;
        }
        if format.oneline {
            for addr in &link.addrs {
                let _ = write!(out, "{}: {}", link.index, link.name);
                address(&mut out, addr, format);
            }
            continue;
        }
        first_line(&mut out, link, false);
        if inet_only && !format.details {
            link_netns(&mut out, link);
        } else {
            second_line(&mut out, links, link, format, false);
        }
        out.push('\n');
        link.addrs.iter().for_each(|a| address(&mut out, a, format));
        if format.stats > 0 {
            stats(&mut out, link, format);
            out.push('\n');
        }
    }
    out
}

fn selected(link: &Link, filter: &LinkFilter) -> bool {
    let kind = match filter.kind.as_deref() {
        None => true,
        Some("bridge_slave") => link.port.is_some(),
        Some("bridge") => matches!(link.kind, KindInfo::Bridge(_)),
        Some("veth") => matches!(link.kind, KindInfo::Veth),
        Some("vxlan") => matches!(link.kind, KindInfo::Vxlan(_)),
        Some(_) => false,
    };
    let master = || link.master.as_ref().map(|(_, name)| name);
    kind && filter.dev.as_ref().is_none_or(|d| *d == link.name)
        && (!filter.up || link.flags.up)
        && (filter.master.is_none() || filter.master.as_ref() == master())
}

fn brief(out: &mut String, link: &Link) {
    let _ = write!(out, "{:<16} {:<14} ", name(link), link.operstate);
}

/// `eth0`, `eth0@if3` or `veth0@veth1`.
fn name(link: &Link) -> String {
    match &link.peer {
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
pub(super) fn flags(flags: Flags, m_down: bool) -> String {
    let words = [
        (flags.up && !flags.lower_up, "NO-CARRIER"),
        (flags.loopback, "LOOPBACK"),
        (flags.broadcast, "BROADCAST"),
        (flags.multicast, "MULTICAST"),
        (flags.noarp, "NOARP"),
        (flags.allmulti, "ALLMULTI"),
        (flags.promisc, "PROMISC"),
        (flags.up, "UP"),
        (flags.lower_up, "LOWER_UP"),
        (m_down, "M-DOWN"),
    ];
    let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    format!("<{}>", words.join(","))
}

/// `mode` stands in `ip link` only.
fn first_line(out: &mut String, link: &Link, mode: bool) {
    let flags = flags(link.flags, is_m_down(link));
    let _ = write!(out, "{}: {}: {flags} mtu {} qdisc {} ", link.index, name(link), link.mtu, link.qdisc);
    if let Some((_, master)) = &link.master {
        let _ = write!(out, "master {master} ");
    }
    let _ = write!(out, "state {} ", link.operstate);
    if mode {
        out.push_str("mode DEFAULT ");
    }
    out.push_str("group default ");
    if link.txqlen > 0 {
        let _ = write!(out, "qlen {}", link.txqlen);
    }
}

fn second_line(out: &mut String, links: &[Link], link: &Link, format: Format, af: bool) {
    let (arphrd, broadcast) = match link.arphrd {
        ARPHRD_LOOPBACK => ("loopback", Mac::ZERO),
        _ => ("ether", Mac::BROADCAST),
    };
    let _ = write!(out, "{}    link/{arphrd} {} brd {broadcast}", format.newline(), link.address);
    link_netns(out, link);
    if format.details {
        details(out, links, link, format, af);
    }
}

fn link_netns(out: &mut String, link: &Link) {
    if let Some(netns) = link.peer.as_ref().and_then(|p| p.netns.as_ref()) {
        let _ = write!(out, " link-netns {netns}");
    }
}

/// `-d`; `af` is what belongs to an address family, which `ip link` asks for and `ip addr` does not.
fn details(out: &mut String, links: &[Link], link: &Link, format: Format, af: bool) {
    let (min, max, queues) = match link.kind {
        KindInfo::Loopback => (0, 0, 1),
        KindInfo::Veth => (68, 65535, 2),
        KindInfo::Bridge(_) | KindInfo::Vxlan(_) | KindInfo::Nic(_) => (68, 65535, 1),
    };
    let (promiscuity, allmulti) = (link.promiscuity, link.allmulti);
    let _ = write!(out, " promiscuity {promiscuity}  allmulti {allmulti} minmtu {min} maxmtu {max} ");
    match &link.kind {
        KindInfo::Loopback | KindInfo::Nic(_) => {}
        KindInfo::Veth => {
            let _ = write!(out, "{}    veth ", format.newline());
        }
        KindInfo::Bridge(bridge) => {
            out.push(format.newline());
            bridge_details(out, bridge);
        }
        KindInfo::Vxlan(v) => {
            out.push(format.newline());
            vxlan_details(out, v);
        }
    }
    if let Some(port) = &link.port {
        out.push(format.newline());
        port_details(out, port, bridge_of(links, link));
    }
    if af {
        out.push_str("addrgenmode eui64 ");
    }
    // A bridge takes over what its ports can do, and without ports it can do little (br_set_gso_limits).
    let bare = match &link.kind {
        KindInfo::Bridge(_) => !has_ports(links, link.index),
        KindInfo::Vxlan(v) => v.link.is_none(),
        KindInfo::Nic(_) => true,
        KindInfo::Loopback | KindInfo::Veth => false,
    };
    let tso_max_size = if bare { 65536 } else { 524_280 };
    let _ = write!(
        out,
        "numtxqueues {queues} numrxqueues {queues} gso_max_size 65536 gso_max_segs 65535 tso_max_size {tso_max_size} \
         tso_max_segs 65535 gro_max_size 65536 "
    );
    if let KindInfo::Nic(number) = link.kind {
        let _ = write!(out, "parentbus virtio parentdev virtio{number} ");
    }
}

fn has_ports(links: &[Link], bridge: IfIndex) -> bool {
    links.iter().any(|l| l.master.as_ref().is_some_and(|(index, _)| *index == bridge))
}

/// The bridge that a port belongs to.
fn bridge_of<'a>(links: &'a [Link], port: &Link) -> Option<&'a BridgeInfo> {
    let (index, _) = port.master.as_ref()?;
    match &links.iter().find(|l| l.index == *index)?.kind {
        KindInfo::Bridge(bridge) => Some(bridge),
        KindInfo::Loopback | KindInfo::Veth | KindInfo::Vxlan(_) | KindInfo::Nic(_) => None,
    }
}

/// bridge_print_opt; what this kernel does not have is at Linux's default.
fn bridge_details(out: &mut String, bridge: &BridgeInfo) {
    let id = bridge_id(bridge);
    let mask = match bridge.group_fwd_mask {
        0 => "0".to_owned(),
        mask => format!("{mask:#x}"),
    };
    let _ = write!(
        out,
        "    bridge forward_delay {} hello_time 200 max_age 2000 ageing_time {} stp_state 0 priority {} \
         vlan_filtering 0 bridge_id {id} designated_root {id} root_port 0 root_path_cost 0 topology_change 0 \
         topology_change_detected 0 hello_timer {zero} tcn_timer {zero} topology_change_timer {zero} gc_timer \
         {} group_fwd_mask {mask} group_address 01:80:c2:00:00:00 mcast_snooping {} no_linklocal_learn 0 \
         mcast_vlan_snooping 0 mcast_router 1 mcast_query_use_ifaddr 0 mcast_querier 0 mcast_hash_elasticity \
         16 mcast_hash_max 4096 mcast_last_member_count 2 mcast_startup_query_count 2 \
         mcast_last_member_interval 100 mcast_membership_interval 26000 mcast_querier_interval 25500 \
         mcast_query_interval 12500 mcast_query_response_interval 1000 mcast_startup_query_interval 3124 \
         mcast_stats_enabled 0 mcast_igmp_version 2 mcast_mld_version 1 nf_call_iptables 0 nf_call_ip6tables \
         0 nf_call_arptables 0 ",
        bridge.forward_delay,
        bridge.ageing_time,
        bridge.priority,
        timer(bridge.gc_timer_ns),
        u8::from(bridge.mcast_snooping),
        zero = timer(0),
    );
}

/// vxlan_print_opt
fn vxlan_details(out: &mut String, v: &Vxlan) {
    let _ = write!(out, "    vxlan id {} ", v.id);
    for (word, addr) in [("remote", v.remote), ("local", v.local)] {
        if let Some(addr) = addr {
            let _ = write!(out, "{word} {addr} ");
        }
    }
    if let Some(link) = &v.link {
        let _ = write!(out, "dev {link} ");
    }
    let _ = write!(out, "srcport {} {} dstport {} ", v.src_ports.0, v.src_ports.1, v.dst_port.unwrap_or_default());
    if !v.learning {
        out.push_str("nolearning ");
    }
    match v.tos {
        0 => {}
        1 => out.push_str("tos inherit "),
        tos => {
            let _ = write!(out, "tos {tos:#x} ");
        }
    }
    let _ = match v.ttl {
        TunnelTtl::Auto => write!(out, "ttl auto "),
        TunnelTtl::Inherit => write!(out, "ttl inherit "),
        TunnelTtl::Fixed(ttl) => write!(out, "ttl {ttl} "),
    };
    out.push_str(match v.df {
        TunnelDf::Unset => "",
        TunnelDf::Set => "df set ",
        TunnelDf::Inherit => "df inherit ",
    });
    let ageing = if v.ageing == 0 { "none".to_owned() } else { v.ageing.to_string() };
    let csum = if v.udp_csum { "udpcsum" } else { "noudpcsum" };
    let _ = write!(out, "ageing {ageing} {csum} noudp6zerocsumtx noudp6zerocsumrx ");
}

/// bridge_slave_print_opt
fn port_details(out: &mut String, port: &PortInfo, bridge: Option<&BridgeInfo>) {
    let id = bridge.map(bridge_id).unwrap_or_default();
    let port_id = port_id(port);
    let _ = write!(
        out,
        "    bridge_slave state {} priority {} cost {} hairpin {} guard off root_block off fastleave off learning \
         {} flood {} port_id {port_id:#x} port_no {:#x} designated_port {port_id} designated_cost 0 \
         designated_bridge {id} designated_root {id} hold_timer {zero} message_age_timer {zero} \
         forward_delay_timer {zero} topology_change_ack 0 config_pending 0 proxy_arp off proxy_arp_wifi off \
         mcast_router 1 mcast_fast_leave off mcast_flood {} bcast_flood {} mcast_to_unicast off \
         neigh_suppress off group_fwd_mask 0 group_fwd_mask_str 0x0 vlan_tunnel off isolated {} locked off ",
        port.state,
        port.priority,
        port.cost,
        on_off(port.hairpin),
        on_off(port.learning),
        on_off(port.flood),
        port.number,
        on_off(port.mcast_flood),
        on_off(port.bcast_flood),
        on_off(port.isolated),
        zero = timer(0),
    );
}

pub(super) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
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

/// Seconds with hundredths.
fn timer(ns: u64) -> String {
    let hundredths = ns / 10_000_000;
    format!("{:>4}.{:02}", hundredths / 100, hundredths % 100)
}

/// print_stats64: the columns grow with the numbers. The record's last line is left open.
fn stats(out: &mut String, link: &Link, format: Format) {
    let s = &link.stats;
    let rx = [s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped, 0, s.multicast];
    let tx = [s.tx_bytes, s.tx_packets, s.tx_errors, s.tx_dropped, s.tx_carrier_errors, s.collisions];
    let mut width = [10, 7, 6, 7, 7, 7];
    for (i, width) in width.iter_mut().enumerate() {
        *width = rx[i].max(tx[i]).to_string().len().max(*width);
    }
    let newline = format.newline();
    for (name, last, values) in [("RX", ["missed", "mcast"], rx), ("TX", ["carrier", "collsns"], tx)] {
        let [bytes, packets, errors, dropped, x, y] = width;
        let _ = write!(
            out,
            "    {name}: {:>w$} {:>packets$} {:>errors$} {:>dropped$} {:>x$} {:>y$} {:10}{newline}    ",
            "bytes",
            "packets",
            "errors",
            "dropped",
            last[0],
            last[1],
            "",
            w = bytes - 4,
        );
        for (value, width) in values.iter().zip(width) {
            let _ = write!(out, "{value:>width$} ");
        }
        if name == "RX" {
            out.push(newline);
        }
    }
}

/// One address, with the end of its line.
fn address(out: &mut String, addr: &AddrInfo, format: Format) {
    let _ = write!(out, "    inet {} ", local(addr));
    if let Some(broadcast) = addr.broadcast {
        let _ = write!(out, "brd {broadcast} ");
    }
    let _ = write!(out, "scope {} ", super::route::scope(addr.scope));
    if addr.secondary {
        out.push_str("secondary ");
    }
    let _ = writeln!(out, "{}{}       valid_lft forever preferred_lft forever", addr.label, format.newline());
}

fn local(addr: &AddrInfo) -> String {
    match addr.peer {
        Some(peer) => format!("{} peer {peer}", addr.local.addr()),
        None => addr.local.to_string(),
    }
}
