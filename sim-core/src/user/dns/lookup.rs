//! A look-up as the programs of BIND 9.18 do it (bin/dig/dighost.c): which server is asked when, what is said about
//! what goes wrong, which names of the search list are tried. `dig` and `nslookup` print.

use super::exchange::draw;
use super::message::{self, HEADER_LEN, Message, OwnName, flag, rcode};
use super::resolver::{EaiError, Etc, Family, Progress, Resolver};
use crate::base::Time;
use crate::base::rng::Purpose;
use crate::base::time::{SEC, US};
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PmtuDisc, PollFd, Ret, SockOpt, SocketKind};
use simple_dns::rdata::{OPT, OPTCode};
use simple_dns::{CLASS, QCLASS, QTYPE};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the program computes between two system calls.
const COST_NS: u64 = 5 * US;
/// UDP_TIMEOUT and TCP_TIMEOUT in seconds.
const TIMEOUT_S: [u64; 2] = [5, 10];
/// The option of EDNS that holds a cookie.
const COOKIE: u16 = 10;
/// NM_MAXSEG
const MAX_SEG: u16 = 1220;
/// tcp_user_timeout of the network manager, in milliseconds.
const USER_TIMEOUT_MS: u32 = 120_000;
/// The buffer for what a socket has.
const BUFFER: usize = 65_537;
/// A longer query goes over TCP.
const MAX_UDP: usize = 512;

/// The servers that the command line names.
#[derive(Clone, Default, Debug)]
pub(super) struct Servers {
    resolver: Option<Resolver>,
    /// Their addresses with the name, once it was looked up.
    pub found: Option<Vec<(Ipv4Addr, String)>>,
}

impl Servers {
    /// get_addresses: the next call of the look-up of `name`, none when it is done; why it failed.
    pub fn find(&mut self, name: &str, etc: &Etc, ret: Ret, env: &mut Env<'_>) -> Result<Option<Call>, String> {
        if self.found.is_some() {
            return Ok(None);
        }
        let mut resolver = self.resolver.take().unwrap_or_else(|| Resolver::by_name(etc, name, Family::Unspec));
        match resolver.step(ret, env) {
            Progress::Call(call) => {
                self.resolver = Some(resolver);
                Ok(Some(call))
            }
            Progress::Done(Ok(found)) => {
                self.found = Some(found.addresses.into_iter().map(|a| (a, name.to_owned())).collect());
                Ok(None)
            }
            Progress::Done(Err(e)) => {
                let why = if e == EaiError::Again { "failure" } else { "not found" };
                Err(format!("couldn't get address for '{name}': {why}"))
            }
        }
    }
}

/// What is looked up, and how.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// As it was written.
    pub name: String,
    pub kind: QTYPE,
    pub recurse: bool,
    /// The AD bit of the query.
    pub ad: bool,
    /// EDNS with this buffer size.
    pub edns: Option<u16>,
    /// With a cookie.
    pub cookie: bool,
    pub tcp: bool,
    /// `+ignore`: a truncated answer is good enough.
    pub ignore: bool,
    pub tries: u32,
    /// In seconds; zero for the protocol's own.
    pub timeout_s: u64,
    /// Addresses, with what was written for each.
    pub servers: Vec<(Ipv4Addr, String)>,
    pub port: u16,
    /// Domains that are tried; none without `+search`.
    pub search: Option<Vec<String>>,
    pub ndots: usize,
    /// `+showsearch`: what did not help is printed, too.
    pub show_search: bool,
    /// A server that fails is the last one asked.
    pub servfail_stops: bool,
    /// A server that does not recurse is not good enough, if there is another.
    pub check_ra: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub query: Message,
    pub message: Message,
    /// Bytes received.
    pub size: usize,
    pub server: SocketAddrV4,
    /// What was written for the server.
    pub written: String,
    pub tcp: bool,
    pub sent: Time,
    pub received: Time,
}

/// Something to print.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// `dighost_warning`
    Warning(String),
    /// `dighost_comments`
    Comment(String),
    /// `dighost_error`, with the command line in front.
    NoServers { command_line: bool },
    /// A query is sent: it, and its bytes.
    Sending(Box<Message>, usize),
    /// `dighost_printmessage`
    Message(Box<Answer>),
    /// `dighost_received`
    Received(Box<Answer>),
    /// The name cannot be asked for: the program ends.
    BadName(&'static str),
}

