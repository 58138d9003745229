//! Expectations: what is watched while a scenario runs, and what came of it.

use super::plan::{Check, Expect, Place};
use super::report::{CommandReport, Verdict};
use crate::base::{PacketId, Time};
use crate::engine::{LimitHit, World};
use crate::kernel::frame::PacketType;
use crate::kernel::show;
use crate::kernel::trace::Tap;
use crate::observe::filter::{Filters, LinkType};
use crate::observe::line::Conversations;
use crate::observe::names::Names;
use crate::observe::recorder::Watcher;
use crate::observe::story::Journeys;
use crate::wire::sll2;
use std::net::Ipv4Addr;

/// The records that came nearest are shown when an expectation fails, up to so many.
const NEAREST: usize = 3;

/// Watches a run for its expectations.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    expect: Expect,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Records that matched, and some that did not.
    Seen { matched: u64, other: Vec<String> },
    /// How far a sequence has come, and the first record that broke it.
    Order { next: usize, broken: Option<String> },
    /// The packet whose way is wanted.
    Packet(Option<PacketId>),
    /// Decided at its time, or at the end.
    Snapshot(Option<Verdict>),
}

impl Watch {
    pub fn new(expect: &[Expect]) -> Self {
        let state = |e: &Expect| match e.check {
            Check::Count { .. } => State::Seen { matched: 0, other: Vec::new() },
            Check::Sequence { .. } => State::Order { next: 0, broken: None },
            Check::Journey { .. } => State::Packet(None),
            Check::Command { .. }
            | Check::Fdb { .. }
            | Check::Neigh { .. }
            | Check::Counters { .. }
            | Check::Limit(_) => State::Snapshot(None),
        };
        Watch { watched: expect.iter().map(|e| Watched { state: state(e), expect: e.clone() }).collect() }
    }

    /// The times at which the world must be looked at, in order.
    pub fn times(&self) -> Vec<Time> {
        let mut times: Vec<Time> = self.watched.iter().filter_map(|w| w.expect.check.at()).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Looks at the world for those who asked for this time.
    pub fn look(&mut self, world: &World, at: Option<Time>) {
        for w in &mut self.watched {
            if let State::Snapshot(verdict @ None) = &mut w.state
                && w.expect.check.at() == at
            {
                *verdict = snapshot(world, &w.expect.check);
            }
        }
    }

    /// What came of every expectation.
    pub fn verdicts(
        self,
        commands: &[CommandReport],
        limit: Option<&LimitHit>,
        journeys: Option<&Journeys>,
    ) -> Vec<(Expect, Verdict)> {
        let judge = |w: Watched| {
            let verdict = match (&w.expect.check, w.state) {
                (Check::Command { .. }, _) => command(&w.expect.check, commands),
                (Check::Limit(name), _) => at_limit(name, limit),
                (check, State::Seen { matched, other }) => count(check, matched, other),
                (check, State::Order { next, broken }) => order(check, next, broken),
                (check, State::Packet(packet)) => journey(check, packet, journeys),
                (_, State::Snapshot(verdict)) => {
                    verdict.unwrap_or_else(|| Verdict::failed("the run ended before that time".to_owned()))
                }
            };
            (w.expect, verdict)
        };
        self.watched.into_iter().map(judge).collect()
    }
}

impl Check {
    fn at(&self) -> Option<Time> {
        match self {
            Check::Fdb { at, .. } | Check::Neigh { at, .. } | Check::Counters { at, .. } => *at,
            _ => None,
        }
    }

