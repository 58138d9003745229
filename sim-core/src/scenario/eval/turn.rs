//! One packet of a flow: its path through the node, its end, and what the other side sends next.

use super::Origin;
use crate::base::PacketId;
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::errno::Errno;
use crate::kernel::netfilter::targets::{NatKind, Target};
use crate::kernel::trace::{DropReason, What};
use crate::observe::steps::sentence;
use crate::testing::{Error, Hit, NetNs, Outcome, Packet, Verdict};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};
use serde::Serialize;

/// One packet of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Turn {
    /// The device that it came in by; none if the node itself sent it.
    pub device: Option<String>,
    /// The protocol, by name or number.
    pub protocol: String,
    /// `ADDRESS:PORT` that it came from.
    pub source: String,
    /// `ADDRESS:PORT` that it was for.
    pub destination: String,
    /// What happened to it on its way.
    pub path: Vec<PathStep>,
    /// How its way ended.
    pub end: Ending,
}

/// One step of a packet's path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PathStep {
    /// `hook`, `rule`, `conntrack`, `nat`, `route`, `bridge`.
    pub what: &'static str,
    /// The step in words; a rule as iptables-save prints it.
    pub text: String,
    /// The table of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// The line of a rule in the dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// A rule or a policy that decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rule {
    /// Its table.
    pub table: &'static str,
    /// Its chain.
    pub chain: String,
    /// Its line in the dump; none of a policy.
    pub line: Option<u32>,
    /// As iptables-save prints it.
    pub text: String,
}

/// How a packet's way ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Ending {
    /// It left.
    Sent {
        /// By these devices: several if a bridge did not know where its destination is.
        devices: Vec<String>,
        /// `ADDRESS:PORT` that it came from then.
        source: String,
        /// `ADDRESS:PORT` that it was for then.
        destination: String,
    },
    /// It was for the node itself, and no rule kept it away.
    Local {
        /// `ADDRESS:PORT` that it came from then.
        source: String,
        /// `ADDRESS:PORT` that it was for then.
        destination: String,
    },
    /// It was dropped.
    Dropped {
        /// The kernel's reason.
        reason: &'static str,
        /// What it means.
        meaning: &'static str,
        /// By which rule or policy, if by one.
        by: Option<Rule>,
    },
    /// It was dropped and answered.
    Rejected {
        /// By this rule.
        by: Rule,
        /// An answer was made.
        answered: bool,
    },
    /// It waits for something that does not come.
    Waits,
    /// It could not be sent.
    #[serde(rename = "not sent")]
    NotSent {
        /// What the sender is told.
        error: String,
    },
}

/// A packet whose turn it is.
pub(super) enum Next {
    /// It is sent, from there.
    Send(Origin, Packet),
    /// The node has sent it already, when it took the one before.
    Made(PacketId, Packet),
}

/// A turn, and what comes of it.
pub(super) struct Gone {
    pub turn: Turn,
    /// The packet as it was at its end.
    pub seen: Packet,
    pub masqueraded: bool,
    /// What is sent next, and where from.
    pub next: Option<Next>,
}

