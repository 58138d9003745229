//! What became of a packet, told from the steps that the kernel announced.

use super::heard::Heard;
use super::packet::Packet;
use crate::base::PacketId;
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::hook::{Hook, Policy, TableName};
use crate::kernel::netfilter::targets::{RejectWith, Target};
use crate::kernel::trace::{Consumer, DropReason, Edge, Fate, Step, What};
use crate::wire::ETH_HLEN;
use std::fmt;

/// What became of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The datagram, as steps name it; none if none was made.
    pub packet: Option<PacketId>,
    /// How its way ended.
    pub verdict: Verdict,
    /// The rules whose conditions held, in order.
    pub hits: Vec<Hit>,
    /// What else left because of it: answers of this machine, errors.
    pub answers: Vec<Sent>,
}

/// How a packet's way ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It left: once, or several times if it was flooded or cut into fragments.
    Sent(Vec<Sent>),
    /// It was for this machine, and somebody took it.
    Local(Receiver),
    /// It was dropped.
    Dropped {
        /// The kernel's reason.
        reason: DropReason,
        /// The rule or policy that dropped it, if it was one.
        by: Option<Hit>,
    },
    /// A rule with the target REJECT dropped it and answered.
    Rejected {
        /// The rule.
        by: Hit,
        /// With what.
        with: RejectWith,
        /// The answer from its IPv4 header on; none if there was none, as to a broadcast.
        answer: Option<Vec<u8>>,
    },
    /// It is still here: it waits for a neighbour, or for its other fragments.
    Waits,
    /// send(2) failed with this error number before there was a packet.
    NotSent(i32),
}

/// Who took a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiver {
    /// A socket.
    Socket,
    /// The kernel itself.
    Kernel(Consumer),
}

/// A rule, or a chain's policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Where the packet was.
    pub hook: Hook,
    /// The table.
    pub table: TableName,
    /// The chain.
    pub chain: String,
    /// The rule, from 1, as `iptables -L --line-numbers` counts; none for the chain's policy.
    pub number: Option<u32>,
    /// The line of iptables-restore's text that it came from, from 1, if it came from one.
    pub line: Option<u32>,
    /// As iptables-save prints it.
    pub text: String,
}

/// A frame that left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// By this device.
    pub dev: String,
    /// From its Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Sent {
    /// From its IPv4 header on.
    pub fn l3(&self) -> &[u8] {
        self.bytes.get(ETH_HLEN..).unwrap_or_default()
    }

    /// What it carries; none if it is no IPv4 packet, or not the first fragment of one.
    pub fn packet(&self) -> Option<Packet> {
        Packet::read(self.l3())
    }

    /// `ADDRESS:PORT` of its source.
    pub fn source(&self) -> String {
        self.packet().map_or_else(String::new, |p| format!("{}:{}", p.src, p.sport))
    }

    /// `ADDRESS:PORT` of its destination.
    pub fn destination(&self) -> String {
        self.packet().map_or_else(String::new, |p| format!("{}:{}", p.dst, p.dport))
    }
}

/// The first datagram that was made by itself, not because of another.
pub(super) fn first_made(heard: &Heard) -> Option<PacketId> {
    heard.steps.iter().find(|s| s.what == What::Made(Edge::Origin)).map(|s| s.packet)
}

/// What became of `packet`, by all that was heard and all that left.
pub(super) fn of(heard: &Heard, sent: &[(PacketId, Sent)], packet: Option<PacketId>, errno: Option<i32>) -> Outcome {
    let Some(id) = packet else {
        let verdict = Verdict::NotSent(errno.unwrap_or(0));
        return Outcome { packet, verdict, hits: Vec::new(), answers: Vec::new() };
    };
    let own: Vec<&Step> = heard.steps.iter().filter(|s| s.packet == id).collect();
    let left =
        |is: bool| sent.iter().filter(move |(p, _)| (*p == id) == is).map(|(_, s)| s.clone()).collect::<Vec<_>>();
    let (hits, hook) = hits(heard, &own);
    let fates = || own.iter().filter_map(|s| if let What::Ended(fate) = s.what { Some(fate) } else { None });
    let taken = fates().find_map(|fate| match fate {
        Fate::Delivered => Some(Receiver::Socket),
        Fate::Consumed(by @ (Consumer::Arp | Consumer::Icmp | Consumer::Tcp)) => Some(Receiver::Kernel(by)),
        _ => None,
    });
    let reason = fates().find_map(|fate| if let Fate::Dropped(reason) = fate { Some(reason) } else { None });
    let verdict = match (left(true), taken, reason) {
        (frames, ..) if !frames.is_empty() => Verdict::Sent(frames),
        (_, Some(by), _) => Verdict::Local(by),
        (_, _, Some(DropReason::NetfilterDrop)) => filtered(heard, id, &hits, hook),
        (_, _, Some(reason)) => Verdict::Dropped { reason, by: None },
        (_, None, None) => Verdict::Waits,
    };
    Outcome { packet, verdict, hits, answers: left(false) }
}

