//! Steps as words for people and as JSON for programs.

use super::names::Names;
use crate::base::{FlowId, FrameId, IfIndex, NsId, PacketId, Time};
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::mask;
use crate::kernel::netlink::{NudState, RouteType};
use crate::kernel::trace::{BpfStep, Consumer, CtLabel, Edge, Fate, FloodWhy, RouteStep, Step, Tap, Tunnel, What};
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// What happened, as a sentence for the story; none for what the captures show by themselves. `before` is the step of
/// the same frame that was told before it: what both have in common is not said again. A sentence that begins with a
/// space belongs to the one before.
pub fn sentence(step: &Step, before: Option<What>, names: &Names) -> Option<String> {
    let dev = |d| names.dev(step.ns, d);
    Some(match step.what {
        What::RouteOutput(r) => format!("route to {}: {}, source {}", r.dst, way(&r, dev(r.oif)), r.src),
        What::RouteInput(r) => format!("route to {}: {}", r.dst, way(&r, dev(r.oif))),
        What::RouteCandidate { dst, prefix, wins, .. } => and_table(dst, prefix, wins, before),
        What::Neigh { addr, state: NudState::None, .. } => format!("neighbour {addr} is not known yet"),
        What::Neigh { addr, state, lladdr: None } => format!("neighbour {addr} is {}", state.label()),
        What::Neigh { addr, state, lladdr: Some(mac) } => format!("neighbour {addr} is {mac} ({})", state.label()),
        What::NeighWait { addr } => format!("the packet waits until {addr} has answered an ARP request"),
        What::NeighUpdate { addr, state, lladdr } => format!("notes: {addr} is at {lladdr} ({})", state.label()),
        What::FdbLearn { mac, new: true } => format!("learns: {mac} is behind {}", dev(step.dev)),
        What::FdbHit { mac, port } => format!("knows that {mac} is behind {}", dev(port)),
        What::Flood { why } => format!("floods it to all other ports: {}", flood(why)),
        What::PassUp => "hands it up to its own host".to_owned(),
        What::Hook { hook, indev, outdev, physin, physout } => {
            let way = |what: &str, d: Option<IfIndex>, phys: Option<IfIndex>| {
                let phys = phys.map(|p| format!(" (physdev {})", dev(p))).unwrap_or_default();
                d.map(|d| format!(" {what} {}{phys}", dev(d))).unwrap_or(phys)
            };
            format!("{}:{}{}", hook.chain(), way("in", indev, physin), way("out", outdev, physout))
        }
        What::Conntrack { state: state @ CtLabel::Established } => {
            format!("  connection tracking: {} (no rule of table nat is asked)", state.name())
        }
        What::Conntrack { state } => format!("  connection tracking: {}", state.name()),
        What::Rule { table, chain, rule } => {
            let same = matches!(before, Some(What::Rule { table: t, .. }) if t == table);
            let said = table.name();
            let head = if same { " ".repeat(said.len() + 1) } else { format!("{said}:") };
            format!("  {head} {}", names.rule(step.ns, table, chain, rule))
        }
        What::Nat { manip, from, to } => format!("  {} NAT: {from} becomes {to}", end(manip)),
        What::Made(Edge::MergedFrom(_)) => "  the fragments are put together".to_owned(),
        What::Made(Edge::FragmentOf(_)) => "cuts off a fragment".to_owned(),
        What::Encapsulated { tunnel: Tunnel::Vxlan { vni }, from, to } => {
            format!("{} wraps it: VXLAN {vni} from {from} to {to}", dev(step.dev))
        }
        What::Encapsulated { tunnel: Tunnel::Ipip, from, to } => {
            format!("{} wraps it: IPIP from {} to {}", dev(step.dev), from.ip(), to.ip())
        }
        What::Decapsulated { tunnel: Tunnel::Vxlan { vni }, from } => {
            format!("{} unwraps it: VXLAN {vni} from {from}", dev(step.dev))
        }
        What::Decapsulated { tunnel: Tunnel::Ipip, from } => format!("{} unwraps it: IPIP from {from}", dev(step.dev)),
        What::Bpf(step) => return Some(bpf_sentence(step, dev)),
        What::QdiscWait { ahead } => format!("{} is busy: the frame waits, {ahead} before it", dev(step.dev)),
        What::Ended(Fate::Delivered) => "delivered to a socket".to_owned(),
        What::Ended(Fate::Dropped(why)) => format!("dropped: {}: {}", why.name(), why.words()),
        What::Made(_)
        | What::Edge(_)
        | What::Queued { .. }
        | What::FdbLearn { new: false, .. }
        | What::OnWire { .. }
        | What::Accept
        | What::Ended(Fate::Consumed(_) | Fate::Queued) => return None,
    })
}

