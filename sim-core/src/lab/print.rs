//! Requests as the commands that a person would type. What is printed here, [`super::parse`] reads back.

use super::ip::link::words::{is_keyword, may_be_dev};
use super::lex::quote;
use super::show::{action, destination, kind, prefix, protocol, scope, selector, table};
use crate::kernel::netlink::{
    Addr, BridgeChange, Fdb, FdbState, Feature, Ipip, LinkAdd, LinkChange, LinkKind, LinkPeer, Neigh, Op, PortChange,
    Request, Route, RouteFlush, RouteType, Rule, RuleAction, TunnelDf, TunnelTtl, Vxlan,
};

/// The command that makes this request. A request that no single command makes (changes of a bridge and of a port at
/// once) becomes several, one a line.
pub fn command(request: &Request) -> String {
    match request {
        Request::LinkAdd(link) => link_add(link),
        Request::LinkSet { dev, changes } => link_set(dev, changes),
        Request::LoadIpip => "modprobe ipip".to_owned(),
        Request::TunnelAdd { name, tunnel } => tunnel_add(name.as_deref(), tunnel),
        Request::TunnelDel { dev } => format!("ip tunnel del name {}", quote(dev)),
        Request::LinkDel { dev } => format!("ip link del {}", device(dev)),
        Request::AddrAdd(addr) => format!("ip addr add {}", address(addr)),
        Request::AddrDel(addr) => format!("ip addr del {}", address(addr)),
        Request::AddrFlush { dev } => format!("ip addr flush dev {}", quote(dev)),
        Request::RouteAdd(op, route) => format!("ip route {} {}", verb(*op), route_words(route)),
        Request::RouteDel(route) => format!("ip route del {}", route_words(route)),
        Request::RouteFlush(which) => route_flush(which),
        Request::RuleAdd(r) => format!("ip rule add{}", rule(r)),
        Request::RuleDel(r) => format!("ip rule del{}", rule(r)),
        Request::NeighAdd(op, neigh) => format!("ip neigh {} {}", verb(*op), neighbour(neigh)),
        Request::NeighDel { addr, dev } => format!("ip neigh del {addr} dev {}", quote(dev)),
        Request::NeighFlush { dev: None } => "ip neigh flush all".to_owned(),
        Request::NeighFlush { dev: Some(dev) } => format!("ip neigh flush dev {}", quote(dev)),
        Request::FdbAdd(op, entry) => format!("bridge fdb {} {}", verb(*op), fdb(entry)),
        Request::FdbDel(entry) => format!("bridge fdb del {}", fdb(entry)),
        Request::NetnsAdd { name } => format!("ip netns add {}", quote(name)),
        Request::NetnsDel { name } => format!("ip netns del {}", quote(name)),
        Request::Sysctl { name, value } => sysctl(name, value),
        Request::ConntrackNew(new) => super::conntrack::creation(new),
        Request::ConntrackDel { tuple, .. } => super::conntrack::deletion(tuple),
        Request::ConntrackDump => "conntrack -L".to_owned(),
        Request::ConntrackFlush { .. } => "conntrack -F".to_owned(),
        Request::Iptables { backend, command } => super::iptables::print::command(*backend, command),
        Request::IptablesRestore { backend, restore } => super::iptables::print::restore(*backend, restore),
        Request::Ipset(change) => super::ipset::command(change),
        Request::Bpf(bpf) => super::cilium_agent::command(bpf),
        Request::Feature { dev, feature, on } => {
            format!("ethtool -K {} {} {}", quote(dev), feature_name(*feature), on_off(*on))
        }
    }
}

/// The words of a policy rule.
fn rule(rule: &Rule) -> String {
    let mut out = String::new();
    if rule.selector.not {
        word(&mut out, "not");
    }
    word(&mut out, "from");
    word(&mut out, &rule.selector.from.map_or("all".to_owned(), prefix));
    out.push_str(&selector(&rule.selector));
    put(&mut out, "pref", rule.pref);
    match rule.action {
        Some(RuleAction::Table(id)) => put(&mut out, "lookup", Some(table(id))),
        Some(other) => word(&mut out, action(other)),
        None => {}
    }
    out
}

