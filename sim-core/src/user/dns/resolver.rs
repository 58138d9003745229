//! The stub resolver of glibc 2.36 as a state machine for other programs: getaddrinfo(3) and the functions behind
//! `getent hosts`. `/etc/hosts` comes first, then name servers by `/etc/resolv.conf` (`hosts: files dns`).
//!
//! A program holds a [`Resolver`] while it looks a name up. It hands it what its calls returned and makes the calls
//! that it asks for, until it is [`Progress::Done`]:
//!
//! ```text
//! let mut resolver = Resolver::by_name(etc, "web", Family::Unspec);
//! let mut ret = Ret::Start;
//! loop {
//!     match resolver.step(ret, env) {
//!         Progress::Call(call) => ret = …,
//!         Progress::Done(found) => break found,
//!     }
//! }
//! ```

use super::conf::{HOSTS, Hosts, RESOLV_CONF, ResolvConf};
use super::exchange::{Exchange, Memory, Outcome, Step};
use super::message::{self, Message, flag, rcode};
use crate::engine::process::Env;
use crate::kernel::syscall::{Call, Ret};
use simple_dns::rdata::{OPT, RData};
use simple_dns::{QTYPE, TYPE};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// RESOLV_EDNS_BUFFER_SIZE
const EDNS_BUFFER_SIZE: u16 = 1200;

/// What the C library reads about names.
#[derive(Clone, Debug, Default)]
pub struct Etc {
    /// `/etc/resolv.conf`
    pub resolv: Arc<ResolvConf>,
    /// `/etc/hosts`
    pub hosts: Arc<Hosts>,
}

impl Etc {
    /// From the files of the namespace that a program runs in.
    pub fn read(env: &Env<'_>) -> Self {
        Etc::parse(super::file(env, RESOLV_CONF).as_deref(), super::file(env, HOSTS).as_deref())
    }

    /// From the files' texts; none where there is no file.
    pub fn parse(resolv_conf: Option<&str>, hosts: Option<&str>) -> Self {
        Etc {
            resolv: Arc::new(resolv_conf.map_or_else(ResolvConf::default, ResolvConf::parse)),
            hosts: Arc::new(hosts.map_or_else(Hosts::default, Hosts::parse)),
        }
    }
}

/// Which addresses are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// AF_UNSPEC: A and AAAA in parallel.
    Unspec,
    /// AF_INET: A.
    Inet,
    /// AF_INET6: AAAA. It never finds any: IPv6 is not simulated.
    Inet6,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The canonical name; for an address that stood for a name, that address.
    pub name: String,
    /// Other names, as gethostbyname(3) tells them.
    pub aliases: Vec<String>,
    /// In the order in which they are to be tried; at least one.
    ///
    /// Differs: the order of the answer is kept; RFC 6724 only would move addresses without a route behind the others.
    pub addresses: Vec<Ipv4Addr>,
}

/// Why nothing was found (EAI_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EaiError {
    /// EAI_NONAME: no such name.
    NoName,
    /// EAI_AGAIN: nobody answered.
    Again,
    /// EAI_NODATA: the name has no address.
    NoData,
}

impl EaiError {
    /// What gai_strerror(3) says.
    pub fn text(self) -> &'static str {
        match self {
            EaiError::NoName => "Name or service not known",
            EaiError::Again => "Temporary failure in name resolution",
            EaiError::NoData => "No address associated with hostname",
        }
    }
}

impl std::fmt::Display for EaiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// How far a look-up has come.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// This call is to be made, and its return handed to [`Resolver::step`].
    Call(Call),
    /// The end.
    Done(Result<Found, EaiError>),
}

/// A look-up under way.
#[derive(Clone, Debug)]
pub struct Resolver {
    hosts: Arc<Hosts>,
    memory: Memory,
    wanted: Wanted,
    search: Search,
    exchange: Option<Exchange>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Name(String, Family),
    Address(Ipv4Addr),
}

/// h_errno
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HErrno {
    HostNotFound,
    TryAgain,
    NoRecovery,
    NoData,
}

impl Resolver {
    /// Looks for the addresses of `name`, as getaddrinfo(3) does.
    pub fn by_name(etc: &Etc, name: &str, family: Family) -> Self {
        Resolver::new(etc, Wanted::Name(name.to_owned(), family))
    }

    /// Looks for the name of `address`, as getnameinfo(3) and gethostbyaddr(3) do.
    pub fn by_address(etc: &Etc, address: Ipv4Addr) -> Self {
        Resolver::new(etc, Wanted::Address(address))
    }

    fn new(etc: &Etc, wanted: Wanted) -> Self {
        let memory = Memory::new(etc.resolv.clone());
        Resolver { hosts: etc.hosts.clone(), memory, wanted, search: Search::default(), exchange: None }
    }

    /// The same process looks for another name.
    #[must_use]
    pub fn then_name(self, name: &str, family: Family) -> Self {
        Resolver { wanted: Wanted::Name(name.to_owned(), family), search: Search::default(), exchange: None, ..self }
    }