/// A look-up under way.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub question: Question,
    /// 0, or 9 when nobody was reached.
    pub status: i32,
    /// Which domain of the list; none for the name as it is.
    origin: Option<usize>,
    need_search: bool,
    done_as_is: bool,
    query: Message,
    tries: u32,
    server: usize,
    socket: Option<Fd>,
    /// A socket that is closed when the next one is there.
    old: Option<Fd>,
    tcp: bool,
    sent: Time,
    deadline: Time,
    bytes: Vec<u8>,
    drawn: u64,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    /// So many options are set.
    Options(usize),
    Bind,
    Connect,
    CloseOld,
    Send,
    Poll,
    Recv,
    /// A connection is being made.
    Connecting,
    SocketError,
    PeerName,
    Closing(Then),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Again,
    Done,
}

impl Lookup {
    pub(super) fn new(question: Question, drawn: u64) -> Self {
        Lookup {
            status: 0,
            origin: None,
            need_search: false,
            done_as_is: false,
            query: Message::default(),
            tries: question.tries,
            server: 0,
            socket: None,
            old: None,
            tcp: question.tcp,
            sent: Time(0),
            deadline: Time(0),
            bytes: vec![],
            drawn,
            at: At::Start,
            question,
        }
    }

    /// The name that was asked for last.
    pub(super) fn name(&self) -> Option<&OwnName> {
        self.query.questions.first().map(|q| &q.qname)
    }

    /// How many draws were made: a second look-up of the process goes on from there.
    pub(super) fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Takes in what the last call returned. The next call; none at the end. What is to be printed first is added to
    /// `said`.
    pub(super) fn step(&mut self, ret: Ret, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        env.spent_ns += COST_NS;
        match self.at {
            At::Start => {
                let dots = self.question.name.bytes().filter(|b| *b == b'.').count();
                match &self.question.search {
                    Some(list) if dots < self.question.ndots && !list.is_empty() => self.origin = Some(0),
                    search => (self.done_as_is, self.need_search) = (true, search.is_some()),
                }
                self.set_up(env, said)
            }
            At::Socket => match ret {
                Ret::Fd(fd) => {
                    self.socket = Some(fd);
                    self.options(0)
                }
                ret => self.set_up_failed(&ret, env, said),
            },
            At::Options(n) => self.options(n),
            At::Bind => match ret {
                Ret::Err(_) => self.set_up_failed(&ret, env, said),
                _ => self.on_socket(At::Connect, |fd, l| Call::Connect { fd, addr: l.address() }),
            },
            At::Connect => match ret {
                Ret::Err(Errno::EINPROGRESS) => {
                    self.deadline = env.now + self.timeout_ns();
                    self.wait_to_connect(env)
                }
                Ret::Err(_) => self.set_up_failed(&ret, env, said),
                _ if self.tcp => self.on_socket(At::PeerName, |fd, _| Call::PeerName { fd }),
                _ => self.close_old(env, said),
            },
            At::Connecting => match ret {
                Ret::Poll(ready) if ready.is_empty() => self.set_up_failed(&Ret::Err(Errno::ETIMEDOUT), env, said),
                Ret::Err(Errno::EINTR) => self.wait_to_connect(env),
                _ => self.on_socket(At::SocketError, |fd, _| Call::SocketError { fd }),
            },
            At::SocketError => match ret {
                Ret::SocketError(Some(e)) => self.set_up_failed(&Ret::Err(e), env, said),
                _ => self.on_socket(At::PeerName, |fd, _| Call::PeerName { fd }),
            },
            At::PeerName => self.close_old(env, said),
            At::CloseOld => self.send(env, said),
            At::Send => {
                self.deadline = env.now + self.timeout_ns();
                self.wait(env)
            }
            At::Poll => match ret {
                Ret::Poll(ready) if ready.is_empty() => self.failed("timed out", env, said),
                Ret::Err(Errno::EINTR) => self.wait(env),
                _ => self.on_socket(At::Recv, |fd, _| Call::Recv { fd, size: BUFFER, dontwait: true, errqueue: false }),
            },
            At::Recv => self.received(ret, env, said),
            At::Closing(Then::Again) => self.set_up(env, said),
            At::Closing(Then::Done) => self.close(Then::Done, env, said),
        }
    }

