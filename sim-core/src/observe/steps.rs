//! Steps as words for people and as JSON for programs.

use super::names::Names;
use crate::base::{FlowId, IfIndex};
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::mask;
use crate::kernel::trace::{Consumer, CtLabel, Edge, Fate, FloodWhy, Step, What};
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// What happened, as a sentence for the story; none for what the captures show by themselves.
pub fn sentence(step: &Step, names: &Names) -> Option<String> {
    let dev = |d| names.dev(step.ns, d);
    Some(match step.what {
        What::RouteOutput(r) => {
            let (net, len) = r.prefix;
            let via = r.via.map_or("on the link".to_owned(), |v| format!("via {v}"));
            format!("route to {}: {net}/{len} {via} of {}, source {}", r.dst, dev(r.oif), r.src)
        }
        What::RouteInput(r) => {
            let (net, len) = r.prefix;
            format!("{} matches {net}/{len}: {}", r.dst, route_kind(r.kind, dev(r.oif)))
        }
        What::RouteCandidate { dst, prefix, wins, .. } => and_table(dst, prefix, wins),
        What::Neigh { addr, state, lladdr: None } => format!("neighbour {addr} is {}", state.label()),
        What::Neigh { addr, state, lladdr: Some(mac) } => format!("neighbour {addr} is {mac} ({})", state.label()),
        What::NeighWait { addr } => format!("the packet waits until {addr} has answered an ARP request"),
        What::NeighUpdate { addr, state, lladdr } => format!("notes: {addr} is at {lladdr} ({})", state.label()),
        What::FdbLearn { mac, new: true } => format!("learns: {mac} is behind {}", dev(step.dev)),
        What::FdbHit { mac, port } => format!("knows that {mac} is behind {}", dev(port)),
        What::Flood { why } => format!("floods it to all other ports: {}", flood(why)),
        What::PassUp => "hands it up to its own host".to_owned(),
        What::Hook { hook, indev, outdev, physin, physout } => {
            let place = |what: &str, d: Option<IfIndex>| d.map(|d| format!(" {what} {}", dev(d))).unwrap_or_default();
            let (from, to) = (place("in", indev), place("out", outdev));
            format!("{}:{from}{}{to}{}", hook.chain(), place("physdev", physin), place("physdev", physout))
        }
        What::Conntrack { state } => format!("connection tracking: {}", ctstate(state)),
        What::Rule { table, chain, rule } => {
            format!("{} matches: {}", table.name(), names.rule(step.ns, table, chain, rule))
        }
        What::Nat { manip, from, to } => format!("{} NAT: {from} becomes {to}", end(manip)),
        What::Ended(Fate::Delivered) => "delivered to a socket".to_owned(),
        What::Ended(Fate::Dropped(why)) => format!("dropped: {}", why.name()),
        What::Made(_)
        | What::Edge(_)
        | What::Queued { .. }
        | What::FdbLearn { new: false, .. }
        | What::Accept
        | What::Ended(Fate::Consumed(_) | Fate::Queued) => return None,
    })
}

fn route_kind(kind: crate::kernel::netlink::RouteType, dev: &str) -> String {
    use crate::kernel::netlink::RouteType;
    match kind {
        RouteType::Local => "for this host".to_owned(),
        RouteType::Broadcast => "for everybody here".to_owned(),
        _ => format!("to be forwarded out of {dev}"),
    }
}

/// Does the destination lie in the subnet? Destination AND mask, bit by bit.
fn and_table(dst: Ipv4Addr, (net, len): (Ipv4Addr, u8), wins: bool) -> String {
    let netmask = mask(Ipv4Addr::BROADCAST, len);
    let result = mask(dst, len);
    let verdict = match (result == net, wins) {
        (true, true) => format!("is {net}/{len}: matches, and no longer prefix does"),
        (true, false) => format!("is {net}/{len}: matches, but another route comes first"),
        (false, _) => format!("is not {net}: not in {net}/{len}"),
    };
    format!(
        "    {}  {dst}\nAND {}  {netmask}\n  = {}  {result} {verdict}",
        binary(dst),
        binary(netmask),
        binary(result)
    )
}

/// Four groups of eight binary digits.
fn binary(addr: Ipv4Addr) -> String {
    addr.octets().map(|byte| format!("{byte:08b}")).join(".")
}

fn flood(why: FloodWhy) -> &'static str {
    match why {
        FloodWhy::Broadcast => "it is a broadcast",
        FloodWhy::Multicast => "it is a multicast",
        FloodWhy::UnknownUnicast => "nobody knows where the destination is",
    }
}

/// As `-m conntrack --ctstate` writes it.
fn ctstate(state: CtLabel) -> &'static str {
    match state {
        CtLabel::New => "NEW",
        CtLabel::Established => "ESTABLISHED",
        CtLabel::Related => "RELATED",
        CtLabel::Invalid => "INVALID",
        CtLabel::Untracked => "UNTRACKED",
    }
}

fn end(manip: Manip) -> &'static str {
    match manip {
        Manip::Src => "source",
        Manip::Dst => "destination",
    }
}

