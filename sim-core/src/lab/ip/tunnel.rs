//! ip-tunnel(8): `add`, `delete`, `show`, of IPIP tunnels (ip/iptunnel.c).

use super::link::ipip::{compatible, end, ttl};
use super::{Context, FAILED, show, unknown};
use crate::kernel::netlink::{Ipip, Request};
use crate::lab::args::{
    Args, Keyword, exact, garbage, help, invalid, keyword, not_simulated, not_simulated_in, prefix, unsigned,
};
use crate::lab::show::What;
use crate::lab::{Action, Check, Requests, SyntaxError, Tool, Word};

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Delete,
    Show,
    Help,
    Other,
}

// In the order of do_iptunnel.
const VERBS: &[Keyword<Verb>] = &[
    prefix("add", Verb::Add),
    prefix("change", Verb::Other),
    prefix("delete", Verb::Delete),
    prefix("show", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("list", Verb::Show),
    prefix("prl", Verb::Other),
    prefix("6rd", Verb::Other),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Add) => add(args),
        Some(Verb::Delete) => delete(args),
        Some(Verb::Show) => list(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-tunnel")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "tunnel", &["add", "delete", "show"])),
    }
}

fn add(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let words = TunnelWords::read(args, true)?;
    compatible(&words.tunnel, args)?;
    if !words.ipip {
        return Err(args
            .error("cannot determine tunnel mode (ipip, gre, vti or sit)")
            .hint("write mode ipip, or a name that begins with ipip"));
    }
    let name = words.name.map(|w| w.text.clone());
    let request = Request::TunnelAdd { name, tunnel: Box::new(words.tunnel) };
    Ok(Action::Requests(Requests { tool: Tool::Tunnel, checks: words.checks, requests: vec![request], ignore: None }))
}

fn delete(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let words = TunnelWords::read(args, true)?;
    let Some(name) = words.name else {
        return Err(args.error("a tunnel without a name is not simulated here").hint("write ip tunnel del NAME"));
    };
    let request = Request::TunnelDel { dev: name.text.clone() };
    Ok(Action::Requests(Requests { tool: Tool::Tunnel, checks: words.checks, requests: vec![request], ignore: None }))
}

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    if context.format.stats > 0 || context.format.json {
        return Err(args.error("ip -s tunnel and ip -j tunnel are not simulated").hint("write ip -s link show NAME"));
    }
    let words = TunnelWords::read(args, false)?;
    let mut checks = words.checks;
    let dev = words.name.map(|w| w.text.clone());
    if let Some(dev) = dev.as_ref().filter(|_| words.ipip) {
        let message = format!("get tunnel \"{dev}\" failed: No such device");
        checks.push(Check::dev(dev, message, FAILED));
    }
    Ok(show(checks, context.format, What::Tunnels { dev }))
}

/// The words of a tunnel.
#[derive(Default)]
struct TunnelWords<'a> {
    name: Option<&'a Word>,
    /// `mode ipip`, or a name that says so.
    ipip: bool,
    tunnel: Ipip,
    checks: Vec<Check>,
}

#[derive(Clone, Copy)]
enum Key {
    Mode,
    Pmtudisc(bool),
    Remote,
    Local,
    Dev,
    Ttl,
    Tos,
    Keyed,
    Name,
    Help,
    Other,
}

// In the order of parse_args.
const KEYS: &[Keyword<Key>] = &[
    exact("mode", Key::Mode),
    exact("key", Key::Keyed),
    exact("ikey", Key::Keyed),
    exact("okey", Key::Keyed),
    exact("seq", Key::Other),
    exact("iseq", Key::Other),
    exact("oseq", Key::Other),
    exact("csum", Key::Other),
    exact("icsum", Key::Other),
    exact("ocsum", Key::Other),
    exact("nopmtudisc", Key::Pmtudisc(false)),
    exact("pmtudisc", Key::Pmtudisc(true)),
    exact("remote", Key::Remote),
    exact("local", Key::Local),
    exact("dev", Key::Dev),
    exact("ttl", Key::Ttl),
    exact("hoplimit", Key::Ttl),
    exact("hlim", Key::Ttl),
    exact("tos", Key::Tos),
    exact("tclass", Key::Tos),
    prefix("dsfield", Key::Tos),
    exact("name", Key::Name),
    prefix("help", Key::Help),
];

impl<'a> TunnelWords<'a> {
    /// A tunnel that is `made` carries IPv4 and nothing else.
    fn read(args: &mut Args<'a>, made: bool) -> Result<Self, SyntaxError> {
        let mut out = TunnelWords { tunnel: Ipip { pmtudisc: true, ..Ipip::default() }, ..TunnelWords::default() };
        while let Some(word) = args.next() {
            let t = &mut out.tunnel;
            match keyword(KEYS, &word.text) {
                Some(Key::Mode) => {
                    mode(args.value()?)?;
                    out.ipip = true;
                }
                Some(Key::Pmtudisc(on)) => t.pmtudisc = on,
                Some(Key::Remote) => t.remote = end(args.value()?)?,
                Some(Key::Local) => t.local = end(args.value()?)?,
                Some(Key::Dev) => {
                    let dev = args.value()?;
                    out.checks.push(Check::find_dev(&dev.text, FAILED));
                    t.link = Some(dev.text.clone());
                }
                Some(Key::Ttl) => t.ttl = ttl(args.value()?)?,
                Some(Key::Tos) => t.tos = tos(args.value()?)?,
                Some(Key::Keyed) => {
                    return Err(SyntaxError::at(word, "Keys are not allowed with ipip and sit tunnels"));
                }
                Some(Key::Help) => return Err(help(word, "ip-tunnel")),
                Some(Key::Other) => return Err(not_simulated(word)),
                Some(Key::Name) => out.name(args.value()?)?,
                None => out.name(word)?,
            }
        }
        out.ipip |= out.name.is_some_and(|name| name.text.starts_with("ipip"));
        out.tunnel.only_ipv4 = made;
        Ok(out)
    }

    fn name(&mut self, word: &'a Word) -> Result<(), SyntaxError> {
        if self.name.is_some() {
            return Err(garbage("name", word));
        }
        self.name = Some(word);
        Ok(())
    }
}

fn mode(word: &Word) -> Result<(), SyntaxError> {
    match word.text.as_str() {
        "ipip" | "ip/ip" => Ok(()),
        "gre" | "gre/ip" | "sit" | "ipv6/ip" | "isatap" | "vti" => Err(not_simulated(word)),
        other => Err(SyntaxError::at(word, format!("Unknown tunnel mode \"{other}\""))),
    }
}

/// `inherit`, a number, or both with a slash between them.
fn tos(word: &Word) -> Result<u8, SyntaxError> {
    let (inherit, number) = match word.text.split_once('/') {
        Some(("inherit", rest)) => (1, Some(rest)),
        _ if word.text == "inherit" => (1, None),
        _ => (0, Some(word.text.as_str())),
    };
    let Some(text) = number else { return Ok(inherit) };
    let part = Word { text: text.to_owned(), span: word.span.clone() };
    let tos: u8 = unsigned(&part, "bad TOS value").map_err(|_| invalid(word, "bad TOS value"))?;
    Ok(inherit | tos)
}