/// A device where its name alone is enough; `dev` stands before one that reads like a keyword.
fn device(name: &str) -> String {
    if is_keyword(name) { format!("dev {}", quote(name)) } else { quote(name) }
}

fn verb(op: Op) -> &'static str {
    match op {
        Op::Add => "add",
        Op::Replace => "replace",
        Op::Append => "append",
        Op::Change => "change",
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Puts `keyword value` at the end if there is a value.
fn put(out: &mut String, keyword: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        word(out, keyword);
        word(out, &quote(&value.to_string()));
    }
}

fn word(out: &mut String, word: &str) {
    out.push(' ');
    out.push_str(word);
}

fn link_add(link: &LinkAdd) -> String {
    let mut out = "ip link add".to_owned();
    if let Some(name) = &link.name {
        word(&mut out, &device(name));
    }
    put(&mut out, "address", link.address);
    put(&mut out, "mtu", link.mtu.map(u32::cast_signed));
    put(&mut out, "netns", link.netns.as_ref());
    put(&mut out, "master", link.master.as_ref());
    if link.up {
        word(&mut out, "up");
    }
    match &link.kind {
        LinkKind::Veth { peer } => {
            out.push_str(" type veth");
            if let Some(LinkPeer { name, address, mtu, netns }) = peer.as_deref() {
                out.push_str(" peer");
                put(&mut out, "name", name.as_ref());
                put(&mut out, "address", *address);
                put(&mut out, "mtu", mtu.map(u32::cast_signed));
                put(&mut out, "netns", netns.as_ref());
            }
        }
        LinkKind::Bridge(changes) => {
            out.push_str(" type bridge");
            changes.iter().for_each(|c| bridge_change(&mut out, *c));
        }
        LinkKind::Vxlan(v) => vxlan(&mut out, v),
        LinkKind::Ipip(t) => {
            word(&mut out, "type ipip");
            if t.only_ipv4 {
                word(&mut out, "mode ipip");
            }
            ipip(&mut out, t);
        }
    }
    out
}

fn tunnel_add(name: Option<&str>, t: &Ipip) -> String {
    let mut out = "ip tunnel add".to_owned();
    put(&mut out, "name", name);
    word(&mut out, "mode ipip");
    ipip(&mut out, t);
    out
}

fn ipip(out: &mut String, t: &Ipip) {
    put(out, "remote", t.remote);
    put(out, "local", t.local);
    put(out, "dev", t.link.as_ref());
    put(out, "ttl", Some(t.ttl).filter(|ttl| *ttl != 0));
    match t.tos {
        0 => {}
        1 => word(out, "tos inherit"),
        tos => put(out, "tos", Some(format!("{tos:#x}"))),
    }
    if !t.pmtudisc {
        word(out, "nopmtudisc");
    }
}

fn vxlan(out: &mut String, v: &Vxlan) {
    let plain = Vxlan::new(v.id);
    if v.external {
        word(out, "type vxlan external");
    } else {
        put(out, "type vxlan id", Some(v.id));
    }
    put(out, "remote", v.remote);
    put(out, "local", v.local);
    put(out, "dev", v.link.as_ref());
    match v.ttl {
        TunnelTtl::Auto => {}
        TunnelTtl::Inherit => word(out, "ttl inherit"),
        TunnelTtl::Fixed(ttl) => put(out, "ttl", Some(ttl)),
    }
    match v.tos {
        0 => {}
        1 => word(out, "tos inherit"),
        tos => put(out, "tos", Some(format!("{tos:#x}"))),
    }
    match v.df {
        TunnelDf::Unset => {}
        TunnelDf::Set => word(out, "df set"),
        TunnelDf::Inherit => word(out, "df inherit"),
    }
    put(out, "ageing", Some(v.ageing).filter(|a| *a != plain.ageing));
    if v.src_ports != plain.src_ports {
        put(out, "srcport", Some(v.src_ports.0));
        word(out, &v.src_ports.1.to_string());
    }
    put(out, "dstport", v.dst_port);
    // `external` switches learning off.
    for (differs, words) in
        [(v.learning && v.external, "learning"), (!v.learning && !v.external, "nolearning"), (!v.udp_csum, "noudpcsum")]
    {
        if differs {
            word(out, words);
        }
    }
}

