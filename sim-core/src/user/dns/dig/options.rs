//! dig's command line (parse_args, plus_option and dash_option of bin/dig/dig.c).

use super::super::message::{self, type_by_name};
use super::print::Style;
use crate::base::words::{SyntaxError, Word};
use simple_dns::{QTYPE, TYPE};
use std::net::Ipv4Addr;

/// MAXTRIES
const MAX_TRIES: u32 = 0xffff_ffff;
/// MAXTIMEOUT in seconds.
const MAX_TIMEOUT: u32 = 0xffff;
/// MAXNDOTS
const MAX_NDOTS: u32 = 0xffff;
/// COMMSIZE
const MAX_BUFSIZE: u32 = 0xffff;
/// DEFAULT_EDNS_BUFSIZE
const BUFSIZE: u16 = 1232;
/// A command line has at most so many names.
const MAX_LOOKUPS: usize = 64;
/// `+all`
pub(super) const ALL: Style = Style {
    short: false,
    comments: true,
    question: true,
    answer: true,
    authority: true,
    additional: true,
    stats: true,
    ttl: true,
    class: true,
    identify: false,
};

/// A command line as understood.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub lookups: Vec<Spec>,
    /// Said before anything else.
    pub warnings: Vec<String>,
    /// The words, as the first line repeats them.
    pub words: String,
    /// `+cmd` when the first name was read, and whether `+short` and a server stood before it.
    pub greeting: Option<Greeting>,
    /// `-v`
    pub version: bool,
    pub port: u16,
    /// Zero for the protocol's own.
    pub timeout_s: u64,
    pub ndots: Option<usize>,
    pub search: bool,
    pub show_search: bool,
    /// `+cmd` at the end.
    pub cmd: bool,
}

/// What the first line shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Greeting {
    pub short: bool,
    pub server: bool,
}

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub name: String,
    pub kind: Option<QTYPE>,
    pub server: Option<String>,
    pub style: Style,
    pub recurse: bool,
    pub ad: bool,
    pub edns: Option<u16>,
    pub cookie: bool,
    pub tcp: Option<bool>,
    pub ignore: bool,
    pub tries: u32,
    pub fail: bool,
    pub qr: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            name: String::new(),
            kind: None,
            server: None,
            style: ALL,
            recurse: true,
            ad: true,
            edns: Some(BUFSIZE),
            cookie: true,
            tcp: None,
            ignore: false,
            tries: 3,
            fail: true,
            qr: false,
        }
    }
}

/// While words are read.
struct Parser<'a> {
    words: &'a [Word],
    invocation: Invocation,
    /// What holds for names that come.
    default: Spec,
    short: bool,
    /// A word may still be a type.
    open_type: bool,
}

/// Reads the words behind the name.
pub(super) fn parse(words: &[Word]) -> Result<Invocation, SyntaxError> {
    let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
    let invocation = Invocation {
        lookups: vec![],
        warnings: vec![],
        words: texts.iter().map(|t| format!(" {t}")).collect(),
        greeting: None,
        version: false,
        port: message::PORT,
        timeout_s: 0,
        ndots: None,
        search: false,
        show_search: false,
        cmd: true,
    };
    let mut parser = Parser { words, invocation, default: Spec::default(), short: false, open_type: true };
    parser.all()?;
    let mut invocation = parser.invocation;
    for spec in &mut invocation.lookups {
        spec.style.short = parser.short;
    }
    Ok(invocation)
}