/// What a program of tc does.
fn bpf_sentence<'a>(step: BpfStep, dev: impl Fn(IfIndex) -> &'a str) -> String {
    match step {
        BpfStep::Run { program, attach } => format!("{}: {}", attach.name(), program.name()),
        BpfStep::Endpoint { addr, id: 0 } => format!("  cilium_lxc: {addr} is this node's own"),
        BpfStep::Endpoint { addr, id } => format!("  cilium_lxc: {addr} is endpoint {id} here"),
        BpfStep::Ipcache { addr, identity, tunnel } => {
            let node = tunnel.map_or("no tunnel leads there".to_owned(), |node| format!("behind the tunnel to {node}"));
            format!("  cilium_ipcache: {addr} has identity {identity}, {node}")
        }
        BpfStep::Service { addr, backend: Some(backend) } => {
            format!("  cilium_lb4_services_v2: {addr} is a Service, {backend} serves it")
        }
        BpfStep::Service { addr, backend: None } => {
            format!("  cilium_lb4_services_v2: {addr} is a Service that nobody serves: an error goes back")
        }
        BpfStep::Conntrack { state } => format!("  connection tracking of the programs: {}", state.name()),
        BpfStep::Arp { addr, mac } => format!("  answers the ARP request: {addr} is at {mac}"),
        BpfStep::Drop(why) => format!("  drops it: {}", why.text()),
        BpfStep::Redirect(to) => format!("  redirects it to {}", dev(to)),
        BpfStep::RedirectPeer(to) => format!("  hands it to the other end of {}, which receives it at once", dev(to)),
        BpfStep::RedirectNeigh(to) => format!("  redirects it to the neighbour on its way out of {}", dev(to)),
    }
}

/// The route as `ip route` writes it, and what is to become of the packet.
fn way(r: &RouteStep, dev: &str) -> String {
    let (net, len) = r.prefix;
    let prefix = if len == 0 { "default".to_owned() } else { format!("{net}/{len}") };
    let via = r.via.map_or(String::new(), |v| format!(" via {v}"));
    match r.kind {
        RouteType::Unicast => format!("{prefix}{via} dev {dev}"),
        RouteType::Local => format!("local {prefix}, it is for this host"),
        RouteType::Broadcast => format!("broadcast {prefix}, it is for everybody here"),
        RouteType::Multicast => format!("multicast {prefix}"),
        RouteType::Blackhole => format!("blackhole {prefix}"),
        RouteType::Unreachable => format!("unreachable {prefix}"),
        RouteType::Prohibit => format!("prohibit {prefix}"),
        RouteType::Throw => format!("throw {prefix}"),
    }
}

