//! A packet's walk through a table (net/ipv4/netfilter/ip_tables.c: ipt_do_table).

use super::hook::{Hook, Policy};
use super::ipset::Sets;
use super::matches::{Bucket, Match, RecentLists, Site};
use super::packet::{Ct, Matched, Packet, Surroundings};
use super::parse::Counters;
use super::table::{Slot, Table};
use super::targets::{Nat, RejectWith, Target, TcpMss, Tproxy};
use rustc_hash::FxHashMap;

/// What a table says of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on (`NF_ACCEPT`).
    Accept,
    /// It is dropped (`NF_DROP`).
    Drop,
    /// It is dropped and answered.
    Reject(RejectWith),
    /// Its connection is to be translated, after which it goes on.
    Nat(Nat),
    /// It goes to a socket here, or is dropped.
    Tproxy(Tproxy),
    /// Its MSS option is to be changed; then the walk goes on behind the rule (`XT_CONTINUE`).
    TcpMss(TcpMss),
}

/// What a table remembers of the packets that it saw; kept apart from the rules, made on the first hit.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Counters that are not zero, by handle.
    pub(super) counters: FxHashMap<u32, Counters>,
    /// Of `limit`.
    pub(super) buckets: FxHashMap<Site, Bucket>,
    /// Of `statistic --mode nth`.
    pub(super) nth: FxHashMap<Site, u32>,
    /// The chains to come back to, and the rule to go on with; empty between packets.
    stack: Vec<(u32, u32)>,
    /// Where the walk goes on that has stopped for a target to change the packet.
    resume: Option<(u32, u32)>,
}

impl State {
    /// Packets and bytes of a rule or policy.
    pub fn counters(&self, handle: u32) -> Counters {
        self.counters.get(&handle).copied().unwrap_or_default()
    }

    /// It remembers nothing of any rule.
    pub(super) fn is_blank(&self) -> bool {
        self.counters.is_empty() && self.buckets.is_empty() && self.nth.is_empty()
    }

    /// The next walk begins at the beginning.
    pub(super) fn end_walk(&mut self) {
        self.resume = None;
    }

    fn count(&mut self, handle: u32, bytes: u16) {
        match self.counters.get_mut(&handle) {
            Some(counter) => *counter = (counter.0 + 1, counter.1 + u64::from(bytes)),
            None => {
                self.counters.insert(handle, (1, bytes.into()));
            }
        }
    }
}

/// All that a walk may change besides the packet.
#[derive(Debug)]
pub struct Memory<'a> {
    /// The table's.
    pub state: &'a mut State,
    /// The namespace's, of `recent`.
    pub recent: &'a mut RecentLists,
    /// The namespace's, which `set` asks.
    pub sets: &'a Sets,
}

/// Takes a packet through the table's chain at `hook`; a table that has none there accepts it. Targets that do not end
/// the walk change the packet's mark, its connection's mark, or that it has a connection.
pub fn walk(
    table: &Table,
    hook: Hook,
    packet: &mut Packet<'_>,
    memory: &mut Memory<'_>,
    around: &mut dyn Surroundings,
) -> Verdict {
    let Some(start) = table.base(hook) else { return Verdict::Accept };
    let bytes = packet.total_len();
    let (mut chain, mut at) = match memory.state.resume.take() {
        Some((chain, at)) => (chain as usize, at as usize),
        None => {
            memory.state.stack.clear();
            (start, 0)
        }
    };
    let dst = packet.dst();
    loop {
        let Some((n, slot)) = table.chains()[chain].next(at, dst) else {
            match leave(table, start, bytes, memory) {
                Ok(caller) => (chain, at) = caller,
                Err(verdict) => return verdict,
            }
            continue;
        };
        at = n + 1;
        match matches(slot, packet, memory, around) {
            Matched::No => continue,
            Matched::Hotdrop => return Verdict::Drop,
            Matched::Yes => {}
        }
        let here = (chain as u32, n as u32);
        memory.state.count(slot.handle, bytes);
        around.took(here.0, here.1);
        match &slot.rule.target {
            Target::Accept => return Verdict::Accept,
            Target::Drop => return Verdict::Drop,
            Target::Reject(reject) => return Verdict::Reject(reject.with),
            Target::Nat(nat) => return Verdict::Nat(*nat),
            Target::Tproxy(target) => return Verdict::Tproxy(*target),
            Target::TcpMss(target) => {
                memory.state.resume = Some((here.0, at as u32));
                return Verdict::TcpMss(*target);
            }
            Target::Jump(_) => {
                memory.state.stack.push((here.0, at as u32));
                (chain, at) = (slot.to as usize, 0);
            }
            Target::Goto(_) => (chain, at) = (slot.to as usize, 0),
            Target::Return => match leave(table, start, bytes, memory) {
                Ok(caller) => (chain, at) = caller,
                Err(verdict) => return verdict,
            },
            Target::Log(how) => around.log(how, packet),
            Target::None | Target::ConnMark(_) | Target::Ct(_) | Target::Mark(_) => {
                apply(&slot.rule.target, packet);
            }
        }
    }
}

/// Back to the chain that called this one, or to the base chain's policy.
fn leave(table: &Table, start: usize, bytes: u16, memory: &mut Memory<'_>) -> Result<(usize, usize), Verdict> {
    if let Some((chain, at)) = memory.state.stack.pop() {
        return Ok((chain as usize, at as usize));
    }
    let Some(base) = table.chains()[start].base else { return Err(Verdict::Accept) };
    if base.counts {
        memory.state.count(base.handle, bytes);
    }
    Err(match base.policy {
        Policy::Accept => Verdict::Accept,
        Policy::Drop => Verdict::Drop,
    })
}

fn matches(slot: &Slot, packet: &mut Packet<'_>, memory: &mut Memory<'_>, around: &mut dyn Surroundings) -> Matched {
    let Slot { rule, handle, any, .. } = slot;
    if !any && !rule.conditions.matches(packet, around) {
        return Matched::No;
    }
    for (n, m) in rule.matches.iter().enumerate().filter(|(_, m)| !matches!(m, Match::Comment(_))) {
        match m.matches(packet, (*handle, n as u8), memory, around) {
            Matched::Yes => {}
            other => return other,
        }
    }
    Matched::Yes
}

/// The targets after which the walk goes on.
fn apply(target: &Target, packet: &mut Packet<'_>) {
    match target {
        Target::Mark(set) => packet.mark = set.apply(packet.mark),
        Target::ConnMark(connmark) => {
            if let Ct::Tracked(ct) = &mut packet.ct {
                (packet.mark, ct.mark) = connmark.apply(packet.mark, ct.mark);
            }
        }
        // A packet that has a connection keeps it (`xt_ct_target`).
        Target::Ct(ct) if packet.ct == Ct::None => packet.ct = ct.given(),
        _ => {}
    }
}