    /// Takes in what the last call returned, [`Ret::Start`] at first. It adds what it computes to `env.spent_ns`.
    pub fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Progress {
        let Some(exchange) = &mut self.exchange else { return self.start(env) };
        match exchange.step(ret, &mut self.memory, env) {
            Step::Call(call) => Progress::Call(call),
            Step::Done(outcome) => {
                self.exchange = None;
                self.finished(outcome, env)
            }
        }
    }

    /// What needs no server; else the first query.
    fn start(&mut self, env: &mut Env<'_>) -> Progress {
        let known = match &self.wanted {
            Wanted::Name(name, family) => match name.parse::<Ipv4Addr>() {
                Ok(address) if *family != Family::Inet6 => {
                    Some(Ok(Found { name: name.clone(), aliases: vec![], addresses: vec![address] }))
                }
                _ if !is_host_name(name) => Some(Err(EaiError::NoName)),
                _ => in_hosts(&self.hosts, name, *family).map(Ok),
            },
            Wanted::Address(address) => self.hosts.by_address(*address).map(|line| Ok(found_line(line, *address))),
        };
        match known {
            Some(done) => Progress::Done(done),
            None => {
                let first = match &self.wanted {
                    Wanted::Name(name, _) => self.search.begin(name, &self.memory.conf),
                    Wanted::Address(address) => Next::Ask(message::reverse_name(*address)),
                };
                self.next(first, env)
            }
        }
    }

    fn next(&mut self, mut next: Next, env: &mut Env<'_>) -> Progress {
        loop {
            match next {
                Next::End(errno) => return Progress::Done(Err(eai(errno))),
                Next::Ask(name) => match self.queries(&name, env) {
                    Some(queries) => {
                        let mut exchange = Exchange::new(queries);
                        if let Step::Call(call) = exchange.step(Ret::Start, &mut self.memory, env) {
                            self.exchange = Some(exchange);
                            return Progress::Call(call);
                        }
                        // `attempts:0`: nobody was asked.
                        next = self.failed(HErrno::TryAgain, true, rcode::NOERROR);
                    }
                    None => next = self.failed(HErrno::NoRecovery, false, rcode::NOERROR),
                },
            }
        }
    }

    /// One query, or two; none for what is no name.
    fn queries(&mut self, name: &str, env: &Env<'_>) -> Option<Vec<Message>> {
        let types: &[TYPE] = match self.wanted {
            Wanted::Address(_) => &[TYPE::PTR],
            Wanted::Name(_, Family::Inet) => &[TYPE::A],
            Wanted::Name(_, Family::Inet6) => &[TYPE::AAAA],
            Wanted::Name(_, Family::Unspec) if self.memory.conf.no_aaaa => &[TYPE::A],
            Wanted::Name(_, Family::Unspec) => &[TYPE::A, TYPE::AAAA],
        };
        let name = message::name(name)?;
        let mut queries = vec![];
        for kind in types {
            let id = self.memory.id(env);
            let mut query = Message::query(id, flag::RD, name.clone(), QTYPE::TYPE(*kind));
            if self.memory.conf.edns0 {
                query.opt = Some(OPT { opt_codes: vec![], udp_packet_size: EDNS_BUFFER_SIZE, version: 0 });
            }
            queries.push(query);
        }
        Some(queries)
    }

    /// `__res_context_query`: what the answers say.
    fn finished(&mut self, outcome: Outcome, env: &mut Env<'_>) -> Progress {
        let next = match outcome {
            Outcome::Failed { refused, rcode } => self.failed(HErrno::TryAgain, refused, rcode),
            Outcome::Answers(answers) => match verdict(&answers) {
                None => return Progress::Done(self.found(&answers)),
                Some(errno) => {
                    let rcode = answers.first().map_or(rcode::NOERROR, Message::rcode);
                    self.failed(errno, false, rcode)
                }
            },
        };
        self.next(next, env)
    }

    fn failed(&mut self, errno: HErrno, refused: bool, rcode: u16) -> Next {
        match &self.wanted {
            Wanted::Name(name, _) => self.search.failed(name, &self.memory.conf, errno, refused, rcode),
            Wanted::Address(_) => Next::End(errno),
        }
    }

    /// `gaih_getanswer`: the addresses of all answers; the name where the first chain of aliases ends.
    fn found(&self, answers: &[Message]) -> Result<Found, EaiError> {
        let mut found = Found { name: String::new(), aliases: vec![], addresses: vec![] };
        for record in answers.iter().flat_map(|a| &a.answers) {
            let owner = plain(&record.name);
            match &record.rdata {
                RData::A(a) => {
                    if found.addresses.is_empty() {
                        found.name = owner;
                    }
                    found.addresses.push(a.address.into());
                }
                RData::CNAME(_) if found.addresses.is_empty() => found.aliases.push(owner),
                RData::PTR(target) if found.name.is_empty() => found.name = plain(target),
                _ => {}
            }
        }
        match &self.wanted {
            Wanted::Address(address) if !found.name.is_empty() => found.addresses = vec![*address],
            _ => {}
        }
        if found.addresses.is_empty() {
            // An alias that leads nowhere, or addresses of another kind.
            let other = answers.iter().flat_map(|a| &a.answers).any(|r| matches!(r.rdata, RData::AAAA(_)));
            return Err(if other { EaiError::NoData } else { EaiError::NoName });
        }
        Ok(found)
    }
}

