//! flows.jsonl: each connection with its names at every interface, what it carried, where addresses were translated and
//! what connection tracking makes of it. Both ends of a name stand as the first packet of the connection has them.

use super::files::Files;
use super::flows::{End, Ends, Flows, Member};
use super::names::Names;
use crate::base::{FlowId, IfIndex, NsId, PacketId, Time};
use crate::engine::World;
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::conntrack::{Info, Status, TcpState, Tuple};
use crate::kernel::show;
use crate::kernel::trace::{self, CtLabel, Proxied, Step, Tap, What};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, be16};
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};

/// The version of flows.jsonl's format.
pub const FLOWS_VERSION: &str = "podhop/flows/v1";
/// As many flows are told of: the first ones.
pub const MAX_TOLD: u32 = 1 << 16;
/// A flow is told under so many names at so many interfaces, and with so many translations: the first ones.
pub const MAX_PLACES: usize = 1024;

/// What is known of the flows of a run.
#[derive(Default)]
pub(super) struct Connections {
    /// The flow with number n at n - 1; none if nothing of it was seen while this listened.
    flows: Vec<Option<Connection>>,
    /// What happened to packets before they were seen anywhere.
    unseen: FxHashMap<PacketId, Vec<Event>>,
}

/// A flow. Pairs are those of its own direction and of the other one.
struct Connection {
    protocol: u8,
    ends: [End; 2],
    first: Time,
    last: Time,
    packets: [u64; 2],
    bytes: [u64; 2],
    errors: u64,
    places: Vec<Place>,
    nat: Vec<Translation>,
    states: BTreeMap<(NsId, &'static str), u64>,
    proxied_from: Vec<FlowId>,
}

/// A flow at an interface, under one name.
struct Place {
    ns: NsId,
    dev: IfIndex,
    ends: [End; 2],
    first: Time,
    last: Time,
    records: [u64; 2],
    bytes: [u64; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Translation {
    ns: NsId,
    manip: Manip,
    from: SocketAddrV4,
    to: SocketAddrV4,
}

/// What netfilter did with a packet.
#[derive(Clone, Copy)]
enum Event {
    Nat(Translation),
    State(NsId, CtLabel),
}

impl Connections {
    /// Something happened to a packet that belongs to `member`, if that is known yet.
    pub fn step(&mut self, step: &Step, member: Option<Member>) {
        let event = match step.what {
            What::Nat { manip, from, to } => Event::Nat(Translation { ns: step.ns, manip, from, to }),
            What::Conntrack { state } => Event::State(step.ns, state),
            _ => return,
        };
        match member {
            Some(member) => self.event(member, event),
            None => self.unseen.entry(step.packet).or_default().push(event),
        }
    }

    /// The last frame of a packet has ended.
    pub fn forget(&mut self, packet: PacketId) {
        self.unseen.remove(&packet);
    }

    /// A frame at a tap; `first` if its packet was not seen before.
    pub fn record(&mut self, tap: &Tap<'_>, member: Member, first: bool) {
        let l3 = tap.l3();
        let Some(ends) = Ends::of(tap.protocol(), l3) else { return };
        let way = usize::from(member.back);
        let forward = if member.back != ends.quoted { [ends.dst, ends.src] } else { [ends.src, ends.dst] };
        let len = u64::from(be16(l3, 2));
        let Some(place) = self.get(member.flow) else { return };
        let c = place.get_or_insert_with(|| Connection::new(ends.protocol, forward, tap.at));
        if first && member.error {
            c.errors += 1;
        } else if first {
            c.packets[way] += 1;
            c.bytes[way] += len;
        }
        c.last = c.last.max(tap.at);
        if !member.error
            && let Some(place) = c.place(tap, forward, ends.fragment)
        {
            place.last = place.last.max(tap.at);
            place.records[way] += 1;
            place.bytes[way] += len;
        }
        for event in self.unseen.remove(&tap.packet).unwrap_or_default() {
            self.event(member, event);
        }
    }

    /// A proxy has made one connection for another, which are seen by now.
    pub fn proxied(&mut self, edge: &Proxied, flows: &Flows) {
        // Where the answers have another name than the requests, the connection is what began it.
        let first = |c: &trace::Connection| flows.received_by(c).map(|member| member.flow).min();
        let (Some(from), Some(to)) = (first(&edge.from), first(&edge.to)) else { return };
        if let Some(Some(c)) = self.get(to)
            && c.proxied_from.len() < MAX_PLACES
            && !c.proxied_from.contains(&from)
        {
            c.proxied_from.push(from);
        }
    }

    fn event(&mut self, member: Member, event: Event) {
        let Some(Some(c)) = self.get(member.flow) else { return };
        match event {
            // What is done to the answers follows from what was done to the first packet.
            Event::Nat(nat) => {
                if !member.back && !member.error && c.nat.len() < MAX_PLACES && !c.nat.contains(&nat) {
                    c.nat.push(nat);
                }
            }
            Event::State(ns, state) => *c.states.entry((ns, state.name())).or_default() += 1,
        }
    }

    /// The place of a flow; none if there are too many.
    fn get(&mut self, flow: FlowId) -> Option<&mut Option<Connection>> {
        let at = flow.0.checked_sub(1).filter(|at| *at < MAX_TOLD)? as usize;
        if at >= self.flows.len() {
            self.flows.resize_with(at + 1, || None);
        }
        self.flows.get_mut(at)
    }

    /// Writes the file: a line a flow. The entries of connection tracking are those that `world` has.
    pub fn finish(&self, files: &mut Files<'_>, names: &Names, flows: &Flows, world: &World) {
        let mut entries = tracked(flows, world);
        let no = files.create("flows.jsonl".to_owned());
        for (n, c) in (1..).zip(&self.flows) {
            let (flow, Some(c)) = (FlowId(n), c) else { continue };
            let line = c.told(flow, names, entries.remove(&flow).unwrap_or_default());
            let text = serde_json::to_string(&line).unwrap_or_default();
            files.write(no, |w| {
                w.extend_from_slice(text.as_bytes());
                w.push(b'\n');
            });
        }
    }
}

impl Connection {
    fn new(protocol: u8, ends: [End; 2], first: Time) -> Self {
        Connection {
            protocol,
            ends,
            first,
            last: first,
            packets: [0; 2],
            bytes: [0; 2],
            errors: 0,
            places: vec![],
            nat: vec![],
            states: BTreeMap::new(),
            proxied_from: vec![],
        }
    }

    /// The flow at a tap; a fragment without ports goes with the others between the same addresses. None if there are
    /// [`MAX_PLACES`].
    fn place(&mut self, tap: &Tap<'_>, ends: [End; 2], fragment: bool) -> Option<&mut Place> {
        let addresses = |ends: &[End; 2]| [ends[0].0, ends[1].0];
        let fits = |p: &Place| {
            let same = if fragment { addresses(&p.ends) == addresses(&ends) } else { p.ends == ends };
            p.ns == tap.ns && p.dev == tap.dev && same
        };
        let at = self.places.iter().position(fits).unwrap_or(self.places.len());
        if at == self.places.len() && at < MAX_PLACES {
            let (ns, dev, first) = (tap.ns, tap.dev, tap.at);
            self.places.push(Place { ns, dev, ends, first, last: first, records: [0; 2], bytes: [0; 2] });
        }
        self.places.get_mut(at)
    }

    fn told<'a>(&'a self, flow: FlowId, names: &'a Names, entries: Vec<Entry>) -> Told<'a> {
        let place = |p: &'a Place| ToldPlace {
            namespace: names.ns(p.ns),
            device: names.dev(p.ns, p.dev),
            name: Name::of(self.protocol, p.ends),
            first: p.first,
            last: p.last,
            records: p.records,
            bytes: p.bytes,
        };
        let nat = |t: &'a Translation| ToldNat {
            namespace: names.ns(t.ns),
            end: match t.manip {
                Manip::Src => "source",
                Manip::Dst => "destination",
            },
            from: t.from,
            to: t.to,
        };
        let mut conntrack: BTreeMap<NsId, ToldTracking<'_>> = BTreeMap::new();
        let tracking = |ns| ToldTracking { namespace: names.ns(ns), packets: BTreeMap::new(), entries: vec![] };
        for ((ns, state), count) in &self.states {
            conntrack.entry(*ns).or_insert_with(|| tracking(*ns)).packets.insert(state, *count);
        }
        for entry in entries {
            conntrack.entry(entry.ns).or_insert_with(|| tracking(entry.ns)).entries.push(entry);
        }
        Told {
            flow,
            protocol: protocol(self.protocol),
            name: Name::of(self.protocol, self.ends),
            first: self.first,
            last: self.last,
            packets: self.packets,
            bytes: self.bytes,
            errors: self.errors,
            places: self.places.iter().map(place).collect(),
            nat: self.nat.iter().map(nat).collect(),
            proxied_from: &self.proxied_from,
            conntrack: conntrack.into_values().collect(),
        }
    }
}

/// The entries of all connection tables by their flows, machine by machine and namespace by namespace.
fn tracked(flows: &Flows, world: &World) -> BTreeMap<FlowId, Vec<Entry>> {
    let mut entries: BTreeMap<FlowId, Vec<Entry>> = BTreeMap::new();
    for machine in world.machines() {
        for (ns, _) in machine.spaces().iter() {
            for info in show::conntrack(machine.spaces(), ns, machine.now()) {
                let flow = ends(&info.tuple[0]).and_then(|ends| flows.find(&ends).map(|m| m.flow));
                if let (Some(flow), Some(entry)) = (flow, Entry::of(ns, &info)) {
                    entries.entry(flow).or_default().push(entry);
                }
            }
        }
    }
    entries
}

/// A tuple as the ends of a packet; none for IPv6.
fn ends(tuple: &Tuple) -> Option<Ends> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) else { return None };
    let dport = if tuple.proto == IPPROTO_ICMP { tuple.sport } else { tuple.dport };
    let (src, dst) = ((src, tuple.sport), (dst, dport));
    Some(Ends { protocol: tuple.proto, src, dst, fragment: false, quoted: false })
}