    fn on_socket(&mut self, at: At, call: impl FnOnce(Fd, &Self) -> Call) -> Option<Call> {
        self.at = at;
        self.socket.map(|fd| call(fd, self))
    }

    fn address(&self) -> SocketAddrV4 {
        let server = self.question.servers.get(self.server).map_or(Ipv4Addr::LOCALHOST, |s| s.0);
        SocketAddrV4::new(server, self.question.port)
    }

    fn written(&self) -> String {
        self.question.servers.get(self.server).map_or(String::new(), |s| s.1.clone())
    }

    /// An address as isc_sockaddr_format writes it.
    fn sockaddr(&self) -> String {
        let address = self.address();
        format!("{}#{}", address.ip(), address.port())
    }

    fn timeout_ns(&self) -> u64 {
        let own = TIMEOUT_S[usize::from(self.tcp)];
        (if self.question.timeout_s == 0 { own } else { self.question.timeout_s }) * SEC
    }

    /// `setup_lookup`: the query, and the first server.
    fn set_up(&mut self, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        let domain = self.origin.and_then(|n| self.question.search.as_ref()?.get(n));
        let full = match domain {
            Some(domain) if !self.question.name.ends_with('.') => format!("{}.{domain}", self.question.name),
            _ => self.question.name.clone(),
        };
        let Some(name) = message::name(&full) else {
            said.push(Said::BadName(why_bad(&full)));
            return self.close(Then::Done, env, said);
        };
        self.drawn += 1;
        let id = draw(env, Purpose::DnsId, self.drawn) as u16;
        let mut flags = 0;
        if self.question.recurse {
            flags |= flag::RD;
        }
        if self.question.ad {
            flags |= flag::AD;
        }
        self.query = Message::query(id, flags, name, self.question.kind);
        if let Some(udp_packet_size) = self.question.edns {
            let cookie = draw(env, Purpose::DnsCookie, 0).to_be_bytes().to_vec();
            let cookie = OPTCode { code: COOKIE, data: cookie.into() };
            let opt_codes = if self.question.cookie { vec![cookie] } else { vec![] };
            self.query.opt = Some(OPT { opt_codes, udp_packet_size, version: 0 });
        }
        self.tcp |= self.query.write(false).len() > MAX_UDP;
        self.server = 0;
        self.ask()
    }

    /// `start_udp`, `start_tcp`
    fn ask(&mut self) -> Option<Call> {
        self.old = self.old.or(self.socket.take());
        self.bytes.clear();
        self.at = At::Socket;
        Some(Call::Socket(if self.tcp { SocketKind::Tcp } else { SocketKind::Udp }))
    }

    fn options(&mut self, done: usize) -> Option<Call> {
        let udp = [
            SockOpt::MtuDiscover(PmtuDisc::Omit),
            SockOpt::NonBlock(true),
            SockOpt::ReuseAddr(true),
            SockOpt::ReuseAddr(false),
        ];
        let tcp = [
            SockOpt::MaxSeg(MAX_SEG),
            SockOpt::UserTimeout(USER_TIMEOUT_MS),
            SockOpt::NonBlock(true),
            SockOpt::ReuseAddr(true),
        ];
        let all = if self.tcp { tcp } else { udp };
        match all.into_iter().nth(done) {
            Some(opt) => self.on_socket(At::Options(done + 1), |fd, _| Call::SetSockOpt { fd, opt }),
            None => {
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
                self.on_socket(At::Bind, |fd, _| Call::Bind { fd, addr })
            }
        }
    }

    fn wait_to_connect(&mut self, env: &Env<'_>) -> Option<Call> {
        let timeout_ns = Some(self.deadline.0.saturating_sub(env.now.0));
        self.on_socket(At::Connecting, |fd, _| Call::Poll { fds: vec![PollFd::write(fd)], timeout_ns })
    }

    fn close_old(&mut self, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        match self.old.take() {
            Some(fd) => {
                self.at = At::CloseOld;
                Some(Call::Close { fd })
            }
            None => self.send(env, said),
        }
    }

