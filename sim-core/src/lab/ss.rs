//! ss(8) of iproute2: its options and its conditions.

use super::args::not_simulated;
use super::show::ss::{Condition, Query, bit};
use super::show::{Format, Show, SocketProtocol as Protocol, What};
use super::{Action, SyntaxError, Word};
use crate::kernel::show::TcpState::{self, Close, Established, FinWait1, FinWait2, Listen, SynRecv, SynSent, TimeWait};
use crate::user::args::{Getopt, short};
use crate::user::nc::services;
use std::net::Ipv4Addr;

/// Long options with their letters.
const LONG: &[(&str, char)] = &[
    ("numeric", 'n'),
    ("options", 'o'),
    ("all", 'a'),
    ("listening", 'l'),
    ("processes", 'p'),
    ("tcp", 't'),
    ("udp", 'u'),
    ("raw", 'w'),
    ("ipv4", '4'),
    ("no-header", 'H'),
    ("oneline", 'O'),
    ("extended", 'e'),
    ("memory", 'm'),
    ("info", 'i'),
    ("summary", 's'),
];

/// The letters of misc/ss.c.
const SPEC: &str = "dhaletuwxnro460spTbEf:mviBMHONSKPZz";

/// SS_ALL
const ALL: u16 = (1 << 11) - 1;

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let words = short(words.get(1..).unwrap_or_default(), LONG);
    let mut options = Getopt::new("ss", SPEC, &words);
    let (mut protocols, mut states) = (vec![], None);
    let (mut numeric, mut processes, mut timers, mut header) = (false, false, false, true);
    let (mut info, mut oneline) = (false, false);
    while let Some(option) = options.next()? {
        match option.letter {
            't' => protocols.push(Protocol::Tcp),
            'u' => protocols.push(Protocol::Udp),
            'w' => protocols.push(Protocol::Raw),
            'n' => numeric = true,
            'p' => processes = true,
            'o' => timers = true,
            'H' => header = false,
            'a' => states = Some(ALL),
            'l' => states = Some(bit(Listen) | bit(Close)),
            'i' => info = true,
            'O' => oneline = true,
            // There is no other family.
            '4' => {}
            _ => return Err(option.not_simulated("ss")),
        }
    }
    protocols.sort_unstable();
    protocols.dedup();
    let mut query =
        Query { protocols, states: 0, conditions: vec![], numeric, processes, timers, info, oneline, header };
    let mut chosen = None;
    conditions(&options.operands, &mut query, &mut chosen)?;
    // filter_default_dbs, filter_states_set
    let connected = ALL & !(bit(Listen) | bit(Close) | bit(TimeWait) | bit(SynRecv));
    let only_datagrams = !query.protocols.is_empty() && !query.protocols.contains(&Protocol::Tcp);
    let usual = if only_datagrams { bit(Established) } else { connected };
    query.states = chosen.or(states).unwrap_or(usual);
    if query.protocols.is_empty() {
        query.protocols = vec![Protocol::Raw, Protocol::Udp, Protocol::Tcp];
    }
    Ok(Action::Show { checks: vec![], show: Show { format: Format::default(), what: What::Sockets(Box::new(query)) } })
}

/// `state STATE`, `sport = :PORT`, `dport != :PORT`, `src ADDRESS[:PORT]`, `dst …`; `and` or nothing between them.
fn conditions(words: &[&Word], query: &mut Query, states: &mut Option<u16>) -> Result<(), SyntaxError> {
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let incomplete = || {
            SyntaxError::at(
                word,
                format!("ss: bison bellows (while parsing filter): \"{}\" is not complete", word.text),
            )
        };
        match word.text.as_str() {
            "state" | "exclude" => {
                let name = words.next().ok_or_else(incomplete)?;
                let named = state(name)?;
                let before = states.unwrap_or(if word.text == "state" { 0 } else { ALL });
                *states = Some(if word.text == "state" { before | named } else { before & !named });
            }
            "and" | "&" | "&&" => {}
            "sport" | "dport" => {
                let compare = words.next().ok_or_else(incomplete)?;
                let equal = match compare.text.as_str() {
                    "=" | "==" | "eq" => true,
                    "!=" | "ne" | "neq" => false,
                    _ => return Err(not_simulated(compare).hint("write sport = :80")),
                };
                let port = port(words.next().ok_or_else(incomplete)?)?;
                query.conditions.push(Condition::Port { remote: word.text == "dport", equal, port });
            }
            "src" | "dst" => {
                let mut value = words.next().ok_or_else(incomplete)?;
                if matches!(value.text.as_str(), "=" | "==" | "eq") {
                    value = words.next().ok_or_else(incomplete)?;
                }
                query.conditions.push(address(value, word.text == "dst")?);
            }
            text => {
                return Err(SyntaxError::at(word, format!("\"{text}\" in a filter of ss is not simulated"))
                    .hint("what is: state NAME, sport = :80, dport = :80, src ADDRESS, dst ADDRESS, and"));
            }
        }
    }
    Ok(())
}

fn state(word: &Word) -> Result<u16, SyntaxError> {
    let connected = ALL & !(bit(Listen) | bit(Close));
    const NAMES: [(&str, TcpState); 11] = [
        ("established", Established),
        ("syn-sent", SynSent),
        ("syn-recv", SynRecv),
        ("fin-wait-1", FinWait1),
        ("fin-wait-2", FinWait2),
        ("time-wait", TimeWait),
        ("unconnected", Close),
        ("close-wait", TcpState::CloseWait),
        ("last-ack", TcpState::LastAck),
        ("listening", Listen),
        ("closing", TcpState::Closing),
    ];
    match word.text.as_str() {
        "all" => return Ok(ALL),
        "connected" => return Ok(connected),
        "synchronized" => return Ok(connected & !bit(SynSent)),
        "bucket" => return Ok(bit(SynRecv) | bit(TimeWait)),
        "big" => return Ok(ALL & !(bit(SynRecv) | bit(TimeWait))),
        "closed" => return Ok(bit(Close)),
        _ => {}
    }
    let found = NAMES.iter().find(|(name, _)| *name == word.text).map(|(_, state)| bit(*state));
    found.ok_or_else(|| {
        SyntaxError::at(word, format!("ss: wrong state name: {}", word.text))
            .hint_nearest(&word.text, NAMES.map(|(name, _)| name))
    })
}

/// `:80` or `:http`
fn port(word: &Word) -> Result<u16, SyntaxError> {
    let text = word.text.strip_prefix(':').unwrap_or(&word.text);
    let named = || services::by_name(text, false).or_else(|| services::by_name(text, true));
    text.parse().ok().or_else(named).ok_or_else(|| {
        SyntaxError::at(word, format!("Error: \"{text}\" does not look like a port."))
            .hint("write a colon before it: :80")
    })
}

fn address(word: &Word, remote: bool) -> Result<Condition, SyntaxError> {
    let (text, after) = word.text.split_once(':').map_or((word.text.as_str(), None), |(a, p)| (a, Some(p)));
    let addr: Ipv4Addr = text
        .parse()
        .map_err(|_| SyntaxError::at(word, format!("Error: an inet prefix is expected rather than \"{text}\".")))?;
    let port = after.map(|p| port(&Word { text: p.to_owned(), span: word.span.clone() })).transpose()?;
    Ok(Condition::Address { remote, addr, port })
}