/// As conntrack(8) calls the protocols; others by their numbers.
fn protocol(number: u8) -> String {
    match number {
        IPPROTO_ICMP => "icmp".to_owned(),
        IPPROTO_TCP => "tcp".to_owned(),
        IPPROTO_UDP => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// A line of flows.jsonl.
#[derive(Serialize)]
struct Told<'a> {
    flow: FlowId,
    protocol: String,
    #[serde(flatten)]
    name: Name,
    first: Time,
    last: Time,
    packets: [u64; 2],
    bytes: [u64; 2],
    errors: u64,
    places: Vec<ToldPlace<'a>>,
    nat: Vec<ToldNat<'a>>,
    /// The flows whose bytes a proxy has sent on by this one.
    #[serde(skip_serializing_if = "<[FlowId]>::is_empty")]
    proxied_from: &'a [FlowId],
    conntrack: Vec<ToldTracking<'a>>,
}

/// Both ends; for ICMP echo with the id.
#[derive(Serialize)]
struct Name {
    source: String,
    destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u16>,
}

impl Name {
    fn of(protocol: u8, [src, dst]: [End; 2]) -> Self {
        let ports = matches!(protocol, IPPROTO_TCP | IPPROTO_UDP);
        let end = |(addr, port): End| if ports { format!("{addr}:{port}") } else { addr.to_string() };
        Name { source: end(src), destination: end(dst), id: (protocol == IPPROTO_ICMP).then_some(src.1) }
    }
}

#[derive(Serialize)]
struct ToldPlace<'a> {
    namespace: &'a str,
    device: &'a str,
    #[serde(flatten)]
    name: Name,
    first: Time,
    last: Time,
    records: [u64; 2],
    bytes: [u64; 2],
}

