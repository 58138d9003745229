//! `nslookup [-OPTION…] NAME [SERVER]` of BIND 9.18 (bin/dig/nslookup.c), as it runs without a terminal.

use super::dig::print::rcode_name;
use super::lookup::{Answer, Lookup, Question, Said, Servers};
use super::message::{self, Message, Record, flag, type_by_name};
use super::resolver::Etc;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Ret};
use simple_dns::rdata::RData;
use simple_dns::{Name, QTYPE, TYPE};
use std::net::Ipv4Addr;

/// `retry`
const TRIES: u32 = 3;
/// Aliases that lead to aliases are followed so far.
const MAX_CHAIN: usize = 20;

/// The program.
#[derive(Clone, Debug)]
pub(in crate::user) struct Nslookup {
    options: Options,
    etc: Option<Etc>,
    servers: Servers,
    lookup: Option<Lookup>,
    /// The name whose AAAA records come next.
    then: Option<String>,
    no_a: bool,
    status: i32,
}

#[derive(Clone, Debug)]
struct Options {
    name: String,
    server: Option<String>,
    /// None: A, then AAAA.
    kind: Option<QTYPE>,
    port: u16,
    timeout_s: u64,
    tries: u32,
    ndots: Option<usize>,
    recurse: bool,
    search: bool,
    tcp: bool,
    debug: bool,
    fail: bool,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<Nslookup, SyntaxError> {
    let mut options = Options {
        name: String::new(),
        server: None,
        kind: None,
        port: message::PORT,
        timeout_s: 0,
        tries: TRIES,
        ndots: None,
        recurse: true,
        search: true,
        tcp: false,
        debug: false,
        fail: false,
    };
    let hint = "write `nslookup NAME` or `nslookup NAME SERVER`";
    let mut operands = vec![];
    for word in words {
        match word.text.strip_prefix('-') {
            Some("") => return Err(SyntaxError::at(word, "nslookup: nobody types here").hint(hint)),
            Some(option) => options.set(option, word)?,
            None => operands.push(word),
        }
    }
    match operands.as_slice() {
        [] => return Err(SyntaxError::at(name, "nslookup: nobody types here").hint(hint)),
        [target, server @ ..] => {
            if let Some(more) = server.get(1) {
                return Err(SyntaxError::at(more, "nslookup: takes a name and a server").hint(hint));
            }
            options.name.clone_from(&target.text);
            options.server = server.first().map(|s| s.text.clone());
        }
    }
    Ok(Nslookup { options, etc: None, servers: Servers::default(), lookup: None, then: None, no_a: false, status: 0 })
}

impl Options {
    /// `setoption`
    fn set(&mut self, option: &str, word: &Word) -> Result<(), SyntaxError> {
        let invalid = || SyntaxError::at(word, format!("*** Invalid option: {option}"));
        let lower = option.to_ascii_lowercase();
        if let Some((key, value)) = lower.split_once('=') {
            let number = |max: u64| value.parse::<u64>().ok().filter(|n| *n <= max).ok_or_else(invalid);
            match key {
                "type" | "ty" | "querytype" | "query" | "qu" | "q" => {
                    let kind = type_by_name(value);
                    self.kind =
                        Some(kind.ok_or_else(|| SyntaxError::at(word, format!("unknown query type: {value}")))?);
                }
                "class" | "cl" if value == "in" => {}
                "port" | "po" => self.port = number(0xffff)? as u16,
                "timeout" | "t" => self.timeout_s = number(0xffff)?,
                "retry" | "ret" => self.tries = number(0x7fff_ffff)? as u32,
                "ndots" => self.ndots = Some(number(0xffff)? as usize),
                "class" | "cl" | "domain" | "do" => {
                    return Err(SyntaxError::at(word, format!("nslookup: {key} is not simulated")));
                }
                _ => return Err(invalid()),
            }
            return Ok(());
        }
        let is = |full: &str, least: usize| lower.len() >= least && full.starts_with(&lower);
        match () {
            () if is("recurse", 3) => self.recurse = true,
            () if is("norecurse", 5) => self.recurse = false,
            () if is("defname", 3) || is("search", 3) => self.search = true,
            () if is("nodefname", 5) || is("nosearch", 5) => self.search = false,
            () if is("vc", 2) => self.tcp = true,
            () if is("novc", 4) => self.tcp = false,
            () if is("debug", 3) => self.debug = true,
            () if is("nodebug", 5) => self.debug = false,
            () if is("fail", 3) => self.fail = true,
            () if is("nofail", 5) => self.fail = false,
            () if is("sil", 3) || is("nod2", 4) => {}
            () if is("all", 3) || is("d2", 2) => {
                return Err(SyntaxError::at(word, format!("nslookup: -{option} is not simulated")));
            }
            () => return Err(invalid()),
        }
        Ok(())
    }
}

impl Program for Nslookup {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if self.etc.is_none() {
            self.etc = Some(Etc::read(env));
        }
        let mut ret = ret;
        if self.lookup.is_none() {
            match self.find_server(ret, env) {
                Ok(Some(call)) => return call,
                Ok(None) => self.lookup = Some(Lookup::new(self.question(None), 0)),
                Err(status) => return Call::Exit(status),
            }
            ret = Ret::Start;
        }
        while let Some(mut lookup) = self.lookup.take() {
            let mut said = vec![];
            let call = lookup.step(std::mem::replace(&mut ret, Ret::Start), env, &mut said);
            said.into_iter().for_each(|s| self.say(&lookup, s, env));
            if let Some(call) = call {
                self.lookup = Some(lookup);
                return call;
            }
            if let Some(name) = self.then.take() {
                self.lookup = Some(Lookup::new(self.question(Some(name)), lookup.drawn()));
            }
        }
        env.console.out("\n");
        Call::Exit(self.status)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Nslookup {
    fn find_server(&mut self, ret: Ret, env: &mut Env<'_>) -> Result<Option<Call>, i32> {
        let (Some(name), Some(etc)) = (&self.options.server, &self.etc) else { return Ok(None) };
        self.servers.find(name, etc, ret, env).map_err(|why| {
            env.console.err(format!("nslookup: {why}\n"));
            1
        })
    }

    /// The question for the name, or for the AAAA records of `second`.
    fn question(&self, second: Option<String>) -> Question {
        let o = &self.options;
        let resolv = self.etc.as_ref().map(|e| e.resolv.clone()).unwrap_or_default();
        let own = || resolv.servers.iter().map(|s| (*s, s.to_string())).collect();
        let reverse = o.name.parse::<Ipv4Addr>().ok().filter(|_| second.is_none());
        let kind = match (&second, reverse) {
            (Some(_), _) => QTYPE::TYPE(TYPE::AAAA),
            (None, Some(_)) => QTYPE::TYPE(TYPE::PTR),
            (None, None) => o.kind.unwrap_or(QTYPE::TYPE(TYPE::A)),
        };
        // The name that was found is asked for as it is.
        let search = if second.is_some() { None } else { o.search.then(|| resolv.search.clone()) };
        Question {
            name: second.or(reverse.map(message::reverse_name)).unwrap_or_else(|| o.name.clone()),
            kind,
            recurse: o.recurse,
            ad: false,
            edns: None,
            cookie: false,
            tcp: o.tcp || kind == QTYPE::ANY,
            ignore: false,
            tries: o.tries,
            timeout_s: o.timeout_s,
            servers: self.servers.found.clone().unwrap_or_else(own),
            port: o.port,
            search,
            ndots: o.ndots.unwrap_or(resolv.ndots as usize),
            show_search: o.debug,
            servfail_stops: o.fail,
            check_ra: o.server.is_none(),
        }
    }

    /// A and AAAA, as nobody has asked for a type.
    fn both(&self) -> bool {
        self.options.kind.is_none()
    }

    fn say(&mut self, lookup: &Lookup, said: Said, env: &mut Env<'_>) {
        match said {
            Said::Warning(text) | Said::Comment(text) => env.console.out(format!(";; {text}\n")),
            Said::NoServers { .. } => {
                env.console.out(";; no servers could be reached\n");
                self.status = 1;
            }
            Said::Message(answer) => {
                let text = self.message(lookup, &answer);
                env.console.out(text);
            }
            Said::BadName(why) => {
                env.console.err(format!("nslookup: '{}' is not a legal name ({why})\n", lookup.question.name));
                self.status = 1;
            }
            Said::Sending(..) | Said::Received(_) => {}
        }
    }

    /// `printmessage`
    fn message(&mut self, lookup: &Lookup, answer: &Answer) -> String {
        let (kind, m) = (lookup.question.kind, &answer.message);
        let (is_a, is_aaaa) = (kind == QTYPE::TYPE(TYPE::A), kind == QTYPE::TYPE(TYPE::AAAA));
        let mut out = String::new();
        if !self.both() || is_a {
            let server = format!("{}#{}", answer.server.ip(), answer.server.port());
            out.push_str(&format!("Server:\t\t{}\nAddress:\t{server}\n\n", answer.written));
        }
        if self.options.debug {
            out.push_str(&details(m));
        }
        let name = lookup.name().map(plain).unwrap_or_default();
        if m.rcode() != 0 {
            self.status = 1;
            out.push_str(&format!("** server can't find {name}: {}\n", rcode_name(m.rcode())));
            return out;
        }
        if self.both() && is_a {
            self.then = Some(chase(m, &name));
        }
        let authoritative = m.flags & flag::AA != 0;
        if !authoritative && (!self.both() || is_a) {
            out.push_str("Non-authoritative answer:\n");
        }
        if !m.answers.is_empty() {
            m.answers.iter().for_each(|r| out.push_str(&record(r, true)));
        } else if self.both() && is_a {
            self.no_a = true;
        } else if !self.both() || is_aaaa && self.no_a {
            out.push_str(&format!("*** Can't find {}: No answer\n", lookup.question.name));
        }
        if !authoritative && !is_a && !is_aaaa {
            out.push_str("\nAuthoritative answers can be found from:\n");
            m.authority.iter().chain(&m.additional).for_each(|r| out.push_str(&record(r, false)));
        }
        out
    }
}

/// Where the aliases of `name` lead to.
fn chase(m: &Message, name: &str) -> String {
    let mut at = name.to_owned();
    for _ in 0..MAX_CHAIN {
        let next = m.answers.iter().find_map(|r| match &r.rdata {
            RData::CNAME(target) if plain(&r.name).eq_ignore_ascii_case(&at) => Some(plain(target)),
            _ => None,
        });
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// A name without its final dot, but for the root's.
fn plain(name: &Name<'_>) -> String {
    let text = message::text(name);
    if text == "." { text } else { text.trim_end_matches('.').to_owned() }
}

/// A record in the answer, or elsewhere.
fn record(r: &Record, answer: bool) -> String {
    let name = plain(&r.name);
    match &r.rdata {
        RData::A(_) | RData::AAAA(_) if answer => {
            format!("Name:\t{name}\nAddress: {}\n", message::rdata_text(&r.rdata))
        }
        RData::SOA(_) => format!("{name}\n{}", data(&r.rdata)),
        _ => format!("{name}\t{}", data(&r.rdata)),
    }
}

fn data(rdata: &RData<'_>) -> String {
    let text = message::rdata_text(rdata);
    let what = match rdata {
        RData::A(_) => "internet address = ",
        RData::AAAA(_) => "has AAAA address ",
        RData::NS(_) => "nameserver = ",
        RData::CNAME(_) => "canonical name = ",
        RData::PTR(_) => "name = ",
        RData::MX(_) => "mail exchanger = ",
        RData::TXT(_) => "text = ",
        RData::SRV(_) => "service = ",
        RData::SOA(s) => {
            return format!(
                "\torigin = {}\n\tmail addr = {}\n\tserial = {}\n\trefresh = {}\n\tretry = {}\n\
                 \texpire = {}\n\tminimum = {}\n",
                plain(&s.mname),
                plain(&s.rname),
                s.serial,
                s.refresh,
                s.retry,
                s.expire,
                s.minimum
            );
        }
        other => return format!("rdata_{} = {text}\n", u16::from(other.type_code())),
    };
    format!("{what}{text}\n")
}

/// `-debug`: all sections (`detailsection`).
fn details(m: &Message) -> String {
    let mut out = String::from("------------\n    QUESTIONS:\n");
    for q in &m.questions {
        let class = super::lookup::class_name(q.qclass);
        out.push_str(&format!("\t{}, type = {}, class = {class}\n", plain(&q.qname), message::type_name(q.qtype)));
    }
    let sections =
        [("ANSWERS", &m.answers), ("AUTHORITY RECORDS", &m.authority), ("ADDITIONAL RECORDS", &m.additional)];
    for (title, records) in sections {
        out.push_str(&format!("    {title}:\n"));
        for r in records {
            let tab = if matches!(r.rdata, RData::SOA(_)) { "" } else { "\t" };
            out.push_str(&format!("    ->  {}\n{tab}{}\tttl = {}\n", plain(&r.name), data(&r.rdata), r.ttl));
        }
    }
    out + "------------\n"
}
