//! bridge(8): `link set`, `link show`, `fdb add`, `fdb append`, `fdb replace`, `fdb del`, `fdb show`.

use super::args::{
    Args, Keyword, address, exact, garbage, help, invalid, keyword, names, not_simulated, not_simulated_in, number,
    on_off_short, prefix, unsigned,
};
use super::ip::link::kind::put_port;
use super::show::{FdbFilter, Format, Show, What};
use super::{Action, Check, Requests, SyntaxError, Tool, Word, enter};
use crate::base::Mac;
use crate::kernel::netlink::{Fdb, FdbRemote, FdbState, LinkChange, Op, PortChange, Request, VNI_END};
use std::net::Ipv4Addr;

/// The exit status of every failure.
const FAILED: i32 = 255;

#[derive(Clone, Copy)]
enum Opt {
    Stats,
    Details,
    Oneline,
    Json,
    Pretty,
    Netns,
    Inet,
    Other,
}

// In the order of main() in bridge/bridge.c.
const OPTIONS: &[Keyword<Opt>] = &[
    prefix("-help", Opt::Other),
    prefix("-Version", Opt::Other),
    prefix("-stats", Opt::Stats),
    prefix("-statistics", Opt::Stats),
    prefix("-details", Opt::Details),
    prefix("-oneline", Opt::Oneline),
    prefix("-timestamp", Opt::Other),
    prefix("-family", Opt::Other),
    exact("-4", Opt::Inet),
    exact("-6", Opt::Other),
    prefix("-netns", Opt::Netns),
    prefix("-color", Opt::Other),
    prefix("-compressvlans", Opt::Other),
    prefix("-force", Opt::Other),
    prefix("-json", Opt::Json),
    prefix("-pretty", Opt::Pretty),
    prefix("-batch", Opt::Other),
];

#[derive(Clone, Copy)]
enum Object {
    Link,
    Fdb,
    Help,
    Other,
}

const OBJECTS: &[Keyword<Object>] = &[
    prefix("link", Object::Link),
    prefix("fdb", Object::Fdb),
    prefix("mdb", Object::Other),
    prefix("vlan", Object::Other),
    prefix("vni", Object::Other),
    prefix("monitor", Object::Other),
    prefix("help", Object::Help),
];

pub(super) fn parse(words: &[Word], mut netns: Vec<String>) -> Result<(Vec<String>, Action), SyntaxError> {
    let mut args = Args::new(words, 1);
    let format = options(&mut args, &mut netns)?;
    let usage = "Usage: bridge [ OPTIONS ] OBJECT { COMMAND | help }";
    let object = args.next().ok_or_else(|| args.error(usage).hint("the objects are: link, fdb"))?;
    let action = match keyword(OBJECTS, &object.text) {
        Some(Object::Link) => link(&mut args, format)?,
        Some(Object::Fdb) => fdb(&mut args, format)?,
        Some(Object::Help) => return Err(help(object, "bridge")),
        Some(Object::Other) => return Err(not_simulated_in(OBJECTS, object)),
        None => {
            let message = format!("Object \"{}\" is unknown, try \"bridge help\".", object.text);
            return Err(SyntaxError::at(object, message).hint_nearest(&object.text, ["link", "fdb"]));
        }
    };
    Ok((netns, action))
}

fn options(args: &mut Args<'_>, netns: &mut Vec<String>) -> Result<Format, SyntaxError> {
    let mut format = Format::default();
    while let Some(word) = args.peek().filter(|w| w.text.starts_with('-')) {
        args.next();
        if word.text == "--" {
            break;
        }
        let text = if word.text.starts_with("--") { &word.text[1..] } else { &word.text };
        match keyword(OPTIONS, text).filter(|_| text.len() > 1) {
            Some(Opt::Stats) => format.stats += 1,
            Some(Opt::Details) => format.details = true,
            Some(Opt::Oneline) => format.oneline = true,
            Some(Opt::Json) => format.json = true,
            Some(Opt::Pretty) => format.pretty = true,
            Some(Opt::Netns) => enter(netns, args.value()?)?,
            Some(Opt::Inet) => {}
            Some(Opt::Other) => return Err(not_simulated_in(OPTIONS, word)),
            None => {
                let message = format!("Option \"{text}\" is unknown, try \"bridge help\".");
                let known = ["-details", "-stats", "-oneline", "-json", "-pretty", "-netns"];
                return Err(SyntaxError::at(word, message).hint_nearest(text, known));
            }
        }
    }
    Ok(format)
}

