//! `ip rule show` (ip/iprule.c: print_rule), and the words of a rule.

use super::table;
use crate::kernel::netlink::{RuleAction, RuleMatch};
use crate::kernel::show::RuleInfo;
use std::fmt::Write;

/// `ip rule show`
pub fn rules(rules: &[RuleInfo]) -> String {
    rules.iter().map(line).collect()
}

fn line(rule: &RuleInfo) -> String {
    let mut out = format!("{}:\t", rule.pref);
    if rule.selector.not {
        out.push_str("not ");
    }
    out.push_str("from ");
    match rule.selector.from {
        Some(net) => out.push_str(&prefix(net)),
        None => out.push_str("all"),
    }
    out.push_str(&selector(&rule.selector, rule.detached));
    let _ = match rule.action {
        RuleAction::Table(id) => writeln!(out, " lookup {}", table(id)),
        other => writeln!(out, " {}", action(other)),
    };
    out
}

/// What follows `from`.
pub(in crate::lab) fn selector(s: &RuleMatch, detached: (bool, bool)) -> String {
    let mut out = String::new();
    if let Some(net) = s.to {
        let _ = write!(out, " to {}", prefix(net));
    }
    match s.fwmark {
        Some((mark, u32::MAX)) => drop(write!(out, " fwmark {mark:#x}")),
        Some((mark, mask)) => drop(write!(out, " fwmark {mark:#x}/{mask:#x}")),
        None => {}
    }
    for (word, name, gone) in [("iif", &s.iif, detached.0), ("oif", &s.oif, detached.1)] {
        if let Some(name) = name {
            let _ = write!(out, " {word} {}{}", crate::lab::lex::quote(name), if gone { " [detached]" } else { "" });
        }
    }
    out
}

/// An address or a prefix, as it was given.
pub(in crate::lab) fn prefix(net: ipnet::Ipv4Net) -> String {
    if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() }
}

/// rtnl_rtntype_n2a of an action.
pub(in crate::lab) fn action(action: RuleAction) -> &'static str {
    match action {
        RuleAction::Table(_) => "unicast",
        RuleAction::Blackhole => "blackhole",
        RuleAction::Unreachable => "unreachable",
        RuleAction::Prohibit => "prohibit",
    }
}
