//! The words that describe a route (iproute_modify).

use super::byte;
use crate::kernel::netlink::{Route, RouteType, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::lab::args::{
    Args, Keyword, address, exact, garbage, help, invalid, keyword, names, network, not_simulated, not_simulated_in,
    number, prefix, unsigned,
};
use crate::lab::ip::addr::scope;
use crate::lab::{SyntaxError, Word};
use ipnet::Ipv4Net;

#[derive(Clone, Copy)]
enum Key {
    Src,
    Via,
    Metric,
    Scope,
    Mtu,
    Onlink,
    Protocol,
    Table,
    Dev,
    To,
    Help,
    Other,
}

// In the order of iproute_modify.
const KEYS: &[Keyword<Key>] = &[
    exact("src", Key::Src),
    exact("as", Key::Other),
    exact("via", Key::Via),
    exact("from", Key::Other),
    exact("tos", Key::Other),
    prefix("dsfield", Key::Other),
    exact("expires", Key::Other),
    prefix("metric", Key::Metric),
    prefix("priority", Key::Metric),
    exact("preference", Key::Metric),
    exact("scope", Key::Scope),
    exact("mtu", Key::Mtu),
    exact("hoplimit", Key::Other),
    exact("advmss", Key::Other),
    prefix("reordering", Key::Other),
    exact("rtt", Key::Other),
    exact("rto_min", Key::Other),
    prefix("window", Key::Other),
    prefix("cwnd", Key::Other),
    prefix("initcwnd", Key::Other),
    prefix("initrwnd", Key::Other),
    prefix("features", Key::Other),
    prefix("quickack", Key::Other),
    prefix("congctl", Key::Other),
    prefix("rttvar", Key::Other),
    prefix("ssthresh", Key::Other),
    prefix("realms", Key::Other),
    exact("onlink", Key::Onlink),
    exact("nexthop", Key::Other),
    exact("nhid", Key::Other),
    prefix("protocol", Key::Protocol),
    prefix("table", Key::Table),
    prefix("vrf", Key::Other),
    exact("dev", Key::Dev),
    exact("oif", Key::Dev),
    prefix("pref", Key::Other),
    exact("encap", Key::Other),
    exact("ttl-propagate", Key::Other),
    exact("fastopen_no_cookie", Key::Other),
    exact("to", Key::To),
    prefix("help", Key::Help),
];

/// rtnl_rtntype_a2n; none is known to iproute2 but not simulated.
const TYPES: &[Keyword<Option<RouteType>>] = &[
    exact("local", Some(RouteType::Local)),
    exact("nat", None),
    prefix("broadcast", Some(RouteType::Broadcast)),
    exact("brd", Some(RouteType::Broadcast)),
    prefix("anycast", None),
    prefix("multicast", Some(RouteType::Multicast)),
    prefix("prohibit", Some(RouteType::Prohibit)),
    prefix("unreachable", Some(RouteType::Unreachable)),
    prefix("blackhole", Some(RouteType::Blackhole)),
    prefix("xresolve", None),
    prefix("unicast", Some(RouteType::Unicast)),
    exact("throw", Some(RouteType::Throw)),
];

pub(super) fn read(args: &mut Args<'_>, mut inet: bool) -> Result<Route, SyntaxError> {
    let mut route = Route::to(Ipv4Net::default());
    let mut dst = false;
    while let Some(word) = args.next() {
        let key = keyword(KEYS, &word.text);
        match key {
            Some(Key::Src) => {
                route.src = Some(address(args.value()?, inet)?);
                inet = true;
            }
            Some(Key::Via) => {
                if route.via.is_some() {
                    return Err(invalid(word, "use nexthop syntax to specify multiple via"));
                }
                route.via = Some(address(gateway(args)?, inet)?);
                inet = true;
            }
            Some(Key::Metric) => route.metric = Some(unsigned(args.value()?, "\"metric\" value is invalid")?),
            Some(Key::Scope) => route.scope = Some(scope(args.value()?, "invalid \"scope\" value")?),
            Some(Key::Mtu) => route.mtu = Some(mtu(args)?),
            Some(Key::Onlink) => route.onlink = true,
            Some(Key::Protocol) => route.proto = Some(protocol(args.value()?, "\"protocol\" value is invalid")?),
            Some(Key::Table) => route.table = Some(table(args.value()?)?),
            Some(Key::Dev) => route.dev = Some(args.value()?.text.clone()),
            Some(Key::Help) => return Err(help(word, "ip-route")),
            Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
            Some(Key::To) | None => {
                let first = if key.is_some() { args.value()? } else { word };
                let value = kind(first, args, &mut route)?;
                if dst {
                    return Err(garbage("to", value).hint_nearest(&value.text, names(KEYS)));
                }
                route.dst = network(value, inet)?;
                (dst, inet) = (true, true);
            }
        }
    }
    if !dst {
        let usage = "Usage: ip route { add | del | change | append | replace } ROUTE";
        return Err(args.error(usage).hint("a destination is missing: default, or a prefix such as 10.244.1.0/24"));
    }
    Ok(route)
}

/// Takes the type that may stand before a destination; returns the destination.
fn kind<'a>(word: &'a Word, args: &mut Args<'a>, route: &mut Route) -> Result<&'a Word, SyntaxError> {
    if word.text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(word);
    }
    match keyword(TYPES, &word.text) {
        None => Ok(word),
        Some(None) => Err(not_simulated_in(TYPES, word)),
        Some(Some(kind)) => {
            route.kind = kind;
            args.value()
        }
    }
}

/// The address after `via`, which may stand after its family.
fn gateway<'a>(args: &mut Args<'a>) -> Result<&'a Word, SyntaxError> {
    let word = args.value()?;
    match word.text.as_str() {
        "inet" => args.value(),
        "inet6" | "mpls" | "bridge" | "link" => Err(not_simulated(word)),
        _ => Ok(word),
    }
}

fn mtu(args: &mut Args<'_>) -> Result<(u32, bool), SyntaxError> {
    let mut word = args.value()?;
    let lock = word.text == "lock";
    if lock {
        word = args.value()?;
    }
    Ok((unsigned(word, "\"mtu\" value is invalid")?, lock))
}

/// rtnl_rttable_a2n; table 0 is the main one.
fn table(word: &Word) -> Result<u32, SyntaxError> {
    match table_id(&word.text) {
        Some(0) => Ok(TABLE_MAIN),
        Some(id) => Ok(id),
        None => Err(invalid(word, "\"table\" value is invalid").hint("write a number, main, local or default")),
    }
}

/// A name of /etc/iproute2/rt_tables or a number.
pub(in crate::lab::ip) fn table_id(text: &str) -> Option<u32> {
    match text {
        "unspec" => Some(0),
        "default" => Some(TABLE_DEFAULT),
        "main" => Some(TABLE_MAIN),
        "local" => Some(TABLE_LOCAL),
        _ => number(text).and_then(|n| n.try_into().ok()),
    }
}

/// rtnl_rtprot_a2n: a name of /etc/iproute2/rt_protos or a number.
pub(super) fn protocol(word: &Word, message: &str) -> Result<u8, SyntaxError> {
    let named = crate::lab::show::PROTOCOLS.iter().find(|(_, name)| *name == word.text).map(|(id, _)| *id);
    named.or_else(|| byte(&word.text)).ok_or_else(|| {
        invalid(word, message).hint_nearest(&word.text, crate::lab::show::PROTOCOLS.iter().map(|(_, name)| *name))
    })
}