/// Does the destination lie in the subnet? Destination AND mask, bit by bit; for several routes with one mask once.
fn and_table(dst: Ipv4Addr, (net, len): (Ipv4Addr, u8), wins: bool, before: Option<What>) -> String {
    let result = mask(dst, len);
    let verdict = match (result == net, wins) {
        (true, true) => format!("is {net}/{len}: chosen, no longer prefix fits"),
        (true, false) => format!("is {net}/{len}, but another route comes first"),
        (false, _) => format!("is not {net}/{len}"),
    };
    let before = match before {
        Some(What::RouteCandidate { dst: d, prefix, .. }) if d == dst => Some(prefix.1),
        _ => None,
    };
    if before == Some(len) {
        return format!("  {:COLUMN$}{verdict}", "");
    }
    let bits = |head: &str, addr: Ipv4Addr| format!("  {head:>3} {}  {:<17}", binary(addr), addr.to_string());
    let mut text = match before {
        None => format!("which route leads to {dst}?\n{}the destination\n", bits("", dst)),
        Some(_) => String::new(),
    };
    let netmask = mask(Ipv4Addr::BROADCAST, len);
    text += &format!("{}the mask of /{len}\n{}{verdict}", bits("AND", netmask), bits("=", result));
    text
}

/// Where the words of the AND-ing table stand.
const COLUMN: usize = 4 + 35 + 2 + 17;

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

fn end(manip: Manip) -> &'static str {
    match manip {
        Manip::Src => "source",
        Manip::Dst => "destination",
    }
}

/// The step as a line of trace.jsonl, without the line feed.
pub fn line(step: &Step, names: &Names, flow: Option<FlowId>) -> String {
    let place = (step.ns, Some(step.dev).filter(|dev| dev.0 != 0));
    object(step.at, place, (step.frame, step.packet, flow), names, what(step, names))
}

/// The line of trace.jsonl that says because of which packets a proxy has sent this one, without the line feed.
pub(super) fn proxied_line(tap: &Tap<'_>, names: &Names, flow: Option<FlowId>, packets: &[PacketId]) -> String {
    let fields = json!({"packets": packets});
    object(tap.at, (tap.ns, Some(tap.dev)), (tap.frame, tap.packet, flow), names, ("proxied_from", fields))
}

fn object(
    at: Time,
    (ns, dev): (NsId, Option<IfIndex>),
    (frame, packet, flow): (FrameId, PacketId, Option<FlowId>),
    names: &Names,
    (what, fields): (&str, Value),
) -> String {
    let mut m = Map::new();
    m.insert("at".to_owned(), Value::from(at.0));
    m.insert("namespace".to_owned(), Value::from(names.ns(ns)));
    if let Some(dev) = dev {
        m.insert("device".to_owned(), Value::from(names.dev(ns, dev)));
    }
    m.insert("frame".to_owned(), Value::from(frame.0));
    m.insert("packet".to_owned(), Value::from(packet.0));
    m.insert("flow".to_owned(), flow.map_or(Value::Null, |f| Value::from(f.0)));
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
        What::Conntrack { state } => ("conntrack", json!({"state": state.name()})),
        What::Rule { table, chain, rule } => {
            ("rule", json!({"table": table.name(), "rule": names.rule(step.ns, table, chain, rule)}))
        }
        What::Nat { manip, from, to } => {
            ("nat", json!({"end": end(manip), "from": from.to_string(), "to": to.to_string()}))
        }
        What::Encapsulated { tunnel: Tunnel::Vxlan { vni }, from, to } => {
            ("encapsulated", json!({"vni": vni, "from": from.to_string(), "to": to.to_string()}))
        }
        What::Encapsulated { tunnel: Tunnel::Ipip, from, to } => {
            ("encapsulated", json!({"from": from.ip(), "to": to.ip()}))
        }
        What::Decapsulated { tunnel: Tunnel::Vxlan { vni }, from } => {
            ("decapsulated", json!({"vni": vni, "from": from}))
        }
        What::Decapsulated { tunnel: Tunnel::Ipip, from } => ("decapsulated", json!({"from": from})),
        What::Bpf(step) => bpf(step, dev),
        What::QdiscWait { ahead } => ("qdisc_wait", json!({"ahead": ahead})),
        What::OnWire { done } => ("on_wire", json!({"done": done.0})),
        What::Accept => ("accept", json!({})),
        What::Ended(fate) => ("ended", ended(fate)),
    }
}

