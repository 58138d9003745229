//! ip-route(8): `add`, `replace`, `append`, `change`, `delete`, `flush`, `show`.

mod get;
pub(super) mod words;

use super::{Context, FAILED, requests, show, unknown};
use crate::kernel::netlink::{Op, Request, RouteFlush};
use crate::lab::args::{
    Args, Keyword, exact, help, invalid, keyword, network, not_simulated, not_simulated_in, number, prefix,
};
use crate::lab::show::{DstMatch, RouteFilter, Tables, What};
use crate::lab::{Action, Check, SyntaxError, Word};
use words::protocol;

#[derive(Clone, Copy)]
enum Verb {
    Make(Op),
    Delete,
    Show,
    Flush,
    Get,
    Help,
    Other,
}

const VERBS: &[Keyword<Verb>] = &[
    prefix("add", Verb::Make(Op::Add)),
    prefix("change", Verb::Make(Op::Change)),
    exact("chg", Verb::Make(Op::Change)),
    prefix("replace", Verb::Make(Op::Replace)),
    prefix("prepend", Verb::Other),
    prefix("append", Verb::Make(Op::Append)),
    prefix("test", Verb::Other),
    prefix("delete", Verb::Delete),
    prefix("list", Verb::Show),
    prefix("show", Verb::Show),
    prefix("lst", Verb::Show),
    prefix("get", Verb::Get),
    prefix("flush", Verb::Flush),
    prefix("save", Verb::Other),
    prefix("restore", Verb::Other),
    prefix("showdump", Verb::Other),
    prefix("help", Verb::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(verb) = args.next() else { return list(args, context) };
    match keyword(VERBS, &verb.text) {
        Some(Verb::Make(op)) => modify(args, context, |route| Request::RouteAdd(op, route)),
        Some(Verb::Delete) => modify(args, context, Request::RouteDel),
        Some(Verb::Show) => list(args, context),
        Some(Verb::Flush) => flush(args, context),
        Some(Verb::Get) => get::parse(args, context),
        Some(Verb::Help) => Err(help(verb, "ip-route")),
        Some(Verb::Other) => Err(not_simulated_in(VERBS, verb)),
        None => Err(unknown(verb, "route", &["add", "replace", "append", "change", "delete", "flush", "show"])),
    }
}

fn modify(
    args: &mut Args<'_>,
    context: Context,
    request: impl FnOnce(crate::kernel::netlink::Route) -> Request,
) -> Result<Action, SyntaxError> {
    let route = words::read(args, context.inet)?;
    let checks = route.dev.iter().map(|dev| Check::find_dev(dev, FAILED)).collect();
    Ok(requests(checks, vec![request(route)]))
}

#[derive(Clone, Copy)]
enum Select {
    Table,
    Cache,
    Protocol,
    Dev,
    To,
    Help,
    Other,
}

// In the order of iproute_list_flush_or_save.
const SELECT: &[Keyword<Select>] = &[
    prefix("table", Select::Table),
    prefix("vrf", Select::Other),
    prefix("cached", Select::Cache),
    prefix("cloned", Select::Cache),
    exact("tos", Select::Other),
    prefix("dsfield", Select::Other),
    prefix("protocol", Select::Protocol),
    prefix("scope", Select::Other),
    prefix("type", Select::Other),
    exact("dev", Select::Dev),
    exact("oif", Select::Dev),
    exact("iif", Select::Other),
    exact("mark", Select::Other),
    exact("metric", Select::Other),
    prefix("priority", Select::Other),
    exact("preference", Select::Other),
    exact("via", Select::Other),
    exact("src", Select::Other),
    prefix("realms", Select::Other),
    prefix("from", Select::Other),
    prefix("to", Select::To),
    prefix("help", Select::Help),
];

fn list(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let filter = filter(args, context)?;
    if let Some(word) = filter.cache {
        return Err(not_simulated(word));
    }
    let checks = filter.routes.dev.iter().map(|dev| Check::find_dev(dev, FAILED)).collect();
    Ok(show(checks, context.format, What::Routes(filter.routes)))
}

fn flush(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let Some(first) = args.peek() else {
        return Err(args
            .error("\"ip route flush\" requires arguments.")
            .hint("write cache, table TABLE, dev NAME or a prefix"));
    };
    if context.format.stats > 0 {
        return Err(args.error("-s with flush is not simulated"));
    }
    let Filter { routes, cache } = filter(args, context)?;
    let refuse = |what: &str| SyntaxError::at(first, format!("flushing {what} is not simulated"));
    let dst = match routes.dst {
        None => None,
        Some((DstMatch::Exact, dst)) => Some(dst),
        Some(_) => return Err(refuse("by root or match")),
    };
    let table = match routes.tables {
        Tables::Main => None,
        Tables::One(id) => Some(id),
        Tables::All => return Err(refuse("all tables").hint("write table TABLE")),
    };
    if routes.proto.is_some() {
        return Err(refuse("by protocol"));
    }
    let checks = routes.dev.iter().map(|dev| Check::find_dev(dev, FAILED)).collect();
    let which = RouteFlush { cache: cache.is_some(), table, dev: routes.dev, dst };
    Ok(requests(checks, vec![Request::RouteFlush(which)]))
}

struct Filter<'a> {
    routes: RouteFilter,
    /// The word `cache`.
    cache: Option<&'a Word>,
}

