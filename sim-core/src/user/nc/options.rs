//! The words of nc.

use super::services;
use crate::base::words::{SyntaxError, Word};
use crate::user::args::{Getopt, Opt, inet_aton};
use std::net::Ipv4Addr;

/// What nc is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// -4: no questions for IPv6 addresses.
    pub(super) ipv4: bool,
    /// -d: does not read its standard input.
    pub(super) detached: bool,
    /// -k: goes on with the next client.
    pub(super) keep: bool,
    /// -l: is a server.
    pub(super) listen: bool,
    /// -N: ends the stream when its standard input ends.
    pub(super) shutdown: bool,
    /// -n: no names of services and hosts.
    pub(super) numeric: bool,
    /// -p
    pub(super) source_port: u16,
    /// -q: waits for so many seconds before it exits.
    pub(super) quit_s: u64,
    /// -s
    pub(super) source: Option<Ipv4Addr>,
    /// -u
    pub(super) udp: bool,
    /// -v
    pub(super) verbose: bool,
    /// -w in seconds.
    pub(super) timeout_s: Option<u64>,
    /// -z: connects only.
    pub(super) probe: bool,
    /// The destination as it was typed, or the address that a server binds.
    pub(super) host: String,
    /// It is a name, to be looked up.
    pub(super) named: bool,
    /// Its address.
    pub(super) addr: Option<Ipv4Addr>,
    /// In the order in which they are tried.
    pub(super) ports: Vec<u16>,
    /// The standard input.
    pub(super) input: Vec<u8>,
}

const TOOL: &str = "nc";
const SPEC: &str = "46bCDdFhI:i:klM:m:NnO:P:p:q:rSs:T:tUuV:vW:w:X:x:Zz";
const USAGE: &str =
    "usage: nc [-dklNnuvz] [-p source_port] [-q seconds] [-s sourceaddr] [-w timeout] [destination] [port]";
/// As many ports as nc keeps in its list.
const MAX_PORTS: usize = 65_536;

/// Reads the words behind the name.
///
/// # Errors
/// What nc says about its words; that an option is not simulated.
pub(crate) fn parse(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    let mut o = Options::default();
    let mut getopt = Getopt::new(TOOL, SPEC, words);
    let (mut port, mut source) = (None, None);
    while let Some(opt) = getopt.next()? {
        match opt.letter {
            '4' => o.ipv4 = true,
            'd' => o.detached = true,
            'k' => o.keep = true,
            'l' => o.listen = true,
            'N' => o.shutdown = true,
            'n' => o.numeric = true,
            'p' => port = Some(opt),
            'q' => {
                let seconds = number(&opt, "quit timer", i32::MIN.into(), i32::MAX.into())?;
                o.shutdown |= seconds >= 0;
                o.quit_s = seconds.try_into().unwrap_or(0);
            }
            's' => source = Some(opt),
            'u' => o.udp = true,
            'v' => o.verbose = true,
            'w' => {
                let seconds = number(&opt, "timeout", 0, i64::from(i32::MAX / 1000))?;
                o.timeout_s = seconds.try_into().ok();
            }
            'z' => o.probe = true,
            _ => return Err(opt.not_simulated(TOOL)),
        }
    }
    let usage = |word: &Word| SyntaxError::at(word, USAGE);
    let error = |word: &Word, message: &str| SyntaxError::at(word, format!("{TOOL}: {message}"));
    let (host, ports): (Option<&Word>, &[&Word]) = match (getopt.operands.as_slice(), o.listen) {
        ([], true) => (None, &[]),
        ([one], _) if port.is_some() || source.is_some() => return Err(usage(one)),
        ([one], true) => (None, &[*one]),
        ([_], false) => return Err(error(name, "missing port number")),
        ([_, _, more, ..], true) => return Err(usage(more)),
        ([one, _], true) if port.is_some() || source.is_some() => return Err(usage(one)),
        ([host, ports @ ..], _) => (Some(host), ports),
        ([], false) => return Err(usage(name)),
    };
    if o.listen && ports.is_empty() && port.is_none() {
        return Err(error(name, "missing port number"));
    }
    if o.listen && o.probe {
        return Err(error(name, "cannot use -z and -l"));
    }
    if !o.listen && o.keep {
        return Err(error(name, "must use -l with -k"));
    }
    (o.source_port, o.source) = source_of(port, source, o.udp)?;
    if let Some(host) = host {
        (o.host, o.addr) = (host.text.clone(), address(host));
        o.named = o.addr.is_none();
        if o.named && (o.numeric || o.listen) {
            return Err(unknown(host, ports.first().copied()));
        }
    }
    for word in ports {
        o.ports.extend(port_range(word, o.udp)?);
        if o.ports.len() > MAX_PORTS || o.listen && o.ports.len() > 1 {
            return Err(error(word, "getaddrinfo: Servname not supported for ai_socktype"));
        }
    }
    if o.listen && o.ports.is_empty() {
        o.ports.push(o.source_port);
        o.addr = o.source;
    }
    Ok(o)
}

fn source_of(port: Option<Opt<'_>>, addr: Option<Opt<'_>>, udp: bool) -> Result<(u16, Option<Ipv4Addr>), SyntaxError> {
    let port = match port {
        Some(opt) => one_port(opt.arg, udp).map_err(|message| opt.error(TOOL, message))?,
        None => 0,
    };
    let addr = match addr {
        Some(opt) => {
            let addr = inet_aton(opt.arg);
            Some(addr.ok_or_else(|| opt.error(TOOL, "getaddrinfo: Name or service not known"))?)
        }
        None => None,
    };
    Ok((port, addr))
}

