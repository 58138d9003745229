//! Assertions about a node's rules, for tests of real rule sets.

use super::{Answer, AskError, Ending, Node, Origin, Question};
use crate::scenario::diag::{Diagnostic, Diagnostics, SourceFile};
use crate::scenario::raw::{Assertions, PacketAssertion, Protocol, Verdict};
use crate::testing::{Error, Packet};
use crate::wire::IPPROTO_ICMP;
use serde::Serialize;
use std::collections::BTreeSet;

/// Where packets come from that say no port.
pub const DEFAULT_PORT: u16 = 1000;

/// An assertion, ready to be checked.
#[derive(Clone, Debug)]
pub struct Assertion {
    name: String,
    question: Question,
    raw: PacketAssertion,
}

/// What came of an assertion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Asserted {
    /// What it is about.
    pub name: String,
    /// What is otherwise than expected; empty if it holds.
    pub differences: Vec<String>,
}

/// Reads a file of assertions.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(source: &SourceFile) -> Result<Vec<Assertion>, Diagnostics> {
    let assertions = Assertions::parse(source)?;
    Ok(assertions.packets.into_iter().map(assertion).collect())
}

fn assertion(raw: PacketAssertion) -> Assertion {
    let Protocol(protocol) = raw.proto.as_ref().map_or(Protocol(6), |p| p.value);
    let new = Packet::new(protocol, raw.src.value, raw.dst.value);
    let packet = Packet {
        sport: raw.sport.unwrap_or(DEFAULT_PORT),
        dport: raw.dport.unwrap_or(0),
        icmp: (raw.icmp_type.unwrap_or(new.icmp.0), 0),
        flags: raw.tcp_flags.as_ref().map_or(new.flags, |f| f.value),
        ..new
    };
    let port = |port: u16| if protocol == IPPROTO_ICMP { String::new() } else { format!(":{port}") };
    let ends = || format!("{}{} > {}{}", packet.src, port(packet.sport), packet.dst, port(packet.dport));
    let name = raw.name.clone().unwrap_or_else(ends);
    let from = raw.device.as_ref().map_or(Origin::Local, |d| Origin::Device(d.value.clone()));
    let question = Question {
        from,
        packet,
        mark: raw.mark.unwrap_or(0),
        established: raw.established,
        packets: 2,
        all_choices: true,
    };
    Assertion { name, question, raw }
}

/// Checks assertions one after the other.
///
/// # Errors
/// A device that the node does not have, each with its place in `source`; or a limit, without one.
pub fn check(node: &Node, source: &SourceFile, assertions: &[Assertion]) -> Result<Vec<Asserted>, Diagnostics> {
    let (mut done, mut errors) = (Vec::new(), Diagnostics::default());
    for assertion in assertions {
        match node.ask(&assertion.question) {
            Ok(answer) => {
                let differences = differences(assertion, &answer);
                done.push(Asserted { name: assertion.name.clone(), differences });
            }
            Err(e) => {
                let span = match (&e, &assertion.raw.device) {
                    (AskError::Failed(Error::NoDevice(_)), Some(device)) => device.span.clone(),
                    _ => assertion.raw.src.span.clone(),
                };
                let known: Vec<&str> = node.devices().collect();
                let hint = format!("the node has {}", known.join(", "));
                errors.push(Diagnostic::new(source, span, e.to_string()).hint(hint));
            }
        }
    }
    if errors.is_empty() { Ok(done) } else { Err(errors) }
}

fn differences(assertion: &Assertion, answer: &Answer) -> Vec<String> {
    let expected = &assertion.raw.expect;
    let mut found = Vec::new();
    if let Some(endpoints) = &expected.endpoints {
        let want: BTreeSet<&str> = endpoints.iter().map(String::as_str).collect();
        let got: BTreeSet<&str> = answer.ways.iter().filter_map(|w| w.endpoint.as_deref()).collect();
        if want != got {
            let list = |all: &BTreeSet<&str>| match all.len() {
                0 => "none".to_owned(),
                _ => all.iter().copied().collect::<Vec<_>>().join(", "),
            };
            found.push(format!("endpoints: expected {}, got {}", list(&want), list(&got)));
        }
    }
    for way in &answer.ways {
        let Some(first) = way.turns.first() else { continue };
        if let Some(want) = expected.verdict.filter(|want| *want != verdict(&first.end)) {
            found.push(format!("verdict: expected {}, got: {}", name(want), first.end));
        }
        if let Some(want) = expected.masqueraded.filter(|want| *want != way.masqueraded) {
            let said = |is: bool| if is { "masqueraded" } else { "not masqueraded" };
            found.push(format!("expected {}, got {}: {}", said(want), said(way.masqueraded), first.end));
        }
        let answered = comes_back(way);
        if let Some(want) = expected.answered.filter(|want| *want != answered) {
            let end = way.turns.get(1).map_or("there is none".to_owned(), |turn| turn.end.to_string());
            found.push(format!("answered: expected {want}; its answer: {end}"));
        }
    }
    found
}

/// The answer reaches who sent the packet, from whom it was sent to.
fn comes_back(way: &super::Way) -> bool {
    let (Some(first), Some(answer)) = (way.turns.first(), way.turns.get(1)) else { return false };
    match &answer.end {
        Ending::Sent { source, destination, .. } | Ending::Local { source, destination } => {
            (source, destination) == (&first.destination, &first.source)
        }
        _ => false,
    }
}

fn verdict(end: &Ending) -> Verdict {
    match end {
        Ending::Sent { .. } => Verdict::Sent,
        Ending::Local { .. } => Verdict::Local,
        Ending::Rejected { .. } => Verdict::Rejected,
        Ending::Dropped { .. } | Ending::Waits | Ending::NotSent { .. } => Verdict::Dropped,
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Sent => "sent",
        Verdict::Local => "local",
        Verdict::Dropped => "dropped",
        Verdict::Rejected => "rejected",
    }
}