#[derive(Serialize)]
struct ToldNat<'a> {
    namespace: &'a str,
    end: &'static str,
    from: SocketAddrV4,
    to: SocketAddrV4,
}

#[derive(Serialize)]
struct ToldTracking<'a> {
    namespace: &'a str,
    /// Packets by the state that a rule would have seen.
    packets: BTreeMap<&'static str, u64>,
    entries: Vec<Entry>,
}

/// An entry of a connection table.
#[derive(Serialize)]
struct Entry {
    #[serde(skip)]
    ns: NsId,
    original: Name,
    reply: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    status: Vec<&'static str>,
    timeout: u64,
}

impl Entry {
    /// None for IPv6.
    fn of(ns: NsId, info: &Info) -> Option<Self> {
        let name = |tuple: &Tuple| ends(tuple).map(|e| Name::of(e.protocol, [e.src, e.dst]));
        let said = [(Status::SEEN_REPLY, "SEEN_REPLY"), (Status::ASSURED, "ASSURED")];
        Some(Entry {
            ns,
            original: name(&info.tuple[0])?,
            reply: name(&info.tuple[1])?,
            state: info.tcp.map(TcpState::name),
            status: said.iter().filter(|(bit, _)| info.status.has(*bit)).map(|(_, text)| *text).collect(),
            timeout: info.timeout_s,
        })
    }
}