fn filter<'a>(args: &mut Args<'a>, context: Context) -> Result<Filter<'a>, SyntaxError> {
    let mut out = Filter { routes: RouteFilter::default(), cache: None };
    while let Some(word) = args.next() {
        match keyword(SELECT, &word.text) {
            Some(Select::Table) => {
                let value = args.value()?;
                if value.text == "cache" {
                    out.cache = Some(value);
                } else {
                    out.routes.tables = tables(value)?;
                }
            }
            Some(Select::Cache) => out.cache = Some(word),
            Some(Select::Protocol) => {
                let value = args.value()?;
                out.routes.proto =
                    if value.text == "all" { None } else { Some(protocol(value, "invalid \"protocol\"")?) };
            }
            Some(Select::Dev) => out.routes.dev = Some(args.value()?.text.clone()),
            Some(Select::To) => {
                let value = args.value()?;
                out.routes.dst = destination(value, args, context)?;
            }
            Some(Select::Help) => return Err(help(word, "ip-route")),
            Some(Select::Other) => return Err(not_simulated_in(SELECT, word)),
            None => out.routes.dst = destination(word, args, context)?,
        }
    }
    Ok(out)
}

/// rtnl_rttable_a2n, or `all`, which is number 0 too.
fn tables(word: &Word) -> Result<Tables, SyntaxError> {
    match words::table_id(&word.text) {
        Some(0) => Ok(Tables::All),
        Some(id) => Ok(Tables::One(id)),
        None if word.text == "all" => Ok(Tables::All),
        None => Err(invalid(word, "table id value is invalid").hint("write a number, main, local, default or all")),
    }
}

/// `root PREFIX`, `match PREFIX`, `exact PREFIX` or `PREFIX` alone, which is exact.
fn destination(
    word: &Word,
    args: &mut Args<'_>,
    context: Context,
) -> Result<Option<(DstMatch, ipnet::Ipv4Net)>, SyntaxError> {
    let how = [prefix("root", DstMatch::Root), prefix("match", DstMatch::Match), prefix("exact", DstMatch::Exact)];
    let (how, value) = match keyword(&how, &word.text) {
        Some(how) => (how, args.value()?),
        None => (DstMatch::Exact, word),
    };
    let net = network(value, context.inet)?;
    // These two select nothing; `default` does.
    Ok(if matches!(value.text.as_str(), "all" | "any") { None } else { Some((how, net)) })
}

/// A number that fits into a byte.
fn byte(text: &str) -> Option<u8> {
    number(text).and_then(|n| n.try_into().ok())
}