/// The rules that a packet met, and the hook that it reached last.
fn hits(heard: &Heard, own: &[&Step]) -> (Vec<Hit>, Option<Hook>) {
    let (mut hits, mut at) = (Vec::new(), None);
    for step in own {
        match step.what {
            What::Hook { hook, .. } => at = Some(hook),
            What::Rule { table, chain, rule } => {
                hits.extend(at.and_then(|hook| hit(heard, hook, table, (chain, rule))));
            }
            _ => {}
        }
    }
    (hits, at)
}

fn hit(heard: &Heard, hook: Hook, name: TableName, (chain, rule): (u32, u32)) -> Option<Hit> {
    let table = heard.rules(name)?;
    let slot = table.chains().get(chain as usize)?.rules.get(rule as usize)?;
    Some(Hit {
        hook,
        table: name,
        chain: table.chains()[chain as usize].name.clone(),
        number: Some(rule + 1),
        line: Some(slot.line()).filter(|line| *line > 0),
        text: table.rule_text(chain, rule, Backend::Nft)?,
    })
}

/// A hook has dropped the packet: by its last rule if that drops, else by the policy of the first table there whose
/// chain the packet left by its end, else by something that is no rule.
fn filtered(heard: &Heard, packet: PacketId, hits: &[Hit], hook: Option<Hook>) -> Verdict {
    let reason = DropReason::NetfilterDrop;
    let Some(hook) = hook else { return Verdict::Dropped { reason, by: None } };
    let here = || hits.iter().filter(|h| h.hook == hook);
    if let Some(last) = here().next_back() {
        match target(heard, last) {
            Some(Target::Drop) => return Verdict::Dropped { reason, by: Some(last.clone()) },
            Some(Target::Reject(reject)) => {
                return Verdict::Rejected { by: last.clone(), with: reject.with, answer: answer(heard, packet) };
            }
            _ => {}
        }
    }
    let left_by_its_end = |name: &TableName| {
        let last = here().rfind(|h| h.table == *name).and_then(|h| target(heard, h));
        !matches!(last, Some(Target::Accept | Target::Nat(_)))
    };
    let policy = TableName::ALL.into_iter().filter(left_by_its_end).find_map(|name| policy(heard, hook, name));
    Verdict::Dropped { reason, by: policy }
}

/// The target of a rule; none of a policy.
pub(super) fn target<'a>(heard: &'a Heard, hit: &Hit) -> Option<&'a Target> {
    let rule = heard.rules(hit.table)?.chain(&hit.chain)?.rules.get(hit.number? as usize - 1)?;
    Some(&rule.rule.target)
}

/// The policy of a table at a hook, if it drops.
fn policy(heard: &Heard, hook: Hook, table: TableName) -> Option<Hit> {
    let chains = heard.rules(table)?.chains().iter();
    let mut bases = chains.filter_map(|c| Some((c, c.base?)));
    let (chain, _) = bases.find(|(_, base)| base.hook == hook && base.policy == Policy::Drop)?;
    let text = format!("-P {} {}", chain.name, Policy::Drop.name());
    Some(Hit { hook, table, chain: chain.name.clone(), number: None, line: None, text })
}

/// The packet that was made because of this one, from its IPv4 header on.
fn answer(heard: &Heard, packet: PacketId) -> Option<Vec<u8>> {
    let frames = heard.steps.iter().filter(|s| s.packet == packet).map(|s| s.frame).collect::<Vec<_>>();
    let because = |s: &&Step| matches!(s.what, What::Made(Edge::CausedBy(of)) if frames.contains(&of));
    let answers = heard.steps.iter().filter(because).filter_map(|s| heard.frames.get(&s.frame));
    let ip = |(_, mac_len, bytes): &(PacketId, usize, Vec<u8>)| {
        bytes.get(*mac_len..).filter(|l3| l3.first().is_some_and(|b| b >> 4 == 4)).map(<[u8]>::to_vec)
    };
    answers.filter_map(ip).next()
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table.name(), self.text)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Sent(frames) => {
                let each: Vec<_> =
                    frames.iter().map(|s| format!("{}: {} > {}", s.dev, s.source(), s.destination())).collect();
                write!(f, "sent by {}", each.join(", "))
            }
            Verdict::Local(Receiver::Socket) => f.write_str("delivered to a socket"),
            Verdict::Local(Receiver::Kernel(_)) => f.write_str("delivered to the kernel itself"),
            Verdict::Dropped { reason, by: Some(by) } => write!(f, "dropped: {}, by {by}", reason.name()),
            Verdict::Dropped { reason, by: None } => write!(f, "dropped: {}: {}", reason.name(), reason.words()),
            Verdict::Rejected { by, .. } => write!(f, "rejected by {by}"),
            Verdict::Waits => f.write_str("it waits"),
            Verdict::NotSent(errno) => write!(f, "not sent: error {errno}"),
        }
    }
}

impl fmt::Display for Outcome {
    /// The verdict, and the rules before it, a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hit in &self.hits {
            writeln!(f, "{}: {hit}", hit.hook.chain())?;
        }
        self.verdict.fmt(f)
    }
}
