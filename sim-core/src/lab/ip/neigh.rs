//! ip-neighbour(8): `add`, `replace`, `change`, `delete`, `flush`, `show`.

use super::{Context, FAILED, requests, show, unknown};
use crate::base::Mac;
use crate::kernel::netlink::{Neigh, NudState, Op, Request};
use crate::lab::args::{
    Args, Keyword, address, duplicate, exact, garbage, help, invalid, keyword, lladdr, names, network,
    not_simulated_in, number, prefix,
};
use crate::lab::show::{NeighFilter, What};
use crate::lab::{Action, Check, SyntaxError, Word};
use std::net::Ipv4Addr;

#[derive(Clone, Copy)]
enum Verb {
    Make(Op),
    Delete,
    Show,
    Flush,
    Help,
    Other,
}

const VERBS: &[Keyword<Verb>] = &[
    prefix("add", Verb::Make(Op::Add)),
    prefix("change", Verb::Make(Op::Change)),
    exact("chg", Verb::Make(Op::Change)),
    prefix("replace", Verb::Make(Op::Replace)),
    prefix("delete", Verb::Delete),
    prefix("get", Verb::Other),
    prefix("show", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("list", Verb::Show),
    prefix("flush", Verb::Flush),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Make(op)) => {
            let words = NeighWords::read(args, context)?;
            let (addr, dev) = words.required(args)?;
            let neigh = Neigh { addr, lladdr: words.lladdr, dev: dev.text.clone(), state: words.state };
            Ok(requests(vec![Check::find_dev(&dev.text, FAILED)], vec![Request::NeighAdd(op, neigh)]))
        }
        Some(Verb::Delete) => {
            let words = NeighWords::read(args, context)?;
            let (addr, dev) = words.required(args)?;
            let request = Request::NeighDel { addr, dev: dev.text.clone() };
            Ok(requests(vec![Check::find_dev(&dev.text, FAILED)], vec![request]))
        }
        Some(Verb::Show) => list(args, context),
        Some(Verb::Flush) => flush(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-neighbour")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "neigh", &["add", "replace", "change", "delete", "flush", "show"])),
    }
}

#[derive(Clone, Copy)]
enum Key {
    Lladdr,
    Nud,
    Dev,
    To,
    Help,
    Other,
}

// In the order of ipneigh_modify.
const KEYS: &[Keyword<Key>] = &[
    prefix("lladdr", Key::Lladdr),
    exact("nud", Key::Nud),
    prefix("proxy", Key::Other),
    prefix("router", Key::Other),
    prefix("extern_learn", Key::Other),
    exact("dev", Key::Dev),
    prefix("protocol", Key::Other),
    prefix("managed", Key::Other),
    prefix("use", Key::Other),
    exact("to", Key::To),
    prefix("help", Key::Help),
];

#[derive(Default)]
struct NeighWords<'a> {
    addr: Option<Ipv4Addr>,
    dev: Option<&'a Word>,
    lladdr_seen: bool,
    lladdr: Option<Mac>,
    state: Option<NudState>,
}

impl<'a> NeighWords<'a> {
    fn read(args: &mut Args<'a>, context: Context) -> Result<Self, SyntaxError> {
        let mut out = NeighWords::default();
        while let Some(word) = args.next() {
            let to = match keyword(KEYS, &word.text) {
                Some(Key::Lladdr) => {
                    out.lladdr(args.value()?)?;
                    continue;
                }
                Some(Key::Nud) => {
                    let value = args.value()?;
                    out.state = Some(nud_state(&value.text).ok_or_else(|| bad_state(value))?);
                    continue;
                }
                Some(Key::Dev) => {
                    out.dev = Some(args.value()?);
                    continue;
                }
                Some(Key::Help) => return Err(help(word, "ip-neighbour")),
                Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
                Some(Key::To) => args.value()?,
                None => word,
            };
            if out.addr.is_some() {
                return Err(garbage("to", to).hint_nearest(&to.text, names(KEYS)));
            }
            out.addr = Some(address(to, context.inet)?);
        }
        Ok(out)
    }

