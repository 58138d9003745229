//! conntrack(8) of conntrack-tools 1.4.7: `-L`, `-E`, `-D`, `-F`, `-C` and `-S`, with their filters, and `-I`. Words
//! are read as getopt_long does, one after the other: a protocol's own options are known once `-p` was given.

mod create;
mod filter;
pub(super) mod run;

pub(super) use create::creation;
pub use filter::{Filter, Net};

use super::args::not_simulated;
use super::{SyntaxError, Word};
use crate::kernel::conntrack::{NewConnection, Status, TcpState, Tuple};
use std::net::IpAddr;

/// What a call of conntrack(8) does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conntrack {
    /// The command.
    pub command: Command,
    /// Which entries it is about.
    pub filter: Filter,
    /// How it prints them.
    pub output: Output,
    /// The entry that `-I` makes.
    pub new: Option<Box<NewConnection>>,
}

/// The command of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `-L`
    List,
    /// `-E`
    Event,
    /// `-D`
    Delete,
    /// `-F`
    Flush,
    /// `-C`
    Count,
    /// `-S`
    Stats,
    /// `-I`
    Create,
}

impl Command {
    /// It changes nothing and does not wait.
    pub fn only_shows(self) -> bool {
        matches!(self, Command::List | Command::Count | Command::Stats)
    }
}

/// `-o`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct Output {
    /// `extended`: the network protocol first.
    pub extended: bool,
    /// `timestamp`: when an event came.
    pub timestamp: bool,
    /// `ktimestamp`: when the connection began.
    pub ktimestamp: bool,
    /// `id`
    pub id: bool,
}

/// What an option is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Command(Command),
    Address(usize, usize),
    Port(usize, usize),
    IcmpType,
    IcmpCode,
    IcmpId,
    State,
    Proto,
    Family,
    Nat(usize),
    Mark,
    Status,
    Timeout,
    Zone,
    EventMask,
    Output,
    NotSimulated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arg {
    No,
    Yes,
    Maybe,
}

/// The options that are always known: short name, long names, argument.
const OPTIONS: &[(char, &[&str], Arg, Key)] = &[
    ('L', &["dump"], Arg::No, Key::Command(Command::List)),
    ('E', &["event"], Arg::No, Key::Command(Command::Event)),
    ('D', &["delete"], Arg::No, Key::Command(Command::Delete)),
    ('F', &["flush"], Arg::No, Key::Command(Command::Flush)),
    ('C', &["count"], Arg::No, Key::Command(Command::Count)),
    ('S', &["stats"], Arg::No, Key::Command(Command::Stats)),
    ('s', &["src", "orig-src"], Arg::Yes, Key::Address(0, 0)),
    ('d', &["dst", "orig-dst"], Arg::Yes, Key::Address(0, 1)),
    ('r', &["reply-src"], Arg::Yes, Key::Address(1, 0)),
    ('q', &["reply-dst"], Arg::Yes, Key::Address(1, 1)),
    ('p', &["protonum"], Arg::Yes, Key::Proto),
    ('f', &["family"], Arg::Yes, Key::Family),
    ('n', &["src-nat"], Arg::Maybe, Key::Nat(0)),
    ('g', &["dst-nat"], Arg::Maybe, Key::Nat(1)),
    ('j', &["any-nat"], Arg::Maybe, Key::Nat(2)),
    ('m', &["mark"], Arg::Yes, Key::Mark),
    ('u', &["status"], Arg::Yes, Key::Status),
    ('w', &["zone"], Arg::Yes, Key::Zone),
    ('e', &["event-mask"], Arg::Yes, Key::EventMask),
    ('o', &["output"], Arg::Yes, Key::Output),
    ('I', &["create"], Arg::No, Key::Command(Command::Create)),
    ('U', &["update"], Arg::No, Key::NotSimulated),
    ('G', &["get"], Arg::No, Key::NotSimulated),
    ('A', &["add"], Arg::No, Key::NotSimulated),
    ('R', &["load-file"], Arg::Yes, Key::NotSimulated),
    ('V', &["version"], Arg::No, Key::NotSimulated),
    ('h', &["help"], Arg::No, Key::NotSimulated),
    ('t', &["timeout"], Arg::Yes, Key::Timeout),
    ('z', &["zero"], Arg::No, Key::NotSimulated),
    ('i', &["id"], Arg::Yes, Key::NotSimulated),
    ('l', &["label"], Arg::Yes, Key::NotSimulated),
    ('c', &["secmark"], Arg::Yes, Key::NotSimulated),
    ('b', &["buffer-size"], Arg::Yes, Key::NotSimulated),
    ('\0', &["orig-zone", "reply-zone", "mask-src", "mask-dst"], Arg::Yes, Key::NotSimulated),
];