    /// A journey is asked for: packets' ways have to be kept.
    pub(super) fn wants_journeys(&self) -> bool {
        matches!(self, Check::Journey { .. })
    }
}

impl Watcher for Watch {
    fn tap(&mut self, tap: &Tap<'_>, names: &Names, mut journeys: Option<&mut Journeys>) {
        for w in &mut self.watched {
            match (&w.expect.check, &mut w.state) {
                (Check::Count { place, filter, direction, .. }, State::Seen { matched, other }) => {
                    if !place.is(tap, names) {
                        continue;
                    }
                    if fits(*direction, tap) && matches(filter, place, names, tap) {
                        *matched += 1;
                    } else if other.len() < NEAREST {
                        other.push(describe(tap, names));
                    }
                }
                (Check::Sequence { place, filter, direction, sequence }, State::Order { next, broken }) => {
                    let ours = place.is(tap, names) && fits(*direction, tap) && matches(filter, place, names, tap);
                    if !ours || broken.is_some() {
                        continue;
                    }
                    if sequence.get(*next).is_some_and(|(_, f)| matches(f, place, names, tap)) {
                        *next += 1;
                    } else {
                        *broken = Some(describe(tap, names));
                    }
                }
                (Check::Journey { place, filter, .. }, State::Packet(packet @ None))
                    if place.is(tap, names) && matches(filter, place, names, tap) =>
                {
                    *packet = Some(tap.packet);
                    if let Some(j) = journeys.as_deref_mut() {
                        j.want(tap.packet);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Place {
    fn is(&self, tap: &Tap<'_>, names: &Names) -> bool {
        names.ns(tap.ns) == self.namespace && (self.device == ANY || names.dev(tap.ns, tap.dev) == self.device)
    }
}

/// The pseudo interface of all of a namespace's devices.
pub(super) const ANY: &str = "any";

fn fits(direction: Option<PacketType>, tap: &Tap<'_>) -> bool {
    direction.is_none_or(|d| d == tap.pkt_type)
}

/// Records of `any` carry a pseudo header.
fn matches(filter: &Filters, place: &Place, names: &Names, tap: &Tap<'_>) -> bool {
    if place.device != ANY {
        let link = if names.is_ether(tap.ns, tap.dev) { LinkType::Ethernet } else { LinkType::Raw };
        return filter.matches(link, tap.bytes);
    }
    let arphrd = names.get(tap.ns, tap.dev).map_or(1, |d| d.arphrd);
    let pseudo = sll2::header(tap.protocol(), tap.dev.0, arphrd, tap.pkt_type.number(), None);
    filter.matches(LinkType::LinuxSll2, &[&pseudo, tap.l3()].concat())
}

fn describe(tap: &Tap<'_>, names: &Names) -> String {
    let line = Conversations::default().line(tap.protocol(), tap.l3());
    format!("{} {} {} {line}", tap.at, names.dev(tap.ns, tap.dev), tap.pkt_type.label())
}

fn count(check: &Check, matched: u64, other: Vec<String>) -> Verdict {
    let Check::Count { count, .. } = check else { return Verdict::passed() };
    if count.holds(matched) {
        return Verdict::passed();
    }
    let mut seen = vec![format!("{matched} records match, {count} expected")];
    seen.extend(other.into_iter().map(|o| format!("not counted: {o}")));
    Verdict { ok: false, seen }
}

fn order(check: &Check, next: usize, broken: Option<String>) -> Verdict {
    let Check::Sequence { sequence, .. } = check else { return Verdict::passed() };
    let wanted = sequence.get(next).map_or("nothing more".to_owned(), |(text, _)| format!("`{text}`"));
    match broken {
        Some(record) => Verdict::failed(format!("record {}: {wanted} expected, seen: {record}", next + 1)),
        None if next < sequence.len() => {
            Verdict::failed(format!("record {}: {wanted} expected, nothing more seen", next + 1))
        }
        None => Verdict::passed(),
    }
}

fn journey(check: &Check, packet: Option<PacketId>, journeys: Option<&Journeys>) -> Verdict {
    let Check::Journey { hops, .. } = check else { return Verdict::passed() };
    let Some(packet) = packet else { return Verdict::failed("no packet matches the filter".to_owned()) };
    let seen: Vec<String> = journeys.and_then(|j| j.get(packet)).map_or(vec![], |j| j.hops().collect());
    let at = hops.iter().zip(&seen).position(|(a, b)| a != b).unwrap_or(hops.len().min(seen.len()));
    if at == hops.len() && at == seen.len() {
        return Verdict::passed();
    }
    let nothing = "(nothing)".to_owned();
    let (wanted, got) = (hops.get(at).unwrap_or(&nothing), seen.get(at).unwrap_or(&nothing));
    let mut verdict = Verdict::failed(format!("hop {}: `{wanted}` expected, `{got}` seen", at + 1));
    verdict.seen.push(format!("packet {packet} was seen at: {}", seen.join(", ")));
    verdict
}

fn command(check: &Check, commands: &[CommandReport]) -> Verdict {
    let Check::Command { command, from, nth, exit, stdout } = check else { return Verdict::passed() };
    let ours = |c: &&CommandReport| c.command == *command && from.as_ref().is_none_or(|f| *f == c.from);
    let runs: Vec<&CommandReport> = commands.iter().filter(ours).collect();
    let Some(c) = usize::try_from(nth - 1).ok().and_then(|n| runs.get(n)) else {
        return Verdict::failed(match runs.len() {
            0 => "this command was not run".to_owned(),
            times => format!("this command was run {times} times"),
        });
    };
    let mut seen = vec![];
    if let Some(want) = exit
        && c.exit != Some(*want)
    {
        let got = c.exit.map_or("it did not end".to_owned(), |e| format!("it exited with {e}"));
        seen.push(format!("exit {want} expected, {got}"));
    }
    let mut rest = c.output.as_str();
    for want in stdout {
        match rest.find(want.as_str()) {
            Some(at) => rest = &rest[at + want.len()..],
            None => {
                seen.push(format!("`{want}` is not in its output, or not in this order"));
                seen.extend(c.output.lines().map(|l| format!("  {l}")));
                break;
            }
        }
    }
    Verdict { ok: seen.is_empty(), seen }
}

fn at_limit(name: &str, limit: Option<&LimitHit>) -> Verdict {
    match limit {
        Some(hit) if hit.name == name => Verdict::passed(),
        Some(hit) => Verdict::failed(hit.to_string()),
        None => Verdict::failed("the run ended without running into a limit".to_owned()),
    }
}

/// What the kernel's tables say, now.
fn snapshot(world: &World, check: &Check) -> Option<Verdict> {
    let (Check::Fdb { place, .. } | Check::Neigh { place, .. } | Check::Counters { place, .. }) = check else {
        return None;
    };
    let Some(ns) = world.namespace(&place.namespace) else {
        return Some(Verdict::failed(format!("there is no namespace {}", place.namespace)));
    };
    let machine = world.machine(ns);
    let (spaces, now) = (machine.spaces(), machine.now());
    let Some(link) = show::links(spaces, ns, now).into_iter().find(|l| l.name == place.device) else {
        return Some(Verdict::failed(format!("there is no device {place}")));
    };
    let mut seen = vec![];
    match check {
        Check::Fdb { has, lacks, .. } => {
            let table = show::fdb(spaces, ns, now);
            let entries: Vec<_> = table.iter().filter(|e| e.master.as_deref() == Some(&*link.name)).collect();
            for (mac, port) in has {
                if !entries.iter().any(|e| e.mac == *mac && port.as_ref().is_none_or(|p| *p == e.dev)) {
                    seen.push(format!(
                        "{mac} is not there{}",
                        port.as_ref().map_or(String::new(), |p| format!(" behind {p}"))
                    ));
                }
            }
            seen.extend(lacks.iter().filter(|m| entries.iter().any(|e| e.mac == **m)).map(|m| format!("{m} is there")));
            if !seen.is_empty() {
                seen.extend(entries.iter().map(|e| format!("  {} dev {}", e.mac, e.dev)));
            }
        }
        Check::Neigh { has, lacks, .. } => {
            let table = show::neighs(spaces, ns, now);
            let entries: Vec<_> = table.iter().filter(|n| n.dev == link.name).collect();
            for (addr, lladdr, state) in has {
                let fits = |n: &&&show::NeighInfo| {
                    n.addr == *addr && (lladdr.is_none() || n.lladdr == *lladdr) && state.is_none_or(|s| n.state == s)
                };
                if !entries.iter().any(|n| fits(&n)) {
                    seen.push(format!("{addr} is not there like that"));
                }
            }
            let there = |a: &&Ipv4Addr| entries.iter().any(|n| n.addr == **a);
            seen.extend(lacks.iter().filter(there).map(|a| format!("{a} is there")));
            if !seen.is_empty() {
                let lladdr = |n: &show::NeighInfo| n.lladdr.map_or(String::new(), |m| format!(" lladdr {m}"));
                seen.extend(entries.iter().map(|n| format!("  {}{} {}", n.addr, lladdr(n), n.state.label())));
            }
        }
        Check::Counters { values, .. } => {
            let s = &link.stats;
            for (name, want) in values {
                let got = match *name {
                    "rxPackets" => s.rx_packets,
                    "rxBytes" => s.rx_bytes,
                    "rxDropped" => s.rx_dropped,
                    "txPackets" => s.tx_packets,
                    "txBytes" => s.tx_bytes,
                    _ => s.tx_dropped,
                };
                if !want.holds(got) {
                    seen.push(format!("{name} is {got}, {want} expected"));
                }
            }
        }
        _ => {}
    }
    Some(Verdict { ok: seen.is_empty(), seen })
}