    fn send(&mut self, env: &Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        let mut data = self.query.write(false);
        said.push(Said::Sending(Box::new(self.query.clone()), data.len()));
        if self.tcp {
            let length = (data.len() as u16).to_be_bytes();
            data.splice(0..0, length);
        }
        self.sent = env.now;
        self.on_socket(At::Send, |fd, _| Call::Send { fd, to: None, data })
    }

    fn wait(&mut self, env: &Env<'_>) -> Option<Call> {
        let timeout_ns = Some(self.deadline.0.saturating_sub(env.now.0));
        self.on_socket(At::Poll, |fd, _| Call::Poll { fds: vec![PollFd::read(fd)], timeout_ns })
    }

    /// There is no socket to this server.
    fn set_up_failed(&mut self, ret: &Ret, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        let why = if let Ret::Err(e) = *ret { isc_text(e) } else { "unexpected error" };
        let (what, to, written) = (self.what(), self.sockaddr(), self.written());
        said.push(Said::Warning(format!("{what} {to}({written}) for {} failed: {why}.", self.question.name)));
        self.status = 9;
        if self.tries > 1 {
            self.tries -= 1;
            said.push(Said::NoServers { command_line: false });
            return self.close(Then::Again, env, said);
        }
        if self.server + 1 < self.question.servers.len() {
            self.server += 1;
            return self.ask();
        }
        said.push(Said::NoServers { command_line: false });
        self.close(Then::Done, env, said)
    }

    fn what(&self) -> &'static str {
        if self.tcp { "Connection to" } else { "UDP setup with" }
    }

    /// Nothing came from this server.
    fn failed(&mut self, why: &str, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        said.push(Said::Warning(format!("communications error to {}: {why}", self.sockaddr())));
        if self.tries > 1 {
            self.tries -= 1;
            return if self.tcp { self.close(Then::Again, env, said) } else { self.ask() };
        }
        if self.server + 1 < self.question.servers.len() {
            self.server += 1;
            return self.ask();
        }
        said.push(Said::NoServers { command_line: true });
        self.status = 9;
        self.close(Then::Done, env, said)
    }

    fn received(&mut self, ret: Ret, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        let data = match ret {
            Ret::Message(m) => m.data,
            Ret::Data(data) => {
                self.bytes.extend(data);
                let Some(&length) = self.bytes.first_chunk() else { return self.wait(env) };
                let end = 2 + usize::from(u16::from_be_bytes(length));
                let Some(message) = self.bytes.get(2..end) else { return self.wait(env) };
                message.to_vec()
            }
            Ret::Eof => return self.failed("end of file", env, said),
            Ret::Err(Errno::EAGAIN | Errno::EINTR) => return self.wait(env),
            Ret::Err(e) => return self.failed(isc_text(e), env, said),
            _ => return self.failed("unexpected error", env, said),
        };
        self.status = 0;
        if data.len() < HEADER_LEN {
            let kind = if self.tcp {
                "ERROR: short (< header size) message"
            } else {
                "Warning: short (< header size) message received"
            };
            said.push(Said::Warning(kind.to_owned()));
            return self.not_ours(env, said);
        }
        let id = u16::from_be_bytes([data[0], data[1]]);
        if id != self.query.id {
            let kind = if self.tcp { "ERROR" } else { "Warning" };
            said.push(Said::Warning(format!("{kind}: ID mismatch: expected ID {}, got {id}", self.query.id)));
            return self.not_ours(env, said);
        }
        match Message::parse(&data) {
            Some(message) => self.answered(message, data.len(), env, said),
            None => {
                said.push(Said::Warning("Got bad packet: FORMERR".to_owned()));
                self.close(Then::Done, env, said)
            }
        }
    }

    /// Over UDP, the answer may still come.
    fn not_ours(&mut self, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        if self.tcp { self.close(Then::Done, env, said) } else { self.wait(env) }
    }

    fn answered(&mut self, message: Message, size: usize, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        if message.flags & flag::QR == 0 {
            said.push(Said::Warning("Warning: query response not set".to_owned()));
        }
        if !message.questions.is_empty() && !message.same_question(&self.query) {
            for q in &message.questions {
                let (name, kind) = (message::text(&q.qname), message::type_name(q.qtype));
                let name = if name == "." { name } else { name.trim_end_matches('.').to_owned() };
                said.push(Said::Warning(format!(
                    ";; Question section mismatch: got {name}/{kind}/{}",
                    class_name(q.qclass)
                )));
            }
            return self.not_ours(env, said);
        }
        if message.flags & flag::TC != 0 && !self.question.ignore && !self.tcp {
            said.push(Said::Comment("Truncated, retrying in TCP mode.".to_owned()));
            self.tcp = true;
            return self.close(Then::Again, env, said);
        }
        let code = message.rcode();
        let fails = code == rcode::SERVFAIL && !self.question.servfail_stops;
        let recurses = !self.question.check_ra || !self.question.recurse || message.flags & flag::RA != 0;
        if fails || !recurses {
            let from = self.written();
            let what = if fails { "SERVFAIL reply" } else { "recursion not available" };
            if self.server + 1 < self.question.servers.len() {
                said.push(Said::Comment(format!("Got {what} from {from}, trying next server")));
                self.server += 1;
                return self.ask();
            }
            said.push(Said::Comment(format!("Got {what} from {from}")));
        }
        let answer = Box::new(Answer {
            query: self.query.clone(),
            message,
            size,
            server: self.address(),
            written: self.written(),
            tcp: self.tcp,
            sent: self.sent,
            received: env.now,
        });
        let origin = self.origin;
        let mut again = false;
        if code == rcode::NXDOMAIN && (origin.is_some() || self.need_search) {
            again = self.next_origin();
            if !again || self.question.show_search {
                said.push(Said::Message(answer.clone()));
                said.push(Said::Received(answer.clone()));
            }
        } else {
            said.push(Said::Message(answer.clone()));
        }
        // Where the search list did not help, this is the second time.
        if code == rcode::NOERROR || origin.is_none() {
            said.push(Said::Received(answer));
        }
        if again {
            self.tries = self.question.tries;
            self.set_up(env, said)
        } else {
            self.close(Then::Done, env, said)
        }
    }

    /// The next domain of the list, or the name as it is.
    fn next_origin(&mut self) -> bool {
        let Some(list) = &self.question.search else { return false };
        let name = &self.question.name;
        let labels = name.split('.').filter(|l| !l.is_empty()).count();
        if name.ends_with('.') || labels > self.question.ndots {
            return false;
        }
        match self.origin {
            None if !self.need_search => return false,
            None => {
                self.need_search = false;
                self.origin = (!list.is_empty()).then_some(0);
            }
            Some(n) => {
                let next = (n + 1 < list.len()).then_some(n + 1);
                if next.is_none() && self.done_as_is {
                    return false;
                }
                self.origin = next;
            }
        }
        true
    }

    fn close(&mut self, then: Then, env: &mut Env<'_>, said: &mut Vec<Said>) -> Option<Call> {
        if let Some(fd) = self.socket.take().or_else(|| self.old.take()) {
            self.at = At::Closing(then);
            return Some(Call::Close { fd });
        }
        match then {
            Then::Again => self.set_up(env, said),
            Then::Done => None,
        }
    }
}