/// A name without its final dot, as the C library gives it.
fn plain(name: &simple_dns::Name<'_>) -> String {
    let text = message::text(name);
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn eai(errno: HErrno) -> EaiError {
    match errno {
        HErrno::TryAgain => EaiError::Again,
        HErrno::NoData => EaiError::NoData,
        HErrno::HostNotFound | HErrno::NoRecovery => EaiError::NoName,
    }
}

/// Why the answers are none; nothing if one of them has records.
fn verdict(answers: &[Message]) -> Option<HErrno> {
    let good = |m: &Message| m.rcode() == rcode::NOERROR && !m.answers.is_empty();
    if answers.iter().any(good) {
        return None;
    }
    let code = answers.iter().map(Message::rcode).find(|c| *c != rcode::NOERROR).unwrap_or(rcode::NOERROR);
    Some(match code {
        rcode::NXDOMAIN => HErrno::HostNotFound,
        rcode::SERVFAIL => HErrno::TryAgain,
        rcode::NOERROR => HErrno::NoData,
        _ => HErrno::NoRecovery,
    })
}

/// `__libc_res_hnok`: what may be a host's name. Others are not asked for.
fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && message::name(name).is_some()
}

fn in_hosts(hosts: &Hosts, name: &str, family: Family) -> Option<Found> {
    if family == Family::Inet6 {
        return None;
    }
    let mut lines = hosts.by_name(name);
    let first = lines.next()?;
    let mut found = found_line(first, first.address);
    for line in lines {
        if !found.addresses.contains(&line.address) {
            found.addresses.push(line.address);
        }
    }
    Some(found)
}

fn found_line(line: &super::conf::HostLine, address: Ipv4Addr) -> Found {
    let (name, aliases) = line.names.split_first().map_or((String::new(), vec![]), |(n, a)| (n.clone(), a.to_vec()));
    Found { name, aliases, addresses: vec![address] }
}

/// `__res_context_search`: which names are asked for, one after the other.
#[derive(Clone, Debug, Default)]
struct Search {
    at: Tried,
    /// What the name as it is gave, if it was the first.
    as_is: Option<HErrno>,
    no_data: bool,
    servfail: bool,
    root_on_list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Tried {
    #[default]
    AsIsFirst,
    /// That domain of the list.
    Domain(usize),
    AsIsLast,
}

enum Next {
    Ask(String),
    End(HErrno),
}

impl Search {
    fn begin(&mut self, name: &str, conf: &ResolvConf) -> Next {
        let dots = name.bytes().filter(|b| *b == b'.').count();
        if dots >= conf.ndots as usize || name.ends_with('.') {
            return Next::Ask(name.to_owned());
        }
        self.domain(0, name, conf, HErrno::HostNotFound)
    }

    /// The domain of that number, or what comes behind the list.
    fn domain(&mut self, number: usize, name: &str, conf: &ResolvConf, last: HErrno) -> Next {
        match conf.search.get(number) {
            Some(domain) => {
                self.at = Tried::Domain(number);
                let domain = domain.strip_prefix('.').unwrap_or(domain);
                self.root_on_list |= domain.is_empty();
                Next::Ask(format!("{name}.{domain}"))
            }
            None => self.behind_list(name, conf, last),
        }
    }

    fn behind_list(&mut self, name: &str, conf: &ResolvConf, last: HErrno) -> Next {
        let searched = self.at != Tried::AsIsFirst;
        let wanted = name.contains('.') || !searched || !conf.no_tld_query;
        if wanted && self.as_is.is_none() && !self.root_on_list {
            self.at = Tried::AsIsLast;
            return Next::Ask(name.to_owned());
        }
        self.end(last)
    }

    /// The query that was under way has failed.
    fn failed(&mut self, name: &str, conf: &ResolvConf, errno: HErrno, refused: bool, rcode: u16) -> Next {
        match self.at {
            Tried::AsIsFirst if name.ends_with('.') => Next::End(errno),
            Tried::AsIsFirst => {
                self.as_is = Some(errno);
                self.domain(0, name, conf, errno)
            }
            Tried::Domain(_) if refused => Next::End(HErrno::TryAgain),
            Tried::Domain(n) => {
                let go_on = match errno {
                    HErrno::NoData => {
                        self.no_data = true;
                        true
                    }
                    HErrno::HostNotFound => true,
                    HErrno::TryAgain if rcode == rcode::SERVFAIL => {
                        self.servfail = true;
                        true
                    }
                    HErrno::TryAgain | HErrno::NoRecovery => false,
                };
                if go_on { self.domain(n + 1, name, conf, errno) } else { self.behind_list(name, conf, errno) }
            }
            Tried::AsIsLast => self.end(errno),
        }
    }

    fn end(&self, last: HErrno) -> Next {
        Next::End(match self.as_is {
            Some(errno) => errno,
            None if self.no_data => HErrno::NoData,
            None if self.servfail => HErrno::TryAgain,
            None => last,
        })
    }
}