#[derive(Clone, Copy)]
enum LinkVerb {
    Set,
    Show,
    Help,
}

const LINK_VERBS: &[Keyword<LinkVerb>] = &[
    prefix("set", LinkVerb::Set),
    prefix("change", LinkVerb::Set),
    prefix("show", LinkVerb::Show),
    prefix("lst", LinkVerb::Show),
    prefix("list", LinkVerb::Show),
    prefix("help", LinkVerb::Help),
];

fn link(args: &mut Args<'_>, format: Format) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return link_show(args, format) };
    match keyword(LINK_VERBS, &verb.text) {
        Some(LinkVerb::Set) => link_set(args),
        Some(LinkVerb::Show) => link_show(args, format),
        Some(LinkVerb::Help) => Err(help(verb, "bridge")),
        None => Err(unknown(verb, "link", &["set", "show"])),
    }
}

fn unknown(word: &Word, object: &str, known: &[&'static str]) -> SyntaxError {
    let message = format!("Command \"{}\" is unknown, try \"bridge {object} help\".", word.text);
    SyntaxError::at(word, message).hint_nearest(&word.text, known.iter().copied())
}

#[derive(Clone, Copy)]
enum Key {
    Dev,
    Hairpin,
    Learning,
    Flood,
    McastFlood,
    BcastFlood,
    Isolated,
    Cost,
    Priority,
    Master,
    Other,
}

const KEYS: &[Keyword<Key>] = &[
    exact("dev", Key::Dev),
    exact("guard", Key::Other),
    exact("hairpin", Key::Hairpin),
    exact("fastleave", Key::Other),
    exact("root_block", Key::Other),
    exact("learning", Key::Learning),
    exact("learning_sync", Key::Other),
    exact("flood", Key::Flood),
    exact("mcast_router", Key::Other),
    exact("mcast_flood", Key::McastFlood),
    exact("bcast_flood", Key::BcastFlood),
    exact("mcast_to_unicast", Key::Other),
    exact("cost", Key::Cost),
    exact("priority", Key::Priority),
    exact("state", Key::Other),
    exact("hwmode", Key::Other),
    exact("self", Key::Other),
    exact("master", Key::Master),
    exact("neigh_suppress", Key::Other),
    exact("vlan_tunnel", Key::Other),
    exact("isolated", Key::Isolated),
    exact("locked", Key::Other),
    exact("backup_port", Key::Other),
    exact("nobackup_port", Key::Other),
];

fn link_set(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let mut dev = None;
    let mut changes = Vec::new();
    while let Some(word) = args.next() {
        let change = match keyword(KEYS, &word.text) {
            Some(Key::Dev) => {
                dev = Some(args.value()?);
                continue;
            }
            Some(Key::Master) => continue,
            Some(Key::Hairpin) => PortChange::Hairpin(on_off_short("hairpin", args.value()?)?),
            Some(Key::Learning) => PortChange::Learning(on_off_short("learning", args.value()?)?),
            Some(Key::Flood) => PortChange::Flood(on_off_short("flood", args.value()?)?),
            Some(Key::McastFlood) => PortChange::McastFlood(on_off_short("mcast_flood", args.value()?)?),
            Some(Key::BcastFlood) => PortChange::BcastFlood(on_off_short("bcast_flood", args.value()?)?),
            Some(Key::Isolated) => PortChange::Isolated(on_off_short("isolated", args.value()?)?),
            Some(Key::Cost) => PortChange::Cost(positive("cost", args.value()?, 1)?),
            Some(Key::Priority) => PortChange::Priority(positive("priority", args.value()?, 0)?),
            Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
            None => {
                return Err(SyntaxError::at(word, "Usage: bridge link set dev DEV [ hairpin {on | off} ] ...")
                    .hint("the device is named after dev")
                    .hint_nearest(&word.text, names(KEYS)));
            }
        };
        put_port(&mut changes, change);
    }
    let dev = &dev.ok_or_else(|| args.error("Device is a required argument.").hint("write dev NAME"))?.text;
    let checks = vec![find_bridge_dev(dev)];
    let changes = changes.into_iter().map(LinkChange::Port).collect();
    Ok(requests(checks, Request::LinkSet { dev: dev.clone(), changes }))
}

/// The real tool takes a word that is no number, or too small, as if nothing had been written (atoi).
fn positive<T: TryFrom<i128>>(option: &str, word: &Word, least: i128) -> Result<T, SyntaxError> {
    let n = number(&word.text).filter(|n| *n >= least).and_then(|n| n.try_into().ok());
    n.ok_or_else(|| {
        SyntaxError::at(word, format!("bridge ignores {option} \"{}\": it is not a good number", word.text))
    })
}

fn find_bridge_dev(name: &str) -> Check {
    Check::dev(name, format!("Cannot find bridge device \"{name}\""), FAILED)
}

fn requests(checks: Vec<Check>, request: Request) -> Action {
    Action::Requests(Requests { tool: Tool::Bridge, checks, requests: vec![request], ignore: None })
}

fn link_show(args: &mut Args<'_>, format: Format) -> Result<Action, SyntaxError> {
    let mut dev = None;
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" => dev = Some(args.value()?.text.clone()),
            _ => return Err(ignored(word)),
        }
    }
    let checks = dev.iter().map(|d| Check::find_dev(d, FAILED)).collect();
    Ok(Action::Show { checks, show: Show { format, what: What::BridgeLinks { dev } } })
}