fn bpf<'a>(step: BpfStep, dev: impl Fn(IfIndex) -> &'a str) -> (&'static str, Value) {
    match step {
        BpfStep::Run { program, attach } => ("bpf_run", json!({"program": program.name(), "attach": attach.name()})),
        BpfStep::Endpoint { addr, id } => ("bpf_endpoint", json!({"address": addr, "endpoint": id})),
        BpfStep::Ipcache { addr, identity, tunnel } => {
            ("bpf_ipcache", json!({"address": addr, "identity": identity, "tunnel": tunnel}))
        }
        BpfStep::Service { addr, backend } => {
            let backend = backend.map(|b| b.to_string());
            ("bpf_service", json!({"service": addr.to_string(), "backend": backend}))
        }
        BpfStep::Conntrack { state } => ("bpf_conntrack", json!({"state": state.name()})),
        BpfStep::Arp { addr, mac } => ("bpf_arp", json!({"address": addr, "lladdr": mac.to_string()})),
        BpfStep::Drop(why) => ("bpf_drop", json!({"reason": why.text()})),
        BpfStep::Redirect(to) => ("bpf_redirect", json!({"to": dev(to)})),
        BpfStep::RedirectPeer(to) => ("bpf_redirect_peer", json!({"to": dev(to)})),
        BpfStep::RedirectNeigh(to) => ("bpf_redirect_neigh", json!({"to": dev(to)})),
    }
}

fn route(r: &RouteStep, oif: &str) -> Value {
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
        Edge::SegmentOf(of) => json!({"edge": "segment_of", "of": of.0}),
        Edge::RetransmitOf(of) => json!({"edge": "retransmit_of", "of": of.0}),
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
        Fate::Consumed(Consumer::Segmentation) => json!({"fate": "consumed", "by": "segmentation"}),
        Fate::Consumed(Consumer::Gro) => json!({"fate": "consumed", "by": "gro"}),
        Fate::Consumed(Consumer::Tcp) => json!({"fate": "consumed", "by": "tcp"}),
        Fate::Dropped(why) => json!({"fate": "dropped", "reason": why.name()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of article 001: of 192.168.1.1/24, 172.16.1.1 is not in the subnet, 192.168.1.2 is.
    #[test]
    fn anding() {
        let local = ([192, 168, 1, 0].into(), 24);
        let text = and_table([172, 16, 1, 1].into(), local, false, None);
        let want = [
            "which route leads to 172.16.1.1?",
            "      10101100.00010000.00000001.00000001  172.16.1.1       the destination",
            "  AND 11111111.11111111.11111111.00000000  255.255.255.0    the mask of /24",
            "    = 10101100.00010000.00000001.00000000  172.16.1.0       is not 192.168.1.0/24",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), want);
        let text = and_table([192, 168, 1, 2].into(), local, true, None);
        assert!(text.ends_with("192.168.1.0      is 192.168.1.0/24: chosen, no longer prefix fits"), "{text}");
    }

    /// What stands in the table already is not repeated, and what is added stands below it.
    #[test]
    fn one_mask_one_table() {
        let dst = [172, 16, 1, 1].into();
        let prefix = ([192, 168, 1, 0].into(), 24);
        let first = What::RouteCandidate { dst, prefix, table: 254, wins: false };
        let text = and_table(dst, ([10, 0, 0, 0].into(), 24), false, Some(first));
        assert_eq!(text.trim(), "is not 10.0.0.0/24");
        let whole = and_table(dst, prefix, false, None);
        let last = whole.lines().last().unwrap_or_default();
        assert_eq!(text.find("is"), last.find("is"));
        let text = and_table(dst, (Ipv4Addr::UNSPECIFIED, 0), true, Some(first));
        assert_eq!(text.lines().count(), 2, "the destination stands above: {text}");
    }
}