impl Parser<'_> {
    fn all(&mut self) -> Result<(), SyntaxError> {
        let mut at = 0;
        while let Some(word) = self.words.get(at) {
            at += 1;
            if let Some(server) = word.text.strip_prefix('@') {
                self.spec().server = Some(server.to_owned());
            } else if let Some(option) = word.text.strip_prefix('+') {
                self.plus(option, word)?;
            } else if let Some(option) = word.text.strip_prefix('-') {
                at += usize::from(self.dash(option, word, self.words.get(at))?);
            } else {
                match type_by_name(&word.text).filter(|_| self.open_type) {
                    Some(kind) => self.kind(kind),
                    None if self.open_type && ["IN", "CH", "HS"].iter().any(|c| c.eq_ignore_ascii_case(&word.text)) => {
                        Self::class(&word.text, word)?;
                    }
                    None => self.name(&word.text, None, word)?,
                }
            }
        }
        if self.invocation.lookups.is_empty() && !self.invocation.version {
            let kind = self.default.kind;
            self.default.kind = Some(QTYPE::TYPE(TYPE::NS));
            let Some(word) = self.words.last().cloned().or_else(|| Some(Word { text: String::new(), span: 0..0 }))
            else {
                return Ok(());
            };
            self.name(".", None, &word)?;
            self.default.kind = kind;
        }
        Ok(())
    }

    /// The name that options are for: the last one, or all that come.
    fn spec(&mut self) -> &mut Spec {
        self.invocation.lookups.last_mut().unwrap_or(&mut self.default)
    }

    fn kind(&mut self, kind: QTYPE) {
        if self.spec().kind.is_some() {
            self.invocation.warnings.push(";; Warning, extra type option".to_owned());
        }
        let spec = self.spec();
        spec.kind = Some(kind);
        if kind == QTYPE::ANY && spec.tcp.is_none() {
            spec.tcp = Some(true);
        }
    }

    fn class(text: &str, word: &Word) -> Result<(), SyntaxError> {
        if text.eq_ignore_ascii_case("IN") {
            return Ok(());
        }
        Err(SyntaxError::at(word, format!("dig: class {text} is not simulated")))
    }

    fn name(&mut self, name: &str, kind: Option<QTYPE>, word: &Word) -> Result<(), SyntaxError> {
        if self.invocation.lookups.len() >= MAX_LOOKUPS {
            return Err(SyntaxError::at(word, format!("dig: more than {MAX_LOOKUPS} names")));
        }
        if self.invocation.lookups.is_empty() && self.invocation.cmd {
            self.invocation.greeting = Some(Greeting { short: self.short, server: self.default.server.is_some() });
        }
        let kind = self.default.kind.or(kind);
        self.invocation.lookups.push(Spec { name: name.to_owned(), kind, ..self.default.clone() });
        Ok(())
    }

    /// An option with a dash; whether the next word was its value.
    fn dash(&mut self, option: &str, word: &Word, next: Option<&Word>) -> Result<bool, SyntaxError> {
        let rest = option.trim_start_matches(['4', 'i', 'm', 'n', 'r', 'v']);
        if option.starts_with('v') || option[..option.len() - rest.len()].contains('v') {
            self.invocation.version = true;
        }
        let mut chars = rest.chars();
        let Some(letter) = chars.next() else {
            return if option.is_empty() { Err(invalid(word, "-")) } else { Ok(false) };
        };
        if "6bcdfhkuy".contains(letter) {
            if letter == 'c' {
                let value =
                    if chars.as_str().is_empty() { next.map_or("", |w| w.text.as_str()) } else { chars.as_str() };
                Self::class(value, next.unwrap_or(word))?;
                self.open_type = false;
                return Ok(chars.as_str().is_empty());
            }
            return Err(SyntaxError::at(word, format!("dig: option -{letter} is not simulated")));
        }
        if !"pqtx".contains(letter) {
            return Err(invalid(word, &format!("-{rest}")));
        }
        let (value, from_next) = match (chars.as_str(), next) {
            ("", Some(next)) => (next, true),
            ("", None) => return Err(invalid(word, &format!("-{rest}"))),
            (value, _) => (&Word { text: value.to_owned(), span: word.span.clone() }, false),
        };
        match letter {
            'p' => self.invocation.port = number(value, &value.text, 0xffff, "port number")? as u16,
            'q' => self.name(&value.text, None, value)?,
            't' => {
                self.open_type = false;
                match type_by_name(&value.text) {
                    Some(kind) => self.kind(kind),
                    None => {
                        let text = format!(";; Warning, ignoring invalid type {}", value.text);
                        self.invocation.warnings.push(text);
                    }
                }
            }
            _ => {
                let name = reverse(&value.text);
                self.name(&name, Some(QTYPE::TYPE(TYPE::PTR)), value)?;
            }
        }
        Ok(from_next)
    }

    /// `+option`, `+nooption`, `+option=value`.
    fn plus(&mut self, option: &str, word: &Word) -> Result<(), SyntaxError> {
        let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
        let (name, on) = match name.get(..2) {
            Some(no) if no.eq_ignore_ascii_case("no") => (&name[2..], false),
            _ => (name, true),
        };
        let Some(full) = full_option(name) else { return Err(invalid(word, &format!("+{option}"))) };
        if NOT_SIMULATED.contains(&full) {
            return Err(SyntaxError::at(word, format!("dig: +{full} is not simulated")));
        }
        if self.number_option(full, value, on, word)? || self.global(full, on) {
            return Ok(());
        }
        let spec = self.spec();
        match full {
            "additional" => spec.style.additional = on,
            "adflag" => spec.ad = on,
            "all" => {
                let (ttl, class, identify) = (spec.style.ttl, spec.style.class, spec.style.identify);
                spec.style = Style { ttl, class, identify, ..ALL };
                if !on {
                    let s = &mut spec.style;
                    (s.comments, s.question, s.answer) = (false, false, false);
                    (s.authority, s.additional, s.stats) = (false, false, false);
                }
                self.invocation.cmd = on;
            }
            "answer" => spec.style.answer = on,
            "authority" => spec.style.authority = on,
            "class" => spec.style.class = on,
            "comments" => spec.style.comments = on,
            "cookie" => {
                spec.cookie = on;
                spec.edns = spec.edns.or(on.then_some(BUFSIZE));
            }
            "edns" => spec.edns = on.then_some(spec.edns.unwrap_or(BUFSIZE)),
            "fail" => spec.fail = on,
            "identify" => spec.style.identify = on,
            "ignore" => spec.ignore = on,
            "qr" => spec.qr = on,
            "question" => spec.style.question = on,
            "recurse" | "rdflag" => spec.recurse = on,
            "stats" => spec.style.stats = on,
            "tcp" | "vc" => spec.tcp = Some(on),
            "ttlid" => spec.style.ttl = on,
            // What concerns neither the query nor the text of what is simulated.
            _ => {}
        }
        Ok(())
    }

    fn number_option(&mut self, full: &str, value: Option<&str>, on: bool, word: &Word) -> Result<bool, SyntaxError> {
        let needed = |max, what| match value {
            Some(value) => number(word, value, max, what),
            None => Err(invalid(word, &word.text)),
        };
        match full {
            "bufsize" => {
                let size =
                    if on { value.map(|v| number(word, v, MAX_BUFSIZE, "buffer size")).transpose()? } else { None };
                self.spec().edns = Some(size.map_or(BUFSIZE, |s| s as u16));
            }
            "ndots" => self.invocation.ndots = Some(needed(MAX_NDOTS, "ndots")? as usize),
            "retry" | "retries" => {
                let tries = needed(MAX_TRIES - 1, "retries")?;
                self.spec().tries = tries.saturating_add(1);
            }
            "tries" => {
                let tries = needed(MAX_TRIES, "tries")?;
                self.spec().tries = tries.max(1);
            }
            "timeout" => self.invocation.timeout_s = u64::from(needed(MAX_TIMEOUT, "timeout")?.max(1)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that hold for all names, wherever they stand.
    fn global(&mut self, full: &str, on: bool) -> bool {
        match full {
            "cmd" => self.invocation.cmd = on,
            "search" | "defname" => self.invocation.search = on,
            "showsearch" => (self.invocation.show_search, self.invocation.search) = (on, on),
            "short" => {
                self.short = on;
                if on {
                    self.invocation.cmd = false;
                    let style = &mut self.spec().style;
                    (style.additional, style.authority, style.question) = (false, false, false);
                    (style.comments, style.stats, style.answer) = (false, false, true);
                }
            }
            _ => return false,
        }
        true
    }
}

/// Options that are known; a beginning is as good, in this order.
const OPTIONS: [&str; 60] = [
    "aaonly",
    "aaflag",
    "additional",
    "adflag",
    "all",
    "answer",
    "authority",
    "badcookie",
    "besteffort",
    "bufsize",
    "cdflag",
    "class",
    "cmd",
    "coflag",
    "comments",
    "cookie",
    "crypto",
    "defname",
    "dns64prefix",
    "dnssec",
    "domain",
    "dscp",
    "edns",
    "ednsflags",
    "ednsnegotiation",
    "ednsopt",
    "expandaaaa",
    "expire",
    "fail",
    "header-only",
    "https",
    "identify",
    "idnin",
    "idnout",
    "ignore",
    "keepalive",
    "keepopen",
    "mapped",
    "multiline",
    "ndots",
    "nsid",
    "nssearch",
    "onesoa",
    "opcode",
    "padding",
    "qid",
    "qr",
    "question",
    "raflag",
    "rdflag",
    "recurse",
    "retry",
    "retries",
    "rrcomments",
    "search",
    "short",
    "showsearch",
    "split",
    "stats",
    "subnet",
];
const MORE_OPTIONS: [&str; 11] =
    ["tcp", "tcflag", "timeout", "tls", "topdown", "trace", "tries", "ttlid", "ttlunits", "unknownformat", "vc"];
/// Those that change a query or the text in a way that is not simulated.
const NOT_SIMULATED: [&str; 36] = [
    "aaonly",
    "aaflag",
    "cdflag",
    "coflag",
    "dns64prefix",
    "dnssec",
    "domain",
    "ednsflags",
    "ednsopt",
    "expire",
    "header-only",
    "https",
    "keepalive",
    "keepopen",
    "multiline",
    "nsid",
    "nssearch",
    "onesoa",
    "opcode",
    "padding",
    "qid",
    "raflag",
    "rrcomments",
    "split",
    "subnet",
    "tcflag",
    "tls",
    "topdown",
    "trace",
    "ttlunits",
    "unknownformat",
    "yaml",
    "zflag",
    "zoneversion",
    "https-get",
    "https-post",
];

fn full_option(name: &str) -> Option<&'static str> {
    let all = OPTIONS.iter().chain(&MORE_OPTIONS).chain(&["yaml", "zflag"]);
    let begins = |o: &&str| {
        !name.is_empty() && o.len() >= name.len() && o.as_bytes()[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    };
    all.copied().find(|o| begins(o))
}

fn invalid(word: &Word, option: &str) -> SyntaxError {
    SyntaxError::at(word, format!("Invalid option: {option}")).hint("write `dig [@SERVER] NAME [TYPE] [+OPTION…]`")
}

/// `parse_uint`
fn number(word: &Word, text: &str, max: u32, what: &str) -> Result<u32, SyntaxError> {
    let bad = |why: &str| SyntaxError::at(word, format!("invalid {what} '{text}': {why}"));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("not a valid number"));
    }
    match text.parse::<u32>() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(bad("out of range")),
    }
}

/// The parts of an address the other way round, whatever they are.
pub(in crate::user::dns) fn reverse(text: &str) -> String {
    match text.parse::<Ipv4Addr>() {
        Ok(address) => message::reverse_name(address),
        Err(_) => {
            let parts: Vec<&str> = text.split('.').rev().filter(|p| !p.is_empty()).collect();
            format!("{}.in-addr.arpa.", parts.join("."))
        }
    }
}
