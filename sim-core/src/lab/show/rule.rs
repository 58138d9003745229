//! `ip rule show` (ip/iprule.c: print_rule), and the words of a rule.

use super::printer::Printer;
use super::{Format, protocol, table};
use crate::kernel::netlink::{RuleAction, RuleMatch};
use crate::kernel::show::RuleInfo;
use crate::lab::lex::quote;
use ipnet::Ipv4Net;
use serde_json::Value;

/// `ip rule show`
pub fn rules(rules: &[RuleInfo], format: Format) -> String {
    let mut p = Printer::new(format);
    for rule in rules {
        p.object("");
        line(&mut p, rule, format);
        p.end();
    }
    p.finish()
}

fn line(p: &mut Printer, rule: &RuleInfo, format: Format) {
    p.field("priority", rule.pref, format_args!("{}:\t", rule.pref));
    if rule.selector.not {
        p.field("not", Value::Null, format_args!("not "));
    }
    match rule.selector.from {
        Some(net) => network(p, "from", ["src", "srclen"], net),
        None => p.field("src", "all", format_args!("from all")),
    }
    looks_at(p, &rule.selector, rule.detached);
    match rule.action {
        RuleAction::Table(id) => p.field("table", table(id), format_args!(" lookup {}", table(id))),
        other => p.field("action", action(other), format_args!(" {}", action(other))),
    }
    if format.details {
        p.field("protocol", protocol(rule.proto), format_args!(" proto {}", protocol(rule.proto)));
    }
    p.text(format_args!("\n"));
}

/// What follows `from`, as a command has it.
pub(in crate::lab) fn selector(s: &RuleMatch) -> String {
    let mut p = Printer::new(Format::default());
    looks_at(&mut p, s, (false, false));
    p.finish()
}

fn looks_at(p: &mut Printer, s: &RuleMatch, detached: (bool, bool)) {
    if let Some(net) = s.to {
        p.text(format_args!(" "));
        network(p, "to", ["dst", "dstlen"], net);
    }
    if let Some((mark, mask)) = s.fwmark {
        p.field("fwmark", format!("{mark:#x}"), format_args!(" fwmark {mark:#x}"));
        if mask != u32::MAX {
            p.field("fwmask", format!("{mask:#x}"), format_args!("/{mask:#x}"));
        }
    }
    let devices = [("iif", "iif_detached", &s.iif, detached.0), ("oif", "oif_detached", &s.oif, detached.1)];
    for (word, gone, name, detached) in devices {
        let Some(name) = name else { continue };
        p.field(word, name.as_str(), format_args!(" {word} {}", quote(name)));
        if detached {
            p.field(gone, Value::Null, format_args!(" [detached]"));
        }
    }
}

fn network(p: &mut Printer, word: &str, [addr, len]: [&'static str; 2], net: Ipv4Net) {
    p.field(addr, net.addr().to_string(), format_args!("{word} {}", prefix(net)));
    if net.prefix_len() < 32 {
        p.json(len, net.prefix_len());
    }
}

/// An address or a prefix, as it was given.
pub(in crate::lab) fn prefix(net: Ipv4Net) -> String {
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