/// strtonum(3)
fn number(opt: &Opt<'_>, what: &str, min: i64, max: i64) -> Result<i64, SyntaxError> {
    let digits = opt.arg.strip_prefix(['+', '-']).unwrap_or(opt.arg);
    let why = if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        "invalid"
    } else {
        match opt.arg.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => return Ok(n),
            Ok(n) if n < min => "too small",
            Err(_) if opt.arg.starts_with('-') => "too small",
            _ => "too large",
        }
    };
    Err(opt.error(TOOL, format!("{what} {why}: {}", opt.arg)))
}

fn address(host: &Word) -> Option<Ipv4Addr> {
    if host.text == "localhost" { Some(Ipv4Addr::LOCALHOST) } else { inet_aton(&host.text) }
}

fn unknown(host: &Word, port: Option<&Word>) -> SyntaxError {
    let port = port.map_or("", |p| p.text.as_str());
    let message = format!("{TOOL}: getaddrinfo for host \"{}\" port {port}: Name or service not known", host.text);
    SyntaxError::at(host, message).hint("names are looked up for clients without -n: give an IPv4 address")
}

/// build_ports: a name, a number or a range.
fn port_range(word: &Word, udp: bool) -> Result<std::ops::RangeInclusive<u16>, SyntaxError> {
    let error = |message: String| SyntaxError::at(word, format!("{TOOL}: {message}"));
    let text = word.text.as_str();
    match text.split_once('-').filter(|_| text.starts_with(|c: char| c.is_ascii_digit())) {
        Some((low, high)) => {
            let high = one_port(high, udp).map_err(error)?;
            let low = one_port(low, udp).map_err(error)?;
            Ok(low.min(high)..=low.max(high))
        }
        None => one_port(text, udp).map(|port| port..=port).map_err(error),
    }
}

fn one_port(text: &str, udp: bool) -> Result<u16, String> {
    if let Some(port) = services::by_name(text, udp) {
        return Ok(port);
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("port number invalid: {text}"));
    }
    match text.parse::<u64>() {
        Ok(0) => Err(format!("port number too small: {text}")),
        Ok(n) => n.try_into().map_err(|_| format!("port number too large: {text}")),
        Err(_) => Err(format!("port number too large: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::script::words;

    fn options(line: &str) -> Result<Options, SyntaxError> {
        let words = words(line);
        parse(&words[0], &words[1..])
    }

    #[test]
    fn what_is_asked_for() {
        for (line, want) in [
            ("nc 10.0.0.1 80", "10.0.0.1 [80]"),
            ("nc -zv 10.0.0.1 80-82 http 9-7", "10.0.0.1 [80, 81, 82, 80, 7, 8, 9]"),
            ("nc -l 7000", "- [7000]"),
            ("nc -l -p 7000", "- [7000]"),
            ("nc -lp7000 -s 10.0.0.2", "10.0.0.2 [7000]"),
            ("nc -l 10.0.0.2 7000", "10.0.0.2 [7000]"),
            ("nc -u localhost domain", "127.0.0.1 [53]"),
            ("nc web.wrk-2 80", "- [80]"),
        ] {
            let o = options(line).unwrap();
            let addr = o.addr.map_or("-".to_owned(), |a| a.to_string());
            assert_eq!(format!("{addr} {:?}", o.ports), want, "{line}");
        }
        let o = options("nc -q 2 -w3 -p 5 10.0.0.1 80").unwrap();
        assert_eq!((o.shutdown, o.quit_s, o.timeout_s, o.source_port), (true, 2, Some(3), 5));
    }

    /// As the real program says it.
    #[test]
    fn errors() {
        for (line, want) in [
            ("nc", USAGE),
            ("nc -z", USAGE),
            ("nc 127.0.0.1", "nc: missing port number"),
            ("nc -l", "nc: missing port number"),
            ("nc -z -l 5", "nc: cannot use -z and -l"),
            ("nc -k 127.0.0.1 5", "nc: must use -l with -k"),
            ("nc 127.0.0.1 0", "nc: port number too small: 0"),
            ("nc 127.0.0.1 70000", "nc: port number too large: 70000"),
            ("nc 127.0.0.1 foo", "nc: port number invalid: foo"),
            ("nc 127.0.0.1 1-", "nc: port number invalid: "),
            ("nc -w x 127.0.0.1 1", "nc: timeout invalid: x"),
            ("nc -w -1 127.0.0.1 1", "nc: timeout too small: -1"),
            ("nc -q x 127.0.0.1 1", "nc: quit timer invalid: x"),
            ("nc -n foo 80", "nc: getaddrinfo for host \"foo\" port 80: Name or service not known"),
            ("nc -l -p 5 6", USAGE),
            ("nc -l 1.1 2 3", USAGE),
            ("nc -Q", "nc: invalid option -- 'Q'"),
            ("nc -w", "nc: option requires an argument -- 'w'"),
            ("nc -l 9000-9001", "nc: getaddrinfo: Servname not supported for ai_socktype"),
            ("nc -U x", "nc: option -U is not simulated"),
        ] {
            assert_eq!(options(line).unwrap_err().message, want, "{line}");
        }
    }
}