fn link_set(dev: &str, changes: &[LinkChange]) -> String {
    let mut plain = String::new();
    let mut bridge = String::new();
    let mut ports = Vec::new();
    for change in changes {
        match change {
            LinkChange::Bridge(c) => bridge_change(&mut bridge, *c),
            LinkChange::Port(c) => ports.push(*c),
            change => link_change(&mut plain, change),
        }
    }
    let set = format!("ip link set {}", device(dev));
    let mut lines = Vec::new();
    if !bridge.is_empty() {
        lines.push(format!("{set}{} type bridge{bridge}", std::mem::take(&mut plain)));
    }
    if !ports.is_empty() {
        // bridge(8) has no word for forgetting what was learned, takes no cost of nothing, and changes nothing else of
        // a device.
        let with_ip = !plain.is_empty() || ports.iter().any(|p| matches!(p, PortChange::Flush | PortChange::Cost(0)));
        let words: String = ports.iter().map(|c| port_change(*c)).collect();
        lines.push(if with_ip {
            format!("{set}{} type bridge_slave{words}", std::mem::take(&mut plain))
        } else {
            format!("bridge link set dev {}{words}", quote(dev))
        });
    }
    if lines.is_empty() {
        lines.push(if may_be_dev(dev) { set + &plain } else { format!("bridge link set dev {}", quote(dev)) });
    }
    lines.join("\n")
}

fn link_change(out: &mut String, change: &LinkChange) {
    match change {
        LinkChange::Up(up) => word(out, if *up { "up" } else { "down" }),
        LinkChange::Promisc(on) => put(out, "promisc", Some(on_off(*on))),
        LinkChange::Allmulti(on) => put(out, "allmulticast", Some(on_off(*on))),
        LinkChange::Arp(on) => put(out, "arp", Some(on_off(*on))),
        LinkChange::Mtu(mtu) => put(out, "mtu", Some(mtu.cast_signed())),
        LinkChange::Address(address) => put(out, "address", Some(address)),
        LinkChange::Name(name) => put(out, "name", Some(name)),
        LinkChange::Master(Some(master)) => put(out, "master", Some(master)),
        LinkChange::Master(None) => word(out, "nomaster"),
        LinkChange::Netns(netns) => put(out, "netns", Some(netns)),
        LinkChange::TxQueueLen(len) => put(out, "txqueuelen", Some(len.cast_signed())),
        // The caller's.
        LinkChange::Bridge(_) | LinkChange::Port(_) => {}
    }
}

fn bridge_change(out: &mut String, change: BridgeChange) {
    match change {
        BridgeChange::FdbFlush => word(out, "fdb_flush"),
        BridgeChange::AgeingTime(time) => put(out, "ageing_time", Some(time)),
        BridgeChange::ForwardDelay(time) => put(out, "forward_delay", Some(time)),
        BridgeChange::StpState(on) => put(out, "stp_state", Some(u8::from(on))),
        BridgeChange::Priority(priority) => put(out, "priority", Some(priority)),
        BridgeChange::GroupFwdMask(mask) => put(out, "group_fwd_mask", Some(mask)),
        BridgeChange::McastSnooping(on) => put(out, "mcast_snooping", Some(u8::from(on))),
    }
}

