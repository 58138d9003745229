//! ip-link(8): `add`, `set`, `delete`, `show`.

pub(super) mod ipip;
pub(in crate::lab) mod kind;
mod vxlan;
pub(in crate::lab) mod words;

use super::{ABORTED, Context, FAILED, requests, show, unknown};
use crate::kernel::netlink::{LinkAdd, LinkChange, LinkKind, LinkPeer, Request};
use crate::lab::args::{
    Args, Keyword, duplicate, exact, garbage, help, invalid, keyword, not_simulated, not_simulated_in, prefix,
};
use crate::lab::show::{LinkFilter, What};
use crate::lab::{Action, Check, SyntaxError, Word};
use words::{Device, LinkWords};

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Set,
    Delete,
    Show,
    Help,
    Other,
}

const VERBS: &[Keyword<Verb>] = &[
    prefix("add", Verb::Add),
    prefix("set", Verb::Set),
    prefix("change", Verb::Set),
    prefix("replace", Verb::Other),
    prefix("delete", Verb::Delete),
    prefix("show", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("list", Verb::Show),
    prefix("xstats", Verb::Other),
    prefix("afstats", Verb::Other),
    prefix("property", Verb::Other),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Add) => add(args),
        Some(Verb::Set) => set(args),
        Some(Verb::Delete) => delete(args),
        Some(Verb::Show) => list(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-link")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "link", &["add", "set", "delete", "show"])),
    }
}

fn add(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let words = words::read(args, Device::New)?;
    let name = name_or_dev(&words)?;
    let Some(kind) = words.kind else {
        return Err(args
            .error("Not enough information: \"type\" argument is required")
            .hint("write type bridge, type veth, type vxlan or type ipip"));
    };
    let mut checks = words.checks.clone();
    let mut link = LinkAdd {
        name,
        address: None,
        mtu: None,
        netns: None,
        master: None,
        up: false,
        kind: LinkKind::Veth { peer: None },
    };
    for (word, change) in words.changes {
        match change {
            LinkChange::Up(up) => link.up = up,
            LinkChange::Mtu(mtu) => link.mtu = Some(mtu),
            LinkChange::Address(address) => link.address = Some(address),
            LinkChange::Master(master) => link.master = master,
            LinkChange::Netns(netns) => link.netns = Some(netns),
            LinkChange::Name(_) => {}
            _ => return Err(only_with_set(word)),
        }
    }
    link.kind = match kind.text.as_str() {
        "veth" => LinkKind::Veth { peer: veth(args, &mut checks)? },
        "bridge" => LinkKind::Bridge(kind::bridge(args)?),
        "vxlan" => LinkKind::Vxlan(Box::new(vxlan::vxlan(args, &mut checks)?)),
        "ipip" => LinkKind::Ipip(Box::new(ipip::ipip(args, &mut checks)?)),
        _ => return Err(kind::unknown(kind)),
    };
    Ok(requests(checks, vec![Request::LinkAdd(link)]))
}

/// What follows `type veth`: nothing, or `peer` and its description.
fn veth(args: &mut Args<'_>, checks: &mut Vec<Check>) -> Result<Option<Box<LinkPeer>>, SyntaxError> {
    let Some(word) = args.next() else { return Ok(None) };
    if word.text != "peer" {
        return Err(SyntaxError::at(word, "Usage: ip link <options> type veth [peer <options>]")
            .hint("write type veth peer name NAME"));
    }
    let words = words::read(args, Device::New)?;
    if let Some(kind) = words.kind {
        return Err(duplicate("type", kind));
    }
    let mut peer = LinkPeer { name: name_or_dev(&words)?, ..LinkPeer::default() };
    checks.extend(words.checks);
    for (word, change) in words.changes {
        match change {
            LinkChange::Mtu(mtu) => peer.mtu = Some(mtu),
            LinkChange::Address(address) => peer.address = Some(address),
            LinkChange::Netns(netns) => peer.netns = Some(netns),
            LinkChange::Name(_) => {}
            _ => return Err(only_with_set(word)),
        }
    }
    Ok(Some(Box::new(peer)))
}

/// The name of a new device: after `name`, after `dev`, or alone.
fn name_or_dev(words: &LinkWords<'_>) -> Result<Option<String>, SyntaxError> {
    let name = words.changes.iter().find_map(|(_, c)| match c {
        LinkChange::Name(name) => Some(name.clone()),
        _ => None,
    });
    match (name, words.dev) {
        (Some(_), Some(dev)) => {
            Err(SyntaxError::at(dev, "both \"name\" and \"dev\" cannot be used when creating devices."))
        }
        (Some(name), None) => Ok(Some(name)),
        (None, dev) => {
            if let Some(long) = dev.filter(|d| d.text.len() >= words::IFNAMSIZ) {
                return Err(SyntaxError::at(long, "Error: Attribute failed policy validation.")
                    .hint("a name has at most 15 bytes"));
            }
            Ok(dev.map(|d| d.text.clone()))
        }
    }
}