/// Protocols with ports, and TCP's own.
const PORTS: &[(&[&str], Key)] = &[
    (&["orig-port-src", "sport"], Key::Port(0, 0)),
    (&["orig-port-dst", "dport"], Key::Port(0, 1)),
    (&["reply-port-src"], Key::Port(1, 0)),
    (&["reply-port-dst"], Key::Port(1, 1)),
];
const TCP: &[(&[&str], Key)] = &[(&["state"], Key::State)];
const ICMP: &[(&[&str], Key)] =
    &[(&["icmp-type"], Key::IcmpType), (&["icmp-code"], Key::IcmpCode), (&["icmp-id"], Key::IcmpId)];

/// Protocols by name.
const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("udplite", 136),
    ("sctp", 132),
    ("dccp", 33),
    ("gre", 47),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("esp", 50),
    ("ah", 51),
];

/// Reads a call.
///
/// # Errors
/// What the real tool would say about its words, or that a part of it is not simulated.
pub fn parse(words: &[Word]) -> Result<Conntrack, SyntaxError> {
    let (filter, output) = (Filter::default(), Output::default());
    let mut reader = Reader { words, at: 1, command: None, filter, output, timeout_s: None, nat_ports: [0; 2] };
    while let Some(word) = reader.words.get(reader.at) {
        reader.at += 1;
        reader.word(word)?;
    }
    let last = words.last().map_or(0..0, |w| w.span.clone());
    let command = reader.command.ok_or_else(|| {
        SyntaxError::new(last, "help texts are not simulated").hint("the commands are -L, -E, -D, -I, -F, -C and -S")
    })?;
    let new = match (command, &words[0]) {
        (Command::Create, word) => {
            Some(Box::new(create::connection(&reader).map_err(|message| error(word, &message))?))
        }
        (_, word) if reader.timeout_s.is_some() || reader.nat_ports != [0; 2] => return Err(not_simulated(word)),
        _ => None,
    };
    let (filter, output) = (reader.filter, reader.output);
    Ok(Conntrack { command, filter, output, new })
}

/// The call that deletes the connection with this original tuple.
pub(super) fn deletion(tuple: &Tuple) -> String {
    let (kind, code) = tuple.icmp();
    let own = match tuple.proto {
        1 => format!(" --icmp-type {kind} --icmp-code {code} --icmp-id {}", tuple.sport),
        6 | 17 | 33 | 132 | 136 => format!(" --sport {} --dport {}", tuple.sport, tuple.dport),
        _ => String::new(),
    };
    format!("conntrack -D -p {} -s {} -d {}{own}", tuple.proto, tuple.src, tuple.dst)
}

/// exit_error
fn error(word: &Word, message: &str) -> SyntaxError {
    SyntaxError::at(word, format!("conntrack v1.4.7 (conntrack-tools): {message}"))
        .hint("see the manual page: man 8 conntrack")
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    command: Option<Command>,
    filter: Filter,
    output: Output,
    /// `-t`
    timeout_s: Option<u32>,
    /// The ports behind the addresses of `-n` and `-g`.
    nat_ports: [u16; 2],
}