/// The step as a line of trace.jsonl, without the line feed.
pub fn line(step: &Step, names: &Names, flow: Option<FlowId>) -> String {
    let mut m = Map::new();
    m.insert("at".to_owned(), Value::from(step.at.0));
    m.insert("namespace".to_owned(), Value::from(names.ns(step.ns)));
    if step.dev.0 != 0 {
        m.insert("device".to_owned(), Value::from(names.dev(step.ns, step.dev)));
    }
    m.insert("frame".to_owned(), Value::from(step.frame.0));
    m.insert("packet".to_owned(), Value::from(step.packet.0));
    m.insert("flow".to_owned(), flow.map_or(Value::Null, |f| Value::from(f.0)));
    let (what, fields) = what(step, names);
    m.insert("what".to_owned(), Value::from(what));
    if let Value::Object(fields) = fields {
        m.extend(fields);
    }
    Value::Object(m).to_string()
}

fn what(step: &Step, names: &Names) -> (&'static str, Value) {
    let dev = |d| names.dev(step.ns, d);
    match step.what {
        What::Made(e) => ("made", edge(e)),
        What::Edge(e) => ("edge", edge(e)),
        What::Queued { ns, dev } => ("queued", json!({"to": format!("{}/{}", names.ns(ns), names.dev(ns, dev))})),
        What::RouteOutput(r) => ("route_output", route(&r, dev(r.oif))),
        What::RouteInput(r) => ("route_input", route(&r, dev(r.oif))),
        What::RouteCandidate { dst, prefix: (net, len), table, wins } => {
            let matches = mask(dst, len) == net;
            let prefix = format!("{net}/{len}");
            ("route_candidate", json!({"dst": dst, "prefix": prefix, "table": table, "matches": matches, "wins": wins}))
        }
        What::Neigh { addr, state, lladdr } => {
            ("neigh", json!({"address": addr, "state": state.label(), "lladdr": lladdr.map(|m| m.to_string())}))
        }
        What::NeighWait { addr } => ("neigh_wait", json!({"address": addr})),
        What::NeighUpdate { addr, state, lladdr } => {
            ("neigh_update", json!({"address": addr, "state": state.label(), "lladdr": lladdr.to_string()}))
        }
        What::FdbLearn { mac, new } => ("fdb_learn", json!({"mac": mac.to_string(), "new": new})),
        What::FdbHit { mac, port } => ("fdb_hit", json!({"mac": mac.to_string(), "port": dev(port)})),
        What::Flood { why } => ("flood", json!({"why": flood(why)})),
        What::PassUp => ("pass_up", json!({})),
        What::Hook { hook, indev, outdev, physin, physout } => {
            let [indev, outdev, physin, physout] = [indev, outdev, physin, physout].map(|d| d.map(dev));
            let hook = hook.chain();
            ("hook", json!({"hook": hook, "in": indev, "out": outdev, "physin": physin, "physout": physout}))
        }
        What::Conntrack { state } => ("conntrack", json!({"state": ctstate(state)})),
        What::Rule { table, chain, rule } => {
            ("rule", json!({"table": table.name(), "rule": names.rule(step.ns, table, chain, rule)}))
        }
        What::Nat { manip, from, to } => {
            ("nat", json!({"end": end(manip), "from": from.to_string(), "to": to.to_string()}))
        }
        What::Accept => ("accept", json!({})),
        What::Ended(fate) => ("ended", ended(fate)),
    }
}

fn route(r: &crate::kernel::trace::RouteStep, oif: &str) -> Value {
    let (net, len) = r.prefix;
    json!({
        "dst": r.dst, "prefix": format!("{net}/{len}"), "table": r.table,
        "type": format!("{:?}", r.kind).to_lowercase(),
        "via": r.via, "oif": oif, "src": r.src,
    })
}

fn edge(edge: Edge) -> Value {
    match edge {
        Edge::Origin => json!({}),
        Edge::Clone(of) => json!({"edge": "clone", "of": of.0}),
        Edge::CausedBy(of) => json!({"edge": "caused_by", "of": of.0}),
        Edge::FragmentOf(of) => json!({"edge": "fragment_of", "of": of.0}),
        Edge::MergedFrom(of) => json!({"edge": "merged_from", "of": of.0}),
    }
}

fn ended(fate: Fate) -> Value {
    match fate {
        Fate::Queued => json!({"fate": "queued"}),
        Fate::Delivered => json!({"fate": "delivered"}),
        Fate::Consumed(Consumer::Arp) => json!({"fate": "consumed", "by": "arp"}),
        Fate::Consumed(Consumer::Icmp) => json!({"fate": "consumed", "by": "icmp"}),
        Fate::Consumed(Consumer::Fragmentation) => json!({"fate": "consumed", "by": "fragmentation"}),
        Fate::Consumed(Consumer::Reassembly) => json!({"fate": "consumed", "by": "reassembly"}),
        Fate::Dropped(why) => json!({"fate": "dropped", "reason": why.name()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of article 001: 172.16.1.1 is not in the subnet of 192.168.1.1/24.
    #[test]
    fn anding() {
        let text = and_table([172, 16, 1, 1].into(), ([192, 168, 1, 0].into(), 24), false);
        let want = [
            "    10101100.00010000.00000001.00000001  172.16.1.1",
            "AND 11111111.11111111.11111111.00000000  255.255.255.0",
            "  = 10101100.00010000.00000001.00000000  172.16.1.0 is not 192.168.1.0: not in 192.168.1.0/24",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), want);
        let text = and_table([192, 168, 1, 2].into(), ([192, 168, 1, 0].into(), 24), true);
        assert!(text.ends_with("192.168.1.0 is 192.168.1.0/24: matches, and no longer prefix does"), "{text}");
    }
}
