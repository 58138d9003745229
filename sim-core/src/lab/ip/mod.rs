//! ip(8): its options and objects.

mod addr;
pub(super) mod link;
mod neigh;
mod netns;
mod route;
mod rule;
mod tunnel;

use super::args::{Args, Keyword, exact, help, invalid, keyword, not_simulated, not_simulated_in, prefix};
use super::show::{Format, Show, What};
use super::{Action, Check, Command, Requests, SyntaxError, Tool, Word, enter};
use crate::kernel::cred::Cred;
use crate::kernel::netlink::Request;

/// The exit status after `return -1` in a command of iproute2.
const FAILED: i32 = 1;
/// The exit status after `exit(-1)`.
const ABORTED: i32 = 255;

/// What the options say.
#[derive(Clone, Copy, Default)]
struct Context {
    format: Format,
    /// `-4`: every address is an IPv4 address.
    inet: bool,
}

#[derive(Clone, Copy)]
enum Opt {
    Family,
    Inet,
    Stats,
    Details,
    Oneline,
    Brief,
    Json,
    Pretty,
    Netns,
    Other,
}

// In the order of main() in ip/ip.c.
const OPTIONS: &[Keyword<Opt>] = &[
    prefix("-loops", Opt::Other),
    prefix("-family", Opt::Family),
    exact("-4", Opt::Inet),
    exact("-6", Opt::Other),
    exact("-0", Opt::Other),
    exact("-M", Opt::Other),
    exact("-B", Opt::Other),
    prefix("-human", Opt::Other),
    prefix("-human-readable", Opt::Other),
    prefix("-iec", Opt::Other),
    prefix("-stats", Opt::Stats),
    prefix("-statistics", Opt::Stats),
    prefix("-details", Opt::Details),
    prefix("-resolve", Opt::Other),
    prefix("-oneline", Opt::Oneline),
    prefix("-timestamp", Opt::Other),
    prefix("-tshort", Opt::Other),
    prefix("-Version", Opt::Other),
    prefix("-force", Opt::Other),
    prefix("-batch", Opt::Other),
    prefix("-brief", Opt::Brief),
    prefix("-json", Opt::Json),
    prefix("-pretty", Opt::Pretty),
    prefix("-rcvbuf", Opt::Other),
    prefix("-color", Opt::Other),
    prefix("-help", Opt::Other),
    prefix("-netns", Opt::Netns),
    prefix("-Numeric", Opt::Other),
    prefix("-all", Opt::Other),
];

#[derive(Clone, Copy)]
enum Object {
    Addr,
    Route,
    Rule,
    Neigh,
    Link,
    Netns,
    Tunnel,
    Help,
    Other,
}

// In the order of cmds[] in ip/ip.c.
const OBJECTS: &[Keyword<Object>] = &[
    prefix("address", Object::Addr),
    prefix("addrlabel", Object::Other),
    prefix("maddress", Object::Other),
    prefix("route", Object::Route),
    prefix("rule", Object::Rule),
    prefix("neighbor", Object::Neigh),
    prefix("neighbour", Object::Neigh),
    prefix("ntable", Object::Other),
    prefix("ntbl", Object::Other),
    prefix("link", Object::Link),
    prefix("l2tp", Object::Other),
    prefix("fou", Object::Other),
    prefix("ila", Object::Other),
    prefix("macsec", Object::Other),
    prefix("tunnel", Object::Tunnel),
    prefix("tunl", Object::Tunnel),
    prefix("tuntap", Object::Other),
    prefix("tap", Object::Other),
    prefix("token", Object::Other),
    prefix("tcpmetrics", Object::Other),
    prefix("tcp_metrics", Object::Other),
    prefix("monitor", Object::Other),
    prefix("xfrm", Object::Other),
    prefix("mroute", Object::Other),
    prefix("mrule", Object::Other),
    prefix("netns", Object::Netns),
    prefix("netconf", Object::Other),
    prefix("vrf", Object::Other),
    prefix("sr", Object::Other),
    prefix("nexthop", Object::Other),
    prefix("mptcp", Object::Other),
    prefix("ioam", Object::Other),
    prefix("help", Object::Help),
    prefix("stats", Object::Other),
    prefix("amt", Object::Other),
    prefix("vni", Object::Other),
];