impl<'a> Reader<'a> {
    fn word(&mut self, word: &'a Word) -> Result<(), SyntaxError> {
        let text = word.text.as_str();
        if let Some(long) = text.strip_prefix("--") {
            return self.long(word, long);
        }
        match text.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            Some(letters) => self.letters(word, letters),
            None => match text {
                "conntrack" => Ok(()),
                "expect" | "dying" | "unconfirmed" => Err(not_simulated(word)),
                other => Err(error(word, &format!("unknown type `{other}'"))),
            },
        }
    }

    fn long(&mut self, word: &'a Word, long: &str) -> Result<(), SyntaxError> {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let (name, arg, key) =
            self.find(name).ok_or_else(|| error(word, &format!("unknown option `{}'", word.text)))?;
        let value = match (arg, value) {
            (Arg::Yes, None) => Some(self.next(word, &format!("--{name}"))?),
            (Arg::Maybe, None) => self.next_value(),
            (_, value) => value.map(|v| Word { text: v.to_owned(), span: word.span.clone() }),
        };
        self.option(word, &format!("--{name}"), key, value)
    }

    /// The option of that name, or the only one that begins so.
    fn find(&self, name: &str) -> Option<(&'static str, Arg, Key)> {
        let own: &[&[(&[&str], Key)]] = match self.filter.proto {
            Some(6) => &[PORTS, TCP],
            Some(17 | 132 | 136 | 33) => &[PORTS],
            Some(1) => &[ICMP],
            _ => &[],
        };
        let common = OPTIONS.iter().flat_map(|(_, names, arg, key)| names.iter().map(|n| (*n, *arg, *key)));
        let own = own.iter().copied().flatten().flat_map(|(names, key)| names.iter().map(|n| (*n, Arg::Yes, *key)));
        let all: Vec<_> = common.chain(own).collect();
        let mut near = all.iter().filter(|o| o.0.starts_with(name));
        let exact = all.iter().find(|o| o.0 == name);
        exact.or_else(|| near.next().filter(|_| near.next().is_none())).copied()
    }

    fn letters(&mut self, word: &'a Word, letters: &str) -> Result<(), SyntaxError> {
        for (i, letter) in letters.char_indices() {
            let name = format!("-{letter}");
            let option = OPTIONS.iter().find(|o| o.0 == letter);
            let &(_, _, arg, key) = option.ok_or_else(|| error(word, &format!("unknown option `{name}'")))?;
            let rest = &letters[i + letter.len_utf8()..];
            let value = match arg {
                Arg::No => None,
                Arg::Yes if rest.is_empty() => Some(self.next(word, &name)?),
                Arg::Maybe if rest.is_empty() => self.next_value(),
                Arg::Yes | Arg::Maybe => Some(Word { text: rest.to_owned(), span: word.span.clone() }),
            };
            self.option(word, &name, key, value)?;
            if arg != Arg::No {
                break;
            }
        }
        Ok(())
    }

    /// The value of an option that may have none: the tool takes the next word, too, if it is no option
    /// (get_optional_arg).
    fn next_value(&mut self) -> Option<Word> {
        let next = self.words.get(self.at).filter(|w| !w.text.starts_with(['-', '!'])).cloned();
        self.at += usize::from(next.is_some());
        next
    }

    fn next(&mut self, word: &Word, name: &str) -> Result<Word, SyntaxError> {
        let next = self.words.get(self.at);
        self.at += 1;
        next.cloned().ok_or_else(|| error(word, &format!("option `{name}' requires an argument")))
    }

    fn option(&mut self, word: &Word, name: &str, key: Key, value: Option<Word>) -> Result<(), SyntaxError> {
        let f = &mut self.filter;
        let value = value.unwrap_or_else(|| Word { text: String::new(), span: word.span.clone() });
        let text = value.text.as_str();
        match key {
            Key::Command(command) if self.command.is_some_and(|c| c != command) => {
                return Err(error(word, "Invalid commands combination"));
            }
            Key::Command(command) => self.command = Some(command),
            Key::Address(dir, end) => f.addrs[dir][end] = Some(net(&value)?),
            Key::Port(dir, end) => f.ports[dir][end] = Some(atoi(text) as u16),
            Key::IcmpType => f.icmp_type = Some(atoi(text) as u8),
            Key::IcmpCode => f.icmp_code = Some(atoi(text) as u8),
            Key::IcmpId => f.icmp_id = Some(atoi(text) as u16),
            Key::State => f.state = Some(state(&value)?),
            Key::Proto => f.proto = Some(protocol(&value)?),
            Key::Family => {
                f.ipv6 = match text {
                    "ipv4" => false,
                    "ipv6" => true,
                    other => return Err(error(&value, &format!("`{other}' unsupported protocol"))),
                }
            }
            Key::Nat(which) => {
                let (address, port) = text.split_once(':').unwrap_or((text, ""));
                let address = Word { text: address.to_owned(), span: value.span.clone() };
                f.nat[which] = Some(if text.is_empty() { None } else { Some(net(&address)?.addr) });
                if let Some(known) = self.nat_ports.get_mut(which) {
                    *known = atoi(port) as u16;
                }
                if f.nat[2].is_some() && (f.nat[0].is_some() || f.nat[1].is_some()) {
                    return Err(error(word, "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'"));
                }
            }
            Key::Mark => {
                let (mark, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
                f.mark = Some((atoi(mark) as u32, atoi(mask) as u32));
            }
            Key::Status => text.split(',').try_for_each(|w| status(&value, w).map(|s| f.status.set(s)))?,
            Key::Timeout => self.timeout_s = Some(atoi(text).min(u64::from(u32::MAX)) as u32),
            Key::Zone => f.zone = Some(atoi(text) as u16),
            Key::EventMask => f.events = events(&value)?,
            Key::Output => self.outputs(&value)?,
            Key::NotSimulated => return Err(SyntaxError::at(word, format!("\"{name}\" is not simulated"))),
        }
        Ok(())
    }

    fn outputs(&mut self, word: &Word) -> Result<(), SyntaxError> {
        for name in word.text.split(',') {
            match name {
                "extended" => self.output.extended = true,
                "timestamp" => self.output.timestamp = true,
                "ktimestamp" => self.output.ktimestamp = true,
                "id" => self.output.id = true,
                "xml" | "labels" | "userspace" | "save" => {
                    return Err(SyntaxError::at(word, format!("\"{name}\" is not simulated")));
                }
                other => return Err(error(word, &format!("Bad parameter `{other}'"))),
            }
        }
        Ok(())
    }
}

