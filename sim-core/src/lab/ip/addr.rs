//! ip-address(8): `add`, `replace`, `delete`, `flush`, `show`.

use super::{Context, FAILED, link, requests, show, unknown};
use crate::kernel::errno::Errno;
use crate::kernel::netlink::{Addr, Request, Scope};
use crate::lab::args::{
    Args, Keyword, address, duplicate, exact, garbage, help, invalid, keyword, names, network, not_simulated,
    not_simulated_in, number, prefix,
};
use crate::lab::show::What;
use crate::lab::{Action, Check, Requests, SyntaxError, Tool, Word};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Replace,
    Delete,
    Show,
    Flush,
    Help,
    Other,
}

const VERBS: &[Keyword<Verb>] = &[
    prefix("add", Verb::Add),
    prefix("change", Verb::Replace),
    exact("chg", Verb::Replace),
    prefix("replace", Verb::Replace),
    prefix("delete", Verb::Delete),
    prefix("list", Verb::Show),
    prefix("show", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("flush", Verb::Flush),
    prefix("save", Verb::Other),
    prefix("showdump", Verb::Other),
    prefix("restore", Verb::Other),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Add) => modify(args, context, Mode::Add),
        Some(Verb::Replace) => modify(args, context, Mode::Replace),
        Some(Verb::Delete) => modify(args, context, Mode::Delete),
        Some(Verb::Show) => list(args, context),
        Some(Verb::Flush) => flush(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-address")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "address", &["add", "replace", "delete", "flush", "show"])),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Add,
    Replace,
    Delete,
}

#[derive(Clone, Copy)]
enum Key {
    Peer,
    Broadcast,
    Scope,
    Dev,
    Label,
    Local,
    Help,
    Other,
}

// In the order of ipaddr_modify.
const KEYS: &[Keyword<Key>] = &[
    exact("peer", Key::Peer),
    exact("remote", Key::Peer),
    prefix("broadcast", Key::Broadcast),
    exact("brd", Key::Broadcast),
    exact("anycast", Key::Other),
    exact("scope", Key::Scope),
    exact("dev", Key::Dev),
    exact("label", Key::Label),
    exact("metric", Key::Other),
    exact("priority", Key::Other),
    exact("preference", Key::Other),
    prefix("valid_lft", Key::Other),
    prefix("preferred_lft", Key::Other),
    exact("home", Key::Other),
    exact("nodad", Key::Other),
    exact("mngtmpaddr", Key::Other),
    exact("noprefixroute", Key::Other),
    exact("autojoin", Key::Other),
    exact("optimistic", Key::Other),
    exact("proto", Key::Other),
    exact("local", Key::Local),
    prefix("help", Key::Help),
];

#[derive(Clone, Copy)]
enum Broadcast {
    /// `+`: all host bits set.
    Ones,
    /// `-`: all host bits cleared.
    Zeros,
    Addr(Ipv4Addr),
}

/// What the words say.
struct AddrWords<'a> {
    local: Option<(&'a Word, Ipv4Net)>,
    peer: Option<Ipv4Net>,
    broadcast: Option<Broadcast>,
    scope: Option<Scope>,
    dev: Option<&'a Word>,
    label: Option<&'a Word>,
    /// Only IPv4 can be meant: by `-4`, or since an address was read.
    inet: bool,
}

fn modify(args: &mut Args<'_>, context: Context, mode: Mode) -> Result<Action, SyntaxError> {
    let words = AddrWords::read(args, context.inet)?;
    let Some(dev) = words.dev else {
        return Err(args.error("Not enough information: \"dev\" argument is required.").hint("add dev NAME"));
    };
    let Some((local_word, local)) = words.local else {
        return Err(args.error("RTNETLINK answers: Operation not supported").hint("an address is missing"));
    };
    let whole = !local_word.text.contains('/');
    if mode == Mode::Delete && whole && words.peer.is_none() {
        return Err(SyntaxError::at(local_word, "deleting an address without its prefix length is not simulated")
            .hint(format!("write {}/24, or whatever its prefix length is", local.addr())));
    }
    // The prefix length is the peer's, if there is one (and it is not zero).
    let len = words.peer.map(|p| p.prefix_len()).filter(|len| *len != 0).unwrap_or(local.prefix_len());
    let resized = |net: Ipv4Net| Ipv4Net::new(net.addr(), len).unwrap_or(net);
    let peer = words.peer.map(resized);
    let add = mode != Mode::Delete;
    let addr = Addr {
        dev: dev.text.clone(),
        local: resized(local),
        peer,
        broadcast: words.broadcast.filter(|_| add).and_then(|b| broadcast(b, peer.unwrap_or(local))),
        scope: words.scope.filter(|_| add),
        label: words.label.map(|l| l.text.clone()),
    };
    Ok(Action::Requests(Requests {
        tool: Tool::Ip,
        checks: vec![Check::find_dev(&dev.text, FAILED)],
        requests: vec![if add { Request::AddrAdd(addr) } else { Request::AddrDel(addr) }],
        // NLM_F_REPLACE changes an address' lifetime and metric, which are not simulated.
        ignore: (mode == Mode::Replace).then_some(Errno::EEXIST),
    }))
}

/// None for a network that is too small to have a broadcast address.
fn broadcast(how: Broadcast, net: Ipv4Net) -> Option<Ipv4Addr> {
    match how {
        Broadcast::Addr(addr) => Some(addr),
        Broadcast::Ones | Broadcast::Zeros if net.prefix_len() > 30 => None,
        Broadcast::Ones => Some(net.broadcast()),
        Broadcast::Zeros => Some(net.network()),
    }
}

impl<'a> AddrWords<'a> {
    fn read(args: &mut Args<'a>, inet: bool) -> Result<Self, SyntaxError> {
        let mut out = AddrWords { local: None, peer: None, broadcast: None, scope: None, dev: None, label: None, inet };
        while let Some(word) = args.next() {
            match keyword(KEYS, &word.text) {
                Some(Key::Peer) => out.peer(args.value()?)?,
                Some(Key::Broadcast) => out.broadcast(args.value()?)?,
                Some(Key::Scope) => out.scope = Some(scope(args.value()?, "invalid scope value.")?),
                Some(Key::Dev) => out.dev = Some(args.value()?),
                Some(Key::Label) => out.label(args.value()?)?,
                Some(Key::Local) => out.local(args.value()?)?,
                Some(Key::Help) => return Err(help(word, "ip-address")),
                Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
                None => out.local(word)?,
            }
        }
        Ok(out)
    }

    fn local(&mut self, word: &'a Word) -> Result<(), SyntaxError> {
        if self.local.is_some() {
            return Err(garbage("local", word)
                .hint("a device is named after dev")
                .hint_nearest(&word.text, names(KEYS)));
        }
        let net = network(word, self.inet)?;
        if matches!(word.text.as_str(), "default" | "any" | "all") {
            return Err(SyntaxError::at(word, "RTNETLINK answers: Operation not supported").hint("write an address"));
        }
        self.local = Some((word, net));
        self.inet = true;
        Ok(())
    }

    fn peer(&mut self, word: &Word) -> Result<(), SyntaxError> {
        if self.peer.is_some() {
            return Err(duplicate("peer", word));
        }
        self.peer = Some(network(word, self.inet)?);
        self.inet = true;
        Ok(())
    }

    fn broadcast(&mut self, word: &Word) -> Result<(), SyntaxError> {
        if self.broadcast.is_some() {
            return Err(duplicate("broadcast", word));
        }
        self.broadcast = Some(match word.text.as_str() {
            "+" => Broadcast::Ones,
            "-" => Broadcast::Zeros,
            _ => {
                let addr = address(word, self.inet)?;
                self.inet = true;
                Broadcast::Addr(addr)
            }
        });
        Ok(())
    }

    fn label(&mut self, word: &'a Word) -> Result<(), SyntaxError> {
        if word.text.len() >= link::words::IFNAMSIZ {
            return Err(SyntaxError::at(word, "Error: Attribute failed policy validation.")
                .hint("a label has at most 15 bytes"));
        }
        self.label = Some(word);
        Ok(())
    }
}

/// rtnl_rtscope_a2n: a name of /etc/iproute2/rt_scopes or its number.
pub(super) fn scope(word: &Word, message: &str) -> Result<Scope, SyntaxError> {
    Ok(match (word.text.as_str(), number(&word.text)) {
        ("global", _) | (_, Some(0)) => Scope::Global,
        ("site", _) | (_, Some(200)) => Scope::Site,
        ("link", _) | (_, Some(253)) => Scope::Link,
        ("host", _) | (_, Some(254)) => Scope::Host,
        ("nowhere", _) | (_, Some(255)) => Scope::Nowhere,
        (_, Some(1..=252)) => return Err(not_simulated(word)),
        _ => return Err(invalid(word, message).hint("the scopes are: global, site, link, host")),
    })
}

/// `ip addr flush dev NAME`
fn flush(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    if args.peek().is_none() {
        return Err(args.error("Flush requires arguments.").hint("write dev NAME"));
    }
    if context.format.stats > 0 {
        return Err(args.error("-s with flush is not simulated"));
    }
    let first = args.peek();
    let (filter, checks) = link::filter(args, "ip-address")?;
    match filter.dev {
        Some(dev) if !filter.up && filter.master.is_none() && filter.kind.is_none() => {
            Ok(requests(checks, vec![Request::AddrFlush { dev }]))
        }
        _ => {
            let message = "flushing the addresses of several devices is not simulated";
            let error = first.map_or_else(|| args.error(message), |w| SyntaxError::at(w, message));
            Err(error.hint("write dev NAME"))
        }
    }
}

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let (filter, checks) = link::filter(args, "ip-address")?;
    Ok(show(checks, context.format, What::Addrs { filter, inet_only: context.inet }))
}