const OBJECT_NAMES: [&str; 7] = ["link", "address", "route", "rule", "neigh", "netns", "tunnel"];

pub(super) fn parse(words: &[Word], mut netns: Vec<String>) -> Result<Command, SyntaxError> {
    let mut args = Args::new(words, 1);
    let context = options(&mut args, &mut netns)?;
    let object = args.next().ok_or_else(|| {
        let usage = "Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }";
        args.error(usage).hint(format!("the objects are: {}", OBJECT_NAMES.join(", ")))
    })?;
    let action = match keyword(OBJECTS, &object.text) {
        Some(Object::Addr) => addr::parse(&mut args, context)?,
        Some(Object::Route) => route::parse(&mut args, context)?,
        Some(Object::Rule) => rule::parse(&mut args, context)?,
        Some(Object::Neigh) => neigh::parse(&mut args, context)?,
        Some(Object::Link) => link::parse(&mut args, context)?,
        Some(Object::Tunnel) => tunnel::parse(&mut args, context)?,
        Some(Object::Netns) => return netns::parse(&mut args, netns, context.format),
        Some(Object::Help) => return Err(help(object, "ip")),
        Some(Object::Other) => return Err(not_simulated_in(OBJECTS, object)),
        None => {
            let message = format!("Object \"{}\" is unknown, try \"ip help\".", object.text);
            return Err(SyntaxError::at(object, message).hint_nearest(&object.text, OBJECT_NAMES));
        }
    };
    Ok(Command { netns, cred: Cred::ROOT, action })
}

fn options(args: &mut Args<'_>, netns: &mut Vec<String>) -> Result<Context, SyntaxError> {
    let mut context = Context::default();
    while let Some(word) = args.peek().filter(|w| w.text.starts_with('-')) {
        args.next();
        if word.text == "--" {
            break;
        }
        // Two dashes are as good as one.
        let text = if word.text.starts_with("--") { &word.text[1..] } else { &word.text };
        match keyword(OPTIONS, text).filter(|_| text.len() > 1) {
            Some(Opt::Family) => {
                family(args.value()?)?;
                context.inet = true;
            }
            Some(Opt::Inet) => context.inet = true,
            Some(Opt::Stats) => context.format.stats += 1,
            Some(Opt::Details) => context.format.details = true,
            Some(Opt::Oneline) => context.format.oneline = true,
            Some(Opt::Brief) => context.format.brief = true,
            Some(Opt::Json) => context.format.json = true,
            Some(Opt::Pretty) => context.format.pretty = true,
            Some(Opt::Netns) => enter(netns, args.value()?)?,
            Some(Opt::Other) => return Err(not_simulated_in(OPTIONS, word)),
            None => {
                let message = format!("Option \"{text}\" is unknown, try \"ip -help\".");
                let known = ["-4", "-details", "-stats", "-oneline", "-brief", "-json", "-pretty", "-netns", "-family"];
                return Err(SyntaxError::at(word, message).hint_nearest(text, known));
            }
        }
    }
    Ok(context)
}

fn family(word: &Word) -> Result<(), SyntaxError> {
    match word.text.as_str() {
        "inet" => Ok(()),
        "inet6" | "link" | "bridge" | "mpls" | "help" => Err(not_simulated(word)),
        _ => Err(invalid(word, "invalid protocol family")),
    }
}

/// A subcommand that is none.
fn unknown(word: &Word, object: &str, known: &[&'static str]) -> SyntaxError {
    let message = format!("Command \"{}\" is unknown, try \"ip {object} help\".", word.text);
    SyntaxError::at(word, message).hint_nearest(&word.text, known.iter().copied())
}

fn requests(checks: Vec<Check>, requests: Vec<Request>) -> Action {
    Action::Requests(Requests { tool: Tool::Ip, checks, requests, ignore: None })
}

fn show(checks: Vec<Check>, format: Format, what: What) -> Action {
    Action::Show { checks, show: Show { format, what } }
}
