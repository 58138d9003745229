//! ip-rule(8): `add`, `delete`, `show`.

use super::{Context, requests, show, unknown};
use crate::kernel::netlink::{Request, Rule, RuleAction, TABLE_MAIN};
use crate::lab::args::{
    Args, Keyword, exact, help, invalid, keyword, network, not_simulated_in, number, prefix, unsigned,
};
use crate::lab::show::What;
use crate::lab::{Action, SyntaxError, Word};

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Delete,
    Show,
    Help,
    Other,
}

const VERBS: &[Keyword<Verb>] = &[
    prefix("list", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("show", Verb::Show),
    prefix("save", Verb::Other),
    prefix("restore", Verb::Other),
    prefix("add", Verb::Add),
    prefix("delete", Verb::Delete),
    prefix("flush", Verb::Other),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Add) => {
            let mut rule = read(args, context, "add")?;
            rule.action = rule.action.or(Some(RuleAction::Table(TABLE_MAIN)));
            Ok(requests(vec![], vec![Request::RuleAdd(rule)]))
        }
        Some(Verb::Delete) => Ok(requests(vec![], vec![Request::RuleDel(read(args, context, "del")?)])),
        Some(Verb::Show) => list(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-rule")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "rule", &["add", "delete", "show"])),
    }
}

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    match args.next() {
        Some(word) => Err(SyntaxError::at(word, "choosing rules to show is not simulated")),
        None => Ok(show(vec![], context.format, What::Rules)),
    }
}

#[derive(Clone, Copy)]
enum Key {
    Not,
    From,
    To,
    Preference,
    Mark,
    Table,
    Iif,
    Oif,
    Type,
    Help,
    Other,
}

// In the order of iprule_modify.
const KEYS: &[Keyword<Key>] = &[
    exact("not", Key::Not),
    exact("from", Key::From),
    exact("to", Key::To),
    prefix("preference", Key::Preference),
    prefix("order", Key::Preference),
    prefix("priority", Key::Preference),
    exact("tos", Key::Other),
    prefix("dsfield", Key::Other),
    exact("fwmark", Key::Mark),
    prefix("realms", Key::Other),
    exact("protocol", Key::Other),
    exact("tun_id", Key::Other),
    prefix("table", Key::Table),
    exact("lookup", Key::Table),
    exact("suppress_prefixlength", Key::Other),
    exact("sup_pl", Key::Other),
    exact("suppress_ifgroup", Key::Other),
    exact("sup_group", Key::Other),
    exact("dev", Key::Iif),
    exact("iif", Key::Iif),
    exact("oif", Key::Oif),
    exact("l3mdev", Key::Other),
    exact("uidrange", Key::Other),
    exact("nat", Key::Other),
    prefix("map-to", Key::Other),
    exact("ipproto", Key::Other),
    exact("sport", Key::Other),
    exact("dport", Key::Other),
    exact("type", Key::Type),
    exact("help", Key::Help),
    exact("goto", Key::Other),
    exact("nop", Key::Other),
];

fn read(args: &mut Args<'_>, context: Context, verb: &str) -> Result<Rule, SyntaxError> {
    if args.peek().is_none() {
        return Err(args.error(format!("\"ip rule {verb}\" requires arguments.")));
    }
    let mut rule = Rule::default();
    let s = &mut rule.selector;
    while let Some(word) = args.next() {
        match keyword(KEYS, &word.text) {
            Some(Key::Not) => s.not = true,
            Some(Key::From) => s.from = selected(network(args.value()?, context.inet)?),
            Some(Key::To) => s.to = selected(network(args.value()?, context.inet)?),
            Some(Key::Preference) => rule.pref = Some(unsigned(args.value()?, "preference value is invalid")?),
            Some(Key::Mark) => s.fwmark = Some(mark(args.value()?)?),
            Some(Key::Table) => rule.action = Some(RuleAction::Table(table(args.value()?)?)),
            Some(Key::Iif) => s.iif = Some(args.value()?.text.clone()),
            Some(Key::Oif) => s.oif = Some(args.value()?.text.clone()),
            Some(Key::Type) => rule.action = Some(action(args.value()?)?),
            Some(Key::Help) => return Err(help(word, "ip-rule")),
            Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
            None => rule.action = Some(action(word)?),
        }
    }
    Ok(rule)
}

/// `all` selects nothing.
fn selected(net: ipnet::Ipv4Net) -> Option<ipnet::Ipv4Net> {
    (net.prefix_len() > 0).then_some(net)
}

/// MARK or MARK/MASK.
fn mark(word: &Word) -> Result<(u32, u32), SyntaxError> {
    let part = |text, what: &str| {
        number(text).and_then(|n| n.try_into().ok()).ok_or_else(|| invalid(word, &format!("{what} value is invalid")))
    };
    match word.text.split_once('/') {
        Some((mark, mask)) => Ok((part(mark, "fwmark")?, part(mask, "fwmask")?)),
        None => Ok((part(&word.text, "fwmark")?, u32::MAX)),
    }
}

fn table(word: &Word) -> Result<u32, SyntaxError> {
    match super::route::words::table_id(&word.text) {
        Some(0) => Err(SyntaxError::at(word, "a table of its own for the rule is not simulated")),
        Some(id) => Ok(id),
        None => Err(invalid(word, "invalid table ID").hint("write a number, main, local or default")),
    }
}

/// rtnl_rtntype_a2n, of the types that a rule may have.
fn action(word: &Word) -> Result<RuleAction, SyntaxError> {
    match word.text.as_str() {
        "blackhole" => Ok(RuleAction::Blackhole),
        "unreachable" => Ok(RuleAction::Unreachable),
        "prohibit" => Ok(RuleAction::Prohibit),
        text => Err(invalid(word, "Failed to parse rule type").hint_nearest(
            text,
            ["from", "to", "table", "lookup", "preference", "fwmark", "iif", "oif", "unreachable", "prohibit"],
        )),
    }
}