fn port_change(change: PortChange) -> String {
    match change {
        PortChange::Hairpin(on) => format!(" hairpin {}", on_off(on)),
        PortChange::Learning(on) => format!(" learning {}", on_off(on)),
        PortChange::Flood(on) => format!(" flood {}", on_off(on)),
        PortChange::McastFlood(on) => format!(" mcast_flood {}", on_off(on)),
        PortChange::BcastFlood(on) => format!(" bcast_flood {}", on_off(on)),
        PortChange::Isolated(on) => format!(" isolated {}", on_off(on)),
        PortChange::Cost(cost) => format!(" cost {cost}"),
        PortChange::Priority(priority) => format!(" priority {priority}"),
        PortChange::Flush => " fdb_flush".to_owned(),
    }
}

fn address(addr: &Addr) -> String {
    let mut out = match addr.peer {
        Some(peer) => format!("{} peer {peer}", addr.local.addr()),
        None => addr.local.to_string(),
    };
    put(&mut out, "brd", addr.broadcast);
    put(&mut out, "scope", addr.scope.map(scope));
    put(&mut out, "label", addr.label.as_ref());
    put(&mut out, "dev", Some(&addr.dev));
    out
}

fn route_words(route: &Route) -> String {
    let mut out = match route.kind {
        RouteType::Unicast => destination(route.dst),
        other => format!("{} {}", kind(other), destination(route.dst)),
    };
    put(&mut out, "via", route.via);
    put(&mut out, "dev", route.dev.as_ref());
    put(&mut out, "table", route.table.map(table));
    put(&mut out, "proto", route.proto.map(protocol));
    put(&mut out, "scope", route.scope.map(scope));
    put(&mut out, "src", route.src);
    put(&mut out, "metric", route.metric);
    if route.onlink {
        word(&mut out, "onlink");
    }
    if let Some((mtu, lock)) = route.mtu {
        out.push_str(if lock { " mtu lock" } else { " mtu" });
        word(&mut out, &mtu.to_string());
    }
    out
}

fn route_flush(which: &RouteFlush) -> String {
    let mut out = "ip route flush".to_owned();
    if which.cache {
        word(&mut out, "cache");
    }
    if let Some(dst) = which.dst {
        word(&mut out, &dst.to_string());
    }
    put(&mut out, "dev", which.dev.as_ref());
    put(&mut out, "table", which.table.map(table));
    if *which == RouteFlush::default() {
        // The command needs at least one word.
        word(&mut out, "all");
    }
    out
}

fn neighbour(neigh: &Neigh) -> String {
    let mut out = neigh.addr.to_string();
    put(&mut out, "lladdr", neigh.lladdr);
    put(&mut out, "dev", Some(&neigh.dev));
    put(&mut out, "nud", neigh.state.map(|s| s.label().to_lowercase()));
    out
}

fn fdb(entry: &Fdb) -> String {
    let mut out = format!("{} dev {}", entry.mac, quote(&entry.dev));
    if let Some(r) = &entry.remote {
        put(&mut out, "dst", Some(r.dst));
        put(&mut out, "port", r.port);
        put(&mut out, "vni", r.vni);
        put(&mut out, "via", r.via.as_ref());
    }
    word(&mut out, if entry.master { "master" } else { "self" });
    word(
        &mut out,
        match entry.state {
            FdbState::Local => "permanent",
            FdbState::Static => "static",
            FdbState::Dynamic => "dynamic",
        },
    );
    out
}

/// Blanks are put in double quotes, as people do; whatever else needs quoting puts the whole word in single ones.
fn sysctl(name: &str, value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " \t._-/:,+".contains(c);
    if value.contains([' ', '\t']) && !name.starts_with('-') && value.chars().all(plain) {
        return format!("sysctl -w {}=\"{value}\"", quote(name));
    }
    let end_of_options = if name.starts_with('-') { "-- " } else { "" };
    format!("sysctl -w {end_of_options}{}", quote(&format!("{name}={value}")))
}

fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::Rx => "rx",
        Feature::Tx => "tx",
        Feature::Sg => "sg",
        Feature::Tso => "tso",
        Feature::Gso => "gso",
        Feature::Gro => "gro",
    }
}

#[cfg(test)]
mod tests;