/// A word that the real tool passes over in silence.
fn ignored(word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("bridge ignores \"{}\" here", word.text)).hint(format!("write dev {}", word.text))
}

#[derive(Clone, Copy)]
enum FdbVerb {
    Make(Op),
    Delete,
    Show,
    Help,
    Other,
}

const FDB_VERBS: &[Keyword<FdbVerb>] = &[
    prefix("add", FdbVerb::Make(Op::Add)),
    prefix("append", FdbVerb::Make(Op::Append)),
    prefix("replace", FdbVerb::Make(Op::Replace)),
    prefix("delete", FdbVerb::Delete),
    prefix("get", FdbVerb::Other),
    prefix("show", FdbVerb::Show),
    prefix("lst", FdbVerb::Show),
    prefix("list", FdbVerb::Show),
    prefix("flush", FdbVerb::Other),
    prefix("help", FdbVerb::Help),
];

fn fdb(args: &mut Args<'_>, format: Format) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return fdb_show(args, format) };
    match keyword(FDB_VERBS, &verb.text) {
        Some(FdbVerb::Make(op)) => fdb_modify(args, |entry| Request::FdbAdd(op, entry)),
        Some(FdbVerb::Delete) => fdb_modify(args, Request::FdbDel),
        Some(FdbVerb::Show) => fdb_show(args, format),
        Some(FdbVerb::Help) => Err(help(verb, "bridge")),
        Some(FdbVerb::Other) => Err(not_simulated_in(FDB_VERBS, verb)),
        None => Err(unknown(verb, "fdb", &["add", "append", "replace", "delete", "show"])),
    }
}

#[derive(Clone, Copy)]
enum FdbKey {
    Dev,
    Dst,
    Port,
    Vni,
    Via,
    Self_,
    Master,
    Permanent,
    Static,
    Dynamic,
    To,
    Help,
    Other,
}

// In the order of fdb_modify.
const FDB_KEYS: &[Keyword<FdbKey>] = &[
    exact("dev", FdbKey::Dev),
    exact("dst", FdbKey::Dst),
    exact("nhid", FdbKey::Other),
    exact("port", FdbKey::Port),
    exact("vni", FdbKey::Vni),
    exact("src_vni", FdbKey::Other),
    exact("via", FdbKey::Via),
    exact("self", FdbKey::Self_),
    prefix("master", FdbKey::Master),
    prefix("router", FdbKey::Other),
    prefix("local", FdbKey::Permanent),
    prefix("permanent", FdbKey::Permanent),
    prefix("temp", FdbKey::Static),
    prefix("static", FdbKey::Static),
    prefix("dynamic", FdbKey::Dynamic),
    prefix("vlan", FdbKey::Other),
    prefix("use", FdbKey::Other),
    prefix("extern_learn", FdbKey::Other),
    prefix("sticky", FdbKey::Other),
    exact("to", FdbKey::To),
    prefix("help", FdbKey::Help),
];

/// The words of `fdb add`, `append`, `replace` and `del`.
#[derive(Default)]
struct FdbWords<'a> {
    dev: Option<&'a Word>,
    addr: Option<&'a Word>,
    own: Option<&'a Word>,
    master: Option<&'a Word>,
    // NUD_PERMANENT outweighs the others; `dynamic` takes NUD_NOARP away for good.
    permanent: bool,
    aged: bool,
    dynamic: bool,
    dst: Option<Ipv4Addr>,
    port: Option<u16>,
    vni: Option<u32>,
    via: Option<&'a Word>,
}

