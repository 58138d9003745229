//! net-tools 2.10: the options of arp(8), route(8) and netstat(8), as far as they show something; and hostname(1).

use super::args::{Args, not_simulated};
use super::show::{ArpQuery, Format, RouteColumns, Show, SocketProtocol as Protocol, SocketQuery, What};
use super::{Action, Check, SyntaxError, Word};
use crate::user::args::{Getopt, short};

fn show(checks: Vec<Check>, what: What) -> Action {
    Action::Show { checks, show: Show { format: Format::default(), what } }
}

/// `arp [-n] [-a] [-e] [-i DEV] [ADDRESS]`
pub(super) fn arp(words: &[Word]) -> Result<Action, SyntaxError> {
    const LONG: &[(&str, char)] = &[
        ("verbose", 'v'),
        ("version", 'V'),
        ("all", 'a'),
        ("delete", 'd'),
        ("file", 'f'),
        ("numeric", 'n'),
        ("set", 's'),
        ("device", 'i'),
    ];
    let words = short(words.get(1..).unwrap_or_default(), LONG);
    let mut options = Getopt::new("arp", "A:H:adfp:nsei:t:vh?DNV", &words);
    let mut query = ArpQuery::default();
    while let Some(option) = options.next()? {
        match option.letter {
            'a' => query.bsd = true,
            // Numbers are what is shown in any case; -e is the usual style.
            'n' | 'N' | 'e' => {}
            'i' => query.dev = Some(option.arg.to_owned()),
            'd' | 's' => {
                let hint = "write ip neigh add ADDRESS lladdr MAC dev DEV, or ip neigh del ADDRESS dev DEV";
                return Err(option.not_simulated("arp").hint(hint));
            }
            _ => return Err(option.not_simulated("arp")),
        }
    }
    let mut operands = options.operands.into_iter();
    if let Some(word) = operands.next() {
        let addr = word.text.parse();
        let unknown = |_| SyntaxError::at(word, format!("{}: Unknown host", word.text)).hint("write an address");
        query.addr = Some(addr.map_err(unknown)?);
    }
    if let Some(word) = operands.next() {
        return Err(not_simulated(word));
    }
    Ok(show(vec![], What::Arp(query)))
}

/// `route [-n] [-e]`
pub(super) fn route(words: &[Word]) -> Result<Action, SyntaxError> {
    const LONG: &[(&str, char)] =
        &[("extend", 'e'), ("numeric", 'n'), ("verbose", 'v'), ("version", 'V'), ("fib", 'F'), ("cache", 'C')];
    let words = short(words.get(1..).unwrap_or_default(), LONG);
    let mut options = Getopt::new("route", "A:eCFhnN64Vv?", &words);
    let (mut numeric, mut extended) = (false, 0);
    while let Some(option) = options.next()? {
        match option.letter {
            'n' => numeric = true,
            'e' => extended += 1,
            '4' | 'F' => {}
            _ => return Err(option.not_simulated("route")),
        }
    }
    if let Some(word) = options.operands.first() {
        return Err(not_simulated(word).hint("write ip route add … or ip route del …"));
    }
    let columns = match extended {
        0 => RouteColumns::Metric,
        1 => RouteColumns::Window,
        _ => RouteColumns::Both,
    };
    Ok(show(vec![], What::RouteTable { columns, numeric }))
}

/// `netstat [-r | -i] [-t] [-u] [-w] [-a] [-l] [-n] [-p] [-o]`
pub(super) fn netstat(words: &[Word]) -> Result<Action, SyntaxError> {
    const LONG: &[(&str, char)] = &[
        ("all", 'a'),
        ("interfaces", 'i'),
        ("listening", 'l'),
        ("numeric", 'n'),
        ("program", 'p'),
        ("programs", 'p'),
        ("raw", 'w'),
        ("route", 'r'),
        ("tcp", 't'),
        ("timers", 'o'),
        ("udp", 'u'),
        ("extend", 'e'),
        ("statistics", 's'),
        ("wide", 'W'),
    ];
    let words = short(words.get(1..).unwrap_or_default(), LONG);
    let mut options = Getopt::new("netstat", "A:CFMacdeghilnNoprsStuUvVWwxZ64", &words);
    let mut query = SocketQuery::default();
    let (mut routes, mut interfaces) = (false, false);
    while let Some(option) = options.next()? {
        match option.letter {
            't' => query.protocols.push(Protocol::Tcp),
            'u' => query.protocols.push(Protocol::Udp),
            'w' => query.protocols.push(Protocol::Raw),
            'a' => query.all = true,
            'l' => query.listening = true,
            'n' => query.numeric = true,
            'p' => query.processes = true,
            'o' => query.timers = true,
            'r' => routes = true,
            'i' => interfaces = true,
            '4' | 'W' => {}
            _ => return Err(option.not_simulated("netstat")),
        }
    }
    if let Some(word) = options.operands.first() {
        return Err(not_simulated(word));
    }
    if routes && interfaces {
        return Err(Args::new(&words, words.len()).error("netstat: -r and -i are two commands"));
    }
    Ok(show(
        vec![],
        match (routes, interfaces) {
            (true, _) => What::RouteTable { columns: RouteColumns::Window, numeric: query.numeric },
            (_, true) => What::Interfaces { all: query.all },
            _ => What::Netstat(query),
        },
    ))
}

/// `hostname -I`
pub(super) fn hostname(words: &[Word]) -> Result<Action, SyntaxError> {
    const LONG: &[(&str, char)] = &[
        ("all-fqdns", 'A'),
        ("alias", 'a'),
        ("all-ip-addresses", 'I'),
        ("boot", 'b'),
        ("domain", 'd'),
        ("file", 'F'),
        ("fqdn", 'f'),
        ("help", 'h'),
        ("ip-address", 'i'),
        ("long", 'f'),
        ("nis", 'y'),
        ("short", 's'),
        ("version", 'V'),
        ("yp", 'y'),
    ];
    let hint = "what is: hostname -I";
    let short_words = short(words.get(1..).unwrap_or_default(), LONG);
    let mut options = Getopt::new("hostname", "aAbdfF:hiIsVy", &short_words);
    let mut addresses = false;
    while let Some(option) = options.next()? {
        match option.letter {
            'I' => addresses = true,
            _ => return Err(option.not_simulated("hostname").hint(hint)),
        }
    }
    match words.first().filter(|_| !addresses || !options.operands.is_empty()) {
        Some(name) => Err(SyntaxError::at(name, "hostname: the name of a host is not simulated").hint(hint)),
        None => Ok(show(vec![], What::HostAddresses)),
    }
}