impl Turn {
    /// Its end, without what may differ between two packets that go the same way.
    pub(super) fn summary(&self) -> String {
        match &self.end {
            Ending::Sent { devices, .. } => format!("sent {}", devices.join(" ")),
            Ending::Local { .. } => "local".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// Sends a packet. With `listens`, somebody is there to take it if it is for the node.
pub(super) fn take(netns: &mut NetNs, next: &Next, listens: bool) -> Result<Gone, Error> {
    let (from, packet) = match next {
        Next::Send(from, packet) => (from, packet),
        Next::Made(_, packet) => (&Origin::Local, packet),
    };
    let before = listens.then(|| netns.clone());
    let mut outcome = match next {
        Next::Send(..) => send(netns, from, packet)?,
        Next::Made(id, _) => netns.outcome_of(*id),
    };
    let mut seen = at_its_end(netns, &outcome, packet);
    let nobody =
        matches!(outcome.verdict, Verdict::Dropped { reason: DropReason::NoSocket | DropReason::IpNoProto, .. });
    if let Some(before) = before.filter(|_| nobody) {
        *netns = before;
        netns.listen(packet.protocol, seen.dport)?;
        outcome = send(netns, from, packet)?;
        seen = at_its_end(netns, &outcome, packet);
    }
    let path = outcome.packet.map(|id| path(netns, &outcome, id)).unwrap_or_default();
    let gives_source =
        |t: &Target| matches!(t, Target::Nat(nat) if matches!(nat.kind, NatKind::Masquerade | NatKind::Snat));
    let masqueraded = outcome.hits.iter().filter_map(|h| netns.target(h)).any(gives_source);
    let device = match from {
        Origin::Device(name) => Some(name.clone()),
        Origin::Local => None,
    };
    let (source, destination) = ends(packet);
    let turn =
        Turn { device, protocol: protocol(packet.protocol), source, destination, path, end: ending(&outcome, &seen) };
    Ok(Gone { turn, next: following(netns, &outcome, &seen), seen, masqueraded })
}

fn send(netns: &mut NetNs, from: &Origin, packet: &Packet) -> Result<Outcome, Error> {
    match from {
        Origin::Device(dev) => netns.receive(dev, packet),
        Origin::Local => netns.send(packet),
    }
}

/// The packet as it left, or as its receiver here sees it.
fn at_its_end(netns: &NetNs, outcome: &Outcome, packet: &Packet) -> Packet {
    if let Verdict::Sent(frames) = &outcome.verdict
        && let Some(seen) = frames.first().and_then(crate::testing::Sent::packet)
    {
        return seen;
    }
    let mut seen = packet.clone();
    for step in netns.steps().iter().filter(|s| Some(s.packet) == outcome.packet) {
        match step.what {
            What::Nat { manip: Manip::Src, to, .. } => (seen.src, seen.sport) = (*to.ip(), to.port()),
            What::Nat { manip: Manip::Dst, to, .. } => (seen.dst, seen.dport) = (*to.ip(), to.port()),
            _ => {}
        }
    }
    if packet.protocol == IPPROTO_ICMP {
        (seen.sport, seen.dport) = (packet.sport, packet.dport);
    }
    seen
}

/// What the other side sends when it has got the packet.
fn following(netns: &NetNs, outcome: &Outcome, seen: &Packet) -> Option<Next> {
    match &outcome.verdict {
        Verdict::Sent(frames) => Some(Next::Send(Origin::Device(frames.first()?.dev.clone()), seen.answer())),
        Verdict::Local(_) => Some(match made_here(netns, outcome) {
            Some(id) => Next::Made(id, seen.answer()),
            None => Next::Send(Origin::Local, seen.answer()),
        }),
        _ => None,
    }
}

/// The IP packet with which the node itself has answered: an echo, or the second segment of a connection.
fn made_here(netns: &NetNs, outcome: &Outcome) -> Option<PacketId> {
    let steps = netns.steps();
    let own = steps.iter().rposition(|s| Some(s.packet) == outcome.packet && matches!(s.what, What::Accept))?;
    let made = steps[own..].iter().filter(|s| matches!(s.what, What::Made(_)) && Some(s.packet) != outcome.packet);
    let is_ip = |id: PacketId| steps.iter().any(|s| s.packet == id && matches!(s.what, What::RouteOutput(_)));
    made.map(|s| s.packet).find(|id| is_ip(*id))
}

fn ending(outcome: &Outcome, seen: &Packet) -> Ending {
    let (source, destination) = ends(seen);
    match &outcome.verdict {
        Verdict::Sent(frames) => {
            let mut devices: Vec<String> = frames.iter().map(|f| f.dev.clone()).collect();
            devices.dedup();
            Ending::Sent { devices, source, destination }
        }
        // Who sent the first packet has closed its socket.
        Verdict::Local(_) | Verdict::Dropped { reason: DropReason::NoSocket, .. } => {
            Ending::Local { source, destination }
        }
        Verdict::Dropped { reason, by } => {
            Ending::Dropped { reason: reason.name(), meaning: reason.words(), by: by.as_ref().map(rule) }
        }
        Verdict::Rejected { by, answer, .. } => Ending::Rejected { by: rule(by), answered: answer.is_some() },
        Verdict::Waits => Ending::Waits,
        Verdict::NotSent(number) => {
            let known = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EINVAL, Errno::EADDRNOTAVAIL, Errno::EACCES];
            let text = known.into_iter().find(|e| e.number() == *number).map(Errno::text);
            Ending::NotSent { error: text.map_or_else(|| format!("error {number}"), str::to_owned) }
        }
    }
}

fn rule(hit: &Hit) -> Rule {
    Rule { table: hit.table.name(), chain: hit.chain.clone(), line: hit.line, text: hit.text.clone() }
}

/// `ADDRESS:PORT` of both ends; without ports where there are none.
fn ends(packet: &Packet) -> (String, String) {
    match packet.protocol {
        IPPROTO_ICMP => (packet.src.to_string(), packet.dst.to_string()),
        _ => (format!("{}:{}", packet.src, packet.sport), format!("{}:{}", packet.dst, packet.dport)),
    }
}

fn protocol(number: u8) -> String {
    match number {
        IPPROTO_ICMP => "icmp".to_owned(),
        IPPROTO_TCP => "tcp".to_owned(),
        IPPROTO_UDP => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// What happened to a packet, as far as it explains where it went.
fn path(netns: &NetNs, outcome: &Outcome, id: PacketId) -> Vec<PathStep> {
    let mut hits = outcome.hits.iter();
    let mut path = Vec::new();
    for step in netns.steps().iter().filter(|s| s.packet == id) {
        let what = match step.what {
            What::Hook { .. } => "hook",
            What::Rule { .. } => {
                if let Some(Hit { table, text, line, .. }) = hits.next() {
                    let (text, table) = (text.clone(), Some(table.name()));
                    path.push(PathStep { what: "rule", text, table, line: *line });
                }
                continue;
            }
            What::Conntrack { .. } => "conntrack",
            What::Nat { .. } => "nat",
            What::RouteInput(_) | What::RouteOutput(_) => "route",
            What::FdbHit { .. } | What::Flood { .. } | What::PassUp => "bridge",
            _ => continue,
        };
        if let Some(text) = sentence(step, None, netns.names()) {
            path.push(PathStep { what, text: text.trim_start().to_owned(), table: None, line: None });
        }
    }
    path
}