impl<'a> FdbWords<'a> {
    fn read(args: &mut Args<'a>) -> Result<Self, SyntaxError> {
        let mut w = FdbWords::default();
        while let Some(word) = args.next() {
            let mut to = word;
            match keyword(FDB_KEYS, &word.text) {
                Some(FdbKey::Dev) => w.dev = Some(args.value()?),
                Some(FdbKey::Dst) => {
                    let value = args.value()?;
                    if w.dst.replace(address(value, false)?).is_some() {
                        return Err(garbage("dst", value));
                    }
                }
                Some(FdbKey::Port) => w.port = Some(unsigned(args.value()?, "invalid port")?),
                Some(FdbKey::Vni) => {
                    let value = args.value()?;
                    w.vni = Some(unsigned(value, "invalid VNI")?);
                    w.vni.filter(|vni| *vni < VNI_END).ok_or_else(|| invalid(value, "invalid VNI"))?;
                }
                Some(FdbKey::Via) => w.via = Some(args.value()?),
                Some(FdbKey::Self_) => w.own = Some(word),
                Some(FdbKey::Master) => w.master = Some(word),
                Some(FdbKey::Permanent) => w.permanent = true,
                Some(FdbKey::Static) => w.aged = true,
                Some(FdbKey::Dynamic) => (w.aged, w.dynamic) = (true, true),
                Some(FdbKey::Help) => return Err(help(word, "bridge")),
                Some(FdbKey::Other) => return Err(not_simulated_in(FDB_KEYS, word)),
                key @ (Some(FdbKey::To) | None) => {
                    if key.is_some() {
                        to = args.value()?;
                    }
                    if w.addr.replace(to).is_some() {
                        return Err(garbage("to", to).hint_nearest(&to.text, names(FDB_KEYS)));
                    }
                }
            }
        }
        Ok(w)
    }

    fn state(&self) -> FdbState {
        match (self.permanent || !self.aged, self.dynamic) {
            (true, _) => FdbState::Local,
            (false, true) => FdbState::Dynamic,
            (false, false) => FdbState::Static,
        }
    }

    /// The far end of a tunnel.
    fn remote(&self) -> Result<Option<FdbRemote>, SyntaxError> {
        match (self.dst, self.via) {
            (None, Some(word)) => {
                Err(SyntaxError::at(word, "port, vni and via say how to reach a far end").hint("write dst ADDRESS"))
            }
            (dst, via) => {
                let via = via.map(|v| v.text.clone());
                Ok(dst.map(|dst| FdbRemote { dst, port: self.port, vni: self.vni, via }))
            }
        }
    }
}

fn fdb_modify(args: &mut Args<'_>, request: impl FnOnce(Fdb) -> Request) -> Result<Action, SyntaxError> {
    let w = FdbWords::read(args)?;
    if let (Some(word), Some(_)) = (w.own, w.master) {
        return Err(SyntaxError::at(word, "self and master together are not simulated").hint("write two commands"));
    }
    let Some((dev, addr)) = w.dev.zip(w.addr) else {
        return Err(args.error("Device and address are required arguments.").hint("write ADDRESS dev NAME"));
    };
    let mac: Mac = addr.text.parse().map_err(|()| {
        SyntaxError::at(addr, format!("Invalid mac address {}", addr.text))
            .hint("an Ethernet address has six bytes: 0a:58:0a:f4:01:02")
    })?;
    let remote = w.remote()?;
    let mut checks: Vec<Check> = w.via.iter().map(|v| Check::find_dev(&v.text, FAILED)).collect();
    checks.push(Check::find_dev(&dev.text, FAILED));
    let entry = Fdb { mac, dev: dev.text.clone(), master: w.master.is_some(), state: w.state(), remote };
    Ok(requests(checks, request(entry)))
}

fn fdb_show(args: &mut Args<'_>, format: Format) -> Result<Action, SyntaxError> {
    let mut filter = FdbFilter::default();
    while let Some(word) = args.next() {
        match word.text.as_str() {
            "dev" | "brport" => filter.dev = Some(args.value()?.text.clone()),
            "br" => filter.br = Some(args.value()?.text.clone()),
            "dynamic" => filter.dynamic = true,
            "vlan" | "state" | "help" => return Err(not_simulated(word)),
            _ => return Err(ignored(word)),
        }
    }
    let mut checks: Vec<Check> = filter.br.iter().map(|b| find_bridge_dev(b)).collect();
    checks.extend(filter.dev.iter().map(|d| Check::find_dev(d, FAILED)));
    Ok(Action::Show { checks, show: Show { format, what: What::Fdb(filter) } })
}