/// What dns_name_fromtext says.
fn why_bad(name: &str) -> &'static str {
    const MAX_LABEL: usize = 63;
    if name.split('.').any(|l| l.len() > MAX_LABEL) {
        "label too long"
    } else if name.trim_end_matches('.').split('.').any(str::is_empty) {
        "empty label"
    } else if name.contains('\\') {
        "bad escape"
    } else {
        "ran out of space"
    }
}

pub(super) fn class_name(class: QCLASS) -> &'static str {
    match class {
        QCLASS::CLASS(CLASS::IN) => "IN",
        QCLASS::CLASS(CLASS::CS) => "CS",
        QCLASS::CLASS(CLASS::CH) => "CH",
        QCLASS::CLASS(CLASS::HS) => "HS",
        QCLASS::CLASS(CLASS::NONE) => "NONE",
        QCLASS::ANY => "ANY",
    }
}

/// isc_result_totext of what an errno becomes.
fn isc_text(e: Errno) -> &'static str {
    match e {
        Errno::ECONNREFUSED => "connection refused",
        Errno::ECONNRESET => "connection reset",
        Errno::ETIMEDOUT => "timed out",
        Errno::ENETUNREACH => "network unreachable",
        Errno::EHOSTUNREACH => "host unreachable",
        Errno::EACCES | Errno::EPERM => "permission denied",
        Errno::EADDRNOTAVAIL => "address not available",
        _ => "unexpected error",
    }
}
