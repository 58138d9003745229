//! The words of iperf3.

use crate::base::words::{SyntaxError, Word};
use crate::user::args::{Getopt, Opt, destination};
use std::net::Ipv4Addr;

/// What iperf3 is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub(super) mode: Mode,
    /// The destination as it was typed.
    pub(super) host: String,
    pub(super) port: u16,
    /// -n: bytes; zero goes by time.
    pub(super) bytes: u64,
    /// -t
    pub(super) seconds: u64,
    /// -l
    pub(super) block: usize,
    /// -i in milliseconds; zero for no reports in between.
    pub(super) interval_ms: u64,
    /// -1
    pub(super) one_off: bool,
}

/// Which side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// -c
    Client(Ipv4Addr),
    /// -s
    Server,
}

const TOOL: &str = "iperf3";
const SPEC: &str = "p:f:i:D1VJvsc:ub:t:n:k:l:P:Rw:B:M:N46S:L:ZO:F:A:T:C:dI:hX:";
const DEFAULT_PORT: u16 = 5201;
const DEFAULT_SECONDS: u64 = 10;
const DEFAULT_BLOCK: u64 = 128 * 1024;
const MAX_BLOCK: u64 = 1024 * 1024;
const MAX_SECONDS: u64 = 86_400;

pub(super) fn parse(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    let mut getopt = Getopt::new(TOOL, SPEC, words);
    let (mut client, mut server, mut client_only, mut server_only) = (None, false, None, None);
    let mut o = Options {
        mode: Mode::Server,
        host: String::new(),
        port: DEFAULT_PORT,
        bytes: 0,
        seconds: DEFAULT_SECONDS,
        block: DEFAULT_BLOCK as usize,
        interval_ms: 1000,
        one_off: false,
    };
    let mut ends = 0;
    while let Some(opt) = getopt.next()? {
        match opt.letter {
            '4' => {}
            'c' => client = Some(opt.word),
            's' => server = true,
            'p' => {
                o.port = opt
                    .arg
                    .parse()
                    .ok()
                    .filter(|p| *p > 0)
                    .ok_or_else(|| parameter(opt.word, "port number must be between 1 and 65535 inclusive"))?;
            }
            'i' => o.interval_ms = opt.seconds(TOOL, "interval", 60_000.0)? as u64,
            '1' => (o.one_off, server_only) = (true, Some(opt.word)),
            'n' => (o.bytes, client_only, ends) = (size(&opt)?, Some(opt.word), ends + 1),
            't' => {
                (o.seconds, client_only, ends) = (size(&opt)?, Some(opt.word), ends + 1);
                if o.seconds > MAX_SECONDS {
                    let message = format!("test duration too long (maximum = {MAX_SECONDS} seconds)");
                    return Err(parameter(opt.word, &message));
                }
            }
            'l' => {
                let block = size(&opt)?;
                if block == 0 || block > MAX_BLOCK {
                    let message = format!("block size too large (maximum = {MAX_BLOCK} bytes)");
                    return Err(parameter(opt.word, &message));
                }
                (o.block, client_only) = (block as usize, Some(opt.word));
            }
            _ => return Err(opt.not_simulated(TOOL)),
        }
    }
    if let Some(word) = getopt.operands.first() {
        return Err(SyntaxError::at(word, format!("{TOOL}: {} is not an option", word.text)));
    }
    if let Some((host, addr)) = side(name, client, server)? {
        (o.mode, o.host) = (Mode::Client(addr), host);
    }
    if let (Some(word), true) = (client_only, server) {
        return Err(parameter(word, "some option you are trying to set is client only"));
    }
    if let (Some(word), false) = (server_only, server) {
        return Err(parameter(word, "some option you are trying to set is server only"));
    }
    if ends > 1 {
        return Err(parameter(name, "only one test end condition (-t, -n, -k) may be specified"));
    }
    Ok(o)
}

/// The destination of a client; none of a server.
fn side(name: &Word, client: Option<&Word>, server: bool) -> Result<Option<(String, Ipv4Addr)>, SyntaxError> {
    match (client, server) {
        (None, false) => Err(parameter(name, "must either be a client (-c) or server (-s)")),
        (Some(word), true) => Err(parameter(word, "cannot be both server and client")),
        (None, true) => Ok(None),
        (Some(word), false) => {
            // The word may be the option with its argument.
            let text = word.text.strip_prefix("-c").unwrap_or(&word.text).to_owned();
            let host = Word { text: text.clone(), span: word.span.clone() };
            Ok(Some((text, destination(TOOL, &host)?)))
        }
    }
}

fn parameter(word: &Word, message: &str) -> SyntaxError {
    SyntaxError::at(word, format!("{TOOL}: parameter error - {message}"))
}

/// unit_atoi: a number with K, M or G behind it.
fn size(opt: &Opt<'_>) -> Result<u64, SyntaxError> {
    let (digits, factor) = match opt.arg.char_indices().last() {
        Some((at, 'k' | 'K')) => (&opt.arg[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&opt.arg[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&opt.arg[..at], 1 << 30),
        _ => (opt.arg, 1),
    };
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|n| n.checked_mul(factor));
    number.ok_or_else(|| opt.error(TOOL, format!("{} is not a number, with K, M or G behind it", opt.arg)))
}