fn only_with_set(word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("\"{}\" of a device that is being made is not simulated", word.text))
        .hint("set it afterwards, with ip link set")
}

fn set(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let words = words::read(args, Device::Present)?;
    let dev = needs_dev(&words, args)?;
    let mut changes = Vec::new();
    for (_, change) in words.changes {
        put(&mut changes, change);
    }
    match words.kind.map(|k| (k, k.text.as_str())) {
        None => {}
        Some((_, "bridge")) => changes.extend(kind::bridge(args)?.into_iter().map(LinkChange::Bridge)),
        Some((_, "bridge_slave")) => changes.extend(kind::port(args)?.into_iter().map(LinkChange::Port)),
        Some((word, "veth" | "vxlan" | "ipip")) => return Err(not_simulated(word)),
        Some((word, _)) => return Err(kind::unknown(word)),
    }
    changes.sort_by_key(kind::turn);
    let mut checks = words.checks;
    checks.push(Check::find_dev(&dev.text, FAILED));
    Ok(requests(checks, vec![Request::LinkSet { dev: dev.text.clone(), changes }]))
}

/// Adds a change; of two of the same kind the last counts.
fn put(changes: &mut Vec<LinkChange>, change: LinkChange) {
    changes.retain(|c| std::mem::discriminant(c) != std::mem::discriminant(&change));
    changes.push(change);
}

fn needs_dev<'a>(words: &LinkWords<'a>, args: &Args<'_>) -> Result<&'a Word, SyntaxError> {
    words.dev.ok_or_else(|| args.error("Not enough information: \"dev\" argument is required."))
}

fn delete(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let words = words::read(args, Device::Present)?;
    let dev = needs_dev(&words, args)?;
    if let Some((word, _)) = words.changes.first() {
        return Err(SyntaxError::at(word, format!("ip link delete does nothing with \"{}\"", word.text)));
    }
    if let Some(word) = args.next() {
        let text = &word.text;
        return Err(SyntaxError::at(
            word,
            format!("Garbage instead of arguments \"{text} ...\". Try \"ip link help\"."),
        ));
    }
    let mut checks = words.checks;
    checks.push(Check::find_dev(&dev.text, FAILED));
    Ok(requests(checks, vec![Request::LinkDel { dev: dev.text.clone() }]))
}

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let (filter, checks) = filter(args, "ip-link")?;
    Ok(show(checks, context.format, What::Links(filter)))
}

#[derive(Clone, Copy)]
enum Select {
    Up,
    Dev,
    Master,
    Type,
    Help,
    Other,
}

const SELECT: &[Keyword<Select>] = &[
    exact("to", Select::Other),
    exact("scope", Select::Other),
    exact("up", Select::Up),
    exact("dynamic", Select::Other),
    exact("primary", Select::Other),
    exact("secondary", Select::Other),
    exact("temporary", Select::Other),
    exact("nodad", Select::Other),
    exact("optimistic", Select::Other),
    exact("dadfailed", Select::Other),
    exact("home", Select::Other),
    exact("deprecated", Select::Other),
    exact("tentative", Select::Other),
    exact("permanent", Select::Other),
    exact("mngtmpaddr", Select::Other),
    exact("noprefixroute", Select::Other),
    exact("label", Select::Other),
    exact("group", Select::Other),
    exact("master", Select::Master),
    exact("vrf", Select::Other),
    exact("nomaster", Select::Other),
    exact("type", Select::Type),
    exact("dev", Select::Dev),
    prefix("help", Select::Help),
];

/// What `ip link show` and `ip addr show` select devices by.
pub(super) fn filter(args: &mut Args<'_>, page: &str) -> Result<(LinkFilter, Vec<Check>), SyntaxError> {
    let mut filter = LinkFilter::default();
    let mut checks = Vec::new();
    while let Some(word) = args.next() {
        let dev = match keyword(SELECT, &word.text) {
            Some(Select::Up) => {
                filter.up = true;
                continue;
            }
            Some(Select::Master) => {
                let master = args.value()?;
                let message = invalid(master, "Device does not exist").message;
                checks.push(Check::dev(&master.text, message, ABORTED));
                filter.master = Some(master.text.clone());
                continue;
            }
            Some(Select::Type) => {
                filter.kind = Some(args.value()?.text.clone());
                continue;
            }
            Some(Select::Help) => return Err(help(word, page)),
            Some(Select::Other) => return Err(not_simulated_in(SELECT, word)),
            Some(Select::Dev) => args.value()?,
            None => word,
        };
        if filter.dev.replace(dev.text.clone()).is_some() {
            return Err(garbage("dev", dev).hint_nearest(&dev.text, ["up", "master", "type", "dev"]));
        }
    }
    if let Some(dev) = &filter.dev {
        checks.push(Check::dev(dev, format!("Device \"{dev}\" does not exist."), FAILED));
    }
    Ok((filter, checks))
}
