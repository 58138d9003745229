//! Policies: what may come to workloads and what they may send (felix/rules/policy.go).

use super::{Chain, comment, limited, sets, tables};
use ipnet::Ipv4Net;

/// A policy, as the node's workloads have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Policy {
    /// `NAMESPACE/knp.default.NAME` for a NetworkPolicy of Kubernetes.
    pub name: String,
    /// What may come.
    pub ingress: Vec<PolicyRule>,
    /// What may be sent.
    pub egress: Vec<PolicyRule>,
}

/// A rule of a policy: it allows what all its parts fit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::cluster) struct PolicyRule {
    /// By name, in lower case.
    pub protocol: Option<&'static str>,
    /// The workloads at the other end.
    pub peers: Option<Selector>,
    /// The network at the other end.
    pub net: Option<Ipv4Net>,
    /// The destination's ports; none for all.
    pub ports: Vec<(u16, u16)>,
}

/// A selector with what it selects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Selector {
    /// Its canonical form.
    pub text: String,
    /// The addresses of what it selects.
    pub members: Vec<std::net::Ipv4Addr>,
}

/// The direction that a chain is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn name(self) -> &'static str {
        if self == Direction::Ingress { "ingress" } else { "egress" }
    }

    /// The name of a policy's chain.
    pub(super) fn policy_chain(self, policy: &str) -> String {
        limited(if self == Direction::Ingress { "cali-pi-" } else { "cali-po-" }, policy)
    }

    /// The name of a profile's chain.
    pub(super) fn profile_chain(self, profile: &str) -> String {
        limited(if self == Direction::Ingress { "cali-pri-" } else { "cali-pro-" }, profile)
    }
}

/// As many ports stand in one rule; a range counts twice (MaxPorts).
const MAX_PORTS: usize = 15;

/// A policy's chain.
pub(super) fn policy(direction: Direction, policy: &Policy) -> Chain {
    let rules = if direction == Direction::Ingress { &policy.ingress } else { &policy.egress };
    let matches: Vec<String> = rules.iter().flat_map(|rule| rule.matches(direction)).collect();
    chain(direction.policy_chain(&policy.name), "Policy", &policy.name, direction, &matches)
}

/// A profile's chain: it allows everything or says nothing.
pub(super) fn profile(direction: Direction, name: &str, allows: bool) -> Chain {
    let matches = if allows { vec![String::new()] } else { vec![] };
    chain(direction.profile_chain(name), "Profile", name, direction, &matches)
}

/// For each match two rules, of which the first says whose they are; without any, a rule that does nothing else.
fn chain(name: String, what: &str, of: &str, direction: Direction, matches: &[String]) -> Chain {
    let whose = comment(&format!("{what} {of} {}", direction.name()));
    let accept = tables::ACCEPT;
    let pair =
        |m: &String| [format!("{m}{}", tables::set_mark(accept)), format!("{} --jump RETURN", tables::marked(accept))];
    let mut rules: Vec<String> = matches.iter().flat_map(pair).collect();
    match rules.first_mut() {
        Some(first) => *first = format!("{whose} {first}"),
        None => rules.push(whose),
    }
    Chain::new(name, rules)
}

impl PolicyRule {
    /// What it asks of a packet, each with a blank behind it: once for as many ports as one rule takes
    /// (CombineMatchAndActionsForProtoRule, SplitPortList).
    fn matches(&self, direction: Direction) -> Vec<String> {
        let (net, side) = if direction == Direction::Ingress { ("--source", "src") } else { ("--destination", "dst") };
        let mut base = String::new();
        if let Some(protocol) = self.protocol {
            base += &format!("-p {protocol} ");
        }
        if let Some(cidr) = self.net {
            base += &format!("{net} {cidr} ");
        }
        if let Some(peers) = &self.peers {
            base += &format!("-m set --match-set {} {side} ", sets::selector(&peers.text));
        }
        if self.ports.is_empty() {
            return vec![base];
        }
        let mut lists: Vec<(usize, Vec<String>)> = vec![(0, vec![])];
        for (first, last) in &self.ports {
            let (count, text) = if first == last { (1, first.to_string()) } else { (2, format!("{first}:{last}")) };
            if lists.last().is_none_or(|(used, _)| used + count > MAX_PORTS) {
                lists.push((0, vec![]));
            }
            if let Some((used, list)) = lists.last_mut() {
                *used += count;
                list.push(text);
            }
        }
        let ports =
            |(_, list): (usize, Vec<String>)| format!("{base}-m multiport --destination-ports {} ", list.join(","));
        lists.into_iter().map(ports).collect()
    }
}