    fn lladdr(&mut self, word: &Word) -> Result<(), SyntaxError> {
        if self.lladdr_seen {
            return Err(duplicate("lladdr", word));
        }
        self.lladdr_seen = true;
        if word.text != "null" {
            self.lladdr = Some(lladdr(word, |_| "Error: Invalid link address.".to_owned())?);
        }
        Ok(())
    }

    fn required(&self, args: &Args<'_>) -> Result<(Ipv4Addr, &'a Word), SyntaxError> {
        self.addr
            .zip(self.dev)
            .ok_or_else(|| args.error("Device and destination are required arguments.").hint("write ADDRESS dev NAME"))
    }
}

/// nud_state_a2n
fn nud_state(text: &str) -> Option<NudState> {
    const NAMES: &[Keyword<NudState>] = &[
        prefix("permanent", NudState::Permanent),
        prefix("reachable", NudState::Reachable),
        exact("noarp", NudState::Noarp),
        exact("none", NudState::None),
        exact("stale", NudState::Stale),
        exact("incomplete", NudState::Incomplete),
        exact("delay", NudState::Delay),
        exact("probe", NudState::Probe),
        prefix("failed", NudState::Failed),
    ];
    keyword(NAMES, text).or_else(|| NAMES.iter().map(Keyword::key).find(|s| number(text) == Some(*s as i128)))
}

fn bad_state(word: &Word) -> SyntaxError {
    const NAMES: [&str; 9] =
        ["permanent", "reachable", "noarp", "none", "stale", "incomplete", "delay", "probe", "failed"];
    invalid(word, "nud state is bad")
        .hint(format!("the states are: {}", NAMES.join(", ")))
        .hint_nearest(&word.text, NAMES)
}

#[derive(Clone, Copy)]
enum Select {
    Dev,
    Nud,
    To,
    Help,
    Other,
}

const SELECT: &[Keyword<Select>] = &[
    exact("dev", Select::Dev),
    prefix("master", Select::Other),
    exact("vrf", Select::Other),
    exact("nomaster", Select::Other),
    exact("unused", Select::Other),
    exact("nud", Select::Nud),
    exact("proxy", Select::Other),
    prefix("protocol", Select::Other),
    exact("to", Select::To),
    prefix("help", Select::Help),
];

fn filter(args: &mut Args<'_>, context: Context) -> Result<NeighFilter, SyntaxError> {
    let mut filter = NeighFilter::default();
    while let Some(word) = args.next() {
        let to = match keyword(SELECT, &word.text) {
            Some(Select::Dev) => {
                let dev = args.value()?;
                if filter.dev.replace(dev.text.clone()).is_some() {
                    return Err(duplicate("dev", dev));
                }
                continue;
            }
            Some(Select::Nud) => {
                let value = args.value()?;
                match nud_state(&value.text) {
                    Some(state) => filter.states.push(state),
                    None if value.text == "all" => filter.all_states = true,
                    None => return Err(bad_state(value)),
                }
                continue;
            }
            Some(Select::Help) => return Err(help(word, "ip-neighbour")),
            Some(Select::Other) => return Err(not_simulated_in(SELECT, word)),
            Some(Select::To) => args.value()?,
            None => word,
        };
        filter.to = Some(network(to, context.inet)?);
    }
    Ok(filter)
}

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let filter = filter(args, context)?;
    let checks = filter.dev.iter().map(|dev| Check::find_dev(dev, FAILED)).collect();
    Ok(show(checks, context.format, What::Neighs(filter)))
}

fn flush(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(first) = args.peek() else {
        return Err(args.error("Flush requires arguments.").hint("write dev NAME or all"));
    };
    if context.format.stats > 0 {
        return Err(args.error("-s with flush is not simulated"));
    }
    let filter = filter(args, context)?;
    if filter.to.is_some_and(|to| to.prefix_len() > 0) || filter.all_states || !filter.states.is_empty() {
        return Err(
            SyntaxError::at(first, "flushing by address or state is not simulated").hint("write dev NAME or all")
        );
    }
    let checks = filter.dev.iter().map(|dev| Check::find_dev(dev, FAILED)).collect();
    Ok(requests(checks, vec![Request::NeighFlush { dev: filter.dev }]))
}