/// An address with a prefix length or a mask.
fn net(word: &Word) -> Result<Net, SyntaxError> {
    let text = word.text.as_str();
    let (addr, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let addr: IpAddr = addr.parse().map_err(|_| error(word, &format!("Invalid IP address `{text}'")))?;
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => bits,
        Some(len) => len.parse().ok().filter(|l| *l <= bits).ok_or_else(|| error(word, "Invalid netmask"))?,
    };
    Ok(Net { addr, len })
}

fn protocol(word: &Word) -> Result<u8, SyntaxError> {
    let text = word.text.as_str();
    let known = PROTOCOLS.iter().find(|p| p.0.eq_ignore_ascii_case(text)).map(|p| p.1);
    known.or_else(|| text.parse().ok()).ok_or_else(|| error(word, &format!("`{text}' unsupported protocol")))
}

fn state(word: &Word) -> Result<TcpState, SyntaxError> {
    let state = TcpState::ALL.into_iter().find(|s| s.name() == word.text);
    state.ok_or_else(|| error(word, &format!("unknown TCP state `{}'", word.text)))
}

fn status(word: &Word, name: &str) -> Result<Status, SyntaxError> {
    Ok(match name {
        "ASSURED" => Status::ASSURED,
        "SEEN_REPLY" => Status::SEEN_REPLY,
        "UNSET" => Status::default(),
        "FIXED_TIMEOUT" => Status::FIXED_TIMEOUT,
        "EXPECTED" => Status::EXPECTED,
        "OFFLOAD" | "HW_OFFLOAD" => return Err(SyntaxError::at(word, format!("\"{name}\" is not simulated"))),
        other => return Err(error(word, &format!("Bad parameter `{other}'"))),
    })
}

/// Which kinds of events: new, update, destroy.
fn events(word: &Word) -> Result<[bool; 3], SyntaxError> {
    let mut kinds = [false; 3];
    for name in word.text.split(',') {
        match name {
            "ALL" => kinds = [true; 3],
            "NEW" => kinds[0] = true,
            "UPDATES" => kinds[1] = true,
            "DESTROY" => kinds[2] = true,
            other => return Err(error(word, &format!("Bad parameter `{other}'"))),
        }
    }
    Ok(kinds)
}

/// strtoul with base 0: what follows the digits is ignored.
fn atoi(text: &str) -> u64 {
    let (digits, base) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
    let number = digits.chars().map_while(|c| c.to_digit(base));
    number.fold(0, |n: u64, d| n.wrapping_mul(u64::from(base)).wrapping_add(u64::from(d)))
}

#[cfg(test)]
mod tests;
